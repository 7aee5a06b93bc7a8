//! Bytes that would harm some reader are refused, each for its own reason, and their legal neighbours are taken.

use crate::notation::cases;
use crate::writer::{Content, Item, one};
use crate::{add, vectors};
use document::{Document, MessageLimits, StateVector, Update};

const HOSTILE: &str = include_str!("../../testdata/hostile.txt");

#[test]
fn each_refusal_has_its_reason_and_its_legal_neighbour() {
    let limits = MessageLimits::default();
    let mut wrong = Vec::new();
    for case in cases(HOSTILE) {
        let (what, expected) = case.words.split_once(": ").expect("what, colon, verdict");
        let error = match what {
            "update" => Update::validate(&case.bytes, &limits).err(),
            "vector" => StateVector::decode(&case.bytes, &limits).err(),
            other => panic!("{other:?} is neither update nor vector: {}", case.line),
        };
        let verdict = error.map_or("ok".to_owned(), |error| error.to_string());
        if verdict != expected {
            wrong.push(format!("{}\n    came out as: {verdict}", case.line));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_taken_can_be_kept_and_written_again() {
    let mut all = Document::default();
    for case in cases(HOSTILE).filter(|case| case.words == "update: ok") {
        let mut alone = Document::default();
        for document in [&mut all, &mut alone] {
            add(document, &case.bytes);
            crate::mutations::written_again(document).unwrap_or_else(|error| panic!("{error}: {}", case.line));
        }
    }
}

#[test]
fn values_nest_64_deep_and_no_deeper() {
    let nested = |depth: usize, open: &[u8], inner: &[u8]| {
        let mut bytes = vec![1, 1, 1, 0, 8, 1, 1, b't', 1];
        (0..depth).for_each(|_| bytes.extend_from_slice(open));
        bytes.extend_from_slice(inner);
        bytes.push(0);
        Update::validate(bytes, &MessageLimits::default()).map(drop).map_err(|error| error.to_string())
    };
    let deep = Err("value nested deeper than 64".to_owned());
    for open in [&[117, 1][..], &[118, 1, 1, b'a']] {
        assert_eq!(nested(64, open, &[126]), Ok(()));
        assert_eq!(nested(65, open, &[126]), deep);
        assert_eq!(nested(63, open, &[117, 0]), Ok(()), "an empty array is a level");
        assert_eq!(nested(64, open, &[117, 0]), deep);
        assert_eq!(nested(1_000_000, open, &[126]), deep);
    }
}

#[test]
fn no_beginning_of_an_update_is_an_update() {
    for whole in vectors::updates().into_iter().chain([every_kind()]) {
        for end in 0..whole.len() {
            assert!(Update::validate(&whole[..end], &MessageLimits::default()).is_err(), "{end} bytes of {whole:02x?}");
        }
    }
}

#[test]
fn no_beginning_of_a_state_vector_is_one() {
    let whole = StateVector::from_entries((0..300).map(|client| (client << 20, 5)).collect()).encode();
    for end in 0..whole.len() {
        assert!(StateVector::decode(&whole[..end], &MessageLimits::default()).is_err(), "{end} bytes");
    }
}

/// One update with every kind of content.
pub(crate) fn every_kind() -> Vec<u8> {
    let contents = [
        Content::text("aé日😀"),
        Content::numbers(&[1, 2, 3]),
        Content::json(&["undefined", "{\"a\":1}"]),
        Content::binary(&[0, 255]),
        Content::embed("{\"image\":1}"),
        Content::format("bold", "true"),
        Content::shared(2),
        Content::shared(3),
        Content::document(),
        Content::deleted(3),
        Content::collected(2),
    ];
    let (mut items, mut clock) = (Vec::new(), 0);
    for content in contents {
        let origin = if clock == 0 { None } else { Some((5, clock - 1)) };
        clock += content.len;
        items.push(Item { origin, key: clock.is_multiple_of(2).then_some("k"), ..Item::root(content) });
    }
    items.push(Item { key: Some("k"), ..Item::inside((5, 14), Content::text("child")) });
    crate::writer::write(&[(5, 0, items)], &[(5, vec![(1, 2), (40, 3)]), (3, vec![(0, 1)])])
}

#[test]
fn every_kind_of_content_is_stored_and_cut() {
    let whole = every_kind();
    let all = crate::reader::elements(&whole);
    let mut document = Document::default();
    assert_eq!(add(&mut document, &whole).parts, [document::Part::Whole]);
    assert_eq!(crate::reader::elements(&document.snapshot(true)), all);
    let end = document.state_vector().clock(5);
    // The second half of the pair at clock 4 cannot be written as text.
    for from in (0..end).filter(|&from| from != 4) {
        let known = StateVector::from_entries(vec![(5, from)]);
        let mut expected = all.clone();
        expected.structs.retain(|&(_, clock), _| clock >= from);
        let mut diff = crate::reader::elements(&document.diff(&known, true));
        // A cut item names the element before it as its origin, as do all but the first of an uncut one.
        for (id, element) in &mut expected.structs {
            let cut = id.1 == from
                && from > 0
                && diff.structs.get(id).is_some_and(|found| found.origin == Some((5, from - 1)));
            if cut {
                element.origin = Some((5, from - 1));
                element.parent = None;
                element.key = None;
            }
        }
        diff.structs.retain(|&(_, clock), _| clock >= from);
        assert_eq!(diff, expected, "from {from}");
    }
}

#[test]
fn an_item_may_not_be_its_own_ancestor() {
    let mut document = Document::default();
    // Each waits for the other for ever; nothing of it is applied, nothing runs away.
    let first = one(1, 0, Item::inside((2, 0), Content::shared(0)));
    let second = one(2, 0, Item::inside((1, 0), Content::shared(0)));
    for bytes in [first, second] {
        assert!(add(&mut document, &bytes).parts.is_empty());
    }
    assert!(document.state_vector().entries().is_empty());
}

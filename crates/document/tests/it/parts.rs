//! What goes out after a message that is only partly new, or that others have waited for; and what is left of deleted content.

use crate::reader::elements;
use crate::writer::{Content, Item, one, typed, write};
use crate::{add, bytes_of, update, vector};
use document::{Document, NewRange, Part};

const ANN: u32 = 1;
const BEN: u32 = 2;
const EVE: u32 = 3;

fn cut(author: u32, bytes: Vec<u8>) -> Part {
    Part::Cut { author, bytes }
}

/// Content whose first elements are known already goes out without them.
fn check_overlap(whole: &Content, known: u32, first: &Content, rest: &Content) {
    let mut document = Document::default();
    document.add(&update(&one(1, 0, Item::root(first.clone()))), ANN);
    let added = document.add(&update(&one(1, 0, Item::root(whole.clone()))), BEN);
    let expected = one(1, known, Item::after((1, known - 1), rest.clone()));
    assert_eq!(added.parts, [cut(BEN, expected)], "{whole:?} of which {known} are known");
    let new: Vec<NewRange> = document.new_structs().collect();
    assert_eq!(new, [NewRange { client: 1, start: known, end: whole.len, author: BEN }]);
}

#[test]
fn only_the_new_part_of_content_goes_out() {
    check_overlap(&Content::text("hello"), 3, &Content::text("hel"), &Content::text("lo"));
    check_overlap(&Content::text("aé日z"), 2, &Content::text("aé"), &Content::text("日z"));
    check_overlap(&Content::text("a😀z"), 3, &Content::text("a😀"), &Content::text("z"));
    check_overlap(&Content::numbers(&[1, 2, 3]), 1, &Content::numbers(&[1]), &Content::numbers(&[2, 3]));
    check_overlap(
        &Content::json(&["1", "undefined", "{}"]),
        2,
        &Content::json(&["1", "undefined"]),
        &Content::json(&["{}"]),
    );
    check_overlap(&Content::deleted(5), 2, &Content::deleted(2), &Content::deleted(3));
}

#[test]
fn collected_structs_are_cut_without_an_origin() {
    let mut document = Document::default();
    add(&mut document, &one(1, 0, Item::root(Content::collected(2))));
    let added = add(&mut document, &one(1, 0, Item::root(Content::collected(5))));
    assert_eq!(added.parts, [cut(0, one(1, 2, Item::root(Content::collected(3))))]);
}

#[test]
fn half_a_surrogate_pair_becomes_what_readers_make_of_it() {
    // Yjs too writes U+FFFD for each half when text is cut there.
    let whole = Content::text("a😀z");
    check_overlap(&whole, 2, &Content::text("ab"), &Content::text("\u{fffd}z"));
    let mut document = Document::default();
    add(&mut document, &one(1, 0, Item::root(whole)));
    let from_half = one(1, 2, Item::after((1, 1), Content::text("\u{fffd}z")));
    assert_eq!(document.diff(&vector(&[1, 1, 2]), false), from_half);
    for (deleted, left) in [(1, ["a", "\u{fffd}z"]), (2, ["a\u{fffd}", "z"])] {
        let mut document = document.clone();
        add(&mut document, &write(&[], &[(1, vec![(deleted, 1)])]));
        let items = vec![
            Item::root(Content::text(left[0])),
            Item::after((1, deleted - 1), Content::deleted(1)),
            Item::after((1, deleted), Content::text(left[1])),
        ];
        assert_eq!(document.snapshot(false), write(&[(1, 0, items)], &[(1, vec![(deleted, 1)])]));
        assert_eq!(document.state_vector().clock(1), 4, "lengths stay as they were");
    }
}

#[test]
fn of_deletes_only_the_new_ranges_go_out() {
    let mut document = Document::default();
    add(&mut document, &typed(1, 0, "0123456789"));
    add(&mut document, &write(&[], &[(1, vec![(2, 2), (6, 1)])]));
    let added = add(&mut document, &write(&[], &[(1, vec![(1, 8)])]));
    assert_eq!(added.parts, [cut(0, write(&[], &[(1, vec![(1, 1), (4, 2), (7, 2)])]))]);
    assert_eq!(document.new_deletes().collect::<Vec<_>>(), [(1, 1, 2), (1, 4, 6), (1, 7, 9)]);
    assert_eq!(document.new_structs().count(), 0);
    assert_eq!(document.counts(), (1, 1), "neighbouring ranges are one");
}

#[test]
fn released_parts_come_in_order_with_their_authors() {
    let mut document = Document::default();
    // Eve waits for Ben, Ben for Ann; Ann herself wrote the end of her text first.
    let by_eve = one(30, 0, Item::after((20, 1), Content::text("eve")));
    let by_ben = one(20, 0, Item::after((10, 4), Content::text("ben")));
    let by_ann = typed(10, 3, "end");
    for (bytes, author) in [(&by_eve, EVE), (&by_ben, BEN), (&by_ann, ANN)] {
        let added = document.add(&update(bytes), author);
        assert_eq!((added.parts.len(), added.parked.as_ref()), (0, Some(bytes)));
    }
    assert_eq!(document.parked_updates(), [(ANN, by_ann.clone()), (BEN, by_ben.clone()), (EVE, by_eve.clone())]);
    let added = document.add(&update(&typed(10, 0, "the")), ANN);
    assert_eq!(added.parts, [Part::Whole, cut(ANN, by_ann), cut(BEN, by_ben), cut(EVE, by_eve)]);
    let new: Vec<_> = document.new_structs().map(|new| (new.client, new.start, new.end, new.author)).collect();
    assert_eq!(new, [(10, 0, 3, ANN), (10, 3, 6, ANN), (20, 0, 3, BEN), (30, 0, 3, EVE)]);
}

#[test]
fn a_message_with_a_hole_that_something_parked_fills() {
    let mut document = Document::default();
    let by_ben = typed(1, 2, "cd");
    assert!(document.add(&update(&by_ben), BEN).parked.is_some());
    let holed =
        vec![Item::root(Content::text("ab")), Item::root(Content::hole(2)), Item::after((1, 3), Content::text("ef"))];
    let by_ann = write(&[(1, 0, holed)], &[]);
    let added = document.add(&update(&by_ann), ANN);
    let end = one(1, 4, Item::after((1, 3), Content::text("ef")));
    let parts = [cut(ANN, typed(1, 0, "ab")), cut(BEN, by_ben), cut(ANN, end)];
    assert_eq!(added.parts, parts, "in order, and nothing of Ben's is told as Ann's, or twice");
    assert_eq!(document.snapshot(false), typed(1, 0, "abcdef"));
}

#[test]
fn a_message_of_which_some_can_be_applied() {
    let mut document = Document::default();
    let applicable = Item::root(Content::text("yes"));
    let waiting = Item::after((9, 0), Content::text("no"));
    let added = add(&mut document, &write(&[(1, 0, vec![applicable.clone(), waiting.clone()])], &[(1, vec![(0, 1)])]));
    assert_eq!(added.parts, [cut(0, write(&[(1, 0, vec![applicable])], &[(1, vec![(0, 1)])]))]);
    assert_eq!(added.parked, Some(one(1, 3, waiting.clone())));
    let added = add(&mut document, &typed(9, 0, "!"));
    assert_eq!(added.parts, [Part::Whole, cut(0, one(1, 3, waiting))]);
}

#[test]
fn sections_of_one_message_may_need_each_other_in_any_order() {
    // 1 needs 2, 2 needs 3, 3 needs the first of 1.
    let first = vec![Item::root(Content::text("a")), Item::after((2, 0), Content::text("b"))];
    let sections = [
        (1, 0, first),
        (2, 0, vec![Item::after((3, 0), Content::text("c"))]),
        (3, 0, vec![Item { right: Some((1, 0)), ..Item::root(Content::text("d")) }]),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut document = Document::default();
        let bytes = write(&order.map(|place| sections[place].clone()), &[]);
        assert_eq!(add(&mut document, &bytes).parts, [Part::Whole], "{order:?}");
        assert_eq!(document.state_vector().entries(), [(1, 2), (2, 1), (3, 1)]);
    }
}

#[test]
fn typing_is_kept_as_one_struct() {
    let mut document = Document::default();
    for (clock, letter) in ["h", "é", "日", "😀", "!"].iter().enumerate() {
        let clock = clock as u32 + u32::from(clock > 3);
        assert_eq!(add(&mut document, &typed(1, clock, letter)).parts, [Part::Whole]);
    }
    assert_eq!(document.counts(), (1, 0));
    assert_eq!(document.snapshot(false), typed(1, 0, "hé日😀!"));
}

#[test]
fn values_of_one_key_stay_apart() {
    let mut document = Document::default();
    let set = |item: Item, number| Item { key: Some("k"), content: Content::numbers(&[number]), ..item };
    let first = one(1, 0, set(Item::root(Content::deleted(1)), 1));
    let second = one(1, 1, set(Item::after((1, 0), Content::deleted(1)), 2));
    for bytes in [&first, &second] {
        assert_eq!(add(&mut document, bytes).parts, [Part::Whole]);
    }
    assert_eq!(document.counts(), (2, 0), "a reader takes the last struct of a key for its value");
    add(&mut document, &write(&[], &[(1, vec![(0, 1)])]));
    let replaced = Item { key: Some("k"), ..Item::root(Content::deleted(1)) };
    let left = write(&[(1, 0, vec![replaced, set(Item::after((1, 0), Content::deleted(1)), 2)])], &[(1, vec![(0, 1)])]);
    assert_eq!(document.snapshot(false), left);
}

#[test]
fn deleted_content_is_kept_only_where_asked() {
    let mut document = Document::default();
    let whole = typed(1, 0, "secret");
    add(&mut document, &whole);
    let delete = write(&[], &[(1, vec![(0, 6)])]);
    add(&mut document, &delete);
    let kept = [&whole[..whole.len() - 1], &delete[1..]].concat();
    let gone = write(&[(1, 0, vec![Item::root(Content::deleted(6))])], &[(1, vec![(0, 6)])]);
    for (keep_deleted, expected) in [(true, &kept), (false, &gone)] {
        assert_eq!(&document.snapshot(keep_deleted), expected);
        assert_eq!(&document.diff(&vector(&[0]), keep_deleted), expected);
    }
    document.compact();
    assert_eq!(document.snapshot(true), gone, "compaction forgets");
    assert_eq!(add(&mut document, &whole), document::Added::default(), "but knows that it was there");
}

#[test]
fn children_of_deleted_types_are_collected() {
    let mut document = Document::default();
    let items = vec![
        Item::root(Content::shared(1)),
        Item::inside((1, 0), Content::shared(0)),
        Item::inside((1, 1), Content::text("grandchild")),
        Item::after((1, 0), Content::text("sibling")),
    ];
    add(&mut document, &write(&[(1, 0, items.clone())], &[]));
    add(&mut document, &one(2, 0, Item { right: Some((1, 5)), ..Item::after((1, 4), Content::text("by another")) }));
    add(&mut document, &write(&[], &[(1, vec![(0, 1)])]));
    let left = write(
        &[
            (2, 0, vec![Item::root(Content::collected(10))]),
            (1, 0, vec![Item::root(Content::deleted(1)), Item::root(Content::collected(11)), items[3].clone()]),
        ],
        &[(1, vec![(0, 1)])],
    );
    assert_eq!(document.snapshot(false), left);
    assert!(
        elements(&document.snapshot(true)).structs.values().all(|element| element.kind != 0),
        "unless deleted content is kept"
    );
    // What somebody writes there later is collected too.
    document.compact();
    add(&mut document, &one(3, 0, Item::inside((1, 1), Content::text("late"))));
    let collected = elements(&document.snapshot(false));
    assert!((0..4).all(|clock| collected.structs[&(3, clock)].kind == 0));
}

#[test]
fn an_answer_has_all_deletes_and_only_the_missing_structs() {
    let mut document = Document::default();
    for bytes in
        [typed(1, 0, "abc"), typed(2, 0, "xyz"), write(&[], &[(2, vec![(1, 1)]), (1, vec![(0, 1)]), (7, vec![(3, 2)])])]
    {
        add(&mut document, &bytes);
    }
    let diff = document.diff(&vector(&[2, 1, 3, 2, 2]), false);
    let deletes = [(7, vec![(3, 2)]), (2, vec![(1, 1)]), (1, vec![(0, 1)])];
    assert_eq!(diff, write(&[(2, 2, vec![Item::after((2, 1), Content::text("z"))])], &deletes));
    assert_eq!(
        document.diff(&vector(&[2, 1, 99, 2, 99]), false),
        write(&[], &deletes),
        "somebody may know more than the room"
    );
}

#[test]
fn a_read_only_members_structs_are_noticed() {
    let mut document = Document::default();
    add(&mut document, &typed(1, 0, "abc"));
    add(&mut document, &typed(2, 5, "waits"));
    for (bytes, brings) in [
        (vec![0, 0], false),
        (typed(1, 0, "abc"), false),
        (typed(1, 1, "b"), false),
        (typed(2, 5, "waits"), false),
        (write(&[], &[(1, vec![(0, 1)])]), false),
        (write(&[(1, 3, vec![Item::root(Content::hole(4))])], &[]), false),
        (typed(1, 0, "abcd"), true),
        (typed(1, 3, "d"), true),
        (typed(1, 9, "far away"), true),
        (typed(3, 0, "new"), true),
    ] {
        assert_eq!(document.brings_structs(&update(&bytes)), brings, "{bytes:02x?}");
    }
    let parts = add(&mut document, &typed(1, 0, "abcd")).parts;
    assert_eq!(bytes_of(&parts[0], &[]), typed(1, 3, "d"));
}

#[test]
fn what_waits_behind_something_that_came_in_another_form_goes_out() {
    let mut document = Document::default();
    let missing_parent = Item::inside((9, 5), Content::text("ab"));
    let waiting = write(&[(1, 0, vec![missing_parent, Item::after((1, 1), Content::text("c"))])], &[]);
    assert!(document.add(&update(&waiting), ANN).parts.is_empty());
    // Somebody has collected the type meanwhile: its children need no parent any more.
    let added = document.add(&update(&one(1, 0, Item::root(Content::collected(2)))), BEN);
    assert_eq!(added.parts, [Part::Whole, cut(ANN, one(1, 2, Item::after((1, 1), Content::text("c"))))]);
    assert!(!document.has_parked());
}

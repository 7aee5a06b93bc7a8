//! Every bound is reached: what is just within it is taken, what is just beyond is refused by its name, and nothing of it stays.

use crate::writer::{Content, Item, one, typed, write};
use crate::{add, update};
use document::wire::Invalid;
use document::{Document, Exceeded, MessageLimits, RoomLimits, StateVector, Update};

fn validate(bytes: &[u8], limits: &MessageLimits) -> Result<(), Invalid> {
    Update::validate(bytes, limits).map(drop)
}

#[test]
fn bytes_of_an_update() {
    let bytes = typed(1, 0, "hello");
    let limits = |update_bytes_max| MessageLimits { update_bytes_max, ..MessageLimits::default() };
    assert_eq!(validate(&bytes, &limits(bytes.len())), Ok(()));
    assert_eq!(validate(&bytes, &limits(bytes.len() - 1)), Err(Exceeded::UpdateBytes(bytes.len() - 1).into()));
}

#[test]
fn structs_of_an_update_and_its_delete_ranges_together() {
    let item = Item::root(Content::text("a"));
    let bytes = write(&[(2, 0, vec![item.clone(), item.clone()]), (1, 0, vec![item])], &[(1, vec![(0, 1), (5, 1)])]);
    let limits = |structs_max| MessageLimits { structs_max, ..MessageLimits::default() };
    assert_eq!(validate(&bytes, &limits(5)), Ok(()));
    for structs_max in 0..5 {
        assert_eq!(validate(&bytes, &limits(structs_max)), Err(Exceeded::Structs(structs_max).into()));
    }
}

#[test]
fn clients_of_an_update() {
    let sections: Vec<_> = (1..=3).rev().map(|client| (client, 0, vec![Item::root(Content::text("a"))])).collect();
    let deletes: Vec<_> = (1..=3).rev().map(|client| (client, vec![(0, 1)])).collect();
    let limits = |clients_max| MessageLimits { clients_max, ..MessageLimits::default() };
    for bytes in [write(&sections, &[]), write(&[], &deletes), write(&sections, &deletes)] {
        assert_eq!(validate(&bytes, &limits(3)), Ok(()));
        assert_eq!(validate(&bytes, &limits(2)), Err(Exceeded::Clients(2).into()));
    }
}

#[test]
fn bytes_of_a_state_vector() {
    let bytes = StateVector::from_entries(vec![(1, 1), (2, 2)]).encode();
    let limits = |state_vector_bytes_max| MessageLimits { state_vector_bytes_max, ..MessageLimits::default() };
    assert!(StateVector::decode(&bytes, &limits(5)).is_ok());
    assert_eq!(StateVector::decode(&bytes, &limits(4)), Err(Exceeded::StateVectorBytes(4).into()));
}

#[test]
fn what_was_stored_has_no_bounds() {
    let bytes = typed(1, 0, &"x".repeat(1000));
    let tight =
        RoomLimits { room_bytes_max: 10, clients_max: 1, parked_bytes_max: 1, delete_ranges_max: 0, depth_max: 1 };
    let stored = [
        bytes,
        typed(2, 0, "two clients"),
        typed(3, 5, "waits"),
        one(4, 0, Item::root(Content::shared(0))),
        nested(4, 1),
        nested(4, 2),
    ];
    let mut document = Document::load(tight, stored.iter().map(Vec::as_slice)).expect("valid");
    assert_eq!(document.state_vector().entries(), [(1, 1000), (2, 11), (4, 3)]);
    assert_eq!(document.parked_updates().len(), 1);
    let added = add(&mut document, &typed(1, 1000, "y"));
    assert_eq!(added.refused, Some(Exceeded::RoomBytes(10)), "from then on they hold");
}

fn limited(limits: RoomLimits) -> Document {
    Document::new(limits)
}

/// Refused, and nothing of it stays.
fn refuses(document: &mut Document, bytes: &[u8], exceeded: Exceeded) {
    let before = (document.snapshot(true), document.parked_updates());
    let added = add(document, bytes);
    assert_eq!((added.refused, added.parts.len(), added.parked), (Some(exceeded), 0, None));
    assert_eq!((document.snapshot(true), document.parked_updates()), before);
}

fn accepts(document: &mut Document, bytes: &[u8]) {
    let added = add(document, bytes);
    assert_eq!((added.refused, added.parts.len()), (None, 1), "{bytes:02x?}");
}

#[test]
fn bytes_of_a_document() {
    let mut document = limited(RoomLimits { room_bytes_max: 600, ..RoomLimits::default() });
    let first = typed(1, 0, &"x".repeat(200));
    accepts(&mut document, &first);
    let full = Exceeded::RoomBytes(600);
    refuses(&mut document, &typed(1, 200, &"y".repeat(200)), full);
    refuses(&mut document, &typed(2, 7, &"waiting counts too".repeat(20)), full);
    accepts(&mut document, &typed(1, 200, "still some room"));
    let typed_on = |document: &Document, text| typed(1, document.state_vector().clock(1), text);
    loop {
        let more = typed_on(&document, "more");
        if add(&mut document, &more).refused.is_some() {
            break;
        }
    }
    assert!(document.bytes() <= 600, "{} bytes", document.bytes());
    // Whoever is over the bound can still make it smaller, and say again what is known.
    assert_eq!(add(&mut document, &first), document::Added::default());
    accepts(&mut document, &write(&[], &[(1, vec![(0, 200)])]));
    assert_eq!(add(&mut document, &write(&[], &[(1, vec![(0, 200)])])), document::Added::default());
    document.compact();
    let more = typed_on(&document, "room again");
    accepts(&mut document, &more);
}

#[test]
fn clients_of_a_document() {
    let mut document = limited(RoomLimits { clients_max: 3, ..RoomLimits::default() });
    accepts(&mut document, &typed(1, 0, "a"));
    accepts(&mut document, &write(&[], &[(2, vec![(0, 1)])]));
    let full = Exceeded::Clients(3);
    // Names alone take no places: deletes not more than half, what waits none.
    refuses(&mut document, &write(&[], &[(9, vec![(0, 1)])]), full);
    assert!(add(&mut document, &typed(9, 5, "waiting")).parked.is_some());
    accepts(&mut document, &typed(7, 0, "the last place"));
    refuses(&mut document, &typed(3, 0, "c"), full);
    accepts(&mut document, &typed(2, 0, "b"));
    accepts(&mut document, &typed(1, 1, "a"));
    let both = write(
        &[(3, 0, vec![Item::root(Content::text("c"))]), (1, 2, vec![Item::after((1, 1), Content::text("a"))])],
        &[],
    );
    let added = add(&mut document, &both);
    assert_eq!(added.refused, Some(full));
    let rest = document::Part::Cut { author: 0, bytes: typed(1, 2, "a") };
    assert_eq!(added.parts, [rest], "what is within the bound is not lost");
}

#[test]
fn bytes_that_wait() {
    let mut document = limited(RoomLimits { parked_bytes_max: 500, ..RoomLimits::default() });
    let full = Exceeded::ParkedBytes(500);
    let waiting = |number: u64| typed(number, 5, &"w".repeat(100));
    let mut parked = 0;
    let refused = loop {
        let added = add(&mut document, &waiting(parked + 10));
        if added.parked.is_none() {
            break added.refused;
        }
        parked += 1;
    };
    assert_eq!((parked, refused), (2, Some(full)), "each costs its bytes and a tree entry");
    assert!((400..=500).contains(&document.bytes()));
    refuses(&mut document, &waiting(50), full);
    assert_eq!(add(&mut document, &waiting(10)), document::Added::default(), "what waits already is not refused");
    accepts(&mut document, &typed(1, 0, "what is not waiting is not concerned"));
    // Released structs give their place back.
    assert_eq!(add(&mut document, &typed(10, 0, "01234")).parts.len(), 2);
    assert!(add(&mut document, &waiting(50)).parked.is_some());
}

#[test]
fn delete_ranges() {
    let mut document = limited(RoomLimits { delete_ranges_max: 2, ..RoomLimits::default() });
    let full = Exceeded::DeleteRanges(2);
    let deletes = |ranges: &[(u32, u32)]| write(&[], &[(1, ranges.to_vec())]);
    accepts(&mut document, &deletes(&[(0, 1), (5, 1)]));
    refuses(&mut document, &deletes(&[(10, 1)]), full);
    accepts(&mut document, &deletes(&[(1, 2)]));
    assert_eq!(add(&mut document, &deletes(&[(0, 3)])), document::Added::default(), "what is known is not refused");
    // What joins two ranges gives a place back.
    accepts(&mut document, &deletes(&[(3, 2)]));
    accepts(&mut document, &deletes(&[(10, 1)]));
    refuses(&mut document, &deletes(&[(20, 1)]), full);
}

/// A type inside the type that the client's last element is.
fn nested(client: u64, clock: u32) -> Vec<u8> {
    one(client, clock, Item::inside((client, clock - 1), Content::shared(0)))
}

#[test]
fn depth_of_types() {
    for depth_max in [1, 3, 256] {
        let mut document = limited(RoomLimits { depth_max, ..RoomLimits::default() });
        accepts(&mut document, &one(1, 0, Item::root(Content::shared(0))));
        for clock in 1..depth_max {
            accepts(&mut document, &nested(1, clock));
        }
        refuses(&mut document, &nested(1, depth_max), Exceeded::Depth(depth_max));
        let leaf = one(1, depth_max, Item::inside((1, depth_max - 1), Content::text("text is no level")));
        accepts(&mut document, &leaf);
        let sibling = one(1, depth_max + 16, Item::after((1, depth_max), Content::shared(0)));
        refuses(&mut document, &sibling, Exceeded::Depth(depth_max));
    }
}

#[test]
fn who_releases_what_is_too_deep_is_not_to_blame() {
    let mut document = limited(RoomLimits { depth_max: 1, ..RoomLimits::default() });
    accepts(&mut document, &one(1, 0, Item::root(Content::shared(0))));
    let deep = Item { right: Some((2, 0)), ..Item::after((1, 1), Content::shared(0)) };
    accepts(&mut document, &one(1, 1, Item::inside((1, 0), Content::text("a"))));
    assert!(add(&mut document, &one(9, 0, deep)).parked.is_some());
    let added = document.add(&update(&typed(2, 0, "innocent")), 5);
    assert_eq!((added.refused, added.parts), (None, vec![document::Part::Whole]));
    assert_eq!(document.state_vector().clock(9), 0, "nor does it get in");
}

#[test]
fn the_texts_name_the_bound_and_its_value() {
    for (exceeded, text) in [
        (Exceeded::UpdateBytes(8), "update larger than 8 bytes"),
        (Exceeded::Structs(8), "update with more than 8 structs"),
        (Exceeded::Clients(8), "more than 8 client ids"),
        (Exceeded::StateVectorBytes(8), "state vector larger than 8 bytes"),
        (Exceeded::RoomBytes(8), "document larger than 8 bytes"),
        (Exceeded::ParkedBytes(8), "more than 8 bytes wait for missing updates"),
        (Exceeded::Depth(8), "types nested deeper than 8"),
        (Exceeded::ValueDepth(64), "value nested deeper than 64"),
        (Exceeded::Kind(11), "content kind 11 is not supported"),
        (Exceeded::TypeRef(7), "type 7 is not supported"),
    ] {
        assert_eq!(exceeded.to_string(), text);
    }
}

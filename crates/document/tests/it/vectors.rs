//! The byte vectors of the protocol descriptions, made by the real packages.

use crate::notation::cases;
use crate::{add, bytes_of, update, vector};
use document::{Added, Document, Part};

const VECTORS: &str = include_str!("../../testdata/vectors.txt");

/// The bytes of that name.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    cases(VECTORS).find(|case| case.words == name).unwrap_or_else(|| panic!("no vector {name}")).bytes
}

/// All updates of the file.
pub(crate) fn updates() -> Vec<Vec<u8>> {
    cases(VECTORS).filter(|case| !case.words.starts_with('V')).map(|case| case.bytes).collect()
}

/// Feeds vectors by name and compares: what is told to others after each, then state vector and full state. `-` is nothing.
fn check(fed: &[(&str, &[&str])], state: &str, full: &str) {
    let mut document = Document::default();
    for (name, told) in fed {
        let came = bytes(name);
        let added = add(&mut document, &came);
        let parts: Vec<&[u8]> = added.parts.iter().map(|part| bytes_of(part, &came)).collect();
        let expected: Vec<Vec<u8>> = told.iter().map(|name| bytes(name)).collect();
        assert_eq!(parts, expected, "after {name} of {fed:?}");
        assert_eq!(added.refused, None);
    }
    assert_eq!(document.state_vector().encode(), bytes(state), "{fed:?}");
    assert_eq!(vector(&bytes(state)), document.state_vector(), "{fed:?}");
    assert_eq!(document.diff(&vector(&bytes("V0")), false), bytes(full), "{fed:?}");
}

#[test]
fn documents_come_out_as_yjs_writes_them() {
    check(&[], "V0", "U0");
    check(&[("U0", &[])], "V0", "U0");
    check(&[("A1", &["A1"])], "VA", "A1");
    check(&[("A1", &["A1"]), ("A2", &["A2"])], "V3", "P");
    check(&[("A1", &["A1"]), ("A2", &["A2"]), ("A3", &["A3"])], "V3", "AF");
    check(&[("AF", &["AF"])], "V3", "AF");
    check(&[("B", &["B"])], "VB", "B");
    check(&[("C", &["C"])], "VC", "C");
    check(&[("X1", &["X1"]), ("X2", &["X2"])], "VX", "X");
    check(&[("X2", &["X2"]), ("X1", &["X1"])], "VX", "X");
    check(&[("X", &["X"])], "VX", "X");
}

#[test]
fn what_is_known_is_told_to_nobody() {
    check(&[("A1", &["A1"]), ("A1", &[])], "VA", "A1");
    check(&[("P", &["P"]), ("A1", &[]), ("A2", &[])], "V3", "P");
    check(&[("A1", &["A1"]), ("P", &["A2"])], "V3", "P");
    check(&[("AF", &["AF"]), ("A3", &[]), ("A4", &[]), ("A1", &[])], "V3", "AF");
    check(&[("X2", &["X2"]), ("X", &["X1"])], "VX", "X");
    check(&[("A1", &["A1"]), ("A3", &["A3"]), ("A4", &["A2"])], "V3", "AF");
}

#[test]
fn a_delete_may_come_before_what_it_deletes() {
    check(&[("A3", &["A3"]), ("A1", &["A1"]), ("A2", &["A2"])], "V3", "AF");
}

#[test]
fn a_peer_is_sent_what_it_lacks() {
    let mut document = Document::default();
    for name in ["A1", "A2", "A3"] {
        add(&mut document, &bytes(name));
    }
    assert_eq!(document.diff(&vector(&bytes("VA")), false), bytes("A4"));
    assert_eq!(document.diff(&vector(&bytes("V3")), false), bytes("A3"), "all delete ranges, always");
}

#[test]
fn vector_p_waits_and_is_released() {
    let (first, second) = (bytes("A1"), bytes("A2"));
    let mut document = Document::default();
    let added = document.add(&update(&second), 7);
    assert_eq!(added, Added { parked: Some(second.clone()), ..Added::default() });
    assert_eq!(document.state_vector().encode(), bytes("V0"));
    assert_eq!(document.diff(&vector(&bytes("V0")), false), second, "a joiner is sent what waits");
    assert_eq!(document.snapshot(false), bytes("U0"), "a snapshot has only what is applied");
    assert_eq!(document.parked_updates(), [(7, second.clone())]);
    assert_eq!(document.add(&update(&second), 8), Added::default(), "it waits once");

    let added = document.add(&update(&first), 9);
    assert_eq!(added.parts, [Part::Whole, Part::Cut { author: 7, bytes: second }]);
    assert_eq!((added.parked, added.refused), (None, None));
    assert_eq!(document.snapshot(false), bytes("P"));
    assert_eq!(document.parked_updates(), []);
}

#[test]
fn vector_p_survives_being_stored() {
    let (first, second) = (bytes("A1"), bytes("A2"));
    let limits = document::RoomLimits::default();
    let mut document = Document::load(limits, [&second[..]]).expect("stored updates are valid");
    assert_eq!(add(&mut document, &first).parts.len(), 2);
    assert_eq!(document.snapshot(false), bytes("P"));
    let all = Document::load(limits, [&second[..], &first, &second]).expect("stored updates are valid");
    assert_eq!(all.snapshot(false), bytes("P"));
}

#[test]
fn what_waits_is_sent_behind_a_hole() {
    // Of client 1 elements 0 and 1 are known, 3 is not yet reachable.
    let mut document = Document::default();
    add(&mut document, &bytes("A1"));
    let parked = [&[1, 1, 1, 3, 0x84, 1, 2, 1, b'?'][..], &[0]].concat();
    assert_eq!(add(&mut document, &parked).parked, Some(parked.clone()));
    let expected = [&[1, 3, 1, 0, 4, 1, 1, b't', 2, b'h', b'i', 10, 1, 0x84, 1, 2, 1, b'?'][..], &[0]].concat();
    assert_eq!(document.diff(&vector(&bytes("V0")), false), expected);
    assert_eq!(document.diff(&vector(&bytes("VA")), false), parked);
}

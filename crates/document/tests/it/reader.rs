//! Takes an update apart into single elements, so that documents compare equal however their structs are cut and joined.
//!
//! A second reading of the format, independent of the one under test. Panics on what it cannot read.

use crate::writer::{Id, Parent};
use document::lib0::Reader;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) kind: u8,
    pub(crate) origin: Option<Id>,
    pub(crate) right: Option<Id>,
    pub(crate) parent: Option<Parent>,
    pub(crate) key: Option<String>,
    /// One UTF-16 unit of text, one value of an array, or all of other content.
    pub(crate) unit: Vec<u8>,
}

/// What an update says, element by element. Holes are nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Elements {
    pub(crate) structs: BTreeMap<Id, Element>,
    pub(crate) deletes: BTreeSet<Id>,
}

impl Elements {
    /// Takes in another update's elements, none of which was known.
    pub(crate) fn add_new(&mut self, other: Self) {
        for (id, element) in other.structs {
            assert!(self.structs.insert(id, element).is_none(), "element {id:?} was told before");
        }
        for id in other.deletes {
            assert!(self.deletes.insert(id), "the delete of {id:?} was told before");
        }
    }
}

pub(crate) fn elements(update: &[u8]) -> Elements {
    let (mut reader, mut out) = (Reader::new(update), Elements::default());
    for _ in 0..uint(&mut reader) {
        let structs = uint(&mut reader);
        let (client, mut clock) = id(&mut reader);
        for _ in 0..structs {
            clock = read_struct(&mut reader, client, clock, &mut out);
        }
    }
    for _ in 0..uint(&mut reader) {
        let client = uint(&mut reader);
        for _ in 0..uint(&mut reader) {
            let (start, len) = id(&mut reader);
            out.deletes.extend((start as u32..start as u32 + len).map(|clock| (client, clock)));
        }
    }
    assert!(reader.is_empty(), "bytes left over");
    out
}

fn uint(reader: &mut Reader<'_>) -> u64 {
    reader.var_uint().expect("an integer")
}

fn id(reader: &mut Reader<'_>) -> Id {
    (uint(reader), uint(reader) as u32)
}

fn string(reader: &mut Reader<'_>) -> String {
    reader.var_string().expect("a string").to_owned()
}

fn read_struct(reader: &mut Reader<'_>, client: u64, clock: u32, out: &mut Elements) -> u32 {
    let info = reader.u8().expect("an info byte");
    let kind = info & 0x1f;
    let mut first = Element { kind, origin: None, right: None, parent: None, key: None, unit: Vec::new() };
    if kind != 0 && kind != 10 {
        first.origin = (info & 0x80 != 0).then(|| id(reader));
        first.right = (info & 0x40 != 0).then(|| id(reader));
        if info & 0xc0 == 0 {
            first.parent =
                Some(if uint(reader) == 1 { Parent::Root(string(reader)) } else { Parent::Item(id(reader)) });
            first.key = (info & 0x20 != 0).then(|| string(reader));
        }
    }
    let units = read_units(reader, kind);
    let count = units.len() as u32;
    for (at, unit) in (clock..).zip(units) {
        let follows = at > clock && kind != 0;
        let element = if follows {
            Element { origin: Some((client, at - 1)), parent: None, key: None, unit, ..first.clone() }
        } else {
            Element { unit, ..first.clone() }
        };
        if kind != 10 {
            let new = out.structs.insert((client, at), element).is_none();
            assert!(new, "element {client}:{at} comes twice in one update");
        }
    }
    clock + count
}

/// The content of each element.
fn read_units(reader: &mut Reader<'_>, kind: u8) -> Vec<Vec<u8>> {
    match kind {
        0 | 1 | 10 => vec![Vec::new(); uint(reader) as usize],
        2 => (0..uint(reader)).map(|_| string(reader).into_bytes()).collect(),
        4 => string(reader).encode_utf16().map(|unit| unit.to_be_bytes().to_vec()).collect(),
        8 => (0..uint(reader)).map(|_| since(reader, any)).collect(),
        3 | 5 => vec![reader.var_bytes().expect("content").to_vec()],
        6 => vec![since(reader, |reader| drop((string(reader), string(reader))))],
        7 => vec![since(reader, |reader| {
            if matches!(uint(reader), 3 | 5) {
                string(reader);
            }
        })],
        9 => vec![since(reader, |reader| {
            string(reader);
            any(reader);
        })],
        other => panic!("content kind {other}"),
    }
}

fn since(reader: &mut Reader<'_>, read: impl Fn(&mut Reader<'_>)) -> Vec<u8> {
    let start = reader.position();
    read(reader);
    reader.since(start).to_vec()
}

fn any(reader: &mut Reader<'_>) {
    match reader.u8().expect("a tag") {
        120 | 121 | 126 | 127 => {}
        125 => while reader.u8().expect("an integer") >= 0x80 {},
        124 => drop(reader.take(4).expect("a float")),
        122 | 123 => drop(reader.take(8).expect("a number")),
        116 | 119 => drop(reader.var_bytes().expect("bytes")),
        117 => (0..uint(reader)).for_each(|_| any(reader)),
        118 => (0..uint(reader)).for_each(|_| {
            string(reader);
            any(reader);
        }),
        tag => panic!("tag {tag}"),
    }
}

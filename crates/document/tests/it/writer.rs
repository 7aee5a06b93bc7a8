//! Writes v1 updates from parts: just enough for tests, and free to write what no client would.

use document::lib0::{write_var_bytes, write_var_uint};

/// One element's name: client, clock.
pub(crate) type Id = (u64, u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    Root(String),
    Item(Id),
}

/// Content with its kind and how many elements it is.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) kind: u8,
    pub(crate) len: u32,
    bytes: Vec<u8>,
}

impl Content {
    pub(crate) fn text(text: &str) -> Self {
        Self::new(4, text.encode_utf16().count() as u32, |out| write_var_bytes(out, text.as_bytes()))
    }

    /// Numbers, as an array holds them.
    pub(crate) fn numbers(numbers: &[u8]) -> Self {
        Self::new(8, numbers.len() as u32, |out| {
            out.push(numbers.len() as u8);
            out.extend(numbers.iter().flat_map(|number| [125, number & 0x3f]));
        })
    }

    pub(crate) fn json(texts: &[&str]) -> Self {
        Self::new(2, texts.len() as u32, |out| {
            out.push(texts.len() as u8);
            texts.iter().for_each(|text| write_var_bytes(out, text.as_bytes()));
        })
    }

    pub(crate) fn binary(bytes: &[u8]) -> Self {
        Self::new(3, 1, |out| write_var_bytes(out, bytes))
    }

    pub(crate) fn embed(json: &str) -> Self {
        Self::new(5, 1, |out| write_var_bytes(out, json.as_bytes()))
    }

    pub(crate) fn format(key: &str, json: &str) -> Self {
        Self::new(6, 1, |out| {
            write_var_bytes(out, key.as_bytes());
            write_var_bytes(out, json.as_bytes());
        })
    }

    /// A shared type; 3 and 5 have a name.
    pub(crate) fn shared(reference: u8) -> Self {
        Self::new(7, 1, |out| {
            out.push(reference);
            if matches!(reference, 3 | 5) {
                write_var_bytes(out, b"p");
            }
        })
    }

    pub(crate) fn document() -> Self {
        Self::new(9, 1, |out| {
            write_var_bytes(out, b"guid");
            out.extend([118, 0]);
        })
    }

    pub(crate) fn deleted(len: u32) -> Self {
        Self::new(1, len, |out| write_var_uint(out, u64::from(len)))
    }

    pub(crate) fn collected(len: u32) -> Self {
        Self::new(0, len, |out| write_var_uint(out, u64::from(len)))
    }

    pub(crate) fn hole(len: u32) -> Self {
        Self::new(10, len, |out| write_var_uint(out, u64::from(len)))
    }

    fn new(kind: u8, len: u32, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::new();
        write(&mut bytes);
        Self { kind, len, bytes }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) origin: Option<Id>,
    pub(crate) right: Option<Id>,
    /// Written only where there is neither origin nor right origin.
    pub(crate) parent: Parent,
    pub(crate) key: Option<&'static str>,
    pub(crate) content: Content,
}

impl Item {
    /// The first thing in the root type `t`.
    pub(crate) fn root(content: Content) -> Self {
        Self { origin: None, right: None, parent: Parent::Root("t".into()), key: None, content }
    }

    /// Behind something else.
    pub(crate) fn after(origin: Id, content: Content) -> Self {
        Self { origin: Some(origin), ..Self::root(content) }
    }

    /// The first thing in a type that an item holds.
    pub(crate) fn inside(holder: Id, content: Content) -> Self {
        Self { parent: Parent::Item(holder), ..Self::root(content) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let kind = self.content.kind;
        if matches!(kind, 0 | 10) {
            out.push(kind);
            return out.extend(&self.content.bytes);
        }
        let flags = [(self.origin.is_some(), 0x80), (self.right.is_some(), 0x40), (self.key.is_some(), 0x20)];
        out.push(kind | flags.iter().map(|&(set, bit)| if set { bit } else { 0 }).sum::<u8>());
        [self.origin, self.right].into_iter().flatten().for_each(|id| write_id(out, id));
        if self.origin.is_none() && self.right.is_none() {
            match &self.parent {
                Parent::Root(name) => {
                    out.push(1);
                    write_var_bytes(out, name.as_bytes());
                }
                Parent::Item(id) => {
                    out.push(0);
                    write_id(out, *id);
                }
            }
            if let Some(key) = self.key {
                write_var_bytes(out, key.as_bytes());
            }
        }
        out.extend(&self.content.bytes);
    }
}

fn write_id(out: &mut Vec<u8>, (client, clock): Id) {
    write_var_uint(out, client);
    write_var_uint(out, u64::from(clock));
}

/// One update: of each client its first clock and its items, and for each client the deleted ranges (clock, length).
pub(crate) fn write(sections: &[(u64, u32, Vec<Item>)], deletes: &[(u64, Vec<(u32, u32)>)]) -> Vec<u8> {
    let mut out = Vec::new();
    write_var_uint(&mut out, sections.len() as u64);
    for (client, clock, items) in sections {
        write_var_uint(&mut out, items.len() as u64);
        write_id(&mut out, (*client, *clock));
        items.iter().for_each(|item| item.write(&mut out));
    }
    write_var_uint(&mut out, deletes.len() as u64);
    for (client, ranges) in deletes {
        write_var_uint(&mut out, *client);
        write_var_uint(&mut out, ranges.len() as u64);
        ranges.iter().for_each(|&(clock, len)| write_id(&mut out, (u64::from(clock), len)));
    }
    out
}

/// An update of one item.
pub(crate) fn one(client: u64, clock: u32, item: Item) -> Vec<u8> {
    write(&[(client, clock, vec![item])], &[])
}

/// Text in the root type `t`: at clock 0 the first there, else behind the client's own last element.
pub(crate) fn typed(client: u64, clock: u32, text: &str) -> Vec<u8> {
    let content = Content::text(text);
    one(
        client,
        clock,
        clock.checked_sub(1).map_or(Item::root(content.clone()), |before| Item::after((client, before), content)),
    )
}

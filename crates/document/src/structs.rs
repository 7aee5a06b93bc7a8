//! The structs of one client in clock order, without gaps: neighbouring text squashed, contents in one arena.
//!
//! Owned by `Document`, which decides what is applied; this keeps it compactly and finds it again. A struct is 40 bytes plus its content.
//! Does not know other clients, and does not look inside content except to cut text.

use crate::lib0::Reader;
use crate::lib0::utf16_place;
use crate::ranges::Ranges;
use crate::wire::{ANY, BINARY, DELETED, GC, HAS_ORIGIN, HAS_RIGHT, HAS_SUB, JSON, KIND, STRING, skip_any};

/// An element's name with the client as its index in the document's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ref {
    pub(crate) client: u32,
    pub(crate) clock: u32,
}

impl Ref {
    /// No element.
    pub(crate) const NONE: Self = Self { client: u32::MAX, clock: 0 };
}

/// One struct. What it lacks against the wire form is in the arena (`place..place + bytes`): the key, when it has one, and the content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Struct {
    pub(crate) clock: u32,
    pub(crate) len: u32,
    pub(crate) origin: Ref,
    pub(crate) right: Ref,
    /// Index in the document's table of parents.
    pub(crate) parent: u32,
    pub(crate) place: u32,
    pub(crate) bytes: u32,
    pub(crate) info: u8,
}

impl Struct {
    pub(crate) fn kind(&self) -> u8 {
        self.info & KIND
    }

    pub(crate) fn end(&self) -> u32 {
        self.clock + self.len
    }

    /// A key precedes the content: only where the wire form names the parent.
    pub(crate) fn has_key(&self) -> bool {
        self.info & (HAS_SUB | HAS_ORIGIN | HAS_RIGHT) == HAS_SUB
    }
}

/// Everything of one client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    pub(crate) id: u64,
    /// Everything before this clock is in the document's base, not here.
    pub(crate) floor: u32,
    pub(crate) structs: Vec<Struct>,
    pub(crate) arena: Vec<u8>,
    pub(crate) deleted: Ranges,
}

impl Client {
    /// The clock of its next element.
    pub(crate) fn state(&self) -> u32 {
        self.structs.last().map_or(self.floor, Struct::end)
    }

    /// Index of the struct that holds `clock`, which must be below the state and not below the floor.
    pub(crate) fn find(&self, clock: u32) -> usize {
        match self.structs.last() {
            Some(last) if last.clock <= clock => self.structs.len() - 1,
            _ => self.structs.partition_point(|known| known.clock <= clock).saturating_sub(1),
        }
    }

    /// Appends a struct, whose clock is the state, joining it with the last one where readers would too.
    pub(crate) fn push(&mut self, mut next: Struct, key: Option<&[u8]>, content: &[u8], own_index: u32) {
        let joined = self.structs.last_mut().filter(|last| joins(last, &next, own_index));
        if let Some(last) = joined {
            last.len += next.len;
            last.bytes += content.len() as u32;
            self.arena.extend_from_slice(content);
            return;
        }
        next.place = self.arena.len() as u32;
        if let Some(key) = key {
            crate::lib0::write_var_bytes(&mut self.arena, key);
        }
        self.arena.extend_from_slice(content);
        next.bytes = self.arena.len() as u32 - next.place;
        self.structs.push(next);
    }

    /// The key and the content of one of its structs.
    pub(crate) fn payload(&self, known: &Struct) -> (Option<&[u8]>, &[u8]) {
        let stored = &self.arena[known.place as usize..(known.place + known.bytes) as usize];
        if !known.has_key() {
            return (None, stored);
        }
        let mut reader = Reader::new(stored);
        let key = reader.var_bytes().unwrap_or_default();
        (Some(key), &stored[reader.position()..])
    }
}

/// Whether readers see `last` then `next` as they would see both as one struct.
fn joins(last: &Struct, next: &Struct, own_index: u32) -> bool {
    let kind = next.kind();
    if last.kind() != kind || last.parent != next.parent {
        return false;
    }
    if kind == GC {
        return true;
    }
    matches!(kind, STRING | DELETED | ANY | JSON)
        && next.origin == Ref { client: own_index, clock: next.clock.wrapping_sub(1) }
        && next.right == last.right
        && (kind == DELETED || (last.info | next.info) & HAS_SUB == 0)
}

/// A piece of content, in the form without its count. A half of a surrogate pair at either end is not in the bytes: readers
/// see U+FFFD there.
pub(crate) struct Piece<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) starts_half: bool,
    pub(crate) ends_half: bool,
}

/// How far the content of one struct was cut: pieces come in order, and each goes on where the last one ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    element: u32,
    byte: usize,
}

impl Cursor {
    /// Cuts elements `from..to` out of content of `len` elements. `from` is not before the end of the last piece. Content of one element is returned whole.
    pub(crate) fn cut<'a>(&mut self, kind: u8, content: &'a [u8], from: u32, to: u32, len: u32) -> Piece<'a> {
        let whole = |bytes| Piece { bytes, starts_half: false, ends_half: false };
        match kind {
            _ if from == 0 && to == len => whole(content),
            STRING if content.len() == len as usize => whole(&content[from as usize..to as usize]),
            STRING => {
                let starts_half = self.seek_unit(content, from);
                let start = if starts_half { self.byte + 4 } else { self.byte };
                let ends_half = self.seek_unit(content, to);
                Piece { bytes: &content[start..self.byte.max(start)], starts_half, ends_half }
            }
            ANY | JSON => {
                self.seek_element(kind, content, from);
                let start = self.byte;
                self.seek_element(kind, content, to);
                whole(&content[start..self.byte])
            }
            _ => {
                debug_assert!(kind >= BINARY || kind <= DELETED, "content of one element is never cut");
                whole(content)
            }
        }
    }

    /// Goes to a UTF-16 unit; true when that is the second half of a pair, whose character it then stays at.
    fn seek_unit(&mut self, text: &[u8], unit: u32) -> bool {
        let (bytes, half) = utf16_place(&text[self.byte..], (unit - self.element) as usize);
        (self.byte, self.element) = (self.byte + bytes, if half { unit - 1 } else { unit });
        half
    }

    fn seek_element(&mut self, kind: u8, content: &[u8], element: u32) {
        let mut reader = Reader::new(&content[self.byte..]);
        for _ in self.element..element {
            let skipped = if kind == ANY { skip_any::<false>(&mut reader).is_ok() } else { reader.var_bytes().is_ok() };
            debug_assert!(skipped, "content was validated before it was stored");
        }
        (self.byte, self.element) = (self.byte + reader.position(), element);
    }
}

//! Writes structs back into the v1 wire form: whole, cut at either end, replaced by deleted or collected content.
//!
//! Called by `Document` for diffs, relayed parts and snapshots. Content bytes are copied as they came. Does not decide what is sent to whom.

use crate::lib0::write_var_uint;
use crate::structs::{Client, Cursor, Piece, Ref, Struct};
use crate::wire::{ANY, DELETED, GC, HAS_ORIGIN, HAS_RIGHT, HAS_SUB, JSON, KIND, RawStruct, SKIP, STRING};

/// What readers put in the place of half a surrogate pair.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// What an item's parent looks like on the wire.
pub(crate) enum ParentName<'a> {
    Root(&'a [u8]),
    Item(u64, u32),
}

/// The structs of one client, written one after the other; neighbours without content are joined.
#[derive(Default)]
pub(crate) struct Section {
    body: Vec<u8>,
    structs: u64,
    first: Option<u32>,
    end: u32,
    /// The deleted or collected stretch written last, all but its length: it may still grow.
    run: Option<Run>,
}

/// A stretch of elements without content, from one or several structs.
struct Run {
    kind: u8,
    len: u32,
    right: Option<(u64, u32)>,
}

impl Section {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Clock behind the last element written.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// Ends the section: `varuint structs, varuint client, varuint clock, structs`.
    pub(crate) fn finish(mut self, client: u64, out: &mut Vec<u8>) {
        let Some(first) = self.first else { return };
        self.write_run();
        write_var_uint(out, self.structs);
        write_var_uint(out, client);
        write_var_uint(out, u64::from(first));
        out.extend_from_slice(&self.body);
    }

    /// A hole of `len` elements.
    pub(crate) fn skip(&mut self, clock: u32, len: u32) {
        self.begin(clock, len);
        self.body.push(SKIP);
        write_var_uint(&mut self.body, u64::from(len));
    }

    /// Elements of a collected type, joined with collected neighbours.
    pub(crate) fn collected(&mut self, clock: u32, len: u32) {
        if !self.grow_run(GC, len, None) {
            self.begin(clock, len);
            self.body.push(GC);
            self.run = Some(Run { kind: GC, len, right: None });
        }
    }

    /// A struct as it came, without its first `offset` elements.
    pub(crate) fn raw(&mut self, client: u64, clock: u32, raw: &RawStruct<'_>, offset: u32) {
        self.begin(clock + offset, raw.len - offset);
        if offset == 0 {
            self.body.extend_from_slice(raw.raw);
            return;
        }
        let right = raw.right.map(|id| (id.client, id.clock));
        let origin = Some((client, clock + offset - 1));
        let kind = raw.kind();
        if kind == GC || kind == SKIP {
            self.body.push(kind);
            return write_var_uint(&mut self.body, u64::from(raw.len - offset));
        }
        self.head(raw.info, origin, right);
        let piece = Cursor::default().cut(kind, raw.content, offset, raw.len, raw.len);
        write_content(&mut self.body, kind, &piece, raw.len - offset);
    }

    /// Structs as they stand in an update, from clock `from` to `end`.
    pub(crate) fn many(&mut self, structs: u64, from: u32, end: u32, bytes: &[u8]) {
        if structs > 0 {
            self.begin(from, end - from);
            self.structs += structs - 1;
            self.body.extend_from_slice(bytes);
        }
    }

    fn begin(&mut self, clock: u32, len: u32) {
        self.write_run();
        debug_assert!(self.first.is_none() || clock == self.end, "structs of a section follow each other");
        self.first.get_or_insert(clock);
        self.end = clock + len;
        self.structs += 1;
    }

    /// Adds to the stretch written last if that is of the same kind and has the same right origin.
    fn grow_run(&mut self, kind: u8, len: u32, right: Option<(u64, u32)>) -> bool {
        let Some(run) = self.run.as_mut().filter(|run| run.kind == kind && run.right == right) else { return false };
        run.len += len;
        self.end += len;
        true
    }

    fn write_run(&mut self) {
        if let Some(run) = self.run.take() {
            write_var_uint(&mut self.body, u64::from(run.len));
        }
    }

    /// The info byte and the references; where there are none the caller has written the parent's place itself.
    fn head(&mut self, info: u8, origin: Option<(u64, u32)>, right: Option<(u64, u32)>) {
        let flags = if origin.is_some() { HAS_ORIGIN } else { 0 } | if right.is_some() { HAS_RIGHT } else { 0 };
        self.body.push(info & (KIND | HAS_SUB) | flags);
        for (client, clock) in [origin, right].into_iter().flatten() {
            write_var_uint(&mut self.body, client);
            write_var_uint(&mut self.body, u64::from(clock));
        }
    }
}

/// The table that gives indexes their names back.
pub(crate) trait Names {
    fn client(&self, index: u32) -> u64;
    fn parent(&self, index: u32) -> ParentName<'_>;
}

/// A stretch of one struct: elements `from..to`, with their content or (`deleted`) without.
#[derive(Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) deleted: bool,
}

/// One stretch of a struct of the store. `cursor` is the struct's own, new for its first stretch.
pub(crate) fn write_struct(
    section: &mut Section,
    names: &impl Names,
    client: &Client,
    known: &Struct,
    cursor: &mut Cursor,
    stretch: Stretch,
) {
    let Stretch { from, to, deleted } = stretch;
    if known.kind() == GC {
        return section.collected(from, to - from);
    }
    let name = |reference: Ref| (reference != Ref::NONE).then(|| (names.client(reference.client), reference.clock));
    let origin = if from > known.clock { Some((client.id, from - 1)) } else { name(known.origin) };
    let right = name(known.right);
    let (key, content) = client.payload(known);
    let deleted = deleted || known.kind() == DELETED;
    let info = if deleted { known.info & !KIND | DELETED } else { known.info };
    let follows = origin == from.checked_sub(1).map(|clock| (client.id, clock));
    if deleted && follows && section.grow_run(DELETED, to - from, right) {
        return;
    }
    section.begin(from, to - from);
    section.head(info, origin, right);
    if origin.is_none() && right.is_none() {
        write_parent(&mut section.body, &names.parent(known.parent), key);
    }
    if deleted {
        section.run = Some(Run { kind: DELETED, len: to - from, right });
        return;
    }
    let piece = cursor.cut(known.kind(), content, from - known.clock, to - known.clock, known.len);
    write_content(&mut section.body, known.kind(), &piece, to - from);
}

fn write_parent(out: &mut Vec<u8>, parent: &ParentName<'_>, key: Option<&[u8]>) {
    match parent {
        ParentName::Root(name) => {
            out.push(1);
            crate::lib0::write_var_bytes(out, name);
        }
        &ParentName::Item(client, clock) => {
            out.push(0);
            write_var_uint(out, client);
            write_var_uint(out, u64::from(clock));
        }
    }
    if let Some(key) = key {
        crate::lib0::write_var_bytes(out, key);
    }
}

fn write_content(out: &mut Vec<u8>, kind: u8, piece: &Piece<'_>, len: u32) {
    match kind {
        STRING => {
            let halves = usize::from(piece.starts_half) + usize::from(piece.ends_half);
            write_var_uint(out, (piece.bytes.len() + halves * REPLACEMENT.len()) as u64);
            if piece.starts_half {
                out.extend_from_slice(REPLACEMENT);
            }
            out.extend_from_slice(piece.bytes);
            if piece.ends_half {
                out.extend_from_slice(REPLACEMENT);
            }
        }
        ANY | JSON => {
            write_var_uint(out, u64::from(len));
            out.extend_from_slice(piece.bytes);
        }
        DELETED => write_var_uint(out, u64::from(len)),
        _ => out.extend_from_slice(piece.bytes),
    }
}

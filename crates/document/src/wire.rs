//! The Yjs v1 wire format: one pass that accepts or rejects untrusted bytes, and the same walk for those who read accepted ones.
//!
//! Called by the dialects (`Update::validate`, `StateVector::decode`) before anything else sees the bytes, and by the struct store.
//! The walk neither allocates nor recurses; only an update whose clients are out of order, which no known writer makes, costs one
//! allocation, bounded by its bytes. Rejects what would make any reader misbehave: counts that the bytes cannot hold, zero lengths, clocks of 2^31
//! or more, items that refer to themselves or their own future, JSON that `JSON.parse` refuses. Knows nothing about what is already in a document.

use crate::json::{Json, scan};
use crate::lib0::{ReadError, Reader, utf16_len, write_var_uint};
use crate::limits::{Exceeded, MessageLimits};
use crate::survey::{Survey, Surveyed, Surveyor};

/// Clocks, lengths and their sums stay below this: readers keep them in 32-bit integers.
const CLOCK_END: u64 = 1 << 31;
/// Names of root types are application constants; 1 KB is generous.
const ROOT_NAME_BYTES_MAX: usize = 1024;
/// Deepest nesting of an `Any` value. Readers recurse.
const ANY_DEPTH_MAX: usize = 64;

pub(crate) const GC: u8 = 0;
pub(crate) const DELETED: u8 = 1;
pub(crate) const JSON: u8 = 2;
pub(crate) const BINARY: u8 = 3;
pub(crate) const STRING: u8 = 4;
pub(crate) const EMBED: u8 = 5;
pub(crate) const FORMAT: u8 = 6;
pub(crate) const TYPE: u8 = 7;
pub(crate) const ANY: u8 = 8;
pub(crate) const DOC: u8 = 9;
pub(crate) const SKIP: u8 = 10;
/// Bits of the info byte: the kind, and which fields follow.
pub(crate) const KIND: u8 = 0x1f;
pub(crate) const HAS_SUB: u8 = 0x20;
pub(crate) const HAS_RIGHT: u8 = 0x40;
pub(crate) const HAS_ORIGIN: u8 = 0x80;

/// Bytes that are not what they claim to be: nothing of them is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A value could not be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The bytes break a rule of the format.
    #[error("{0}")]
    Rule(&'static str),
}

/// Why an update or state vector is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not in the format at all.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// In the format, but beyond a bound.
    #[error("{0}")]
    Exceeded(#[from] Exceeded),
}

impl From<Malformed> for Invalid {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<ReadError> for Invalid {
    fn from(error: ReadError) -> Self {
        Self::Malformed(error.into())
    }
}

/// A Yjs v1 update that passed validation: `varuint clients, sections, varuint delete clients, delete sections`.
/// The only way to get one is `validate`, so whoever holds one need not look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update<B>(B);

impl<B: AsRef<[u8]>> Update<B> {
    /// Checks the bytes. Costs about 30 ns for a keystroke and 1 us a KB.
    pub fn validate(bytes: B, limits: &MessageLimits) -> Result<Self, Invalid> {
        let slice = bytes.as_ref();
        if slice.len() > limits.update_bytes_max {
            return Err(Exceeded::UpdateBytes(limits.update_bytes_max).into());
        }
        check(slice, limits, &mut ())?;
        Ok(Self(bytes))
    }

    /// Checks the bytes, and in the same pass notes what is where in them.
    pub(crate) fn survey(bytes: B, limits: &MessageLimits) -> Result<(Self, Survey), Invalid> {
        let mut survey = Survey { is_whole: true, ..Survey::default() };
        check(bytes.as_ref(), limits, &mut survey)?;
        Ok((Self(bytes), survey))
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// The bytes as they came, in what holds them.
    pub(crate) fn inner(&self) -> &B {
        &self.0
    }

    /// Gives the bytes back.
    pub fn into_bytes(self) -> B {
        self.0
    }

    pub(crate) fn sections(&self) -> Sections<'_> {
        sections(self.0.as_ref())
    }
}

/// A Yjs state vector: for each client the clock up to which somebody has everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateVector(Vec<(u64, u32)>);

impl StateVector {
    /// Reads `varuint count, (varuint client, varuint clock)*`. Allocates at most eight times the bytes given.
    pub fn decode(bytes: &[u8], limits: &MessageLimits) -> Result<Self, Invalid> {
        if bytes.len() > limits.state_vector_bytes_max {
            return Err(Exceeded::StateVectorBytes(limits.state_vector_bytes_max).into());
        }
        let mut reader = Reader::new(bytes);
        let count = counted(&mut reader, 2)?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let client = reader.var_uint()?;
            let clock = reader.var_uint()?;
            entries.push((client, below_end(clock)?));
        }
        if !reader.is_empty() {
            return Err(Malformed::Rule("bytes after the end").into());
        }
        entries.sort_by_key(|&(client, _)| client);
        Ok(Self(entries))
    }

    /// Makes one from entries in any order.
    pub fn from_entries(mut entries: Vec<(u64, u32)>) -> Self {
        entries.sort_by_key(|&(client, _)| client);
        Self(entries)
    }

    /// The clock of a client, 0 when it is not named. The last entry counts when one is named twice.
    pub fn clock(&self, client: u64) -> u32 {
        let after = self.0.partition_point(|&(known, _)| known <= client);
        self.0[..after].last().filter(|&&(known, _)| known == client).map_or(0, |&(_, clock)| clock)
    }

    /// Entries by ascending client.
    pub fn entries(&self) -> &[(u64, u32)] {
        &self.0
    }

    /// Writes it, highest client first, as Yjs does.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.0.len() * 6);
        write_var_uint(&mut out, self.0.len() as u64);
        for &(client, clock) in self.0.iter().rev() {
            write_var_uint(&mut out, client);
            write_var_uint(&mut out, u64::from(clock));
        }
        out
    }
}

/// One element's name: the client that made it, and its clock there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) client: u64,
    pub(crate) clock: u32,
}

/// Where an item belongs, as far as the wire says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent<'a> {
    /// That of its origin or right origin.
    Inherited,
    /// A root type of this name.
    Root(&'a [u8]),
    /// The type that this item holds.
    Item(Id),
}

/// One struct on the wire. `content` is without the count that precedes text, JSON and Any elements, so that it can be cut and joined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawStruct<'a> {
    pub(crate) info: u8,
    pub(crate) len: u32,
    pub(crate) origin: Option<Id>,
    pub(crate) right: Option<Id>,
    pub(crate) parent: Parent<'a>,
    pub(crate) sub: Option<&'a [u8]>,
    pub(crate) content: &'a [u8],
    /// The whole struct as it came.
    pub(crate) raw: &'a [u8],
}

impl RawStruct<'_> {
    pub(crate) fn kind(&self) -> u8 {
        self.info & KIND
    }

    /// Everything that must be known before this struct can be applied.
    pub(crate) fn dependencies(&self) -> impl Iterator<Item = Id> {
        let parent = match self.parent {
            Parent::Item(id) => Some(id),
            _ => None,
        };
        [self.origin, self.right, parent].into_iter().flatten()
    }
}

/// The struct sections of an accepted update, one after the other.
pub(crate) struct Sections<'a> {
    reader: Reader<'a>,
    remaining: u64,
}

impl<'a> Sections<'a> {
    /// The next section, from its first struct on. Give it (or a copy) back to `close` before asking again.
    pub(crate) fn open(&mut self) -> Option<Section<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let structs = self.reader.var_uint().ok()?;
        let client = self.reader.var_uint().ok()?;
        let clock = self.reader.var_uint().ok()? as u32;
        Some(Section { reader: self.reader.clone(), client, clock, remaining: structs })
    }

    /// Goes on behind a section, passing over what was not read of it.
    pub(crate) fn close(&mut self, mut section: Section<'a>) {
        while section.next().is_some() {}
        self.reader = section.reader;
    }

    /// The delete sections, which follow. All struct sections must have been read.
    pub(crate) fn deletes(mut self) -> Deletes<'a> {
        let sections = self.reader.var_uint().unwrap_or(0);
        Deletes { reader: self.reader, sections, ranges: 0, client: 0 }
    }
}

/// The structs of one client in an accepted update. A copy is a place to come back to.
#[derive(Clone)]
pub(crate) struct Section<'a> {
    reader: Reader<'a>,
    remaining: u64,
    clock: u32,
    pub(crate) client: u64,
}

impl<'a> Section<'a> {
    /// How many structs there still are, and all bytes from the next one on, also those behind the section.
    pub(crate) fn rest(&self) -> (u64, &'a [u8]) {
        (self.remaining, self.reader.rest())
    }

    /// The next struct and its clock.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(u32, RawStruct<'a>)> {
        self.remaining = self.remaining.checked_sub(1)?;
        let clock = self.clock;
        let raw = read_struct::<false>(&mut self.reader, Id { client: self.client, clock }).ok()?;
        self.clock += raw.len;
        Some((clock, raw))
    }
}

/// The delete ranges of an accepted update: `(client, start, end)`.
pub(crate) struct Deletes<'a> {
    reader: Reader<'a>,
    sections: u64,
    ranges: u64,
    client: u64,
}

impl Iterator for Deletes<'_> {
    type Item = (u64, u32, u32);

    fn next(&mut self) -> Option<Self::Item> {
        while self.ranges == 0 {
            self.sections = self.sections.checked_sub(1)?;
            self.client = self.reader.var_uint().ok()?;
            self.ranges = self.reader.var_uint().ok()?;
        }
        self.ranges -= 1;
        let start = self.reader.var_uint().ok()? as u32;
        let len = self.reader.var_uint().ok()? as u32;
        Some((self.client, start, start + len))
    }
}

fn check(bytes: &[u8], limits: &MessageLimits, surveyor: &mut impl Surveyor) -> Result<(), Invalid> {
    let mut reader = Reader::new(bytes);
    let mut budget = limits.structs_max;
    let sections = counted(&mut reader, 4)?;
    clients_within(sections, limits)?;
    let mut order = Order::default();
    for _ in 0..sections {
        let at = reader.position();
        let count = counted(&mut reader, 2)?;
        let client = reader.var_uint()?;
        let first = below_end(reader.var_uint()?)?;
        let mut clock = first;
        order.see(client);
        spend(&mut budget, count, limits)?;
        for _ in 0..count {
            let raw = read_struct::<true>(&mut reader, Id { client, clock })?;
            if raw.kind() == SKIP {
                surveyor.hole();
            }
            clock = end_of(clock, u64::from(raw.len))?;
        }
        surveyor.structs(count, first, Surveyed { client, end: clock, at });
    }
    surveyor.deletes(reader.position(), !order.broken);
    let deletes = reader.clone();
    let delete_order = check_deletes(&mut reader, &mut budget, limits)?;
    if !reader.is_empty() {
        return Err(Malformed::Rule("bytes after the end").into());
    }
    if order.broken {
        structs_named_once(bytes)?;
    }
    if delete_order.broken {
        deletes_named_once(deletes)?;
    }
    Ok(())
}

fn check_deletes(reader: &mut Reader<'_>, budget: &mut usize, limits: &MessageLimits) -> Result<Order, Invalid> {
    let sections = counted(reader, 4)?;
    clients_within(sections, limits)?;
    let mut order = Order::default();
    for _ in 0..sections {
        order.see(reader.var_uint()?);
        let count = counted(reader, 2)?;
        spend(budget, count, limits)?;
        for _ in 0..count {
            let clock = below_end(reader.var_uint()?)?;
            end_of(clock, reader.var_uint()?)?;
        }
    }
    Ok(order)
}

/// Whether clients come strictly descending, as every known writer has them: then none is named twice.
#[derive(Default)]
struct Order {
    last: Option<u64>,
    broken: bool,
}

impl Order {
    fn see(&mut self, client: u64) {
        self.broken |= self.last.is_some_and(|last| client >= last);
        self.last = Some(client);
    }
}

/// The slow way for sections in any other order. Called when everything was found well-formed.
fn structs_named_once(bytes: &[u8]) -> Result<(), Invalid> {
    let mut sections = sections(bytes);
    let mut clients = Vec::new();
    while let Some(section) = sections.open() {
        clients.push(section.client);
        sections.close(section);
    }
    all_different(clients)
}

/// The delete ranges that begin here in an accepted update.
pub(crate) fn deletes_at(bytes: &[u8]) -> Deletes<'_> {
    Sections { reader: Reader::new(bytes), remaining: 0 }.deletes()
}

/// The section of structs that begins here in an accepted update.
pub(crate) fn section_at(bytes: &[u8]) -> Option<Section<'_>> {
    Sections { reader: Reader::new(bytes), remaining: 1 }.open()
}

fn deletes_named_once(mut reader: Reader<'_>) -> Result<(), Invalid> {
    let mut clients = Vec::new();
    for _ in 0..reader.var_uint()? {
        clients.push(reader.var_uint()?);
        for _ in 0..reader.var_uint()? {
            reader.var_uint()?;
            reader.var_uint()?;
        }
    }
    all_different(clients)
}

fn sections(bytes: &[u8]) -> Sections<'_> {
    let mut reader = Reader::new(bytes);
    let remaining = reader.var_uint().unwrap_or(0);
    Sections { reader, remaining }
}

fn all_different(mut clients: Vec<u64>) -> Result<(), Invalid> {
    clients.sort_unstable();
    if clients.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Malformed::Rule("a client is named twice").into());
    }
    Ok(())
}

/// A count of things of at least `bytes_each`, refused when the bytes that remain cannot hold it.
fn counted(reader: &mut Reader<'_>, bytes_each: u64) -> Result<u64, Invalid> {
    let count = reader.var_uint()?;
    if count > reader.remaining() as u64 / bytes_each {
        return Err(Malformed::Rule("a count is larger than the bytes that follow").into());
    }
    Ok(count)
}

fn clients_within(sections: u64, limits: &MessageLimits) -> Result<(), Invalid> {
    if sections > limits.clients_max as u64 { Err(Exceeded::Clients(limits.clients_max).into()) } else { Ok(()) }
}

fn spend(budget: &mut usize, count: u64, limits: &MessageLimits) -> Result<(), Invalid> {
    if count == 0 {
        return Err(Malformed::Rule("a client without content").into());
    }
    *budget = budget.checked_sub(count as usize).ok_or(Exceeded::Structs(limits.structs_max))?;
    Ok(())
}

fn below_end(clock: u64) -> Result<u32, Invalid> {
    if clock < CLOCK_END { Ok(clock as u32) } else { Err(Malformed::Rule("a clock of 2^31 or more").into()) }
}

/// Where `len` elements from `clock` on end.
#[inline]
fn end_of(clock: u32, len: u64) -> Result<u32, Invalid> {
    if len == 0 {
        return Err(Malformed::Rule("a length of zero").into());
    }
    below_end(u64::from(clock).saturating_add(len))
}

/// Reads one struct again from the bytes that a walk has seen as `raw`.
pub(crate) fn reread(raw: &[u8], id: Id) -> Option<RawStruct<'_>> {
    read_struct::<false>(&mut Reader::new(raw), id).ok()
}

#[inline]
fn read_struct<'a, const CHECK: bool>(reader: &mut Reader<'a>, id: Id) -> Result<RawStruct<'a>, Invalid> {
    let start = reader.position();
    let info = reader.u8()?;
    let kind = info & KIND;
    if kind == GC || kind == SKIP {
        let len = reader.var_uint()?;
        end_of(id.clock, len)?;
        let raw = reader.since(start);
        return Ok(RawStruct {
            info: kind,
            len: len as u32,
            origin: None,
            right: None,
            parent: Parent::Inherited,
            sub: None,
            content: &[],
            raw,
        });
    }
    let origin = read_reference(reader, info & HAS_ORIGIN != 0, id)?;
    let right = read_reference(reader, info & HAS_RIGHT != 0, id)?;
    let (mut parent, mut sub) = (Parent::Inherited, None);
    if info & (HAS_ORIGIN | HAS_RIGHT) == 0 {
        parent = read_parent::<CHECK>(reader, id)?;
        if info & HAS_SUB != 0 {
            sub = Some(text::<CHECK>(reader)?);
        }
    }
    let (len, content) = read_content::<CHECK>(reader, kind)?;
    let raw = reader.since(start);
    end_of(id.clock, len)?;
    Ok(RawStruct { info, len: len as u32, origin, right, parent, sub, content, raw })
}

#[inline]
fn read_reference(reader: &mut Reader<'_>, present: bool, own: Id) -> Result<Option<Id>, Invalid> {
    if !present {
        return Ok(None);
    }
    let client = reader.var_uint()?;
    let clock = below_end(reader.var_uint()?)?;
    // Readers look such an item up before they have it, and throw.
    if client == own.client && clock >= own.clock {
        return Err(Malformed::Rule("an item refers to its own future").into());
    }
    Ok(Some(Id { client, clock }))
}

fn read_parent<'a, const CHECK: bool>(reader: &mut Reader<'a>, own: Id) -> Result<Parent<'a>, Invalid> {
    if reader.var_uint()? != 1 {
        return Ok(read_reference(reader, true, own)?.map_or(Parent::Inherited, Parent::Item));
    }
    let name = text::<CHECK>(reader)?;
    if name.len() > ROOT_NAME_BYTES_MAX {
        return Err(Malformed::Rule("name of a root type longer than 1,024 bytes").into());
    }
    Ok(Parent::Root(name))
}

#[inline]
fn text<'a, const CHECK: bool>(reader: &mut Reader<'a>) -> Result<&'a [u8], ReadError> {
    if CHECK { reader.var_string().map(str::as_bytes) } else { reader.var_bytes() }
}

#[inline]
fn read_content<'a, const CHECK: bool>(reader: &mut Reader<'a>, kind: u8) -> Result<(u64, &'a [u8]), Invalid> {
    let start = reader.position();
    match kind {
        STRING => {
            let text = text::<CHECK>(reader)?;
            return Ok((utf16_len(text) as u64, text));
        }
        DELETED => return Ok((reader.var_uint()?, &[])),
        ANY | JSON => {
            let count = counted(reader, 1)?;
            let start = reader.position();
            for _ in 0..count {
                if kind == ANY { skip_any::<CHECK>(reader)? } else { legacy_json::<CHECK>(reader)? }
            }
            return Ok((count, reader.since(start)));
        }
        BINARY => {
            reader.var_bytes()?;
        }
        EMBED => json::<CHECK>(reader)?,
        FORMAT => {
            text::<CHECK>(reader)?;
            json::<CHECK>(reader)?;
        }
        TYPE => read_type::<CHECK>(reader)?,
        DOC => {
            text::<CHECK>(reader)?;
            // Readers take the options apart as an object, and throw on null.
            if CHECK && reader.clone().u8()? != 118 {
                return Err(Malformed::Rule("options of a sub-document are not an object").into());
            }
            skip_any::<CHECK>(reader)?;
        }
        _ => return Err(Exceeded::Kind(kind).into()),
    }
    Ok((1, reader.since(start)))
}

fn read_type<const CHECK: bool>(reader: &mut Reader<'_>) -> Result<(), Invalid> {
    match reader.var_uint()? {
        3 | 5 => {
            text::<CHECK>(reader)?;
            Ok(())
        }
        0 | 1 | 2 | 4 | 6 => Ok(()),
        unknown => Err(Exceeded::TypeRef(unknown).into()),
    }
}

fn json<const CHECK: bool>(reader: &mut Reader<'_>) -> Result<(), Invalid> {
    let value = text::<CHECK>(reader)?;
    if CHECK { check_json(value) } else { Ok(()) }
}

fn legacy_json<const CHECK: bool>(reader: &mut Reader<'_>) -> Result<(), Invalid> {
    let value = text::<CHECK>(reader)?;
    if CHECK && value != b"undefined" { check_json(value) } else { Ok(()) }
}

fn check_json(text: &[u8]) -> Result<(), Invalid> {
    match scan(text) {
        Json::Valid => Ok(()),
        Json::Invalid => Err(Malformed::Rule("invalid JSON").into()),
        Json::TooDeep(depth) => Err(Exceeded::ValueDepth(depth).into()),
    }
}

/// Skips one `Any` value. A frame of the stack is how many values are still to come, and whether each has a key.
pub(crate) fn skip_any<const CHECK: bool>(reader: &mut Reader<'_>) -> Result<(), Invalid> {
    let mut stack = [(0u64, false); ANY_DEPTH_MAX];
    let mut depth = 0;
    loop {
        match reader.u8()? {
            127 | 126 | 121 | 120 => {}
            125 => reader.skip_var_int()?,
            124 => skip(reader.take(4)?),
            123 | 122 => skip(reader.take(8)?),
            119 => skip(text::<CHECK>(reader)?),
            116 => skip(reader.var_bytes()?),
            tag @ (118 | 117) => {
                let keyed = tag == 118;
                let count = counted(reader, if keyed { 2 } else { 1 })?;
                let frame = stack.get_mut(depth).ok_or(Exceeded::ValueDepth(ANY_DEPTH_MAX as u32))?;
                *frame = (count, keyed);
                depth += 1;
            }
            _ => return Err(Malformed::Rule("unknown kind of value").into()),
        }
        while depth > 0 && stack[depth - 1].0 == 0 {
            depth -= 1;
        }
        let Some(frame) = depth.checked_sub(1).map(|top| &mut stack[top]) else { return Ok(()) };
        frame.0 -= 1;
        if frame.1 {
            text::<CHECK>(reader)?;
        }
    }
}

fn skip(_: &[u8]) {}

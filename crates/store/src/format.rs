//! The shape of one log record, and nothing else: bytes in, bytes out.
//!
//! Called by the embedded log (writing), its scan (finding records after a start) and its readers. Knows no
//! files. A record is a head and a body with a checksum each, so that a record whose body is damaged can still
//! be named (room, offset) and skipped by its length. All numbers are little-endian:
//!
//! ```text
//! head   magic [4], version u8, kind u8, room length u16, epoch u64, offset u64, changes u32, body length u32,
//!        body crc32c u32, room name, head crc32c u32
//! body   per change: author length u16, time in ms u64, length u32, author, bytes
//! ```
//!
//! The head's checksum also covers the segment's number and the place in it. So bytes that look like a record
//! but lie elsewhere (stale blocks, or a change whose sender put a record inside it) never pass for one.
//! The head keeps this shape in every version; the version speaks of the body and of the kinds.

use crate::{Change, Position, RoomKey};
use bytes::Bytes;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// The version that this program writes and reads.
pub(crate) const VERSION: u8 = 1;
/// First bytes of every record. Not UTF-8, and rare in Yjs updates, so that a scan seldom stops in vain.
pub(crate) const MAGIC: [u8; 4] = [0xc5, 0x9d, 0xf6, 0x0a];
/// Bytes of a head without the room's name.
const HEAD_FIXED_BYTES: usize = 40;
const CRC_BYTES: usize = 4;
/// Bytes of a change in a body without its author and content.
const CHANGE_FIXED_BYTES: usize = 14;
/// Longest room name: what a URL path of the longest supported client allows, plus a prefix.
pub(crate) const ROOM_BYTES_MAX: usize = 1_100;
/// Longest author: an authenticated identity.
const AUTHOR_BYTES_MAX: usize = 256;
/// Longest body: places in a segment are kept as 32 bits, and a batch of this size is a mistake in any case.
const BODY_BYTES_MAX: usize = 1 << 30;
/// A head with the longest room name: what a reader has to look at to know a record.
pub(crate) const HEAD_BYTES_MAX: usize = HEAD_FIXED_BYTES + ROOM_BYTES_MAX;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The changes of one append.
    Changes = 1,
    /// This life of the room has ended; `offset` is its head at that moment.
    Deleted = 2,
}

/// The head of a record, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) room: RoomKey,
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    pub(crate) count: u32,
    pub(crate) body_bytes: u32,
    pub(crate) body_crc: u32,
}

impl Head {
    /// Bytes of the head itself.
    pub(crate) fn bytes(&self) -> usize {
        HEAD_FIXED_BYTES + self.room.len()
    }

    /// Bytes of the whole record.
    pub(crate) fn record_bytes(&self) -> u64 {
        self.bytes() as u64 + u64::from(self.body_bytes)
    }

    /// Whether `body` is what was written.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize && crc32c::crc32c(body) == self.body_crc
    }
}

/// What the bytes at a place are.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// The head of a record of this version.
    Head(Head),
    /// The intact head of a record that another version of the program wrote.
    Version(u8),
    /// No intact head.
    Bad,
}

/// Reads the head at the beginning of `bytes`, which lies at `at` in segment `segment`. Needs
/// `HEAD_BYTES_MAX` bytes, or fewer at the end of the file.
pub(crate) fn parse_head(bytes: &[u8], segment: u64, at: u64) -> Parsed {
    read_head(bytes, segment, at).unwrap_or(Parsed::Bad)
}

fn read_head(bytes: &[u8], segment: u64, at: u64) -> Option<Parsed> {
    let fixed = bytes.first_chunk::<{ HEAD_FIXED_BYTES - CRC_BYTES }>()?;
    let room_bytes = usize::from(u16_at(fixed, 6)?);
    if fixed[..4] != MAGIC || room_bytes == 0 || room_bytes > ROOM_BYTES_MAX {
        return None;
    }
    let crc_at = fixed.len() + room_bytes;
    let crc = u32_at(bytes, crc_at)?;
    if head_crc(&bytes[..crc_at], segment, at) != crc {
        return None;
    }
    if fixed[4] != VERSION {
        return Some(Parsed::Version(fixed[4]));
    }
    let kind = match fixed[5] {
        1 => Kind::Changes,
        2 => Kind::Deleted,
        _ => return None,
    };
    let room = Arc::from(std::str::from_utf8(&bytes[fixed.len()..crc_at]).ok()?);
    let (epoch, offset) = (u64_at(fixed, 8)?, u64_at(fixed, 16)?);
    let (count, body_bytes, body_crc) = (u32_at(fixed, 24)?, u32_at(fixed, 28)?, u32_at(fixed, 32)?);
    Some(Parsed::Head(Head { kind, room, epoch, offset, count, body_bytes, body_crc }))
}

fn head_crc(head: &[u8], segment: u64, at: u64) -> u32 {
    // One call for both numbers: most of the price of a short checksum is the call.
    let place = (u128::from(at) << 64) | u128::from(segment);
    crc32c::crc32c_append(crc32c::crc32c(&place.to_le_bytes()), head)
}

/// Records that are complete but for their places, one behind the other, so that the work is done before the log's
/// lock is taken. Cleared and used again, as most of an append would else be allocation.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    records: Vec<Drafted>,
}

/// One record of a draft.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drafted {
    /// Offset of its first change.
    pub(crate) first: u64,
    /// How many changes.
    pub(crate) count: u32,
    /// Where it begins in the draft.
    pub(crate) at: u32,
    /// Length of the record.
    pub(crate) bytes: u32,
    /// Checksum of its body.
    pub(crate) body_crc: u32,
    /// The time of its newest change, in milliseconds since the Unix epoch.
    pub(crate) newest_ms: u64,
    head_bytes: u16,
}

impl Drafted {
    fn range(&self) -> Range<usize> {
        self.at as usize..self.at as usize + self.bytes as usize
    }
}

impl Draft {
    /// A draft of the end of the life `at.epoch`.
    pub(crate) fn of_end(room: &RoomKey, at: Position) -> io::Result<Self> {
        let mut draft = Self::default();
        draft.add_end(room, at)?;
        Ok(draft)
    }

    /// Adds the changes of one append. Fails with `InvalidInput`, and adds nothing, when a length is out of its range.
    pub(crate) fn add_changes(&mut self, room: &str, at: Position, changes: &[Change]) -> io::Result<()> {
        let newest_ms = changes.iter().map(|change| change.time_ms).max().unwrap_or(0);
        let (count, body_bytes) = (changes.len() as u32, body_bytes(changes)?);
        self.add(Kind::Changes, room, at, count, body_bytes, newest_ms, |out| {
            for change in changes {
                let mut fixed = [0; CHANGE_FIXED_BYTES];
                fixed[..2].copy_from_slice(&(change.author.len() as u16).to_le_bytes());
                fixed[2..10].copy_from_slice(&change.time_ms.to_le_bytes());
                fixed[10..].copy_from_slice(&(change.bytes.len() as u32).to_le_bytes());
                out.extend_from_slice(&fixed);
                out.extend_from_slice(change.author.as_bytes());
                out.extend_from_slice(&change.bytes);
            }
        })
    }

    /// Adds the end of the life `at.epoch`.
    pub(crate) fn add_end(&mut self, room: &str, at: Position) -> io::Result<()> {
        self.add(Kind::Deleted, room, at, 0, 0, 0, |_| {})
    }

    /// Adds a record that is written again: the same head and body for another place.
    pub(crate) fn add_again(&mut self, head: &Head, body: &[u8]) -> io::Result<()> {
        let at = Position { epoch: head.epoch, offset: head.offset };
        let newest_ms = newest_ms(body, head.count).unwrap_or(0);
        self.add(head.kind, &head.room, at, head.count, body.len(), newest_ms, |out| out.extend_from_slice(body))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a head")]
    fn add(
        &mut self,
        kind: Kind,
        room: &str,
        at: Position,
        count: u32,
        body_bytes: usize,
        newest_ms: u64,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        if room.is_empty() || room.len() > ROOM_BYTES_MAX {
            return Err(invalid(format!("a room name has 1 to {ROOM_BYTES_MAX} bytes, this one has {}", room.len())));
        }
        let start = self.bytes.len();
        if start + body_bytes > BODY_BYTES_MAX {
            return Err(invalid(format!("one write takes at most {BODY_BYTES_MAX} bytes; append in parts")));
        }
        let head_bytes = HEAD_FIXED_BYTES + room.len();
        self.bytes.reserve(head_bytes + body_bytes);
        let mut fixed = [0; HEAD_FIXED_BYTES - CRC_BYTES];
        fixed[..4].copy_from_slice(&MAGIC);
        fixed[4] = VERSION;
        fixed[5] = kind as u8;
        fixed[6..8].copy_from_slice(&(room.len() as u16).to_le_bytes());
        fixed[8..16].copy_from_slice(&at.epoch.to_le_bytes());
        fixed[16..24].copy_from_slice(&at.offset.to_le_bytes());
        fixed[24..28].copy_from_slice(&count.to_le_bytes());
        fixed[28..32].copy_from_slice(&(body_bytes as u32).to_le_bytes());
        self.bytes.extend_from_slice(&fixed);
        self.bytes.extend_from_slice(room.as_bytes());
        self.bytes.extend_from_slice(&[0; CRC_BYTES]);
        body(&mut self.bytes);
        let body_crc = crc32c::crc32c(&self.bytes[start + head_bytes..]);
        self.bytes[start + 32..start + 36].copy_from_slice(&body_crc.to_le_bytes());
        let (first, bytes, head_bytes) = (at.offset, (self.bytes.len() - start) as u32, head_bytes as u16);
        self.records.push(Drafted { first, count, at: start as u32, bytes, body_crc, newest_ms, head_bytes });
        Ok(())
    }

    /// The records, in their order.
    pub(crate) fn records(&self) -> &[Drafted] {
        &self.records
    }

    /// Bytes of all records together.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Leaves out the records for which `stays`, called for each in its order, says no.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&Drafted) -> bool) {
        let mut end = 0;
        let bytes = &mut self.bytes;
        self.records.retain_mut(|record| {
            let stays = stays(record);
            if stays {
                if record.at as usize != end {
                    bytes.copy_within(record.range(), end);
                    record.at = end as u32;
                }
                end += record.bytes as usize;
            }
            stays
        });
        bytes.truncate(end);
    }

    /// The finished records for their place.
    pub(crate) fn placed(&mut self, segment: u64, at: u64) -> &[u8] {
        for record in &self.records {
            let whole = &mut self.bytes[record.range()];
            let (head, rest) = whole.split_at_mut(usize::from(record.head_bytes) - CRC_BYTES);
            let crc = head_crc(head, segment, at + u64::from(record.at));
            rest[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        }
        &self.bytes
    }

    /// Takes out all records. Gives up memory beyond `bytes_max`.
    pub(crate) fn clear(&mut self, bytes_max: usize) {
        self.records.clear();
        self.bytes.clear();
        self.bytes.shrink_to(bytes_max);
        self.records.shrink_to(bytes_max / size_of::<Drafted>());
    }
}

/// Bytes that the changes take in a body. Fails with `InvalidInput` when a length is out of its range.
fn body_bytes(changes: &[Change]) -> io::Result<usize> {
    let mut total = 0_usize;
    for change in changes {
        if change.author.len() > AUTHOR_BYTES_MAX {
            return Err(invalid(format!(
                "an author has at most {AUTHOR_BYTES_MAX} bytes, this one has {}",
                change.author.len()
            )));
        }
        total += CHANGE_FIXED_BYTES + change.author.len() + change.bytes.len();
        if total > BODY_BYTES_MAX {
            return Err(invalid(format!("one append takes at most {BODY_BYTES_MAX} bytes; append in parts")));
        }
    }
    Ok(total)
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// The changes of an intact body. None when it does not hold exactly `count` changes, which a body with a
/// fitting checksum does unless it was written by mistake.
pub(crate) fn decode_changes(body: &Bytes, count: u32) -> Option<Vec<Change>> {
    let mut changes = Vec::with_capacity((count as usize).min(body.len() / CHANGE_FIXED_BYTES));
    let mut author: Arc<str> = Arc::from("");
    let mut parts = Parts { rest: body };
    for _ in 0..count {
        let (name, time_ms, bytes) = parts.next()?;
        if *author != *name {
            author = Arc::from(name);
        }
        changes.push(Change { author: author.clone(), time_ms, bytes: body.slice_ref(bytes) });
    }
    parts.rest.is_empty().then_some(changes)
}

/// The time of the newest change in an intact body. None as for `decode_changes`. Allocates nothing.
pub(crate) fn newest_ms(body: &[u8], count: u32) -> Option<u64> {
    let mut newest = 0;
    let mut parts = Parts { rest: body };
    for _ in 0..count {
        newest = newest.max(parts.next()?.1);
    }
    parts.rest.is_empty().then_some(newest)
}

struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn next(&mut self) -> Option<(&'a str, u64, &'a [u8])> {
        let rest = self.rest;
        let (author_bytes, bytes) = (usize::from(u16_at(rest, 0)?), u32_at(rest, 10)? as usize);
        let time_ms = u64_at(rest, 2)?;
        let (author, rest) = rest[CHANGE_FIXED_BYTES..].split_at_checked(author_bytes)?;
        let (content, rest) = rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some((std::str::from_utf8(author).ok()?, time_ms, content))
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (RoomKey, Position, Vec<Change>) {
        let change = |author: &str, bytes: &'static [u8]| Change {
            author: author.into(),
            time_ms: 1_700_000_000_000,
            bytes: Bytes::from_static(bytes),
        };
        let at = Position { epoch: 7, offset: 3 };
        ("a room".into(), at, vec![change("ann", b"one"), change("", b""), change("bob", b"two")])
    }

    fn draft_of(room: &RoomKey, at: Position, changes: &[Change]) -> Draft {
        let mut draft = Draft::default();
        draft.add_changes(room, at, changes).unwrap();
        draft
    }

    #[test]
    fn joined_records_are_each_at_their_place_whatever_is_left_out() {
        let (_, at, changes) = sample();
        for left_out in 0..8_u32 {
            let mut draft = Draft::default();
            for room in ["a", "room b", "c"] {
                draft.add_changes(room, at, &changes[room.len() % 3..]).unwrap();
            }
            let mut index = 0;
            draft.retain(|_| {
                index += 1;
                left_out & (1 << (index - 1)) == 0
            });
            let bytes = draft.placed(5, 99).to_vec();
            let mut found = Vec::new();
            let mut next = 0;
            while next < bytes.len() {
                let Parsed::Head(head) = parse_head(&bytes[next..], 5, 99 + next as u64) else { panic!("no head") };
                let end = next + head.record_bytes() as usize;
                assert!(head.fits(&bytes[next + head.bytes()..end]));
                found.push(head.room.to_string());
                next = end;
            }
            let rooms = ["a", "room b", "c"].into_iter().zip(0..);
            let expected: Vec<_> = rooms.filter(|(_, bit)| left_out & (1 << bit) == 0).map(|(room, _)| room).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let (room, at, changes) = sample();
        let mut draft = draft_of(&room, at, &changes);
        let bytes = Bytes::copy_from_slice(draft.placed(5, 99));
        let Parsed::Head(head) = parse_head(&bytes, 5, 99) else { panic!("no head") };
        assert_eq!((&head.room, head.epoch, head.offset, head.count), (&room, 7, 3, 3));
        assert_eq!(head.record_bytes(), bytes.len() as u64);
        let body = bytes.slice(head.bytes()..);
        assert!(head.fits(&body));
        assert_eq!(decode_changes(&body, head.count), Some(changes));
        assert_eq!(newest_ms(&body, head.count), Some(1_700_000_000_000));
    }

    #[test]
    fn a_record_at_another_place_is_none() {
        let (room, at, changes) = sample();
        let mut draft = draft_of(&room, at, &changes);
        let bytes = draft.placed(5, 99).to_vec();
        for (segment, at) in [(5, 98), (6, 99), (99, 5)] {
            assert!(matches!(parse_head(&bytes, segment, at), Parsed::Bad));
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let (room, at, changes) = sample();
        let mut draft = draft_of(&room, at, &changes);
        let whole = draft.placed(1, 0).to_vec();
        let intact = |bytes: &[u8]| match parse_head(bytes, 1, 0) {
            Parsed::Head(head) => bytes.get(head.bytes()..).is_some_and(|body| head.fits(body)),
            _ => false,
        };
        assert!(intact(&whole));
        for cut in 0..whole.len() {
            assert!(!intact(&whole[..cut]));
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!intact(&bytes), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_told_apart_from_damage() {
        let (room, at, _) = sample();
        let mut draft = Draft::of_end(&room, at).unwrap();
        draft.bytes[4] = 9;
        let bytes = draft.placed(1, 0).to_vec();
        assert!(matches!(parse_head(&bytes, 1, 0), Parsed::Version(9)));
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        let (room, at, mut changes) = sample();
        changes[0].author = "x".repeat(257).into();
        let mut draft = draft_of(&room, at, &changes[1..]);
        assert!(draft.add_changes(&room, at, &changes).is_err());
        assert_eq!(draft.records().len(), 1, "nothing of it was added");
        let long: RoomKey = "x".repeat(ROOM_BYTES_MAX + 1).into();
        assert!(Draft::of_end(&long, at).is_err());
        assert!(Draft::of_end(&"".into(), at).is_err());
    }
}

//! Finds the records in a segment file, whatever state it is in.
//!
//! Called when the store starts, and when a room has to be read without its snapshot. Reads the file once, in
//! pieces, so that memory is bounded by a piece and the largest record. A record with a bad body is skipped by its
//! length; where no head is, the search goes on for the next one. Reports what it finds and changes nothing.

use crate::disk::{DiskFile, read_full};
use crate::format::{self, HEAD_BYTES_MAX, Head, Kind, MAGIC, Parsed};
use bytes::Bytes;
use std::io;

/// Bytes read at once: large enough that a start is bound by the disk, small beside an idle server's 15 MB.
const PIECE_BYTES: usize = 256 * 1024;
/// What is read at once where the disk refuses a piece, so that one bad sector costs one record.
const SECTOR_BYTES: usize = 4096;

/// One thing found in a segment, with its place.
#[derive(Debug)]
pub(super) enum Found {
    /// A whole record.
    Record {
        head: Head,
        at: u64,
        /// The time of its newest change, in milliseconds since the Unix epoch.
        newest_ms: u64,
        body: Bytes,
    },
    /// Bytes that are no whole record, with the head if that much is intact.
    Damaged { head: Option<Head>, at: u64, bytes: u64, reason: &'static str },
}

/// How a segment ended.
#[derive(Debug)]
pub(super) struct Scanned {
    /// Where the last whole record ends.
    pub(super) end: u64,
    /// Length of the file.
    pub(super) bytes: u64,
    /// Some of it could not be read at all.
    pub(super) unreadable: bool,
}

/// Why a scan stopped.
#[derive(Debug)]
pub(super) enum ScanError {
    Io(io::Error),
    /// Another version of the program wrote here.
    Version(u8),
}

/// Walks through segment `number`. Bodies are handed out for the records of room `bodies_of` only.
pub(super) fn scan(
    file: &dyn DiskFile,
    number: u64,
    bodies_of: Option<&str>,
    each: &mut dyn FnMut(Found),
) -> Result<Scanned, ScanError> {
    let bytes = file.size().map_err(ScanError::Io)?;
    let mut window = Window { file, bytes, start: 0, held: Vec::new(), unreadable: false };
    let (mut at, mut end) = (0, 0);
    while at < bytes {
        let found = look(&mut window, number, at, bodies_of)?;
        at += match &found {
            Found::Record { head, .. } => head.record_bytes(),
            Found::Damaged { bytes, .. } => *bytes,
        };
        if matches!(found, Found::Record { .. }) {
            end = at;
        }
        each(found);
    }
    Ok(Scanned { end, bytes, unreadable: window.unreadable })
}

/// What begins at `at`.
fn look(window: &mut Window<'_>, number: u64, at: u64, bodies_of: Option<&str>) -> Result<Found, ScanError> {
    let head = match format::parse_head(window.get(at, HEAD_BYTES_MAX), number, at) {
        Parsed::Head(head) => head,
        Parsed::Version(found) => return Err(ScanError::Version(found)),
        Parsed::Bad => {
            let bytes = next_head(window, number, at + 1) - at;
            return Ok(Found::Damaged { head: None, at, bytes, reason: "no readable record" });
        }
    };
    if at + head.record_bytes() > window.bytes {
        let bytes = next_head(window, number, at + 1) - at;
        return Ok(Found::Damaged { head: Some(head), at, bytes, reason: "the record is cut off" });
    }
    let body = window.get(at + head.bytes() as u64, head.body_bytes as usize);
    let newest_ms = if head.fits(body) { newest_ms(&head, body) } else { None };
    let Some(newest_ms) = newest_ms else {
        let bytes = head.record_bytes();
        return Ok(Found::Damaged { head: Some(head), at, bytes, reason: "the record's checksum does not fit" });
    };
    let body = if bodies_of == Some(&*head.room) { Bytes::copy_from_slice(body) } else { Bytes::new() };
    Ok(Found::Record { head, at, newest_ms, body })
}

fn newest_ms(head: &Head, body: &[u8]) -> Option<u64> {
    match head.kind {
        Kind::Changes => format::newest_ms(body, head.count),
        Kind::Deleted => Some(0),
    }
}

/// The place of the next intact head from `at` on, or the end of the file.
fn next_head(window: &mut Window<'_>, number: u64, mut at: u64) -> u64 {
    while at < window.bytes {
        let piece = window.get(at, PIECE_BYTES);
        let piece_bytes = piece.len() as u64;
        match piece.windows(MAGIC.len()).position(|bytes| bytes == MAGIC) {
            Some(skip) => {
                at += skip as u64;
                if !matches!(format::parse_head(window.get(at, HEAD_BYTES_MAX), number, at), Parsed::Bad) {
                    return at;
                }
                at += 1;
            }
            // The last bytes may be the beginning of one that the next piece shows whole.
            None if at + piece_bytes >= window.bytes => break,
            None => at += piece_bytes - (MAGIC.len() as u64 - 1),
        }
    }
    window.bytes
}

/// The part of a file that is in memory.
struct Window<'a> {
    file: &'a dyn DiskFile,
    bytes: u64,
    start: u64,
    held: Vec<u8>,
    unreadable: bool,
}

impl Window<'_> {
    /// The bytes from `at` on, `wanted` of them or as many as the file has. What cannot be read is zeros.
    fn get(&mut self, at: u64, wanted: usize) -> &[u8] {
        let wanted = (self.bytes.saturating_sub(at)).min(wanted as u64) as usize;
        if at < self.start || at + wanted as u64 > self.start + self.held.len() as u64 {
            self.fill(at, wanted.max(PIECE_BYTES));
        }
        let from = (at - self.start) as usize;
        &self.held[from..from + wanted]
    }

    fn fill(&mut self, at: u64, wanted: usize) {
        let wanted = (self.bytes - at).min(wanted as u64) as usize;
        self.start = at;
        self.held.clear();
        self.held.resize(wanted, 0);
        if read_full(self.file, at, &mut self.held).is_ok() {
            return;
        }
        self.unreadable = true;
        for (index, sector) in self.held.chunks_mut(SECTOR_BYTES).enumerate() {
            if read_full(self.file, at + (index * SECTOR_BYTES) as u64, sector).is_err() {
                sector.fill(0);
            }
        }
    }
}

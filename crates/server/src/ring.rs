//! What a room has told its members of one dialect: encoded frames, one behind the other in the same bytes for all, each with a position.
//!
//! Written by the room's worker, read by the outboxes of the same worker, which remember the position they have reached. Frames lie in
//! chunks without gaps, so that a member that has not written any of them itself is sent many with one slice. Bounded: the oldest chunk goes, and a
//! member that had not taken it has lost its place. Knows no sockets.

use room::MemberId;
use std::collections::VecDeque;

/// A chunk takes further frames until it has so many bytes: about what one write hands to the kernel.
const CHUNK_BYTES: usize = 64 << 10;

/// The frames of one room and dialect that somebody may still have to send.
#[derive(Debug)]
pub(crate) struct Ring {
    chunks: VecDeque<Chunk>,
    next: u64,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    first: u64,
    bytes: Vec<u8>,
    frames: Vec<Frame>,
    /// Everybody who wrote one of the frames, in order.
    authors: Vec<MemberId>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    end: u32,
    /// Its author, who is told otherwise.
    except: Option<MemberId>,
}

/// Frames that leave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run<'a> {
    pub(crate) bytes: &'a [u8],
    /// Position behind the last of them.
    pub(crate) end: u64,
}

impl Ring {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { chunks: VecDeque::new(), next: 0, bytes: 0, bytes_max }
    }

    /// Bytes of its frames.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the frame that `write` appends to the bytes it is given.
    pub(crate) fn push(&mut self, except: Option<MemberId>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.chunks.back().is_none_or(|last| last.bytes.len() >= CHUNK_BYTES) {
            if self.chunks.is_empty() {
                // A quiet room has one chunk.
                self.chunks.reserve_exact(1);
            }
            self.chunks.push_back(Chunk { first: self.next, ..Chunk::default() });
        }
        let Some(last) = self.chunks.back_mut() else { return };
        let before = last.bytes.len();
        write(&mut last.bytes);
        if last.bytes.len() == before {
            return;
        }
        self.next += 1;
        last.frames.push(Frame { end: last.bytes.len() as u32, except });
        if let Some(author) = except
            && let Err(place) = last.authors.binary_search(&author)
        {
            last.authors.insert(place, author);
        }
        self.bytes += last.bytes.len() - before;
    }

    /// Drops the oldest chunks beyond the bound. Only what every member has been offered: else a large batch would cost all of them their places.
    pub(crate) fn hold_to_bound(&mut self) {
        while self.bytes > self.bytes_max && self.chunks.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Drops what every member has taken: `position` is the lowest of theirs.
    pub(crate) fn trim(&mut self, position: u64) {
        while self.chunks.len() > 1 && self.chunks.front().is_some_and(|oldest| oldest.end() <= position) {
            self.drop_oldest();
        }
        if self.chunks.len() == 1 {
            self.chunks.shrink_to(1);
        }
        if self.chunks.back().is_some_and(|last| last.end() <= position) {
            // Most rooms are quiet most of the time, and shall cost next to nothing.
            (self.chunks, self.bytes) = (VecDeque::new(), 0);
        }
    }

    /// Position of the next frame.
    pub(crate) fn end(&self) -> u64 {
        self.next
    }

    /// True when the frame at this position is gone.
    pub(crate) fn is_lost(&self, position: u64) -> bool {
        position < self.chunks.front().map_or(self.next, |oldest| oldest.first)
    }

    /// What `member` has still to be sent from `position`, which is not lost, up to `end`. Its own frames are left out; a last run without bytes
    /// stands for those that nothing follows.
    pub(crate) fn runs(&self, member: MemberId, position: u64, end: u64) -> Runs<'_> {
        let chunk = self.chunks.iter().rposition(|chunk| chunk.first <= position).unwrap_or(self.chunks.len());
        Runs { ring: self, member, chunk, position, end: end.min(self.next) }
    }

    /// Where a run that ends at `end` was cut when its last `unsent` bytes were not written.
    pub(crate) fn cut(&self, end: u64, unsent: usize) -> Cut<'_> {
        let chunk = self.chunks.iter().rfind(|chunk| chunk.first < end);
        let Some(chunk) = chunk else { return Cut { begun: &[], next: end } };
        let last = (end - chunk.first) as usize - 1;
        let stop = chunk.frames[last].end as usize;
        let at = stop - unsent.min(stop);
        // The first frame that ends behind the cut is the one that was begun, unless it begins right there.
        let frame = chunk.frames.partition_point(|frame| (frame.end as usize) <= at);
        let start = if frame == 0 { 0 } else { chunk.frames[frame - 1].end as usize };
        let position = chunk.first + frame as u64;
        if start == at {
            Cut { begun: &[], next: position }
        } else {
            Cut { begun: &chunk.bytes[at..chunk.frames[frame].end as usize], next: position + 1 }
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.chunks.pop_front() {
            self.bytes -= oldest.bytes.len();
        }
    }
}

/// Where a write ended within frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut<'a> {
    /// What is left of a frame that was begun.
    pub(crate) begun: &'a [u8],
    /// The first frame not begun.
    pub(crate) next: u64,
}

/// An iterator over runs.
#[derive(Debug)]
pub(crate) struct Runs<'a> {
    ring: &'a Ring,
    member: MemberId,
    chunk: usize,
    position: u64,
    end: u64,
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        if self.position >= self.end {
            return None;
        }
        let chunk = self.ring.chunks.get(self.chunk)?;
        let (mut from, to) =
            ((self.position - chunk.first) as usize, (self.end.min(chunk.end()) - chunk.first) as usize);
        let mut until = to;
        if chunk.authors.binary_search(&self.member).is_ok() {
            let own = |frame: &Frame| frame.except == Some(self.member);
            from += chunk.frames[from..to].iter().take_while(|frame| own(frame)).count();
            until = from + chunk.frames[from..to].iter().take_while(|frame| !own(frame)).count();
        }
        self.position = chunk.first + until as u64;
        if self.position == chunk.end() {
            self.chunk += 1;
        }
        Some(Run { bytes: &chunk.bytes[chunk.start(from)..chunk.start(until)], end: self.position })
    }
}

impl Chunk {
    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    fn start(&self, frame: usize) -> usize {
        if frame == 0 { 0 } else { self.frames[frame - 1].end as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: MemberId = MemberId(9);

    fn ring_of(bytes_max: usize, frames: &[(u64, &str)]) -> Ring {
        let mut ring = Ring::new(bytes_max);
        for &(author, text) in frames {
            ring.push((author > 0).then_some(MemberId(author)), |out| out.extend_from_slice(text.as_bytes()));
        }
        ring.hold_to_bound();
        ring
    }

    fn told(ring: &Ring, member: u64, position: u64) -> Vec<(String, u64)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ring.runs(MemberId(member), position, u64::MAX).map(|run| (text(run.bytes), run.end)).collect()
    }

    #[test]
    fn each_member_is_told_all_but_its_own_in_as_few_runs_as_can_be() {
        let ring = ring_of(100, &[(1, "aa"), (2, "b"), (1, "cc"), (0, "d"), (1, "e")]);
        type Case<'a> = (u64, u64, &'a [(&'a str, u64)]);
        let cases: &[Case<'_>] = &[
            (9, 0, &[("aabccde", 5)]),
            (9, 3, &[("de", 5)]),
            (9, 5, &[]),
            (1, 0, &[("b", 2), ("d", 4), ("", 5)]),
            (2, 0, &[("aa", 1), ("ccde", 5)]),
            (2, 1, &[("ccde", 5)]),
        ];
        for &(member, position, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|&(text, end)| (text.to_owned(), end)).collect();
            assert_eq!(told(&ring, member, position), expected, "member {member} from {position}");
        }
    }

    #[test]
    fn runs_go_on_from_chunk_to_chunk_and_stop_where_they_are_told() {
        let large = "x".repeat(CHUNK_BYTES);
        let ring = ring_of(1 << 20, &[(1, &large), (2, "b"), (1, &large), (2, "c")]);
        let ends: Vec<_> = ring.runs(READER, 0, u64::MAX).map(|run| (run.bytes.len(), run.end)).collect();
        assert_eq!(ends, [(CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 3), (1, 4)]);
        let ends: Vec<_> = ring.runs(READER, 1, 2).map(|run| (run.bytes.len(), run.end)).collect();
        assert_eq!(ends, [(1, 2)]);
    }

    #[test]
    fn a_cut_is_found_by_the_bytes_that_are_left() {
        let ring = ring_of(100, &[(1, "aaaa"), (2, "bb"), (1, "cccc")]);
        let cases = [(3, 10, "", 0), (3, 9, "aaa", 1), (3, 6, "", 1), (3, 5, "b", 2), (3, 1, "c", 3), (2, 1, "b", 2)];
        for (end, unsent, begun, next) in cases {
            assert_eq!(ring.cut(end, unsent), Cut { begun: begun.as_bytes(), next }, "{unsent} before {end}");
        }
    }

    #[test]
    fn the_oldest_chunk_goes_and_positions_stay() {
        let large = "x".repeat(CHUNK_BYTES);
        let mut ring = ring_of(2 * CHUNK_BYTES, &[(1, &large), (1, &large), (1, &large), (1, "d")]);
        assert_eq!((ring.end(), ring.is_lost(1), ring.is_lost(2)), (4, true, false));
        assert_eq!(told(&ring, 9, 3), [("d".to_owned(), 4)]);
        ring.trim(3);
        assert!(ring.is_lost(2) && !ring.is_lost(3));
        ring.trim(4);
        assert_eq!((ring.end(), ring.is_lost(3), ring.is_lost(4), ring.bytes), (4, true, false, 0));
        ring.push(None, |out| out.push(b'e'));
        assert_eq!(told(&ring, 9, 4), [("e".to_owned(), 5)]);
    }

    #[test]
    fn a_quiet_ring_keeps_its_place_and_no_memory() {
        let mut ring = ring_of(100, &[(1, "aa"), (2, "b")]);
        ring.trim(1);
        assert_eq!(told(&ring, 9, 1), [("b".to_owned(), 2)], "somebody has still to be told");
        ring.trim(2);
        assert_eq!((ring.chunks.capacity(), ring.end(), ring.is_lost(1), ring.is_lost(2)), (0, 2, true, false));
        ring.push(None, |out| out.push(b'c'));
        assert_eq!(told(&ring, 9, 2), [("c".to_owned(), 3)]);
    }

    #[test]
    fn a_frame_above_the_bound_is_kept_alone() {
        let large = "x".repeat(CHUNK_BYTES);
        let mut ring = ring_of(10, &[(0, &large)]);
        ring.push(None, |out| out.extend_from_slice(large.as_bytes()));
        assert!(!ring.is_lost(0), "nobody has been offered the second one");
        ring.hold_to_bound();
        assert!(ring.is_lost(0) && !ring.is_lost(1));
        assert_eq!(ring.runs(READER, 1, u64::MAX).map(|run| run.bytes.len()).sum::<usize>(), CHUNK_BYTES);
    }
}

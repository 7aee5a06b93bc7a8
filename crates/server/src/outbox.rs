//! What one socket has still to send: a position in its room's ring, a few private frames, and what a write left unfinished.
//!
//! Flushed by its worker after publishing and when the kernel takes bytes again. Never waits: a stream that takes no more is marked as
//! stalled. Holds no copies of what the ring has. Encodes nothing.

use crate::ring::{Ring, Run};
use bytes::Bytes;
use room::MemberId;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use thin_vec::ThinVec;

/// What an outbox writes to. A write that takes less than it is offered means that the kernel takes no more.
pub(crate) trait Sink: Write {
    /// Something that was taken is not with the kernel yet: `flush` goes on with it, and nothing more is taken before.
    fn holds(&self) -> bool;
}

/// Slices of one vectored write. The ring's frames lie together, so few are needed; the kernel takes up to 1,024.
const SLICES_MAX: usize = 32;
/// Bytes of one write, and of one flush about: other sockets are served in between.
const WRITE_BYTES_MAX: usize = 256 << 10;
/// Small private frames are put together in one piece of so many bytes.
const JOINED_BYTES_MAX: usize = 16 << 10;

/// The sending side of one socket.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The rest of a frame that was written in part: nothing may come before it. Seldom there, so it is kept elsewhere, like what follows.
    unfinished: Option<Box<Bytes>>,
    /// `unfinished` counts as private.
    unfinished_is_private: bool,
    /// The ring dropped what comes next, and the room has been asked for all of it.
    lost: bool,
    /// An answer to this member waits for the disk, and what was published since it was asked for waits behind it.
    held: bool,
    stalled: bool,
    failed: bool,
    /// Frames of the socket itself. Few: the latest pong, a ping, a keep-alive.
    control: ThinVec<Bytes>,
    /// Position in the ring: what comes from here on is still to be sent.
    next: u64,
    /// Frames for this member alone, each with the ring position before which it leaves.
    private: VecDeque<Private>,
    private_bytes: usize,
    /// Frames of `private`.
    private_frames: u32,
    /// The last frames. Once set, the ring is not drained any more.
    ending: Option<ThinVec<Bytes>>,
    taken_bytes: u64,
    said: u64,
}

#[derive(Debug)]
struct Private {
    before: u64,
    bytes: PrivateBytes,
    /// How many frames that is.
    frames: u32,
}

#[derive(Debug)]
enum PrivateBytes {
    /// Shared with others who are told the same.
    Shared(Bytes),
    /// A frame whose beginning is this member's own and whose body is shared.
    Framed(Vec<u8>, Bytes),
    /// Small frames of this member alone, one behind the other.
    Own(Vec<u8>),
}

impl PrivateBytes {
    /// What is written first, and what behind that.
    fn parts(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Shared(bytes) => (bytes, &[]),
            Self::Framed(head, body) => (head, body),
            Self::Own(bytes) => (bytes, &[]),
        }
    }

    /// What is left when the first part is out.
    fn into_rest(self) -> Bytes {
        match self {
            Self::Framed(_, body) => body,
            Self::Shared(_) | Self::Own(_) => Bytes::new(),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Framed(mut head, body) => {
                head.extend_from_slice(&body);
                head.into()
            }
            Self::Own(bytes) => bytes.into(),
        }
    }

    fn len(&self) -> usize {
        let (head, body) = self.parts();
        head.len() + body.len()
    }
}

/// One slice of a write: what it is of, and how long that is.
#[derive(Clone, Copy, Debug)]
struct Piece {
    source: Source,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// Also the body of a private frame whose beginning is a piece before it: no other frame comes between the two.
    Unfinished,
    Control,
    /// A private frame, or its beginning.
    Private,
    /// Frames of the ring up to this position.
    Ring(u64),
    Ending,
}

/// The slices of one write.
struct Gathered<'a> {
    slices: [IoSlice<'a>; SLICES_MAX],
    pieces: [Piece; SLICES_MAX],
    count: usize,
    offered: usize,
}

impl<'a> Gathered<'a> {
    fn new() -> Self {
        let nothing = Piece { source: Source::Control, bytes: 0 };
        Self { slices: [IoSlice::new(&[]); SLICES_MAX], pieces: [nothing; SLICES_MAX], count: 0, offered: 0 }
    }

    /// Adds a piece, as much of it as one write may take. False: no more.
    fn add(&mut self, source: Source, bytes: &'a [u8]) -> bool {
        if self.count == SLICES_MAX || self.offered == WRITE_BYTES_MAX {
            return false;
        }
        let part = &bytes[..bytes.len().min(WRITE_BYTES_MAX - self.offered)];
        (self.slices[self.count], self.pieces[self.count]) = (IoSlice::new(part), Piece { source, bytes: bytes.len() });
        self.offered += part.len();
        self.count += 1;
        part.len() == bytes.len()
    }
}

impl Outbox {
    /// Puts the member at this position of the ring: what comes from here on it will get.
    pub(crate) fn place(&mut self, next: u64) {
        (self.next, self.lost) = (next, false);
    }

    /// Adds the response to the request, before which nothing is said.
    pub(crate) fn greet(&mut self, response: Vec<u8>) {
        self.left_over(response.into());
    }

    /// Lets what the ring has wait, because an answer that belongs before it cannot be given yet. What is private meanwhile is not behind it.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// That answer was given.
    pub(crate) fn release(&mut self) {
        self.held = false;
    }

    /// Where a private frame belongs that is told now.
    fn place_before(&self, before: u64) -> u64 {
        if self.held { self.next } else { before }
    }

    /// Adds a frame for this member alone, to leave before position `before` of the ring. Shared bytes are not copied.
    pub(crate) fn private(&mut self, before: u64, frame: Bytes) {
        if self.ending.is_none() {
            let before = self.place_before(before);
            self.private_bytes += frame.len();
            self.private_frames += 1;
            self.private.push_back(Private { before, bytes: PrivateBytes::Shared(frame), frames: 1 });
        }
    }

    /// The same for a frame that begins with `head` and goes on with bytes that are shared.
    pub(crate) fn private_framed(&mut self, before: u64, head: Vec<u8>, body: Bytes) {
        if self.ending.is_none() {
            let before = self.place_before(before);
            self.private_bytes += head.len() + body.len();
            self.private_frames += 1;
            self.private.push_back(Private { before, bytes: PrivateBytes::Framed(head, body), frames: 1 });
        }
    }

    /// The same for a small frame, which `write` appends to the bytes it is given.
    pub(crate) fn private_small(&mut self, before: u64, write: impl FnOnce(&mut Vec<u8>)) {
        if self.ending.is_some() {
            return;
        }
        let before = self.place_before(before);
        let joins = self.private.back().is_some_and(|last| {
            last.before == before && matches!(&last.bytes, PrivateBytes::Own(bytes) if bytes.len() < JOINED_BYTES_MAX)
        });
        if !joins {
            self.private.push_back(Private { before, bytes: PrivateBytes::Own(Vec::new()), frames: 0 });
        }
        if let Some(Private { bytes: PrivateBytes::Own(bytes), frames, .. }) = self.private.back_mut() {
            let already = bytes.len();
            write(bytes);
            self.private_bytes += bytes.len() - already;
            (*frames, self.private_frames) = (*frames + 1, self.private_frames + 1);
        }
    }

    /// Adds a frame of the socket itself. One of the same opcode that is still waiting goes.
    pub(crate) fn control(&mut self, frame: Bytes) {
        if self.ending.is_none() {
            self.control.retain(|waiting| waiting.first() != frame.first());
            self.control.push(frame);
        }
    }

    /// Says the last frames, behind what is private, and nothing more.
    pub(crate) fn end(&mut self, frames: impl IntoIterator<Item = Bytes>) {
        if self.ending.is_none() {
            self.ending = Some(frames.into_iter().collect());
        }
    }

    /// The stream takes bytes again.
    pub(crate) fn is_writable(&mut self) {
        self.stalled = false;
    }

    /// Writes what the stream takes. True: there is more, and the stream might take it, but others come first.
    pub(crate) fn flush(&mut self, stream: &mut impl Sink, ring: Option<&Ring>, member: MemberId) -> bool {
        let mut left = WRITE_BYTES_MAX;
        if stream.holds() && !self.stalled && !self.failed {
            self.sent_on(stream.flush());
        }
        if let Some(run) = self.only_run(ring, member) {
            // What most members of a room have to be told most of the time.
            let piece = Piece { source: Source::Ring(run.end), bytes: run.bytes.len() };
            let written = stream.write(run.bytes);
            self.wrote(written, piece.bytes, stream.holds(), &[piece], ring);
            if ring.is_some_and(|ring| self.next == ring.end()) {
                return false;
            }
        }
        while !self.stalled && !self.failed {
            let gathered = self.gather(ring, member);
            let (pieces, count, offered) = (gathered.pieces, gathered.count, gathered.offered);
            if offered == 0 {
                // Only its own frames, or nothing at all.
                self.took(&pieces[..count], 0, ring);
                if count == SLICES_MAX {
                    continue;
                }
                return false;
            }
            if left == 0 {
                return true;
            }
            let written = match &gathered.slices[..count] {
                [slice] => stream.write(slice),
                slices => stream.write_vectored(slices),
            };
            left = left.saturating_sub(self.wrote(written, offered, stream.holds(), &pieces[..count], ring));
        }
        false
    }

    /// Takes note of what became of bytes that the stream has held.
    fn sent_on(&mut self, sent: io::Result<()>) {
        match sent {
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.stalled = true,
            Err(_) => self.failed = true,
            Ok(()) => {}
        }
    }

    /// Takes note of what one write came to. Returns how many bytes the stream took.
    fn wrote(
        &mut self,
        written: io::Result<usize>,
        offered: usize,
        holds: bool,
        pieces: &[Piece],
        ring: Option<&Ring>,
    ) -> usize {
        match written {
            Ok(0) => self.failed = true,
            Ok(written) => {
                // The kernel's buffer is full; it says so when it has emptied.
                self.stalled = holds || written < offered;
                self.taken_bytes += written as u64;
                self.took(pieces, written, ring);
                return written;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.stalled = true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.failed = true,
        }
        0
    }

    /// What the ring has, if that is all there is, and lies in one piece that one write takes.
    fn only_run<'a>(&self, ring: Option<&'a Ring>, member: MemberId) -> Option<Run<'a>> {
        let nothing_else = self.unfinished.is_none()
            && self.private.is_empty()
            && self.control.is_empty()
            && self.ending.is_none()
            && !(self.stalled || self.failed || self.lost || self.held);
        let ring = ring.filter(|ring| nothing_else && !ring.is_lost(self.next))?;
        let mut runs = ring.runs(member, self.next, u64::MAX);
        let run = runs.next().filter(|run| (1..=WRITE_BYTES_MAX).contains(&run.bytes.len()))?;
        runs.next().is_none().then_some(run)
    }

    /// The next pieces in the order in which they leave.
    fn gather<'a>(&'a self, ring: Option<&'a Ring>, member: MemberId) -> Gathered<'a> {
        let mut gathered = Gathered::new();
        if let Some(rest) = &self.unfinished
            && !gathered.add(Source::Unfinished, rest)
        {
            return gathered;
        }
        for frame in &self.control {
            if !gathered.add(Source::Control, frame) {
                return gathered;
            }
        }
        let may_read = self.ending.is_none() && !self.lost && !self.held;
        let ring = ring.filter(|ring| may_read && !ring.is_lost(self.next));
        let mut position = self.next;
        for frame in &self.private {
            let from = position;
            for run in ring.iter().flat_map(|ring| ring.runs(member, from, frame.before)) {
                if !gathered.add(Source::Ring(run.end), run.bytes) {
                    return gathered;
                }
                position = run.end;
            }
            let (head, body) = frame.bytes.parts();
            if !gathered.add(Source::Private, head) || !body.is_empty() && !gathered.add(Source::Unfinished, body) {
                return gathered;
            }
        }
        for run in ring.iter().flat_map(|ring| ring.runs(member, position, u64::MAX)) {
            if !gathered.add(Source::Ring(run.end), run.bytes) {
                return gathered;
            }
        }
        for frame in self.ending.iter().flatten() {
            if !gathered.add(Source::Ending, frame) {
                return gathered;
            }
        }
        gathered
    }

    /// Takes off what was written, piece by piece.
    fn took(&mut self, pieces: &[Piece], mut written: usize, ring: Option<&Ring>) {
        for piece in pieces {
            if written < piece.bytes {
                if written > 0 {
                    self.took_part(*piece, written, ring);
                }
                return;
            }
            written -= piece.bytes;
            self.said += u64::from(piece.bytes > 0 && !matches!(piece.source, Source::Control));
            match piece.source {
                Source::Unfinished => (self.unfinished, self.unfinished_is_private) = (None, false),
                Source::Control => drop(self.control.remove(0)),
                Source::Private => {
                    let rest = self.take_private().map(PrivateBytes::into_rest).unwrap_or_default();
                    self.unfinished_is_private = !rest.is_empty();
                    self.left_over(rest);
                }
                Source::Ring(end) => self.next = end,
                Source::Ending => drop(self.take_last()),
            }
        }
    }

    fn took_part(&mut self, piece: Piece, written: usize, ring: Option<&Ring>) {
        let whole = match piece.source {
            Source::Unfinished => self.unfinished.take().map(|rest| *rest).unwrap_or_default(),
            Source::Control => self.control.remove(0),
            Source::Private => {
                self.unfinished_is_private = true;
                self.take_private().map(PrivateBytes::into_bytes).unwrap_or_default()
            }
            Source::Ring(end) => {
                if let Some(cut) = ring.map(|ring| ring.cut(end, piece.bytes - written)) {
                    // A copy: a slice would keep all that the ring had at this moment.
                    self.next = cut.next;
                    self.left_over(Bytes::copy_from_slice(cut.begun));
                }
                return;
            }
            Source::Ending => self.take_last().unwrap_or_default(),
        };
        self.left_over(whole.slice(written..));
    }

    /// This comes first from now on.
    fn left_over(&mut self, rest: Bytes) {
        self.unfinished = (!rest.is_empty()).then(|| Box::new(rest));
    }

    fn take_last(&mut self) -> Option<Bytes> {
        let ending = self.ending.as_mut().filter(|ending| !ending.is_empty())?;
        Some(ending.remove(0))
    }

    fn take_private(&mut self) -> Option<PrivateBytes> {
        let Private { bytes: taken, frames, .. } = self.private.pop_front()?;
        self.private_bytes -= taken.len();
        self.private_frames -= frames;
        if self.private.is_empty() {
            // Few sockets have something of their own to take for long, and the next one uses this memory.
            self.private = VecDeque::new();
        }
        Some(taken)
    }

    /// Gives back memory that nothing uses now.
    pub(crate) fn rest(&mut self) {
        self.control.shrink_to_fit();
    }

    /// The position in the ring that this socket still needs; `u64::MAX`: none.
    pub(crate) fn needs(&self) -> u64 {
        if self.ending.is_some() || self.failed || self.lost { u64::MAX } else { self.next }
    }

    /// Frames for this member alone that wait.
    pub(crate) fn private_count(&self) -> u64 {
        u64::from(self.private_frames)
    }

    /// Bytes for this member alone that the kernel has not taken.
    pub(crate) fn private_bytes(&self) -> usize {
        self.private_bytes
            + self.unfinished.as_ref().filter(|_| self.unfinished_is_private).map_or(0, |rest| rest.len())
    }

    /// True once, when the ring has dropped what comes next and everything else was taken: a second catch-up behind one that is still waiting
    /// would pile up. The room is asked for all of it then. With `behind_max` also when the stream takes nothing and more frames than that wait.
    pub(crate) fn notice_loss(&mut self, ring: &Ring, behind_max: Option<u64>) -> bool {
        let lost = self.has_lost_its_place(ring, behind_max);
        self.lost |= lost;
        lost
    }

    /// The same, without a trace.
    pub(crate) fn has_lost_its_place(&self, ring: &Ring, behind_max: Option<u64>) -> bool {
        let drained = self.unfinished.is_none() && self.private.is_empty();
        let is_behind = |max| self.stalled && ring.end().saturating_sub(self.next) > max;
        let is_lost = drained && ring.is_lost(self.next) || behind_max.is_some_and(is_behind);
        is_lost && !self.lost && self.ending.is_none()
    }

    /// The stream took less than there was: wait until it is writable.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// The stream is broken.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// A frame of the socket itself waits.
    pub(crate) fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// A last frame is on its way.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// All has been said.
    pub(crate) fn is_finished(&self) -> bool {
        let said = self.ending.as_ref().is_some_and(ThinVec::is_empty) && self.unfinished.is_none();
        // A stream that holds something is stalled.
        self.failed || said && !self.stalled
    }

    /// Bytes that the kernel took so far: who takes none is too slow.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// Grows whenever the kernel takes a message, pings and pongs not counted: pages do not see those.
    pub(crate) fn said(&self) -> u64 {
        self.said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: MemberId = MemberId(1);
    const OTHER: MemberId = MemberId(2);

    /// A stream that takes so many bytes a write, and then nothing until it is told to go on.
    #[derive(Default)]
    struct Narrow {
        taken: Vec<u8>,
        width: usize,
        left: usize,
    }

    impl Narrow {
        fn opens(&mut self, outbox: &mut Outbox) {
            self.left = self.width;
            outbox.is_writable();
        }
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.left == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.left);
            self.taken.extend_from_slice(&bytes[..count]);
            self.left -= count;
            Ok(count)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.write(&joined)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Narrow {
        fn holds(&self) -> bool {
            false
        }
    }

    /// A stream that takes so many bytes while it holds nothing, and sends as many on when it can.
    #[derive(Default)]
    struct Holding {
        held: Vec<u8>,
        below: Narrow,
    }

    impl Write for Holding {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.flush()?;
            let count = bytes.len().min(16);
            self.held.extend_from_slice(&bytes[..count]);
            match self.flush() {
                Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
                _ => Ok(count),
            }
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.write(&joined)
        }

        fn flush(&mut self) -> io::Result<()> {
            while !self.held.is_empty() {
                let count = self.below.write(&self.held)?;
                self.held.drain(..count);
            }
            Ok(())
        }
    }

    impl Sink for Holding {
        fn holds(&self) -> bool {
            !self.held.is_empty()
        }
    }

    #[test]
    fn what_the_stream_holds_is_sent_on_although_nothing_else_waits() {
        let mut outbox = Outbox::default();
        let mut stream = Holding { below: Narrow { width: 3, ..Narrow::default() }, ..Holding::default() };
        outbox.private(0, Bytes::from_static(b"0123456789"));
        outbox.flush(&mut stream, None, ME);
        assert!(outbox.is_stalled() && outbox.private_bytes() == 0, "taken, and not sent");
        outbox.end([Bytes::from_static(b"<bye>")]);
        for sent in [3, 6, 9, 12, 15] {
            outbox.flush(&mut stream, None, ME);
            assert!(!outbox.is_finished() && outbox.is_stalled());
            stream.below.left = stream.below.width;
            outbox.is_writable();
            outbox.flush(&mut stream, None, ME);
            assert_eq!(stream.below.taken.len(), sent);
        }
        assert!(outbox.is_finished() && !outbox.is_stalled());
        assert_eq!(stream.below.taken, b"0123456789<bye>");
    }

    fn push(ring: &mut Ring, author: MemberId, text: &str) {
        ring.push(Some(author), |out| out.extend_from_slice(text.as_bytes()));
    }

    /// Frames of the ring, private ones, control frames and an end, through streams of every width: the order never changes.
    #[test]
    fn the_order_does_not_depend_on_what_a_write_takes() {
        for width in 1..40 {
            let (mut ring, mut outbox) = (Ring::new(1 << 20), Outbox::default());
            let mut stream = Narrow { width, left: 3, ..Narrow::default() };
            outbox.greet(b"hello ".to_vec());
            outbox.flush(&mut stream, Some(&ring), ME);
            push(&mut ring, OTHER, "[r0]");
            outbox.private_framed(ring.end(), b"(p".to_vec(), Bytes::from_static(b"1)"));
            outbox.private_small(ring.end(), |out| out.extend_from_slice(b"(p2)"));
            outbox.private_small(ring.end(), |out| out.extend_from_slice(b"(p3)"));
            push(&mut ring, ME, "[own]");
            push(&mut ring, OTHER, "[r2]");
            outbox.private_small(ring.end(), |out| out.extend_from_slice(b"(p4)"));
            push(&mut ring, OTHER, "[r3]");
            assert_eq!(outbox.private_bytes(), 16);
            for _ in 0..60 {
                stream.opens(&mut outbox);
                outbox.flush(&mut stream, Some(&ring), ME);
            }
            assert_eq!((outbox.needs(), outbox.private_bytes()), (4, 0), "width {width}");
            push(&mut ring, OTHER, "[never]");
            outbox.private(ring.end(), Bytes::from_static(b"(last)"));
            outbox.end([Bytes::from_static(b"<bye>")]);
            for _ in 0..20 {
                stream.opens(&mut outbox);
                outbox.flush(&mut stream, Some(&ring), ME);
            }
            assert!(outbox.is_finished());
            let text = String::from_utf8_lossy(&stream.taken).into_owned();
            assert_eq!(text, "hello [r0](p1)(p2)(p3)[r2](p4)[r3](last)<bye>", "width {width}");
        }
    }

    #[test]
    fn the_ring_waits_behind_an_answer_that_cannot_be_given_yet() {
        for width in 1..20 {
            let (mut ring, mut outbox) = (Ring::new(1 << 20), Outbox::default());
            let mut stream = Narrow { width, left: 0, ..Narrow::default() };
            let mut flush = |outbox: &mut Outbox, ring: &Ring| {
                for _ in 0..40 {
                    stream.opens(outbox);
                    outbox.flush(&mut stream, Some(ring), ME);
                }
                String::from_utf8_lossy(&stream.taken).into_owned()
            };
            push(&mut ring, OTHER, "[old]");
            outbox.place(ring.end());
            outbox.private_small(ring.end(), |out| out.extend_from_slice(b"(state)"));
            outbox.hold();
            push(&mut ring, OTHER, "[r1]");
            push(&mut ring, OTHER, "[r2]");
            outbox.private_small(ring.end(), |out| out.extend_from_slice(b"(pending)"));
            assert_eq!(flush(&mut outbox, &ring), "(state)(pending)", "width {width}");
            assert_eq!((outbox.needs(), outbox.is_stalled()), (1, false), "width {width}");
            outbox.private(ring.end(), Bytes::from_static(b"(answer)"));
            outbox.private_framed(ring.end(), b"(m".to_vec(), Bytes::from_static(b"ore)"));
            outbox.release();
            push(&mut ring, OTHER, "[r3]");
            let all = "(state)(pending)(answer)(more)[r1][r2][r3]";
            assert_eq!(flush(&mut outbox, &ring), all, "width {width}");
        }
    }

    #[test]
    fn one_flush_takes_a_bounded_share() {
        let mut outbox = Outbox::default();
        let mut stream = Narrow { width: usize::MAX, left: usize::MAX, ..Narrow::default() };
        outbox.private(0, vec![7; 3 * WRITE_BYTES_MAX].into());
        let shares = std::iter::from_fn(|| outbox.flush(&mut stream, None, ME).then_some(stream.taken.len()));
        assert_eq!(shares.collect::<Vec<_>>(), [WRITE_BYTES_MAX, 2 * WRITE_BYTES_MAX, 3 * WRITE_BYTES_MAX][..2]);
        assert_eq!(stream.taken.len(), 3 * WRITE_BYTES_MAX);
    }

    #[test]
    fn a_lost_place_is_noticed_once_and_when_everything_else_is_gone() {
        let (mut ring, mut outbox) = (Ring::new(1), Outbox::default());
        let mut stream = Narrow { width: 1_000, left: 0, ..Narrow::default() };
        outbox.private(0, Bytes::from_static(b"first"));
        for _ in 0..3 {
            push(&mut ring, OTHER, &"x".repeat(70_000));
        }
        ring.hold_to_bound();
        assert!(!outbox.notice_loss(&ring, None), "something is still on its way");
        stream.opens(&mut outbox);
        outbox.flush(&mut stream, Some(&ring), ME);
        assert_eq!(stream.taken, b"first");
        assert!(outbox.notice_loss(&ring, None) && !outbox.notice_loss(&ring, None));
        outbox.place(ring.end());
        push(&mut ring, OTHER, "on it goes");
        outbox.flush(&mut stream, Some(&ring), ME);
        assert_eq!(stream.taken, b"firston it goes");
    }
}

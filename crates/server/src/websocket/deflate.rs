//! Compression of single messages (RFC 7692, permessage-deflate) without a memory from one message to the next, so that one compressed frame serves
//! every socket of a room and an idle connection holds no tables.
//!
//! Called by the decoder for what clients have compressed, and by whoever encodes an event. A worker has one [`Inflater`] and one [`Deflater`], which
//! take their tables at the first use. Decides neither what was negotiated nor what is worth compressing.

use std::fmt;

use bytes::{Bytes, BytesMut};
use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use miniz_oxide::{MZFlush, MZStatus};

use super::message::DecodeError;

/// What a sender leaves away at the end of each message: an empty block without compression (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The tail and a final empty block. Inflating it tells a message that is whole from one that was cut inside a block.
const ENDING: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

/// Blocks that any message may have, for senders that flush each fragment or have small tables.
const BLOCKS_MAX: usize = 1_024;

/// Bytes of the message for each further block: zlib makes blocks of 16 KiB, and with tables of size 4 of 1,023 bytes. An empty block is ten bits and
/// costs 7 us (bench/RESULTS.md), so a message of 16 MiB of nothing else would hold up its thread for a minute and a half; so it is 0.1 s.
const BLOCK_BYTES_MIN: usize = 1_000;

/// What a block counts beside its bytes when a client's costs are counted.
const BLOCK_COST_BYTES: usize = 512;

/// Memory that is kept for the next message: enough for what people type and for a document of some pages.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// The first memory of an inflater: most messages are keystrokes.
const FIRST_BYTES: usize = 4 << 10;

/// Of nine levels the first: on a document of 311 KB it takes 7.5 ns a byte and leaves 41 percent, levels 2 to 6 take 17 to 58 ns and leave 36 to 34.
const LEVEL: i32 = 1;

/// A negative window stands for deflate without a zlib header.
const WINDOW_BITS: i32 = -15;

/// The output is one piece, so that what refers to bytes before the message is an error, and no zeros.
const FLAGS: u32 = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
    | inflate_flags::TINFL_FLAG_HAS_MORE_INPUT
    | inflate_flags::TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;

/// Turns what clients have compressed into messages. 11 KiB of tables from the first compressed message on.
#[derive(Default)]
pub struct Inflater {
    tables: Option<Box<DecompressorOxide>>,
    /// All of it initialised; the message is `output[..filled]`.
    output: Vec<u8>,
    filled: usize,
    surplus: u64,
}

impl Inflater {
    /// What inflating has cost beyond the bytes that had come, in bytes, since this was asked last: those that were made of them, of which a thousandth
    /// may have crossed the network, and something for each block. Whoever counts what a client costs counts it too.
    pub fn take_surplus(&mut self) -> u64 {
        std::mem::take(&mut self.surplus)
    }

    /// Inflates one message to at most `bytes_max` bytes. More is refused when it shows, with one byte more taken than that.
    pub(super) fn inflate(&mut self, payload: &[u8], bytes_max: usize) -> Result<(), DecodeError> {
        self.filled = 0;
        let mut tables = self.tables.take().unwrap_or_default();
        tables.init();
        let inflated = if payload.is_empty() { Ok(()) } else { self.inflate_blocks(payload, bytes_max, &mut tables) };
        self.tables = Some(tables);
        self.surplus += self.filled.saturating_sub(payload.len()) as u64;
        if inflated.is_err() {
            (self.output, self.filled) = (Vec::new(), 0);
        }
        inflated
    }

    /// The message that was inflated: a small one is put into `arena`, a large one keeps its memory.
    pub(super) fn take(&mut self, arena: &mut BytesMut) -> Bytes {
        if self.filled <= KEPT_BYTES_MAX {
            arena.extend_from_slice(&self.output[..self.filled]);
            self.output.truncate(KEPT_BYTES_MAX);
            self.output.shrink_to(KEPT_BYTES_MAX);
            return arena.split().freeze();
        }
        let mut message = std::mem::take(&mut self.output);
        message.truncate(self.filled);
        message.shrink_to_fit();
        message.into()
    }

    fn inflate_blocks(
        &mut self,
        payload: &[u8],
        bytes_max: usize,
        tables: &mut DecompressorOxide,
    ) -> Result<(), DecodeError> {
        let (mut input, mut at_end, mut blocks) = (payload, false, 0);
        loop {
            let (status, taken, made) = decompress(tables, input, &mut self.output, self.filled, FLAGS);
            input = &input[taken..];
            self.filled += made;
            // The ending makes nothing, unless a block that was cut takes it for its own bytes.
            if at_end && made > 0 {
                return Err(DecodeError::BadDeflate);
            }
            if self.filled > bytes_max {
                return Err(DecodeError::TooBig { announced: self.filled as u64, limit: bytes_max as u64 });
            }
            match status {
                TINFLStatus::Done if at_end && input.is_empty() => return Ok(()),
                // A final block, and what follows is a new stream: at least the padding that section 7.2.3.4 asks for.
                TINFLStatus::Done | TINFLStatus::BlockBoundary => {
                    blocks += 1;
                    self.surplus += BLOCK_COST_BYTES as u64;
                    if blocks > BLOCKS_MAX + self.filled / BLOCK_BYTES_MIN {
                        return Err(DecodeError::BadDeflate);
                    }
                    if status == TINFLStatus::Done {
                        tables.init();
                    }
                }
                TINFLStatus::NeedsMoreInput if !at_end => (input, at_end) = (&ENDING, true),
                TINFLStatus::HasMoreOutput => self.grow(bytes_max),
                _ => return Err(DecodeError::BadDeflate),
            }
        }
    }

    /// Makes room for more, up to one byte over the limit: who fills that is beyond it.
    fn grow(&mut self, bytes_max: usize) {
        let wanted = (2 * self.output.len()).max(FIRST_BYTES).min(bytes_max + 1);
        self.output.reserve_exact(wanted.saturating_sub(self.output.len()));
        self.output.resize(wanted.max(self.output.len()), 0);
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("output_bytes", &self.output.len()).finish_non_exhaustive()
    }
}

/// Compresses what is worth it. 320 KiB of tables from the first message on.
pub struct Deflater {
    bytes_min: usize,
    tables: Option<Box<CompressorOxide>>,
    output: Vec<u8>,
}

impl Deflater {
    /// Payloads over this size are sent as they are. At 7.5 to 12 ns a byte (bench/RESULTS.md) it is 4 to 6 ms of the thread that serves the room and its
    /// neighbours: nobody sees that while typing, and 1 MiB would be a frame of a screen.
    pub const BYTES_MAX: usize = 512 << 10;

    /// Compresses payloads of `bytes_min` to [`Deflater::BYTES_MAX`] bytes.
    pub fn new(bytes_min: usize) -> Self {
        Self { bytes_min, tables: None, output: Vec::new() }
    }

    /// Whether a payload of about so many bytes is tried.
    pub fn is_worth(&self, bytes: usize) -> bool {
        (self.bytes_min..=Self::BYTES_MAX).contains(&bytes)
    }

    /// The payload of a compressed frame. None when it is not worth it: too small, too large, or no smaller afterwards.
    pub fn deflate(&mut self, payload: &[u8]) -> Option<&[u8]> {
        if payload.len() < self.bytes_min || payload.len() > Self::BYTES_MAX || payload.is_empty() {
            return None;
        }
        if self.output.len() > KEPT_BYTES_MAX {
            self.output = Vec::new();
        }
        // What does not fit with its tail is no smaller than the payload.
        let room = payload.len() + TAIL.len();
        if self.output.len() < room {
            self.output.resize(room, 0);
        }
        let mut tables = self.tables.take().unwrap_or_else(|| {
            Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, WINDOW_BITS, 0)))
        });
        // A full flush forgets what came before, so that not all of the tables have to be cleared: 27 instead of 35 us for 1 KiB.
        let result = deflate(&mut tables, payload, &mut self.output[..room], MZFlush::Full);
        let all = result.status == Ok(MZStatus::Ok) && result.bytes_consumed == payload.len();
        if !all || result.bytes_written == room {
            tables.reset();
            self.tables = Some(tables);
            return None;
        }
        self.tables = Some(tables);
        self.output[..result.bytes_written].strip_suffix(&TAIL)
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").field("bytes_min", &self.bytes_min).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflated(payload: &[u8], bytes_max: usize) -> Result<Bytes, DecodeError> {
        let mut inflater = Inflater::default();
        inflater.inflate(payload, bytes_max)?;
        Ok(inflater.take(&mut BytesMut::new()))
    }

    /// The shortest bomb: 258 bytes for every two bits and a half.
    fn bomb(bytes: usize) -> Vec<u8> {
        let mut tables = CompressorOxide::new(create_comp_flags_from_zip_params(9, WINDOW_BITS, 0));
        let mut output = vec![0; bytes / 500 + 1_000];
        let result = deflate(&mut tables, &vec![0; bytes], &mut output, MZFlush::Sync);
        assert_eq!((result.status, result.bytes_consumed), (Ok(MZStatus::Ok), bytes));
        output.truncate(result.bytes_written - TAIL.len());
        output
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 7692, sections 7.2.3.1 to 7.2.3.6.
        let cases: &[(&str, &[u8], &[u8])] = &[
            ("one block", &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            ("without compression", &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], b"Hello"),
            ("a final block and its padding", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], b"Hello"),
            ("two blocks", &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            ("an empty message", &[0x00], b""),
            ("an empty message in a fixed block", &[0x02, 0x00], b""),
            ("an empty message without a byte", &[], b""),
        ];
        for (name, payload, expected) in cases {
            assert_eq!(inflated(payload, 5).as_deref(), Ok(*expected), "{name}");
        }
    }

    #[test]
    fn a_message_remembers_nothing_of_the_one_before() {
        // RFC 7692, section 7.2.3.2: the second Hello refers to the first, which was not agreed on.
        let mut inflater = Inflater::default();
        inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 100).expect("the first");
        assert_eq!(inflater.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], 100), Err(DecodeError::BadDeflate));
        inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 100).expect("an error leaves nothing behind");
    }

    #[test]
    fn what_is_no_deflate_or_was_cut_is_refused() {
        let whole: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let stored: &[u8] = &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        let cuts = (1..whole.len()).map(|cut| &whole[..cut]).chain((2..stored.len()).map(|cut| &stored[..cut]));
        let wrong: [&[u8]; 5] = [b"Hello", &[0xff; 20], &[0x07, 0x00], &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x00], &[0x06]];
        for payload in cuts.chain(wrong) {
            assert_eq!(inflated(payload, 1_000), Err(DecodeError::BadDeflate), "{payload:02x?}");
        }
    }

    #[test]
    fn blocks_that_hold_next_to_nothing_are_counted() {
        // An empty fixed block with its flush, an empty stored block, and a stream of its own.
        for block in [&[0x02, 0x00, 0x00, 0x00, 0xff, 0xff][..], &[0x00, 0x00, 0x00, 0xff, 0xff], &[0x03, 0x00]] {
            let message = |count: usize| [block.repeat(count), vec![0x00]].concat();
            assert_eq!(inflated(&message(BLOCKS_MAX / 2 - 1), 10).as_deref(), Ok(&b""[..]), "{block:02x?}");
            assert_eq!(inflated(&message(BLOCKS_MAX), 10), Err(DecodeError::BadDeflate), "{block:02x?}");
        }
        // Full ones may be as many as they are.
        let (length, count) = (BLOCK_BYTES_MIN as u16, 3 * BLOCKS_MAX);
        let full = [&[0x00][..], &length.to_le_bytes(), &(!length).to_le_bytes(), &[7; BLOCK_BYTES_MIN]].concat();
        let message = [full.repeat(count), vec![0x00]].concat();
        assert!(inflated(&message, 4 << 20).is_ok_and(|inflated| inflated == vec![7; count * BLOCK_BYTES_MIN]));
    }

    #[test]
    fn a_bomb_goes_off_at_the_limit() {
        let bytes_max = 1 << 20;
        for (bytes, legal) in [(bytes_max, true), (bytes_max + 1, false), (100 * bytes_max, false)] {
            let payload = bomb(bytes);
            assert!(payload.len() < bytes / 900);
            let mut inflater = Inflater::default();
            let result = inflater.inflate(&payload, bytes_max);
            assert!(inflater.output.capacity() <= bytes_max + 1, "{} bytes", inflater.output.capacity());
            match legal {
                true => assert_eq!((result, inflater.filled), (Ok(()), bytes)),
                false => assert!(matches!(result, Err(DecodeError::TooBig { limit: 0x10_0000, .. })), "{result:?}"),
            }
        }
    }

    #[test]
    fn what_inflating_costs_beyond_what_came_is_told_once() {
        let mut inflater = Inflater::default();
        let payload = bomb(100_000);
        inflater.inflate(&payload, 1 << 20).expect("legal");
        // A block of zeros and the empty one at its end.
        let cost = (100_000 - payload.len() + 2 * BLOCK_COST_BYTES) as u64;
        assert_eq!((inflater.take_surplus(), inflater.take_surplus()), (cost, 0));
        // What is refused has cost something too.
        let blocks = [[0x02, 0x00, 0x00, 0x00, 0xff, 0xff].repeat(BLOCKS_MAX), vec![0x00]].concat();
        assert_eq!(inflater.inflate(&blocks, 10), Err(DecodeError::BadDeflate));
        assert!(inflater.take_surplus() >= (BLOCKS_MAX * BLOCK_COST_BYTES) as u64);
    }

    #[test]
    fn little_memory_stays_after_a_large_message() {
        let (mut inflater, mut deflater) = (Inflater::default(), Deflater::new(0));
        for bytes in [10, KEPT_BYTES_MAX, KEPT_BYTES_MAX + 1, Deflater::BYTES_MAX, 10] {
            let payload = deflater.deflate(&vec![b'x'; bytes]).map(<[u8]>::to_vec);
            let payload = payload.unwrap_or_else(|| panic!("{bytes} equal bytes become fewer"));
            inflater.inflate(&payload, 1 << 20).expect("legal");
            assert_eq!(inflater.take(&mut BytesMut::new()), vec![b'x'; bytes]);
            assert!(inflater.output.capacity() <= KEPT_BYTES_MAX);
        }
        assert!(deflater.output.capacity() <= KEPT_BYTES_MAX);
    }

    #[test]
    fn what_was_compressed_before_leaves_no_trace() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut deflater = Deflater::new(0);
        for round in 0..50 {
            let letters = random.u8(2..=255);
            let payload: Vec<u8> = (0..random.usize(1..80_000)).map(|_| random.u8(..letters)).collect();
            let fresh = Deflater::new(0).deflate(&payload).map(<[u8]>::to_vec);
            assert!(deflater.deflate(&payload) == fresh.as_deref(), "round {round}");
            if let Some(compressed) = fresh {
                assert!(
                    inflated(&compressed, payload.len()).is_ok_and(|inflated| inflated == payload),
                    "round {round}"
                );
            }
        }
    }

    #[test]
    fn only_what_becomes_smaller_is_compressed() {
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(5_000).collect();
        let text = b"the same words, ".repeat(1_000);
        let cases: &[(&str, &[u8], usize, bool)] = &[
            ("text", &text, 1_024, true),
            ("as small as may be", &text[..1_024], 1_024, true),
            ("smaller", &text[..1_023], 1_024, false),
            ("noise", &noise, 1_024, false),
            ("nothing", b"", 0, false),
            ("a letter", b"x", 0, false),
            ("too large", &vec![0; Deflater::BYTES_MAX + 1], 0, false),
        ];
        for (name, payload, bytes_min, worth_it) in cases {
            let mut deflater = Deflater::new(*bytes_min);
            let compressed = deflater.deflate(payload);
            assert_eq!(compressed.is_some(), *worth_it, "{name}");
            if let Some(compressed) = compressed {
                assert!(compressed.len() < payload.len(), "{name}");
                assert!(inflated(compressed, payload.len()).is_ok_and(|inflated| inflated == *payload), "{name}");
            }
        }
    }
}

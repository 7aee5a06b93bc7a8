//! Client bytes in, whole messages out. Called by the socket with whatever one read returned, from a buffer that belongs to the
//! thread: the decoder keeps bytes only while a frame or a message is incomplete, so an idle connection holds no buffer. Knows no
//! clock: the socket closes a connection whose decoder stays un-idle for too long (tiny fragments can keep a message open).

use bytes::{Bytes, BytesMut};

use super::deflate::Inflater;
use super::frame::{COMPRESSED, CONTROL_BYTES_MAX, Opcode};
use super::mask::unmask;
use super::message::{DecodeError, Message, close_message};

/// Longest header of a client's frame: two bytes, a 64-bit length, the mask.
const HEADER_BYTES_MAX: usize = 14;

/// The state between two reads of one connection: 64 bytes at most, because every idle connection has one.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: usize,
    /// Messages may be compressed: it was negotiated.
    deflate: bool,
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// After a close or an error the rest of the stream means nothing.
    ended: bool,
    frame: Option<Frame>,
    partial: Option<Box<Partial>>,
    /// Fragments that did not finish their message, since they were last asked for.
    fragments: u32,
}

/// A frame whose header was read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    payload_len: usize,
    received: usize,
    key: [u8; 4],
    opcode: Opcode,
    fin: bool,
    /// Begins a compressed message.
    compressed: bool,
}

impl Frame {
    fn remaining(&self) -> usize {
        self.payload_len - self.received
    }
}

/// The bytes of what is incomplete. One growing buffer per message and not a list of fragments: a million one-byte fragments
/// would pin a hundred times their size, and a cap on their number would refuse honest streams (Autobahn cases 9.3 and 9.4).
#[derive(Debug, Default)]
struct Partial {
    /// What the open message is; `None` while only a control frame is incomplete.
    kind: Option<Kind>,
    /// `message` has to be inflated when it is whole.
    compressed: bool,
    message: Vec<u8>,
    /// Bytes of `message` that are known to be UTF-8.
    utf8_checked: usize,
    control: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

impl Kind {
    /// The message with this payload, which for text has to be UTF-8.
    fn message(self, payload: Bytes) -> Result<Message, DecodeError> {
        match self {
            Kind::Text if std::str::from_utf8(&payload).is_err() => Err(DecodeError::TextNotUtf8),
            Kind::Text => Ok(Message::Text(payload)),
            Kind::Binary => Ok(Message::Binary(payload)),
        }
    }
}

impl Decoder {
    /// A decoder for one connection that refuses messages over `message_bytes_max` bytes (fragments counted together, and again
    /// after inflating). `deflate`: compression was negotiated.
    pub fn new(message_bytes_max: usize, deflate: bool) -> Self {
        Decoder {
            message_bytes_max,
            deflate,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            ended: false,
            frame: None,
            partial: None,
            fragments: 0,
        }
    }

    /// Takes bytes from the front of `input` until one message is complete. `None` means that all of `input` was taken and more
    /// is needed; call again until then. After a close message or an error everything is taken and dropped. Messages that came whole are
    /// put one behind the other into `arena` and share its memory: who keeps a small one for long copies it. `inflater` belongs to the
    /// thread too, and is used for compressed messages only.
    pub fn decode(
        &mut self,
        input: &mut &[u8],
        arena: &mut BytesMut,
        inflater: &mut Inflater,
    ) -> Result<Option<Message>, DecodeError> {
        while !input.is_empty() && !self.ended {
            let step = self.step(input, arena, inflater);
            if matches!(step, Err(_) | Ok(Some(Message::Close { .. }))) {
                *self = Decoder { ended: true, ..Decoder::new(self.message_bytes_max, self.deflate) };
            }
            if !matches!(step, Ok(None)) {
                return step;
            }
        }
        *input = &[];
        Ok(None)
    }

    /// True when no frame and no message is incomplete. While it is false, the socket's assembly deadline runs.
    pub fn is_idle(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.partial.is_none()
    }

    /// Bytes of memory held for what is incomplete; 0 when idle.
    pub fn buffered_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.message.capacity() + partial.control.capacity())
    }

    /// How many fragments have come since the last call that did not finish their message: each costs as much to read as a small message.
    pub fn take_fragments(&mut self) -> u32 {
        std::mem::take(&mut self.fragments)
    }

    /// Takes at least one byte of a non-empty `input`: the rest of a header, and what is there of its payload.
    fn step(
        &mut self,
        input: &mut &[u8],
        arena: &mut BytesMut,
        inflater: &mut Inflater,
    ) -> Result<Option<Message>, DecodeError> {
        let frame = match self.frame.take() {
            Some(frame) => Some(frame),
            None => self.read_header(input)?,
        };
        frame.map_or(Ok(None), |frame| self.read_payload(frame, input, arena, inflater))
    }

    /// Collects a header byte by byte if it must, and checks it. The first two bytes are judged as soon as they are there, so a
    /// stream that is no WebSocket at all is not waited for.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, DecodeError> {
        loop {
            let known = usize::from(self.header_len);
            let wanted = if known < 2 { 2 } else { header_len(self.header[1]) };
            if known == wanted {
                self.header_len = 0;
                return self.frame_of_header().map(Some);
            }
            let take = input.len().min(wanted - known);
            if take == 0 {
                return Ok(None);
            }
            let (bytes, rest) = input.split_at(take);
            self.header[known..known + take].copy_from_slice(bytes);
            self.header_len += take as u8;
            *input = rest;
            if known < 2 && known + take == 2 {
                self.check_start()?;
            }
        }
    }

    /// The rules that the first two bytes of a frame can break.
    fn check_start(&self) -> Result<(), DecodeError> {
        let [first, second, ..] = self.header;
        let fin = first & 0x80 != 0;
        // Compression is said of a message, so by its first frame (RFC 7692, section 6).
        let may_be_compressed = self.deflate && matches!(first & 0x0f, 0x1 | 0x2);
        let reserved = if may_be_compressed { 0x70 & !COMPRESSED } else { 0x70 };
        if first & reserved != 0 {
            return Err(DecodeError::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(DecodeError::ReservedOpcode(first & 0x0f))?;
        if second & 0x80 == 0 {
            return Err(DecodeError::Unmasked);
        }
        let message_open = self.partial.as_ref().is_some_and(|partial| partial.kind.is_some());
        match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => Err(DecodeError::FragmentedControl),
            Opcode::Close | Opcode::Ping | Opcode::Pong if usize::from(second & 0x7f) > CONTROL_BYTES_MAX => {
                Err(DecodeError::ControlTooLong)
            }
            Opcode::Continuation if !message_open => Err(DecodeError::ContinuationWithoutStart),
            Opcode::Text | Opcode::Binary if message_open => Err(DecodeError::MessageNotFinished),
            _ => Ok(()),
        }
    }

    /// The frame that a complete header announces. The size is refused here, from the announcement, and nothing is allocated
    /// for it. Lengths in a longer form than needed are let through: they are harmless, and small devices send them.
    fn frame_of_header(&self) -> Result<Frame, DecodeError> {
        let [first, second, ..] = self.header;
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(DecodeError::ReservedOpcode(first & 0x0f))?;
        let key_at = header_len(second) - 4;
        let length = match &self.header[2..key_at] {
            [] => u64::from(second & 0x7f),
            extended => extended.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if length >> 63 != 0 {
            return Err(DecodeError::LengthOutOfRange);
        }
        let before = self.partial.as_ref().map_or(0, |partial| partial.message.len() as u64);
        let limit = self.message_bytes_max as u64;
        if !opcode.is_control() && before + length > limit {
            return Err(DecodeError::TooBig { announced: before + length, limit });
        }
        let mut key = [0; 4];
        key.copy_from_slice(&self.header[key_at..key_at + 4]);
        let (fin, compressed) = (first & 0x80 != 0, first & COMPRESSED != 0);
        Ok(Frame { payload_len: length as usize, received: 0, key, opcode, fin, compressed })
    }

    /// Takes what `input` has of the frame's payload. Frames that are whole in `input` are unmasked straight into their message.
    fn read_payload(
        &mut self,
        frame: Frame,
        input: &mut &[u8],
        arena: &mut BytesMut,
        inflater: &mut Inflater,
    ) -> Result<Option<Message>, DecodeError> {
        if input.is_empty() && frame.remaining() > 0 {
            self.frame = Some(frame);
            return Ok(None);
        }
        let whole = frame.received == 0 && input.len() >= frame.payload_len;
        if whole && frame.opcode.is_control() {
            let payload = take_whole(&frame, input, arena);
            return control_message(frame.opcode, payload).map(Some);
        }
        match frame.opcode {
            Opcode::Binary | Opcode::Text if whole && frame.fin && frame.compressed => {
                let kind = if frame.opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
                let inflated = inflater.inflate(unmasked(&frame, input, arena), self.message_bytes_max);
                arena.clear();
                inflated?;
                kind.message(inflater.take(arena)).map(Some)
            }
            Opcode::Binary if whole && frame.fin => Ok(Some(Message::Binary(take_whole(&frame, input, arena)))),
            Opcode::Text if whole && frame.fin => Kind::Text.message(take_whole(&frame, input, arena)).map(Some),
            _ => self.read_part(frame, input, arena, inflater),
        }
    }

    /// The slow path: a fragment, or a frame that came in several reads.
    fn read_part(
        &mut self,
        mut frame: Frame,
        input: &mut &[u8],
        arena: &mut BytesMut,
        inflater: &mut Inflater,
    ) -> Result<Option<Message>, DecodeError> {
        let mut partial = self.partial.take().unwrap_or_default();
        partial.take(&mut frame, input)?;
        if frame.remaining() > 0 {
            self.partial = Some(partial);
            self.frame = Some(frame);
            return Ok(None);
        }
        if frame.opcode.is_control() {
            let payload = std::mem::take(&mut partial.control);
            self.partial = partial.kind.is_some().then_some(partial);
            return control_message(frame.opcode, payload.into()).map(Some);
        }
        if frame.fin && partial.compressed {
            inflater.inflate(&partial.message, self.message_bytes_max)?;
            return partial.kind.unwrap_or(Kind::Binary).message(inflater.take(arena)).map(Some);
        }
        if frame.fin {
            return partial.finish();
        }
        self.fragments += 1;
        self.partial = Some(partial);
        Ok(None)
    }
}

impl Partial {
    fn take(&mut self, frame: &mut Frame, input: &mut &[u8]) -> Result<(), DecodeError> {
        match frame.opcode {
            Opcode::Text => self.kind = Some(Kind::Text),
            Opcode::Binary => self.kind = Some(Kind::Binary),
            _ => {}
        }
        self.compressed |= frame.compressed;
        let buffer = if frame.opcode.is_control() { &mut self.control } else { &mut self.message };
        let take = input.len().min(frame.remaining());
        let (bytes, rest) = input.split_at(take);
        let start = buffer.len();
        reserve(buffer, take, frame);
        buffer.extend_from_slice(bytes);
        unmask(&mut buffer[start..], frame.key, frame.received);
        frame.received += take;
        *input = rest;
        if self.kind == Some(Kind::Text) && !self.compressed { self.check_utf8() } else { Ok(()) }
    }

    /// Looks at each byte once: what is left unchecked is at most the first three bytes of a character.
    fn check_utf8(&mut self) -> Result<(), DecodeError> {
        match std::str::from_utf8(&self.message[self.utf8_checked..]) {
            Ok(text) => self.utf8_checked += text.len(),
            Err(error) if error.error_len().is_none() => self.utf8_checked += error.valid_up_to(),
            Err(_) => return Err(DecodeError::TextNotUtf8),
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<Message>, DecodeError> {
        match self.kind {
            Some(Kind::Text) if self.utf8_checked < self.message.len() => Err(DecodeError::TextNotUtf8),
            Some(Kind::Text) => Ok(Some(Message::Text(self.message.into()))),
            _ => Ok(Some(Message::Binary(self.message.into()))),
        }
    }
}

/// Bytes of a client's header with this second byte: with the extended length, and the mask.
fn header_len(second: u8) -> usize {
    match second & 0x7f {
        126 => 8,
        127 => 14,
        _ => 6,
    }
}

fn take_whole(frame: &Frame, input: &mut &[u8], arena: &mut BytesMut) -> Bytes {
    unmasked(frame, input, arena);
    arena.split().freeze()
}

/// The payload of a frame that is whole in `input`, in `arena`, where nothing else is.
fn unmasked<'a>(frame: &Frame, input: &mut &[u8], arena: &'a mut BytesMut) -> &'a [u8] {
    let (bytes, rest) = input.split_at(frame.payload_len);
    arena.extend_from_slice(bytes);
    unmask(arena, frame.key, 0);
    *input = rest;
    arena
}

/// Makes room for `take` bytes of `frame`. Grows with the bytes that came, to at most about twice of them, and never by what a
/// header announces: fourteen bytes could claim the whole limit on each of 100,000 connections.
fn reserve(buffer: &mut Vec<u8>, take: usize, frame: &Frame) {
    if buffer.capacity() - buffer.len() >= take {
        return;
    }
    if frame.fin {
        // The end of the message is in sight: do not grow past it.
        buffer.reserve_exact(frame.remaining().min(take.max(buffer.len())));
    } else {
        buffer.reserve(take);
    }
}

fn control_message(opcode: Opcode, payload: Bytes) -> Result<Message, DecodeError> {
    match opcode {
        Opcode::Ping => Ok(Message::Ping(payload)),
        Opcode::Pong => Ok(Message::Pong(payload)),
        _ => close_message(&payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    const LIMIT: usize = 1 << 20;

    /// A client's frame, written as RFC 6455 section 5.2 draws it. `first` is the whole first byte.
    fn client_frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(key);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    /// Everything that a decoder says to `stream`, which arrives cut into `pieces`.
    fn replay<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<DecodeError>, Decoder) {
        replay_with(Decoder::new(LIMIT, false), pieces)
    }

    fn replay_with<'a>(
        mut decoder: Decoder,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Message>, Option<DecodeError>, Decoder) {
        let (mut messages, mut arena, mut inflater) = (Vec::new(), BytesMut::new(), Inflater::default());
        for mut piece in pieces {
            loop {
                match decoder.decode(&mut piece, &mut arena, &mut inflater) {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break assert!(piece.is_empty(), "the decoder left bytes"),
                    Err(error) => return (messages, Some(error), decoder),
                }
            }
        }
        (messages, None, decoder)
    }

    fn random_bytes(random: &mut fastrand::Rng, len_max: usize) -> Vec<u8> {
        let mut bytes = vec![0; random.usize(..len_max)];
        random.fill(&mut bytes);
        bytes
    }

    fn binary(payload: &[u8]) -> Message {
        Message::Binary(Bytes::copy_from_slice(payload))
    }

    fn text(payload: &str) -> Message {
        Message::Text(Bytes::copy_from_slice(payload.as_bytes()))
    }

    fn close(code: Option<u16>, reason: &str) -> Message {
        Message::Close { code, reason: reason.to_owned() }
    }

    /// Frames of every kind, with everything that is legal around fragments.
    fn mixed_stream() -> (Vec<u8>, Vec<Message>) {
        let long = vec![0xa5; 300];
        let parts: &[(u8, &[u8])] = &[
            (0x81, b"Hello"),
            (0x82, b""),
            (0x01, "h\u{e9}".as_bytes().split_at(2).0),
            (0x89, b"between"),
            (0x00, b""),
            (0x00, "h\u{e9}".as_bytes().split_at(2).1),
            (0x8a, b""),
            (0x80, "\u{1f600}".as_bytes()),
            (0x82, &long),
            (0x02, &long),
            (0x80, b"!"),
            (0x81, b""),
            (0x88, b"\x03\xe8bye"),
        ];
        let stream = parts.iter().flat_map(|(first, payload)| client_frame(*first, payload, KEY)).collect();
        let joined: Vec<u8> = long.iter().copied().chain(*b"!").collect();
        let messages = vec![
            text("Hello"),
            binary(b""),
            Message::Ping(Bytes::from_static(b"between")),
            Message::Pong(Bytes::new()),
            text("h\u{e9}\u{1f600}"),
            binary(&long),
            binary(&joined),
            text(""),
            close(Some(1000), "bye"),
        ];
        (stream, messages)
    }

    #[test]
    fn rfc_examples_and_legal_edges() {
        let cases: &[(&[u8], Message)] = &[
            (&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58], text("Hello")),
            (
                &[0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
                Message::Ping(Bytes::from_static(b"Hello")),
            ),
            (&client_frame(0x82, &[7; 256], KEY), binary(&[7; 256])),
            (&client_frame(0x82, &[7; 65_536], KEY), binary(&[7; 65_536])),
            (&client_frame(0x8a, &[7; 125], KEY), Message::Pong(Bytes::from(vec![7; 125]))),
            (&client_frame(0x88, b"", KEY), close(None, "")),
            (&client_frame(0x88, b"\x11\x31", KEY), close(Some(4401), "")),
            // One byte of payload with its length in 64 bits.
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9], binary(&[9])),
        ];
        for (stream, expected) in cases {
            let (messages, error, _) = replay([*stream]);
            assert_eq!((messages, error), (vec![expected.clone()], None));
        }
    }

    #[test]
    fn every_way_of_cutting_a_stream_says_the_same() {
        let (stream, expected) = mixed_stream();
        assert_eq!(replay([&stream[..]]).0, expected, "at once");
        assert_eq!(replay(stream.chunks(1)).0, expected, "byte by byte");
        for at in 0..=stream.len() {
            let (left, right) = stream.split_at(at);
            let (messages, error, _) = replay([left, right]);
            assert_eq!((messages, error), (expected.clone(), None), "cut at {at}");
        }
    }

    #[test]
    fn random_messages_survive_random_fragments_and_reads() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for _ in 0..random.usize(1..8) {
                let payload = random_bytes(&mut random, 70_000);
                let mut rest = &payload[..];
                let mut first = 0x02;
                while random.u8(..) < 170 {
                    let (fragment, after) = rest.split_at(random.usize(0..=rest.len()));
                    stream.extend(client_frame(first, fragment, random.u32(..).to_be_bytes()));
                    (first, rest) = (0x00, after);
                    if random.bool() {
                        let ping = vec![random.u8(..); random.usize(0..=125)];
                        stream.extend(client_frame(0x89, &ping, random.u32(..).to_be_bytes()));
                        expected.push(Message::Ping(ping.into()));
                    }
                }
                stream.extend(client_frame(0x80 | first, rest, random.u32(..).to_be_bytes()));
                expected.push(binary(&payload));
            }
            let mut pieces = Vec::new();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random.usize(1..=rest.len().min(20_000)));
                pieces.push(piece);
                rest = after;
            }
            let (messages, error, decoder) = replay(pieces);
            assert!(error.is_none() && messages == expected, "seed {seed}: {error:?}");
            assert!(decoder.is_idle(), "seed {seed}");
        }
    }

    #[test]
    fn random_bytes_never_panic_and_never_depend_on_the_cut() {
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut stream = random_bytes(&mut random, 60);
            if let [first, second, ..] = &mut stream[..] {
                // Most random headers are refused at once; steer half of them further in.
                *first = if random.bool() { *first & 0x8f } else { *first };
                *second |= 0x80;
            }
            let at_once = replay([&stream[..]]);
            let by_bytes = replay(stream.chunks(1));
            assert_eq!((at_once.0, at_once.1), (by_bytes.0, by_bytes.1), "seed {seed}");
        }
    }

    #[test]
    fn broken_streams_are_refused_with_their_close_code() {
        let unfinished = client_frame(0x01, b"a", KEY);
        let after_start = |first: u8| [unfinished.clone(), client_frame(first, b"b", KEY)].concat();
        let cases: &[(&[u8], DecodeError, u16)] = &[
            (&[0x81, 0x05], DecodeError::Unmasked, 1002),
            (&[0xc1, 0x85], DecodeError::ReservedBits, 1002),
            (&[0x91, 0x85], DecodeError::ReservedBits, 1002),
            (&[0x83, 0x80], DecodeError::ReservedOpcode(3), 1002),
            (&[0x8b, 0x80], DecodeError::ReservedOpcode(11), 1002),
            (&[0x09, 0x80], DecodeError::FragmentedControl, 1002),
            (&[0x89, 0xfe], DecodeError::ControlTooLong, 1002),
            (&[0x88, 0xff], DecodeError::ControlTooLong, 1002),
            (&[0x80, 0x81], DecodeError::ContinuationWithoutStart, 1002),
            (&[0x00, 0x81], DecodeError::ContinuationWithoutStart, 1002),
            (&after_start(0x82), DecodeError::MessageNotFinished, 1002),
            (&after_start(0x01), DecodeError::MessageNotFinished, 1002),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], DecodeError::LengthOutOfRange, 1002),
            (
                &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4],
                DecodeError::TooBig { announced: u64::MAX >> 1, limit: LIMIT as u64 },
                1009,
            ),
            (&client_frame(0x88, b"\x03", KEY), DecodeError::CloseCutShort, 1002),
            (&client_frame(0x88, b"\x03\xe8\xff", KEY), DecodeError::CloseReasonNotUtf8, 1007),
            (&client_frame(0x81, b"\xff", KEY), DecodeError::TextNotUtf8, 1007),
            (&client_frame(0x81, b"cut \xe2\x82", KEY), DecodeError::TextNotUtf8, 1007),
            // UTF-16 halves are not UTF-8; noticed in the first fragment.
            (&client_frame(0x01, b"\xed\xa0\x80", KEY), DecodeError::TextNotUtf8, 1007),
        ];
        for (stream, expected, code) in cases {
            for pieces in [vec![*stream], stream.chunks(1).collect()] {
                let (messages, error, mut decoder) = replay(pieces);
                assert_eq!((messages, error.as_ref()), (vec![], Some(expected)));
                assert_eq!(expected.close_code(), *code, "{expected}");
                assert!(expected.to_string().len() <= 123, "{expected}");
                let mut more = &client_frame(0x81, b"more", KEY)[..];
                assert_eq!(
                    decoder.decode(&mut more, &mut BytesMut::new(), &mut Inflater::default()),
                    Ok(None),
                    "nothing is read after an error"
                );
                assert!(more.is_empty());
            }
        }
    }

    #[test]
    fn close_codes_that_may_travel() {
        for code in 0..=5_100u16 {
            let legal = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let (messages, error, _) = replay([&client_frame(0x88, &code.to_be_bytes(), KEY)[..]]);
            match legal {
                true => assert_eq!(messages, [close(Some(code), "")]),
                false => assert_eq!(error, Some(DecodeError::CloseCode(code))),
            }
        }
    }

    /// "Hello", compressed (RFC 7692, section 7.2.3.1).
    const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

    #[test]
    fn compressed_messages_are_read_whole_and_in_parts() {
        let (front, back) = HELLO.split_at(3);
        let parts: &[(u8, &[u8])] = &[
            (0xc1, HELLO),
            (0xc2, HELLO),
            (0x82, HELLO),
            // Section 7.2.3.1, in two fragments, with a ping between them.
            (0x41, front),
            (0x89, b"between"),
            (0x80, back),
            (0x42, HELLO),
            (0x00, b""),
            (0x80, b""),
            (0xc1, &[0x00]),
            (0xc2, b""),
            (0x01, b"pla"),
            (0x80, b"in"),
            // Two bytes of a letter in each fragment: not UTF-8 before it is whole and inflated.
            (0x41, &[0x00, 0x04, 0x00, 0xfb, 0xff, 0xf0, 0x9f]),
            (0x80, &[0x98, 0x80, 0x00]),
            (0x88, b""),
        ];
        let expected = [
            text("Hello"),
            binary(b"Hello"),
            binary(HELLO),
            Message::Ping(Bytes::from_static(b"between")),
            text("Hello"),
            binary(b"Hello"),
            text(""),
            binary(b""),
            text("plain"),
            text("\u{1f600}"),
            close(None, ""),
        ];
        let stream: Vec<u8> = parts.iter().flat_map(|(first, payload)| client_frame(*first, payload, KEY)).collect();
        for cut in 1..=stream.len() {
            let (messages, error, decoder) = replay_with(Decoder::new(LIMIT, true), stream.chunks(cut));
            assert_eq!((&messages[..], error), (&expected[..], None), "in pieces of {cut}");
            assert!(decoder.is_idle() && decoder.buffered_bytes() == 0);
        }
    }

    #[test]
    fn the_bit_of_compression_stands_only_where_it_was_agreed_and_a_message_begins() {
        let cases: &[(bool, &[u8], bool)] = &[
            (false, &[0xc1], false),
            (true, &[0xc1], true),
            (true, &[0xc2], true),
            (true, &[0xe1], false),
            (true, &[0x91], false),
            (true, &[0xf2], false),
            (true, &[0xc8], false),
            (true, &[0xc9], false),
            (true, &[0xca], false),
            (true, &[0x42, 0xc0], false),
        ];
        for (deflate, firsts, legal) in cases {
            let stream: Vec<u8> = firsts.iter().flat_map(|first| client_frame(*first, b"", KEY)).collect();
            let (_, error, _) = replay_with(Decoder::new(LIMIT, *deflate), [&stream[..]]);
            assert_eq!(error, (!legal).then_some(DecodeError::ReservedBits), "{deflate} {firsts:02x?}");
        }
    }

    #[test]
    fn a_compressed_message_is_held_to_what_it_becomes() {
        let repeat = |bytes: usize| {
            let mut payload =
                crate::websocket::Deflater::new(0).deflate(&vec![b'x'; bytes]).expect("it shrinks").to_vec();
            payload.insert(0, 0xc1);
            payload
        };
        let stored: &[u8] = &[0xc1, 0x00, 0x02, 0x00, 0xfd, 0xff, 0xc3, 0x28, 0x00];
        let too_big = DecodeError::TooBig { announced: 1_001, limit: 1_000 };
        let cases: &[(Vec<u8>, Option<DecodeError>, u16)] = &[
            (repeat(1_000), None, 0),
            (repeat(1_001), Some(too_big.clone()), 1009),
            (repeat(100_000), Some(too_big), 1009),
            (stored.to_vec(), Some(DecodeError::TextNotUtf8), 1007),
            (b"\xc1Hello".to_vec(), Some(DecodeError::BadDeflate), 1007),
            (b"\xc2Hello".to_vec(), Some(DecodeError::BadDeflate), 1007),
        ];
        for (message, expected, code) in cases {
            let (first, payload) = (message[0], &message[1..]);
            let whole = client_frame(first, payload, KEY);
            let (front, back) = payload.split_at(payload.len() / 2);
            let parts = [client_frame(first & 0x7f, front, KEY), client_frame(0x80, back, KEY)].concat();
            for stream in [whole, parts] {
                let (messages, error, decoder) = replay_with(Decoder::new(1_000, true), [&stream[..]]);
                assert_eq!(&error, expected, "{message:02x?}");
                assert_eq!(error.as_ref().map_or(0, DecodeError::close_code), *code);
                assert_eq!((messages.len(), decoder.is_idle()), (usize::from(expected.is_none()), true));
            }
        }
    }

    #[test]
    fn nothing_is_read_after_a_close() {
        let stream = [client_frame(0x88, b"\x03\xe9", KEY), client_frame(0x82, b"late", KEY)].concat();
        let (messages, error, decoder) = replay([&stream[..]]);
        assert_eq!((messages, error), (vec![close(Some(1001), "")], None));
        assert!(decoder.is_idle());
    }

    #[test]
    fn a_message_at_the_limit_passes_and_one_byte_more_does_not() {
        let half = vec![1; LIMIT / 2];
        let mut stream = client_frame(0x02, &half, KEY);
        stream.extend(client_frame(0x80, &half, KEY));
        assert_eq!(replay([&stream[..]]).0.len(), 1);

        let mut stream = client_frame(0x02, &half, KEY);
        stream.extend(client_frame(0x00, &half, KEY));
        stream.extend(client_frame(0x80, &[1], KEY));
        let too_big = DecodeError::TooBig { announced: LIMIT as u64 + 1, limit: LIMIT as u64 };
        assert_eq!(replay([&stream[..]]).1, Some(too_big));
    }

    #[test]
    fn fragments_are_counted_but_for_the_last_one() {
        let stream: Vec<u8> = [(0x02, "a"), (0x00, "b"), (0x89, "ping"), (0x00, "c"), (0x80, "d"), (0x82, "whole")]
            .into_iter()
            .flat_map(|(first, payload)| client_frame(first, payload.as_bytes(), KEY))
            .collect();
        let (messages, error, mut decoder) = replay([&stream[..]]);
        assert_eq!((messages.len(), error), (3, None));
        assert_eq!((decoder.take_fragments(), decoder.take_fragments()), (3, 0));
    }

    #[test]
    fn memory_follows_the_bytes_that_came() {
        assert!(size_of::<Decoder>() <= 64, "{} bytes", size_of::<Decoder>());
        let mut decoder = Decoder::new(LIMIT, false);
        let announced = client_frame(0x82, &vec![0; LIMIT], KEY);
        for (fed, bytes_max) in [(13, 0), (14, 0), (15, 64), (1_000, 4_096), (100_000, 300_000)] {
            let already = decoder.buffered_bytes();
            let mut decoder = Decoder::new(LIMIT, false);
            let mut input = &announced[..fed];
            assert_eq!(decoder.decode(&mut input, &mut BytesMut::new(), &mut Inflater::default()), Ok(None));
            assert!(decoder.buffered_bytes() <= bytes_max, "{fed} bytes fed, {} held", decoder.buffered_bytes());
            assert_eq!(already, 0);
        }
        // 50,000 fragments of one byte with a ping between them: about as many bytes as came, and none once it is over.
        for _ in 0..50_000 {
            let first = if decoder.is_idle() { 0x02 } else { 0x00 };
            let stream = [client_frame(first, b"x", KEY), client_frame(0x89, b"p", KEY)].concat();
            let mut input = &stream[..];
            while decoder.decode(&mut input, &mut BytesMut::new(), &mut Inflater::default()).expect("legal").is_some() {
            }
        }
        assert!((50_000..=150_000).contains(&decoder.buffered_bytes()), "{}", decoder.buffered_bytes());
        let mut last = &client_frame(0x80, b"", KEY)[..];
        assert_eq!(
            decoder.decode(&mut last, &mut BytesMut::new(), &mut Inflater::default()),
            Ok(Some(binary(&[b'x'; 50_000])))
        );
        assert!(decoder.is_idle());
        assert_eq!(decoder.buffered_bytes(), 0);
    }
}

//! The stream of one connection as its worker holds it: a TCP or Unix socket, or a TLS session over either.
//!
//! Never waits. A session keeps what the poll cannot see: bytes that were decrypted and not taken, and bytes that were encrypted and not sent. It says
//! so (`holds_input`, `Sink::holds`), and whoever polls the socket has to ask. Sockets without TLS hold nothing, and cost no copy.

use crate::channel::{Ended, Near};
use crate::outbox::Sink;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::ServerConnection;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;

/// What a session may hold that is encrypted and not sent, besides the overhead of records: what a slow reader costs.
const HELD_BYTES_MAX: usize = 64 << 10;
/// What a TLS session takes at rest, about: its keys and its buffers.
const SESSION_BYTES: usize = 8 << 10;
/// Reads of the socket for one read of the stream. Each brings 4 KiB at most, as many as one read without TLS in all.
const READS_MAX: usize = 16;

/// One connection's stream.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Plain),
    Tls(Box<Tls>),
    /// No socket: something within the process.
    Channel(Near),
}

/// A socket without a session.
#[derive(Debug)]
pub(crate) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn tls(wire: Plain, mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(HELD_BYTES_MAX));
        // What came behind the first request may be in the session.
        Self::Tls(Box::new(Tls { wire, session, holds_input: true }))
    }

    /// Memory that it takes beside the socket, about: a TLS session has keys, and buffers that grow with what it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(_) => SESSION_BYTES,
            Self::Channel(near) => near.memory_bytes(),
        }
    }

    /// There is something to read for which the poll will not call.
    pub(crate) fn holds_input(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.holds_input,
            // Something may have come before it was watched.
            Self::Channel(_) => true,
        }
    }

    /// Says that nothing more will be sent. Called when everything was.
    pub(crate) fn end(&mut self) {
        // The client may be gone already. A kernel without room for the session's last 24 bytes sends the end alone.
        let wire = match self {
            Self::Plain(wire) => wire,
            Self::Tls(tls) => {
                tls.session.send_close_notify();
                let _ = tls.send();
                &mut tls.wire
            }
            Self::Channel(near) => return near.end(Ended::Document),
        };
        let _ = match wire {
            Plain::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Plain::Unix(socket) => socket.shutdown(Shutdown::Write),
        };
    }

    /// The near end of a channel.
    pub(crate) fn channel(&self) -> Option<&Near> {
        match self {
            Self::Channel(near) => Some(near),
            Self::Plain(_) | Self::Tls(_) => None,
        }
    }

    /// The socket, if there is one.
    fn wire(&mut self) -> Option<&mut Plain> {
        match self {
            Self::Plain(wire) => Some(wire),
            Self::Tls(tls) => Some(&mut tls.wire),
            Self::Channel(_) => None,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
            // Has messages, not bytes.
            Self::Channel(_) => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.write(bytes),
            Self::Tls(tls) => tls.write_vectored(&[IoSlice::new(bytes)]),
            Self::Channel(near) => near.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.write_vectored(slices),
            Self::Tls(tls) => tls.write_vectored(slices),
            Self::Channel(near) => near.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) | Self::Channel(_) => Ok(()),
            Self::Tls(tls) => tls.send(),
        }
    }
}

impl Sink for Stream {
    fn holds(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Channel(_) => false,
            Self::Tls(tls) => tls.session.wants_write(),
        }
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write_vectored(slices),
            Self::Unix(socket) => socket.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self.wire() {
            Some(Plain::Tcp(socket)) => socket.register(registry, token, interests),
            Some(Plain::Unix(socket)) => socket.register(registry, token, interests),
            // Rings by itself.
            None => Ok(()),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self.wire() {
            Some(Plain::Tcp(socket)) => socket.reregister(registry, token, interests),
            Some(Plain::Unix(socket)) => socket.reregister(registry, token, interests),
            // Rings by itself.
            None => Ok(()),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self.wire() {
            Some(Plain::Tcp(socket)) => socket.deregister(registry),
            Some(Plain::Unix(socket)) => socket.deregister(registry),
            // Rings by itself.
            None => Ok(()),
        }
    }
}

/// A session whose handshake is over, and its socket.
#[derive(Debug)]
pub(crate) struct Tls {
    wire: Plain,
    session: ServerConnection,
    holds_input: bool,
}

impl Tls {
    /// Fills the buffer as far as there is something; only then has the socket been read until it had nothing, and the poll will call.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        let outcome = self.read_into(buffer, &mut count);
        self.holds_input = !matches!(&outcome, Err(error) if error.kind() == ErrorKind::WouldBlock);
        // What ended the reading comes again with the next read.
        if count > 0 { Ok(count) } else { outcome.map(|()| 0) }
    }

    /// `Ok`: the buffer is full, or the client has ended its side.
    fn read_into(&mut self, buffer: &mut [u8], count: &mut usize) -> io::Result<()> {
        for _ in 0..READS_MAX {
            let processed = self.session.process_new_packets();
            while *count < buffer.len() {
                match self.session.reader().read(&mut buffer[*count..]) {
                    Ok(0) => return Ok(()),
                    Ok(more) => *count += more,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // An end without the session's own: frames say themselves whether they are whole.
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            if *count == buffer.len() {
                return Ok(());
            }
            if let Err(error) = processed {
                // The client is told why, if the kernel takes it at once.
                let _ = self.send();
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
            self.session.read_tls(&mut self.wire)?;
        }
        // Much was read for little: others have their turn.
        Err(ErrorKind::Interrupted.into())
    }

    /// Encrypts and sends until the kernel takes no more. What is taken then is sent later, and nothing more is taken before.
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut taken = 0;
        loop {
            match self.send() {
                Err(error) if error.kind() == ErrorKind::WouldBlock && taken > 0 => return Ok(taken),
                Err(error) => return Err(error),
                Ok(()) if taken == offered => return Ok(taken),
                Ok(()) => {}
            }
            let more = match taken {
                0 => self.session.writer().write_vectored(slices)?,
                _ => self.session.writer().write_vectored(&rest_of(slices, taken))?,
            };
            if more == 0 {
                // It has encrypted as much as its keys are good for.
                return Err(ErrorKind::WriteZero.into());
            }
            taken += more;
        }
    }

    /// Sends what is encrypted.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.wire) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What is left of slices when so many bytes of them were taken.
fn rest_of<'a>(slices: &'a [IoSlice<'_>], mut taken: usize) -> Vec<IoSlice<'a>> {
    let mut rest = Vec::with_capacity(slices.len());
    for slice in slices {
        let skipped = taken.min(slice.len());
        taken -= skipped;
        if skipped < slice.len() {
            rest.push(IoSlice::new(&slice[skipped..]));
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::certificates::tests::{client_config, server_config};
    use rustls::ClientConnection;

    /// A stream of the server, and its client, after the handshake.
    struct Pair {
        server: Stream,
        client: ClientConnection,
        wire: UnixStream,
    }

    impl Pair {
        fn new() -> Self {
            let (config, certificate) = server_config();
            let mut session = ServerConnection::new(config).expect("a session");
            let name = "localhost".try_into().expect("a name");
            let mut client = ClientConnection::new(client_config(certificate), name).expect("a session");
            let (mut wire, mut other) = UnixStream::pair().expect("a pair");
            while client.is_handshaking() || session.is_handshaking() || session.wants_write() {
                carry(&mut client, &mut wire);
                while session.read_tls(&mut other).is_ok() {
                    session.process_new_packets().expect("a handshake");
                }
                while session.wants_write() && session.write_tls(&mut other).is_ok() {}
            }
            carry(&mut client, &mut wire);
            Self { server: Stream::tls(Plain::Unix(other), session), client, wire }
        }

        fn say(&mut self, bytes: &[u8]) {
            self.client.writer().write_all(bytes).expect("room for it");
            carry(&mut self.client, &mut self.wire);
        }

        /// What the client has been told and has not read yet.
        fn heard(&mut self) -> Vec<u8> {
            let mut heard = Vec::new();
            loop {
                let read = self.client.read_tls(&mut self.wire);
                self.client.process_new_packets().expect("whole records");
                let _blocked = self.client.reader().read_to_end(&mut heard);
                if !matches!(read, Ok(1..)) {
                    return heard;
                }
            }
        }
    }

    /// Both ways, as far as the sockets take and have something.
    fn carry(client: &mut ClientConnection, wire: &mut UnixStream) {
        while client.wants_write() && client.write_tls(wire).is_ok() {}
        while client.read_tls(wire).is_ok_and(|count| count > 0) {
            client.process_new_packets().expect("whole records");
        }
    }

    fn kind(result: io::Result<usize>) -> ErrorKind {
        result.expect_err("nothing to do").kind()
    }

    #[test]
    fn what_one_read_leaves_is_held_and_the_poll_is_not_needed() {
        let mut pair = Pair::new();
        let mut buffer = [0; 1_000];
        assert!(pair.server.holds_input(), "something may have come with the request");
        assert_eq!(kind(pair.server.read(&mut buffer)), ErrorKind::WouldBlock);
        assert!(!pair.server.holds_input());
        pair.say(&[7; 2_500]);
        for (bytes, holds) in [(1_000, true), (1_000, true), (500, false)] {
            assert_eq!(pair.server.read(&mut buffer).expect("bytes"), bytes);
            assert_eq!(pair.server.holds_input(), holds);
        }
    }

    #[test]
    fn an_end_behind_bytes_is_held_too() {
        let mut pair = Pair::new();
        pair.client.writer().write_all(b"last words").expect("room for it");
        pair.client.send_close_notify();
        carry(&mut pair.client, &mut pair.wire);
        let mut buffer = [0; 1_000];
        assert_eq!(pair.server.read(&mut buffer).expect("bytes"), 10);
        assert!(pair.server.holds_input());
        assert_eq!(pair.server.read(&mut buffer).expect("the end"), 0);
    }

    #[test]
    fn a_broken_record_behind_bytes_is_an_error_behind_them() {
        let mut pair = Pair::new();
        pair.say(b"good");
        pair.wire.write_all(&[0x17, 3, 3, 0, 20]).expect("room for it");
        pair.wire.write_all(&[0; 20]).expect("room for it");
        let mut buffer = [0; 1_000];
        assert_eq!(pair.server.read(&mut buffer).expect("bytes"), 4);
        assert!(pair.server.holds_input());
        for _ in 0..2 {
            assert_eq!(kind(pair.server.read(&mut buffer)), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn many_small_records_do_not_keep_a_worker() {
        const RECORDS: usize = 4_000;
        let mut pair = Pair::new();
        pair.client.set_buffer_limit(None);
        for _ in 0..RECORDS {
            pair.client.writer().write_all(b"x").expect("room for it");
        }
        carry(&mut pair.client, &mut pair.wire);
        let mut buffer = vec![0; 64 << 10];
        let mut all = pair.server.read(&mut buffer).expect("bytes");
        assert!(all < RECORDS && pair.server.holds_input(), "{all} at once");
        while all < RECORDS {
            carry(&mut pair.client, &mut pair.wire);
            all += pair.server.read(&mut buffer).expect("the rest");
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_costs_a_bounded_buffer_and_gets_everything_later() {
        let mut pair = Pair::new();
        let bytes: Vec<u8> = (0..4_u32 << 20).map(|at| (at % 251) as u8).collect();
        let (mut written, mut heard) = (0, Vec::new());
        let (mut blocked, mut held) = (0, 0);
        while heard.len() < bytes.len() {
            let parts = [IoSlice::new(&bytes[written..]), IoSlice::new(&[])];
            let left = bytes.len() - written;
            match if left > 0 { pair.server.write_vectored(&parts) } else { pair.server.flush().map(|()| 0) } {
                Ok(count) => {
                    assert!(count == left || pair.server.holds(), "took {count} of {left}");
                    written += count;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    assert!(pair.server.holds());
                    blocked += 1;
                    // Nothing more is taken until the client reads.
                    assert_eq!(kind(pair.server.write(b"more")), ErrorKind::WouldBlock);
                    let unread = written - heard.len();
                    heard.extend(pair.heard());
                    held = held.max(unread);
                }
            }
            if written == bytes.len() {
                heard.extend(pair.heard());
            }
        }
        assert!(heard == bytes && blocked > 4);
        assert!(!pair.server.holds());
        // The kernel's own buffer is in it.
        assert!(held < 1 << 20, "{held}");
    }

    #[test]
    fn many_slices_are_taken_in_order() {
        let mut pair = Pair::new();
        let parts: Vec<Vec<u8>> = (0..32_u8).map(|part| vec![part; 3_000]).collect();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let all = parts.concat();
        let (mut taken, mut heard) = (0, Vec::new());
        while taken < all.len() {
            taken += pair.server.write_vectored(&rest_of(&slices, taken)).unwrap_or(0);
            heard.extend(pair.heard());
        }
        while pair.server.flush().is_err() || heard.len() < all.len() {
            heard.extend(pair.heard());
        }
        assert_eq!(heard, all);
    }

    #[test]
    fn the_end_is_told_within_the_session() {
        let mut pair = Pair::new();
        pair.server.write_all(b"bye").expect("room for it");
        pair.server.end();
        assert_eq!(pair.heard(), b"bye");
        // Without the session's own end this would be an error.
        assert_eq!(pair.client.reader().read(&mut [0; 10]).expect("an orderly end"), 0);
    }
}

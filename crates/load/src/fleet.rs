//! Many WebSocket clients on one thread: sockets on epoll, one read buffer for all of them, frames walked where they lie. Called by every workload, which
//! decides what is said; knows frames and handshakes only. A connection's own state is small, as thousands of them share a core with what they measure.

use crate::LoadError;
use crate::dialect::{Dialect, Target};
use crate::websocket::{BINARY, CLOSE, PING, PONG, TEXT, append_frame, frame, frame_bytes};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Of one read: more would not stay in the second-level cache between the kernel's copy and the walk.
const READ_BYTES: usize = 256 << 10;

/// A frame that has come so far in part is read on where it lies, instead of into the buffer and out again.
const PARTIAL_BYTES_MAX: usize = 16 << 10;

/// Reads of one socket in one turn, so that a fast one does not keep the others waiting.
const READS_PER_TURN: usize = 8;

/// Connections that are being opened at once unless a workload says otherwise: fewer than any server's backlog.
const OPENING_MAX: usize = 100;

/// What a workload does with what comes.
pub(crate) trait Handler {
    /// The connection is open, and its greeting answered.
    fn opened(&mut self, who: usize, out: &mut Outgoing<'_>);

    /// Messages that were read at this time are about to be handed over.
    fn arrived(&mut self, _who: usize, _at: Instant) {}

    /// A binary message, the dialect's prefix removed.
    fn message(&mut self, who: usize, message: &[u8], out: &mut Outgoing<'_>);

    /// The connection is over. An error ends the run.
    fn closed(&mut self, who: usize, why: &str) -> Result<(), LoadError> {
        Err(LoadError(format!("connection {who} ended during the run: {why}")))
    }
}

/// Where a client's messages go.
pub(crate) struct Outgoing<'a> {
    unsent: &'a mut Vec<u8>,
    prefix: &'a [u8],
}

#[cfg(test)]
impl<'a> Outgoing<'a> {
    /// For tests of handlers.
    pub(crate) fn to(unsent: &'a mut Vec<u8>) -> Self {
        Self { unsent, prefix: &[] }
    }
}

impl Outgoing<'_> {
    /// Queues one message, which is one frame.
    pub(crate) fn message(&mut self, message: &[u8]) {
        append_frame(self.unsent, BINARY, &[self.prefix, message]);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// TCP or the upgrade is under way.
    Upgrading,
    /// The dialect's greeting is not answered.
    Greeting,
    Open,
    Closed,
}

struct Connection {
    stream: Option<TcpStream>,
    state: State,
    /// The kernel took less than was offered.
    blocked: bool,
    /// In the list of those that have something to write.
    queued: bool,
    /// Not read, to play a client that hangs.
    paused: bool,
    room: Rc<Room>,
    /// Bytes that do not make a whole frame yet.
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

struct Room {
    path: String,
    prefix: Vec<u8>,
}

/// All clients of a run.
pub(crate) struct Fleet {
    target: Target,
    poll: Poll,
    events: Events,
    ready: Vec<(usize, bool, bool, bool)>,
    connections: Vec<Connection>,
    rooms: HashMap<String, Rc<Room>>,
    waiting: VecDeque<usize>,
    opening: usize,
    open: usize,
    /// Not read to the end in the turn before.
    again: Vec<usize>,
    queued: Vec<usize>,
    /// Connections that are being opened at once.
    pub(crate) opening_max: usize,
    buffer: Vec<u8>,
}

impl Fleet {
    pub(crate) fn new(target: &Target) -> Result<Self, LoadError> {
        Ok(Self {
            target: target.clone(),
            poll: Poll::new()?,
            events: Events::with_capacity(2_048),
            ready: Vec::new(),
            connections: Vec::new(),
            rooms: HashMap::new(),
            waiting: VecDeque::new(),
            opening: 0,
            open: 0,
            again: Vec::new(),
            queued: Vec::new(),
            opening_max: OPENING_MAX,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// A client of this room, to be connected in the next turns. Clients are numbered from 0 in the order in which they are added.
    pub(crate) fn add(&mut self, room: &str) -> Result<usize, LoadError> {
        let room = match self.rooms.get(room) {
            Some(room) => room.clone(),
            None => {
                let made = Rc::new(Room { path: self.target.path(room)?, prefix: self.target.dialect.prefix(room) });
                self.rooms.insert(room.to_owned(), made.clone());
                made
            }
        };
        let who = self.connections.len();
        self.connections.push(Connection {
            stream: None,
            state: State::Waiting,
            blocked: false,
            queued: false,
            paused: false,
            room,
            partial: Vec::new(),
            unsent: Vec::new(),
        });
        self.waiting.push_back(who);
        Ok(who)
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Queues one message of this client.
    pub(crate) fn send(&mut self, who: usize, message: &[u8]) {
        let connection = &mut self.connections[who];
        append_frame(&mut connection.unsent, BINARY, &[&connection.room.prefix, message]);
        self.queue(who);
    }

    /// Stops or goes on reading.
    pub(crate) fn pause(&mut self, who: usize, paused: bool) {
        self.connections[who].paused = paused;
        if !paused {
            self.again.push(who);
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.target.dialect
    }

    /// Whether this client is connected and reads.
    pub(crate) fn is_awake(&self, who: usize) -> bool {
        self.connections[who].state == State::Open && !self.connections[who].paused
    }

    /// Opens the connection of this client once more.
    pub(crate) fn reopen(&mut self, who: usize) {
        self.end(who);
        self.connections[who].state = State::Waiting;
        self.waiting.push_back(who);
    }

    fn queue(&mut self, who: usize) {
        let connection = &mut self.connections[who];
        if !connection.queued && !connection.blocked {
            connection.queued = true;
            self.queued.push(who);
        }
    }

    /// Writes what is queued, waits at most so long for something to happen (None: for ever), and handles it.
    pub(crate) fn turn(&mut self, wait: Option<Duration>, handler: &mut impl Handler) -> Result<(), LoadError> {
        self.open_some()?;
        self.flush(handler)?;
        // epoll counts milliseconds: rounding down, and asking again without waiting, keeps to the time.
        let wait = if self.again.is_empty() {
            wait.map(|wait| Duration::from_millis(wait.as_millis() as u64))
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let mut ready = std::mem::take(&mut self.ready);
        ready.extend(self.again.drain(..).map(|who| (who, true, false, false)));
        ready.extend(self.events.iter().map(|event| {
            let ended = event.is_read_closed() || event.is_error();
            (event.token().0, event.is_readable() || ended, event.is_writable(), ended)
        }));
        for (who, readable, writable, ended) in ready.drain(..) {
            if writable {
                self.connections[who].blocked = false;
                if !self.connections[who].unsent.is_empty() {
                    self.queue(who);
                }
            }
            if readable {
                self.read(who, ended, handler)?;
            }
        }
        self.ready = ready;
        self.flush(handler)
    }

    fn open_some(&mut self) -> Result<(), LoadError> {
        while self.opening < self.opening_max
            && let Some(who) = self.waiting.pop_front()
        {
            let fault = |error| LoadError(format!("cannot connect to {}: {error}", self.target.host));
            let mut stream = TcpStream::connect(self.target.address).map_err(fault)?;
            self.poll.registry().register(&mut stream, Token(who), Interest::READABLE | Interest::WRITABLE)?;
            let connection = &mut self.connections[who];
            connection.unsent = format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                connection.room.path, self.target.host
            )
            .into_bytes();
            // Writable is what tells that TCP is connected.
            connection.blocked = true;
            connection.stream = Some(stream);
            connection.state = State::Upgrading;
            self.opening += 1;
        }
        Ok(())
    }

    fn flush(&mut self, handler: &mut impl Handler) -> Result<(), LoadError> {
        let mut queued = std::mem::take(&mut self.queued);
        for who in queued.drain(..) {
            self.connections[who].queued = false;
            if let Err(why) = self.write(who) {
                self.ended(who, &why, handler)?;
            }
        }
        // Nothing is queued while this runs, but by a handler of an ended connection.
        queued.append(&mut self.queued);
        self.queued = queued;
        Ok(())
    }

    fn write(&mut self, who: usize) -> Result<(), String> {
        let connection = &mut self.connections[who];
        let Some(stream) = &mut connection.stream else { return Ok(()) };
        let mut sent = 0;
        while sent < connection.unsent.len() {
            match stream.write(&connection.unsent[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.blocked = true;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        connection.unsent.drain(..sent);
        Ok(())
    }

    fn read(&mut self, who: usize, ended: bool, handler: &mut impl Handler) -> Result<(), LoadError> {
        for _ in 0..READS_PER_TURN {
            let connection = &mut self.connections[who];
            let Some(stream) = connection.stream.as_mut().filter(|_| !connection.paused) else { return Ok(()) };
            let kept = connection.partial.len();
            if kept > PARTIAL_BYTES_MAX
                && connection.state != State::Upgrading
                && let Some(length) = frame_bytes(&connection.partial)
            {
                let mut rest = stream.take((length - kept) as u64);
                match rest.read_to_end(&mut connection.partial) {
                    Ok(_) if connection.partial.len() < length => {
                        return self.ended(who, "the server closed it", handler);
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return self.ended(who, &error.to_string(), handler),
                }
                if let Err(why) = self.take_whole(who, handler) {
                    return self.ended(who, &why, handler);
                }
                continue;
            }
            let count = match stream.read(&mut self.buffer[kept..]) {
                Ok(0) => return self.ended(who, "the server closed it", handler),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.ended(who, &error.to_string(), handler),
            };
            self.buffer[..kept].copy_from_slice(&connection.partial);
            connection.partial.clear();
            let end = kept + count;
            if let Err(why) = self.take(who, end, handler) {
                return self.ended(who, &why, handler);
            }
            // A read that does not fill the buffer has drained the socket, unless its end is there too.
            if end < self.buffer.len() && !ended {
                return Ok(());
            }
        }
        self.again.push(who);
        Ok(())
    }

    /// Hands over a large frame that was read where it lies.
    fn take_whole(&mut self, who: usize, handler: &mut impl Handler) -> Result<(), String> {
        let mut whole = std::mem::take(&mut self.connections[who].partial);
        let end = whole.len();
        std::mem::swap(&mut self.buffer, &mut whole);
        let taken = self.take(who, end, handler);
        std::mem::swap(&mut self.buffer, &mut whole);
        taken
    }

    /// Hands over what is whole in the buffer, and keeps the rest. An error is why the connection must end.
    fn take(&mut self, who: usize, end: usize, handler: &mut impl Handler) -> Result<(), String> {
        let (bytes, connection) = (&self.buffer[..end], &mut self.connections[who]);
        let mut at = 0;
        if connection.state == State::Upgrading {
            let Some(length) = upgraded(bytes)? else {
                connection.partial.extend_from_slice(bytes);
                return Ok(());
            };
            at = length;
            if let Some(stream) = &connection.stream {
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
            }
            let mut out = Outgoing { unsent: &mut connection.unsent, prefix: &connection.room.prefix };
            match self.target.dialect.greeting(&self.target.token) {
                Some(greeting) => {
                    out.message(&greeting);
                    connection.state = State::Greeting;
                }
                None => {
                    handler.opened(who, &mut out);
                    connection.state = State::Open;
                    self.opening -= 1;
                    self.open += 1;
                }
            }
        }
        handler.arrived(who, Instant::now());
        let prefix = connection.room.prefix.len();
        let mut out = Outgoing { unsent: &mut connection.unsent, prefix: &connection.room.prefix };
        while let Some(frame) = frame(&bytes[at..]) {
            let payload = &bytes[at + frame.start..at + frame.end];
            at += frame.end;
            if frame.first == 0x80 | BINARY {
                let Some(message) = payload.get(prefix..) else { continue };
                if connection.state == State::Greeting {
                    match Dialect::is_welcome(message) {
                        Some(true) => {
                            handler.opened(who, &mut out);
                            connection.state = State::Open;
                            self.opening -= 1;
                            self.open += 1;
                        }
                        Some(false) => return Err("the server refused the token; set --token".to_owned()),
                        None => {}
                    }
                } else {
                    handler.message(who, message, &mut out);
                }
                continue;
            }
            match frame.first & 0x0f {
                PING => append_frame(out.unsent, PONG, &[payload]),
                CLOSE => return Err(close_reason(payload)),
                PONG | TEXT if frame.first & 0x80 != 0 => {}
                _ => return Err("the server sent a fragmented message, which is not understood here".to_owned()),
            }
        }
        connection.partial.extend_from_slice(&bytes[at..]);
        if !connection.unsent.is_empty() {
            self.queue(who);
        }
        Ok(())
    }

    fn ended(&mut self, who: usize, why: &str, handler: &mut impl Handler) -> Result<(), LoadError> {
        if self.connections[who].state == State::Upgrading {
            let host = &self.target.host;
            return Err(LoadError(format!(
                "cannot open a connection to {host}: {why}; is the server listening there?"
            )));
        }
        self.end(who);
        handler.closed(who, why)
    }

    fn end(&mut self, who: usize) {
        let connection = &mut self.connections[who];
        let Some(mut stream) = connection.stream.take() else { return };
        match connection.state {
            State::Open => self.open -= 1,
            State::Upgrading | State::Greeting => self.opening -= 1,
            State::Waiting | State::Closed => {}
        }
        connection.state = State::Closed;
        connection.partial = Vec::new();
        connection.unsent = Vec::new();
        let _ = self.poll.registry().deregister(&mut stream);
    }
}

/// How long the answer to the upgrade is; None: it is not whole.
fn upgraded(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    if !bytes.starts_with(b"HTTP/1.1 101") {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        return Err(format!("it answered {}", head.lines().next().unwrap_or_default()));
    }
    Ok(Some(end + 4))
}

fn close_reason(payload: &[u8]) -> String {
    match payload.split_at_checked(2) {
        Some((code, reason)) => {
            let code = u16::from_be_bytes([code[0], code[1]]);
            format!("the server closed it with {code} {}", String::from_utf8_lossy(reason))
        }
        None => "the server closed it".to_owned(),
    }
}

//! The raw relay: what the kernel lets through, and so the yardstick. Each binary frame goes to the room's other members; no document, no storage, no presence.
//!
//! One thread on epoll. A turn reads all sockets that are ready into one buffer a room, and ends with one write per receiver. It does not bound what a
//! slow receiver is owed beyond dropping it, answers no ping, and checks no more of a frame than its length.
//! `cargo run --release -p bench --bin relay 127.0.0.1:1235`; measured with `load`.
//!
//! `relay ADDRESS --log FILE`: the same with the duties of a server that stores. What came in a turn is written to the file before anybody else is sent it;
//! another thread syncs the file, at most every 5 ms; then authors get their own frames back. What that costs is the kernel's share of storing.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use server::request::{accept_response, parse};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

const LISTENER: Token = Token(usize::MAX - 1);
const SYNCED: Token = Token(usize::MAX - 2);

/// Between the beginnings of two syncs: Concord's `sync_group_ms`.
const SYNC_EVERY: Duration = Duration::from_millis(5);

/// Of one read: a turn's bytes should still be in the second-level cache when they are written.
const READ_BYTES: usize = 256 << 10;

/// Owed to one receiver; who is further behind is dropped, so that the machine keeps its memory.
const UNSENT_BYTES_MAX: usize = 256 << 20;

/// Of one turn in one room: above this it is written before more is read.
const TURN_BYTES_MAX: usize = 1 << 20;

#[derive(Default)]
struct Room {
    members: Vec<usize>,
    /// What came in this turn, framed for receivers.
    turn: Vec<u8>,
    /// Who wrote in this turn.
    writers: Vec<usize>,
}

struct Member {
    stream: TcpStream,
    /// None until the upgrade.
    room: Option<usize>,
    /// Bytes that do not make a whole frame yet.
    partial: Vec<u8>,
    unsent: Vec<u8>,
    /// Its own parts of the room's turn.
    own: Vec<Range<usize>>,
}

struct Relay {
    poll: Poll,
    listener: TcpListener,
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    rooms: Vec<Room>,
    names: HashMap<String, usize>,
    /// Rooms in which something came in this turn.
    busy: Vec<usize>,
    buffer: Vec<u8>,
    log: Option<Log>,
}

/// Where turns are written, and who waits for the sync.
struct Log {
    file: Arc<File>,
    /// Bytes that were written, and of these, how many are synced.
    written: Arc<AtomicU64>,
    synced: Arc<AtomicU64>,
    syncing: Thread,
    /// An author's own frames, with what has to be synced before they are sent back.
    owed: VecDeque<(u64, usize, Vec<u8>)>,
    turn: Vec<u8>,
}

impl Log {
    fn open(path: &str, waker: mio::Waker) -> std::io::Result<Self> {
        let file = Arc::new(File::create(path)?);
        let (written, synced) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (syncs, goal, reached) = (file.clone(), written.clone(), synced.clone());
        let thread = std::thread::spawn(move || {
            let mut next = Instant::now();
            loop {
                let goal = goal.load(Ordering::Acquire);
                if goal == reached.load(Ordering::Acquire) {
                    std::thread::park();
                    continue;
                }
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                next = Instant::now() + SYNC_EVERY;
                syncs.sync_data().expect("the disk works");
                reached.store(goal, Ordering::Release);
                waker.wake().expect("the poll is there");
            }
        });
        let syncing = thread.thread().clone();
        Ok(Self { file, written, synced, syncing, owed: VecDeque::new(), turn: Vec::new() })
    }

    /// Appends the turn, and lets it be synced.
    fn write(&mut self) -> std::io::Result<u64> {
        (&*self.file).write_all(&self.turn)?;
        let written = self.written.fetch_add(self.turn.len() as u64, Ordering::AcqRel) + self.turn.len() as u64;
        self.turn.clear();
        self.syncing.unpark();
        Ok(written)
    }
}

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (address, log) = match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => ("127.0.0.1:1235", None),
        [address] => (*address, None),
        [address, "--log", file] => (*address, Some(*file)),
        _ => return Err(std::io::Error::other("usage: relay [ADDRESS [--log FILE]]")),
    };
    let poll = Poll::new()?;
    let log = log.map(|file| Log::open(file, mio::Waker::new(poll.registry(), SYNCED)?)).transpose()?;
    let mut listener = TcpListener::bind(address.parse().map_err(std::io::Error::other)?)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = Relay {
        poll,
        listener,
        members: Vec::new(),
        free: Vec::new(),
        rooms: Vec::new(),
        names: HashMap::new(),
        busy: Vec::new(),
        buffer: vec![0; READ_BYTES],
        log,
    };
    let mut events = Events::with_capacity(4_096);
    loop {
        match relay.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                relay.accept()?;
                continue;
            }
            if event.token() == SYNCED {
                relay.pay();
                continue;
            }
            let place = event.token().0;
            let read = !event.is_readable() || relay.read(place, event.is_read_closed());
            if !read || (event.is_writable() && !relay.write_unsent(place)) {
                relay.remove(place);
            }
        }
        relay.write_turns()?;
    }
}

impl Relay {
    fn accept(&mut self) -> std::io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => continue,
            };
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or_else(|| {
                self.members.push(None);
                self.members.len() - 1
            });
            self.poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)?;
            self.members[place] =
                Some(Member { stream, room: None, partial: Vec::new(), unsent: Vec::new(), own: Vec::new() });
        }
    }

    /// Reads what is there. False: the connection is over. A read that does not fill the buffer has drained the socket, unless its end is there too.
    fn read(&mut self, place: usize, ended: bool) -> bool {
        loop {
            let Some(member) = self.members.get_mut(place).and_then(Option::as_mut) else { return true };
            let kept = member.partial.len();
            if kept * 2 > self.buffer.len() {
                self.buffer.resize(kept * 2, 0);
            }
            let count = match member.stream.read(&mut self.buffer[kept..]) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            };
            self.buffer[..kept].copy_from_slice(&member.partial);
            member.partial.clear();
            let (end, full) = (kept + count, kept + count == self.buffer.len());
            let Some(mut used) = self.upgrade(place, end) else { return false };
            let Some(member) = self.members[place].as_mut() else { return true };
            if let Some(index) = member.room {
                let room = &mut self.rooms[index];
                let (was_quiet, began) = (room.turn.is_empty(), room.turn.len());
                let Some(taken) = take_frames(&self.buffer[used..end], &mut room.turn) else { return false };
                used += taken;
                if room.turn.len() > began {
                    match member.own.last_mut() {
                        Some(last) if last.end == began => last.end = room.turn.len(),
                        Some(_) => member.own.push(began..room.turn.len()),
                        None => {
                            room.writers.push(place);
                            member.own.push(began..room.turn.len());
                        }
                    }
                    if was_quiet {
                        self.busy.push(index);
                    }
                }
            }
            member.partial.extend_from_slice(&self.buffer[used..end]);
            if member.room.is_some_and(|index| self.rooms[index].turn.len() > TURN_BYTES_MAX)
                && self.write_turns().is_err()
            {
                return false;
            }
            if !full && !ended {
                return true;
            }
        }
    }

    /// Answers the first request. How many bytes it took; none: it is not one.
    fn upgrade(&mut self, place: usize, end: usize) -> Option<usize> {
        let member = self.members[place].as_mut()?;
        if member.room.is_some() {
            return Some(0);
        }
        let Some(request) = parse(&self.buffer[..end]).ok()? else { return Some(0) };
        member.stream.write_all(&accept_response(&request, None, None)).ok()?;
        let room = *self.names.entry(request.path().to_owned()).or_insert_with(|| {
            self.rooms.push(Room::default());
            self.rooms.len() - 1
        });
        member.room = Some(room);
        self.rooms[room].members.push(place);
        Some(request.length)
    }

    /// Writes what came in all rooms: to the log, if there is one, and to the members.
    fn write_turns(&mut self) -> std::io::Result<()> {
        let busy = std::mem::take(&mut self.busy);
        if let Some(log) = self.log.as_mut().filter(|_| !busy.is_empty()) {
            busy.iter().for_each(|&room| log.turn.extend_from_slice(&self.rooms[room].turn));
            let written = log.write()?;
            for room in busy.iter().map(|&room| &self.rooms[room]) {
                for &author in &room.writers {
                    let own = self.members[author].iter().flat_map(|member| &member.own);
                    let frames = own.flat_map(|range| &room.turn[range.clone()]).copied().collect();
                    log.owed.push_back((written, author, frames));
                }
            }
        }
        busy.into_iter().for_each(|room| self.write_turn(room));
        Ok(())
    }

    /// Sends authors their own frames back that are synced.
    fn pay(&mut self) {
        let Some(log) = &mut self.log else { return };
        let synced = log.synced.load(Ordering::Acquire);
        while let Some((_, author, frames)) = log.owed.pop_front_if(|(written, ..)| *written <= synced) {
            // Who cannot take them is dropped when it is read or written next.
            if let Some(member) = self.members[author].as_mut() {
                let own = std::mem::take(&mut member.own);
                member.send(&frames);
                member.own = own;
            }
        }
    }

    fn write_turn(&mut self, room: usize) {
        let Room { members, turn, writers } = &mut self.rooms[room];
        let mut gone = Vec::new();
        for &place in members.iter() {
            let Some(member) = self.members[place].as_mut() else { continue };
            if !member.send(turn) {
                gone.push(place);
            }
        }
        for place in writers.drain(..) {
            if let Some(member) = self.members[place].as_mut() {
                member.own.clear();
            }
        }
        turn.clear();
        for place in gone {
            self.remove(place);
        }
    }

    fn write_unsent(&mut self, place: usize) -> bool {
        let Some(member) = self.members.get_mut(place).and_then(Option::as_mut) else { return true };
        if member.unsent.is_empty() {
            return true;
        }
        let mut sent = 0;
        while sent < member.unsent.len() {
            match member.stream.write(&member.unsent[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        member.unsent.drain(..sent);
        true
    }

    fn remove(&mut self, place: usize) {
        let Some(mut member) = self.members[place].take() else { return };
        let _ = self.poll.registry().deregister(&mut member.stream);
        if let Some(room) = member.room {
            self.rooms[room].members.retain(|&other| other != place);
            self.rooms[room].writers.retain(|&other| other != place);
        }
        self.free.push(place);
    }
}

impl Member {
    /// Writes the turn without its own parts; what the kernel does not take is kept. False: the connection is over.
    fn send(&mut self, turn: &[u8]) -> bool {
        let mut sent = 0;
        if self.unsent.is_empty() {
            let written = if self.own.is_empty() {
                self.stream.write(turn)
            } else {
                let pieces: Vec<IoSlice<'_>> = pieces(turn, &self.own).map(IoSlice::new).take(1_024).collect();
                if pieces.is_empty() {
                    return true;
                }
                self.stream.write_vectored(&pieces)
            };
            sent = match written {
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                Err(_) => return false,
            };
        }
        for piece in pieces(turn, &self.own) {
            let skipped = sent.min(piece.len());
            sent -= skipped;
            self.unsent.extend_from_slice(&piece[skipped..]);
        }
        self.unsent.len() <= UNSENT_BYTES_MAX
    }
}

/// What lies between the ranges, and is not empty.
fn pieces<'a>(turn: &'a [u8], own: &'a [Range<usize>]) -> impl Iterator<Item = &'a [u8]> {
    let starts = std::iter::once(0).chain(own.iter().map(|range| range.end));
    let ends = own.iter().map(|range| range.start).chain(std::iter::once(turn.len()));
    starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| &turn[start..end])
}

/// Unmasks whole binary frames into `turn`, framed as a server does. How many bytes they took; none: the client is leaving.
fn take_frames(bytes: &[u8], turn: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let (Some(&first), Some(&second)) = (rest.first(), rest.get(1)) else { return Some(at) };
        let (head, length) = match second & 0x7f {
            126 => match rest.get(2..4) {
                Some(length) => (4, u64::from(u16::from_be_bytes(length.try_into().ok()?))),
                None => return Some(at),
            },
            127 => match rest.get(2..10) {
                Some(length) => (10, u64::from_be_bytes(length.try_into().ok()?)),
                None => return Some(at),
            },
            short => (2, u64::from(short)),
        };
        let end = head + 4 + usize::try_from(length).ok()?;
        if rest.len() < end {
            return Some(at);
        }
        match first & 0x0f {
            2 => {
                turn.extend_from_slice(&[0x82, second & 0x7f]);
                turn.extend_from_slice(&rest[2..head]);
                let start = turn.len();
                turn.extend_from_slice(&rest[head + 4..end]);
                unmask(&mut turn[start..], rest[head..head + 4].try_into().ok()?);
            }
            8 => return None,
            _ => {}
        }
        at += end;
    }
}

fn unmask(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let long = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let chunk: &mut [u8; 8] = chunk.try_into().expect("a chunk of eight");
        *chunk = (u64::from_ne_bytes(*chunk) ^ long).to_ne_bytes();
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

//! Plays transcripts: clients talk to a room through their dialect, without a network, and every frame that they get is compared.
//!
//! One line each, `# meaning` behind it:
//!   `A+ [read] [open] [as=NAME] [room=NAME]`  client A connects (`open`: nobody can be told apart, as without authentication)
//!   `A> HEX`, `A> 'text'`                     A sends a binary or a text frame
//!   `A< HEX`                                  A is sent exactly this next
//!   `A! CODE REASON`                          A's connection ends like this next
//!   `A-`                                      A's connection is gone
//!   `durable [COUNT]`                         that many more changes are on stable storage; all of them when no count is given
//!   `tick SECONDS`                            time passes
//!   `restart`, `power-cut`                    the process starts anew with all that was logged, or with what was durable
//!   `limit NAME VALUE`, `silent`              first lines: another bound; authors are not echoed
//! All that a line has as its effect must be listed below it; only the order between different clients is free.

use bytes::Bytes;
use dialect::{Dialect, Frame, Session};
use room::{Access, Author, Effect, Event, Input, Kind, Limits, MemberId, Room, Stored};
use std::collections::{BTreeMap, VecDeque};

/// Plays one transcript. The error says where it differs, and what was sent instead.
pub(crate) fn play(transcript: &str, loud: &'static dyn Dialect, silent: &'static dyn Dialect) -> Result<(), String> {
    let mut stage = Stage {
        dialect: loud,
        limits: Limits::default(),
        places: BTreeMap::new(),
        clients: BTreeMap::new(),
        joined: 0,
        now_ms: 0,
    };
    for (number, line) in (1..).zip(transcript.lines()) {
        let action = line.split('#').next().unwrap_or_default().trim();
        match action {
            "" => {}
            "silent" => stage.dialect = silent,
            _ => stage.line(action).map_err(|error| format!("line {number}: {line}\n{error}"))?,
        }
    }
    stage.nothing_more().map_err(|error| format!("at the end\n{error}"))
}

struct Stage {
    dialect: &'static dyn Dialect,
    limits: Limits,
    places: BTreeMap<String, Place>,
    clients: BTreeMap<char, Client>,
    joined: u64,
    now_ms: u64,
}

/// A room and what the store has of it.
struct Place {
    room: Room,
    stored: Stored,
}

struct Client {
    member: MemberId,
    room: String,
    session: Option<Box<dyn Session>>,
    sent: VecDeque<Sent>,
}

#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Frame(Vec<u8>),
    Closed(u16, String),
}

impl Stage {
    fn line(&mut self, action: &str) -> Result<(), String> {
        let mut characters = action.chars();
        let (who, what) = (characters.next().unwrap_or_default(), characters.next().unwrap_or_default());
        let rest = characters.as_str().trim();
        if !who.is_ascii_uppercase() {
            self.nothing_more()?;
            return self.direct(action);
        }
        match what {
            '<' => self.expect(who, &Sent::Frame(bytes(rest)?)),
            '!' => {
                let (code, reason) = rest.split_once(' ').ok_or("no reason")?;
                let code = code.parse().map_err(|_| format!("{code:?} is no close code"))?;
                self.expect(who, &Sent::Closed(code, reason.to_owned()))
            }
            '+' => self.nothing_more().and_then(|()| self.join(who, rest)),
            '-' => self.nothing_more().and_then(|()| self.leave(who)),
            '>' => self.nothing_more().and_then(|()| self.receive(who, rest)),
            _ => Err(format!("cannot read {action:?}")),
        }
    }

    fn direct(&mut self, action: &str) -> Result<(), String> {
        let words: Vec<&str> = action.split_whitespace().collect();
        let number = |place: usize| {
            words.get(place).and_then(|word| word.parse::<u64>().ok()).ok_or_else(|| format!("no number in {action:?}"))
        };
        match words[0] {
            "durable" => self.sync_disks(number(1).unwrap_or(u64::MAX)),
            "tick" => {
                for _ in 0..number(1)? {
                    self.now_ms += 1000;
                    let rooms: Vec<String> = self.places.keys().cloned().collect();
                    rooms.iter().for_each(|room| self.handle(room, vec![Input::Tick]));
                }
            }
            "restart" => self.restart(false),
            "power-cut" => self.restart(true),
            "limit" => {
                let value = number(2)? as usize;
                match words[1] {
                    "room_bytes_max" => self.limits.document.room_bytes_max = value,
                    "parked_bytes_max" => self.limits.document.parked_bytes_max = value,
                    "depth_max" => self.limits.document.depth_max = value as u32,
                    "update_bytes_max" => self.limits.message.update_bytes_max = value,
                    other => return Err(format!("no limit {other:?}")),
                }
            }
            _ => return Err(format!("cannot read {action:?}")),
        }
        Ok(())
    }

    fn join(&mut self, who: char, options: &str) -> Result<(), String> {
        let option = |name: &str| {
            options.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        let has = |name| options.split_whitespace().any(|word| word == name);
        let room = option("room").unwrap_or_default();
        self.joined += 1;
        let member = MemberId(self.joined);
        let mut session = self.dialect.session(member, self.limits.message);
        let access = if has("read") { Access::Read } else { Access::Write };
        let author = Author::from(option("as").unwrap_or_else(|| who.to_string()));
        let mut inputs = vec![Input::Join { member, kind: Kind::Client, access, author, trusts_all: has("open") }];
        session.open(&mut inputs);
        let client = Client { member, room: room.clone(), session: Some(session), sent: VecDeque::new() };
        if self.clients.insert(who, client).is_some_and(|old| old.session.is_some()) {
            return Err(format!("{who} is connected already"));
        }
        self.handle(&room, inputs);
        Ok(())
    }

    fn leave(&mut self, who: char) -> Result<(), String> {
        let client = self.clients.remove(&who).filter(|client| client.session.is_some()).ok_or("is not connected")?;
        self.handle(&client.room, vec![Input::Leave(client.member)]);
        Ok(())
    }

    fn receive(&mut self, who: char, frame: &str) -> Result<(), String> {
        let client = self.clients.get_mut(&who).ok_or("was never connected")?;
        let session = client.session.as_mut().ok_or("is not connected any more")?;
        let frame = match frame.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            Some(text) => Frame::Text(Bytes::copy_from_slice(text.as_bytes())),
            None => Frame::Binary(bytes(frame)?.into()),
        };
        let mut inputs = Vec::new();
        session.receive(frame, &mut inputs);
        let room = client.room.clone();
        self.handle(&room, inputs);
        Ok(())
    }

    fn handle(&mut self, room: &str, inputs: Vec<Input>) {
        let limits = self.limits;
        let empty = || Place {
            room: Room::load(&Stored::default(), limits).expect("an empty room"),
            stored: Stored::default(),
        };
        let place = self.places.entry(room.to_owned()).or_insert_with(empty);
        let mut effects = Vec::new();
        for input in inputs {
            place.room.handle(input, self.now_ms, &mut effects);
        }
        if place.room.presence_waits() {
            place.room.handle(Input::TellPresence, self.now_ms, &mut effects);
        }
        for effect in effects {
            self.carry_out(room, effect);
        }
    }

    fn carry_out(&mut self, room: &str, effect: Effect) {
        match effect {
            Effect::Append(change) => {
                self.places.get_mut(room).expect("the room is loaded").stored.changes.push(change);
            }
            Effect::Publish { except, event } => {
                let members =
                    self.clients.values().filter(|client| client.room == room && Some(client.member) != except);
                let members: Vec<MemberId> = members.map(|client| client.member).collect();
                members.into_iter().for_each(|member| self.tell(member, &event));
            }
            Effect::Send(member, event) => self.tell(member, &event),
            Effect::Place(_) => {}
            Effect::Close(member, closing) => {
                let farewell = self.dialect.farewell(&closing);
                let Some(client) = self.clients.values_mut().find(|client| client.member == member) else { return };
                client.sent.extend(farewell.message.map(Sent::Frame));
                client.sent.push_back(Sent::Closed(farewell.code, farewell.reason));
                client.session = None;
                self.handle(room, vec![Input::Leave(member)]);
            }
        }
    }

    fn tell(&mut self, member: MemberId, event: &Event) {
        let connected = |client: &&mut Client| client.member == member && client.session.is_some();
        if let (Some(client), Some(frame)) = (self.clients.values_mut().find(connected), self.dialect.encode(event)) {
            client.sent.push_back(Sent::Frame(frame));
        }
    }

    fn sync_disks(&mut self, changes: u64) {
        let rooms: Vec<String> = self.places.keys().cloned().collect();
        for room in rooms {
            let stored = &mut self.places.get_mut(&room).expect("a room by its own name").stored;
            stored.durable = stored.durable.saturating_add(changes).min(stored.changes.len() as u64);
            let durable = Input::Durable(stored.durable);
            self.handle(&room, vec![durable]);
        }
    }

    fn restart(&mut self, power_cut: bool) {
        self.clients.clear();
        for place in self.places.values_mut() {
            if power_cut {
                place.stored.changes.truncate(place.stored.durable as usize);
            }
            place.stored.head = place.stored.changes.len() as u64;
            place.stored.durable = place.stored.head;
            place.room = Room::load(&place.stored, self.limits).expect("what was logged can be read");
        }
    }

    fn expect(&mut self, who: char, expected: &Sent) -> Result<(), String> {
        let client = self.clients.get_mut(&who).ok_or("was never connected")?;
        match client.sent.pop_front() {
            Some(sent) if sent == *expected => Ok(()),
            Some(sent) => Err(format!(
                "  but it is: {}\n{}{}",
                shown(who, &sent),
                first_difference(&sent, expected),
                self.pending()
            )),
            None => Err(format!("  but nothing is sent to {who}\n{}", self.pending())),
        }
    }

    /// Everything that was sent must have been expected.
    fn nothing_more(&self) -> Result<(), String> {
        if self.clients.values().all(|client| client.sent.is_empty()) {
            Ok(())
        } else {
            Err(format!("before it, not expected:\n{}", self.pending()))
        }
    }

    /// What was sent and not compared yet, as it would be written in a transcript.
    fn pending(&self) -> String {
        let all = self
            .clients
            .iter()
            .flat_map(|(&who, client)| client.sent.iter().map(move |sent| format!("  {}\n", shown(who, sent))));
        all.collect()
    }
}

fn shown(who: char, sent: &Sent) -> String {
    match sent {
        Sent::Frame(frame) => format!("{who}< {}", hex(frame)),
        Sent::Closed(code, reason) => format!("{who}! {code} {reason}"),
    }
}

fn first_difference(sent: &Sent, expected: &Sent) -> String {
    let (Sent::Frame(sent), Sent::Frame(expected)) = (sent, expected) else { return String::new() };
    let same = sent.iter().zip(expected).take_while(|(one, other)| one == other).count();
    format!("  the first {same} bytes are the same; {} were expected, {} sent\n", expected.len(), sent.len())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Bytes from hex pairs.
pub(crate) fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    hex.split_whitespace()
        .map(|pair| u8::from_str_radix(pair, 16).map_err(|_| format!("{pair:?} is no byte")))
        .collect()
}

//! Plays transcripts: clients talk to a room through their dialect, without a network, and every frame that they get is compared.
//!
//! One line each, `# meaning` behind it:
//!   `A+ [read] [open] [as=NAME] [room=NAME]`  client A connects (`open`: nobody can be told apart, as without authentication);
//!       `[called=NAME] [id=NUMBER]`           what people call it, and the presence id that it asks for;
//!       `[dialect=NAME]`                      in another dialect than the transcript's own
//!       `[since=MILLISECONDS]`                only what was accepted from then on
//!   `A> HEX`, `A> 'text'`                     A sends a binary or a text frame
//!   `A< HEX`, `A< 'text'`                     A is sent exactly this next
//!   `A! CODE REASON`                          A's connection ends like this next (`document` for CODE: only this document of it)
//!   `A-`                                      A's connection is gone
//!   `durable [COUNT]`                         that many more changes are on stable storage; all of them when no count is given
//!   `tick SECONDS`                            time passes
//!   `now MILLISECONDS`                        it is then
//!   `administrator`                           an administrator announces something
//!   `restart`, `power-cut`                    the process starts anew with all that was logged, or with what was durable
//!   `limit NAME VALUE`, `silent`              first lines: another bound; authors are not echoed
//! In a room database, which is asked in the order of `1`, `2`, ..., and answers in any:
//!   `?1 A METHOD PAYLOAD [again]`             the database is asked this next, on behalf of A; `again`: a live query
//!   `=1 OUTCOME`                              it answers (`database.rs` says how outcomes are written)
//!   `may A read`, `may A write`               what A may do from now on
//! All that a line has as its effect must be listed below it; only the order between different clients is free.

use crate::database;
use dialect::{ALL, Act, Dialect, Entry, Frame, Session, Told};
use document::MessageLimits;
use room::{
    Access, Author, Closing, Effect, Event, Hub, HubLimits, Input, Kind, Limits, MemberId, Notebook, Room, Rules,
    Stored, Topic, hub,
};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

/// Plays one transcript. The error says where it differs, and what was sent instead.
pub(crate) fn play(transcript: &str, loud: &'static dyn Dialect, silent: &'static dyn Dialect) -> Result<(), String> {
    let mut stage = Stage {
        dialect: loud,
        limits: Limits::default(),
        hub_limits: HubLimits::default(),
        questions: VecDeque::new(),
        places: BTreeMap::new(),
        clients: BTreeMap::new(),
        joined: 0,
        now_ms: 0,
    };
    for (number, line) in (1..).zip(transcript.lines()) {
        let action = line.split(" #").next().unwrap_or_default().trim();
        let action = if action.starts_with('#') { "" } else { action };
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
    hub_limits: HubLimits,
    /// What databases were asked and no line has named yet.
    questions: VecDeque<hub::Question>,
    places: BTreeMap<String, Place>,
    clients: BTreeMap<char, Client>,
    joined: u64,
    now_ms: u64,
}

/// A room and what the store has of it.
struct Place {
    room: Box<dyn Rules>,
    stored: Stored,
}

/// The kind of room that a dialect is about.
fn load(dialect: &dyn Dialect, stored: &Stored, limits: Limits, hub_limits: HubLimits) -> Box<dyn Rules> {
    match dialect.name() {
        "notes" => Box::new(Notebook::load(stored, limits).expect("what was logged can be read")),
        "room-db" => Box::new(Hub::new(hub_limits)),
        _ => Box::new(Room::load(stored, limits).expect("what was logged can be read")),
    }
}

struct Client {
    dialect: &'static dyn Dialect,
    member: MemberId,
    room: String,
    session: Option<Box<dyn Session>>,
    sent: VecDeque<Sent>,
}

#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Frame(Frame),
    Closed(Option<u16>, String),
}

impl Stage {
    fn line(&mut self, action: &str) -> Result<(), String> {
        let mut characters = action.chars();
        let (who, what) = (characters.next().unwrap_or_default(), characters.next().unwrap_or_default());
        let rest = characters.as_str().trim();
        match who {
            '?' => return self.expect_question(&action[1..]),
            '=' => return self.nothing_more().and_then(|()| self.answer(&action[1..])),
            _ => {}
        }
        if !who.is_ascii_uppercase() {
            self.nothing_more()?;
            return self.direct(action);
        }
        match what {
            '<' => self.expect(who, &Sent::Frame(frame(rest)?)),
            '!' => {
                let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                let code = match code {
                    "document" => None,
                    code => Some(code.parse().map_err(|_| format!("{code:?} is no close code"))?),
                };
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
                    let until_ms = self.now_ms + 1000;
                    self.wake_until(until_ms);
                    self.now_ms = until_ms;
                    let rooms: Vec<String> = self.places.keys().cloned().collect();
                    rooms.iter().for_each(|room| self.handle(room, vec![Input::Tick]));
                }
            }
            "may" => {
                let who = words.get(1).and_then(|who| who.chars().next()).unwrap_or_default();
                let client = self.clients.get(&who).ok_or("was never connected")?;
                let access = if words.get(2) == Some(&"read") { Access::Read } else { Access::Write };
                let (room, input) = (client.room.clone(), Input::SetAccess(client.member, access));
                self.handle(&room, vec![input]);
            }
            "now" => self.now_ms = number(1)?,
            "administrator" => {
                let rooms: Vec<String> = self.places.keys().cloned().collect();
                let announce = || vec![Input::Announce(Topic("all"), bytes::Bytes::new())];
                rooms.iter().for_each(|room| self.handle(room, announce()));
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
                    "subscriptions_per_member_max" => self.hub_limits.subscriptions_per_member_max = value,
                    "members_per_table_max" => self.hub_limits.members_per_table_max = value,
                    "questions_per_member_max" => self.hub_limits.questions_per_member_max = value,
                    "memories_per_user_max" => self.hub_limits.memories_per_user_max = value,
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
        let dialect = match option("dialect") {
            Some(name) => {
                *ALL.iter().find(|dialect| dialect.name() == name).ok_or_else(|| format!("no dialect {name:?}"))?
            }
            None => self.dialect,
        };
        let author = Author::from(option("as").unwrap_or_else(|| who.to_string()));
        let entry = Entry {
            member,
            limits: &self.limits.message,
            user: &author,
            name: &option("called").unwrap_or_else(|| author.to_string()),
            room: &room,
            presence_id: option("id").map(|id| id.parse().map_err(|_| format!("{id:?} is no id"))).transpose()?,
            updates_per_s: option("updates_per_s").map(|rate| rate.parse().unwrap_or_default()),
            may_read: option("reads").is_none_or(|reads| reads != "no"),
            since_ms: option("since")
                .map(|time| time.parse().map_err(|_| format!("{time:?} is no time")))
                .transpose()?,
            now_ms: self.now_ms,
            chance: u128::from(self.joined),
        };
        let mut session = dialect.session(&entry);
        let access = if has("read") { Access::Read } else { Access::Write };
        let join = Input::Join { member, kind: Kind::Client, access, author, trusts_all: has("open") };
        let mut acts = vec![Act::Room(join)];
        session.open(access, &mut acts);
        let client = Client { dialect, member, room, session: Some(session), sent: VecDeque::new() };
        if self.clients.insert(who, client).is_some_and(|old| old.session.is_some()) {
            return Err(format!("{who} is connected already"));
        }
        self.act(who, acts);
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
        let mut acts = Vec::new();
        session.receive(self::frame(frame)?, self.now_ms, &mut acts);
        self.act(who, acts);
        Ok(())
    }

    /// Does what a session wants done.
    fn act(&mut self, who: char, acts: Vec<Act>) {
        let Some(client) = self.clients.get(&who) else { return };
        let (room, member) = (client.room.clone(), client.member);
        let mut effects = Vec::new();
        for act in acts {
            match act {
                Act::Room(input) => self.tell_room(&room, input, &mut effects),
                Act::Reply(frame) => {
                    if let Some(client) = self.clients.get_mut(&who) {
                        client.sent.push_back(Sent::Frame(frame));
                    }
                }
                Act::End(closing) => self.close(&room, member, &closing),
                Act::Renew(_) | Act::Unknown(_) => {}
            }
        }
        self.settle(&room, effects);
    }

    fn handle(&mut self, room: &str, inputs: Vec<Input>) {
        let mut effects = Vec::new();
        inputs.into_iter().for_each(|input| self.tell_room(room, input, &mut effects));
        self.settle(room, effects);
    }

    fn tell_room(&mut self, room: &str, input: Input, effects: &mut Vec<Effect>) {
        let (dialect, limits, hub_limits) = (self.dialect, self.limits, self.hub_limits);
        let empty = || Place { room: load(dialect, &Stored::default(), limits, hub_limits), stored: Stored::default() };
        let place = self.places.entry(room.to_owned()).or_insert_with(empty);
        place.room.handle(input, self.now_ms, effects);
    }

    /// Carries effects out, and has the room tell presence that waits.
    fn settle(&mut self, room: &str, mut effects: Vec<Effect>) {
        if self.places.get(room).is_some_and(|place| place.room.presence_waits()) {
            self.tell_room(room, Input::TellPresence, &mut effects);
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
                members.into_iter().for_each(|member| self.tell(member, &event, false));
            }
            Effect::Send(member, event) => self.tell(member, &event, true),
            Effect::Place(_) => {}
            Effect::Close(member, closing) => self.close(room, member, &closing),
            Effect::Ask(question) => self.questions.push_back(*question),
        }
    }

    /// Wakes rooms at the times that they have set.
    fn wake_until(&mut self, until_ms: u64) {
        let next = |stage: &Self| {
            let wakes = stage.places.iter().filter_map(|(room, place)| Some((place.room.wakes_at_ms()?, room.clone())));
            wakes.filter(|(at_ms, _)| *at_ms < until_ms).min()
        };
        while let Some((at_ms, room)) = next(self) {
            self.now_ms = at_ms.max(self.now_ms);
            self.handle(&room, vec![Input::Tick]);
        }
    }

    fn expect_question(&mut self, expected: &str) -> Result<(), String> {
        let question = self.questions.pop_front().ok_or_else(|| format!("but nothing is asked\n{}", self.pending()))?;
        let asked = self.shown_question(&question);
        let expected = expected.trim();
        if asked == expected { Ok(()) } else { Err(format!("  but it is: ?{asked}\n{}", self.pending())) }
    }

    fn shown_question(&self, question: &hub::Question) -> String {
        let asker = self.clients.iter().find(|(_, client)| client.member == question.member);
        let asker = asker.map_or('-', |(who, _)| *who);
        let payload = String::from_utf8_lossy(&question.payload);
        let again = if question.is_rerun { " again" } else { "" };
        format!("{} {asker} {} {payload}{again}", question.ticket, question.method)
    }

    fn answer(&mut self, line: &str) -> Result<(), String> {
        let (ticket, outcome) = line.split_once(' ').ok_or("no outcome")?;
        let ticket = ticket.parse().map_err(|_| format!("{ticket:?} is no ticket"))?;
        let outcome = Box::new(database::outcome(outcome)?);
        self.handle("", vec![Input::Answered { ticket, outcome }]);
        Ok(())
    }

    fn close(&mut self, room: &str, member: MemberId, closing: &Closing) {
        let Some(client) = self.clients.values_mut().find(|client| client.member == member) else { return };
        let farewell = client.dialect.farewell(closing);
        client.sent.extend(farewell.message.map(Sent::Frame));
        client.sent.push_back(Sent::Closed(farewell.code, farewell.reason));
        client.session = None;
        self.handle(room, vec![Input::Leave(member)]);
    }

    fn tell(&mut self, member: MemberId, event: &Event, is_private: bool) {
        let connected = |client: &&mut Client| client.member == member && client.session.is_some();
        let Some(client) = self.clients.values_mut().find(connected) else { return };
        let told = client.session.as_mut().filter(|_| is_private).map(|session| session.tell(event));
        match told {
            Some(Told::Own(frames)) => client.sent.extend(frames.into_iter().map(Sent::Frame)),
            Some(Told::InCommon) | None => client.sent.extend(client.dialect.encode(event).map(Sent::Frame)),
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
            place.room = load(self.dialect, &place.stored, self.limits, self.hub_limits);
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
        if self.questions.is_empty() && self.clients.values().all(|client| client.sent.is_empty()) {
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
        all.chain(self.questions.iter().map(|question| format!("  ?{}\n", self.shown_question(question)))).collect()
    }
}

fn shown(who: char, sent: &Sent) -> String {
    match sent {
        Sent::Frame(Frame::Binary(bytes)) => format!("{who}< {}", hex(bytes)),
        Sent::Frame(Frame::Text(text)) => format!("{who}< '{}'", String::from_utf8_lossy(text)),
        Sent::Closed(Some(code), reason) => format!("{who}! {code} {reason}"),
        Sent::Closed(None, reason) => format!("{who}! document {reason}"),
    }
}

fn first_difference(sent: &Sent, expected: &Sent) -> String {
    let (Sent::Frame(sent), Sent::Frame(expected)) = (sent, expected) else { return String::new() };
    let (sent, expected) = (sent.payload(), expected.payload());
    let same = sent.iter().zip(expected.iter()).take_while(|(one, other)| one == other).count();
    format!("  the first {same} bytes are the same; {} were expected, {} sent\n", expected.len(), sent.len())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// A binary frame from hex, or a text frame from what is between quotation marks.
fn frame(words: &str) -> Result<Frame, String> {
    match words.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(text) => Ok(Frame::text(text)),
        None => Ok(Frame::Binary(bytes(words)?.into())),
    }
}

/// Bytes from hex pairs.
pub(crate) fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    hex.split_whitespace()
        .map(|pair| u8::from_str_radix(pair, 16).map_err(|_| format!("{pair:?} is no byte")))
        .collect()
}

/// Plays all transcripts of a folder in each of these dialects, every one as `loud` and as `silent`. Panics with what differs.
#[track_caller]
pub(crate) fn play_all(folder: &str, at_least: usize, dialects: &[(&'static dyn Dialect, &'static dyn Dialect)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let (mut played, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("the folder of transcripts") {
        let path = entry.expect("a file").path();
        let transcript = std::fs::read_to_string(&path).expect("text");
        for (loud, silent) in dialects {
            if let Err(error) = play(&transcript, *loud, *silent) {
                wrong.push(format!("{}, {error}", path.file_name().unwrap_or_default().display()));
            }
        }
        played += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(played >= at_least, "only {played} transcripts");
}

/// A session of member 7, whom nothing is known about.
pub(crate) fn session_in(dialect: &dyn Dialect) -> Box<dyn Session> {
    let (limits, user) = (MessageLimits::default(), "u".into());
    dialect.session(&Entry {
        member: MemberId(7),
        limits: &limits,
        user: &user,
        name: "u",
        room: "r",
        presence_id: None,
        updates_per_s: None,
        may_read: true,
        since_ms: None,
        now_ms: 0,
        chance: 0,
    })
}

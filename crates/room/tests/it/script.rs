//! Scripts: lines that happen to a room, and below each, behind `>`, every effect that it has, in order.
//!
//! What happens: `A joins [as NAME] [reading] [trusting] [as-peer]`, `A leaves`, `A may read|write`, `A asks`, `A syncs [in-one] VECTOR`,
//! `A writes UPDATE [for NAME | as-answer]`, `A says ID:CLOCK STATE; ...`, `A sends HEX` (awareness as bytes), `A arrives` and `A queries` (asks who is present),
//! `A introduces itself [as ID]`, `A shows STATE`, `A hides`, `A relays TEXT`, `A marks TEXT`, `A founds it`, `A wants every answer` (and no second chance),
//! `A is malformed`, `A is beyond`, `A catches up`, `durable OFFSET`, `wait SECONDS` (with a tick at the end), `later SECONDS` (without one), `tell` (presence), `restart`
//! (the room is made again from what was logged), `compact` (what was logged becomes a snapshot). Presence that waits is told at the end of a line,
//! unless the line ends in `...`. Updates and vectors are names of the table below or hex. A state may be written `<65536 bytes>`.

use bytes::Bytes;
use document::MessageLimits;
use document::lib0::{Reader, write_var_bytes, write_var_uint};
use room::{
    Access, Author, Change, Closing, Effect, Event, Input, Kind, Limits, Manner, MemberId, Person, Room, Rules, Shown,
    Snapshot, StateVector, Stored, Topic, Update,
};
use std::collections::BTreeMap;

/// Bytes made by Yjs, under the names that the protocol descriptions give them.
const NAMED: [(&str, &str); 10] = [
    ("NOTHING", "00 00"),
    ("A1", "01 01 01 00 04 01 01 74 02 68 69 00"),
    ("A2", "01 01 01 02 84 01 01 01 21 00"),
    ("A3", "00 01 01 01 00 01"),
    ("AF", "01 02 01 00 01 01 01 74 01 84 01 00 02 69 21 01 01 01 00 01"),
    ("A1A2", "01 01 01 00 04 01 01 74 03 68 69 21 00"),
    ("X2", "01 01 02 00 04 01 01 74 01 42 00"),
    ("A1X2", "02 01 02 00 04 01 01 74 01 42 01 01 00 04 01 01 74 02 68 69 00"),
    ("V0", "00"),
    ("VA", "01 01 02"),
];

/// Runs a script against an empty room.
#[track_caller]
pub(crate) fn check(script: &str) {
    check_with(Limits::default(), script);
}

/// The same with other bounds.
#[track_caller]
pub(crate) fn check_with(limits: Limits, script: &str) {
    let mut stage = Stage::new(limits);
    let (mut line, mut expected, mut had) = ("(nothing)", Vec::new(), Vec::new());
    for next in script.lines().map(str::trim).filter(|line| !line.is_empty()).chain(["end"]) {
        if let Some(effect) = next.strip_prefix('>') {
            expected.push(effect.trim().to_owned());
            continue;
        }
        assert!(had == expected, "after `{line}`\n  expected: {expected:#?}\n  had: {had:#?}");
        (line, expected) = (next, Vec::new());
        had = if next == "end" { Vec::new() } else { stage.run(next) };
    }
}

/// A room with the world around it.
pub(crate) struct Stage {
    pub(crate) room: Room,
    pub(crate) now_ms: u64,
    limits: Limits,
    members: BTreeMap<String, MemberId>,
    joined: u64,
    durable: u64,
    stored: Stored,
}

impl Stage {
    pub(crate) fn new(limits: Limits) -> Self {
        let stored = Stored::default();
        let room = Room::load(&stored, limits).expect("nothing stored is fine");
        Self { room, now_ms: 1_700_000_000_000, limits, members: BTreeMap::new(), joined: 0, durable: 0, stored }
    }

    /// Does one line, and returns its effects in words.
    pub(crate) fn run(&mut self, line: &str) -> Vec<String> {
        let Some(line) = line.strip_suffix(" ...") else {
            let mut effects = self.begin(line);
            if self.room.presence_waits() {
                effects.extend(self.handle(Input::TellPresence));
                assert!(!self.room.presence_waits(), "after {line}");
            }
            return effects;
        };
        self.begin(line)
    }

    fn begin(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |place: usize| words[place].parse::<u64>().unwrap_or_else(|_| panic!("no number in {line:?}"));
        match words[0] {
            "durable" => {
                self.durable = number(1);
                return self.handle(Input::Durable(self.durable));
            }
            "wait" | "later" => {
                self.now_ms += number(1) * 1000;
                return if words[0] == "wait" { self.handle(Input::Tick) } else { Vec::new() };
            }
            "tell" => return self.handle(Input::TellPresence),
            "restart" => return self.restart(),
            "compact" => return self.compact(),
            _ => {}
        }
        if words[1] == "joins" {
            self.joined += 1;
            self.members.insert(words[0].to_owned(), MemberId(self.joined));
        }
        let member = *self.members.get(words[0]).unwrap_or_else(|| panic!("who is that: {line:?}"));
        let input = input(member, &words, line);
        self.handle(input)
    }

    pub(crate) fn handle(&mut self, input: Input) -> Vec<String> {
        let mut effects = Vec::new();
        self.room.handle(input, self.now_ms, &mut effects);
        effects.iter().map(|effect| self.describe(effect)).collect()
    }

    fn restart(&mut self) -> Vec<String> {
        self.stored.head = self.room.head();
        self.stored.durable = self.stored.head;
        self.room = Room::load(&self.stored, self.limits).expect("what was logged can be read");
        self.members.clear();
        Vec::new()
    }

    fn compact(&mut self) -> Vec<String> {
        let snapshot = Snapshot::squash(self.stored.snapshot.as_deref(), &self.stored.changes, false)
            .expect("what was logged can be read");
        self.stored.snapshot = Some(snapshot.encode().into());
        self.stored.changes.clear();
        Vec::new()
    }

    fn describe(&mut self, effect: &Effect) -> String {
        match effect {
            Effect::Append(change) => {
                self.stored.changes.push(change.clone());
                assert_eq!(change.time_ms, self.now_ms);
                let Change { author, bytes, .. } = change;
                format!("log {author} {}", name(bytes))
            }
            Effect::Publish { except, event } => {
                let audience = except.map_or("all".to_owned(), |id| format!("all but {}", self.who(id)));
                format!("{audience}: {}", event_in_words(event))
            }
            Effect::Send(id, event) => format!("{}: {}", self.who(*id), event_in_words(event)),
            Effect::Place(id) => format!("place {}", self.who(*id)),
            Effect::Close(id, Closing::Beyond(limit)) => format!("close {}: {limit}", self.who(*id)),
            Effect::Close(id, closing) => format!("close {}: {closing:?}", self.who(*id)),
            Effect::Ask(question) => panic!("a document asks no database: {question:?}"),
        }
    }

    fn who(&self, id: MemberId) -> String {
        self.members.iter().find(|(_, known)| **known == id).map_or(format!("{id:?}"), |(name, _)| name.clone())
    }
}

fn input(member: MemberId, words: &[&str], line: &str) -> Input {
    let rest = || line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
    match words[1] {
        "joins" => Input::Join {
            member,
            kind: if words.contains(&"as-peer") { Kind::Peer } else { Kind::Client },
            access: if words.contains(&"reading") { Access::Read } else { Access::Write },
            author: behind(words, "as").unwrap_or_else(|| Author::from(words[0].to_lowercase())),
            trusts_all: words.contains(&"trusting"),
        },
        "leaves" => Input::Leave(member),
        "may" => Input::SetAccess(member, if words[2] == "read" { Access::Read } else { Access::Write }),
        "asks" => Input::Ask(member),
        "syncs" if words[2] == "in-one" => Input::SyncInOne(member, vector(words[3])),
        "syncs" => Input::Sync(member, vector(&rest())),
        "writes" => {
            let (text, author) = (rest(), behind(words, "for"));
            let bytes = text.split(" for ").next().unwrap_or_default().trim_end_matches(" as-answer");
            Input::Update { member, author, is_answer: words.contains(&"as-answer"), update: update(bytes) }
        }
        "says" => Input::Awareness(member, awareness(&rest())),
        "sends" => Input::Awareness(member, bytes(&rest())),
        "arrives" => Input::QueryAwareness { member, always: false },
        "queries" => Input::QueryAwareness { member, always: true },
        "catches" => Input::CatchUp(member),
        "wants" => {
            let manner = Manner { each_denial: true, malformed_per_minute_max: Some(1), relay_denial: true };
            Input::Adopt(member, manner)
        }
        "introduces" => {
            let person = Person { id: words[0].to_lowercase().into(), name: words[0].into() };
            let id = behind(words, "as").map(|id| id.parse().expect("an id"));
            Input::Introduce { member, person: std::sync::Arc::new(person), id, chance: 1_000 }
        }
        "shows" => Input::Present(member, Some(rest().into())),
        "hides" => Input::Present(member, None),
        "relays" => Input::Relay { member, topic: Topic("talk"), payload: rest().into() },
        "founds" => Input::Found(member),
        "marks" => Input::Mark(member, rest().into()),
        "is" if words[2] == "malformed" => Input::Malformed(member),
        "is" if words[2] == "beyond" => Input::Beyond(member, document::Exceeded::Kind(11)),
        _ => panic!("cannot read {line:?}"),
    }
}

fn behind(words: &[&str], word: &str) -> Option<Author> {
    let place = words.iter().position(|found| *found == word)?;
    Some(Author::from(words[place + 1]))
}

/// Bytes of a name, or of hex.
pub(crate) fn bytes(text: &str) -> Bytes {
    let hex = NAMED.iter().find(|(name, _)| *name == text).map_or(text, |(_, hex)| hex);
    let byte = |pair: &str| u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("{pair:?} of {text:?} is no byte"));
    hex.split_whitespace().map(byte).collect()
}

/// An update that must be valid.
pub(crate) fn update(text: &str) -> Update<Bytes> {
    Update::validate(bytes(text), &MessageLimits::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn vector(text: &str) -> StateVector {
    StateVector::decode(&bytes(text), &MessageLimits::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn name(bytes: &[u8]) -> String {
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    NAMED.iter().find(|(_, known)| *known == hex).map_or(hex, |(name, _)| (*name).to_owned())
}

fn event_in_words(event: &Event) -> String {
    match event {
        Event::StateVector(bytes) => format!("vector {}", name(bytes)),
        Event::Base(bytes) => format!("base {}", name(bytes)),
        Event::Missing(bytes) => format!("missing {}", name(bytes)),
        Event::Update(bytes) => format!("update {}", name(bytes)),
        Event::Saved { update: Some(bytes) } => format!("saved {}", name(bytes)),
        Event::Saved { update: None } => "saved".into(),
        Event::Durable(offset) => format!("durable {offset}"),
        Event::Awareness(bytes) => format!("awareness {}", awareness_in_words(bytes)),
        Event::Denied(denied) => format!("denied {denied:?}"),
        Event::Presence(states) if states.is_empty() => "presence of nobody".into(),
        Event::Presence(states) => {
            let shown = states.iter().map(|Shown { id, state, by_guest }| {
                let whose = if *by_guest || state.is_none() { "" } else { " (of another dialect)" };
                format!("{id} {}{whose}", String::from_utf8_lossy(state.as_deref().unwrap_or(b"none")))
            });
            format!("presence {}", shown.collect::<Vec<_>>().join("; "))
        }
        Event::Welcome { id, people } => {
            let people: Vec<_> = people.iter().map(|person| &*person.id).collect();
            format!("welcome as {id} among [{}]", people.join(" "))
        }
        Event::Arrived(person) => format!("arrived {} ({})", person.id, person.name),
        Event::Departed(person) => format!("departed {} ({})", person.id, person.name),
        Event::Relayed(Topic(topic), bytes) => format!("relayed {topic} {}", String::from_utf8_lossy(bytes)),
        Event::Marked(bytes) => format!("marked {}", String::from_utf8_lossy(bytes)),
        Event::Tables(news) => panic!("a document has no tables: {news:?}"),
        Event::Notes(news) => format!("notes {news:?}"),
    }
}

/// The awareness update that `7:1 {"a":1}; 8:2 null` stands for.
pub(crate) fn awareness(text: &str) -> Bytes {
    let entries: Vec<&str> = text.split("; ").collect();
    let mut out = Vec::new();
    write_var_uint(&mut out, entries.len() as u64);
    for entry in entries {
        let (head, state) = entry.split_once(' ').unwrap_or_else(|| panic!("no state in {entry:?}"));
        let (id, clock) = head.split_once(':').unwrap_or_else(|| panic!("no clock in {entry:?}"));
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("no number in {entry:?}"));
        write_var_uint(&mut out, number(id));
        write_var_uint(&mut out, number(clock));
        let size = state.strip_prefix('<').and_then(|rest| rest.strip_suffix(" bytes>"));
        let state =
            size.map_or(state.to_owned(), |size| format!("{{\"a\":\"{}\"}}", "x".repeat(number(size) as usize - 8)));
        write_var_bytes(&mut out, state.as_bytes());
    }
    out.into()
}

fn awareness_in_words(bytes: &[u8]) -> String {
    let mut reader = Reader::new(bytes);
    let uint = |reader: &mut Reader<'_>| reader.var_uint().expect("an integer");
    let entries = (0..uint(&mut reader)).map(|_| {
        let (id, clock) = (uint(&mut reader), uint(&mut reader));
        let state = reader.var_string().expect("a state");
        if state.len() > 100 {
            format!("{id}:{clock} <{} bytes>", state.len())
        } else {
            format!("{id}:{clock} {state}")
        }
    });
    let entries: Vec<_> = entries.collect();
    assert!(reader.is_empty(), "bytes left over");
    if entries.is_empty() { "nobody".into() } else { entries.join("; ") }
}

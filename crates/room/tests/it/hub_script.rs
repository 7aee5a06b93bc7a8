//! Scripts for rooms of databases: lines that happen to a room, and below each, behind `>`, every effect that it has, in order.
//!
//! What happens: `A joins [as USER] [reading]`, `A leaves`, `A may read|write`, `A subscribes|unsubscribes TABLE`, `A calls METHOD [PAYLOAD]` (a write),
//! `A reads METHOD [PAYLOAD]`, `A shows cursor|presence LABEL VALUE [quietly]`, `A lists cursor|presence`, `A watches NAME TABLE...` (is told to ask again),
//! `A follows SQL on TABLE [as NAME]` (is told results), `A unwatches NAME`, `wait MS` (the room is woken when it wants to be, and ticks at the end).
//! `answer TICKET done|rows DATA|failed TEXT[; TABLE added|modified|deleted ROW [for USER...] [but USER...]]...[; schema TEXT][; personal][; reads TABLE...]`
//! is the database. Each word may be written `<1000 x>` for so many.

use bytes::Bytes;
use room::hub::{Action, Answer, EXECUTE, MemoryKind, News, Outcome, Readers, Request, RowChange, TABLE_NOT_FOUND};
use room::{Access, Author, Effect, Event, Hub, HubLimits, Input, Kind, MemberId, Rules};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Runs a script against an empty room.
#[track_caller]
pub(crate) fn check(script: &str) {
    check_with(HubLimits::default(), script);
}

/// The same with other bounds.
#[track_caller]
pub(crate) fn check_with(limits: HubLimits, script: &str) {
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
    pub(crate) hub: Hub,
    pub(crate) now_ms: u64,
    members: BTreeMap<String, MemberId>,
    joined: u64,
}

impl Stage {
    pub(crate) fn new(limits: HubLimits) -> Self {
        Self { hub: Hub::new(limits), now_ms: 1_700_000_000_000, members: BTreeMap::new(), joined: 0 }
    }

    /// Does one line, and returns its effects in words.
    pub(crate) fn run(&mut self, line: &str) -> Vec<String> {
        let effects = self.effects(line);
        effects.iter().map(|effect| self.describe(effect)).collect()
    }

    pub(crate) fn effects(&mut self, line: &str) -> Vec<Effect> {
        let line = expanded(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "wait" {
            return self.wait(words[1].parse().expect("milliseconds"));
        }
        if words[0] == "answer" {
            let (ticket, outcome) = outcome(line.strip_prefix("answer ").expect("an answer"));
            return self.handle(Input::Answered { ticket, outcome: Box::new(outcome) });
        }
        if words[1] == "joins" {
            self.joined += 1;
            self.members.insert(words[0].to_owned(), MemberId(self.joined));
        }
        let member = *self.members.get(words[0]).unwrap_or_else(|| panic!("who is that: {line:?}"));
        self.handle(input(member, &words, &line))
    }

    pub(crate) fn handle(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.hub.handle(input, self.now_ms, &mut effects);
        effects
    }

    fn wait(&mut self, ms: u64) -> Vec<Effect> {
        let (until_ms, mut effects) = (self.now_ms + ms, Vec::new());
        while let Some(at_ms) = self.hub.wakes_at_ms().filter(|at_ms| *at_ms <= until_ms) {
            self.now_ms = at_ms.max(self.now_ms);
            effects.extend(self.handle(Input::Tick));
        }
        self.now_ms = until_ms;
        effects.extend(self.handle(Input::Tick));
        effects
    }

    fn who(&self, id: MemberId) -> &str {
        self.members.iter().find(|(_, known)| **known == id).map_or("nobody", |(name, _)| name)
    }

    fn describe(&self, effect: &Effect) -> String {
        match effect {
            Effect::Place(id) => format!("place {}", self.who(*id)),
            Effect::Send(id, Event::Tables(news)) => format!("{}: {}", self.who(*id), told(news)),
            Effect::Publish { except: None, event: Event::Tables(news) } => format!("all: {}", told(news)),
            Effect::Ask(question) => {
                let again = if question.is_rerun { " again" } else { "" };
                let (payload, asker) = (String::from_utf8_lossy(&question.payload), self.who(question.member));
                format!("ask {} {asker} {} {payload}{again}", question.ticket, question.method)
            }
            other => panic!("not in such a room: {other:?}"),
        }
    }
}

fn expanded(line: &str) -> String {
    let Some((before, rest)) = line.split_once('<') else { return line.to_owned() };
    let (many, after) = rest.split_once('>').expect("the end of many");
    let (count, letter) = many.split_once(' ').expect("how many of what");
    before.to_owned() + &letter.repeat(count.parse().expect("how many")) + after
}

fn input(member: MemberId, words: &[&str], line: &str) -> Input {
    let option = |name: &str| words.iter().position(|word| *word == name).map(|place| words[place + 1]);
    let access = |reads| if reads { Access::Read } else { Access::Write };
    let echo = Bytes::from_static(b"echo");
    let payload = || Bytes::from(words.get(3).copied().unwrap_or("{}").to_owned());
    let bytes = |word: &str| Bytes::from(word.to_owned());
    // Methods live as long as the program.
    let method = || ["createTask", "updateRow", "listTasks", EXECUTE].into_iter().find(|known| words[2] == *known);
    let request = match words[1] {
        "joins" => {
            let author = Author::from(option("as").unwrap_or(words[0]));
            let access = access(words.contains(&"reading"));
            return Input::Join { member, kind: Kind::Client, access, author, trusts_all: false };
        }
        "leaves" => return Input::Leave(member),
        "may" => return Input::SetAccess(member, access(words[2] == "read")),
        "subscribes" => Request::Subscribe { table: words[2].into(), echo },
        "unsubscribes" => Request::Unsubscribe(words[2].into()),
        "calls" | "reads" => {
            let (writes, method) = (words[1] == "calls", method().expect("a known method"));
            Request::Call { method, payload: payload(), writes, echo }
        }
        "shows" => {
            let is_quiet = words.contains(&"quietly");
            Request::SetMemory { kind: kind(words[2]), label: bytes(words[3]), value: bytes(words[4]), is_quiet, echo }
        }
        "lists" => Request::GetMemory { kind: kind(words[2]), echo },
        "watches" => {
            let tables = words[3..].iter().map(|table| (*table).into()).collect();
            Request::WatchTables { query_id: bytes(words[2]), tables, echo }
        }
        "follows" => {
            let table = option("on").expect("a table").into();
            Request::WatchResult { query_id: option("as").map(bytes), table, payload: bytes(words[2]), echo }
        }
        "unwatches" => Request::Unwatch { query_id: bytes(words[2]), echo },
        _ => panic!("cannot read {line:?}"),
    };
    Input::Tables(member, Box::new(request))
}

fn kind(word: &str) -> MemoryKind {
    if word == "cursor" { MemoryKind::Cursor } else { MemoryKind::Presence }
}

fn outcome(line: &str) -> (u64, Outcome) {
    let mut parts = line.split("; ");
    let first: Vec<&str> = parts.next().expect("an answer").splitn(3, ' ').collect();
    let rest = first.get(2).copied().unwrap_or_default();
    let answer = match first[1] {
        "done" => Answer::Done { data: None, message: None },
        "rows" => rows(rest),
        "missing" => {
            let (code, table) = (Some(TABLE_NOT_FOUND), Some(rest.into()));
            Answer::Failed { error: "no such table".into(), code, table, data: None }
        }
        "failed" => Answer::failed(rest),
        other => panic!("no answer {other:?}"),
    };
    let mut outcome = Outcome::of(answer);
    for part in parts {
        let words: Vec<&str> = part.split_whitespace().collect();
        match words[0] {
            "personal" => outcome.is_personal = true,
            "schema" => outcome.schema = Some(words[1].to_owned().into()),
            "reads" => outcome.tables = words[1..].iter().map(|table| (*table).into()).collect(),
            table => outcome.changes.push(change(table, &words[1..])),
        }
    }
    (first[0].parse().expect("a ticket"), outcome)
}

pub(crate) fn rows(data: &str) -> Answer {
    Answer::Rows { data: data.to_owned().into(), original_sql: Bytes::new(), total: None, page: None, info: None }
}

fn change(table: &str, words: &[&str]) -> RowChange {
    let users = |from: &str, to: &str| -> Readers {
        let place = words.iter().position(|word| *word == from)?;
        let users = words[place + 1..].iter().take_while(|word| **word != to);
        Some(Arc::new(users.map(|user| Author::from(*user)).collect::<BTreeSet<_>>()))
    };
    let action = match words[0] {
        "added" => Action::Added,
        "modified" => Action::Modified,
        _ => Action::Deleted,
    };
    RowChange {
        readers: users("for", "but"),
        except: users("but", ""),
        ..RowChange::of(table, action, words[1].to_owned())
    }
}

pub(crate) fn told(news: &News) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let action = |change: &RowChange| format!("{} {}", change.table, format!("{:?}", change.action).to_lowercase());
    match news {
        News::Reply(reply) => {
            assert_eq!(reply.echo, "echo", "what came with it comes back");
            format!("{} {}", reply.method, answered(&reply.answer))
        }
        News::RowChanged(change) => format!("{} {}", action(change.what()), text(&change.what().row)),
        News::Schema(schema) => format!("schema {}", text(schema)),
        News::Memory(kind, shown) => {
            format!("{} {} {}", format!("{kind:?}").to_lowercase(), text(&shown.label), text(&shown.value))
        }
        News::Memories { all, .. } => {
            let all = all.what().iter().map(|shown| format!("{}={}", text(&shown.label), text(&shown.value)));
            format!("listed [{}]", all.collect::<Vec<_>>().join(" "))
        }
        News::Refresh { query_id, change } => format!("refresh {} {}", text(query_id), action(change.what())),
        News::Result { query_id, answer } => {
            let name = query_id.as_ref().map(|name| format!(" of {}", text(name))).unwrap_or_default();
            format!("result{name} {}", answered(answer.what()))
        }
    }
}

fn answered(answer: &Answer) -> String {
    match answer {
        Answer::Done { .. } => "done".to_owned(),
        Answer::Rows { data, .. } => format!("rows {}", String::from_utf8_lossy(data)),
        Answer::Failed { error, .. } => format!("failed {error}"),
        Answer::Schema(schema) => format!("schema {}", String::from_utf8_lossy(schema)),
        Answer::Watching { query_id, is_on } => {
            format!("{} {}", if *is_on { "watching" } else { "not watching" }, String::from_utf8_lossy(query_id))
        }
    }
}

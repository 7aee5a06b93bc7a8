//! A notebook with the world around it, told what happens in words.
//!
//! What happens: `A joins [as NAME] [reading]`, `A leaves`, `A may read|write`, `A puts ID [@TIME] [made TIME] [with TEXT] [answered]`,
//! `A deletes ID [@TIME] [answered]`, `A restores ID`, `A replays [since TIME]`, `A gets ID`, `A fetches [since TIME]`,
//! `A lists PAGE LIMIT created|updated|title [descending] [deleted]`, `A catches up`, `A marks TEXT`, `announce`, `durable OFFSET`, `now TIME`, `tick`, `restart`
//! (from what was logged), `compact` (what was logged becomes a snapshot), `loses` (the last record in the log cannot be read any more).
//! Times are seconds from a certain morning on, or days behind which a `d` is written.

use bytes::Bytes;
use room::notebook::{Entry, Mark, NewNote, News, Note, Refusal, Request, Sort};
use room::{
    Access, Author, Change, Closing, Effect, Event, Input, Kind, Limits, MemberId, Notebook, Rules, Stored, Topic,
};
use std::collections::BTreeMap;

pub(crate) const MORNING_MS: u64 = 1_700_000_000_000;

/// Runs a script against an empty notebook.
#[track_caller]
pub(crate) fn check(script: &str) {
    check_with(Limits::default(), script);
}

/// The same with other bounds.
#[track_caller]
pub(crate) fn check_with(limits: Limits, script: &str) {
    let mut desk = Desk::new(limits);
    let (mut line, mut expected, mut had) = ("(nothing)", Vec::new(), Vec::new());
    for next in script.lines().map(str::trim).filter(|line| !line.is_empty()).chain(["end"]) {
        if let Some(effect) = next.strip_prefix('>') {
            expected.push(effect.trim().to_owned());
            continue;
        }
        assert!(had == expected, "after `{line}`\n  expected: {expected:#?}\n  had: {had:#?}");
        (line, expected) = (next, Vec::new());
        had = if next == "end" { Vec::new() } else { desk.run(next) };
    }
}

pub(crate) struct Desk {
    pub(crate) notebook: Notebook,
    pub(crate) now_ms: u64,
    pub(crate) stored: Stored,
    limits: Limits,
    members: BTreeMap<String, MemberId>,
    joined: u64,
}

impl Desk {
    pub(crate) fn new(limits: Limits) -> Self {
        let stored = Stored::default();
        let notebook = Notebook::load(&stored, limits).expect("nothing stored is fine");
        Self { notebook, now_ms: MORNING_MS, stored, limits, members: BTreeMap::new(), joined: 0 }
    }

    /// Does one line, and returns its effects in words.
    pub(crate) fn run(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "now" => self.now_ms = moment(words[1]) as u64,
            "restart" => self.restart(),
            "compact" => self.compact(),
            "loses" => self.stored.changes.last_mut().expect("a record").bytes = Bytes::from_static(b"\x01\x00\x7f"),
            "durable" => return self.handle(Input::Durable(words[1].parse().expect("an offset"))),
            "announce" => return self.handle(Input::Announce(Topic("all"), Bytes::new())),
            "tick" => return self.handle(Input::Tick),
            _ => {
                if words[1] == "joins" {
                    self.joined += 1;
                    self.members.insert(words[0].to_owned(), MemberId(self.joined));
                }
                let member = *self.members.get(words[0]).unwrap_or_else(|| panic!("who is that: {line:?}"));
                return self.handle(input(member, &words, line));
            }
        }
        Vec::new()
    }

    pub(crate) fn handle(&mut self, input: Input) -> Vec<String> {
        self.effects(input).iter().map(|effect| self.describe(effect).trim_end().replace("  ", " ")).collect()
    }

    /// The effects of an input, of which the log has taken its part.
    pub(crate) fn effects(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.notebook.handle(input, self.now_ms, &mut effects);
        for effect in &effects {
            if let Effect::Append(change) = effect {
                assert_eq!(change.time_ms, self.now_ms);
                self.stored.changes.push(change.clone());
            }
        }
        effects
    }

    pub(crate) fn restart(&mut self) {
        (self.stored.head, self.stored.durable) = (self.notebook.head(), self.notebook.head());
        self.notebook = Notebook::load(&self.stored, self.limits).expect("what was logged can be read");
        self.members.clear();
    }

    pub(crate) fn compact(&mut self) {
        let changes = std::mem::take(&mut self.stored.changes);
        let snapshot = Notebook::squash(self.stored.snapshot.as_deref(), &changes, &self.limits, self.now_ms);
        self.stored.snapshot = Some(snapshot.expect("what was logged can be read").into());
    }

    fn describe(&self, effect: &Effect) -> String {
        match effect {
            Effect::Append(Change { author, .. }) => format!("log {author}"),
            Effect::Publish { except, event } => {
                let audience = except.map_or("all".to_owned(), |id| format!("all but {}", self.who(id)));
                format!("{audience}: {}", event_in_words(event))
            }
            Effect::Send(id, event) => format!("{}: {}", self.who(*id), event_in_words(event)),
            Effect::Place(id) => format!("place {}", self.who(*id)),
            Effect::Close(id, Closing::Beyond(limit)) => format!("close {}: {limit}", self.who(*id)),
            Effect::Close(id, closing) => format!("close {}: {closing:?}", self.who(*id)),
            Effect::Ask(question) => panic!("a notebook has no database: {question:?}"),
        }
    }

    /// The member of that name.
    pub(crate) fn member(&self, name: &str) -> MemberId {
        self.members[name]
    }

    fn who(&self, id: MemberId) -> String {
        self.members.iter().find(|(_, known)| **known == id).map_or(format!("{id:?}"), |(name, _)| name.clone())
    }
}

fn input(member: MemberId, words: &[&str], line: &str) -> Input {
    let has = |word: &str| words.contains(&word);
    let behind = |word: &str| words.iter().position(|found| *found == word).map(|place| words[place + 1]);
    let at_ms = words.iter().find_map(|word| word.strip_prefix('@')).map(moment);
    let (since_ms, id) = (behind("since").map(|time| moment(time) as u64), words.get(2).copied().unwrap_or_default());
    let request = match words[1] {
        "joins" => {
            return Input::Join {
                member,
                kind: Kind::Client,
                access: if has("reading") { Access::Read } else { Access::Write },
                author: Author::from(behind("as").map_or(words[0].to_lowercase(), str::to_owned)),
                trusts_all: false,
            };
        }
        "leaves" => return Input::Leave(member),
        "may" => return Input::SetAccess(member, if id == "read" { Access::Read } else { Access::Write }),
        "catches" => return Input::CatchUp(member),
        "marks" => return Input::Mark(member, Bytes::copy_from_slice(id.as_bytes())),
        "puts" => {
            let text = behind("with").unwrap_or("text");
            let created_ms = behind("made").map(moment);
            Request::Put { note: note(id, text, created_ms, at_ms), answered: has("answered") }
        }
        "deletes" => Request::Delete { id: id.into(), at_ms, answered: has("answered") },
        "restores" => Request::Restore { id: id.into() },
        "replays" => Request::Replay { since_ms },
        "gets" => Request::Get { id: id.into() },
        "fetches" => Request::Changes { since_ms },
        "lists" => Request::List {
            page: id.parse().expect("a page"),
            limit: words[3].parse().expect("a limit"),
            sort: match words[4] {
                "created" => Sort::Created,
                "updated" => Sort::Updated,
                _ => Sort::Title,
            },
            descending: has("descending"),
            include_deleted: has("deleted"),
        },
        _ => panic!("cannot read {line:?}"),
    };
    Input::Notes(member, request)
}

pub(crate) fn note(id: &str, text: &str, created_ms: Option<i64>, updated_ms: Option<i64>) -> NewNote {
    let likeness = text.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31) + u64::from(byte));
    let members = format!("\"id\":\"{id}\",\"title\":\"{text}\"").into();
    NewNote { id: id.into(), title: text.into(), created_ms, updated_ms, likeness, members }
}

/// Milliseconds since the Unix epoch.
fn moment(text: &str) -> i64 {
    let (number, unit_ms) = text.strip_suffix('d').map_or((text, 1_000), |days| (days, 24 * 3_600_000));
    MORNING_MS as i64 + number.parse::<i64>().unwrap_or_else(|_| panic!("no time: {text:?}")) * unit_ms
}

/// As it is written in a script.
fn time(time_ms: i64) -> String {
    let since_ms = time_ms - MORNING_MS as i64;
    if since_ms % 1_000 == 0 { format!("{}", since_ms / 1_000) } else { format!("{since_ms}ms") }
}

fn event_in_words(event: &Event) -> String {
    match event {
        Event::Notes(news) => news_in_words(news),
        Event::Marked(bytes) => format!("marked {}", String::from_utf8_lossy(bytes)),
        other => panic!("a notebook does not say {other:?}"),
    }
}

fn news_in_words(news: &News) -> String {
    match news {
        News::Updated(note) => format!("updated {}", note_in_words(note)),
        News::Deleted(mark) => format!("deleted {}", mark_in_words(mark)),
        News::Resync { reason, .. } => format!("resync {reason:?}"),
        News::Refused { id, was_delete, why, .. } => {
            let what = if *was_delete { "deletion" } else { "note" };
            match why {
                Refusal::ReadOnly => format!("refused {what} {id}: it may only read"),
                Refusal::Limit(limit) => format!("refused {what} {id}: {limit}"),
            }
        }
        News::Stored(note) => format!("stored {}", note_in_words(note)),
        News::Erased(mark) => format!("erased {}", mark_in_words(mark)),
        News::Conflict(entry) => format!("conflict with {}", entry_in_words(entry)),
        News::Found(entry) => format!("found {}", entry_in_words(entry)),
        News::NotFound(id) => format!("no {id}"),
        News::Page { entries, total, page, limit } => {
            let ids: Vec<String> = entries
                .iter()
                .map(|entry| match entry {
                    Entry::Live(note) => note.id.to_string(),
                    Entry::Gone(mark) => format!("({})", mark.id),
                })
                .collect();
            format!("page {page} by {limit} of {total}: {}", ids.join(" "))
        }
        News::Changes { notes, marks, now_ms } => {
            let notes: Vec<&str> = notes.iter().map(|note| &*note.id).collect();
            let marks: Vec<&str> = marks.iter().map(|mark| &*mark.id).collect();
            format!("changes up to {}: {} gone: {}", time(*now_ms as i64), notes.join(" "), marks.join(" "))
        }
    }
}

fn entry_in_words(entry: &Entry) -> String {
    match entry {
        Entry::Live(note) => note_in_words(note),
        Entry::Gone(mark) => format!("deleted {}", mark_in_words(mark)),
    }
}

fn note_in_words(note: &Note) -> String {
    let Note { id, writer, title, created_ms, updated_ms, version, .. } = note;
    format!("{id} v{version} by {writer} made {} @{} with {title}", time(*created_ms), time(*updated_ms))
}

fn mark_in_words(mark: &Mark) -> String {
    let Mark { id, by, deleted_ms, note, .. } = mark;
    let content = if note.is_some() { "" } else { " without content" };
    format!("{id} by {by} @{}{content}", time(*deleted_ms))
}

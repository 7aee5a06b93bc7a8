//! Several devices, and a model of what a notebook is that knows no trees: after any number of writes, restarts and compactions both are the same.

use super::desk::{Desk, MORNING_MS, note};
use room::notebook::{Entry, News, Note, Request, Sort};
use room::{Effect, Event, Input, Limits, MemberId};
use std::collections::BTreeMap;
use std::sync::Arc;

const DEVICES: u64 = 4;
const IDS: u64 = 12;
const ROUNDS: usize = 60;
const STEPS: usize = 150;
const KEPT_MS: u64 = 30 * 24 * 3_600_000;

/// What there is of an id.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    /// Title, made, changed, version, writer.
    Live(String, i64, i64, u64, String),
    /// When it was deleted, when that was accepted, and what it was.
    Gone(i64, u64, Option<Box<Known>>, u64),
}

#[derive(Default)]
struct Model {
    known: BTreeMap<String, Known>,
    clock_ms: u64,
}

impl Model {
    fn forget(&mut self, now_ms: u64) {
        self.known.retain(|_, known| match known {
            Known::Live(..) => true,
            Known::Gone(_, accepted_ms, ..) => *accepted_ms + KEPT_MS >= now_ms,
        });
    }

    fn accept(&mut self, now_ms: u64) -> u64 {
        self.clock_ms = self.clock_ms.max(now_ms);
        self.clock_ms
    }

    /// True: accepted.
    fn put(&mut self, id: &str, title: &str, made: i64, changed: i64, writer: &str, now_ms: u64) -> bool {
        let (newest, version) = match self.known.get(id) {
            None => (i64::MIN, 0),
            Some(Known::Live(.., changed, version, _)) => (*changed, *version),
            Some(Known::Gone(deleted, _, _, version)) => (*deleted, *version),
        };
        if changed <= newest {
            return false;
        }
        self.accept(now_ms);
        self.known.insert(id.to_owned(), Known::Live(title.to_owned(), made, changed, version + 1, writer.to_owned()));
        true
    }

    fn delete(&mut self, id: &str, at: i64, now_ms: u64) -> bool {
        let (deleted, note, version) = match self.known.get(id) {
            Some(Known::Gone(..)) => return false,
            Some(live @ Known::Live(.., changed, version, _)) => {
                (at.max(*changed), Some(Box::new(live.clone())), *version)
            }
            None => (at, None, 0),
        };
        let accepted_ms = self.accept(now_ms);
        self.known.insert(id.to_owned(), Known::Gone(deleted, accepted_ms, note, version));
        true
    }

    fn restore(&mut self, id: &str, writer: &str, now_ms: u64) -> bool {
        let Some(Known::Gone(deleted, _, Some(note), version)) = self.known.get(id) else { return false };
        let Known::Live(title, made, ..) = &**note else { return false };
        let changed = (now_ms as i64).max(deleted + 1);
        let live = Known::Live(title.clone(), *made, changed, version + 1, writer.to_owned());
        self.accept(now_ms);
        self.known.insert(id.to_owned(), live);
        true
    }
}

fn as_known(note: &Note) -> Known {
    let (title, writer) = (note.title.to_string(), note.writer.to_string());
    Known::Live(title, note.created_ms, note.updated_ms, note.version, writer)
}

/// Everything that a member can see, which must be the model.
fn compare(desk: &mut Desk, model: &Model, what: &str) {
    let asker = MemberId(1_000_000);
    desk.effects(Input::Join {
        member: asker,
        kind: room::Kind::Client,
        access: room::Access::Read,
        author: "asker".into(),
        trusts_all: false,
    });
    let mut ask = |request| match desk.effects(Input::Notes(asker, request)).remove(0) {
        Effect::Send(_, Event::Notes(news)) => news,
        other => panic!("{what}: {other:?}"),
    };
    let mut seen = BTreeMap::new();
    let News::Changes { notes, marks, .. } = ask(Request::Changes { since_ms: None }) else { panic!("{what}") };
    assert!(notes.is_sorted_by_key(|note| (note.updated_ms, note.id.clone())), "{what}");
    assert!(marks.is_sorted_by_key(|mark| (mark.accepted_ms, mark.id.clone())), "{what}");
    for note in notes.iter() {
        seen.insert(note.id.to_string(), as_known(note));
    }
    for mark in marks.iter() {
        let note = mark.note.as_ref().map(|note| Box::new(as_known(note)));
        seen.insert(mark.id.to_string(), Known::Gone(mark.deleted_ms, mark.accepted_ms, note, mark.version));
    }
    assert_eq!(seen, model.known, "{what}");
    // Each order has each of them once, on whatever pages.
    for (sort, descending, include_deleted) in [
        (Sort::Created, false, true),
        (Sort::Updated, true, false),
        (Sort::Title, false, false),
        (Sort::Title, true, true),
    ] {
        let mut listed = Vec::new();
        for page in 1.. {
            let list = Request::List { page, limit: 3, sort, descending, include_deleted };
            let News::Page { entries, total, .. } = ask(list) else { panic!("{what}") };
            listed.extend(entries.iter().map(|entry| match entry {
                Entry::Live(note) => note.clone(),
                Entry::Gone(mark) => mark.note.clone().expect("what is listed has content"),
            }));
            if listed.len() as u64 >= total || entries.is_empty() {
                assert_eq!(listed.len() as u64, total, "{what}");
                break;
            }
        }
        let with_content = |known: &&Known| match known {
            Known::Live(..) => true,
            Known::Gone(_, _, note, _) => include_deleted && note.is_some(),
        };
        assert_eq!(listed.len(), model.known.values().filter(with_content).count(), "{what}");
        let key = |note: &Arc<Note>| match sort {
            Sort::Created => (note.created_ms, String::new(), note.id.to_string()),
            Sort::Updated => (note.updated_ms, String::new(), note.id.to_string()),
            Sort::Title => (0, note.title.to_string(), note.id.to_string()),
        };
        if descending {
            listed.reverse();
        }
        assert!(listed.is_sorted_by_key(key), "{what}: {sort:?}");
    }
    desk.effects(Input::Leave(asker));
}

#[test]
fn random_devices_leave_what_the_model_says() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..ROUNDS {
        let (mut desk, mut model) = (Desk::new(Limits::default()), Model::default());
        let mut is_joined = false;
        for step in 0..STEPS {
            let what = format!("seed {seed}, round {round}, step {step}");
            if !std::mem::replace(&mut is_joined, true) {
                for device in 0..DEVICES {
                    desk.run(&format!("D{device} joins as d{device}"));
                }
            }
            // Mostly forward, at times back, and now and then by weeks.
            desk.now_ms = match random.u8(..40) {
                0 => desk.now_ms + random.u64(..20) * 24 * 3_600_000,
                1 => (desk.now_ms - 3_000).max(MORNING_MS),
                _ => desk.now_ms + random.u64(..3_000),
            };
            let now_ms = desk.now_ms;
            desk.run("tick");
            model.forget(now_ms);
            let (device, id) = (random.u64(..DEVICES), format!("n{}", random.u64(..IDS)));
            let (writer, at) = (format!("d{device}"), now_ms as i64 + random.i64(-5_000..5_000));
            let member = format!("D{device}");
            let published = match random.u8(..10) {
                0..5 => {
                    let (title, made) = (format!("t{}", random.u8(..5)), random.i64(-100..100));
                    let accepted = model.put(&id, &title, made, at, &writer, now_ms);
                    let request = Request::Put { note: note(&id, &title, Some(made), Some(at)), answered: false };
                    (accepted, desk.effects(Input::Notes(member_id(&desk, device), request)))
                }
                5..8 => {
                    let was_live = matches!(model.known.get(&id), Some(Known::Live(..)));
                    let accepted = model.delete(&id, at, now_ms);
                    let request = Request::Delete { id: id.as_str().into(), at_ms: Some(at), answered: false };
                    (accepted && was_live, desk.effects(Input::Notes(member_id(&desk, device), request)))
                }
                8 => {
                    let accepted = model.restore(&id, &writer, now_ms);
                    let request = Request::Restore { id: id.as_str().into() };
                    (accepted, desk.effects(Input::Notes(member_id(&desk, device), request)))
                }
                _ => {
                    if random.bool() {
                        desk.compact();
                    }
                    desk.restart();
                    is_joined = false;
                    compare(&mut desk, &model, &what);
                    continue;
                }
            };
            let (expected, effects) = published;
            let is_published = effects.iter().any(|effect| matches!(effect, Effect::Publish { .. }));
            assert_eq!(is_published, expected, "{what}: {member} {id} {effects:?}");
            // What is told beside that is told to who has asked only.
            let others = effects.iter().filter(|effect| match effect {
                Effect::Send(member, _) => *member != member_id(&desk, device),
                Effect::Append(_) | Effect::Publish { .. } => false,
                Effect::Place(_) | Effect::Close(..) | Effect::Ask(_) => true,
            });
            assert_eq!(others.count(), 0, "{what}: {effects:?}");
        }
        compare(&mut desk, &model, &format!("seed {seed}, round {round}, at the end"));
        // The log still has marks that are too old by now.
        desk.run("tick");
        let before = desk.notebook.snapshot();
        desk.restart();
        desk.run("tick");
        assert!(desk.notebook.snapshot() == before, "seed {seed}, round {round}: the log says something else");
        desk.compact();
        desk.restart();
        assert!(desk.notebook.snapshot() == before, "seed {seed}, round {round}: the snapshot says something else");
    }
}

/// The devices join one after the other, after each restart anew.
fn member_id(desk: &Desk, device: u64) -> MemberId {
    desk.member(&format!("D{device}"))
}

//! A notebook with all the notes that it may have: loading, the decision what a newcomer is sent, writes, lists; and reading what clients send.
//!
//! `cargo bench -p bench --bench notebook`. Says at the start what a note takes in memory beside its text.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dialect::{Act, Entry, Frame};
use document::MessageLimits;
use room::notebook::{NewNote, Request, Sort};
use room::{Access, Change, Effect, Effects, Input, Kind, Limits, MemberId, Notebook, Rules, Stored};

const NOTES: u32 = 100_000;
const NOW_MS: u64 = 1_737_124_059_502;
const MEMBER: MemberId = MemberId(1);

/// A note of about 400 bytes, as whose ids, titles and times are not in the same order.
fn note(number: u32, updated_ms: i64) -> NewNote {
    let shuffled = number.wrapping_mul(2_654_435_761);
    let (id, title) = (format!("note-{shuffled:010}"), format!("Shopping for {shuffled:08x}"));
    let content = "milk, bread, and whatever else there is; ".repeat(6);
    let members =
        format!("\"id\":\"{id}\",\"title\":\"{title}\",\"content\":\"{content}\",\"tags\":[\"home\",\"errands\"]");
    NewNote {
        id: id.into(),
        title: title.into(),
        created_ms: Some(i64::from(shuffled)),
        updated_ms: Some(updated_ms),
        likeness: u64::from(shuffled),
        members: members.into(),
    }
}

fn put(number: u32, updated_ms: i64) -> Input {
    Input::Notes(MEMBER, Request::Put { note: note(number, updated_ms), answered: false })
}

fn join(notebook: &mut Notebook) {
    let (kind, access) = (Kind::Client, Access::Write);
    let join = Input::Join { member: MEMBER, kind, access, author: "ann".into(), trusts_all: false };
    notebook.handle(join, NOW_MS, &mut Effects::new());
}

/// A full notebook's log.
fn log() -> Vec<Change> {
    let mut notebook = Notebook::load(&Stored::default(), Limits::default()).expect("an empty notebook");
    join(&mut notebook);
    let (mut effects, mut log) = (Effects::new(), Vec::new());
    for number in 0..NOTES {
        notebook.handle(put(number, i64::from(number)), NOW_MS + u64::from(number), &mut effects);
        notebook.handle(Input::Durable(u64::from(number) + 1), NOW_MS, &mut effects);
        log.extend(effects.drain(..).filter_map(|effect| match effect {
            Effect::Append(change) => Some(change),
            _ => None,
        }));
    }
    assert_eq!(log.len(), NOTES as usize);
    log
}

/// Resident memory of this process, in bytes. None: the system does not say.
fn resident_bytes() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<usize>().ok()? * 4_096)
}

/// Says what a note takes. First of all, while no memory lies about that was used for something else.
fn memory() {
    let mut notebook = Notebook::load(&Stored::default(), Limits::default()).expect("an empty notebook");
    join(&mut notebook);
    let (mut effects, before) = (Effects::new(), resident_bytes());
    for number in 0..NOTES {
        notebook.handle(put(number, i64::from(number)), NOW_MS, &mut effects);
        notebook.handle(Input::Durable(u64::from(number) + 1), NOW_MS, &mut effects);
        effects.clear();
    }
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let each = |bytes: usize| bytes / NOTES as usize;
        let text = note(0, 0).members.len();
        let counted = each(notebook.bytes());
        println!(
            "a note of {text} bytes takes {} of memory, and counts as {counted}",
            each(after.saturating_sub(before))
        );
    }
}

fn notebooks(criterion: &mut Criterion) {
    memory();
    let log = log();
    let snapshot = Bytes::from(Notebook::squash(None, &log, &room::Limits::default(), NOW_MS).expect("a snapshot"));
    let from_log = Stored { head: log.len() as u64, durable: log.len() as u64, changes: log, ..Stored::default() };
    let from_snapshot = Stored { snapshot: Some(snapshot.clone()), changes: Vec::new(), ..from_log.clone() };
    let load = |stored: &Stored| Notebook::load(stored, Limits::default()).expect("a notebook");
    let mut notebook = load(&from_snapshot);
    join(&mut notebook);
    let mut effects = Effects::new();
    let mut group = criterion.benchmark_group("100,000 notes");
    group.sample_size(20);
    group.bench_function("load from a snapshot", |bencher| bencher.iter(|| load(&from_snapshot)));
    group.bench_function("load from the log", |bencher| bencher.iter(|| load(&from_log)));
    group.bench_function("make a snapshot", |bencher| {
        bencher.iter(|| Notebook::squash(Some(&snapshot), [], &room::Limits::default(), NOW_MS).expect("a snapshot"));
    });
    let ask = |notebook: &mut Notebook, effects: &mut Effects, request: &Request| {
        notebook.handle(Input::Notes(MEMBER, request.clone()), NOW_MS, effects);
        effects.clear();
    };
    let last_ms = NOW_MS + u64::from(NOTES);
    let list = |page, sort| Request::List { page, limit: 20, sort, descending: true, include_deleted: false };
    let questions = [
        ("replay: too much", Request::Replay { since_ms: None }),
        ("replay: too much since a time", Request::Replay { since_ms: Some(NOW_MS) }),
        ("replay: 1,000 since a time", Request::Replay { since_ms: Some(last_ms - 1_000) }),
        ("list: the first page", list(1, Sort::Updated)),
        ("list: a page in the middle, by title", list(2_500, Sort::Title)),
        ("list: the last page", list(5_000, Sort::Created)),
        ("changes: all", Request::Changes { since_ms: None }),
    ];
    for (name, request) in questions {
        group.bench_function(name, |bencher| bencher.iter(|| ask(&mut notebook, &mut effects, &request)));
    }
    let mut updated_ms = i64::from(NOTES);
    group.bench_function("put: accepted", |bencher| {
        bencher.iter_batched(
            || {
                updated_ms += 1;
                put(updated_ms as u32 % NOTES, updated_ms)
            },
            |input| {
                let head = notebook.head();
                notebook.handle(input, last_ms, &mut effects);
                notebook.handle(Input::Durable(head + 1), last_ms, &mut effects);
                assert!(notebook.head() > head);
                effects.clear();
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("put: refused", |bencher| {
        bencher.iter_batched(
            || put(7, 0),
            |input| {
                notebook.handle(input, last_ms, &mut effects);
                effects.clear();
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a message with a note");
    for (name, content_bytes) in [("of 400 bytes", 250), ("of 10 MiB", 10 << 20)] {
        // Text as editors write it: an escape now and then.
        let content: String =
            "<p class=\\\"x\\\">milk, bread, \u{e9}</p>\\n".chars().cycle().take(content_bytes / 20 * 19).collect();
        let content = content.trim_end_matches(['\\', '"']);
        let json = format!(
            "{{\"type\":\"note_update\",\"payload\":{{\"note\":{{\"id\":\"n\",\"title\":\"t\",\"content\":\"{content}\",\"tags\":[\"home\"],\"createdAt\":\"2025-01-17T14:00:00.000Z\",\"updatedAt\":\"2025-01-17T14:00:00.000Z\"}}}},\"timestamp\":\"2025-01-17T14:00:00.000Z\"}}"
        );
        group.throughput(Throughput::Bytes(json.len() as u64));
        let (frame, limits, user) = (Frame::text(json), MessageLimits::default(), "ann".into());
        let entry = Entry {
            member: MEMBER,
            limits: &limits,
            user: &user,
            name: "ann",
            room: "ann",
            presence_id: None,
            updates_per_s: None,
            may_read: true,
            since_ms: None,
            now_ms: NOW_MS,
            chance: 0,
        };
        let (mut session, mut acts, mut now_ms) = (dialect::NOTES.session(&entry), Vec::new(), NOW_MS);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // As fast as it may come.
                now_ms += 20;
                session.receive(frame.clone(), now_ms, &mut acts);
                assert!(matches!(acts.pop(), Some(Act::Room(_))));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, notebooks, messages);
criterion_main!(benches);

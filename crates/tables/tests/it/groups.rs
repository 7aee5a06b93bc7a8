//! Writes of a room: which of them share a commit, what a bad one does to the others, what a full room does, and what waits in memory.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tables::{Outcome, Settings, Tables};

use crate::world::{Folder, World, files, text, wait};

/// Holds the room's writer in the answer to a first write until the returned end is dropped; so what is submitted meanwhile waits together.
pub(crate) fn hold(world: &World, room: &str) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let call = world.call("holder", "createTask", r#"{"title":"first"}"#);
    let done = move |_: Outcome| {
        let _ = tell.send(());
        let _ = held.recv();
    };
    world.tables.submit(room, call, Box::new(done));
    told.recv().expect("the first write is done");
    release
}

#[test]
fn writes_that_wait_share_one_commit_and_are_answered_in_order() {
    let world = World::new();
    let release = hold(&world, "r");
    let before = world.tables.counts().commits;
    let (tell, told) = mpsc::channel();
    for number in 0..100 {
        let tell = tell.clone();
        let call = world.call("ann", "createTask", &format!(r#"{{"title":"{number}"}}"#));
        world.tables.submit("r", call, Box::new(move |outcome| drop(tell.send((number, text(&outcome.answer))))));
    }
    drop(release);
    for number in 0..100 {
        let (answered, answer) = told.recv().expect("an answer");
        assert_eq!(answered, number);
        assert!(answer.contains(&format!(r#""title":"{number}""#)), "{answer}");
    }
    assert_eq!(world.tables.counts().commits - before, 1);
}

#[test]
fn small_inserts_that_wait_share_one_commit_and_large_ones_have_their_own() {
    let world = World::new();
    world.says("ann", "createTable", r#"{"tableName":"t","columns":[{"name":"n","unique":true}]}"#);
    let release = hold(&world, "r");
    let before = world.tables.counts().commits;
    let insert = |number: usize| {
        // Every tenth breaks the constraint, and every seventh has one row that does.
        let more = if number.is_multiple_of(7) { r#",{"n":"0"}"# } else { "" };
        let number = if number.is_multiple_of(10) { 0 } else { number };
        world.submit(
            "r",
            world.call("ann", "batchInsert", &format!(r#"{{"table":"t","rows":[{{"n":"{number}"}}{more}]}}"#)),
        )
    };
    let waiting: Vec<_> = (0..60).map(insert).collect();
    let rows: Vec<String> = (100..151).map(|number| format!(r#"{{"n":"{number}"}}"#)).collect();
    let large =
        world.submit("r", world.call("ann", "batchInsert", &format!(r#"{{"table":"t","rows":[{}]}}"#, rows.join(","))));
    drop(release);
    for (number, told) in waiting.iter().enumerate() {
        let answer = text(&wait(told).answer);
        let is_refused = number > 0 && number.is_multiple_of(10);
        assert_eq!(answer.starts_with("! No rows were inserted"), is_refused, "{number}: {answer}");
        let has_errors = number.is_multiple_of(7) || is_refused;
        assert_eq!(answer.contains("UNIQUE constraint failed"), has_errors, "{number}: {answer}");
    }
    assert_eq!(text(&wait(&large).answer), r#"done {"inserted":51,"total":51,"errors":[]}"#);
    assert_eq!(world.tables.counts().commits - before, 3, "one for all small ones, and two groups");
    assert_eq!(world.rows("ann", "SELECT count(*) AS n FROM t"), r#"[{"n":106}]"#);
}

#[test]
fn a_batch_is_as_long_as_allowed() {
    let world = World::with(|settings| settings.batch_calls_max = 10);
    let release = hold(&world, "r");
    let before = world.tables.counts().commits;
    let waiting: Vec<_> = (0..95).map(|_| world.submit("r", world.call("ann", "createTask", "{}"))).collect();
    drop(release);
    waiting.iter().for_each(|told| drop(wait(told)));
    assert_eq!(world.tables.counts().commits - before, 10);
}

#[test]
fn a_write_that_fails_leaves_the_others_of_its_batch() {
    let mut world = World::new();
    world.says("ann", "createTable", r#"{"tableName":"t","columns":[{"name":"n","unique":true}]}"#);
    world.says("ann", "batchInsert", r#"{"table":"t","rows":[{"n":"1"},{"n":"2"}]}"#);
    world.now_ms += 60_000;
    let release = hold(&world, "r");
    let waiting: Vec<_> = [
        ("updateRow", r#"{"table":"t","id":1,"field":"n","value":"3"}"#),
        ("updateRow", r#"{"table":"t","id":1,"field":"n","value":"2"}"#),
        ("createTable", r#"{"tableName":"u","columns":[{"name":"a"},{"name":"a"}]}"#),
        ("createTable", r#"{"tableName":"u","columns":[{"name":"a"}]}"#),
        ("batchInsert", r#"{"table":"u","rows":[{"a":"x"}]}"#),
        ("updateRow", r#"{"table":"u","id":1,"field":"a","value":"y"}"#),
    ]
    .map(|(method, payload)| world.submit("r", world.call("ann", method, payload)))
    .into_iter()
    .collect();
    drop(release);
    let answers: Vec<String> = waiting.iter().map(|told| text(&wait(told).answer)).collect();
    assert_eq!(answers[0], r#"done {"id":1,"n":"3"}"#);
    assert_eq!(answers[1], "! UNIQUE constraint failed: t.n");
    assert_eq!(answers[2], "! Failed to create table: duplicate column name: a");
    assert!(answers[3].starts_with("done"));
    assert_eq!(answers[4], r#"done {"inserted":1,"total":1,"errors":[]}"#);
    assert_eq!(answers[5], r#"done {"id":1,"a":"y"}"#);
    assert_eq!(world.rows("ann", "SELECT n FROM t"), r#"[{"n":"3"},{"n":"2"}]"#);
}

#[test]
fn a_full_room_says_so_and_goes_on_when_there_is_space() {
    let mut world = World::with(|settings| settings.room_bytes_max = 1 << 20);
    world.says("ann", "createTable", r#"{"tableName":"t","columns":[{"name":"v"}]}"#);
    let big = "x".repeat(100_000);
    let insert = format!(r#"{{"table":"t","rows":[{{"v":"{big}"}}]}}"#);
    let mut inserted = 0;
    let answer = loop {
        let answer = world.says("ann", "batchInsert", &insert);
        if !answer.starts_with("done") {
            break answer;
        }
        inserted += 1;
        assert!(inserted < 20, "the bound is 1 MiB");
    };
    assert!(answer.starts_with("! Room database is full {\"inserted\":0"), "{answer}");
    assert!(inserted >= 7, "{inserted}");
    assert_eq!(world.rows("ann", "SELECT count(*) AS n FROM t"), format!(r#"[{{"n":{inserted}}}]"#));

    // One that is too large among small ones: those are done.
    world.now_ms += 60_000;
    let release = hold(&world, "r");
    let small = |title: &str| world.call("ann", "createTask", &format!(r#"{{"title":"{title}"}}"#));
    let large = world.call(
        "ann",
        "updateRow",
        &format!(r#"{{"table":"t","id":1,"field":"v","value":"{}"}}"#, "y".repeat(600_000)),
    );
    let waiting = [world.submit("r", small("one")), world.submit("r", large), world.submit("r", small("two"))];
    drop(release);
    let answers = waiting.map(|told| text(&wait(&told).answer));
    assert!(answers[0].starts_with("done") && answers[2].starts_with("done"), "{} {}", answers[0], answers[2]);
    assert_eq!(answers[1], "! Room database is full");
    assert_eq!(world.rows("ann", "SELECT title FROM tasks ORDER BY id"), r#"[{"title":"one"},{"title":"two"}]"#);

    assert!(world.says("ann", "deleteTable", r#"{"tableName":"t"}"#).starts_with("done"));
    world.says("ann", "createTable", r#"{"tableName":"t","columns":[{"name":"v"}]}"#);
    assert_eq!(world.says("ann", "batchInsert", &insert), r#"done {"inserted":1,"total":1,"errors":[]}"#);
}

/// The disk refuses what goes beyond a length of file: writes say so, and what was answered before and after is there.
#[cfg(unix)]
#[test]
fn a_disk_that_takes_no_more_loses_nothing_that_was_answered() {
    const NAME: &str = "groups::a_disk_that_takes_no_more_loses_nothing_that_was_answered";
    const FOLDER: &str = "TABLES_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let mut settings = Settings::new(folder);
        (settings.usage_ms, settings.open_max) = (3_600_000, 1);
        let tables = Tables::open(settings).expect("the folder can be used");
        let world = World { tables, ..World::new() };
        world.says("ann", "createTable", r#"{"tableName":"t","columns":[{"name":"v"}]}"#);
        let insert = format!(r#"{{"table":"t","rows":[{{"v":"{}"}}]}}"#, "x".repeat(40_000));
        let (mut done, mut refused) = (0, 0);
        while refused < 5 && done < 1_000 {
            match world.says("ann", "batchInsert", &insert) {
                answer if answer.starts_with("done") => done += 1,
                answer => {
                    refused += 1;
                    assert!(answer.contains("disk"), "{answer}");
                    assert_eq!(world.rows("ann", "SELECT count(*) AS n FROM t"), format!(r#"[{{"n":{done}}}]"#));
                }
            }
        }
        println!("done={done} refused={refused}");
        // The process ends here as if it were killed; only the folder that it did not use goes.
        std::fs::remove_dir_all(world.folder.path()).expect("the folder is gone");
        std::process::exit(0);
    }
    let folder = Folder::new();
    let this = std::env::current_exe().expect("this test");
    // A signal that the shell ignores is ignored by what it starts: the write then fails, and the process lives.
    let script = r#"trap '' XFSZ; ulimit -f 2000; exec "$0" --exact "$1" --nocapture"#;
    let mut command = std::process::Command::new("sh");
    let output =
        command.args(["-c", script]).arg(this).arg(NAME).env(FOLDER, folder.path()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let done: u32 = said.split("done=").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a count");
    assert!(done > 5 && said.contains("refused=5"), "{said}");
    let world = World::on(folder, |_| {});
    assert_eq!(world.rows("ann", "SELECT count(*) AS n FROM t"), format!(r#"[{{"n":{done}}}]"#));
    assert!(world.says("ann", "createTask", "{}").starts_with("done"));
}

#[test]
fn values_above_the_bound_are_refused_in_words() {
    let world = World::with(|settings| settings.value_bytes_max = 10_000);
    world.says("ann", "createTask", r#"{"title":"a"}"#);
    let update = format!(r#"{{"table":"tasks","id":1,"field":"title","value":"{}"}}"#, "x".repeat(10_001));
    assert_eq!(world.says("ann", "updateRow", &update), "! string or blob too big");
    assert_eq!(world.rows("ann", "SELECT title FROM tasks"), r#"[{"title":"a"}]"#);
}

#[test]
fn reads_write_nothing() {
    let world = World::new();
    world.says("ann", "createTask", "{}");
    let before = world.tables.counts().commits;
    for _ in 0..20 {
        world.says("ann", "listTasks", "");
        world.says("ann", "getSchema", "");
        world.says("ann", "getUsage", "");
        world.rows("ann", "SELECT * FROM tasks");
    }
    assert_eq!(world.tables.counts().commits, before);
}

/// What is on disk under a key.
fn stored(folder: &Folder, key: &str) -> Option<String> {
    let file = files(folder.path())
        .into_iter()
        .map(|(path, _)| path)
        .find(|path| path.extension().is_some_and(|end| end == "db"));
    let db = Connection::open(file?).expect("it can be opened");
    db.query_row("SELECT value FROM _debounced_state WHERE key = ?1", [key], |row| row.get(0)).ok()
}

#[test]
fn many_debounced_changes_are_one_write() {
    let world = World::with(|settings| settings.debounce_ms = 1_500);
    world.says("ann", "getSchema", "");
    let before = world.tables.counts().commits;
    for number in 0..100 {
        world.says("ann", "updateDebounced", &format!(r#"{{"key":"k{}","value":{{"n":{number}}}}}"#, number % 3));
    }
    let start = Instant::now();
    while world.tables.counts().commits == before && start.elapsed() < Duration::from_secs(60) {
        std::thread::yield_now();
    }
    assert_eq!(world.tables.counts().commits - before, 1);
    assert_eq!(stored(&world.folder, "k0").as_deref(), Some(r#"{"n":99}"#));
    assert_eq!(stored(&world.folder, "k1").as_deref(), Some(r#"{"n":97}"#));
}

#[test]
fn debounced_values_are_bounded_and_flushed_at_once_when_asked() {
    let world = World::with(|settings| settings.debounced_bytes_max = 1_000);
    let put = |key: &str, length: usize| {
        world.says("ann", "updateDebounced", &format!(r#"{{"key":"{key}","value":"{}"}}"#, "x".repeat(length)))
    };
    assert_eq!(put("a", 700), "done Update queued for flush");
    assert_eq!(put("b", 700), "! Memory limit reached. Please wait for pending writes to flush.");
    assert_eq!(put("a", 800), "done Update queued for flush", "it takes the other's place");
    assert_eq!(stored(&world.folder, "a"), None);
    assert_eq!(world.says("ann", "flushDebounced", ""), "done Debounced writes flushed to SQLite");
    assert_eq!(stored(&world.folder, "a").map(|value| value.len()), Some(802));
    assert_eq!(put("b", 700), "done Update queued for flush");
    world.tables.close().expect("all is written");
    assert_eq!(stored(&world.folder, "b").map(|value| value.len()), Some(702));
}

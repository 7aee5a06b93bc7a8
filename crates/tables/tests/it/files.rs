//! Databases as files: how many are open, what a kill leaves, what a broken one says, how they are listed and removed.

use std::sync::mpsc;

use tables::{Durability, Outcome};

use crate::groups::hold;
use crate::world::{Folder, World, files, text, wait};

#[test]
fn what_was_answered_is_there_after_a_kill() {
    for durability in [Durability::Synced, Durability::Written] {
        let world = World::with(|settings| settings.durability = durability);
        let waiting: Vec<_> = (0..90)
            .map(|number| world.submit("r", world.call("ann", "createTask", &format!(r#"{{"title":"{number}"}}"#))))
            .collect();
        waiting.iter().for_each(|told| assert!(text(&wait(told).answer).starts_with("done")));
        // What a killed process leaves: the files as they are, the log not written into the database, nothing closed.
        let left = Folder::new();
        for (path, bytes) in files(world.folder.path()) {
            if !path.to_string_lossy().ends_with("-shm") {
                std::fs::write(left.path().join(path.file_name().expect("a file")), bytes).expect("a copy");
            }
        }
        assert!(
            files(left.path())
                .iter()
                .any(|(path, bytes)| path.to_string_lossy().ends_with("-wal") && !bytes.is_empty())
        );
        let world = World::on(left, |_| {});
        assert!(world.says("ann", "listTasks", "").contains(" total 90 "));
        assert!(world.says("ann", "createTask", r#"{"title":"next"}"#).contains(r#""id":91"#));
    }
}

#[test]
fn a_table_is_there_after_a_restart() {
    let mut world = World::new();
    world.says("ann", "createTable", r#"{"tableName":"people","columns":[{"name":"name"}]}"#);
    let schema = world.says("ann", "getSchema", "");
    world.tables.close().expect("all is written");
    assert!(
        files(world.folder.path()).iter().all(|(path, _)| path.extension().is_some_and(|end| end == "db")),
        "no log is left"
    );
    let folder = std::mem::replace(&mut world.folder, Folder::new());
    let world = World::on(folder, |_| {});
    assert_eq!(world.says("ann", "getSchema", ""), schema);
}

#[test]
fn many_rooms_share_few_open_files() {
    let world = World::with(|settings| settings.open_max = 10);
    let (tell, told) = mpsc::channel();
    let rooms: Vec<String> = (0..300).map(|number| format!("room {number}")).collect();
    for round in 0..3 {
        for room in &rooms {
            let method = if round == 1 { "listTasks" } else { "createTask" };
            let (tell, call) = (tell.clone(), world.call("ann", method, &format!(r#"{{"title":"{room}"}}"#)));
            world.tables.submit(room, call, Box::new(move |outcome| drop(tell.send(text(&outcome.answer)))));
        }
    }
    for _ in 0..900 {
        let answer = told.recv().expect("an answer");
        assert!(!answer.starts_with('!'), "{answer}");
        assert!(world.tables.open_count() <= 10, "{}", world.tables.open_count());
    }
    for room in &rooms {
        let answer = text(&world.ask(room, "ann", "executeSQL", r#"{"sql":"SELECT title FROM tasks"}"#).answer);
        assert_eq!(answer, format!(r#"[{{"title":"{room}"}},{{"title":"{room}"}}] of "SELECT title FROM tasks""#));
    }
    assert!(world.tables.open_count() <= 10);
    assert_eq!(world.tables.list().expect("a folder").len(), 300);
}

#[test]
fn a_room_in_use_is_not_closed_and_others_wait() {
    let world = World::with(|settings| settings.open_max = 1);
    let release = hold(&world, "a");
    let waiting = world.submit("b", world.call("ann", "createTask", "{}"));
    let reading = world.submit("c", world.call("ann", "listTasks", ""));
    let own = world.ask("a", "ann", "listTasks", "");
    assert!(text(&own.answer).starts_with("[]"), "the open room goes on");
    assert!(waiting.try_recv().is_err() && reading.try_recv().is_err());
    assert_eq!(world.tables.open_count(), 1);
    drop(release);
    assert!(text(&wait(&waiting).answer).starts_with("done"));
    assert!(text(&wait(&reading).answer).starts_with("[]"));
    assert_eq!(world.tables.open_count(), 1);
}

#[test]
fn a_room_that_is_closed_for_another_keeps_what_waited_in_memory() {
    let world = World::with(|settings| settings.open_max = 1);
    world.ask("a", "ann", "updateDebounced", r#"{"key":"k","value":7}"#);
    world.ask("a", "ann", "listTasks", "");
    world.ask("b", "ann", "listTasks", "");
    let path = world.folder.path().join("a.db");
    let db = rusqlite::Connection::open(path).expect("the file");
    let value: String = db.query_row("SELECT value FROM _debounced_state", [], |row| row.get(0)).expect("the value");
    assert_eq!(value, "7");
    drop(db);
    let usage = text(&world.ask("a", "ann", "getUsage", "").answer);
    assert!(usage.contains(r#""reads":1,"writes":1"#), "{usage}");
}

#[test]
fn a_broken_file_says_so_and_harms_no_other() {
    let world = World::new();
    std::fs::write(world.folder.path().join("broken.db"), "this is no database".repeat(1_000)).expect("a file");
    for method in ["createTask", "listTasks", "executeSQL", "batchInsert"] {
        let outcome = world.ask("broken", "ann", method, r#"{"sql":"SELECT 1"}"#);
        assert_eq!(text(&outcome.answer), "! Room database cannot be opened: file is not a database", "{method}");
        assert!(world.says("ann", "createTask", "{}").starts_with("done"));
    }
    assert_eq!(world.tables.open_count(), 1);
    assert!(world.tables.delete("broken").expect("it can be removed"));
    assert!(text(&world.ask("broken", "ann", "createTask", "{}").answer).starts_with("done"));
}

#[test]
fn rooms_are_removed_with_all_their_files() {
    let world = World::new();
    let long = "Ä".repeat(127);
    for room in ["a", "b", &long] {
        assert!(!world.tables.exists(room).expect("a folder"));
        world.ask(room, "ann", "createTask", r#"{"title":"x"}"#);
        assert!(world.tables.exists(room).expect("a folder"));
    }
    let listed = world.tables.list().expect("a folder");
    assert_eq!(listed.iter().map(|room| &*room.room).collect::<Vec<_>>(), ["a", "b", &long]);
    assert!(listed.iter().all(|room| room.bytes > 4_096));
    assert!(world.tables.delete("a").expect("it can be removed"));
    assert!(!world.tables.delete("a").expect("it is gone"));
    assert!(world.tables.delete(&long).expect("it can be removed"));
    assert_eq!(world.tables.list().expect("a folder").len(), 1);
    assert_eq!(world.tables.open_count(), 1);
    assert!(files(world.folder.path()).iter().all(|(path, _)| path.to_string_lossy().contains("b.db")));
    assert!(text(&world.ask("a", "ann", "listTasks", "").answer).starts_with("[]"), "it begins anew");
}

#[test]
fn a_room_is_removed_between_its_writes() {
    let world = World::new();
    let release = hold(&world, "r");
    let waiting = world.submit("r", world.call("ann", "createTask", r#"{"title":"after"}"#));
    std::thread::scope(|scope| {
        let removed = scope.spawn(|| world.tables.delete("r"));
        drop(release);
        assert!(removed.join().expect("no panic").expect("it can be removed"));
    });
    assert!(text(&wait(&waiting).answer).starts_with("done"));
}

#[test]
fn after_the_end_every_call_is_refused() {
    let world = World::new();
    let waiting: Vec<_> = (0..50).map(|_| world.submit("r", world.call("ann", "createTask", "{}"))).collect();
    world.tables.close().expect("all is written");
    waiting
        .iter()
        .for_each(|told| assert!(text(&wait(told).answer).starts_with("done"), "what was submitted is finished"));
    assert_eq!(world.says("ann", "listTasks", ""), "! Room databases are closed");
    assert_eq!(world.tables.open_count(), 0);
    world.tables.close().expect("closing again does nothing");
}

#[test]
fn names_of_rooms_have_bounds() {
    let world = World::new();
    for room in ["", &"x".repeat(256)] {
        assert_eq!(text(&world.ask(room, "ann", "listTasks", "").answer), "! A room's name has 1 to 255 bytes");
    }
    let (one, other) = ("ä".repeat(127), format!("{}ö", "ä".repeat(126)));
    world.ask(&one, "ann", "createTask", r#"{"title":"one"}"#);
    assert!(text(&world.ask(&other, "ann", "listTasks", "").answer).starts_with("[]"));
    world.tables.close().expect("all is written");
    // A file that was given the other's name says that it is not.
    let both: Vec<_> = files(world.folder.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(both.len(), 2);
    let (first, second) = (std::fs::read(&both[0]).expect("a file"), std::fs::read(&both[1]).expect("a file"));
    std::fs::write(&both[0], second).expect("a file");
    std::fs::write(&both[1], first).expect("a file");
    let World { folder, tables, .. } = world;
    drop(tables);
    let world = World::on(folder, |_| {});
    for room in [&one, &other] {
        let answer = text(&world.ask(room, "ann", "listTasks", "").answer);
        assert_eq!(answer, "! Room database cannot be opened: its file belongs to a room with another name");
    }
    assert_eq!(world.tables.list().expect("a folder"), []);
}

#[test]
fn what_waits_is_bounded() {
    let world = World::with(|settings| {
        settings.waiting_calls_max = 5;
        settings.waiting_bytes_max = 20_000;
    });
    let release = hold(&world, "r");
    let mut waiting: Vec<_> = (0..5).map(|_| world.submit("r", world.call("ann", "createTask", "{}"))).collect();
    assert_eq!(
        world.says("ann", "createTask", "{}"),
        "! Too many calls are waiting in this room. Please try again later."
    );
    assert!(text(&world.ask("other", "ann", "createTask", "{}").answer).starts_with("done"));
    let large = format!(r#"{{"title":"{}"}}"#, "x".repeat(20_000));
    let outcome = world.ask("other", "ann", "createTask", &large);
    assert_eq!(text(&outcome.answer), "! Too much is waiting for the disk. Please try again later.");
    drop(release);
    waiting.drain(..).for_each(|told| assert!(text(&wait(&told).answer).starts_with("done")));
    assert!(world.says("ann", "createTask", "{}").starts_with("done"));
}

#[test]
fn a_caller_that_panics_ends_no_thread() {
    let world = World::with(|settings| (settings.writer_threads, settings.quick_threads) = (1, 1));
    for method in ["createTask", "listTasks"] {
        for _ in 0..3 {
            world.tables.submit(
                "r",
                world.call("ann", method, "{}"),
                Box::new(|_: Outcome| panic!("a caller's own affair")),
            );
        }
        assert!(!world.says("ann", method, "{}").starts_with('!'));
    }
}

#[test]
fn the_last_owner_may_be_in_an_answer() {
    let world = World::new();
    let call = world.call("ann", "updateDebounced", r#"{"key":"k","value":7}"#);
    let World { tables, folder, .. } = world;
    let tables = std::sync::Arc::new(tables);
    let (own, (tell, told)) = (tables.clone(), mpsc::channel());
    let (release, held) = mpsc::channel::<()>();
    let done = move |outcome: Outcome| {
        let _ = held.recv();
        drop(own);
        let _ = tell.send(text(&outcome.answer));
    };
    tables.submit("r", call, Box::new(done));
    drop(tables);
    drop(release);
    assert_eq!(told.recv().as_deref(), Ok("done Update queued for flush"));
    // The log is gone when the database was closed; a test that waits a minute has failed.
    let start = std::time::Instant::now();
    let count = || std::fs::read_dir(folder.path()).expect("the folder can be read").count();
    while count() != 1 && start.elapsed().as_secs() < 60 {
        std::thread::yield_now();
    }
    let db = rusqlite::Connection::open(folder.path().join("r.db")).expect("the file");
    assert_eq!(db.query_row("SELECT value FROM _debounced_state", [], |row| row.get(0)), Ok("7".to_owned()));
}

//! Mallory tries what she can in a room with ann's rows: `testdata/attacks.txt` has what she sends and what she gets, to the letter. No byte
//! of the database may change, and no answer may have the word that only ann's rows have.

use std::fmt::Write as _;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tables::{Method, RowChange};

use crate::world::{World, change, files, text, wait};

/// Only in rows that mallory must not see.
const SECRET: &str = "KIWI";
const CASES: &str = include_str!("../../testdata/attacks.txt");

/// A room with rows of ann, of mallory, and of nobody; two tables more that are protected, one of them without owners; and an open one.
fn room() -> World {
    let mut world = World::new();
    for table in [
        r#"{"tableName":"vault","columns":[{"name":"note"},{"name":"owner_id"}]}"#,
        r#"{"tableName":"ledger","columns":[{"name":"amount"}]}"#,
        r#"{"tableName":"people","columns":[{"name":"name"}]}"#,
    ] {
        assert!(world.says("ann", "createTable", table).starts_with("done"));
    }
    for (user, method, payload) in [
        ("ann", "createTask", r#"{"title":"KIWI one"}"#),
        ("ann", "createTask", r#"{"title":"{KIWI two"}"#),
        ("mallory", "createTask", r#"{"title":"mine"}"#),
        ("mallory", "createTask", r#"{"title":"everybody's"}"#),
        ("mallory", "updateRow", r#"{"table":"tasks","id":4,"field":"owner_id","value":null}"#),
        ("ann", "batchInsert", r#"{"table":"vault","rows":[{"note":"KIWI three"},{"note":"KIWI four"}]}"#),
        ("ann", "batchInsert", r#"{"table":"ledger","rows":[{"amount":"KIWI 5"}]}"#),
        ("ann", "batchInsert", r#"{"table":"people","rows":[{"name":"Ann"}]}"#),
        ("ann", "updateDebounced", r#"{"key":"k","value":"KIWI six"}"#),
        ("ann", "flushDebounced", ""),
    ] {
        assert!(world.says(user, method, payload).starts_with("done"), "{method} {payload}");
    }
    world.rules.protected = ["Vault", "ledger"].map(str::to_owned).into();
    world
}

/// The database as it is on disk, without the file that readers mark their places in.
fn bytes(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    files(folder).into_iter().filter(|(path, _)| !path.to_string_lossy().ends_with("-shm")).collect()
}

/// All rows of all tables but the counts of usage, which a method that finds nothing changes too.
fn content(folder: &Path) -> String {
    let file =
        files(folder).into_iter().map(|(path, _)| path).find(|path| path.extension().is_some_and(|end| end == "db"));
    let db = Connection::open_with_flags(file.expect("a database"), OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("it can be read");
    let mut out = String::new();
    let mut tables = db.prepare("SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name").expect("a schema");
    let tables: Vec<(String, String)> = tables
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .expect("names and definitions");
    for (name, sql) in tables {
        writeln!(out, "{name}: {sql}").expect("a string");
        if !sql.starts_with("CREATE TABLE") || ["_usage", "_meta"].contains(&&*name) {
            continue;
        }
        let mut rows = db.prepare(&format!("SELECT * FROM \"{name}\"")).expect("a table");
        let count = rows.column_count();
        let mut rows = rows.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            let value = |at| match row.get_ref(at).expect("a value") {
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                other => format!("{other:?}"),
            };
            let values: Vec<String> = (0..count).map(value).collect();
            writeln!(out, "  {}", values.join(" | ")).expect("a string");
        }
    }
    out
}

/// The cases: what is sent, and the answer.
fn cases() -> Vec<(&'static str, &'static str)> {
    let mut cases = Vec::new();
    let mut sent = None;
    for line in CASES.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix("> ") {
            Some(attack) => sent = Some(attack),
            None => cases.push((sent.take().expect("an attack before its answer"), line)),
        }
    }
    cases
}

/// A case names a method, or is a statement.
fn parts(attack: &str) -> (&str, String) {
    match attack.split_once(' ') {
        Some((method, payload)) if Method::from_name(method).is_some() => (method, payload.to_owned()),
        _ => ("executeSQL", format!(r#"{{"sql":{},"readonly":false}}"#, crate::world::json(attack))),
    }
}

#[test]
fn mallory_sees_no_foreign_row_and_changes_no_byte() {
    let mut world = room();
    let path = world.folder.path().to_path_buf();
    let (before, content_before) = (bytes(&path), content(&path));
    assert!(content_before.contains(SECRET));
    assert!(before.iter().any(|(_, bytes)| bytes.windows(SECRET.len()).any(|word| word == SECRET.as_bytes())));

    let (mut wrong, mut statements, mut methods, mut wrote) = (String::new(), 0, 0, false);
    for (attack, expected) in cases() {
        world.now_ms += 60_000;
        let (method, payload) = parts(attack);
        let is_statement = method == "executeSQL";
        // Statements come first in the file: a method that finds nothing has a transaction with the counts of usage.
        assert!(!(wrote && is_statement), "statements come before methods");
        wrote |= !is_statement;
        *(if is_statement { &mut statements } else { &mut methods }) += 1;
        let outcome = wait(&world.submit("r", world.call("mallory", method, &payload)));
        let told: Vec<String> = outcome.changes.iter().map(|row: &RowChange| change(row)).collect();
        let got = text(&outcome.answer).replace(&format!(" of {}", crate::world::json(attack)), "");
        // What she has sent herself may come back to her.
        let got_other = got.replace(attack, "").replace("'KIWI", "'");
        assert!(!got_other.contains(SECRET), "{attack} is answered with {got}");
        assert!(told.is_empty(), "{attack} has led to {told:?}");
        if is_statement {
            assert!(bytes(&path) == before, "{attack} has changed a file");
        }
        if got != expected {
            writeln!(wrong, "> {attack}\n{got}").expect("a string");
        }
    }
    assert!(wrong.is_empty(), "other answers than in the file:\n{wrong}");
    assert_eq!(content(&path), content_before);
    assert!(statements >= 100 && methods >= 50, "{statements} statements, {methods} methods");
    world.tables.close().expect("all is written");
    assert_eq!(content(&path), content_before, "after the log went into the database");
}

//! `concord import --from`, on what the real packages have written (`crates/migrate/testdata`).

use crate::provider::{Writer, content_of};
use crate::world::{folder, memory, store_on};
use document::lib0::write_var_uint;
use server::{Migration, News, Outcome, Totals};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use store::Store;
use testkit::disk::FaultyDisk;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrate/testdata").join(name)
}

fn migration(origin: migrate::Origin, path: impl Into<PathBuf>, rooms: &[&str]) -> Migration {
    Migration { origin, path: path.into(), rooms: rooms.iter().map(|&name| name.to_owned()).collect() }
}

/// Imports, and gives what was told by name.
fn import(store: Option<&dyn Store>, migration: &Migration) -> (Totals, BTreeMap<String, Outcome>) {
    let mut told = BTreeMap::new();
    let mut tell = |outcome: &Outcome| assert!(told.insert(outcome.name.clone(), outcome.clone()).is_none());
    let totals = server::import_from(migration, store, 64 << 20, &mut tell).expect("the source can be read");
    (totals, told)
}

/// The rooms that the fixtures make, and what Yjs says is in them.
fn expected() -> Vec<(&'static str, Vec<u8>)> {
    let files = [
        ("notes", "notes"),
        ("board", "board"),
        ("typed", "typed"),
        ("waiting", "waiting"),
        ("team/plan 7 ä", "team-plan"),
    ];
    files.map(|(room, file)| (room, fs::read(testdata(&format!("expected/{file}.update"))).expect("a file"))).to_vec()
}

#[test]
fn rooms_have_what_the_other_server_had() {
    use migrate::Origin::{HocuspocusSqlite, YLeveldb, YSweet};
    let cases = [
        (HocuspocusSqlite, "hocuspocus-3.4.4.sqlite", 0),
        (HocuspocusSqlite, "hocuspocus-4.7.0.sqlite", 0),
        (YLeveldb, "y-leveldb-0.1.2", 1),
        (YLeveldb, "y-leveldb-0.2.0", 1),
        (YSweet, "y-sweet-0.9.1", 0),
    ];
    for (origin, name, failed) in cases {
        let store = memory();
        let source = migration(origin, testdata(name), &[]);
        let (totals, told) = import(Some(&*store), &source);
        assert_eq!(totals, Totals { imported: 5, readable: 0, unchanged: 1, failed }, "{name}: {told:#?}");
        for (room, mut update) in expected() {
            let room =
                if origin == YSweet { room.replace(['/', ' '], "-").replace("-ä", "") } else { room.to_owned() };
            if origin == YSweet && room == "waiting" {
                // That server drops what comes too early.
                update = b"\x01\x01\x91\x03\0\x04\x01\x01t\x05first\0".to_vec();
            }
            let exported = server::export(&*store, &room).unwrap_or_else(|error| panic!("{name}: {error}"));
            if origin == YSweet {
                // That server writes the fields of plain objects in another order.
                assert!(
                    !server::import(&*store, &room, update.clone()).expect("an update"),
                    "{name}: {room} lacks something"
                );
                let other = memory();
                assert!(server::import(&*other, "r", update).expect("an update"));
                assert!(!server::import(&*other, "r", exported).expect("an update"), "{name}: {room} has too much");
                continue;
            }
            assert_eq!(content_of(&exported), content_of(&update), "{name}: {room}");
        }
        let changes = store.open(&"doc/notes".into(), 1).expect("it opens").changes;
        assert!(!changes.is_empty() && changes.iter().all(|(_, change)| &*change.author == "import"), "{name}");

        let (again, _) = import(Some(&*store), &source);
        assert_eq!(again, Totals { unchanged: 6, failed, ..Totals::default() }, "{name}: twice");
        assert_eq!(store.open(&"doc/notes".into(), 1).expect("it opens").changes.len(), changes.len(), "{name}");
    }
}

#[test]
fn names_of_y_leveldb_are_paths_and_become_what_the_same_client_opens() {
    let store = memory();
    for wanted in ["team/plan 7 ä", "team/plan%207%20%C3%A4"] {
        let source = migration(migrate::Origin::YLeveldb, testdata("y-leveldb-0.2.0"), &[wanted]);
        let (totals, told) = import(Some(&*store), &source);
        assert_eq!(totals.imported + totals.unchanged, 1, "{told:?}");
        assert_eq!(told["team/plan 7 ä"].stored_as.as_deref(), Some("team/plan%207%20%C3%A4"));
    }
    assert_eq!(server::list(&*store).expect("a list").len(), 1);
}

#[test]
fn a_room_that_exists_is_merged_into() {
    let store = memory();
    let ours = Writer::new(9).write("ours");
    assert!(server::import(&*store, "notes", ours.clone()).expect("an update"));
    let source = migration(migrate::Origin::HocuspocusSqlite, testdata("hocuspocus-4.7.0.sqlite"), &["notes"]);
    assert_eq!(import(Some(&*store), &source).0.imported, 1);
    let both = server::export(&*store, "notes").expect("it is there");
    for update in [ours, expected()[0].1.clone()] {
        assert!(!server::import(&*store, "notes", update).expect("an update"), "it has both");
    }
    assert_eq!(content_of(&both), content_of(&server::export(&*store, "notes").expect("it is there")));
}

#[test]
fn what_failed_is_told_and_stops_nothing() {
    let store = memory();
    let source = migration(migrate::Origin::YLeveldb, testdata("y-leveldb-0.1.2"), &["damaged", "notes", "none"]);
    let (totals, told) = import(Some(&*store), &source);
    assert_eq!(totals, Totals { imported: 1, failed: 2, ..Totals::default() });
    let reason = told["damaged"].result.clone().expect_err("it is damaged");
    assert!(reason.starts_with("update 2 of 2: not a Yjs v1 update: "), "{reason}");
    let reason = told["none"].result.clone().expect_err("there is none");
    assert!(reason.starts_with("is not in ") && reason.ends_with("y-leveldb-0.1.2"), "{reason}");
    assert_eq!(server::list(&*store).expect("a list").len(), 1, "nothing of the damaged one");
}

/// A database as hocuspocus makes it, with documents of the test.
fn database(name: &str, documents: &[(&str, Vec<u8>)]) -> PathBuf {
    let path = folder(name).with_extension("sqlite");
    let _none_left_behind = fs::remove_file(&path);
    let database = rusqlite::Connection::open(&path).expect("a database");
    let table = r#"CREATE TABLE "documents" ("name" varchar(255) NOT NULL, "data" blob NOT NULL, UNIQUE(name))"#;
    database.execute_batch(table).expect("a table");
    for (name, data) in documents {
        database.execute("INSERT INTO documents VALUES (?1, ?2)", (name, data)).expect("a row");
    }
    path
}

/// Arrays in an array, each in the one before.
fn nested(depth: u64) -> Vec<u8> {
    let mut update = vec![1];
    write_var_uint(&mut update, depth);
    update.extend([7, 0]);
    for clock in 0..depth {
        match clock {
            0 => update.extend(b"\x07\x01\x01a\0"),
            _ => {
                update.extend([7, 0, 7]);
                write_var_uint(&mut update, clock - 1);
                update.push(0);
            }
        }
    }
    update.push(0);
    update
}

#[test]
fn what_the_limits_refuse_is_explained() {
    let mut kind = Writer::new(3).write("x");
    kind[4] = 11;
    let documents = [
        ("deep", nested(300)),
        ("less deep", nested(200)),
        ("kind", kind),
        ("a\u{7}b", Writer::new(1).write("x")),
        ("a/../b", Writer::new(1).write("x")),
        ("", Writer::new(1).write("x")),
    ];
    let source = migration(migrate::Origin::HocuspocusSqlite, database("import-limits", &documents), &[]);
    let store = memory();
    let (totals, told) = import(Some(&*store), &source);
    assert_eq!(totals, Totals { imported: 1, failed: 5, ..Totals::default() }, "{told:#?}");
    let cases = [
        ("deep", "types nested deeper than 256, which this server takes from nobody; docs/migrate.md says why"),
        ("kind", "content kind 11 is not supported, which this server takes from nobody; docs/migrate.md says why"),
        ("a\u{7}b", "room name contains a control character, so no client could open it"),
        ("a/../b", "room name contains a segment \".\" or \"..\", so no client could open it"),
        ("", "room name is empty, so no client could open it"),
    ];
    for (name, reason) in cases {
        assert_eq!(told[name].result, Err(reason.to_owned()), "{name:?}");
    }
    assert!(told["a\u{7}b"].to_string().starts_with("failed\ta\\u{7}b\t"), "{}", told["a\u{7}b"]);
}

#[test]
fn a_document_over_the_size_of_rooms_is_remarked_upon() {
    let source = database("import-large", &[("large", Writer::new(1).write(&"x".repeat(5_000)))]);
    let source = migration(migrate::Origin::HocuspocusSqlite, source, &[]);
    let mut told = Vec::new();
    let totals = server::import_from(&source, Some(&*memory()), 4_096, &mut |outcome| told.push(outcome.clone()));
    assert_eq!(totals.expect("it can be read").imported, 1);
    let remark = told[0].remark.as_deref().expect("a remark");
    assert!(remark.contains("limits.room_bytes_max (4096)") && remark.contains("only be read"), "{remark}");
}

#[test]
fn a_dry_run_tells_the_same_and_writes_nothing() {
    let source = migration(migrate::Origin::YSweet, testdata("y-sweet-0.9.1"), &[]);
    let (dry, told) = import(None, &source);
    assert_eq!(dry, Totals { readable: 5, unchanged: 1, ..Totals::default() });
    assert!(told.values().all(|outcome| outcome.result != Ok(News::Imported)));
    let lines: Vec<String> = told.values().map(Outcome::to_string).collect();
    assert!(lines.contains(&"readable\tnotes\t1 update\t91 bytes".to_owned()), "{lines:?}");
    assert!(lines.contains(&"empty\tempty\t0 updates\t0 bytes".to_owned()), "{lines:?}");
}

#[test]
fn what_was_told_survives_a_power_cut() {
    for seed in 0..5 {
        let disk = FaultyDisk::new();
        let store = store_on(&disk);
        let source = migration(migrate::Origin::YLeveldb, testdata("y-leveldb-0.1.2"), &[]);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut found = None;
        let mut tell = |outcome: &Outcome| {
            if outcome.result == Ok(News::Imported) && found.is_none() {
                found = Some((outcome.name.clone(), store_on(&disk.cut_power(&mut random))));
            }
        };
        // What comes after the cut cannot be written.
        let _ended_by_the_cut = server::import_from(&source, Some(&*store), 64 << 20, &mut tell);
        let (name, found) = found.expect("something was imported");
        let (_, whole) = expected().into_iter().find(|(room, _)| *room == name).expect("it is one of them");
        assert_eq!(content_of(&server::export(&*found, &name).expect("it is there")), content_of(&whole), "{name}");
    }
}

fn concord(line: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_concord")).args(line).output().expect("the binary starts")
}

#[test]
fn the_command_says_how_it_went() {
    let data = folder("import-command");
    let data = data.to_str().expect("a path");
    let (good, bad) = (testdata("hocuspocus-3.4.4.sqlite"), testdata("y-leveldb-0.1.2"));
    let (good, bad) = (good.to_str().expect("a path"), bad.to_str().expect("a path"));
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--from", "hocuspocus-sqlite", good, "--durability", "memory"], 1, ""),
        (
            &["--from", "hocuspocus-sqlite", good, "--dry-run"],
            0,
            "5 readable, nothing imported, 1 without news, 0 failed",
        ),
        (
            &["--from", "hocuspocus-sqlite", good, "--room", "board"],
            0,
            "imported\tboard\t1 update\t213 bytes\n1 imported,",
        ),
        (&["--from", "hocuspocus-sqlite", good], 0, "4 imported, 2 without news, 0 failed"),
        (&["--from", "y-leveldb", bad], 3, "0 imported, 6 without news, 1 failed"),
        (&["--from", "y-leveldb", good], 1, ""),
        (&["--from", "hocuspocus-sqlite", good, "--room", "none"], 3, "failed\tnone\tis not in "),
    ];
    for (arguments, code, words) in cases {
        let output = concord(&[&["import", "--data", data], arguments].concat());
        let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.code() == Some(code) && told.contains(words), "{arguments:?}: {told}{errors}");
        assert_eq!(errors.is_empty(), code != 1, "{arguments:?}: {errors}");
        let writes = !arguments.contains(&"--dry-run") && !arguments.contains(&"memory");
        assert_eq!(Path::new(data).exists(), writes, "{arguments:?}");
    }
    let rooms = concord(&["rooms", "--data", data]);
    assert_eq!(String::from_utf8_lossy(&rooms.stdout).lines().count(), 5);
}

//! What the real packages have written, read back; and what is left of it when bytes are flipped.

use document::{Document, MessageLimits, RoomLimits, Update};
use migrate::{Found, Origin, Unreadable};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// A fixture that a test may change; nothing of an earlier run is left.
fn copy_of(name: &str, as_name: &str) -> PathBuf {
    let (from, to) = (testdata(name), Path::new(env!("CARGO_TARGET_TMPDIR")).join(as_name));
    let _none_left_behind = fs::remove_dir_all(&to);
    copy(&from, &to);
    to
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).expect("a file can be copied");
        return;
    }
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        copy(&path, &to.join(path.file_name().expect("a name")));
    }
}

/// Each document of the fixtures, with all its updates in one.
fn expected() -> BTreeMap<&'static str, Vec<u8>> {
    let files = [
        ("notes", "notes"),
        ("board", "board"),
        ("typed", "typed"),
        ("waiting", "waiting"),
        ("team/plan 7 ä", "team-plan"),
    ];
    files.map(|(name, file)| (name, fs::read(testdata(&format!("expected/{file}.update"))).expect("a file"))).into()
}

fn document(updates: &[Vec<u8>]) -> Document {
    let mut document = Document::new(RoomLimits::default());
    for update in updates {
        document.add(&Update::validate(update, &MessageLimits::default()).expect("an update"), 0);
    }
    document
}

/// Neither has anything that the other lacks.
fn assert_same(name: &str, found: &[Vec<u8>], expected: &[u8]) {
    let expected = [expected.to_vec()];
    for (all, more) in [(found, &expected[..]), (&expected, found)] {
        let mut document = document(all);
        for update in more {
            let added = document.add(&Update::validate(update, &MessageLimits::default()).expect("an update"), 0);
            assert_eq!((added.parts, added.parked), (vec![], None), "{name} differs");
        }
    }
    assert_eq!(document(found).state_vector(), document(&expected).state_vector(), "{name}");
}

fn read(origin: Origin, path: &Path) -> BTreeMap<String, Result<Vec<Vec<u8>>, Unreadable>> {
    let documents = origin.open(path).unwrap_or_else(|error| panic!("{error}"));
    let mut all = BTreeMap::new();
    for Found { name, content } in documents {
        assert!(all.insert(name.clone(), content).is_none(), "{name} came twice");
    }
    all
}

#[test]
fn hocuspocus_databases() {
    for file in ["hocuspocus-3.4.4.sqlite", "hocuspocus-4.7.0.sqlite", "hocuspocus-4.7.0-wal/documents.sqlite"] {
        // Beside a write-ahead log SQLite makes a file of shared memory.
        let folder =
            copy_of(file.split_once('/').map_or(file, |(folder, _)| folder), file.split('/').next().expect("one"));
        let path = file.split_once('/').map_or(folder.clone(), |(_, file)| folder.join(file));
        let mut found = read(Origin::HocuspocusSqlite, &path);
        for (name, update) in expected() {
            assert_same(name, &found.remove(name).expect(name).expect(name), &update);
        }
        assert_eq!(found, [("empty".to_owned(), Ok(vec![vec![0, 0]]))].into(), "{file}");
    }
}

#[test]
fn y_leveldb_folders() {
    for folder in ["y-leveldb-0.1.2", "y-leveldb-0.2.0"] {
        let mut found = read(Origin::YLeveldb, &testdata(folder));
        for (name, update) in expected() {
            let stored = name.replace(' ', "%20").replace('ä', "%C3%A4");
            assert_same(name, &found.remove(&stored).expect(name).expect(name), &update);
        }
        let damaged = found.remove("damaged").expect("damaged").expect("it can be read, and is no update");
        assert_eq!((damaged.len(), &damaged[1]), (2, &vec![1, 2, 3]));
        // The one that was deleted is gone, and entries beside the documents are none.
        assert_eq!(found, [("empty".to_owned(), Ok(vec![vec![0, 0]]))].into(), "{folder}");
    }
}

#[test]
fn y_sweet_folders() {
    let mut found = read(Origin::YSweet, &testdata("y-sweet-0.9.1"));
    for (name, update) in expected() {
        let stored = name.replace(['/', ' '], "-").replace("-ä", "");
        let content = found.remove(&stored).expect(name).expect(name);
        if name == "waiting" {
            // That server took the update that came too early, and stored only what came before it.
            assert_eq!(content, [b"\x01\x01\x91\x03\0\x04\x01\x01t\x05first\0".to_vec()]);
            continue;
        }
        assert_same(name, &content, &update);
    }
    assert_eq!(found, [("empty".to_owned(), Ok(vec![]))].into());
}

#[test]
fn strange_entries_of_a_y_sweet_folder_do_not_hide_the_others() {
    let folder = copy_of("y-sweet-0.9.1", "strange-y-sweet");
    fs::create_dir(folder.join("lost+found")).expect("a folder");
    fs::write(folder.join("notes.txt"), "x").expect("a file");
    fs::write(folder.join(".hidden"), "x").expect("a file");
    let cut = fs::read(folder.join("notes/data.ysweet")).expect("a file");
    fs::write(folder.join("notes/data.ysweet"), &cut[..cut.len() - 1]).expect("a file");
    let found = read(Origin::YSweet, &folder);
    let none = Unreadable::Place("is not a document: there is no data.ysweet in it".to_owned());
    let damaged = Unreadable::Document("data.ysweet is damaged: it ends too early".to_owned());
    for (name, reason) in [("lost+found", &none), ("notes.txt", &none), ("notes", &damaged)] {
        assert_eq!(found[name].as_ref().expect_err(name), reason);
    }
    assert_eq!(found.values().filter(|content| content.is_ok()).count(), 5, "{:?}", found.keys());
}

/// All files below, with their bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    all
}

#[test]
fn sources_are_left_as_they_were() {
    let cases = [
        (Origin::YLeveldb, "y-leveldb-0.1.2", ""),
        (Origin::YSweet, "y-sweet-0.9.1", ""),
        (Origin::HocuspocusSqlite, "hocuspocus-4.7.0-wal", "documents.sqlite"),
    ];
    for (origin, name, file) in cases {
        let folder = copy_of(name, &format!("untouched-{name}"));
        let before = files(&folder);
        assert!(read(origin, &folder.join(file)).len() > 4);
        let mut after = files(&folder);
        // It stays where a reader makes it, and says nothing.
        after.remove(&folder.join("documents.sqlite-shm"));
        assert_eq!(before, after, "{name}");
    }
}

/// Reads a fixture with one flipped byte, many times: what is told as readable is right, or the damage is told.
#[test]
fn flipped_bytes_of_a_leveldb_are_told() {
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let whole = read(Origin::YLeveldb, &testdata("y-leveldb-0.1.2"));
    let (mut refused, mut told, mut without_effect) = (0, 0, 0);
    for round in 0..400 {
        let folder = copy_of("y-leveldb-0.1.2", "flipped-y-leveldb");
        let (path, mut bytes) = random.choice(files(&folder)).expect("there are files");
        if bytes.is_empty() {
            continue;
        }
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u8(..8);
        fs::write(&path, bytes).expect("a file can be written");
        let Ok(documents) = Origin::YLeveldb.open(&folder) else {
            refused += 1;
            continue;
        };
        let found: BTreeMap<_, _> = documents.map(|found| (found.name, found.content)).collect();
        if found == whole {
            without_effect += 1;
            continue;
        }
        let places: Vec<_> = found.iter().filter(|(_, content)| content.is_err()).collect();
        assert!(!places.is_empty(), "round {round}: byte {at} of {path:?} changed what was read, and nobody was told");
        if path.extension().is_some_and(|end| end == "ldb") {
            // A table has an order, so what is told as whole is whole.
            let wrong = found.iter().find(|(name, content)| content.is_ok() && whole.get(*name) != Some(content));
            assert_eq!(wrong, None, "round {round}: byte {at} of {path:?}");
        }
        told += 1;
    }
    assert!(
        refused > 50 && told > 100 && without_effect < 100,
        "{refused} refused, {told} told, {without_effect} without effect"
    );
}

#[test]
fn flipped_and_cut_files_never_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    for (origin, name) in [(Origin::HocuspocusSqlite, "hocuspocus-3.4.4.sqlite"), (Origin::YSweet, "y-sweet-0.9.1")] {
        for round in 0..200 {
            let source = copy_of(name, &format!("flipped-{name}"));
            let victim =
                if source.is_file() { source.clone() } else { random.choice(files(&source)).expect("files").0 };
            let mut bytes = fs::read(&victim).expect("a file");
            let at = random.usize(..bytes.len());
            if round % 4 == 0 {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << random.u8(..8);
            }
            fs::write(&victim, &bytes).expect("a file can be written");
            if let Ok(documents) = origin.open(&source) {
                let _readable = documents.filter(|found| found.content.is_ok()).count();
            }
        }
    }
}

#[test]
fn rows_that_are_no_documents_do_not_hide_the_others() {
    let path = copy_of("hocuspocus-3.4.4.sqlite", "odd-rows.sqlite");
    let database = rusqlite::Connection::open(&path).expect("a database");
    let rows = "INSERT INTO documents VALUES ('text', 'abc'), (x'ff', x'0000'), ('last', x'0000')";
    database.execute_batch(rows).expect("rows can be added");
    drop(database);
    let found = read(Origin::HocuspocusSqlite, &path);
    let reason = |name: &str| found[name].as_ref().expect_err(name).to_string();
    assert_eq!(found.len(), expected().len() + 4);
    assert_eq!(reason("text"), "is not a document: its data is Text and not a blob");
    assert!(
        found.iter().any(|(name, content)| name.starts_with("row ") && matches!(content, Err(Unreadable::Place(_))))
    );
    assert_eq!(found["last"], Ok(vec![vec![0, 0]]));
}

#[test]
fn a_database_that_a_server_writes_can_be_read() {
    let path = copy_of("hocuspocus-3.4.4.sqlite", "live.sqlite");
    let server = rusqlite::Connection::open(&path).expect("a database");
    server.execute_batch("PRAGMA journal_mode = WAL; INSERT INTO documents VALUES ('new', x'0000')").expect("a row");
    assert!(read(Origin::HocuspocusSqlite, &path).contains_key("new"), "it is in the write-ahead log only");
    drop(server);
    assert!(!path.with_extension("sqlite-wal").exists(), "it is closed");
    assert!(read(Origin::HocuspocusSqlite, &path).contains_key("new"), "opened as immutable");
    assert!(!path.with_extension("sqlite-wal").exists() && !path.with_extension("sqlite-shm").exists());
}

#[test]
fn a_database_in_the_middle_of_a_write_is_not_taken_for_whole() {
    let path = copy_of("hocuspocus-3.4.4.sqlite", "written.sqlite");
    let server = rusqlite::Connection::open(&path).expect("a database");
    // A cache of one page: the change is in the file long before it is committed.
    server.execute_batch("PRAGMA cache_size = 1; BEGIN").expect("a transaction");
    for number in 0..50 {
        server.execute("INSERT INTO documents VALUES (?1, zeroblob(5000))", [format!("x{number}")]).expect("a row");
    }
    let torn = path.with_file_name("torn.sqlite");
    for end in ["", "-journal"] {
        let named = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        fs::copy(named(&path), named(&torn)).expect("both files are there");
    }
    let error = Origin::HocuspocusSqlite.open(&torn).err().expect("nothing of it counts yet").to_string();
    assert!(error.contains("in the middle of a write") && error.contains("sqlite3 FILE .tables"), "{error}");
}

#[test]
fn what_is_something_else_is_said_in_words() {
    let empty = copy_of("expected", "empty-folder");
    let strange = copy_of("hocuspocus-3.4.4.sqlite", "strange.sqlite");
    rusqlite::Connection::open(&strange)
        .expect("a database")
        .execute_batch("ALTER TABLE documents RENAME TO x")
        .expect("done");
    let no_manifest = copy_of("y-leveldb-0.1.2", "no-manifest");
    fs::write(no_manifest.join("CURRENT"), "../x\n").expect("a file");
    let no_table = copy_of("y-leveldb-0.1.2", "no-table");
    fs::remove_file(no_table.join("000005.ldb")).expect("a file");
    let cases = [
        (Origin::HocuspocusSqlite, testdata("none"), "cannot read"),
        (Origin::HocuspocusSqlite, testdata("expected/expected.json"), "not an SQLite database"),
        (Origin::HocuspocusSqlite, strange, "no table documents"),
        (Origin::YLeveldb, testdata("none"), "cannot read"),
        (Origin::YLeveldb, empty.clone(), "no file CURRENT"),
        (Origin::YLeveldb, no_manifest, "does not name a manifest; LevelDB can repair"),
        (Origin::YSweet, testdata("none"), "cannot read"),
        (Origin::YSweet, empty, "no folder in it has a file data.ysweet"),
        (Origin::YSweet, testdata("y-sweet-0.9.1/notes"), "name the folder above it"),
    ];
    for (origin, path, words) in cases {
        let error = origin.open(&path).err().unwrap_or_else(|| panic!("{path:?} was opened")).to_string();
        assert!(error.contains(words), "{path:?}: {error}");
    }
    let found = read(Origin::YLeveldb, &no_table);
    assert!(matches!(&found["000005.ldb"], Err(Unreadable::Place(_))), "{found:?}");
}

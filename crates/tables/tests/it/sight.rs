//! Whose rows are seen and changed by whom: by methods, statements, changes, with permissions, and in files that hold more than methods make.

use std::sync::Arc;

use rusqlite::Connection;
use tables::Answer;

use crate::world::{World, changes, files, text};

fn permit(world: &mut World, table: &str, user: &str, may_write: bool) {
    let entries = if may_write { &mut world.rules.writers } else { &mut world.rules.readers };
    entries.entry(table.to_owned()).or_default().insert(Arc::from(user));
}

#[test]
fn nobody_else_sees_or_changes_a_task() {
    let world = World::new();
    let made = world.ask("r", "ann", "createTask", r#"{"title":"a"}"#);
    let row = r#"{"id":1,"title":"a","status":"pending","vector_status":"pending","owner_id":"ann","user_id":"ann"}"#;
    assert_eq!(changes(&made), [format!("+ tasks {row} for ann")]);
    assert_eq!(world.says("bob", "listTasks", ""), r#"[] total 0 page 100 0 of "listTasks""#);
    assert_eq!(world.rows("bob", "SELECT * FROM tasks"), "[]");
    for (method, payload) in [("completeTask", r#"{"id":1}"#), ("deleteTask", r#"{"id":1}"#)] {
        let outcome = world.ask("r", "bob", method, payload);
        assert_eq!((text(&outcome.answer), outcome.changes.len()), ("done ".to_owned(), 0));
        let none = world.ask("r", "bob", method, r#"{"id":99}"#);
        assert_eq!(text(&outcome.answer), text(&none.answer), "as if it were not there");
    }
    assert_eq!(world.says("ann", "listTasks", ""), format!(r#"[{row}] total 1 page 100 0 of "listTasks""#));
    let done = world.ask("r", "ann", "completeTask", r#"{"id":1}"#);
    assert_eq!(changes(&done), [format!("~ tasks {} for ann", row.replacen("pending", "completed", 1))]);
    let gone = world.ask("r", "ann", "deleteTask", r#"{"id":1}"#);
    assert_eq!(changes(&gone), [format!("- tasks {} for ann", row.replacen("pending", "completed", 1))]);
}

#[test]
fn a_row_that_changes_hands_leaves_and_comes_into_sight() {
    let world = World::new();
    world.says("ann", "createTask", r#"{"title":"a"}"#);
    let row = |owner: &str| {
        format!(
            r#"{{"id":1,"title":"a","status":"pending","vector_status":"pending","owner_id":{owner},"user_id":"ann"}}"#
        )
    };
    let (alls, bobs) = (row("null"), row("\"bob\""));
    let opened = world.ask("r", "ann", "updateRow", r#"{"table":"tasks","id":1,"field":"owner_id","value":null}"#);
    assert_eq!(changes(&opened), [format!("+ tasks {alls} for all but ann"), format!("~ tasks {alls} for ann")]);
    let taken = world.ask("r", "bob", "updateRow", r#"{"table":"tasks","id":1,"field":"owner_id","value":"bob"}"#);
    assert_eq!(changes(&taken), [format!("- tasks {alls} for all but bob"), format!("~ tasks {bobs} for bob")]);
    assert!(taken.changes.iter().all(|change| change.is_for("bob") == (change.action == tables::Action::Modified)));
    assert_eq!(world.rows("ann", "SELECT * FROM tasks"), "[]");
}

#[test]
fn permissions_lift_the_rule_for_one_table_and_one_kind_of_use() {
    let mut world = World::new();
    permit(&mut world, "TASKS", "reader", false);
    permit(&mut world, "tasks", "writer", true);
    let made = world.ask("r", "ann", "createTask", r#"{"title":"a"}"#);
    assert!(changes(&made)[0].ends_with("for ann,reader"), "{:?}", changes(&made));
    assert_eq!(world.rows("reader", "SELECT title FROM tasks"), r#"[{"title":"a"}]"#);
    assert_eq!(world.rows("reader", "SELECT title FROM main.tasks"), r#"[{"title":"a"}]"#, "no copy is needed");
    assert!(world.sql("reader", "SELECT 1 FROM tasks").is_personal, "others get another answer");
    assert!(world.says("reader", "listTasks", "").contains(" total 1 "));
    assert_eq!(world.ask("r", "reader", "completeTask", r#"{"id":1}"#).changes.len(), 0);
    assert_eq!(world.rows("writer", "SELECT title FROM tasks"), "[]");
    let outcome = world.ask("r", "writer", "updateRow", r#"{"table":"tasks","id":1,"field":"title","value":"b"}"#);
    assert_eq!(text(&outcome.answer), "done ", "changed, and not shown");
    assert!(changes(&outcome)[0].ends_with("for ann,reader"));
    assert_eq!(
        world.says("writer", "updateRow", r#"{"table":"tasks","id":1,"field":"owner_id","value":"eve"}"#),
        "! owner_id cannot be set to another user"
    );
    assert_eq!(world.ask("r", "writer", "deleteTask", r#"{"id":1}"#).changes.len(), 1);
}

#[test]
fn other_tables_are_open_unless_they_are_protected() {
    let mut world = World::new();
    world.says("ann", "createTable", r#"{"tableName":"Notes","columns":[{"name":"note"},{"name":"owner_id"}]}"#);
    let added = world.ask("r", "ann", "batchInsert", r#"{"table":"notes","rows":[{"note":"a"}]}"#);
    assert_eq!(changes(&added), [r#"+ Notes {"id":1,"note":"a","owner_id":"ann"} for all"#]);
    assert_eq!(world.rows("bob", "SELECT note FROM notes"), r#"[{"note":"a"}]"#);
    assert!(!world.sql("bob", "SELECT note FROM notes").is_personal);
    world.rules.protected.insert("NOTES".to_owned());
    assert_eq!(world.rows("bob", "SELECT note FROM notes"), "[]");
    let added = world.ask("r", "ann", "batchInsert", r#"{"table":"notes","rows":[{"note":"b"}]}"#);
    assert_eq!(changes(&added), [r#"+ Notes {"id":2,"note":"b","owner_id":"ann"} for ann"#]);
    assert_eq!(world.rows("ann", "SELECT note FROM notes"), r#"[{"note":"a"},{"note":"b"}]"#);
}

#[test]
fn the_type_of_the_owner_column_makes_no_two_users_one() {
    for kind in ["TEXT", "INTEGER", "NUMERIC", "REAL", "BLOB", "DATE"] {
        let mut world = World::new();
        let table = format!(r#"{{"tableName":"t","columns":[{{"name":"v"}},{{"name":"owner_id","type":"{kind}"}}]}}"#);
        world.says("7", "createTable", &table);
        world.rules.protected.insert("t".to_owned());
        world.says("7", "batchInsert", r#"{"table":"t","rows":[{"v":"seven"}]}"#);
        // What this column makes of the others' names may not be the name 7.
        for user in ["07", "7.0", "7e0", " 7", "seven"] {
            world.says(user, "batchInsert", r#"{"table":"t","rows":[{"v":"x"}]}"#);
            let seen = world.rows(user, "SELECT v FROM t");
            assert!(!seen.contains("seven"), "{kind}: {user} sees {seen}");
            let of_seven = world.rows("7", "SELECT v FROM t");
            assert!(!of_seven.contains('x'), "{kind}: {user} has given 7 a row: {of_seven}");
            if of_seven != "[]" {
                let answer = world.says(user, "updateRow", r#"{"table":"t","id":1,"field":"v","value":"x"}"#);
                assert_eq!(answer, "! No row found with id 1", "{kind}: {user}");
            }
        }
    }
}

#[test]
fn every_statement_begins_with_nothing_of_the_one_before() {
    let world = World::with(|settings| settings.query_threads = 1);
    for user in ["ann", "bob"] {
        world.says(user, "createTask", &format!(r#"{{"title":"of {user}"}}"#));
    }
    for _ in 0..10 {
        for user in ["ann", "bob", "eve"] {
            let expected = if user == "eve" { "[]".to_owned() } else { format!(r#"[{{"title":"of {user}"}}]"#) };
            assert_eq!(world.rows(user, "SELECT title FROM tasks"), expected);
            assert!(world.rows(user, "SELECT * FROM temp.tasks").starts_with("! no such table"));
            assert!(
                world
                    .rows(user, "SELECT abs(-9223372036854775807 - 1) FROM tasks UNION SELECT title FROM tasks")
                    .starts_with(['!', '['])
            );
        }
    }
}

#[test]
fn views_and_triggers_in_a_file_have_no_effect() {
    let mut world = World::new();
    world.says("ann", "createTask", r#"{"title":"KIWI"}"#);
    world.tables.close().expect("all is written");
    let file = files(world.folder.path())
        .into_iter()
        .map(|(path, _)| path)
        .find(|path| path.extension().is_some_and(|end| end == "db"));
    let db = Connection::open(file.expect("a database")).expect("it can be opened");
    db.execute_batch(
        "CREATE TABLE loot(title TEXT);
         CREATE VIEW peek AS SELECT * FROM tasks;
         CREATE TRIGGER steal AFTER INSERT ON tasks BEGIN INSERT INTO loot SELECT title FROM tasks; END;
         CREATE VIRTUAL TABLE found USING fts5(title);
         INSERT INTO found SELECT title FROM tasks;",
    )
    .expect("whoever has the file can do that");
    drop(db);
    let folder = std::mem::replace(&mut world.folder, crate::world::Folder::new());
    let world = World::on(folder, |_| {});
    world.says("eve", "createTask", r#"{"title":"x"}"#);
    assert_eq!(world.rows("eve", "SELECT * FROM loot"), "[]");
    for sql in [
        "SELECT * FROM peek",
        "SELECT count(*) FROM peek",
        "SELECT * FROM found",
        "SELECT count(*) FROM found",
        "SELECT * FROM found('KIWI')",
    ] {
        let outcome = world.sql("eve", sql);
        assert!(matches!(outcome.answer, Answer::Failed(_)), "{sql}: {}", text(&outcome.answer));
    }
    assert!(!world.says("eve", "getSchema", "").contains("peek"));
    assert_eq!(
        world.says("eve", "updateRow", r#"{"table":"peek","id":1,"field":"title","value":"x"}"#),
        "! Table 'peek' does not exist or is not accessible"
    );
}

#[test]
fn rooms_do_not_see_each_other() {
    let world = World::new();
    let rooms = ["a", "A", "a/b", "a%2fb", "..", "ä"];
    for room in rooms {
        world.ask(room, "ann", "createTask", &format!(r#"{{"title":"{room}"}}"#));
    }
    for room in rooms {
        let outcome = world.ask(room, "ann", "executeSQL", r#"{"sql":"SELECT title FROM tasks"}"#);
        assert_eq!(text(&outcome.answer), format!(r#"[{{"title":"{room}"}}] of "SELECT title FROM tasks""#));
    }
    let listed: Vec<String> = world.tables.list().expect("a folder").into_iter().map(|room| room.room).collect();
    let mut expected = rooms.map(str::to_owned);
    expected.sort();
    assert_eq!(listed, expected);
}

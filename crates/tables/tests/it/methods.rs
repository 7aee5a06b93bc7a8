//! Each method's answers and errors, in the protocol's words and in the order of its checks.

use tables::{Answer, Method};

use crate::world::{World, changes, string, text, wait};

/// Calls in a row in one room by ann, each with its answer.
fn check(script: &[(&str, &str, &str)]) {
    let mut world = World::new();
    for (at, (method, payload, expected)) in script.iter().enumerate() {
        // Rates have tests of their own.
        world.now_ms += 60_000;
        assert_eq!(world.says("ann", method, payload), *expected, "step {at}: {method} {payload}");
    }
}

const TASK: &str =
    r#"{"id":1,"title":"Buy milk","status":"pending","vector_status":"pending","owner_id":"ann","user_id":"ann"}"#;

#[test]
fn tasks() {
    let done = TASK.replacen("pending", "completed", 1);
    check(&[
        ("createTask", r#"{"title":"  Buy\u0000 milk "}"#, &format!("done {TASK}")),
        (
            "createTask",
            r#"{"title":"x","owner_id":"eve","user_id":"eve"}"#,
            &format!("done {}", TASK.replace("Buy milk", "x").replace(":1", ":2")),
        ),
        ("completeTask", r#"{"id":1}"#, "done "),
        ("completeTask", r#"{"id":99}"#, "done "),
        ("deleteTask", r#"{"id":2}"#, "done "),
        ("deleteTask", r#"{"id":2.0}"#, "done "),
        ("completeTask", r#"{"id":0}"#, "! Invalid id: must be a positive integer"),
        ("completeTask", r#"{"id":-1}"#, "! Invalid id: must be a positive integer"),
        ("completeTask", r#"{"id":1.5}"#, "! Invalid id: must be a positive integer"),
        ("completeTask", r#"{"id":"1"}"#, "! Invalid id: must be a positive integer"),
        ("completeTask", r#"{"id":99999999999999999999}"#, "! Invalid id: must be a positive integer"),
        ("deleteTask", r#"{}"#, "! Invalid id: must be a positive integer"),
        ("deleteTask", r#"[1]"#, "! Invalid id: must be a positive integer"),
        ("listTasks", "{}", &format!(r#"[{done}] total 1 page 100 0 of "listTasks""#)),
        ("listTasks", "null", &format!(r#"[{done}] total 1 page 100 0 of "listTasks""#)),
        ("listTasks", r#"{"limit":"1","offset":"1"}"#, r#"[] total 1 page 1 1 of "listTasks""#),
        ("listTasks", r#"{"limit":0,"offset":-1}"#, &format!(r#"[{done}] total 1 page 100 0 of "listTasks""#)),
        ("listTasks", r#"{"limit":1001,"offset":"x"}"#, &format!(r#"[{done}] total 1 page 100 0 of "listTasks""#)),
        ("listTasks", r#"{"limit":1000,"offset":0}"#, &format!(r#"[{done}] total 1 page 1000 0 of "listTasks""#)),
    ]);
}

#[test]
fn update_row() {
    check(&[
        (
            "createTable",
            r#"{"tableName":"people","columns":[{"name":"name"},{"name":"age","type":"integer","unique":true}]}"#,
            PEOPLE_MADE,
        ),
        (
            "batchInsert",
            r#"{"table":"people","rows":[{"name":"Ann","age":30},{"name":"Bob","age":40}]}"#,
            r#"done {"inserted":2,"total":2,"errors":[]}"#,
        ),
        (
            "updateRow",
            r#"{"table":"people","id":1,"field":"name","value":"Anna"}"#,
            r#"done {"id":1,"name":"Anna","age":30}"#,
        ),
        (
            "updateRow",
            r#"{"table":"PEOPLE","id":"2","field":"NAME","value":{"a":[1]}}"#,
            r#"done {"id":2,"name":"{\"a\":[1]}","age":40}"#,
        ),
        ("updateRow", r#"{"table":"people","id":2,"field":"name"}"#, r#"done {"id":2,"name":null,"age":40}"#),
        (
            "updateRow",
            r#"{"table":"people","id":2,"field":"name","value":true}"#,
            r#"done {"id":2,"name":"1","age":40}"#,
        ),
        ("updateRow", r#"{"id":0}"#, "! Invalid table name"),
        ("updateRow", r#"{"table":5}"#, "! Invalid table name"),
        ("updateRow", r#"{"table":"nope"}"#, "! Invalid row id"),
        ("updateRow", r#"{"table":"nope","id":0}"#, "! Invalid row id"),
        ("updateRow", r#"{"table":"nope","id":true}"#, "! Invalid row id"),
        ("updateRow", r#"{"table":"nope","id":3}"#, "! Invalid field name"),
        ("updateRow", r#"{"table":"nope","id":3,"field":7}"#, "! Invalid field name"),
        ("updateRow", r#"{"table":"nope","id":3,"field":"a b"}"#, "! Table 'nope' does not exist or is not accessible"),
        (
            "updateRow",
            r#"{"table":"_usage","id":3,"field":"reads"}"#,
            "! Table '_usage' does not exist or is not accessible",
        ),
        (
            "updateRow",
            r#"{"table":"sqlite_sequence","id":3,"field":"seq"}"#,
            "! Table 'sqlite_sequence' does not exist or is not accessible",
        ),
        (
            "updateRow",
            r#"{"table":"people\" --","id":3,"field":"name"}"#,
            "! Table 'people\" --' does not exist or is not accessible",
        ),
        ("updateRow", r#"{"table":"people","id":3,"field":"a b"}"#, "! Invalid field name format"),
        ("updateRow", r#"{"table":"people","id":3,"field":"name\" = 1 --"}"#, "! Invalid field name format"),
        ("updateRow", r#"{"table":"people","id":3,"field":"name","value":1}"#, "! No row found with id 3"),
        ("updateRow", r#"{"table":"people","id":"x","field":"name","value":1}"#, "! No row found with id x"),
        (
            "updateRow",
            r#"{"table":"people","id":2,"field":"age","value":30}"#,
            "! UNIQUE constraint failed: people.age",
        ),
        ("updateRow", r#"{"table":"people","id":2,"field":"rowid","value":30}"#, "! no such column: rowid"),
        (
            "createTable",
            r#"{"tableName":"k","columns":[{"name":"code","primaryKey":true},{"name":"n","type":"INTEGER"}]}"#,
            r#"done {"tableName":"k","sql":"CREATE TABLE \"k\" (\"code\" TEXT PRIMARY KEY, \"n\" INTEGER)"}"#,
        ),
        (
            "batchInsert",
            r#"{"table":"k","rows":[{"code":"de","n":1}]}"#,
            r#"done {"inserted":1,"total":1,"errors":[]}"#,
        ),
        ("updateRow", r#"{"table":"k","id":"de","field":"n","value":2}"#, r#"done {"code":"de","n":2}"#),
        ("deleteTable", r#"{"tableName":"k"}"#, r#"done {"tableName":"k"}"#),
        (
            "createTable",
            r#"{"tableName":"k","columns":[{"name":"n"},{"name":"x"},{"name":"code","primaryKey":true}]}"#,
            r#"done {"tableName":"k","sql":"CREATE TABLE \"k\" (\"n\" TEXT, \"x\" TEXT, \"code\" TEXT PRIMARY KEY)"}"#,
        ),
        (
            "batchInsert",
            r#"{"table":"k","rows":[{"code":"de","n":1}]}"#,
            r#"done {"inserted":1,"total":1,"errors":[]}"#,
        ),
        ("updateRow", r#"{"table":"k","id":"de","field":"n","value":2}"#, r#"done {"n":"2","x":null,"code":"de"}"#),
    ]);
}

const PEOPLE_MADE: &str = r#"done {"tableName":"people","sql":"CREATE TABLE \"people\" (id INTEGER PRIMARY KEY AUTOINCREMENT, \"name\" TEXT, \"age\" INTEGER UNIQUE)"}"#;

#[test]
fn batch_insert() {
    check(&[
        (
            "createTable",
            r#"{"tableName":"people","columns":[{"name":"name"},{"name":"age","type":"integer","unique":true}]}"#,
            PEOPLE_MADE,
        ),
        ("batchInsert", r#"{"rows":[]}"#, "! Invalid table name"),
        ("batchInsert", r#"{"table":"nope","rows":[]}"#, "! Rows must be a non-empty array"),
        ("batchInsert", r#"{"table":"nope","rows":{"0":{}}}"#, "! Rows must be a non-empty array"),
        ("batchInsert", r#"{"table":"nope","rows":[{}]}"#, "! Table 'nope' does not exist or is not accessible"),
        ("batchInsert", r#"{"table":"_usage","rows":[{}]}"#, "! Table '_usage' does not exist or is not accessible"),
        (
            "batchInsert",
            r#"{"table":"people","rows":[{"A":1,"b c":2}]}"#,
            "! Column mismatch. CSV columns (a, b_c) do not match Table columns (id, name, age)",
        ),
        (
            "batchInsert",
            r#"{"table":"people","rows":[5]}"#,
            "! Column mismatch. CSV columns () do not match Table columns (id, name, age)",
        ),
        (
            "batchInsert",
            r#"{"table":"people","rows":[{" Name!":"Ann","AGE":30,"other":1},{"name":"Bob","age":30},{"x":1},7]}"#,
            r#"done {"inserted":1,"total":4,"errors":["Row 2: UNIQUE constraint failed: people.age","Row 3: it has none of the table's columns","Row 4: it has none of the table's columns"]}"#,
        ),
        (
            "batchInsert",
            r#"{"table":"people","rows":[{"age":30}]}"#,
            r#"! No rows were inserted. First error: Row 1: UNIQUE constraint failed: people.age {"inserted":0,"total":1,"errors":["Row 1: UNIQUE constraint failed: people.age"]}"#,
        ),
        (
            "createTable",
            r#"{"tableName":"n","columns":[{"name":"note"},{"name":"user_id"},{"name":"owner_id"},{"name":"created_at","type":"integer"}]}"#,
            r#"done {"tableName":"n","sql":"CREATE TABLE \"n\" (id INTEGER PRIMARY KEY AUTOINCREMENT, \"note\" TEXT, \"user_id\" TEXT, \"owner_id\" TEXT, \"created_at\" INTEGER)"}"#,
        ),
        (
            "batchInsert",
            r#"{"table":"n","rows":[{"note":"a","user_id":""},{"note":"b","user_id":"u","owner_id":"o","created_at":5}]}"#,
            r#"done {"inserted":2,"total":2,"errors":[]}"#,
        ),
        (
            "executeSQL",
            r#"{"sql":"SELECT * FROM n"}"#,
            r#"[{"id":1,"note":"a","user_id":"ann","owner_id":"ann","created_at":1770466320000},{"id":2,"note":"b","user_id":"u","owner_id":"o","created_at":5}] of "SELECT * FROM n""#,
        ),
    ]);
}

#[test]
fn large_inserts_come_in_groups() {
    let world = World::new();
    world.says("ann", "createTable", r#"{"tableName":"t","columns":[{"name":"n","type":"INTEGER","unique":true}]}"#);
    let before = world.tables.counts().commits;
    let rows: Vec<String> = (0..120).map(|n| format!(r#"{{"n":{}}}"#, if n == 60 { 0 } else { n })).collect();
    let outcome = world.ask("r", "ann", "batchInsert", &format!(r#"{{"table":"t","rows":[{}]}}"#, rows.join(",")));
    assert_eq!(
        text(&outcome.answer),
        r#"done {"inserted":119,"total":120,"errors":["Row 61: UNIQUE constraint failed: t.n"]}"#
    );
    assert_eq!(outcome.changes.len(), 119);
    assert_eq!(changes(&outcome)[118], r#"+ t {"id":119,"n":119} for all"#);
    assert_eq!(world.tables.counts().commits - before, 3);
    let many = vec![r#"{"n":1}"#; 10_001].join(",");
    assert_eq!(
        world.says("ann", "batchInsert", &format!(r#"{{"table":"t","rows":[{many}]}}"#)),
        "! Too many rows: maximum 10,000"
    );
}

#[test]
fn tables_are_made_and_removed() {
    let missing = "! createTable requires tableName and columns array";
    let bad_name =
        "! Invalid table name. Use only letters, numbers, and underscores. Must start with a letter or underscore.";
    let with = |column: &str| format!(r#"{{"tableName":"t","columns":[{{{column}}}]}}"#);
    let name = |name: &str| format!(r#"{{"tableName":{name},"columns":[]}}"#);
    let made = |columns: &str| format!(r#"done {{"tableName":"t","sql":"CREATE TABLE \"t\" ({columns})"}}"#);
    let types = "Valid types: TEXT, INTEGER, REAL, BLOB, NUMERIC, BOOLEAN, DATE, DATETIME";
    let cases: Vec<(String, String)> = vec![
        ("{}".into(), missing.into()),
        (r#"{"tableName":"t"}"#.into(), missing.into()),
        (r#"{"tableName":"t","columns":{}}"#.into(), missing.into()),
        (name("\"\""), missing.into()),
        (name("7"), bad_name.into()),
        (name(r#""a b""#), bad_name.into()),
        (name(r#""t\"; DROP TABLE tasks; --""#), bad_name.into()),
        (name(r#""1a""#), bad_name.into()),
        (
            name(r#""_a""#),
            "! Cannot create tables with names starting with underscore (reserved for system tables)".into(),
        ),
        (name(r#""sqlite_a""#), "! Failed to create table: object name reserved for internal use: sqlite_a".into()),
        (with(r#""name":"x y""#), "! Failed to create table: Invalid column name: x y".into()),
        (with(r#""name":7"#), "! Failed to create table: Invalid column name: 7".into()),
        (with(""), "! Failed to create table: Invalid column name: undefined".into()),
        (
            with(r#""name":"a\" TEXT); DROP TABLE tasks; --""#),
            "! Failed to create table: Invalid column name: a\" TEXT); DROP TABLE tasks; --".into(),
        ),
        (with(r#""name":"a","type":"json""#), format!("! Failed to create table: Invalid column type: JSON. {types}")),
        (
            with(r#""name":"a","type":"TEXT); DROP TABLE tasks; --""#),
            format!("! Failed to create table: Invalid column type: TEXT); DROP TABLE TASKS; --. {types}"),
        ),
        (with(r#""name":"a","default":[1]"#), "! Failed to create table: Invalid default".into()),
        (with(r#""name":"a","default":{}"#), "! Failed to create table: Invalid default".into()),
        (
            r#"{"tableName":"t","columns":[{"name":"a"},{"name":"A"}]}"#.into(),
            "! Failed to create table: duplicate column name: A".into(),
        ),
        (with(r#""name":"a""#), made(r#"id INTEGER PRIMARY KEY AUTOINCREMENT, \"a\" TEXT"#)),
        (
            with(r#""name":"a","type":"real","notNull":true,"unique":true,"default":-1.5e3"#),
            made(r#"id INTEGER PRIMARY KEY AUTOINCREMENT, \"a\" REAL NOT NULL UNIQUE DEFAULT -1.5e3"#),
        ),
        (
            with(r#""name":"a","default":"it's'); DROP TABLE tasks; --""#),
            made(r#"id INTEGER PRIMARY KEY AUTOINCREMENT, \"a\" TEXT DEFAULT 'it''s''); DROP TABLE tasks; --'"#),
        ),
        (
            with(r#""name":"a","default":"current_timestamp""#),
            made(r#"id INTEGER PRIMARY KEY AUTOINCREMENT, \"a\" TEXT DEFAULT CURRENT_TIMESTAMP"#),
        ),
        (with(r#""name":"a","default":true"#), made(r#"id INTEGER PRIMARY KEY AUTOINCREMENT, \"a\" TEXT DEFAULT 1"#)),
        (
            with(r#""name":"a","default":null"#),
            made(r#"id INTEGER PRIMARY KEY AUTOINCREMENT, \"a\" TEXT DEFAULT NULL"#),
        ),
        (with(r#""name":"ID","type":"INTEGER","primaryKey":true"#), made(r#"\"ID\" INTEGER PRIMARY KEY"#)),
        (
            r#"{"tableName":"t","columns":[{"name":"a","primaryKey":true},{"name":"b","primaryKey":true}]}"#.into(),
            made(r#"\"a\" TEXT, \"b\" TEXT, PRIMARY KEY (\"a\", \"b\")"#),
        ),
        (r#"{"tableName":"t","columns":[]}"#.into(), made("id INTEGER PRIMARY KEY AUTOINCREMENT")),
    ];
    let mut world = World::new();
    for (payload, expected) in cases {
        world.now_ms += 60_000;
        let outcome = world.ask("r", "ann", "createTable", &payload);
        assert_eq!(text(&outcome.answer), expected, "{payload}");
        assert_eq!(outcome.schema.is_some(), expected.starts_with("done"), "{payload}");
        if let Some(schema) = outcome.schema {
            assert_eq!(text(&world.ask("r", "eve", "getSchema", "").answer), format!("schema {}", string(&schema)));
            let again = world.ask("r", "ann", "createTable", r#"{"tableName":"T","columns":[{"name":"other"}]}"#);
            assert_eq!(text(&again.answer), expected, "an existing table stays as it is");
            assert_eq!(again.schema, None);
            assert!(world.ask("r", "ann", "deleteTable", r#"{"tableName":"t"}"#).schema.is_some());
        }
    }
    world.now_ms += 60_000;
    for (payload, expected) in [
        ("{}", "! deleteTable requires tableName parameter"),
        (r#"{"tableName":["t"]}"#, "! Invalid table name"),
        (r#"{"tableName":"a\"b"}"#, "! Invalid table name"),
        (r#"{"tableName":"_usage"}"#, "! Cannot delete system tables"),
        (r#"{"tableName":"SQLITE_sequence"}"#, "! Cannot delete system tables"),
        (r#"{"tableName":"tasks"}"#, "! Cannot delete system tables"),
        (r#"{"tableName":"nope"}"#, r#"done {"tableName":"nope"}"#),
    ] {
        assert_eq!(world.says("ann", "deleteTable", payload), expected, "{payload}");
    }
}

#[test]
fn the_schema_is_what_sqlite_says() {
    let world = World::new();
    world.says(
        "ann",
        "createTable",
        r#"{"tableName":"people","columns":[{"name":"age","type":"integer","notNull":true,"default":7}]}"#,
    );
    let schema = world.says("ann", "getSchema", "");
    let schema = schema.strip_prefix("schema ").expect("a schema");
    let people = r#""people":[{"cid":0,"name":"id","type":"INTEGER","notnull":0,"dflt_value":null,"pk":1},{"cid":1,"name":"age","type":"INTEGER","notnull":1,"dflt_value":"7","pk":0}]}"#;
    assert!(schema.starts_with(r#"{"tasks":[{"cid":0,"name":"id""#) && schema.ends_with(people), "{schema}");
}

#[test]
fn rates_are_of_a_user_a_room_and_a_method() {
    for (method, payload, limit, refusal) in [
        ("createTask", r#"{"title":"x"}"#, 100, "! Rate limit exceeded. Please slow down."),
        ("updateRow", r#"{"table":"tasks","id":9,"field":"title"}"#, 100, "! Rate limit exceeded. Please slow down."),
        ("executeSQL", r#"{"sql":"SELECT 1"}"#, 50, "! Rate limit exceeded for executeSQL"),
        ("createTable", r#"{"tableName":"t","columns":[]}"#, 10, "! Rate limit exceeded for createTable"),
        ("deleteTable", r#"{"tableName":"t"}"#, 10, "! Rate limit exceeded for deleteTable"),
    ] {
        let mut world = World::new();
        let first = world.says("ann", method, payload);
        for _ in 1..limit {
            assert_ne!(world.says("ann", method, payload), refusal, "{method}");
        }
        assert_eq!(world.says("ann", method, payload), refusal, "{method}");
        assert_ne!(world.says("bob", method, payload), refusal, "another user");
        assert_ne!(text(&world.ask("other", "ann", method, payload).answer), refusal, "another room");
        if method == "createTask" {
            assert!(first.starts_with("done"));
            assert_eq!(world.rows("ann", "SELECT count(*) AS n FROM tasks"), r#"[{"n":100}]"#);
        }
        world.now_ms += 59_999;
        assert_eq!(world.says("ann", method, payload), refusal, "the window is a minute long");
        world.now_ms += 1;
        assert_ne!(world.says("ann", method, payload), refusal, "and slides");
    }
}

#[test]
fn a_live_query_asks_again_without_a_rate_or_usage() {
    let world = World::new();
    for _ in 0..60 {
        let mut call = world.call("ann", "executeSQL", r#"{"sql":"SELECT 1 AS n"}"#);
        call.method = Method::ExecuteSql { is_rerun: true };
        assert_eq!(text(&wait(&world.submit("r", call)).answer), r#"[{"n":1}] of "SELECT 1 AS n""#);
    }
    assert_eq!(world.says("ann", "getUsage", ""), r#"[] of "getUsage""#);
}

#[test]
fn statements() {
    let only = "! Only SELECT and WITH queries allowed in read-only mode";
    let mut world = World::new();
    world.says("ann", "createTask", r#"{"title":"a"}"#);
    let long = format!("SELECT '{}'", "ä".repeat(9_992));
    let fits = format!("SELECT 1 AS n --{}", "ä".repeat(10_000 - 16));
    for (sql, expected) in [
        ("SELECT 1 AS a, 2 AS b, 3 AS a", r#"[{"b":2,"a":3}]"#),
        ("-- hello\n/* you */ with x as (select 1 as n) select n from x;", r#"[{"n":1}]"#),
        (
            "SELECT x'00ff' AS b, 1.5 AS r, 9007199254740993 AS i, 'ü\"' AS t, NULL AS n, 9e999 AS f",
            r#"[{"b":"AP8=","r":1.5,"i":9007199254740993,"t":"ü\"","n":null,"f":null}]"#,
        ),
        ("SELECT title FROM tasks WHERE id = 1", r#"[{"title":"a"}]"#),
        ("SELECT value FROM json_each('[1,2]')", r#"[{"value":1},{"value":2}]"#),
        ("SELECT id, row_number() OVER (ORDER BY id) AS n FROM tasks", r#"[{"id":1,"n":1}]"#),
        ("", "! executeSQL requires sql parameter"),
        ("DROP TABLE tasks", only),
        ("PRAGMA user_version", only),
        ("EXPLAIN SELECT 1", only),
        ("WITH x AS (SELECT 1) DELETE FROM tasks", only),
        ("SELECT 1; DROP TABLE tasks", only),
        ("SELECT 1; SELECT 2", "! Only one statement is allowed"),
        (&long, "! Query too long: maximum 10,000 characters"),
        (&fits, r#"[{"n":1}]"#),
        ("SELECT * FROM x", "! no such table: x [TABLE_NOT_FOUND x]"),
        ("SELECT * FROM main.x", "! no such table: main.x [TABLE_NOT_FOUND x]"),
        ("SELECT nope FROM tasks", "! no such column: nope"),
        ("SELECT FROM", "! near \"FROM\": syntax error"),
        ("SELECT reads FROM _usage", "! access to _usage.reads is prohibited"),
    ] {
        world.now_ms += 60_000;
        assert_eq!(world.rows("ann", sql), expected, "{sql}");
    }
    for (payload, expected) in [
        ("{}", "! executeSQL requires sql parameter"),
        ("[]", "! executeSQL requires sql parameter"),
        ("no JSON", "! executeSQL requires sql parameter"),
        (r#"{"sql":7}"#, "! executeSQL requires sql parameter"),
        (r#"{"sql":"DELETE FROM tasks","readonly":false}"#, only),
        (r#"{"sql":"SELECT ? AS a, ? AS b","params":[1,"x"]}"#, r#"[{"a":1,"b":"x"}] of "SELECT ? AS a, ? AS b""#),
        (r#"{"sql":"SELECT ? AS a, ? AS b","params":[1]}"#, r#"[{"a":1,"b":null}] of "SELECT ? AS a, ? AS b""#),
        (r#"{"sql":"SELECT 1","params":[1]}"#, "! The statement has 0 parameters, but params has 1 values"),
        (r#"{"sql":"\u0053ELECT\t'\/' AS  s"}"#, r#"[{"s":"/"}] of "\u0053ELECT\t'\/' AS  s""#),
    ] {
        world.now_ms += 60_000;
        assert_eq!(world.says("ann", "executeSQL", payload), expected, "{payload}");
    }
}

#[test]
fn a_statement_says_what_it_has_read() {
    let world = World::new();
    world.says("ann", "createTable", r#"{"tableName":"People","columns":[{"name":"name"}]}"#);
    for (sql, tables, is_personal) in [
        ("SELECT 1", vec![], false),
        ("SELECT * FROM people", vec!["People"], false),
        ("SELECT count(*) FROM PEOPLE", vec!["People"], false),
        ("SELECT (SELECT count(*) FROM tasks) FROM people", vec!["People", "tasks"], true),
        ("WITH x AS (SELECT * FROM people) SELECT count(*) FROM x", vec!["People"], false),
    ] {
        let outcome = world.sql("ann", sql);
        assert!(matches!(outcome.answer, Answer::Rows { .. }), "{sql}: {}", text(&outcome.answer));
        assert_eq!(
            (outcome.tables, outcome.is_personal),
            (tables.into_iter().map(str::to_owned).collect(), is_personal),
            "{sql}"
        );
    }
}

#[test]
fn debounced_values() {
    let big = format!(r#"{{"key":"big","value":"{}"}}"#, "x".repeat(99_998));
    let bigger = format!(r#"{{"key":"big","value":"{}"}}"#, "x".repeat(99_999));
    let queued = "done Update queued for flush";
    check(&[
        ("updateDebounced", r#"{"value":1}"#, "! updateDebounced requires key parameter"),
        ("updateDebounced", r#"{"key":7}"#, "! updateDebounced requires key parameter"),
        ("updateDebounced", &bigger, "! Value too large: maximum 100KB"),
        ("updateDebounced", &big, queued),
        ("updateDebounced", r#"{"key":"k","value":{"a":1}}"#, queued),
        ("updateDebounced", r#"{"key":"k"}"#, queued),
        ("flushDebounced", "", "done Debounced writes flushed to SQLite"),
    ]);
}

#[test]
fn scopes_are_held_to() {
    let world = World::new();
    for (method, may_read, may_write, expected) in [
        ("createTask", true, false, "! API key lacks the 'write' scope"),
        ("batchInsert", true, false, "! API key lacks the 'write' scope"),
        ("createTable", true, false, "! API key lacks the 'write' scope"),
        ("updateDebounced", true, false, "! API key lacks the 'write' scope"),
        ("executeSQL", false, true, "! API key lacks the 'read' scope"),
        ("listTasks", false, true, "! API key lacks the 'read' scope"),
        ("getAuditLog", true, false, r#"[] info of "getAuditLog""#),
        ("flushDebounced", false, true, "done Debounced writes flushed to SQLite"),
    ] {
        let mut call = world.call("key", method, "{}");
        (call.caller.may_read, call.caller.may_write) = (may_read, may_write);
        assert_eq!(text(&wait(&world.submit("r", call)).answer), expected, "{method}");
    }
}

#[test]
fn usage_counts_each_method_once() {
    const DAY: u64 = 86_400_000;
    let mut world = World::new();
    world.now_ms -= 40 * DAY;
    world.says("ann", "listTasks", "");
    world.now_ms += 39 * DAY;
    world.says("ann", "listTasks", "");
    world.says("ann", "executeSQL", r#"{"sql":"SELECT 1"}"#);
    world.says("ann", "executeSQL", r#"{"sql":"no"}"#);
    world.now_ms += DAY;
    world.says("bob", "createTask", r#"{"title":"x"}"#);
    world.says("bob", "completeTask", r#"{"id":1}"#);
    let expected = r#"[{"date":"2026-02-07","reads":0,"writes":2,"ai_ops":0},{"date":"2026-02-06","reads":2,"writes":0,"ai_ops":0}] of "getUsage""#;
    assert_eq!(world.says("ann", "getUsage", ""), expected);
    world.tables.close().expect("all is written");
    let folder = std::mem::replace(&mut world.folder, crate::world::Folder::new());
    let world = World::on(folder, |_| {});
    assert_eq!(
        world.says("ann", "getUsage", ""),
        expected.replacen("\"reads\":0", "\"reads\":1", 1),
        "the first getUsage is a read itself"
    );
}

#[test]
fn names_of_methods_can_be_read_back() {
    for name in ["createTask", "executeSQL", "flushDebounced", "getAuditLog"] {
        assert_eq!(Method::from_name(name).map(Method::name), Some(name));
    }
    assert_eq!(Method::ExecuteSql { is_rerun: true }.name(), "executeSQL");
    assert_eq!(Method::from_name("setCursor"), None);
}

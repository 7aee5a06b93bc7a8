//! Who waits for whom: a long statement delays neither writes nor short reads nor the statements of others, and it ends.

use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tables::Outcome;

use crate::world::{World, text, wait};

/// Runs until it is cut off.
const ENDLESS: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS n FROM c";

/// Time for a statement in tests that do not wait for its end: longer than a busy machine needs for what they do beside it.
const LONG_MS: u64 = 60_000;

fn start(world: &World, room: &str, user: &str, sql: &str) -> Receiver<Outcome> {
    world.submit(room, world.call(user, "executeSQL", &format!(r#"{{"sql":"{sql}"}}"#)))
}

#[test]
fn a_long_statement_delays_nobody() {
    let world = World::with(|settings| settings.query_ms_max = LONG_MS);
    world.says("ann", "createTask", r#"{"title":"a"}"#);
    let long = start(&world, "r", "ann", ENDLESS);
    for _ in 0..20 {
        assert!(world.says("ann", "createTask", r#"{"title":"b"}"#).starts_with("done"));
        assert!(world.says("ann", "listTasks", "").contains(" total "));
        assert!(world.says("ann", "getSchema", "").starts_with("schema"));
    }
    assert_eq!(world.rows("bob", "SELECT 1 AS n"), r#"[{"n":1}]"#);
    assert!(long.try_recv().is_err(), "it runs still");
}

#[test]
fn a_timeout_of_whole_seconds_is_told_as_the_protocol_has_it() {
    let world = World::with(|settings| (settings.query_ms_max, settings.query_threads) = (1_000, 1));
    let began = Instant::now();
    let (long, next) = (start(&world, "r", "ann", ENDLESS), start(&world, "r", "bob", "SELECT 1 AS n"));
    assert_eq!(text(&wait(&long).answer), "! Query execution timeout (max 1 seconds)");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(text(&wait(&next).answer).starts_with(r#"[{"n":1}]"#), "its turn comes");
}

#[test]
fn copying_and_sorting_are_cut_off_too() {
    let world = World::with(|settings| settings.query_ms_max = 50);
    let rows = vec![r#"{"title":"x"}"#; 5_000].join(",");
    for _ in 0..4 {
        world.says("ann", "batchInsert", &format!(r#"{{"table":"tasks","rows":[{rows}]}}"#));
    }
    let began = Instant::now();
    let answer = world.rows("ann", "SELECT count(*) FROM tasks a, tasks b, tasks c ORDER BY a.title || b.title");
    assert_eq!(answer, "! Query execution timeout (max 0.05 seconds)");
    assert!(began.elapsed() < Duration::from_secs(20));
}

/// One call of a function looks at no clock, so each must be short whatever its arguments.
#[test]
fn functions_of_large_values_are_cut_off_too() {
    let world = World::with(|settings| settings.query_ms_max = 200);
    // A value of a million equal letters.
    let long = "replace(hex(zeroblob(500000)), '0', 'a')";
    for sql in [
        format!("SELECT instr({long}, substr({long}, 1, 500000) || 'b') FROM json_each('[1,2,3]')"),
        format!("SELECT length(replace({long}, substr({long}, 1, 500000) || 'b', ''))"),
        format!("SELECT length(trim({long}, hex(zeroblob(500000)) || 'a'))"),
        format!("SELECT {long} LIKE '%{}b'", "a%".repeat(90)),
        format!("SELECT {long} GLOB '*{}b'", "[ab]*".repeat(38)),
        format!("SELECT length(replace({long}, 'a', {long}))"),
        "SELECT length(group_concat(hex(zeroblob(1000)))) FROM json_each(json_array(1,2)) a, json_each(json_array(1,2))".to_owned(),
    ] {
        let began = Instant::now();
        let _ = world.rows("ann", &sql);
        assert!(began.elapsed() < Duration::from_secs(5), "{sql} took {:?}", began.elapsed());
    }
}

#[test]
fn one_user_has_a_share_of_the_statements_that_run() {
    let world = World::with(|settings| {
        (settings.query_ms_max, settings.query_threads, settings.query_user_share) = (LONG_MS, 3, 2);
    });
    let long: Vec<_> = ["a", "b", "c", "d"].map(|room| start(&world, room, "ann", ENDLESS)).into_iter().collect();
    for _ in 0..10 {
        assert_eq!(world.rows("bob", "SELECT 1 AS n"), r#"[{"n":1}]"#);
    }
    assert!(long.iter().all(|told| told.try_recv().is_err()));
}

#[test]
fn one_room_has_a_share_of_the_statements_that_run() {
    let world = World::with(|settings| {
        (settings.query_ms_max, settings.query_threads, settings.query_room_share) = (LONG_MS, 3, 2);
    });
    let long: Vec<_> = ["a", "b", "c", "d"].map(|user| start(&world, "r", user, ENDLESS)).into_iter().collect();
    for _ in 0..10 {
        let outcome = wait(&start(&world, "other", "eve", "SELECT 1 AS n"));
        assert!(text(&outcome.answer).starts_with(r#"[{"n":1}]"#));
    }
    assert!(long.iter().all(|told| told.try_recv().is_err()));
}

#[test]
fn a_short_statement_goes_before_long_ones_of_its_own_room() {
    let world = World::with(|settings| settings.query_ms_max = LONG_MS);
    let users = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let long: Vec<_> = users.map(|user| start(&world, "r", user, ENDLESS)).into_iter().collect();
    for _ in 0..10 {
        assert_eq!(world.rows("eve", "SELECT 1 AS n"), r#"[{"n":1}]"#);
    }
    assert!(long.iter().all(|told| told.try_recv().is_err()));
}

#[test]
fn whoever_waits_too_long_for_a_turn_is_told_so() {
    let world = World::with(|settings| settings.query_ms_max = 300);
    let began = Instant::now();
    let long: Vec<_> = (0..20).map(|_| start(&world, "r", "ann", ENDLESS)).collect();
    let mut told: Vec<String> = long.iter().map(|told| text(&wait(told).answer)).collect();
    // Two at a time, each for at least half of what it may take: twenty would take 1.5 s in turn.
    assert!(began.elapsed() < Duration::from_secs(30), "a bound for a very slow machine");
    told.sort();
    told.dedup();
    let (cut_off, waited) =
        ("! Query execution timeout (max 0.3 seconds)", "! Too many queries are running. Please try again later.");
    assert_eq!(told, [cut_off, waited]);
    assert_eq!(world.rows("ann", "SELECT 1 AS n"), r#"[{"n":1}]"#);
}

#[test]
fn a_refusal_does_not_wait_for_statements_that_run() {
    let world = World::with(|settings| {
        (settings.query_ms_max, settings.query_threads, settings.quick_threads) = (LONG_MS, 1, 1);
    });
    let long = start(&world, "r", "ann", ENDLESS);
    assert!(world.rows("ann", "DROP TABLE tasks").starts_with("! Only SELECT"));
    let next = start(&world, "r", "bob", "SELECT 1 AS n");
    assert!(long.try_recv().is_err() && next.try_recv().is_err());
}

#[test]
fn closing_breaks_statements_off() {
    let world = World::with(|settings| settings.query_ms_max = 50_000);
    let running: Vec<_> = ["ann", "bob", "eve"].map(|user| start(&world, "r", user, ENDLESS)).into_iter().collect();
    world.tables.close().expect("all is written");
    running.iter().for_each(|told| assert_eq!(text(&wait(told).answer), "! Room databases are closed"));
}

#[test]
fn answers_have_bounds() {
    let world = World::with(|settings| {
        settings.answer_bytes_max = 1 << 20;
        settings.value_bytes_max = 600_000;
        settings.copy_bytes_max = 256 << 10;
    });
    let count = |most: u32| {
        format!("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {most}) SELECT x FROM c")
    };
    assert_eq!(world.rows("ann", &count(10_000)).matches("\"x\"").count(), 10_000);
    assert_eq!(world.rows("ann", &count(10_001)), "! Result too large: maximum 10,000 rows");
    let wide = "SELECT hex(zeroblob(200000)) AS a UNION ALL SELECT hex(zeroblob(200000)) UNION ALL SELECT hex(zeroblob(200000))";
    assert_eq!(world.rows("ann", wide), "! Result too large: maximum 1,048,576 bytes");
    // One row whose columns are one value, which SQLite keeps once.
    let columns = (0..400).map(|at| format!("x AS c{at}")).collect::<Vec<_>>().join(", ");
    let same = format!("WITH v(x) AS MATERIALIZED (SELECT hex(zeroblob(200000))) SELECT {columns} FROM v");
    assert_eq!(world.rows("ann", &same), "! Result too large: maximum 1,048,576 bytes");
    assert_eq!(world.rows("ann", "SELECT hex(zeroblob(400000))"), "! string or blob too big");
    let rows = vec![format!(r#"{{"title":"{}"}}"#, "x".repeat(10_000)); 60].join(",");
    world.says("ann", "batchInsert", &format!(r#"{{"table":"tasks","rows":[{rows}]}}"#));
    assert!(world.rows("ann", "SELECT count(*) FROM tasks").starts_with("! Too many rows of protected tables"));
    assert_eq!(world.rows("bob", "SELECT count(*) AS n FROM tasks"), r#"[{"n":0}]"#);
    let columns = (0..502).map(|at| format!("1 AS c{at}")).collect::<Vec<_>>().join(", ");
    assert!(world.rows("ann", &format!("SELECT {columns}")).starts_with("! too many columns"));
}

/// Set in the environment of a test that runs in a process of its own.
pub(crate) const OWN_PROCESS: &str = "TABLES_OWN_PROCESS";

/// SQLite's bound for memory is the process's: such a test runs once more in a process of its own, and there alone.
fn is_own_process(name: &str) -> bool {
    if std::env::var_os(OWN_PROCESS).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    let command = command.args(["--exact", name, "--nocapture"]).env(OWN_PROCESS, "1");
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    false
}

const TOO_MUCH: &str = "! The statement needs more memory than there is for one";
const HOG: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 10000000)
    SELECT count(DISTINCT randomblob(1000)) FROM c";

#[test]
fn a_statement_cannot_take_all_memory() {
    if !is_own_process("lanes::a_statement_cannot_take_all_memory") {
        return;
    }
    let world = World::with(|settings| (settings.heap_bytes_max, settings.query_ms_max) = (48 << 20, 60_000));
    world.says("ann", "createTask", r#"{"title":"a"}"#);
    for sql in [
        "WITH RECURSIVE c(x, b) AS (SELECT 1, randomblob(100000) UNION ALL SELECT x + 1, randomblob(100000) FROM c
            WHERE x < 100000) SELECT x, b FROM c ORDER BY b",
        "WITH RECURSIVE c(x) AS (SELECT randomblob(100000) UNION SELECT randomblob(100000) FROM c) SELECT count(*) FROM c",
        HOG,
    ] {
        assert_eq!(world.rows("ann", sql), TOO_MUCH, "{sql}");
        assert!(world.says("ann", "createTask", r#"{"title":"b"}"#).starts_with("done"), "and it is given back");
    }
    assert_eq!(world.rows("ann", "SELECT count(*) AS n FROM tasks"), r#"[{"n":4}]"#);
}

#[test]
fn statements_that_take_all_memory_let_no_write_fail() {
    if !is_own_process("lanes::statements_that_take_all_memory_let_no_write_fail") {
        return;
    }
    let mut world = World::with(|settings| (settings.heap_bytes_max, settings.query_ms_max) = (48 << 20, 60_000));
    world.says("ann", "createTable", r#"{"tableName":"t","columns":[{"name":"v"}]}"#);
    let (mut hogs, mut ended) = (Vec::<Receiver<Outcome>>::new(), 0);
    let start = |world: &World, user: usize| {
        let payload = format!(r#"{{"sql":{}}}"#, crate::world::json(HOG));
        world.submit("hogs", world.call(&user.to_string(), "executeSQL", &payload))
    };
    while ended < 20 {
        // No rates here: time runs.
        world.now_ms += 2_000;
        hogs.retain(|told| match told.try_recv() {
            Ok(outcome) => {
                ended += 1;
                assert_eq!(text(&outcome.answer), TOO_MUCH);
                false
            }
            Err(_) => true,
        });
        while hogs.len() < 6 {
            hogs.push(start(&world, hogs.len()));
        }
        let rows = vec![r#"{"v":"x"}"#; 60].join(",");
        for (method, payload) in [
            ("createTask", r#"{"title":"b"}"#),
            ("updateRow", r#"{"table":"tasks","id":1,"field":"title","value":"c"}"#),
            ("batchInsert", &format!(r#"{{"table":"t","rows":[{rows}]}}"#)),
            ("listTasks", r#"{"limit":1}"#),
        ] {
            let answer = world.says("ann", method, payload);
            assert!(!answer.starts_with('!') && !answer.contains("memory"), "{method}: {answer}");
        }
    }
}

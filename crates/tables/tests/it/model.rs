//! Random calls of several users at once, against a model: whoever keeps a list by the changes that are told them has what a query gives them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tables::{Action, Outcome};

use crate::world::{World, string, text, wait};

const USERS: [&str; 3] = ["ann", "bob", "eve"];
const ROOMS: [&str; 4] = ["one", "two", "three", "four"];
const TABLES: [&str; 3] = ["tasks", "open", "shut"];

/// Rows by room, user, table and id.
type Lists = BTreeMap<(String, &'static str, String, u64), String>;

fn tell(lists: &mut Lists, room: &str, outcome: &Outcome) {
    for change in &outcome.changes {
        let row = string(&change.row);
        let value: serde_json::Value = serde_json::from_str(&row).expect("a row");
        let id = value["id"].as_u64().expect("an id");
        for user in USERS.into_iter().filter(|user| change.is_for(user)) {
            let key = (room.to_owned(), user, change.table.to_string(), id);
            let before = lists.remove(&key);
            assert_eq!(
                before.is_some(),
                change.action != Action::Added,
                "{user} was told {:?} of {row}",
                change.action
            );
            if change.action == Action::Deleted {
                assert_eq!(before.as_ref(), Some(&row), "the row before");
            } else {
                lists.insert(key, row.clone());
            }
        }
    }
}

fn random_call(random: &mut fastrand::Rng) -> (&'static str, String) {
    let id = random.u32(1..30);
    let table = random.choice(TABLES).expect("a table");
    match random.u32(0..12) {
        0..3 => ("createTask", format!(r#"{{"title":"{id}"}}"#)),
        3 => ("completeTask", format!(r#"{{"id":{id}}}"#)),
        4 => ("deleteTask", format!(r#"{{"id":{id}}}"#)),
        5..7 => {
            let rows: Vec<String> =
                (0..random.u32(1..5)).map(|_| format!(r#"{{"v":"{}","title":"x"}}"#, random.u32(..40))).collect();
            ("batchInsert", format!(r#"{{"table":"{table}","rows":[{}]}}"#, rows.join(",")))
        }
        7..9 => {
            let field = if table == "tasks" { "title" } else { "v" };
            (
                "updateRow",
                format!(r#"{{"table":"{table}","id":{id},"field":"{field}","value":"{}"}}"#, random.u32(..40)),
            )
        }
        9 => ("updateRow", format!(r#"{{"table":"{table}","id":{id},"field":"owner_id","value":null}}"#)),
        10 => {
            let user = random.choice(USERS).expect("a user");
            ("updateRow", format!(r#"{{"table":"{table}","id":{id},"field":"owner_id","value":"{user}"}}"#))
        }
        _ => ("listTasks", "{}".to_owned()),
    }
}

#[test]
fn lists_kept_by_changes_are_what_queries_give() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut world = World::with(|settings| (settings.open_max, settings.writer_threads) = (2, 3));
    world.rules.protected = ["shut".to_owned()].into();
    world.rules.readers.insert("tasks".to_owned(), [Arc::from("eve")].into());
    for room in ROOMS {
        for table in ["open", "shut"] {
            let table =
                format!(r#"{{"tableName":"{table}","columns":[{{"name":"v","unique":true}},{{"name":"owner_id"}}]}}"#);
            assert!(text(&world.ask(room, "ann", "createTable", &table).answer).starts_with("done"));
        }
    }
    let lists: Arc<Mutex<Lists>> = Arc::default();
    std::thread::scope(|scope| {
        for (number, user) in USERS.into_iter().enumerate() {
            let (world, lists) = (&world, lists.clone());
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
                let mut waiting = Vec::new();
                for step in 0..400 {
                    let room = random.choice(ROOMS).expect("a room");
                    let (method, payload) = random_call(&mut random);
                    let mut call = world.call(user, method, &payload);
                    // No rate: a minute for each call.
                    call.now_ms += step * 60_000;
                    let (tell_done, done) = std::sync::mpsc::channel();
                    let lists = lists.clone();
                    // Changes are told on the room's thread, in the room's order.
                    let answer = move |outcome: Outcome| {
                        tell(&mut lists.lock().expect("no panic in tell"), room, &outcome);
                        let _ = tell_done.send(outcome);
                    };
                    world.tables.submit(room, call, Box::new(answer));
                    waiting.push(done);
                    if random.u32(..4) == 0 {
                        waiting.drain(..).for_each(|done| drop(wait(&done)));
                    }
                }
                waiting.drain(..).for_each(|done| drop(wait(&done)));
            });
        }
    });
    let lists = lists.lock().expect("no panic in tell");
    let mut rows = 0;
    for room in ROOMS {
        for user in USERS {
            for table in TABLES {
                let sql = format!(r#"{{"sql":"SELECT * FROM {table} ORDER BY id"}}"#);
                let answer = text(&world.ask(room, user, "executeSQL", &sql).answer);
                let kept = lists.iter().filter(|((r, u, t, _), _)| r == room && *u == user && t == table);
                let kept: Vec<&str> = kept.map(|(_, row)| row.as_str()).collect();
                rows += kept.len();
                let expected = format!("[{}] of", kept.join(","));
                assert!(
                    answer.starts_with(&expected),
                    "SEED={seed}: {user} in {room} has of {table}\n{expected}\nand is given\n{answer}"
                );
            }
        }
    }
    assert!(rows > 100, "{rows} rows are too few to show anything");
}

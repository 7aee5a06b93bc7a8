//! A folder with room databases, people who call, and outcomes as texts that a test can compare. Every test has its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use tables::{Action, Answer, Call, Caller, Durability, Method, Outcome, RowChange, Rules, Settings, Tables};

/// 2026-02-07 12:00 UTC.
pub(crate) const NOW: u64 = 1_770_465_600_000;
/// Longer than anything here takes: a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that is gone when the test is over.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tables-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        Folder(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Settings that need no disk to be fast, and write nothing on their own.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            durability: Durability::Written,
            usage_ms: 3_600_000,
            debounce_ms: 3_600_000,
            ..Settings::new(&self.0)
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) struct World {
    pub(crate) tables: Tables,
    pub(crate) rules: Rules,
    pub(crate) now_ms: u64,
    pub(crate) folder: Folder,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> World {
        World::on(Folder::new(), change)
    }

    pub(crate) fn on(folder: Folder, change: impl FnOnce(&mut Settings)) -> World {
        let mut settings = folder.settings();
        change(&mut settings);
        let tables = Tables::open(settings).expect("the folder can be used");
        World { tables, rules: Rules::default(), now_ms: NOW, folder }
    }

    pub(crate) fn call(&self, user: &str, method: &str, payload: &str) -> Call {
        Call {
            method: Method::from_name(method).expect("a known method"),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            caller: Caller { user: user.into(), may_read: true, may_write: true, rules: Arc::new(self.rules.clone()) },
            now_ms: self.now_ms,
        }
    }

    /// Hands over a call and does not wait.
    pub(crate) fn submit(&self, room: &str, call: Call) -> mpsc::Receiver<Outcome> {
        let (tell, told) = mpsc::channel();
        self.tables.submit(room, call, Box::new(move |outcome| drop(tell.send(outcome))));
        told
    }

    pub(crate) fn ask(&self, room: &str, user: &str, method: &str, payload: &str) -> Outcome {
        wait(&self.submit(room, self.call(user, method, payload)))
    }

    /// The answer in the room `r`, as text.
    pub(crate) fn says(&self, user: &str, method: &str, payload: &str) -> String {
        text(&self.ask("r", user, method, payload).answer)
    }

    pub(crate) fn sql(&self, user: &str, sql: &str) -> Outcome {
        self.ask("r", user, "executeSQL", &format!(r#"{{"sql":{}}}"#, json(sql)))
    }

    /// The rows of a statement, or `!` and the error.
    pub(crate) fn rows(&self, user: &str, sql: &str) -> String {
        match self.sql(user, sql).answer {
            Answer::Rows { data, .. } => string(&data),
            other => text(&other),
        }
    }
}

/// The only outcome. A second one or none is a failure.
pub(crate) fn wait(told: &mpsc::Receiver<Outcome>) -> Outcome {
    told.recv_timeout(PATIENCE).expect("one outcome")
}

pub(crate) fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

pub(crate) fn string(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("JSON is UTF-8")
}

/// An answer in one line.
pub(crate) fn text(answer: &Answer) -> String {
    match answer {
        Answer::Rows { data, original_sql, total, page, info } => {
            let total = total.map(|total| format!(" total {total}")).unwrap_or_default();
            let page = page.map(|(limit, offset)| format!(" page {limit} {offset}")).unwrap_or_default();
            let info = info.as_deref().map(|_| " info").unwrap_or_default();
            format!("{}{total}{page}{info} of {}", string(data), string(original_sql))
        }
        Answer::Done { data, message } => {
            let data = data.as_deref().map(string).unwrap_or_default();
            format!("done {data}{}", message.unwrap_or_default())
        }
        Answer::Schema(schema) => format!("schema {}", string(schema)),
        Answer::Failed(failure) => {
            let data = failure.data.as_deref().map(|data| format!(" {}", string(data))).unwrap_or_default();
            let code = failure
                .code
                .map(|code| format!(" [{code} {}]", failure.table.as_deref().unwrap_or("-")))
                .unwrap_or_default();
            format!("! {}{code}{data}", failure.error)
        }
    }
}

/// A change in one line.
pub(crate) fn change(change: &RowChange) -> String {
    let action = match change.action {
        Action::Added => "+",
        Action::Modified => "~",
        Action::Deleted => "-",
    };
    let users = |users: &Arc<std::collections::BTreeSet<Arc<str>>>| {
        users.iter().map(|user| &**user).collect::<Vec<_>>().join(",")
    };
    let readers = change.readers.as_ref().map_or("all".to_owned(), users);
    let except = change.except.as_ref().map(|who| format!(" but {}", users(who))).unwrap_or_default();
    format!("{action} {} {} for {readers}{except}", change.table, string(&change.row))
}

pub(crate) fn changes(outcome: &Outcome) -> Vec<String> {
    outcome.changes.iter().map(change).collect()
}

/// All files below a folder with their bytes.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("the file can be read");
                all.push((path, bytes));
            }
        }
    }
    all.sort();
    all
}

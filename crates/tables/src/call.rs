//! What is asked, and by whom: the input of [`crate::Tables::submit`]. Nothing here is checked against a database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

/// One method called by one user.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which method.
    pub method: Method,
    /// The payload as JSON text. What is not an object counts as `{}`.
    pub payload: Bytes,
    /// Who calls, with what rights.
    pub caller: Caller,
    /// Unix time in milliseconds: for rates, `created_at` and the dates of usage (UTC).
    pub now_ms: u64,
}

/// The methods that concern the database.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Method {
    /// Adds a row to `tasks`.
    CreateTask,
    /// Sets a task's status to `completed`.
    CompleteTask,
    /// Removes a task.
    DeleteTask,
    /// The tasks that the caller may see, a page of them.
    ListTasks,
    /// Changes one column of one row.
    UpdateRow,
    /// Adds many rows.
    BatchInsert,
    /// One read-only statement.
    ExecuteSql {
        /// A live query asks again: it counts neither for the rate nor as usage.
        is_rerun: bool,
    },
    /// Makes a table.
    CreateTable,
    /// Removes a table.
    DeleteTable,
    /// The tables and their columns.
    GetSchema,
    /// How many methods were called on each of the last 30 days.
    GetUsage,
    /// An empty list: no audit log is kept.
    GetAuditLog,
    /// Keeps a value in memory and writes it when it has been quiet for a while.
    UpdateDebounced,
    /// Writes the debounced values now.
    FlushDebounced,
}

const NAMES: [(Method, &str); 14] = [
    (Method::CreateTask, "createTask"),
    (Method::CompleteTask, "completeTask"),
    (Method::DeleteTask, "deleteTask"),
    (Method::ListTasks, "listTasks"),
    (Method::UpdateRow, "updateRow"),
    (Method::BatchInsert, "batchInsert"),
    (Method::ExecuteSql { is_rerun: false }, "executeSQL"),
    (Method::CreateTable, "createTable"),
    (Method::DeleteTable, "deleteTable"),
    (Method::GetSchema, "getSchema"),
    (Method::GetUsage, "getUsage"),
    (Method::GetAuditLog, "getAuditLog"),
    (Method::UpdateDebounced, "updateDebounced"),
    (Method::FlushDebounced, "flushDebounced"),
];

impl Method {
    /// The name in the protocol.
    pub fn name(self) -> &'static str {
        let plain =
            if matches!(self, Method::ExecuteSql { .. }) { Method::ExecuteSql { is_rerun: false } } else { self };
        NAMES.iter().find(|(method, _)| *method == plain).map_or("executeSQL", |(_, name)| name)
    }

    /// The method of that name; none for other methods.
    pub fn from_name(name: &str) -> Option<Method> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(method, _)| *method)
    }

    /// Whether it changes the database, so that it needs the right to write and waits for a commit.
    pub fn writes(self) -> bool {
        !matches!(
            self,
            Method::ListTasks | Method::ExecuteSql { .. } | Method::GetSchema | Method::GetUsage | Method::GetAuditLog
        )
    }
}

/// Who calls, as authentication says.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's id.
    pub user: Arc<str>,
    /// Whether the credential allows reading.
    pub may_read: bool,
    /// Whether the credential allows writing.
    pub may_write: bool,
    /// What the permissions of the room say.
    pub rules: Arc<Rules>,
}

/// The permissions of a room. Table names compare as SQLite compares them, without regard to the case of ASCII letters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// Protected tables besides `tasks`, which always is: a row belongs to the user in its `owner_id`.
    pub protected: BTreeSet<String>,
    /// Users who see all rows of a protected table.
    pub readers: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Users who may change all rows of a protected table.
    pub writers: BTreeMap<String, BTreeSet<Arc<str>>>,
}

impl Rules {
    /// Whether rows of this table belong to people.
    pub fn is_protected(&self, table: &str) -> bool {
        table.eq_ignore_ascii_case("tasks") || self.protected.iter().any(|name| name.eq_ignore_ascii_case(table))
    }

    /// Whether the user sees all rows of this protected table.
    pub fn reads_all(&self, table: &str, user: &str) -> bool {
        holds(&self.readers, table, user)
    }

    /// Whether the user may change all rows of this protected table.
    pub fn writes_all(&self, table: &str, user: &str) -> bool {
        holds(&self.writers, table, user)
    }

    /// All who see every row of this protected table.
    pub(crate) fn readers_of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        self.readers.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(table)).flat_map(|(_, users)| users)
    }
}

fn holds(entries: &BTreeMap<String, BTreeSet<Arc<str>>>, table: &str, user: &str) -> bool {
    entries.iter().any(|(name, users)| name.eq_ignore_ascii_case(table) && users.contains(user))
}

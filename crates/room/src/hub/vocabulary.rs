//! What members ask of a room database, what the room asks of the database, what that answers, and what members are told of it.
//!
//! Rows, queries and values are bytes of JSON that are passed on as they came: nothing here reads them. `dialect` turns messages into requests and news into
//! messages; the server carries questions to the database and outcomes back.

use crate::member::MemberId;
use crate::message::Author;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

/// Some users. As those who may read a row, none stands for everybody in the room; as exceptions, for nobody.
pub type Readers = Option<Arc<BTreeSet<Author>>>;

/// Something that a member wants. `echo`: what comes back with each answer to it, in the dialect's own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To be told of each change of a table from now on.
    Subscribe {
        /// The table, which need not exist.
        table: Arc<str>,
        /// For the refusal.
        echo: Bytes,
    },
    /// Not to be told of them any more, unless for a query that is watched.
    Unsubscribe(Arc<str>),
    /// Something that the database does.
    Call {
        /// What.
        method: &'static str,
        /// With what, as JSON.
        payload: Bytes,
        /// Only who may write is heard.
        writes: bool,
        /// What comes back.
        echo: Bytes,
    },
    /// To be shown to others for a while.
    SetMemory {
        /// As what.
        kind: MemoryKind,
        /// Under which name: a JSON string, one spelling for one name.
        label: Bytes,
        /// What: JSON.
        value: Bytes,
        /// Nothing is answered, unless it is refused.
        is_quiet: bool,
        /// What comes back.
        echo: Bytes,
    },
    /// What is shown now.
    GetMemory {
        /// As what.
        kind: MemoryKind,
        /// What comes back.
        echo: Bytes,
    },
    /// To be told that a query has to be asked again, and of the changes of its tables.
    WatchTables {
        /// Its name.
        query_id: Bytes,
        /// What it reads.
        tables: Vec<Arc<str>>,
        /// What comes back.
        echo: Bytes,
    },
    /// To be told the result of a query, now and after changes.
    WatchResult {
        /// Its name, if it has one.
        query_id: Option<Bytes>,
        /// The table whose changes count, beside those that the query turns out to read.
        table: Arc<str>,
        /// The query, as the payload of `EXECUTE`.
        payload: Bytes,
        /// What comes back with the first result.
        echo: Bytes,
    },
    /// Not to be told of a query any more.
    Unwatch {
        /// Its name.
        query_id: Bytes,
        /// What comes back.
        echo: Bytes,
    },
}

impl Request {
    /// Bytes of what it carries, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Subscribe { table, echo } => table.len() + echo.len(),
            Self::Unsubscribe(table) => table.len(),
            Self::Call { payload, echo, .. } => payload.len() + echo.len(),
            Self::SetMemory { label, value, echo, .. } => label.len() + value.len() + echo.len(),
            Self::GetMemory { echo, .. } => echo.len(),
            Self::WatchTables { query_id, tables, echo } => {
                query_id.len()
                    + tables.iter().map(|table| table.len() + size_of::<Arc<str>>()).sum::<usize>()
                    + echo.len()
            }
            Self::WatchResult { query_id, table, payload, echo } => {
                query_id.as_ref().map_or(0, Bytes::len) + table.len() + payload.len() + echo.len()
            }
            Self::Unwatch { query_id, echo } => query_id.len() + echo.len(),
        }
    }
}

/// The method that live queries run by.
pub const EXECUTE: &str = "executeSQL";
/// What refusals of a subscription are said to be about.
pub const SUBSCRIBE: &str = "subscribe";

/// What members show to each other without its being stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryKind {
    /// Where somebody is.
    Cursor,
    /// How somebody is.
    Presence,
}

impl MemoryKind {
    /// The method that sets it.
    pub fn setter(self) -> &'static str {
        match self {
            Self::Cursor => "setCursor",
            Self::Presence => "setPresence",
        }
    }

    /// The method that lists it.
    pub fn getter(self) -> &'static str {
        match self {
            Self::Cursor => "getCursors",
            Self::Presence => "getPresence",
        }
    }
}

/// What somebody shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Under which name: a JSON string.
    pub label: Bytes,
    /// What: JSON.
    pub value: Bytes,
}

/// Something that the database is to do. It is answered by `Input::Answered` with the same ticket, in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Names the question, once in the life of a room.
    pub ticket: u64,
    /// On whose behalf: its user and its rights count.
    pub member: MemberId,
    /// What.
    pub method: &'static str,
    /// With what, as JSON.
    pub payload: Bytes,
    /// A live query again: nobody has asked for it now, so it counts against no rate.
    pub is_rerun: bool,
}

/// What has become of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answer to who asked.
    pub answer: Answer,
    /// What has changed, in the order of the commit.
    pub changes: Vec<RowChange>,
    /// The whole schema as JSON, when it has changed.
    pub schema: Option<Bytes>,
    /// The answer is right for this user only.
    pub is_personal: bool,
    /// The tables that a query has read.
    pub tables: Vec<Arc<str>>,
}

impl Outcome {
    /// An answer, and nothing else.
    pub fn of(answer: Answer) -> Self {
        Self { answer, changes: Vec::new(), schema: None, is_personal: false, tables: Vec::new() }
    }
}

/// An answer to who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was read.
    Rows {
        /// A JSON array.
        data: Bytes,
        /// What was asked for: a JSON string.
        original_sql: Bytes,
        /// Rows that there are.
        total: Option<u64>,
        /// Of which so many at most, from this one on.
        page: Option<(u64, u64)>,
        /// A remark.
        info: Option<Arc<str>>,
    },
    /// It was done.
    Done {
        /// JSON.
        data: Option<Bytes>,
        /// In words.
        message: Option<&'static str>,
    },
    /// The schema as JSON.
    Schema(Bytes),
    /// It was not done.
    Failed {
        /// Why.
        error: Arc<str>,
        /// The same for programs.
        code: Option<&'static str>,
        /// The table that it is about.
        table: Option<Arc<str>>,
        /// JSON.
        data: Option<Bytes>,
    },
    /// A query is watched, or is not any more. Never from the database.
    Watching {
        /// Its name.
        query_id: Bytes,
        /// From now on.
        is_on: bool,
    },
}

impl Answer {
    /// It was not done, for this reason.
    pub fn failed(error: impl Into<Arc<str>>) -> Self {
        Self::Failed { error: error.into(), code: None, table: None, data: None }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Rows { data, original_sql, .. } => data.len() + original_sql.len(),
            Self::Done { data, .. } => data.as_ref().map_or(0, Bytes::len),
            Self::Schema(schema) => schema.len(),
            Self::Failed { error, data, .. } => error.len() + data.as_ref().map_or(0, Bytes::len),
            Self::Watching { query_id, .. } => query_id.len(),
        }
    }
}

/// The code of a failure that ends when the table is made.
pub const TABLE_NOT_FOUND: &str = "TABLE_NOT_FOUND";

/// What has happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is new.
    Added,
    /// It is different.
    Modified,
    /// It is gone.
    Deleted,
}

/// A row that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Its table, as the database spells it.
    pub table: Arc<str>,
    /// What has happened.
    pub action: Action,
    /// The row afterwards, or before it was deleted: a JSON object.
    pub row: Bytes,
    /// Who may know.
    pub readers: Readers,
    /// Who of them is not told, because another change of the same row is for them.
    pub except: Readers,
}

impl RowChange {
    /// A change that everybody may know of.
    pub fn of(table: impl Into<Arc<str>>, action: Action, row: impl Into<Bytes>) -> Self {
        Self { table: table.into(), action, row: row.into(), readers: None, except: None }
    }
}

/// Something that many members are told, with a place for the bytes in which their dialect says it: they are made once, and shared from then on. A room
/// database speaks one dialect.
#[derive(Debug)]
pub struct Told<T> {
    what: T,
    bytes: OnceLock<Bytes>,
}

impl<T> Told<T> {
    /// Said to nobody yet.
    pub fn new(what: T) -> Arc<Self> {
        Arc::new(Self { what, bytes: OnceLock::new() })
    }

    /// What is told.
    pub fn what(&self) -> &T {
        &self.what
    }

    /// As the dialect says it: `encode` is called for the first who is told.
    pub fn bytes(&self, encode: impl FnOnce(&T) -> Bytes) -> &Bytes {
        self.bytes.get_or_init(|| encode(&self.what))
    }
}

impl<T: PartialEq> PartialEq for Told<T> {
    fn eq(&self, other: &Self) -> bool {
        self.what == other.what
    }
}

impl<T: Eq> Eq for Told<T> {}

/// An answer with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What was asked for.
    pub method: &'static str,
    /// What the question came with.
    pub echo: Bytes,
    /// The answer.
    pub answer: Answer,
}

/// What members of a room database are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The answer to a request of the member's own.
    Reply(Arc<Reply>),
    /// A row of a table that the member is subscribed to has changed.
    RowChanged(Arc<Told<RowChange>>),
    /// The schema has changed: JSON.
    Schema(Bytes),
    /// Somebody shows something.
    Memory(MemoryKind, Arc<Shown>),
    /// All that is shown: the answer to a member's request.
    Memories {
        /// As what.
        kind: MemoryKind,
        /// What the request came with.
        echo: Bytes,
        /// By their names.
        all: Arc<Told<Vec<Arc<Shown>>>>,
    },
    /// A query of the member's has to be asked again, for a change like this one.
    Refresh {
        /// Its name.
        query_id: Bytes,
        /// The first such change.
        change: Arc<Told<RowChange>>,
    },
    /// A query of the member's has this result now.
    Result {
        /// Its name, if it has one.
        query_id: Option<Bytes>,
        /// The result.
        answer: Arc<Told<Answer>>,
    },
}

impl News {
    /// Bytes of what it carries, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Reply(reply) => reply.echo.len() + reply.answer.bytes(),
            Self::RowChanged(change) => change.what.table.len() + change.what.row.len(),
            Self::Schema(schema) => schema.len(),
            Self::Memory(_, shown) => shown.label.len() + shown.value.len(),
            Self::Memories { echo, all, .. } => {
                echo.len() + all.what.iter().map(|shown| shown.label.len() + shown.value.len()).sum::<usize>()
            }
            Self::Refresh { query_id, change } => query_id.len() + change.what.table.len(),
            Self::Result { answer, .. } => answer.what.bytes(),
        }
    }
}

//! What comes back: the output of [`crate::Tables::submit`]. The server makes protocol messages of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

/// What one call has led to. Changes are those of this call, in the order of the commit.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// For the caller.
    pub answer: Answer,
    /// For those who watch the tables.
    pub changes: Vec<RowChange>,
    /// The schema as JSON, when the call has changed it. For all.
    pub schema: Option<Bytes>,
    /// The answer depends on who has asked: a protected table was read.
    pub is_personal: bool,
    /// The tables that a statement has read, named as they were made. For live queries.
    pub tables: Vec<String>,
}

impl Outcome {
    /// Nothing but an answer.
    pub(crate) fn of(answer: Answer) -> Outcome {
        Outcome { answer, changes: Vec::new(), schema: None, is_personal: false, tables: Vec::new() }
    }

    /// A refusal in words.
    pub(crate) fn failed(error: impl Into<String>) -> Outcome {
        Outcome::of(Answer::Failed(Failure::new(error)))
    }
}

/// What the caller is told.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The rows of a read.
    Rows {
        /// A JSON array.
        data: Bytes,
        /// A JSON string: for `executeSQL` the characters of the payload's `sql`, quotes and escapes as they came.
        original_sql: Bytes,
        /// All rows that the caller may see, not only those of the page.
        total: Option<u64>,
        /// Limit and offset as they were applied.
        page: Option<(u64, u64)>,
        /// A sentence for people.
        info: Option<String>,
    },
    /// A write, or an operation in memory, has worked.
    Done {
        /// JSON.
        data: Option<Bytes>,
        /// A sentence of the protocol.
        message: Option<&'static str>,
    },
    /// The schema: a JSON object of arrays.
    Schema(Bytes),
    /// It has not worked, and nothing has changed, unless `data` says that some rows were inserted.
    Failed(Failure),
}

/// Why a call has failed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Failure {
    /// For people; the protocol's text, or SQLite's.
    pub error: String,
    /// `TABLE_NOT_FOUND` for a statement on a table that is not there.
    pub code: Option<&'static str>,
    /// That table.
    pub table: Option<String>,
    /// JSON: what an insert has to say about its rows.
    pub data: Option<Bytes>,
}

impl Failure {
    pub(crate) fn new(error: impl Into<String>) -> Failure {
        Failure { error: error.into(), ..Failure::default() }
    }
}

/// One row that has changed, and who is to know.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// The table's name as it was made.
    pub table: Arc<str>,
    /// What happened, as its readers see it.
    pub action: Action,
    /// A JSON object with the columns in the table's order: the row after the change, for [`Action::Deleted`] the one before.
    /// BLOBs are base64 strings.
    pub row: Bytes,
    /// Who may know: none stands for everybody who may enter the room.
    pub readers: Option<Arc<BTreeSet<Arc<str>>>>,
    /// Who of them is not told, because another change of the same row is for them: a row that leaves the sight of everybody but its new
    /// owner is `Deleted` for all except that owner, who gets `Modified`. Whoever ignores this member tells the owner both, in an order
    /// that ends right.
    pub except: Option<Arc<BTreeSet<Arc<str>>>>,
}

impl RowChange {
    /// Whether this user is to be told.
    pub fn is_for(&self, user: &str) -> bool {
        self.readers.as_ref().is_none_or(|readers| readers.contains(user))
            && !self.except.as_ref().is_some_and(|except| except.contains(user))
    }
}

/// What has happened to a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// It is new, or has come into sight.
    Added,
    /// A column has another value.
    Modified,
    /// It is gone, or out of sight.
    Deleted,
}

impl Action {
    /// The word of the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Action::Added => "added",
            Action::Modified => "modified",
            Action::Deleted => "deleted",
        }
    }
}

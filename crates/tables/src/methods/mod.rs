//! What each method does, one file for each kind. Threads call `write` inside a transaction and `read` for what needs a connection that
//! cannot write; a method checks its payload in the protocol's order and returns an outcome or a refusal. It begins and ends no transaction,
//! but for `batchInsert`, whose groups each have their own.

pub(crate) mod insert;
mod kept;
pub(crate) mod query;
mod rows;
mod shape;
mod tasks;

use std::cell::Cell;
use std::sync::Arc;

use rusqlite::Connection;

use crate::database::{Database, words};
use crate::payload::Payload;
use crate::rates::Rates;
use crate::{Answer, Call, Failure, Method, Outcome, Settings};

pub(crate) const TOO_FAST: &str = "Rate limit exceeded. Please slow down.";

/// A call on its way, with what it needs besides a connection.
pub(crate) struct Ask<'a> {
    pub(crate) room: &'a Arc<str>,
    pub(crate) call: &'a Call,
    pub(crate) payload: Payload<'a>,
    pub(crate) settings: &'a Settings,
    pub(crate) rates: &'a Rates,
    /// It has been counted already: a transaction may be run a second time.
    pub(crate) is_admitted: &'a Cell<bool>,
}

/// Why a method did nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// In the protocol's words.
    Told(Failure),
    /// In SQLite's.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(why: rusqlite::Error) -> Refusal {
        Refusal::Sql(why)
    }
}

impl From<Refusal> for Outcome {
    fn from(why: Refusal) -> Outcome {
        match why {
            Refusal::Told(failure) => Outcome::of(Answer::Failed(failure)),
            Refusal::Sql(why) => Outcome::failed(words(&why)),
        }
    }
}

/// A refusal in the protocol's words.
pub(crate) fn refuse(text: impl Into<String>) -> Refusal {
    Refusal::Told(Failure::new(text))
}

impl Ask<'_> {
    /// Counts the call for its rate, once.
    pub(crate) fn admit(&self, limit: usize, text: &str) -> Result<(), Refusal> {
        let call = self.call;
        if self.is_admitted.get() || self.rates.admits(self.room, &call.caller.user, call.method, limit, call.now_ms) {
            self.is_admitted.set(true);
            return Ok(());
        }
        Err(refuse(text))
    }
}

/// The right that the credential lacks, as a text.
pub(crate) fn lacks(call: &Call) -> Option<&'static str> {
    let caller = &call.caller;
    match call.method.writes() {
        true if !caller.may_write => Some("API key lacks the 'write' scope"),
        false if !caller.may_read => Some("API key lacks the 'read' scope"),
        _ => None,
    }
}

/// A method that writes, in the transaction that is open on `db`; `batchInsert` only with one group of rows.
pub(crate) fn write(db: &Connection, database: &Database, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    match ask.call.method {
        Method::CreateTask => tasks::create(db, ask),
        Method::CompleteTask => tasks::complete(db, ask),
        Method::DeleteTask => tasks::delete(db, ask),
        Method::UpdateRow => rows::update(db, ask),
        Method::BatchInsert => insert::run_in_transaction(db, ask),
        Method::CreateTable => shape::create(db, ask),
        Method::DeleteTable => shape::delete(db, ask),
        Method::UpdateDebounced => kept::update(database, ask),
        Method::FlushDebounced => Ok(kept::flushed()),
        _ => Err(refuse("this method does not write")),
    }
}

/// A short read.
pub(crate) fn read(database: &Database, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    match ask.call.method {
        Method::ListTasks => Ok(database.read(ask.settings, |db| tasks::list(db, ask))?),
        Method::GetSchema => Ok(database.read(ask.settings, shape::schema)?),
        Method::GetUsage => kept::usage(database, ask),
        Method::GetAuditLog => Ok(kept::audit_log()),
        _ => Err(refuse("this method is not a short read")),
    }
}

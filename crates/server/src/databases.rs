//! The SQL databases of rooms, as the rooms see them: a question goes to the database on behalf of a user, and its outcome comes back in the room's words.
//!
//! Called by the workers for what rooms ask, and by the HTTP API of the console. What a statement may do is the database's business; who may enter is the
//! accounts'. Waits for nothing but `close` and `delete`.

use crate::accounts::{Accounts, ConsoleVisitor};
use crate::auth::{Admission, Reach, Refusal, Standing};
use crate::config::{Config, Durability};
use crate::room_kind::RoomKind;
use bytes::Bytes;
use identity::Scopes;
use room::hub;
use room::{Author, Closing};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tables::{Call, Caller, Failure, Method, Settings, Tables, TablesError};

/// In the data folder.
const FOLDER: &str = "databases";

/// All room databases. Nothing is opened before it is asked for: most servers have none.
pub(crate) struct Databases {
    settings: Settings,
    /// The folder is to go with the process.
    is_temporary: bool,
    tables: OnceLock<Tables>,
    opening: Mutex<()>,
    accounts: Arc<Accounts>,
}

impl Drop for Databases {
    fn drop(&mut self) {
        if self.is_temporary && self.tables.take().is_some() {
            // What is left is the system's to remove.
            let _ = std::fs::remove_dir_all(&self.settings.folder);
        }
    }
}

/// What is asked of a database.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) method: &'static str,
    /// JSON.
    pub(crate) payload: Bytes,
    /// A live query again.
    pub(crate) is_rerun: bool,
}

/// On whose behalf something is asked.
#[derive(Clone, Debug)]
pub(crate) struct OnBehalf {
    pub(crate) user: Author,
    /// None: all.
    pub(crate) scopes: Option<Scopes>,
}

impl Databases {
    pub(crate) fn new(config: &Config, accounts: Arc<Accounts>) -> Self {
        let is_temporary = config.durability == Durability::Memory;
        Self { settings: settings(config), is_temporary, tables: OnceLock::new(), opening: Mutex::default(), accounts }
    }

    /// The databases, which are opened the first time; that waits for the disk.
    fn tables(&self) -> Result<&Tables, TablesError> {
        if let Some(tables) = self.tables.get() {
            return Ok(tables);
        }
        let _one_opens = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tables) = self.tables.get() {
            return Ok(tables);
        }
        let opened = Tables::open(self.settings.clone())?;
        Ok(self.tables.get_or_init(|| opened))
    }

    /// Asks the database of a room. `done` is called once, on another thread: when what was written is as safe as the configuration says, or when the
    /// answer is there.
    pub(crate) fn ask(
        &self,
        room: &str,
        wanted: Wanted,
        by: OnBehalf,
        now_ms: u64,
        done: impl FnOnce(hub::Outcome) + Send + 'static,
    ) {
        let method = match Method::from_name(wanted.method) {
            Some(Method::ExecuteSql { .. }) => Method::ExecuteSql { is_rerun: wanted.is_rerun },
            Some(method) => method,
            None => {
                let error = format!("{} is not available on this server", wanted.method);
                return done(hub::Outcome::of(hub::Answer::failed(error)));
            }
        };
        let call = Call { method, payload: wanted.payload, caller: self.caller(room, by), now_ms };
        match self.tables() {
            Ok(tables) => tables.submit(room, call, Box::new(move |outcome| done(heard(outcome)))),
            Err(error) => {
                tracing::error!(action = "store.error", %error, "cannot open room databases");
                done(hub::Outcome::of(hub::Answer::failed(error.to_string())));
            }
        }
    }

    fn caller(&self, room: &str, by: OnBehalf) -> Caller {
        let scopes = by.scopes.unwrap_or(Scopes { read: true, write: true, admin: true });
        Caller { user: by.user, may_read: scopes.read, may_write: scopes.write, rules: self.accounts.rules_of(room) }
    }

    /// Something was withdrawn since it was found out that somebody may enter.
    pub(crate) fn is_outdated(&self, standing: &Standing) -> bool {
        match standing.reach {
            Reach::Console { withdrawals, .. } => withdrawals != self.accounts.generation(),
            Reach::Rooms | Reach::Database | Reach::OwnRoom => false,
        }
    }

    /// Whether there is anything of a room; waits for the disk.
    pub(crate) fn exists(&self, room: &str) -> Result<bool, TablesError> {
        self.tables()?.exists(room)
    }

    /// Removes all of a room; waits for the disk. False: there was nothing.
    pub(crate) fn delete(&self, room: &str) -> Result<bool, TablesError> {
        self.tables()?.delete(room)
    }

    /// Finishes what was asked, and closes all files; waits for the disk.
    pub(crate) fn close(&self) -> Result<(), TablesError> {
        self.tables.get().map_or(Ok(()), Tables::close)
    }

    /// Whether somebody may stay who is in a room, as rules about rooms call it. `generation`: of the gate's answers.
    pub(crate) async fn confirm(
        &self,
        visitor: &Arc<ConsoleVisitor>,
        room: &str,
        generation: u64,
        now_ms: u64,
    ) -> Result<Admission, Refusal> {
        let room = room.strip_prefix(RoomKind::Database.prefix()).unwrap_or(room);
        let withdrawals = self.accounts.generation();
        let confirmed = self.accounts.confirm(visitor, room, now_ms).await;
        let visitor = confirmed.ok_or(Refusal::Closing(Closing::Revoked))?;
        Ok(visitor.admission(generation, withdrawals, now_ms))
    }
}

/// An outcome as the room takes it.
fn heard(outcome: tables::Outcome) -> hub::Outcome {
    let tables::Outcome { answer, changes, schema, is_personal, tables } = outcome;
    hub::Outcome {
        answer: match answer {
            tables::Answer::Rows { data, original_sql, total, page, info } => {
                hub::Answer::Rows { data, original_sql, total, page, info: info.map(Into::into) }
            }
            tables::Answer::Done { data, message } => hub::Answer::Done { data, message },
            tables::Answer::Schema(schema) => hub::Answer::Schema(schema),
            tables::Answer::Failed(Failure { error, code, table, data }) => {
                hub::Answer::Failed { error: error.into(), code, table: table.map(Into::into), data }
            }
        },
        changes: changes.into_iter().map(changed).collect(),
        schema,
        is_personal,
        tables: tables.into_iter().map(Into::into).collect(),
    }
}

fn changed(change: tables::RowChange) -> hub::RowChange {
    let action = match change.action {
        tables::Action::Added => hub::Action::Added,
        tables::Action::Modified => hub::Action::Modified,
        tables::Action::Deleted => hub::Action::Deleted,
    };
    hub::RowChange { table: change.table, action, row: change.row, readers: change.readers, except: change.except }
}

fn settings(config: &Config) -> Settings {
    let durability = match config.durability {
        Durability::Strict | Durability::Ack => tables::Durability::Synced,
        Durability::Interval => tables::Durability::Written,
        Durability::Memory => tables::Durability::Memory,
    };
    let room_db = &config.room_db;
    Settings {
        durability,
        open_max: room_db.open_max as usize,
        room_bytes_max: room_db.room_bytes_max,
        query_ms_max: room_db.query_ms_max,
        ..Settings::new(match config.durability {
            Durability::Memory => {
                let name = format!("concord-{FOLDER}-{}-{:016x}", std::process::id(), fastrand::u64(..));
                std::env::temp_dir().join(name)
            }
            _ => config.data.join(FOLDER),
        })
    }
}

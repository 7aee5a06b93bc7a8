//! A SQL database for each room, with rows that belong to people.
//!
//! This crate owns the SQLite files of one data folder: which room has which file, which are open, who waits for whom, what a method
//! does, who may see a row. The server calls [`Tables::submit`] and gets one [`Outcome`] for each [`Call`]. It knows SQLite only:
//! no network, no async runtime, no envelope of a client's protocol, no accounts; the caller says who asks and what is permitted.
//!
//! `src/tables.rs` is the door, `src/schedule.rs` decides who works on what next, `src/threads.rs` does it; `src/writing.rs` is the group commit;
//! `src/methods` has a file for each kind of method; `src/methods/query.rs` with `src/guard.rs`, `src/copies.rs` and `src/functions.rs` is where
//! a stranger's SQL runs; `src/sight.rs` is the one place that knows who may see a row.

mod call;
mod copies;
mod database;
mod debounced;
mod error;
mod functions;
mod guard;
mod json;
mod methods;
mod outcome;
mod payload;
mod rates;
mod room_file;
mod schedule;
mod settings;
mod sight;
mod table;
mod tables;
mod threads;
mod usage;
mod writing;

pub use call::{Call, Caller, Method, Rules};
pub use error::TablesError;
pub use outcome::{Action, Answer, Failure, Outcome, RowChange};
pub use settings::{Durability, Settings};
pub use tables::{Counts, RoomSummary, Tables};

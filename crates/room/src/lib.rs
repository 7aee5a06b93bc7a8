//! The rules of collaboration, provable without a network.
//!
//! A room is a value that turns inputs into effects; everything else carries bytes to it or carries its effects out.
//! No tokio, no clock, no randomness, no disk and no log output: `now` is an argument, and what has to happen outside is an effect.

mod awareness;
mod by_id;
pub mod hub;
mod limits;
mod member;
mod message;
pub mod notebook;
mod room;
mod rules;
mod snapshot;

pub use document::{StateVector, Update, wire::Invalid};
pub use hub::Hub;
pub use limits::{HubLimits, Limits, NotebookLimits};
pub use member::{Access, Kind, MemberId};
pub use message::{Author, Change, Closing, Denied, Effect, Effects, Event, Input, Manner, Person, Shown, Topic};
pub use notebook::Notebook;
pub use room::{Room, Stored};
pub use rules::Rules;
pub use snapshot::{ParkedUpdate, Snapshot, SnapshotError};

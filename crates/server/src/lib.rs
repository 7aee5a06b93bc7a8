//! The world around the rooms: sockets, tasks, configuration, logs. A library, so that tests can run a whole server in their process.

pub mod auth;
mod changes;
pub mod cli;
mod clock;
mod compaction;
pub mod config;
mod connections;
mod http;
pub mod logging;
mod offline;
mod outbox;
pub mod request;
mod ring;
mod room_task;
mod rooms;
pub mod routes;
mod serve;
mod socket;
mod upgrade;
pub mod websocket;

pub use clock::Clock;
pub use offline::{export, import, list};
pub use serve::{Server, open_store};

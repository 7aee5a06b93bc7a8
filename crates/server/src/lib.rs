//! The world around the rooms: sockets, tasks, configuration, logs. A library, so that tests can run a whole server in their process.

pub mod address;
pub mod auth;
mod changes;
pub mod cli;
mod clock;
mod compaction;
pub mod config;
mod connections;
mod host;
mod http;
mod liveness;
pub mod logging;
mod offline;
mod outbox;
pub mod request;
mod ring;
pub mod routes;
mod serve;
mod slots;
mod socket;
mod transport;
mod upgrade;
pub mod websocket;
mod worker;
mod workers;

pub use clock::Clock;
pub use offline::{export, import, list};
pub use serve::{Server, open_store};
pub use transport::certificates::CertificateError;
pub use transport::listen::ListenError;

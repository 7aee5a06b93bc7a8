//! A load generator for any server that speaks the y-websocket protocol: many clients, real Yjs updates, latency without coordinated omission.
//!
//! Called by `concord bench`. Knows the wire format as a client does, and nothing of the server: users point it at their own deployments, and at others'.

mod client;
mod fanout;
mod histogram;
mod process;
mod update;

pub use fanout::{Fanout, Pace};
pub use process::Process;

/// What went wrong, for people.
#[derive(Debug)]
pub struct LoadError(pub String);

impl std::fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}

impl From<std::io::Error> for LoadError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

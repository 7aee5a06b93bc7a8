//! A load generator for any server that speaks the y-websocket protocol (hocuspocus and y-sweet too): many clients, real Yjs updates, latency without
//! coordinated omission, and a check in the same run that everybody has everything.
//!
//! Called by `concord bench`. Knows the wire format as a client does, and nothing of the server: users point it at their own deployments, and at others'.
//! One thread, so that it can share a small machine with what it measures.

mod ack;
mod cli;
mod dialect;
mod document;
mod fanout;
mod fleet;
mod histogram;
mod idle;
mod open;
mod peers;
mod presence;
mod process;
mod protocol;
mod report;
mod run;
mod server;
mod slow_reader;
mod storm;
mod trace;
mod websocket;

pub use cli::{command, execute, main};
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

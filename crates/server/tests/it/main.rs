//! A whole server in this process, or the binary itself, with clients on real sockets: what one file of `src` cannot show alone.

mod access;
mod admin;
mod application;
mod bad_input;
mod bounds;
mod compaction;
mod credentials;
mod deflate;
mod durability;
mod entry;
mod failures;
mod http;
mod import;
mod json_yjs;
mod limits;
mod liveness;
mod loading;
mod mounts;
mod offline;
mod pages;
mod panics;
mod power;
mod process;
mod sessions_dialect;
mod shutdown;
mod slow;
mod sync;
mod tls;
mod transport;
mod webhooks;
mod y_sweet;

mod provider;
mod spy;
mod world;

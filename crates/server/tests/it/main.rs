//! A whole server in this process, or the binary itself, with clients on real sockets: what one file of `src` cannot show alone.

mod access;
mod bad_input;
mod bounds;
mod compaction;
mod deflate;
mod durability;
mod failures;
mod http;
mod liveness;
mod loading;
mod offline;
mod panics;
mod power;
mod process;
mod shutdown;
mod slow;
mod sync;
mod tls;
mod transport;

mod provider;
mod spy;
mod world;

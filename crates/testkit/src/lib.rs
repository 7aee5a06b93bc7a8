//! What the tests of the other crates share: a disk that fails as asked, the laws of a store as cases, a scripted
//! WebSocket client.
//!
//! Development only: no crate depends on it outside its tests. Chance and time come in as arguments, so that a failure
//! replays from its seed.

pub mod client;
pub mod contract;
pub mod disk;

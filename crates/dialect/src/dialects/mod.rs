//! One file a dialect, and `sync` for what several have in common.

pub(crate) mod hocuspocus;
pub(crate) mod json_yjs;
pub(crate) mod notes;
pub(crate) mod room_db;
pub(crate) mod sessions;
mod sync;
pub(crate) mod y_sweet;
pub(crate) mod y_websocket;

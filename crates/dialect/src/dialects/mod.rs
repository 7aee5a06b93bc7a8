//! One file a dialect.

pub(crate) mod hocuspocus;
pub(crate) mod json_yjs;
pub(crate) mod sessions;
pub(crate) mod y_sweet;
pub(crate) mod y_websocket;

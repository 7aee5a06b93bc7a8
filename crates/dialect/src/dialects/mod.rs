//! One file a dialect.

pub(crate) mod y_websocket;

//! Each dialect against transcripts of what its clients send and must be sent, and against its byte vectors.

mod json_yjs;
mod sessions;
mod transcript;
mod y_sweet;
mod y_websocket;

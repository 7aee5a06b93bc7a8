//! Each dialect against transcripts of what its clients send and must be sent, and against its byte vectors.

mod database;
mod hocuspocus;
mod json_yjs;
mod notes;
mod room_db;
mod sessions;
mod switchboard;
mod transcript;
mod y_sweet;
mod y_websocket;

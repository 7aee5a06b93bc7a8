//! A Yjs document as a server needs it: bytes in, bytes out, never integrated.
//!
//! A relay has to know what is new, what somebody lacks, and how to write all of it down in few bytes. None of that
//! needs the CRDT's integration, so there is no linked list and no conflict resolution here: `wire` accepts or rejects
//! untrusted bytes, `Document` keeps the accepted structs and delete ranges. No I/O, no clock, no recursion, no unsafe.

mod attribution;
mod document;
mod encode;
mod json;
pub mod lib0;
mod limits;
mod parents;
mod parked;
mod ranges;
mod structs;
mod survey;
pub mod wire;

pub use attribution::{Attribution, Span};
pub use document::{Added, Document, NewRange, Part};
pub use json::{is_json, is_json_object_or_null};
pub use limits::{Exceeded, MessageLimits, RoomLimits};
pub use wire::{Malformed, StateVector, Update};

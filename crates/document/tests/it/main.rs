//! The struct store held to its promises: real byte vectors, hostile bytes, bounds, and random histories against a model.
//!
//! Cases that are bytes are lines in `testdata`; what the tests write and read themselves goes through `writer` and `reader`, which
//! share no code with the store beyond the varints.

mod histories;
mod hostile;
mod limits;
mod model;
mod mutations;
mod notation;
mod parts;
mod reader;
mod vectors;
mod writer;

use document::{Document, MessageLimits, Part, StateVector, Update};

/// Bytes that must be valid.
fn update(bytes: &[u8]) -> Update<&[u8]> {
    Update::validate(bytes, &MessageLimits::default()).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

/// Adds bytes that must be valid, as author 0.
fn add(document: &mut Document, bytes: &[u8]) -> document::Added {
    document.add(&update(bytes), 0)
}

/// The bytes to tell others, given those that came.
fn bytes_of<'a>(part: &'a Part, whole: &'a [u8]) -> &'a [u8] {
    match part {
        Part::Whole => whole,
        Part::Cut { bytes, .. } => bytes,
    }
}

fn vector(bytes: &[u8]) -> StateVector {
    StateVector::decode(bytes, &MessageLimits::default()).expect("a state vector")
}

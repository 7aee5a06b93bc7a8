//! What a notes client sends: an envelope of `type`, `payload` and `timestamp`. Knows no room and counts nothing; what follows is the session's business.

use super::json::{Fault, Object, text};
use super::note::{Lenience, is_note_id, read_note};
use super::{Complaint, instant};
use room::notebook::NewNote;
use std::borrow::Cow;

/// Members of an envelope and of its payload that are looked at: a few are known.
const MEMBERS_MAX: usize = 1_000;
/// Characters of a type that are repeated to the client.
const TYPE_CHARACTERS_MAX: usize = 64;
/// A number of milliseconds has 13 digits; what is longer is not repeated.
const NUMBER_BYTES_MAX: usize = 32;

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// An answer, with this number in it if it sent one.
    Ping(Option<String>),
    /// A note is to be like this.
    Update(NewNote),
    /// A note is to go; when, if its clock can be read.
    Delete(String, Option<i64>),
}

/// Reads a message. `now_ms`: milliseconds since the Unix epoch.
pub(super) fn read(payload: &[u8], now_ms: u64) -> Result<Message, Complaint> {
    let json = std::str::from_utf8(payload).map_err(|_| Complaint::json())?;
    let envelope = Object::read(json, MEMBERS_MAX).map_err(|fault| match fault {
        Fault::NotJson => Complaint::json(),
        Fault::NotAnObject => Complaint::message("a message has to be an object", None),
        Fault::TooManyMembers => {
            Complaint::message("a message has type, payload and timestamp, and not so much else", None)
        }
    })?;
    let kind = envelope.get("type").and_then(lossy).filter(|kind| !kind.is_empty());
    let kind = kind.ok_or_else(|| Complaint::message("type has to be a string that is not empty", None))?;
    let repeated = || Some(kind.chars().take(TYPE_CHARACTERS_MAX).collect::<String>());
    let timestamp = envelope.get("timestamp").and_then(lossy);
    let timestamp = timestamp.ok_or_else(|| Complaint::message("timestamp has to be a string", repeated()))?;
    let payload = envelope.get("payload");
    let payload = payload.ok_or_else(|| Complaint::message("payload is missing", repeated()))?;
    if !["ping", "note_update", "note_delete"].contains(&&*kind) {
        return Err(Complaint::unknown_type(repeated()));
    }
    let object = Object::read(payload, MEMBERS_MAX);
    if kind == "ping" {
        let number = object.ok().and_then(|object| object.get("timestamp"));
        let number = number.filter(|number| number.len() <= NUMBER_BYTES_MAX && is_number(number));
        return Ok(Message::Ping(number.map(str::to_owned)));
    }
    let object = object.map_err(|_| Complaint::message("payload has to be an object", repeated()))?;
    if kind == "note_update" {
        let note = object.get("note").ok_or_else(|| Complaint::no_note(repeated()))?;
        let note = read_note(note, Lenience::default(), now_ms);
        return note.map(Message::Update).map_err(|fault| Complaint::note(fault, repeated()));
    }
    let id = object.get("noteId").and_then(text).filter(|id| is_note_id(id));
    let id = id.ok_or_else(|| Complaint::no_id(repeated()))?;
    Ok(Message::Delete(id.into_owned(), instant::parse(&timestamp)))
}

/// A string, of which any half of a surrogate pair does not matter.
fn lossy(json: &str) -> Option<Cow<'_, str>> {
    text(json).or_else(|| json.starts_with('"').then(|| Cow::Borrowed(&json[1..json.len() - 1])))
}

fn is_number(json: &str) -> bool {
    json.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

//! The notebook over HTTP: what a room answers as status and body. Called by the server's HTTP API, which reads the requests and knows paths and headers.

use super::instant::written;
use super::json::quoted;
use super::note::InvalidNote;
use super::{refusal_words, write_members};
use room::notebook::{Entry, Mark, News, Note};

/// A response: JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// What was wanted, where the same news is told in other words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A note was to come back.
    Restore,
    /// Anything else.
    Other,
}

/// What an answer of a notebook is told as. None: it answers nothing.
pub fn answer(call: Call, news: &News) -> Option<Answer> {
    let done = |body| Some(Answer { status: 200, body });
    match news {
        News::Stored(note) if call == Call::Restore => {
            let note = of_note(note, None);
            done(format!("{{\"success\":true,\"message\":\"Note restored successfully\",\"note\":{note}}}"))
        }
        News::Stored(note) => done(of_note(note, None)),
        News::Found(entry) => match of_entry(entry) {
            Some(note) => done(note),
            None => Some(not_found()),
        },
        News::Erased(mark) => {
            let deleted = written(mark.deleted_ms);
            let message = "Note deleted successfully";
            done(format!("{{\"success\":true,\"message\":\"{message}\",\"deletedAt\":\"{deleted}\"}}"))
        }
        News::NotFound(_) => Some(not_found()),
        News::Conflict(entry) => {
            let note = of_entry(entry).unwrap_or_else(|| "null".to_owned());
            let message = match entry {
                Entry::Live(_) => "a newer note is stored; merge yours with it and send it with a later updatedAt",
                Entry::Gone(_) => {
                    "the note was deleted later than that; send it with a later updatedAt to bring it back"
                }
            };
            let error = error_object("CONFLICT", message, None);
            let body = format!("{{\"error\":{error},\"note\":{note}}}");
            Some(Answer { status: 409, body })
        }
        News::Refused { why, .. } => {
            let (code, message) = refusal_words(why);
            Some(error(403, code, &message, None))
        }
        News::Page { entries, total, page, limit } => {
            let mut body = Vec::with_capacity(news.bytes() + 128);
            body.extend_from_slice(b"{\"data\":[");
            let mut count = 0;
            for entry in entries.iter() {
                let (note, deleted_ms) = match entry {
                    Entry::Live(note) => (Some(note), None),
                    Entry::Gone(mark) => (mark.note.as_ref(), Some(mark.deleted_ms)),
                };
                let Some(note) = note else { continue };
                separate(&mut body, count);
                write_whole(note, deleted_ms, &mut body);
                count += 1;
            }
            let pages = total.div_ceil(*limit);
            let has_more = *page < pages;
            let rest = format!(
                "],\"total\":{total},\"page\":{page},\"limit\":{limit},\"totalPages\":{pages},\"hasMore\":{has_more}}}"
            );
            body.extend_from_slice(rest.as_bytes());
            done(text(body))
        }
        News::Changes { notes, marks, now_ms } => {
            let mut body = Vec::with_capacity(news.bytes() + 64);
            body.extend_from_slice(b"{\"notes\":[");
            for (place, note) in notes.iter().enumerate() {
                separate(&mut body, place);
                write_whole(note, None, &mut body);
            }
            body.extend_from_slice(b"],\"deleted\":[");
            for (place, mark) in marks.iter().enumerate() {
                separate(&mut body, place);
                write_mark(mark, &mut body);
            }
            body.extend_from_slice(format!("],\"serverTime\":\"{}\"}}", written(*now_ms as i64)).as_bytes());
            done(text(body))
        }
        News::Updated(_) | News::Deleted(_) | News::Resync { .. } => None,
    }
}

/// What an error is told as: `{"error":{"code","message"}}`, with the member of the note that breaks a rule where it is about one.
pub fn error(status: u16, code: &str, message: &str, field: Option<&str>) -> Answer {
    Answer { status, body: format!("{{\"error\":{}}}", error_object(code, message, field)) }
}

/// What a note that breaks a rule is answered by.
pub fn invalid(fault: &InvalidNote) -> Answer {
    error(400, "INVALID_NOTE", &fault.message, Some(fault.member))
}

/// A notebook that is not open for writing now, or any fault of the server.
pub fn internal(message: &str) -> Answer {
    error(500, "INTERNAL_ERROR", message, None)
}

fn not_found() -> Answer {
    error(404, "NOT_FOUND", "there is no such note, or it was deleted more than 30 days ago", None)
}

fn error_object(code: &str, message: &str, field: Option<&str>) -> String {
    let field = field.map_or_else(String::new, |field| format!(",\"field\":{}", quoted(field)));
    format!("{{\"code\":{},\"message\":{}{field}}}", quoted(code), quoted(message))
}

/// None: a mark without content.
fn of_entry(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Live(note) => Some(of_note(note, None)),
        Entry::Gone(mark) => mark.note.as_ref().map(|note| of_note(note, Some(mark.deleted_ms))),
    }
}

fn of_note(note: &Note, deleted_ms: Option<i64>) -> String {
    let mut body = Vec::with_capacity(note.members.len() + 160);
    write_whole(note, deleted_ms, &mut body);
    text(body)
}

fn write_whole(note: &Note, deleted_ms: Option<i64>, body: &mut Vec<u8>) {
    body.push(b'{');
    write_members(note, body);
    let deleted = deleted_ms.map_or_else(|| "null".to_owned(), |deleted_ms| format!("\"{}\"", written(deleted_ms)));
    body.extend_from_slice(format!(",\"deletedAt\":{deleted}}}").as_bytes());
}

fn write_mark(mark: &Mark, body: &mut Vec<u8>) {
    let (id, deleted) = (quoted(&mark.id), written(mark.deleted_ms));
    body.extend_from_slice(format!("{{\"noteId\":{id},\"deletedAt\":\"{deleted}\"}}").as_bytes());
}

fn separate(body: &mut Vec<u8>, place: usize) {
    if place > 0 {
        body.push(b',');
    }
}

/// Members of notes are text: a record with others is not read.
fn text(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

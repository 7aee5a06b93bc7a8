//! The Y-Sweet client's protocol: that of Yjs with a sync status, which comes back when what was sent before it is saved.
//!
//! Binary messages only, one a frame to the client. Beside sync, awareness and its query there is `66 varbytes`: opaque, and answered with the same bytes. The client counts
//! its changes in it, and shows "saved" when its newest count has come back. It sends the first count before the step 2 with the changes that were counted, so
//! until that has come every status waits for it. A server that is silent for three seconds is given up, so one that still owes an answer says at least that it
//! is there. Who may only read is not told so. Refusals are HTTP statuses: clients look for 401 in a failed handshake.

use super::sync::{self, Voice};
use crate::{Act, Body, Dialect, Entry, Expiry, Farewell, Frame, HttpRefusal, Session, Told};
use bytes::Bytes;
use document::lib0::{ReadError, Reader};
use room::{Access, Closing, Event, Input};

const SYNC_STATUS: u64 = 102;

/// Bytes of a status' body: clients put one number of up to eight into it. One waits for each connection.
const STATUS_BYTES_MAX: usize = 64 << 10;

/// The dialect. `terse`: refusals have no text.
#[derive(Debug)]
pub(crate) struct YSweet {
    pub(crate) terse: bool,
}

impl Dialect for YSweet {
    fn name(&self) -> &'static str {
        "y-sweet"
    }

    fn write<'a>(&self, event: &'a Event, out: &mut Vec<u8>) -> Option<Body<'a>> {
        sync::write(event, out)
    }

    fn farewell(&self, closing: &Closing) -> Farewell {
        let (code, reason) = sync::close_code(closing);
        Farewell { message: None, delay_ms: 0, code: Some(code), reason: reason.to_owned() }
    }

    fn refusal(&self, closing: &Closing) -> Option<HttpRefusal> {
        let (status, detail) = match closing {
            Closing::Unauthorized => (401, "No token provided."),
            Closing::Outdated | Closing::TokenExpired => (401, "The token is expired"),
            Closing::Forbidden | Closing::Revoked | Closing::Removed { .. } => {
                (401, "The token is not valid for the requested resource")
            }
            Closing::NotFound | Closing::Deleted => (404, "Doc not found"),
            Closing::Incomplete(_) => (400, "Invalid document name"),
            other => (503, sync::close_code(other).1),
        };
        let body = if self.terse { String::new() } else { format!("Something went wrong: {detail}") };
        Some(HttpRefusal { status, is_json: false, body })
    }

    fn keep_alive(&self) -> Option<&'static [u8]> {
        Some(sync::KEEP_ALIVE)
    }

    fn expiry(&self) -> Expiry {
        Expiry::Stays
    }

    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session> {
        let voice = Voice { member: entry.member, limits: *entry.limits };
        Box::new(YSweetSession { voice, newest: None, marks: Marks::BeforeStep2 })
    }
}

struct YSweetSession {
    voice: Voice,
    /// The newest status that was not answered yet: a whole message.
    newest: Option<Bytes>,
    marks: Marks,
}

/// How far the room has come with what precedes the newest status.
#[derive(Debug, PartialEq, Eq)]
enum Marks {
    /// What the first statuses have counted has not come yet.
    BeforeStep2,
    /// So many marks are with the room, in the order of their statuses. `written`: a change was sent behind the last of them.
    AtRoom { count: usize, written: bool },
}

/// What a message is.
enum Said {
    Room(Input),
    /// The whole message, and how long its body is.
    Status(Bytes, usize),
    Nothing,
    /// Of a type that has no meaning and no known end.
    Unknown,
}

impl Session for YSweetSession {
    fn open(&mut self, access: Access, acts: &mut Vec<Act>) {
        let member = self.voice.member;
        if access == Access::Write {
            // A document that somebody has opened exists, as the API tells it.
            acts.push(Act::Room(Input::Found(member)));
        }
        acts.push(Act::Room(Input::Ask(member)));
        acts.push(Act::Room(Input::QueryAwareness { member, always: true }));
    }

    fn receive(&mut self, frame: Frame, _: u64, acts: &mut Vec<Act>) {
        let Frame::Binary(frame) = frame else { return };
        let (mut reader, enough) = (Reader::new(&frame), acts.len() + sync::MESSAGES_PER_FRAME_MAX);
        while !reader.is_empty() {
            let said = if acts.len() < enough { self.read(&frame, &mut reader) } else { Err(ReadError::Truncated) };
            match said {
                Ok(Said::Room(input)) => self.tell_room(input, acts),
                Ok(Said::Status(_, bytes)) if bytes > STATUS_BYTES_MAX => {
                    let reason = format!("sync status larger than {STATUS_BYTES_MAX} bytes");
                    return acts.push(Act::End(Closing::Protocol(1009, reason)));
                }
                Ok(Said::Status(message, _)) => {
                    self.newest = Some(message);
                    if self.marks != Marks::BeforeStep2 {
                        self.mark(acts);
                    }
                }
                Ok(Said::Nothing) => {}
                // Where the next message begins cannot be known.
                Ok(Said::Unknown) => return,
                Err(ReadError::Truncated | ReadError::IntegerTooBig | ReadError::NotUtf8) => {
                    return acts.push(Act::Room(Input::Malformed(self.voice.member)));
                }
            }
        }
    }

    fn tell(&mut self, event: &Event) -> Told {
        let Event::Marked(_) = event else { return Told::InCommon };
        if let Marks::AtRoom { count, .. } = &mut self.marks {
            *count = count.saturating_sub(1);
            // What precedes the newest one is not saved before the last mark comes.
            if *count > 0 {
                return Told::Own(Vec::new());
            }
        }
        Told::Own(self.newest.take().map(Frame::Binary).into_iter().collect())
    }

    fn owes(&self) -> bool {
        self.newest.is_some()
    }
}

impl YSweetSession {
    fn read(&self, frame: &Bytes, reader: &mut Reader<'_>) -> Result<Said, ReadError> {
        let begins = reader.position();
        match reader.var_uint()? {
            SYNC_STATUS => {
                let bytes = reader.var_bytes()?.len();
                Ok(Said::Status(sync::part_of(frame, &frame[begins..reader.position()]), bytes))
            }
            // Whatever these mean, they are whole.
            4..=127 => reader.var_bytes().map(|_| Said::Nothing),
            kind => Ok(self.voice.message(kind, frame, reader)?.map_or(Said::Unknown, Said::Room)),
        }
    }

    fn tell_room(&mut self, input: Input, acts: &mut Vec<Act>) {
        let (is_change, is_step_2) = match &input {
            Input::Update { is_answer, .. } => (true, *is_answer),
            _ => (false, false),
        };
        acts.push(Act::Room(input));
        match &mut self.marks {
            Marks::BeforeStep2 if is_step_2 => {
                self.marks = Marks::AtRoom { count: 0, written: true };
                if self.newest.is_some() {
                    self.mark(acts);
                }
            }
            Marks::AtRoom { written, .. } => *written |= is_change,
            Marks::BeforeStep2 => {}
        }
    }

    /// Has the room say when all that was sent by now is saved. A mark that is there already serves as long as nothing was written behind it.
    fn mark(&mut self, acts: &mut Vec<Act>) {
        let Marks::AtRoom { count, written } = &mut self.marks else { return };
        if *count == 0 || *written {
            (*count, *written) = (*count + 1, false);
            acts.push(Act::Room(Input::Mark(self.voice.member, Bytes::new())));
        }
    }
}

//! What clients send: one JSON object with an `action`. Reads the envelope and says what is wanted, or answers at once what needs no room.
//!
//! Called by the dialect's session, which counts the faults. Payloads are passed on unread, except those of cursors and presence, whose two members the room
//! keeps apart.

use super::json::{canonical, is_json, members, quote, text, texts};
use super::method::{self, BATCH_INSERT, CREATE_TASK, Kind, SET_CURSOR, SET_PRESENCE};
use super::news::{append_last, words_of};
use crate::dialects::sync::part_of;
use bytes::Bytes;
use room::hub::{MemoryKind, Request};

/// Characters of a name that are repeated to the client.
const NAME_CHARACTERS_MAX: usize = 64;
/// What counts as a payload where none is.
const NO_PAYLOAD: &str = "{}";

/// What a message means.
pub(super) enum Meaning {
    /// The room is to do something.
    Room(Request),
    /// This is the whole answer.
    Reply(Vec<u8>),
}

/// Whether what was sent was a message at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Message,
}

/// The members that a message may have, as they are written.
struct Envelope<'a> {
    frame: &'a Bytes,
    action: Option<&'a str>,
    table: Option<&'a str>,
    tables: Option<&'a str>,
    method: Option<&'a str>,
    payload: Option<&'a str>,
    query_id: Option<&'a str>,
    sql: Option<&'a str>,
    params: Option<&'a str>,
    echo: Bytes,
}

/// Reads one message.
pub(super) fn read(frame: &Bytes) -> (Meaning, Fault) {
    let Ok(json) = std::str::from_utf8(frame) else { return fault("Invalid JSON") };
    match Envelope::read(frame, json) {
        Some(envelope) => envelope.meaning(),
        None if is_json(json) => fault("Invalid message"),
        None => fault("Invalid JSON"),
    }
}

/// Whether this is a call that may be larger than others.
pub(super) fn is_large_insertion(frame: &Bytes) -> bool {
    let json = std::str::from_utf8(frame).ok();
    let names = json.and_then(|json| members(json, ["action", "method"]));
    names.is_some_and(|names| {
        names.map(|name| name.and_then(text)) == ["rpc", BATCH_INSERT].map(|name| Some(name.into()))
    })
}

/// Whether the client waits for an answer with that echo.
pub(super) fn is_awaited(echo: &[u8]) -> bool {
    echo.starts_with(b"\"requestId\":") || echo.starts_with(b"\"id\":")
}

impl<'a> Envelope<'a> {
    fn read(frame: &'a Bytes, json: &'a str) -> Option<Self> {
        let names = [
            "action",
            "table",
            "tables",
            "method",
            "payload",
            "queryId",
            "sql",
            "params",
            "requestId",
            "updateId",
            "id",
        ];
        let [action, table, tables, method, payload, query_id, sql, params, request_id, update_id, id] =
            members(json, names)?;
        let echo = echo([("requestId", request_id), ("updateId", update_id), ("id", id)]);
        Some(Self { frame, action, table, tables, method, payload, query_id, sql, params, echo })
    }

    fn meaning(self) -> (Meaning, Fault) {
        let Some(action) = self.action.and_then(text) else {
            return self.incomplete("action", "this member is missing, or is no string");
        };
        match action.as_str() {
            "ping" => self.reply("\"type\":\"pong\""),
            "subscribe" | "unsubscribe" => {
                let Some(table) = self.table.and_then(text) else {
                    return self.incomplete("table", "this member is missing, or is no string");
                };
                let table = table.into();
                let is_on = action == "subscribe";
                self.room(|echo| if is_on { Request::Subscribe { table, echo } } else { Request::Unsubscribe(table) })
            }
            "subscribe_query" => self.watch(),
            "unsubscribe_query" => match self.query_id.and_then(canonical) {
                Some(query_id) => self.room(|echo| Request::Unwatch { query_id: query_id.into(), echo }),
                None => self.incomplete("queryId", "this member is missing, or is no string"),
            },
            "rpc" => match self.method.and_then(text) {
                Some(method) => (self.call(&method, false), Fault::None),
                None => (self.unknown_method(""), Fault::Message),
            },
            SET_CURSOR | SET_PRESENCE => (self.call(&action, true), Fault::None),
            CREATE_TASK => (self.call(&action, false), Fault::None),
            "query" => self.reply(
                "\"type\":\"query_error\",\"error\":\"Raw SQL queries are disabled for security. Please use RPC methods.\"",
            ),
            "mutate" => self.reply("\"error\":\"Raw mutations are disabled. Use RPC actions.\""),
            unknown => self.incomplete("action", &format!("there is no action {:?}", shortened(unknown))),
        }
    }

    fn room(self, request: impl FnOnce(Bytes) -> Request) -> (Meaning, Fault) {
        (Meaning::Room(request(self.echo)), Fault::None)
    }

    fn reply(&self, members: &str) -> (Meaning, Fault) {
        (self.answer(members), Fault::None)
    }

    fn answer(&self, members: &str) -> Meaning {
        let mut out = format!("{{{members}").into_bytes();
        append_last(&self.echo, &mut out);
        Meaning::Reply(out)
    }

    fn incomplete(&self, path: &str, message: &str) -> (Meaning, Fault) {
        let message = quoted(message);
        let details = format!("[{{\"path\":[\"{path}\"],\"message\":{message}}}]");
        (
            self.answer(&format!("\"type\":\"error\",\"error\":\"Invalid message\",\"details\":{details}")),
            Fault::Message,
        )
    }

    fn error(&self, code: Option<&str>, error: &str) -> Meaning {
        let code = code.map(|code| format!(",\"code\":\"{code}\"")).unwrap_or_default();
        self.answer(&format!("\"type\":\"error\"{code},\"error\":{}", quoted(error)))
    }

    fn unknown_method(&self, method: &str) -> Meaning {
        self.error(Some("UNKNOWN_METHOD"), &format!("Unknown RPC method: {}", shortened(method)))
    }

    /// The payload if it is an object, otherwise an empty one.
    fn payload(&self) -> &'a str {
        self.payload.filter(|payload| payload.starts_with('{')).unwrap_or(NO_PAYLOAD)
    }

    fn payload_bytes(&self) -> Bytes {
        match self.payload() {
            NO_PAYLOAD => Bytes::from_static(NO_PAYLOAD.as_bytes()),
            payload => part_of(self.frame, payload.as_bytes()),
        }
    }

    fn call(self, name: &str, is_quiet: bool) -> Meaning {
        let Some((method, kind)) = method::of_name(name) else { return self.unknown_method(name) };
        let writes = match kind {
            Kind::Read | Kind::Schema => false,
            Kind::Write | Kind::Debounced => true,
            Kind::Set(kind) => return self.set_memory(kind, is_quiet),
            Kind::Get(kind) => return Meaning::Room(Request::GetMemory { kind, echo: self.echo }),
            Kind::Search => return self.answer("\"type\":\"query_result\",\"data\":[],\"originalSql\":\"search\""),
            Kind::SyncStatus => {
                let status = "{\"status\":\"healthy\",\"replicaAvailable\":false}";
                let result = format!("\"type\":\"query_result\",\"data\":[{status}],\"originalSql\":\"{method}\"");
                return self.answer(&result);
            }
            Kind::Absent => {
                return self.error(Some("NOT_SUPPORTED"), &format!("{method} is not available on this server"));
            }
        };
        Meaning::Room(Request::Call { method, payload: self.payload_bytes(), writes, echo: self.echo })
    }

    fn set_memory(self, kind: MemoryKind, is_quiet: bool) -> Meaning {
        let (_, value_name) = words_of(kind);
        let [label, value] = members(self.payload(), ["userId", value_name]).unwrap_or_default();
        let label = label.and_then(canonical).filter(|label| label.len() > "\"\"".len());
        let (Some(label), Some(value)) = (label, value) else {
            return self.error(None, &format!("{} requires userId and {value_name}", kind.setter()));
        };
        // It outlives the frame.
        let (label, value) = (label.into(), Bytes::copy_from_slice(value.as_bytes()));
        Meaning::Room(Request::SetMemory { kind, label, value, is_quiet, echo: self.echo })
    }

    /// Two forms of live queries: of one the client is told that it has to be asked again, of the other it is told the result.
    fn watch(self) -> (Meaning, Fault) {
        let query_id = self.query_id.and_then(canonical).map(Bytes::from);
        let tables = self.tables.and_then(texts);
        if let (Some(query_id), Some(_), Some(tables)) = (&query_id, self.method.and_then(text), tables) {
            let (query_id, tables) = (query_id.clone(), tables.into_iter().map(Into::into).collect());
            return self.room(|echo| Request::WatchTables { query_id, tables, echo });
        }
        let sql = self.sql.filter(|sql| text(sql).is_some());
        let (Some(sql), Some(table)) = (sql, self.table.and_then(text)) else {
            let error = "subscribe_query requires queryId, method, and tables";
            return (self.error(None, error), Fault::Message);
        };
        let params = self.params.map(|params| format!(",\"params\":{params}")).unwrap_or_default();
        let payload = format!("{{\"sql\":{sql}{params}}}").into();
        let name = query_id.as_ref().map(|query_id| [b",\"queryId\":", &query_id[..]].concat());
        let echo: Bytes = [&self.echo[..], &name.unwrap_or_default()].concat().into();
        let echo = if self.echo.is_empty() && !echo.is_empty() { echo.slice(1..) } else { echo };
        (Meaning::Room(Request::WatchResult { query_id, table: table.into(), payload, echo }), Fault::None)
    }
}

/// The members that come back with each answer: those which are strings, and `id` only where there is no `requestId`.
fn echo(members: [(&str, Option<&str>); 3]) -> Bytes {
    let [request_id, update_id, id] = members.map(|(name, value)| (name, value.filter(|value| value.starts_with('"'))));
    let first = if request_id.1.is_some() { request_id } else { id };
    let mut out = Vec::new();
    for (name, value) in [first, update_id] {
        let Some(value) = value else { continue };
        if !out.is_empty() {
            out.push(b',');
        }
        quote(name, &mut out);
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    out.into()
}

/// What is said of something that is no message.
fn fault(error: &str) -> (Meaning, Fault) {
    (Meaning::Reply(format!("{{\"type\":\"error\",\"error\":\"{error}\"}}").into()), Fault::Message)
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    quote(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn shortened(name: &str) -> String {
    name.chars().take(NAME_CHARACTERS_MAX).collect()
}

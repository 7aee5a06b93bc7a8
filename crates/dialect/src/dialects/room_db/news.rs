//! What members of a room database are told, as messages. Called by the dialect: `write` once for all who are told the same, `second` for the two answers
//! that are two messages. What many are told is made once and kept with the news; only what is each member's own is written before it.

use super::json::quote;
use super::method::{Form, form_of};
use bytes::Bytes;
use room::hub::{Action, Answer, MemoryKind, News, Reply, RowChange, Shown, TABLE_NOT_FOUND};
use std::sync::Arc;

/// Appends a message up to its end, which is returned if it lies ready.
pub(super) fn write<'a>(news: &'a News, out: &mut Vec<u8>) -> Option<&'a Bytes> {
    match news {
        News::Reply(reply) => {
            out.push(b'{');
            append_answer(&reply.answer, reply.method, out);
            append_last(&reply.echo, out);
            None
        }
        News::RowChanged(change) => Some(change.bytes(row_changed)),
        News::Schema(schema) => {
            append(&[b"{\"type\":\"schema_update\",\"schema\":", schema, b"}"], out);
            None
        }
        News::Memory(kind, shown) => {
            let (name, _) = words_of(*kind);
            append(&[b"{\"event\":\"memory_update\",\"type\":\"", name.as_bytes(), b"\",\"data\":"], out);
            append_shown(*kind, shown, out);
            out.push(b'}');
            None
        }
        News::Memories { kind, echo, all } => {
            append_first(Some(echo), out);
            Some(all.bytes(|all| memories(*kind, all)))
        }
        News::Refresh { query_id, change } => {
            let RowChange { table, action, .. } = change.what();
            append(&[b"{\"type\":\"query_refresh\",\"queryId\":", query_id, b",\"table\":"], out);
            quote(table, out);
            append(&[b",\"action\":\"", name_of(*action).as_bytes(), b"\"}"], out);
            None
        }
        News::Result { query_id, answer } => {
            let name = query_id.as_ref().map(|query_id| [b"\"queryId\":", &query_id[..]].concat());
            append_first(name.as_deref(), out);
            Some(answer.bytes(|answer| {
                let mut rest = Vec::new();
                append_answer(answer, room::hub::EXECUTE, &mut rest);
                rest.push(b'}');
                rest.into()
            }))
        }
    }
}

/// The message before a reply, if it has one.
pub(super) fn before(reply: &Reply) -> Option<Vec<u8>> {
    let Answer::Schema(schema) = &reply.answer else { return None };
    Some([b"{\"type\":\"schema_update\",\"schema\":", &schema[..], b"}"].concat())
}

/// The message behind a reply, if it has one: clients that wait for no answer learn of a missing table by an error.
pub(super) fn behind(reply: &Reply, is_awaited: bool) -> Option<Vec<u8>> {
    let Answer::Failed { code: Some(TABLE_NOT_FOUND), .. } = &reply.answer else { return None };
    if is_awaited || form_of(reply.method) == Form::Plain {
        return None;
    }
    let mut out = b"{".to_vec();
    append_failure(&reply.answer, "error", None, &mut out);
    append_last(&reply.echo, &mut out);
    Some(out)
}

/// The members of an answer, without the brackets around them.
fn append_answer(answer: &Answer, method: &str, out: &mut Vec<u8>) {
    let form = form_of(method);
    match answer {
        Answer::Rows { data, original_sql, total, page, info } => {
            append(&[b"\"type\":\"query_result\",\"data\":", data, b",\"originalSql\":", original_sql], out);
            if let Some(total) = total {
                append(&[b",\"total\":", total.to_string().as_bytes()], out);
            }
            if let Some((limit, offset)) = page {
                let total = total.map(|total| format!(",\"total\":{total}")).unwrap_or_default();
                let page = format!(",\"pagination\":{{\"limit\":{limit},\"offset\":{offset}{total}}}");
                out.extend_from_slice(page.as_bytes());
            }
            if let Some(info) = info {
                out.extend_from_slice(b",\"info\":");
                quote(info, out);
            }
        }
        Answer::Done { data, message } => {
            let kind = if form == Form::Mutation { "mutation_success" } else { "success" };
            append(&[b"\"type\":\"", kind.as_bytes(), b"\",\"action\":\"", method.as_bytes(), b"\""], out);
            if let Some(message) = message {
                out.extend_from_slice(b",\"message\":");
                quote(message, out);
            }
            if let Some(data) = data {
                append(&[b",\"data\":", data], out);
            }
        }
        Answer::Schema(schema) => {
            append(&[b"\"type\":\"rpc_result\",\"method\":\"", method.as_bytes(), b"\",\"data\":", schema], out);
        }
        Answer::Failed { .. } => match form {
            Form::Query => append_failure(answer, "query_error", None, out),
            Form::Mutation => append_failure(answer, "mutation_error", Some(method), out),
            Form::Plain => append_failure(answer, "error", None, out),
        },
        Answer::Watching { query_id, is_on } => {
            let kind: &[u8] = if *is_on { b"query_subscribed" } else { b"query_unsubscribed" };
            append(&[b"\"type\":\"", kind, b"\",\"queryId\":", query_id], out);
        }
    }
}

fn append_failure(answer: &Answer, kind: &str, action: Option<&str>, out: &mut Vec<u8>) {
    let Answer::Failed { error, code, table, data } = answer else { return };
    append(&[b"\"type\":\"", kind.as_bytes(), b"\""], out);
    if let Some(action) = action {
        append(&[b",\"action\":\"", action.as_bytes(), b"\""], out);
    }
    out.extend_from_slice(b",\"error\":");
    quote(error, out);
    if let Some(code) = code {
        append(&[b",\"code\":\"", code.as_bytes(), b"\""], out);
    }
    if let Some(table) = table {
        out.extend_from_slice(b",\"details\":{\"table\":");
        quote(table, out);
        out.push(b'}');
    }
    if let Some(data) = data {
        append(&[b",\"data\":", data], out);
    }
}

fn row_changed(change: &RowChange) -> Bytes {
    let mut out = Vec::with_capacity(change.table.len() + change.row.len() + 64);
    out.extend_from_slice(b"{\"event\":\"update\",\"table\":");
    quote(&change.table, &mut out);
    let action = name_of(change.action);
    append(&[b",\"action\":\"", action.as_bytes(), b"\",\"row\":", &change.row, b"}"], &mut out);
    out.into()
}

fn memories(kind: MemoryKind, all: &[Arc<Shown>]) -> Bytes {
    let mut out = b"\"type\":\"query_result\",\"data\":[".to_vec();
    for (place, shown) in all.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        append_shown(kind, shown, &mut out);
    }
    append(&[b"],\"originalSql\":\"", kind.getter().as_bytes(), b"\"}"], &mut out);
    out.into()
}

fn append_shown(kind: MemoryKind, shown: &Shown, out: &mut Vec<u8>) {
    let (_, value) = words_of(kind);
    append(&[b"{\"userId\":", &shown.label, b",\"", value.as_bytes(), b"\":", &shown.value, b"}"], out);
}

/// What it is called in events, and what its value is called.
pub(super) fn words_of(kind: MemoryKind) -> (&'static str, &'static str) {
    match kind {
        MemoryKind::Cursor => ("cursors", "position"),
        MemoryKind::Presence => ("presence", "status"),
    }
}

fn name_of(action: Action) -> &'static str {
    match action {
        Action::Added => "added",
        Action::Modified => "modified",
        Action::Deleted => "deleted",
    }
}

/// The beginning of an object whose first members are these, before others.
fn append_first(members: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(members) = members.filter(|members| !members.is_empty()) {
        append(&[members, b","], out);
    }
}

/// The end of an object whose last members are these, behind others.
pub(super) fn append_last(members: &[u8], out: &mut Vec<u8>) {
    if !members.is_empty() {
        append(&[b",", members], out);
    }
    out.push(b'}');
}

fn append(pieces: &[&[u8]], out: &mut Vec<u8>) {
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
}

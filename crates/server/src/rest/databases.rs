//! What is known of a room database, over HTTP: `/schema`, `/api/schema`, `/manifest` and `/analytics`, each with `?room_id=`.
//!
//! Called by `rest`. Who may ask is the accounts' decision, as for a socket; what is told is what the database tells a member of the room.

use super::{Answer, Asked, JSON, TEXT};
use crate::accounts::{Accounts, ConsoleRefusal, Shown};
use crate::databases::{Databases, OnBehalf, Wanted};
use crate::request::form_value;
use crate::room_kind::RoomKind;
use crate::upgrade::Entrance;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use room::hub;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// What each method of a console takes, for programs that are made from it.
const ACTIONS: &[(&str, &[&str])] = &[
    ("createTask", &["title"]),
    ("completeTask", &["id"]),
    ("deleteTask", &["id"]),
    ("listTasks", &["limit", "offset"]),
    ("updateRow", &["table", "id", "field", "value"]),
    ("batchInsert", &["table", "rows"]),
    ("executeSQL", &["sql", "params", "readonly"]),
    ("createTable", &["tableName", "columns"]),
    ("deleteTable", &["tableName"]),
    ("getSchema", &[]),
    ("getUsage", &[]),
    ("getAuditLog", &[]),
    ("updateDebounced", &["key", "value"]),
    ("flushDebounced", &[]),
    ("setCursor", &["userId", "position"]),
    ("getCursors", &[]),
    ("setPresence", &["userId", "status"]),
    ("getPresence", &[]),
    ("getSyncStatus", &[]),
    ("search", &["query"]),
];

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Schema,
    Manifest,
    Analytics,
}

fn page_of(path: &str) -> Option<Page> {
    match path {
        "/schema" | "/api/schema" => Some(Page::Schema),
        "/manifest" => Some(Page::Manifest),
        "/analytics" => Some(Page::Analytics),
        _ => None,
    }
}

/// Whether a path is one of these.
pub(super) fn is_its(entrance: &Entrance, path: &str) -> bool {
    entrance.workers.shared.databases.is_some() && page_of(path).is_some()
}

pub(super) async fn answer(asked: Asked) -> Answer {
    carry_out(asked).await.unwrap_or_else(|refused| refused)
}

async fn carry_out(asked: Asked) -> Result<Answer, Answer> {
    let entrance = asked.entrance.clone();
    let missing = || text(StatusCode::NOT_FOUND, "nothing is served at this path");
    let page = page_of(asked.path()).ok_or_else(missing)?;
    let databases = entrance.workers.shared.databases.clone().ok_or_else(missing)?;
    let (accounts, now_ms) = (&entrance.accounts, entrance.clock.now_ms());
    if accounts.may_request(asked.address, now_ms).is_err() {
        return Err(text(StatusCode::TOO_MANY_REQUESTS, super::TOO_MANY));
    }
    if asked.head.method != Method::GET {
        return Err(Answer { allow: "GET", ..text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed") });
    }
    let mut parameters = asked.head.uri.query().unwrap_or_default().split('&');
    let room = parameters.find_map(|pair| form_value(pair, "room_id"));
    let room = room.ok_or_else(|| text(StatusCode::BAD_REQUEST, "Missing room_id query parameter"))?;
    if room.trim().is_empty() {
        return Err(error(StatusCode::BAD_REQUEST, "room_id parameter is required and must not be empty"));
    }
    let room = Accounts::room_id(&room).map_err(|bad| error(StatusCode::BAD_REQUEST, &bad.to_string()))?;
    let visitor = accounts.identify(&Shown::of_parts(&asked.head), room, now_ms).await.map_err(refused)?;
    accounts.may_look(room, &visitor).map_err(refused)?;
    // Whoever only looks makes nothing, and owns nothing by it.
    let (looked_for, name) = (databases.clone(), room.to_owned());
    let exists = tokio::task::spawn_blocking(move || looked_for.exists(&name)).await;
    let exists =
        exists.map_err(|_| internal())?.map_err(|why| error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()))?;
    let is_there = exists || accounts.is_registered(room);
    if !is_there || entrance.ledger().is_deleted(&RoomKind::Database.key(room)) {
        return Err(error(StatusCode::NOT_FOUND, "there is no such room; it is made by the first connection to it"));
    }
    if !visitor.scopes.read {
        return Err(error(StatusCode::FORBIDDEN, "API key lacks the 'read' scope"));
    }
    let by = OnBehalf { user: visitor.user, scopes: Some(visitor.scopes) };
    let body = match page {
        Page::Schema => schema(&databases, room, by, now_ms).await?,
        Page::Manifest => manifest(&schema(&databases, room, by, now_ms).await?)?,
        Page::Analytics => analytics(&rows(&databases, room, by, now_ms).await?)?,
    };
    Ok(Answer::new(StatusCode::OK, JSON, body))
}

async fn ask(
    databases: &Databases,
    room: &str,
    by: OnBehalf,
    now_ms: u64,
    method: &'static str,
) -> Result<hub::Answer, Answer> {
    let (done, heard) = oneshot::channel();
    let wanted = Wanted { method, payload: Bytes::from_static(b"{}"), is_rerun: false };
    databases.ask(room, wanted, by, now_ms, move |outcome| {
        // Nobody hears it who has gone away.
        let _ = done.send(outcome.answer);
    });
    match heard.await {
        Ok(hub::Answer::Failed { error: why, .. }) => Err(error(StatusCode::SERVICE_UNAVAILABLE, &why)),
        Ok(answer) => Ok(answer),
        Err(_) => Err(internal()),
    }
}

async fn schema(databases: &Databases, room: &str, by: OnBehalf, now_ms: u64) -> Result<Bytes, Answer> {
    match ask(databases, room, by, now_ms, "getSchema").await? {
        hub::Answer::Schema(schema) => Ok(schema),
        _ => Err(internal()),
    }
}

async fn rows(databases: &Databases, room: &str, by: OnBehalf, now_ms: u64) -> Result<Bytes, Answer> {
    match ask(databases, room, by, now_ms, "getUsage").await? {
        hub::Answer::Rows { data, .. } => Ok(data),
        _ => Err(internal()),
    }
}

fn manifest(schema: &[u8]) -> Result<Bytes, Answer> {
    let tables: &RawValue = serde_json::from_slice(schema).map_err(|_| internal())?;
    let action = |(name, params): &(&str, &[&str])| ((*name).to_owned(), json!({ "params": params }));
    let actions: serde_json::Map<String, Value> = ACTIONS.iter().map(action).collect();
    Ok(format!("{{\"actions\":{},\"tables\":{tables}}}", Value::Object(actions)).into())
}

/// One day.
#[derive(Deserialize)]
struct Usage {
    date: String,
    reads: u64,
    writes: u64,
    ai_ops: u64,
}

/// `usage`: newest first.
fn analytics(usage: &[u8]) -> Result<Bytes, Answer> {
    let mut days: Vec<Usage> = serde_json::from_slice(usage).map_err(|_| internal())?;
    days.reverse();
    let total = |of: fn(&Usage) -> u64| days.iter().map(of).sum::<u64>();
    let totals = json!({ "reads": total(|day| day.reads), "writes": total(|day| day.writes), "ai_ops": total(|day| day.ai_ops) });
    let told = |Usage { date, reads, writes, ai_ops }: &Usage| json!({ "date": date, "reads": reads, "writes": writes, "ai_ops": ai_ops });
    let daily: Vec<Value> = days.iter().map(told).collect();
    Ok(json!({ "daily": daily, "totals": totals }).to_string().into())
}

fn text(status: StatusCode, text: &str) -> Answer {
    Answer::new(status, TEXT, text.to_owned())
}

fn error(status: StatusCode, error: &str) -> Answer {
    Answer::new(status, JSON, json!({ "error": error }).to_string())
}

fn internal() -> Answer {
    error(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

fn refused(refusal: ConsoleRefusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    text(status, &refusal.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(made: Result<Bytes, Answer>) -> Value {
        let made = made.unwrap_or_else(|refused| panic!("status {}", refused.status));
        serde_json::from_slice(&made).expect("JSON")
    }

    #[test]
    fn usage_is_told_oldest_first_with_its_sums() {
        let usage = br#"[{"date":"2026-02-07","reads":3,"writes":1,"ai_ops":0},{"date":"2026-02-06","reads":2,"writes":5,"ai_ops":0}]"#;
        assert_eq!(
            body(analytics(usage)),
            json!({
                "daily": [
                    { "date": "2026-02-06", "reads": 2, "writes": 5, "ai_ops": 0 },
                    { "date": "2026-02-07", "reads": 3, "writes": 1, "ai_ops": 0 },
                ],
                "totals": { "reads": 5, "writes": 6, "ai_ops": 0 },
            })
        );
    }

    #[test]
    fn a_manifest_has_the_methods_and_the_tables() {
        let told = body(manifest(br#"{"people":[]}"#));
        assert_eq!(told["actions"]["createTask"], json!({ "params": ["title"] }));
        assert_eq!(told["tables"], json!({ "people": [] }));
    }
}

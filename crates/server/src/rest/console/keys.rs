//! The API keys of whoever is signed in: `/api/keys`. Called by the console's API. The keys are those of the one file that the command line and the admin API
//! change as well; a text is shown when it is made, and never again.

use super::{Done, Request, Unread, done, error};
use crate::accounts::{ConsoleCredential, ConsoleVisitor, Withdrawn};
use crate::auth::{KeyFileError, end_key, now_s};
use crate::logging::Printable;
use crate::request::decode_pair;
use crate::rest::Answer;
use crate::worker::{What, Whom};
use hyper::StatusCode;
use identity::Scopes;
use identity::api_key::{KeyForm, KeyRecord, KeySpec, KeyTable, KeyTableError};
use room::Closing;
use serde_json::{Value, json};
use std::sync::Arc;

const UNNAMED: &str = "Unnamed Key";
const DAYS: f64 = 90.0;
const DAYS_MAX: f64 = 365.0;
const DAY_S: f64 = 86_400.0;
/// Keys that one user may have: programs and machines of one person; the table has place for 90 such users.
const KEYS_OF_USER_MAX: usize = 100;
const TOO_MANY: &str = "you have 100 API keys already; delete those that are no longer needed";
const NO_ACCOUNT: &str = "API keys are made by accounts of this server; an operator can make one for you with `concord key create --form console`";
const NOT_FOUND: &str = "API key not found or does not belong to you";
/// Keys of one answer, unless it is asked for fewer.
const PAGE: usize = 50;
const PAGE_MAX: usize = 100;

pub(super) fn without_body(unread: Unread) -> Answer {
    let (status, message) = unread.told("Invalid JSON body");
    error(status, message)
}

/// What somebody wants of a key.
#[derive(Debug, PartialEq)]
struct Wanted {
    name: String,
    days: f64,
    scopes: Scopes,
}

impl Wanted {
    fn of(body: &Value) -> Result<Self, String> {
        let given = |name| body.get(name).filter(|value| !value.is_null());
        let name = match given("name").map(Value::as_str) {
            None => UNNAMED,
            Some(Some(name)) if name.trim().is_empty() => UNNAMED,
            Some(Some(name)) => name.trim(),
            Some(None) => return Err("name must be a text".to_owned()),
        };
        let days = match given("expiresInDays").map(Value::as_f64) {
            None => DAYS,
            // A second is the least that is kept.
            Some(Some(days)) if days * DAY_S >= 1.0 => days,
            Some(_) => return Err("expiresInDays must be a positive number".to_owned()),
        };
        if days > DAYS_MAX {
            return Err("expiresInDays cannot exceed 365 days".to_owned());
        }
        let scopes = match given("scopes") {
            None => Scopes { read: true, write: true, admin: false },
            Some(scopes) => scopes_of(scopes)?,
        };
        Ok(Self { name: name.to_owned(), days, scopes })
    }
}

fn scopes_of(value: &Value) -> Result<Scopes, String> {
    let invalid = |names: String| format!("Invalid scopes: {names}. Valid scopes are: read, write, admin");
    let names = value.as_array().filter(|names| !names.is_empty()).ok_or_else(|| invalid(shortened(value)))?;
    let (mut scopes, mut unknown) = (Scopes::default(), Vec::new());
    for name in names {
        match name.as_str() {
            Some("read") => scopes.read = true,
            Some("write") => scopes.write = true,
            Some("admin") => scopes.admin = true,
            Some(other) => unknown.push(other.to_owned()),
            None => unknown.push(shortened(name)),
        }
    }
    if unknown.is_empty() { Ok(scopes) } else { Err(invalid(unknown.join(", "))) }
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(100).collect()
}

/// Which keys are listed.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    expired: bool,
    limit: usize,
    offset: usize,
}

impl Page {
    /// What is no number counts as if it was not there.
    fn of(query: &str) -> Self {
        let pairs: Vec<(String, String)> = query.split('&').map(decode_pair).collect();
        let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let number = |name: &str| value(name).and_then(|value| value.parse::<usize>().ok());
        Self {
            expired: value("includeExpired").is_some_and(|value| ["true", "1"].contains(&value)),
            limit: number("limit").unwrap_or(PAGE).clamp(1, PAGE_MAX),
            offset: number("offset").unwrap_or(0),
        }
    }
}

impl Request {
    pub(super) async fn generate_key(&self, visitor: &ConsoleVisitor, body: &Value) -> Done {
        if visitor.credential == ConsoleCredential::Token {
            // A key would outlive the token, and the identity provider would not know of it.
            return Err(error(StatusCode::FORBIDDEN, NO_ACCOUNT));
        }
        let Wanted { name, days, scopes } =
            Wanted::of(body).map_err(|problem| error(StatusCode::BAD_REQUEST, &problem))?;
        let (now_s, owner) = (now_s(), visitor.user.clone());
        let expires_at_s = now_s + (days * DAY_S) as u64;
        let spec =
            KeySpec { name, owner: owner.to_string(), scopes, rooms: Vec::new(), expires_at_s: Some(expires_at_s) };
        let made = self
            .with_keys(move |table| {
                let count = of(table, &owner).count();
                if count >= KEYS_OF_USER_MAX {
                    Ok(None)
                } else {
                    table.create_as(KeyForm::Console, spec, now_s).map(Some)
                }
            })
            .await?;
        let made = made.ok_or_else(|| error(StatusCode::BAD_REQUEST, TOO_MANY))?;
        let record = &made.record;
        tracing::info!(action = "auth.keys", by = %Printable(&visitor.user), key = &*record.id, "key made");
        let mut days = json!(days);
        if days.as_f64().is_some_and(|number| number.fract() == 0.0) {
            days = json!(days.as_f64().unwrap_or_default() as u64);
        }
        Ok(done(
            StatusCode::OK,
            &json!({
                "id": made.text,
                "key_id": &*record.id,
                "name": record.name,
                "created_at": record.created_at_s.saturating_mul(1_000),
                "expires_at": record.expires_at_s.map(|at_s| at_s.saturating_mul(1_000)),
                "expires_in_days": days,
                "scopes": record.scopes.names(),
            }),
        ))
    }

    pub(super) async fn keys(&self) -> Done {
        let visitor = self.visitor().await?;
        let page = Page::of(self.asked.head.uri.query().unwrap_or_default());
        let key_file = self.asked.entrance.accounts.key_file();
        let (table, used, now_s) = (key_file.table(), key_file.used(), now_s());
        let is_expired = |record: &KeyRecord| record.expires_at_s.is_some_and(|at_s| at_s <= now_s);
        let mut keys: Vec<&KeyRecord> =
            of(&table, &visitor.user).filter(|record| page.expired || !is_expired(record)).collect();
        keys.sort_by_key(|record| (std::cmp::Reverse(record.created_at_s), record.id.clone()));
        let listed: Vec<Value> = keys
            .iter()
            .skip(page.offset)
            .take(page.limit)
            .map(|record| {
                json!({
                    "id": record.masked(),
                    "key_id": &*record.id,
                    "name": record.name,
                    "created_at": record.created_at_s.saturating_mul(1_000),
                    "last_used_at": used.get(&*record.id).map(|at_s| at_s.saturating_mul(1_000)),
                    "expires_at": record.expires_at_s.map(|at_s| at_s.saturating_mul(1_000)),
                    "scopes": record.scopes.names(),
                    "is_expired": is_expired(record),
                })
            })
            .collect();
        let pagination = json!({ "limit": page.limit, "offset": page.offset, "total": keys.len() });
        Ok(done(StatusCode::OK, &json!({ "keys": listed, "pagination": pagination })))
    }

    /// By its whole text, by what the list shows of it while no other looks the same, or by its id. Who is connected by it is cut off.
    pub(super) async fn delete_key(&self, visitor: &ConsoleVisitor, body: &Value) -> Done {
        let not_found = || error(StatusCode::NOT_FOUND, NOT_FOUND);
        let meant = body.get("id").and_then(Value::as_str).unwrap_or_default();
        let table = self.asked.entrance.accounts.key_file().table();
        let id = meant_by(&table, &visitor.user, meant).ok_or_else(not_found)?;
        let (gone, now_s) = (id.clone(), now_s());
        self.with_keys(move |table| end_key(table, &gone, now_s)).await?;
        tracing::info!(action = "auth.keys", by = %Printable(&visitor.user), key = &*id, "key deleted");
        self.asked.entrance.gate().forget_answers();
        self.asked.entrance.accounts.withdraw(&Withdrawn::Key(id.clone()));
        let whom = Whom { key: Some(id.to_string()), ..Whom::default() };
        self.asked.entrance.workers.command(whom, What::Close(Closing::Revoked)).await;
        Ok(done(StatusCode::OK, &json!({ "success": true, "message": "API key deleted successfully" })))
    }

    /// Changes the file of keys on a thread that may wait for the disk.
    async fn with_keys<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut KeyTable) -> Result<T, KeyTableError> + Send + 'static,
    ) -> Result<T, Answer> {
        let key_file = self.asked.entrance.accounts.key_file().clone();
        let changed = tokio::task::spawn_blocking(move || key_file.change(change)).await;
        let failed = |reason: &str| {
            error(StatusCode::INTERNAL_SERVER_ERROR, &format!("API key validation failed: {reason}; try again later"))
        };
        match changed {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(KeyFileError::Change(KeyTableError::Unknown { .. }))) => {
                Err(error(StatusCode::NOT_FOUND, NOT_FOUND))
            }
            Ok(Err(KeyFileError::Change(problem))) => Err(error(StatusCode::BAD_REQUEST, &problem.to_string())),
            Ok(Err(problem)) => {
                // With the file's name, which is no client's business.
                tracing::warn!(action = "auth.keys", error = %problem, "cannot change the keys");
                Err(failed("the keys cannot be written"))
            }
            Err(_) => Err(failed("internal error")),
        }
    }
}

/// Somebody's keys, without those that were revoked.
fn of<'t>(table: &'t KeyTable, owner: &'t str) -> impl Iterator<Item = &'t KeyRecord> {
    table.list().filter(move |record| *record.owner == *owner && record.revoked_at_s.is_none())
}

fn meant_by(table: &KeyTable, owner: &str, meant: &str) -> Option<Arc<str>> {
    let whole = table.console_key(meant);
    let mut fits =
        of(table, owner).filter(|record| whole == Some(&record.id) || *record.id == *meant || record.masked() == meant);
    let first = fits.next()?.id.clone();
    fits.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::api_key::Pepper;

    #[test]
    fn what_is_wanted_of_a_key() {
        let read = Scopes { read: true, write: false, admin: false };
        let both = Scopes { write: true, ..read };
        let wanted = |name: &str, days, scopes| Ok(Wanted { name: name.to_owned(), days, scopes });
        let err = |text: &str| Err(text.to_owned());
        let positive = || err("expiresInDays must be a positive number");
        let cases = [
            (json!({}), wanted("Unnamed Key", 90.0, both)),
            (json!({ "name": null, "expiresInDays": null, "scopes": null }), wanted("Unnamed Key", 90.0, both)),
            (json!({ "name": " ci ", "expiresInDays": 1, "scopes": ["read"] }), wanted("ci", 1.0, read)),
            (json!({ "name": " ", "expiresInDays": 365 }), wanted("Unnamed Key", 365.0, both)),
            (json!({ "expiresInDays": 0.5, "scopes": ["read", "read"] }), wanted("Unnamed Key", 0.5, read)),
            (json!({ "name": 7 }), err("name must be a text")),
            (json!({ "expiresInDays": 0 }), positive()),
            (json!({ "expiresInDays": -1 }), positive()),
            (json!({ "expiresInDays": "90" }), positive()),
            (json!({ "expiresInDays": 1e-9 }), positive()),
            (json!({ "expiresInDays": 366 }), err("expiresInDays cannot exceed 365 days")),
            (json!({ "expiresInDays": 1e300 }), err("expiresInDays cannot exceed 365 days")),
            (json!({ "scopes": ["x"] }), err("Invalid scopes: x. Valid scopes are: read, write, admin")),
            (json!({ "scopes": ["read", "x", 7] }), err("Invalid scopes: x, 7. Valid scopes are: read, write, admin")),
            (json!({ "scopes": [] }), err("Invalid scopes: []. Valid scopes are: read, write, admin")),
            (json!({ "scopes": "read" }), err("Invalid scopes: \"read\". Valid scopes are: read, write, admin")),
        ];
        for (body, expected) in cases {
            assert_eq!(Wanted::of(&body), expected, "{body}");
        }
    }

    #[test]
    fn pages() {
        let page = |expired, limit, offset| Page { expired, limit, offset };
        for (query, expected) in [
            ("", page(false, 50, 0)),
            ("includeExpired=true&limit=2&offset=3", page(true, 2, 3)),
            ("includeExpired=false&limit=x&offset=-1", page(false, 50, 0)),
            ("includeExpired=1&limit=0", page(true, 1, 0)),
            ("limit=1000", page(false, 100, 0)),
        ] {
            assert_eq!(Page::of(query), expected, "{query}");
        }
    }

    #[test]
    fn a_key_is_meant_by_its_text_its_id_or_what_is_shown_of_it() {
        let mut table = KeyTable::new(Pepper::new([7; 32]));
        let spec = |owner: &str| KeySpec {
            name: "n".to_owned(),
            owner: owner.to_owned(),
            scopes: Scopes { read: true, write: true, admin: false },
            rooms: Vec::new(),
            expires_at_s: None,
        };
        let own = table.create_as(KeyForm::Console, spec("ann"), 5).expect("made");
        let standard = table.create(spec("ann"), 5).expect("made");
        let other = table.create_as(KeyForm::Console, spec("bob"), 5).expect("made");
        for (meant, expected) in [
            (own.text.as_str(), Some(&own.record.id)),
            (&own.record.masked(), Some(&own.record.id)),
            (&own.record.id, Some(&own.record.id)),
            (&standard.record.id, Some(&standard.record.id)),
            (&other.text, None),
            (&other.record.id, None),
            (&own.text[..39], None),
            ("", None),
        ] {
            assert_eq!(meant_by(&table, "ann", meant).as_ref(), expected, "{meant}");
        }
        // Four digits are seldom alike; here they are made so.
        let digits = "0123456789abcdef";
        let alike = format!("nk_live_{}", &digits[..4]);
        let json = [&own, &other].iter().fold(table.to_json(), |json, key| {
            json.replace(key.record.begins.as_deref().expect("a console's key"), &alike)
        });
        let table = KeyTable::from_json(&json.replace("\"bob\"", "\"ann\"")).expect("a table");
        assert_eq!(meant_by(&table, "ann", &format!("{alike}…")), None, "two of them look so");
        table_revoked(table, &own.record.id);
    }

    fn table_revoked(mut table: KeyTable, id: &str) {
        table.revoke(id, 6).expect("it is there");
        assert_eq!(meant_by(&table, "ann", id), None, "what was revoked is gone for its owner");
    }
}

//! The notes of whoever asks, over HTTP: `/api/notes`, `/api/notes/{id}`, `/api/notes/{id}/restore` and `/api/sync/notes/{since}`.
//!
//! Called by `rest`. Whose notebook it is says the token, or the cookie that a socket has got; what is written reaches all devices of that user. Here are
//! paths, statuses and texts; what a note may be is the dialect's affair, and which of two wins the notebook's.

use super::{Answer, Asked, JSON, NoBody, WORDS_BYTES_MAX};
use crate::auth::{Admission, Refusal, ShownToNotebooks};
use crate::errand::{self, NotDone};
use crate::request::{decode_pair, percent_decode};
use crate::room_kind::RoomKind;
use crate::upgrade::{Entrance, MEMORY_FULL};
use dialect::notes::http::{self, Call};
use dialect::notes::{self, Lenience};
use hyper::body::Incoming;
use hyper::header::{COOKIE, HOST, ORIGIN};
use hyper::{Method, StatusCode};
use room::Closing;
use room::notebook::{Request, Sort};

/// Notes on a page, when nothing is said, and at most.
const LIMIT: u64 = 20;
const LIMIT_MAX: u64 = 100;

/// What a path is for.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    All,
    One(String),
    Restore(String),
    Since(String),
}

/// The place of a path, as it was sent.
fn place_of(path: &str) -> Option<Place> {
    let text = |segment: &str| String::from_utf8(percent_decode(segment).into_owned()).ok();
    let segments: Vec<&str> = path.strip_prefix("/api/")?.split('/').collect();
    match segments[..] {
        ["notes"] => Some(Place::All),
        ["notes", id] if !id.is_empty() => text(id).map(Place::One),
        ["notes", id, "restore"] if !id.is_empty() => text(id).map(Place::Restore),
        ["sync", "notes", since] if !since.is_empty() => text(since).map(Place::Since),
        _ => None,
    }
}

/// Whether a path is one of these, or below them: what is wrong there is told in their form.
pub(super) fn is_its(entrance: &Entrance, path: &str) -> bool {
    let is_below =
        |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    entrance.config.mounts.notes.is_some() && ["/api/notes", "/api/sync/notes"].into_iter().any(is_below)
}

pub(super) async fn answer(asked: Asked, body: Incoming) -> Answer {
    carry_out(asked, body).await.unwrap_or_else(|refused| refused)
}

async fn carry_out(mut asked: Asked, body: Incoming) -> Result<Answer, Answer> {
    let entrance = asked.entrance.clone();
    let nothing = || error(StatusCode::NOT_FOUND, "NOT_FOUND", "nothing is served at this path");
    let place = place_of(asked.path()).ok_or_else(nothing)?;
    let admission = admit(&asked).await?;
    let now_ms = entrance.clock.now_ms();
    let method = asked.head.method.clone();
    let takes_note = matches!((&method, &place), (&Method::POST, Place::All) | (&Method::PUT, Place::One(_)));
    let most = if takes_note { entrance.config.limits.frame_bytes_max as usize } else { WORDS_BYTES_MAX };
    let _reserved = asked.read(body, most).await.map_err(|missing| without_body(&missing))?;
    let request = match (method, place) {
        (Method::GET, Place::All) => list(asked.head.uri.query().unwrap_or_default())?,
        (Method::POST, Place::All) => put(&asked.body, None, now_ms)?,
        (Method::GET, Place::One(id)) => Request::Get { id: id.into() },
        (Method::PUT, Place::One(id)) => put(&asked.body, Some(&id), now_ms)?,
        (Method::DELETE, Place::One(id)) => Request::Delete { id: id.into(), at_ms: None, answered: true },
        (Method::POST, Place::Restore(id)) => Request::Restore { id: id.into() },
        (Method::GET, Place::Since(since)) => Request::Changes { since_ms: since_of(&since)? },
        (_, place) => return Err(wrong_method(&place)),
    };
    let call = if matches!(request, Request::Restore { .. }) { Call::Restore } else { Call::Other };
    let notebook = admission.author.clone();
    let news = errand::ask_notebook(&entrance.workers, &notebook, admission, asked.address, request).await;
    let news = news.map_err(not_done)?;
    http::answer(call, &news).map(told).ok_or_else(|| later("the notebook has not answered; try again"))
}

/// Whose notebook it is.
async fn admit(asked: &Asked) -> Result<Admission, Answer> {
    let shown = ShownToNotebooks {
        token: asked.token(),
        cookies: asked.header(COOKIE),
        origin: asked.header(ORIGIN),
        host: asked.header(HOST),
        only_reads: asked.head.method.is_safe(),
    };
    let admission = asked.entrance.notebooks.admit_by(shown).await.map_err(|refusal| match refusal {
        Refusal::Closing(Closing::Outdated) => {
            error(StatusCode::UNAUTHORIZED, "INVALID_TOKEN", "The token has expired")
        }
        Refusal::Closing(Closing::Forbidden | Closing::Revoked) => {
            error(StatusCode::FORBIDDEN, "FORBIDDEN", "This token may not open the notebook")
        }
        Refusal::Closing(_) => error(StatusCode::UNAUTHORIZED, "INVALID_TOKEN", "The token is missing or invalid"),
        Refusal::Origin => error(
            StatusCode::FORBIDDEN,
            "FORBIDDEN",
            "Cookies count only for pages of the same host and for origins that are listed in origins.allowed",
        ),
        Refusal::Later(why) => later(why),
    })?;
    match asked.entrance.ledger().is_deleted(&RoomKind::Notebook.key(&admission.author)) {
        true => Err(error(StatusCode::FORBIDDEN, "FORBIDDEN", "This notebook was deleted by an administrator")),
        false => Ok(admission),
    }
}

fn put(body: &[u8], id: Option<&str>, now_ms: u64) -> Result<Request, Answer> {
    let json = std::str::from_utf8(body).unwrap_or_default();
    let note = notes::read_note(json, Lenience { id, fills_times: true }, now_ms)
        .map_err(|fault| told(http::invalid(&fault)))?;
    Ok(Request::Put { note, answered: true })
}

/// `?page=1&limit=20&sortBy=updatedAt&sortOrder=desc&includeDeleted=false`; other parameters mean nothing.
fn list(query: &str) -> Result<Request, Answer> {
    let (mut page, mut limit, mut sort, mut descending, mut include_deleted) = (1, LIMIT, Sort::Updated, true, false);
    for (name, value) in query.split('&').filter(|pair| !pair.is_empty()).map(decode_pair) {
        let bad = |says: &str| wrong_parameter(&name, says);
        let number = |max: u64| value.parse().ok().filter(|number| (1..=max).contains(number));
        match name.as_str() {
            "page" => page = number(u64::MAX).ok_or_else(|| bad("page is a whole number from 1 on"))?,
            "limit" => limit = number(LIMIT_MAX).ok_or_else(|| bad("limit is a whole number from 1 to 100"))?,
            "sortBy" => {
                sort = match value.as_str() {
                    "createdAt" => Sort::Created,
                    "updatedAt" => Sort::Updated,
                    "title" => Sort::Title,
                    _ => return Err(bad("sortBy is createdAt, updatedAt or title")),
                };
            }
            "sortOrder" => {
                descending = match value.as_str() {
                    "asc" => false,
                    "desc" => true,
                    _ => return Err(bad("sortOrder is asc or desc")),
                };
            }
            "includeDeleted" => {
                include_deleted = value.parse().map_err(|_| bad("includeDeleted is true or false"))?;
            }
            _ => {}
        }
    }
    Ok(Request::List { page, limit, sort, descending, include_deleted })
}

fn since_of(since: &str) -> Result<Option<u64>, Answer> {
    if since == "0" {
        return Ok(None);
    }
    let instant =
        notes::instant::parse(since).ok_or_else(|| wrong_parameter("since", "since is an ISO-8601 time or 0"))?;
    Ok(Some(u64::try_from(instant).unwrap_or(0)))
}

/// An answer of the dialect as a response.
fn told(answer: http::Answer) -> Answer {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Answer::new(status, JSON, answer.body)
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    told(http::error(status.as_u16(), code, message, None))
}

fn wrong_parameter(name: &str, message: &str) -> Answer {
    told(http::error(400, "INVALID_NOTE", message, Some(name)))
}

fn wrong_method(place: &Place) -> Answer {
    let allow = match place {
        Place::All => "GET, POST",
        Place::One(_) => "GET, PUT, DELETE",
        Place::Restore(_) => "POST",
        Place::Since(_) => "GET",
    };
    let message = format!("This path answers {allow}");
    Answer { allow, ..error(StatusCode::METHOD_NOT_ALLOWED, "INVALID_METHOD", &message) }
}

fn later(why: &str) -> Answer {
    error(StatusCode::SERVICE_UNAVAILABLE, "INTERNAL_ERROR", why)
}

fn without_body(missing: &NoBody) -> Answer {
    match missing {
        NoBody::NoMemory => later(MEMORY_FULL),
        NoBody::TooLarge(_) => error(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_NOTE", "The request is too large"),
        NoBody::BrokenOff => error(StatusCode::BAD_REQUEST, "INVALID_NOTE", "The request ended too early"),
    }
}

fn not_done(why: NotDone) -> Answer {
    match why {
        NotDone::Forbidden(why) | NotDone::NotFound(why) => error(StatusCode::FORBIDDEN, "FORBIDDEN", &why),
        NotDone::ReadOnly => error(StatusCode::FORBIDDEN, "FORBIDDEN", "This token may only read"),
        NotDone::Beyond(limit) => error(StatusCode::BAD_REQUEST, "LIMIT_EXCEEDED", &limit),
        NotDone::Invalid => error(StatusCode::BAD_REQUEST, "INVALID_NOTE", "This is not a note"),
        NotDone::Later(why) => error(StatusCode::SERVICE_UNAVAILABLE, "INTERNAL_ERROR", &why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        let one = |id: &str| Some(Place::One(id.to_owned()));
        let cases = [
            ("/api/notes", Some(Place::All)),
            ("/api/notes/", None),
            ("/api/notes/a", one("a")),
            ("/api/notes/a%2Fb", one("a/b")),
            ("/api/notes/restore", one("restore")),
            ("/api/notes/a/restore", Some(Place::Restore("a".to_owned()))),
            ("/api/notes/a/b", None),
            ("/api/sync/notes/0", Some(Place::Since("0".to_owned()))),
            ("/api/sync/notes/2025-01-17T14%3A27%3A39.502Z", Some(Place::Since("2025-01-17T14:27:39.502Z".to_owned()))),
            ("/api/sync/notes", None),
            ("/api/sync", None),
            ("/notes", None),
        ];
        for (path, place) in cases {
            assert_eq!(place_of(path), place, "{path}");
        }
    }

    #[test]
    fn a_list_is_as_it_was_asked_for() {
        let usual = Request::List { page: 1, limit: 20, sort: Sort::Updated, descending: true, include_deleted: false };
        assert_eq!(list("").ok(), Some(usual.clone()));
        assert_eq!(list("x=y&page=1").ok(), Some(usual));
        let other = Request::List { page: 3, limit: 100, sort: Sort::Title, descending: false, include_deleted: true };
        assert_eq!(list("page=3&limit=100&sortBy=title&sortOrder=asc&includeDeleted=true").ok(), Some(other));
        for bad in ["page=0", "page=x", "limit=0", "limit=101", "sortBy=id", "sortOrder=up", "includeDeleted=1"] {
            assert_eq!(list(bad).err().map(|refused| refused.status), Some(StatusCode::BAD_REQUEST), "{bad}");
        }
    }
}

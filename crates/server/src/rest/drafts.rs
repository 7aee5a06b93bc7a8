//! Drafts over HTTP: the whole document of one as base64, and merging into it: `/api/drafts/{draftId}/yjs-state`.
//!
//! Called by `rest`. Who may read or edit a draft is the gate's decision, as for a socket of the json-yjs dialect; what is merged reaches all who are in
//! it. A draft that is not there and one that is another firm's get the same answer.

use super::{Answer, Asked, JSON, NoBody, WORDS_BYTES_MAX};
use crate::auth::{Admission, Refusal};
use crate::errand::{self, Errand, NotDone};
use crate::request::percent_decode;
use crate::room_kind::RoomKind;
use crate::routes::{Protocol, is_draft_id};
use crate::upgrade::{Entrance, MEMORY_FULL};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use room::{Access, Closing};
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;

const READ_ONLY: &str = "You do not have permission to edit this draft.";

/// `{"yjsState":"AAA="}`; other members mean nothing.
#[derive(Deserialize)]
struct State<'b> {
    #[serde(borrow, rename = "yjsState")]
    yjs_state: Cow<'b, str>,
}

/// Whether a path is a draft's, as it was sent.
pub(super) fn is_its(entrance: &Entrance, path: &str) -> bool {
    entrance.config.mounts.json_yjs.is_some() && id_in(path).is_some()
}

/// The segment with the id, still encoded.
fn id_in(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/api/drafts/")?.strip_suffix("/yjs-state")?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

pub(super) async fn answer(asked: Asked, body: Incoming) -> Answer {
    carry_out(asked, body).await.unwrap_or_else(|refused| refused)
}

fn without_body(missing: &NoBody) -> Answer {
    match missing {
        NoBody::NoMemory => later(MEMORY_FULL),
        NoBody::TooLarge(_) => error(StatusCode::PAYLOAD_TOO_LARGE, "VALIDATION_ERROR", "The request is too large"),
        NoBody::BrokenOff => invalid("The request ended too early"),
    }
}

async fn carry_out(mut asked: Asked, body: Incoming) -> Result<Answer, Answer> {
    let is_merge = match asked.head.method {
        Method::GET => false,
        Method::PUT => true,
        _ => return Err(error(StatusCode::METHOD_NOT_ALLOWED, "VALIDATION_ERROR", "This path answers GET and PUT")),
    };
    let encoded = id_in(asked.path()).ok_or_else(not_found)?.to_owned();
    let entrance = &asked.entrance.clone();
    // Without a credential it is not told whether a name is legal, either.
    let token = match asked.token() {
        None if entrance.config.auth.is_on() => return Err(unauthorized()),
        token => token.unwrap_or_default(),
    };
    let id = String::from_utf8(percent_decode(&encoded).into_owned()).ok().filter(|id| is_draft_id(id));
    let id = id.ok_or_else(not_found)?;
    let room = entrance.config.room_named(&id, Protocol::JsonYjs.name());
    let admission = admit(entrance, token, &room).await?;
    let is_there =
        entrance.ledger().is_draft(&room) || errand::exists(&entrance.workers.shared, &room).await.map_err(not_done)?;
    if !is_there || entrance.ledger().is_deleted(&RoomKind::Document.key(&room)) {
        return Err(not_found());
    }
    let most = if is_merge { entrance.config.limits.frame_bytes_max as usize } else { WORDS_BYTES_MAX };
    let errand = if is_merge {
        if admission.access == Access::Read {
            return Err(error(StatusCode::FORBIDDEN, "FORBIDDEN", READ_ONLY));
        }
        let _reserved = asked.read(body, most).await.map_err(|missing| without_body(&missing))?;
        Errand::Merge(sent(&asked.body).ok_or_else(|| invalid("The body must be {\"yjsState\":\"<base64>\"}"))?)
    } else {
        let _reserved = asked.read(body, most).await.map_err(|missing| without_body(&missing))?;
        Errand::Read
    };
    let done = errand::run(&entrance.workers, &room, admission, asked.address, errand).await.map_err(not_done)?;
    let body = if is_merge {
        json!({ "success": true, "draftId": id })
    } else {
        json!({ "draftId": id, "yjsState": BASE64_STANDARD.encode(done) })
    };
    Ok(Answer::new(StatusCode::OK, JSON, body.to_string()))
}

/// Who asks and what they may do there, by the rules of the dialect: a token says of which firm somebody is.
async fn admit(entrance: &Entrance, token: &str, room: &str) -> Result<Admission, Answer> {
    entrance.gate().present_of_firm(token, room).await.map_err(|refusal| match refusal {
        Refusal::Closing(Closing::Unauthorized | Closing::Outdated) => unauthorized(),
        Refusal::Closing(_) | Refusal::Origin => not_found(),
        Refusal::Later(why) => later(why),
    })
}

/// The update in a body.
fn sent(body: &[u8]) -> Option<Bytes> {
    let state: State<'_> = serde_json::from_slice(body).ok()?;
    BASE64_STANDARD.decode(&*state.yjs_state).ok().map(Bytes::from)
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::new(status, JSON, json!({ "error": { "code": code, "message": message } }).to_string())
}

fn unauthorized() -> Answer {
    error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Invalid or expired token")
}

fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "NOT_FOUND", "Draft not found")
}

fn invalid(why: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", why)
}

fn later(why: &str) -> Answer {
    error(StatusCode::SERVICE_UNAVAILABLE, "INTERNAL_ERROR", why)
}

fn not_done(why: NotDone) -> Answer {
    match why {
        NotDone::Invalid => invalid("yjsState is not a Yjs update"),
        NotDone::Beyond(limit) => invalid(&limit),
        NotDone::ReadOnly => error(StatusCode::FORBIDDEN, "FORBIDDEN", READ_ONLY),
        NotDone::NotFound(_) | NotDone::Forbidden(_) => not_found(),
        NotDone::Later(why) => later(&why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_one_draft() {
        let cases = [
            ("/api/drafts/d/yjs-state", Some("d")),
            ("/api/drafts/a%2Fb/yjs-state", Some("a%2Fb")),
            ("/api/drafts/yjs-state/yjs-state", Some("yjs-state")),
            ("/api/drafts//yjs-state", None),
            ("/api/drafts/yjs-state", None),
            ("/api/drafts/a/b/yjs-state", None),
            ("/api/drafts/d/yjs-state/", None),
            ("/api/drafts/d", None),
        ];
        for (path, id) in cases {
            assert_eq!(id_in(path), id, "{path}");
        }
    }

    #[test]
    fn a_body_is_base64_in_an_object() {
        assert_eq!(sent(b"{\"yjsState\":\"AAA=\",\"version\":2}"), Some(Bytes::from_static(&[0, 0])));
        assert_eq!(sent(b"{\"yjsState\":\"\\u0041AA=\"}"), Some(Bytes::from_static(&[0, 0])));
        for body in ["", "[]", "{}", "{\"yjsState\":7}", "{\"yjsState\":\"AA A=\"}", "{\"yjsState\":\"AAA\"}"] {
            assert_eq!(sent(body.as_bytes()), None, "{body}");
        }
    }
}

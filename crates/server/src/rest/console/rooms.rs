//! The rooms of whoever is signed in: `/api/rooms`. Called by the console's API. Its refusals are plain texts, and its times milliseconds. What is in a room is
//! not touched: deleting one here makes it nobody's.

use super::{Done, Request, Unread, done, later, status_of, text};
use crate::accounts::{AccountError, Accounts, ConsoleVisitor, Registration};
use crate::rest::Answer;
use hyper::StatusCode;
use serde_json::{Value, json};

/// Characters of the id of a room that somebody makes here; who connects may use shorter ones.
const ID_CHARS_MIN: usize = 3;
const TOO_SHORT: &str = "Room ID must be at least 3 characters";
const INVALID: &str = "Invalid room ID";

pub(super) fn without_body(unread: Unread) -> Answer {
    let (status, message) = unread.told("Invalid JSON body");
    text(status, message)
}

impl Request {
    pub(super) async fn rooms(&self) -> Done {
        let visitor = self.visitor().await?;
        let rooms = self.asked.entrance.accounts.rooms_of(&visitor.user);
        let listed: Vec<Value> = rooms.iter().map(|(id, room)| described(id, room)).collect();
        Ok(done(StatusCode::OK, &Value::Array(listed)))
    }

    pub(super) async fn create_room(&self, visitor: &ConsoleVisitor, body: &Value) -> Done {
        let id = body.get("roomId").and_then(Value::as_str).unwrap_or_default().trim();
        if id.chars().count() < ID_CHARS_MIN {
            return Err(text(StatusCode::BAD_REQUEST, TOO_SHORT));
        }
        let id = Accounts::room_id(id).map_err(|error| refused(&error))?;
        let named = body.get("name").and_then(Value::as_str).map(str::trim).filter(|name| !name.is_empty());
        let entrance = &self.asked.entrance;
        entrance.connections.may_make_room(&visitor.user).map_err(|reached| {
            later(text(StatusCode::SERVICE_UNAVAILABLE, reached.limit), reached.retry_after_s.into())
        })?;
        let accounts = &entrance.accounts;
        let made = accounts.register(id, named.unwrap_or(id), &visitor.user, &visitor.user, self.now_ms).await;
        made.map(|room| done(StatusCode::OK, &described(id, &room))).map_err(|error| refused(&error))
    }

    /// Somebody else's room is not told from one that is nobody's.
    pub(super) async fn delete_room(&self, visitor: &ConsoleVisitor, body: &Value) -> Done {
        let invalid = || text(StatusCode::BAD_REQUEST, INVALID);
        let id = body.get("roomId").and_then(Value::as_str).ok_or_else(invalid)?;
        let id = Accounts::room_id(id).map_err(|_| invalid())?;
        let of = Some(visitor.user.clone());
        match self.asked.entrance.accounts.unregister(id, of, &visitor.user, self.now_ms).await {
            Ok(()) => Ok(done(StatusCode::OK, &json!({ "success": true }))),
            Err(AccountError::NoRoom) => Err(invalid()),
            Err(error) => Err(refused(&error)),
        }
    }
}

fn described(id: &str, room: &Registration) -> Value {
    json!({ "id": id, "name": room.name, "created_at": room.created_at_ms, "last_accessed_at": room.used_at_ms })
}

fn refused(error: &AccountError) -> Answer {
    text(status_of(error), error.told())
}

//! Signing up, in and out, and the sessions of whoever is signed in: `/api/auth`. Called by the console's API with bodies that are JSON.
//!
//! Shapes are those of the service that the console's clients were written for. Decides nothing: `accounts` does.

use super::{Done, Request, Unread, done, later, retry_after_s, status_of, with_header};
use crate::accounts::{
    AccountError, Accounts, ConsoleCredential, ConsoleVisitor, Device, NewUser, Session, SignedIn, User,
};
use crate::logging::rfc3339_ms;
use crate::rest::Answer;
use hyper::StatusCode;
use hyper::header::{SET_COOKIE, USER_AGENT};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

pub(super) fn without_body(unread: Unread) -> Answer {
    let (status, message) = unread.told("the body is not a JSON object");
    failure(status, "INVALID_BODY", message)
}

impl Request {
    pub(super) async fn sign_up(&self, body: &Value) -> Done {
        let new =
            NewUser { name: field(body, "name")?, email: field(body, "email")?, password: field(body, "password")? };
        let done = self.asked.entrance.accounts.sign_up(new, self.device(), self.now_ms).await;
        self.signed_in(done.map_err(refused)?, true)
    }

    pub(super) async fn sign_in(&self, body: &Value) -> Done {
        let (email, password) = (field(body, "email")?, field(body, "password")?);
        let remember = body.get("rememberMe").and_then(Value::as_bool).unwrap_or(true);
        let accounts = &self.asked.entrance.accounts;
        let done = accounts.sign_in(&email, password, remember, self.device(), self.now_ms).await;
        if let Err(reason @ (AccountError::WrongPassword | AccountError::TooManyTries { .. })) = &done {
            // Not for whom: people write passwords into the wrong field.
            tracing::info!(action = "auth.refused", address = %self.asked.address, %reason, "sign-in");
        }
        self.signed_in(done.map_err(refused)?, remember)
    }

    fn device(&self) -> Device {
        Device { agent: self.asked.header(USER_AGENT).unwrap_or_default().to_owned(), address: self.asked.address }
    }

    fn signed_in(&self, signed_in: SignedIn, remember: bool) -> Done {
        let SignedIn { token, session, user } = signed_in;
        let life_s = session.expires_at_ms.saturating_sub(session.created_at_ms) / 1_000;
        let cookie = self.cookie(&token, remember.then_some(life_s));
        let answer = done(StatusCode::OK, &json!({ "redirect": false, "token": token, "user": person(&user) }));
        Ok(cookie.iter().fold(answer, |answer, cookie| with_header(answer, SET_COOKIE, cookie)))
    }

    /// Who is not signed in is so afterwards, too.
    pub(super) async fn sign_out(&self) -> Done {
        if self.shown.session_token().is_some()
            && let Some(visitor) = self.signed_in_visitor().await?
        {
            let own = own_id(&visitor);
            self.end(&visitor, move |session| own.as_ref() == Some(&session.id)).await?;
        }
        let answer = done(StatusCode::OK, &json!({ "success": true }));
        Ok(self.no_cookies().iter().fold(answer, |answer, cookie| with_header(answer, SET_COOKIE, cookie)))
    }

    /// Who is signed in and with what; null for nobody.
    pub(super) async fn session(&self) -> Done {
        let Some(visitor) = self.signed_in_visitor().await? else { return Ok(done(StatusCode::OK, &Value::Null)) };
        let accounts = &self.asked.entrance.accounts;
        let (user, session) = (accounts.user(&visitor.user), self.own_session(&visitor));
        let body = match (user, session) {
            (Some(user), Some(session)) => {
                let mut described = described(&session);
                described["token"] = self.shown.session_token().into();
                json!({ "user": person(&user), "session": described })
            }
            // By a token of the identity provider: it keeps the rest.
            _ => {
                let expires_at = visitor.expires_at_ms.map(date);
                json!({
                    "user": { "id": &*visitor.user, "name": visitor.name, "email": null, "image": null, "emailVerified": false },
                    "session": { "id": null, "userId": &*visitor.user, "expiresAt": expires_at },
                })
            }
        };
        Ok(done(StatusCode::OK, &body))
    }

    pub(super) async fn sessions(&self) -> Done {
        let visitor = self.visitor().await?;
        let own = own_id(&visitor);
        let sessions = self.asked.entrance.accounts.sessions_of(&visitor.user, self.now_ms);
        let listed = sessions.iter().map(|session| {
            let mut described = described(session);
            described["current"] = (own.as_ref() == Some(&session.id)).into();
            described
        });
        Ok(done(StatusCode::OK, &Value::Array(listed.collect())))
    }

    /// By its id, or by its token for whoever has it.
    pub(super) async fn end_session(&self, visitor: &ConsoleVisitor, body: &Value) -> Done {
        let meant = body.get("token").or_else(|| body.get("id")).and_then(Value::as_str).unwrap_or_default().to_owned();
        let ends = move |session: &Session| *session.id == *meant || Accounts::is_token_of(session, &meant);
        match self.end(visitor, ends).await? {
            0 => Err(refused(AccountError::NoSession)),
            _ => Ok(done(StatusCode::OK, &json!({ "status": true }))),
        }
    }

    pub(super) async fn end_others(&self) -> Done {
        let visitor = self.visitor().await?;
        let own = own_id(&visitor);
        self.end(&visitor, move |session| own.as_ref() != Some(&session.id)).await?;
        Ok(done(StatusCode::OK, &json!({ "status": true })))
    }

    /// Ends those of the visitor's sessions for which `ends` is true.
    async fn end(
        &self,
        visitor: &ConsoleVisitor,
        ends: impl Fn(&Session) -> bool + Send + 'static,
    ) -> Result<usize, Answer> {
        let (accounts, user) = (&self.asked.entrance.accounts, visitor.user.clone());
        accounts.end_sessions(user, &visitor.user, self.now_ms, ends).await.map_err(refused)
    }

    /// None for nobody, and for what counts no longer; an error where a page may not ask, or it cannot be found out.
    async fn signed_in_visitor(&self) -> Result<Option<ConsoleVisitor>, Answer> {
        match self.visitor().await {
            Ok(visitor) => Ok(Some(visitor)),
            Err(answer) if answer.status == StatusCode::UNAUTHORIZED => Ok(None),
            Err(answer) => Err(answer),
        }
    }

    fn own_session(&self, visitor: &ConsoleVisitor) -> Option<Session> {
        let own = own_id(visitor)?;
        let sessions = self.asked.entrance.accounts.sessions_of(&visitor.user, self.now_ms);
        sessions.into_iter().find(|session| session.id == own)
    }
}

/// The session by which somebody asks.
fn own_id(visitor: &ConsoleVisitor) -> Option<Arc<str>> {
    match &visitor.credential {
        ConsoleCredential::Session(id) => Some(id.clone()),
        ConsoleCredential::Key(_) | ConsoleCredential::Token => None,
    }
}

/// A text of the body.
fn field(body: &Value, name: &'static str) -> Result<String, Answer> {
    let missing =
        || failure(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", &format!("\"{name}\" is missing, or no text"));
    body.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(missing)
}

/// Their dates are texts, and there are no pictures.
fn person(user: &User) -> Value {
    let created = date(user.created_at_ms);
    json!({
        "id": &*user.id,
        "email": &*user.email,
        "name": user.name,
        "image": null,
        "emailVerified": false,
        "createdAt": created,
        "updatedAt": created,
    })
}

fn described(session: &Session) -> Value {
    json!({
        "id": &*session.id,
        "userId": &*session.user,
        "createdAt": date(session.created_at_ms),
        "updatedAt": date(session.used_at_ms),
        "expiresAt": date(session.expires_at_ms),
        "ipAddress": session.address,
        "userAgent": session.agent,
    })
}

fn date(at_ms: u64) -> String {
    rfc3339_ms(UNIX_EPOCH + Duration::from_millis(at_ms))
}

fn refused(error: AccountError) -> Answer {
    let code = match &error {
        AccountError::WrongPassword => "INVALID_EMAIL_OR_PASSWORD",
        AccountError::EmailTaken => "USER_ALREADY_EXISTS",
        AccountError::BadEmail(_) => "INVALID_EMAIL",
        AccountError::ShortPassword => "PASSWORD_TOO_SHORT",
        AccountError::LongPassword => "PASSWORD_TOO_LONG",
        AccountError::BadName => "INVALID_NAME",
        AccountError::SignUpClosed => "SIGN_UP_CLOSED",
        AccountError::TooManyTries { .. } => "TOO_MANY_ATTEMPTS",
        AccountError::NoSession => "SESSION_NOT_FOUND",
        _ => "UNAVAILABLE",
    };
    let answer = failure(status_of(&error), code, &error.told());
    match retry_after_s(&error) {
        Some(retry_after_s) => later(answer, retry_after_s),
        None => answer,
    }
}

fn failure(status: StatusCode, code: &str, message: &str) -> Answer {
    done(status, &json!({ "code": code, "message": message }))
}

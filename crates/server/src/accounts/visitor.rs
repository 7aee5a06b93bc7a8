//! Who comes to a room database, or to the console: by an API key, a session, or a token of an outside identity provider, in the order that clients rely
//! on; the first that is shown decides. Also whether somebody who is in may stay. Says how it is refused, and does not know sockets.

use super::Accounts;
use crate::auth::{Admission, Lifetime, Reach, Refusal, Standing, bearer_token, cookie_value, now_s};
use crate::logging::Printable;
use crate::origins;
use crate::request::{RequestHead, decode_pair};
use crate::room_kind::RoomKind;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use hyper::http::request::Parts;
use identity::api_key::KeyError;
use identity::{Credential, Grant, Identity, Scopes};
use room::{Access, Closing};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether somebody may stay is found out again within this time, in case that nobody has told of a change.
const CONFIRM_WITHIN: Duration = Duration::from_secs(60);
/// As far as a timer is set.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Names of the cookie with a session, in this order.
const COOKIES: [&str; 2] = ["better-auth.session_token", "__Secure-better-auth.session_token"];
/// Parameters with an API key, in this order.
const KEY_PARAMETERS: [&str; 2] = ["api_key", "key"];

/// What a request shows. `Debug` would show secrets, so there is none.
pub struct Shown {
    key: Option<String>,
    cookie: Option<String>,
    token: Option<String>,
    origin: Option<String>,
    host: Option<String>,
    /// It changes nothing, and another page's browser does not show that page the answer: a missing origin is none of another page.
    only_reads: bool,
}

impl Shown {
    /// By a request for a socket.
    pub fn of(head: &RequestHead) -> Self {
        let query: Vec<(String, String)> = head.query().collect();
        Self::find(|name| head.header(name), &query, false)
    }

    /// By a request that hyper has read.
    pub(crate) fn of_parts(parts: &Parts) -> Self {
        let query: Vec<(String, String)> =
            parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(decode_pair).collect();
        let header = |name: &str| match name {
            // Browsers may split it.
            "cookie" => parts.headers.get(COOKIE),
            "authorization" => parts.headers.get(AUTHORIZATION),
            "origin" => parts.headers.get(ORIGIN),
            "host" => parts.headers.get(HOST),
            name => parts.headers.get(name),
        };
        let only_reads = parts.method.is_safe();
        Self::find(|name| header(name).and_then(|value| value.to_str().ok()), &query, only_reads)
    }

    fn find<'h>(
        header: impl Fn(&'static str) -> Option<&'h str>,
        query: &[(String, String)],
        only_reads: bool,
    ) -> Self {
        let parameter = |name: &str| {
            let value = query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            value.filter(|value| !value.is_empty())
        };
        let keys = KEY_PARAMETERS.into_iter().filter_map(parameter);
        // Another value is not a bad key but none, and the next place is looked at.
        let key = header("x-nano-key").into_iter().chain(keys).find(|text| is_meant_as_key(text.trim()));
        let token = parameter("session_token").or_else(|| header("authorization").and_then(bearer_token));
        Self {
            key: key.map(|key| key.trim().to_owned()),
            cookie: header("cookie").and_then(session_cookie).map(str::to_owned),
            token: token.map(|token| token.trim().to_owned()),
            origin: header("origin").map(str::to_owned),
            host: header("host").map(str::to_owned),
            only_reads,
        }
    }

    /// The token of a session, where one is shown: the first that is there counts.
    pub(crate) fn session_token(&self) -> Option<&str> {
        self.cookie.as_deref().or(self.token.as_deref())
    }
}

/// Whether a text is meant as an API key, good or not.
fn is_meant_as_key(text: &str) -> bool {
    text.starts_with("nk_") || identity::looks_like_api_key(text)
}

/// The token in a header Cookie: without the signature that other servers put behind it.
fn session_cookie(cookies: &str) -> Option<&str> {
    let named = |name: &str| cookie_value(cookies, name).map(|value| value.trim_matches('"'));
    let value = COOKIES.into_iter().find_map(named)?;
    let token = value.split('.').next().unwrap_or_default();
    (!token.is_empty()).then_some(token)
}

/// Why somebody is not let in, as an HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleRefusal {
    /// Its status.
    pub status: u16,
    /// Its body, plain text.
    pub text: String,
}

impl ConsoleRefusal {
    fn of(status: u16, text: &str) -> Self {
        Self { status, text: text.to_owned() }
    }

    /// Nothing was shown.
    pub(crate) fn nobody() -> Self {
        Self::of(401, "Unauthorized. Please log in.")
    }

    fn invalid() -> Self {
        Self::of(401, "Unauthorized: Invalid API Key or Session")
    }

    pub(super) fn forbidden() -> Self {
        Self::of(403, "Forbidden")
    }

    fn origin() -> Self {
        Self::of(
            403,
            "cookies count only for pages of the same host and for origins that are listed in origins.allowed",
        )
    }

    /// It could not be found out.
    pub(super) fn unavailable(reason: &str) -> Self {
        Self::of(500, &format!("Auth Error: {reason}"))
    }
}

/// How somebody has proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleCredential {
    /// By the session of this id.
    Session(Arc<str>),
    /// By the API key of this id.
    Key(Arc<str>),
    /// By a token of the identity provider that the configuration names.
    Token,
}

/// Who comes.
#[derive(Clone, Debug)]
pub struct ConsoleVisitor {
    /// Rows and changes are theirs.
    pub user: Arc<str>,
    /// What people call them, where that is known.
    pub name: Option<String>,
    /// What their credential may be used for; sessions have all.
    pub scopes: Scopes,
    /// How they have proved it.
    pub credential: ConsoleCredential,
    /// When that ends, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
    /// The rooms that an API key is for.
    grants: Option<Vec<Grant>>,
    /// On what the gate is asked again about a token.
    standing: Option<Box<Standing>>,
}

impl ConsoleVisitor {
    /// Whether the credential is for this room; what it may be used for there is in `scopes`.
    pub(super) fn allows(&self, room: &str) -> bool {
        let name = RoomKind::Database.key(room);
        self.grants.as_ref().is_none_or(|grants| grants.iter().any(|grant| grant.pattern.matches(&name)))
    }

    /// It came by the session of this id.
    pub(crate) fn is_by_session(&self, session: &str) -> bool {
        matches!(&self.credential, ConsoleCredential::Session(id) if **id == *session)
    }

    /// The terms on which it is in a room. `generation` of the gate's answers and the number of `withdrawals` are those of before it was looked at.
    pub(crate) fn admission(self: &Arc<Self>, generation: u64, withdrawals: u64, now_ms: u64) -> Admission {
        let given = self.standing.as_deref();
        let identity = given.map_or_else(|| Identity::anonymous(self.user.clone()), |given| (*given.identity).clone());
        let credential = match &self.credential {
            ConsoleCredential::Session(_) => Credential::Session,
            ConsoleCredential::Key(id) => Credential::Key(id.clone()),
            ConsoleCredential::Token => Credential::Token,
        };
        let identity = Identity { name: self.name.clone(), scopes: Some(self.scopes), credential, ..identity };
        let left = self.expires_at_ms.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)).min(YEAR));
        let standing = Standing {
            expires: left.map(|left| Instant::now() + left),
            lifetime: Some(Lifetime::of(CONFIRM_WITHIN).min(given.and_then(|given| given.lifetime))),
            rates: given.map(|given| given.rates).unwrap_or_default(),
            generation,
            reach: Reach::Console { visitor: self.clone(), withdrawals },
            ..Standing::of(identity)
        };
        Admission {
            author: self.user.clone(),
            name: self.name.clone(),
            access: if self.scopes.write { Access::Write } else { Access::Read },
            trusts_all: false,
            standing: Some(Box::new(standing)),
        }
    }
}

impl Accounts {
    /// Who comes, by what they show. `room`: the id of the room that they come for, which a token may be for or not; empty for none.
    pub async fn identify(&self, shown: &Shown, room: &str, now_ms: u64) -> Result<ConsoleVisitor, ConsoleRefusal> {
        match &shown.key {
            Some(key) => self.by_key(key),
            None => self.identify_session(shown, room, now_ms).await,
        }
    }

    /// The same where API keys do not count.
    pub async fn identify_session(
        &self,
        shown: &Shown,
        room: &str,
        now_ms: u64,
    ) -> Result<ConsoleVisitor, ConsoleRefusal> {
        match (&shown.cookie, &shown.token) {
            (Some(cookie), _) => {
                self.check_origin(shown)?;
                self.by_session(cookie, now_ms).ok_or_else(|| refused("no such session", ConsoleRefusal::invalid()))
            }
            (None, Some(token)) if is_meant_as_key(token) => self.by_key(token),
            (None, Some(token)) => match self.by_session(token, now_ms) {
                Some(visitor) => Ok(visitor),
                None => self.by_token(token, room).await,
            },
            (None, None) => Err(ConsoleRefusal::nobody()),
        }
    }

    /// A browser sends cookies along whichever page asks: only pages of this host and listed ones may use them.
    fn check_origin(&self, shown: &Shown) -> Result<(), ConsoleRefusal> {
        let origin = shown.origin.as_deref();
        let own = origin.is_none() && shown.only_reads;
        if own || origins::may_use_cookies(&self.origins, origin, shown.host.as_deref()) {
            return Ok(());
        }
        let origin = Printable(origin.unwrap_or("none")).to_string();
        tracing::info!(action = "auth.refused", origin, "cookies from a page that is not listed in origins.allowed");
        Err(ConsoleRefusal::origin())
    }

    fn by_key(&self, text: &str) -> Result<ConsoleVisitor, ConsoleRefusal> {
        let identity = self.key_file.authenticate_console(text, now_s()).map_err(|error| {
            let told = if matches!(error, KeyError::Expired { .. }) { "API key expired" } else { "Invalid API key" };
            refused(&error.to_string(), ConsoleRefusal::of(401, told))
        })?;
        let Credential::Key(id) = &identity.credential else { return Err(ConsoleRefusal::of(401, "Invalid API key")) };
        Ok(ConsoleVisitor {
            credential: ConsoleCredential::Key(id.clone()),
            user: identity.user,
            name: identity.name,
            scopes: identity.scopes.unwrap_or_default(),
            expires_at_ms: identity.expires_at_s.map(|at_s| at_s.saturating_mul(1_000)),
            grants: identity.grants,
            standing: None,
        })
    }

    fn by_session(&self, token: &str, now_ms: u64) -> Option<ConsoleVisitor> {
        let (session, user) = self.session(token, now_ms)?;
        Some(ConsoleVisitor {
            user: user.id,
            name: Some(user.name),
            scopes: Scopes { read: true, write: true, admin: true },
            credential: ConsoleCredential::Session(session.id),
            expires_at_ms: Some(session.expires_at_ms),
            grants: None,
            standing: None,
        })
    }

    /// By the server's gate: whoever has an identity provider needs no accounts here.
    async fn by_token(&self, token: &str, room: &str) -> Result<ConsoleVisitor, ConsoleRefusal> {
        let admission = match self.gate.present_to_database(token, &RoomKind::Database.key(room)).await {
            Ok(admission) => admission,
            Err(Refusal::Later(reason)) => return Err(ConsoleRefusal::unavailable(reason)),
            Err(Refusal::Closing(Closing::Forbidden)) => return Err(ConsoleRefusal::forbidden()),
            Err(Refusal::Closing(_) | Refusal::Origin) => return Err(ConsoleRefusal::invalid()),
        };
        by_admission(admission).ok_or_else(ConsoleRefusal::invalid)
    }

    /// Somebody who is in a room, with the rights that are left; none: it may not stay. Asked when something was withdrawn, and once a minute.
    pub(crate) async fn confirm(
        &self,
        visitor: &Arc<ConsoleVisitor>,
        room: &str,
        now_ms: u64,
    ) -> Option<Arc<ConsoleVisitor>> {
        if !visitor.allows(room) || !self.has_right(room, &visitor.user) {
            return None;
        }
        match (&visitor.credential, &visitor.standing) {
            (ConsoleCredential::Session(id), _) => self.is_session(id, now_ms).then(|| visitor.clone()),
            (ConsoleCredential::Key(id), _) => {
                self.key_file.table().identity(id, now_s()).is_ok().then(|| visitor.clone())
            }
            (ConsoleCredential::Token, Some(standing)) => {
                visitor.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms).then_some(())?;
                match self.gate.confirm(standing, &RoomKind::Database.key(room)).await {
                    Ok(admission) => by_admission(admission).map(Arc::new),
                    // While it cannot be found out, who is in stays in, until the token runs out.
                    Err(Refusal::Later(_)) => Some(visitor.clone()),
                    Err(_) => None,
                }
            }
            (ConsoleCredential::Token, None) => None,
        }
    }

    /// Whether somebody is in a room, or would be let in, without a say in whose it is.
    pub(crate) fn may_look(&self, room: &str, visitor: &ConsoleVisitor) -> Result<(), ConsoleRefusal> {
        let may = visitor.allows(room) && self.has_right(room, &visitor.user);
        if may { Ok(()) } else { Err(ConsoleRefusal::forbidden()) }
    }
}

/// Somebody whom the gate has let in by a token. None: where everybody is let in, a token says nothing about anybody.
fn by_admission(admission: Admission) -> Option<ConsoleVisitor> {
    let standing = admission.standing.filter(|_| !admission.trusts_all)?;
    let write = admission.access == Access::Write;
    Some(ConsoleVisitor {
        user: standing.identity.user.clone(),
        name: admission.name,
        scopes: Scopes { read: true, write, admin: write },
        credential: ConsoleCredential::Token,
        expires_at_ms: standing.identity.expires_at_s.map(|at_s| at_s.saturating_mul(1_000)),
        grants: None,
        standing: Some(standing),
    })
}

/// A refusal, with its exact reason in the log.
fn refused(reason: &str, refusal: ConsoleRefusal) -> ConsoleRefusal {
    tracing::info!(action = "auth.refused", reason = %Printable(reason), "visitor of the console");
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::parse;

    /// Target and further header lines; the key, the cookie and the token that are found.
    type Case = (&'static str, &'static str, [Option<&'static str>; 3]);

    #[test]
    fn each_place_is_looked_at_in_its_order() {
        let cases: &[Case] = &[
            ("/w", "", [None, None, None]),
            ("/w?key=nk_live_1&api_key=nk_live_2", "", [Some("nk_live_2"), None, None]),
            ("/w?key=nk_live_1", "X-Nano-Key: nk_live_3\r\n", [Some("nk_live_3"), None, None]),
            ("/w?key=nk_live_1", "X-Nano-Key: abc\r\n", [Some("nk_live_1"), None, None]),
            ("/w?key=abc", "Cookie: better-auth.session_token=t\r\n", [None, Some("t"), None]),
            ("/w?key=concord_x", "", [Some("concord_x"), None, None]),
            ("/w?key=&api_key=", "", [None, None, None]),
            ("/w", "Cookie: a=b; better-auth.session_token=t.c2ln%3D; c=d\r\n", [None, Some("t"), None]),
            ("/w", "Cookie: __Secure-better-auth.session_token=s\r\n", [None, Some("s"), None]),
            (
                "/w",
                "Cookie: __Secure-better-auth.session_token=s; better-auth.session_token=t\r\n",
                [None, Some("t"), None],
            ),
            ("/w", "Cookie: better-auth.session_token=\r\n", [None, None, None]),
            ("/w?session_token=p", "Authorization: Bearer b\r\n", [None, None, Some("p")]),
            ("/w?session_token=", "Authorization: Bearer b\r\n", [None, None, Some("b")]),
            ("/w?session_token=p", "Cookie: better-auth.session_token=t\r\n", [None, Some("t"), Some("p")]),
        ];
        for (target, headers, expected) in cases {
            let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
            let head = parse(request.as_bytes()).expect("legal").expect("whole");
            let mut built = hyper::Request::builder().uri(*target);
            for line in headers.lines() {
                let (name, value) = line.split_once(": ").expect("a header");
                built = built.header(name, value);
            }
            let (parts, ()) = built.body(()).expect("legal").into_parts();
            for shown in [Shown::of(&head), Shown::of_parts(&parts)] {
                let found = [&shown.key, &shown.cookie, &shown.token].map(|place| place.as_deref());
                assert_eq!(found, *expected, "{request}");
            }
        }
    }
}

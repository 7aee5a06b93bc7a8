//! Asks the application whose session a browser's cookies belong to (`auth.session_url`). The answer counts for seconds, and a session that has ended is
//! noticed when it is asked about again.
//!
//! Called by the authenticator, which has checked the origin. Looks into no cookie.

use super::Lifetime;
use super::asked::{Asked, question};
use super::credential::SessionCookie;
use super::webhook::lifetime;
use crate::fetch::{Fetched, Fetcher, Lane, Url};
use identity::{ClaimNames, Credential, Identity};
use std::sync::Arc;
use std::time::Duration;

/// The application, as far as it is asked for sessions.
pub(super) struct Sessions {
    url: Url,
    lifetime: Duration,
    names: ClaimNames,
    fetcher: Arc<Fetcher>,
    asked: Asked<Option<Session>>,
}

/// A session that exists.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) identity: Arc<Identity>,
    pub(super) lifetime: Lifetime,
}

impl Sessions {
    /// `lifetime`: for answers that do not say how long they count.
    pub(super) fn new(url: Url, lifetime: Duration, names: ClaimNames, fetcher: Arc<Fetcher>) -> Self {
        Self { url, lifetime, names, fetcher, asked: Asked::new() }
    }

    /// Whose session it is. None: nobody's. Err: it could not be found out, and why, for the log.
    pub(super) async fn identify(&self, cookie: &SessionCookie, lane: Lane) -> Result<Option<Session>, String> {
        let ask = async {
            let headers = [("cookie", &*cookie.cookie), ("origin", &*cookie.origin), ("accept", "application/json")];
            let fetched = self.fetcher.get(&self.url, &headers, lane).await.map_err(|error| error.to_string())?;
            let session = understand(&fetched, self.lifetime, &self.names)?;
            let lifetime = session.as_ref().map_or_else(|| Lifetime::of(self.lifetime), |session| session.lifetime);
            // Kept until it is to be asked again, so that whoever asks again gets another.
            Ok((session, lifetime.ask))
        };
        self.asked
            .answer(&question(&[cookie.cookie.as_bytes(), cookie.origin.as_bytes()]), ask)
            .await
            .map(|(session, _)| session)
    }

    /// All answers are asked for again.
    pub(super) fn forget(&self) {
        self.asked.forget();
    }
}

fn understand(fetched: &Fetched, default: Duration, names: &ClaimNames) -> Result<Option<Session>, String> {
    match fetched.status {
        200 => {}
        401 | 403 | 404 => return Ok(None),
        status => return Err(format!("it answered {status}")),
    }
    let claims: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&fetched.body).map_err(|error| format!("its answer is not a JSON object: {error}"))?;
    let identity = Identity::from_claims(&claims, names, Credential::Session)
        .map_err(|error| format!("its answer cannot be understood: {error}"))?;
    let lifetime = match claims.get("ttl_s") {
        Some(ttl_s) => lifetime(ttl_s.as_f64().unwrap_or(f64::NAN))?,
        None => default,
    };
    Ok(Some(Session { identity: Arc::new(identity), lifetime: Lifetime::of(lifetime) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let day = Duration::from_secs(86_400);
        let user = |status, body: &'static str| {
            let understood = understand(&Fetched { status, body: body.into() }, day, &ClaimNames::default());
            understood.map(|session| session.map(|session| session.identity.user.to_string()))
        };
        assert_eq!(user(200, "{\"userId\":\"ann\",\"ttl_s\":2,\"theme\":\"dark\"}"), Ok(Some("ann".to_owned())));
        assert_eq!(user(200, "{\"sub\":\"bob\"}"), Ok(Some("bob".to_owned())));
        for status in [401, 403, 404] {
            assert_eq!(user(status, "{\"userId\":\"ann\"}"), Ok(None));
        }
        for (status, body) in [
            (500, "{\"userId\":\"ann\"}"),
            (302, "{\"userId\":\"ann\"}"),
            (200, ""),
            (200, "null"),
            (200, "{}"),
            (200, "{\"userId\":\"\"}"),
            (200, "{\"userId\":\"ann\",\"ttl_s\":\"2\"}"),
            (200, "{\"userId\":\"ann\",\"ttl_s\":-2}"),
        ] {
            assert!(user(status, body).is_err(), "{status} {body}");
        }
    }
}

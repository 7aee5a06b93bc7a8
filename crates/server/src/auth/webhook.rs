//! Asks the application what somebody may do in a room (`auth.permission_url`). Signed, so that the application knows who asks, and with the time, so
//! that what somebody has overheard cannot be asked again later.
//!
//! Called by the authenticator. Does not decide what happens when there is no answer: that is a refusal, never an opening.

use super::asked::{Asked, question};
use super::{Lifetime, Rates};
use crate::fetch::{Fetched, Fetcher, Lane, Url};
use aws_lc_rs::hmac;
use bytes::Bytes;
use identity::{Identity, Permission};
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a refusal counts that says nothing about it: short, as people wait for being let in.
const REFUSED: Duration = Duration::from_secs(5);
/// Longest time for which an answer counts, whatever it says: a day.
const LIFETIME_MAX_S: f64 = 86_400.0;
/// And shortest: more often nobody is asked about the same.
const LIFETIME_MIN_S: f64 = 0.25;

/// The application, as far as it is asked for permissions.
pub(super) struct Webhook {
    application: Signed,
    asked: Asked<Permitted>,
}

/// What the application says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Permitted {
    pub(super) permission: Permission,
    pub(super) rates: Rates,
    pub(super) lifetime: Lifetime,
}

/// `{"permission":"write","ttl_s":60,"limits":{"messages_per_s":100,"bytes_per_s":100000}}`.
#[derive(Deserialize)]
struct Answer {
    permission: Word,
    /// Seconds for which it counts.
    #[serde(default = "a_minute")]
    ttl_s: f64,
    #[serde(default)]
    limits: LimitsAnswer,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    None,
    Read,
    Write,
}

#[derive(Default, Deserialize)]
struct LimitsAnswer {
    messages_per_s: Option<u64>,
    bytes_per_s: Option<u64>,
}

fn a_minute() -> f64 {
    60.0
}

impl Webhook {
    pub(super) fn new(url: Url, secret: &str, fetcher: Arc<Fetcher>) -> Self {
        Self { application: Signed::new(url, secret, fetcher), asked: Asked::new() }
    }

    /// What somebody may do in a room. Err: it could not be found out, and why, for the log.
    pub(super) async fn permission(&self, identity: &Identity, room: &str, lane: Lane) -> Result<Permitted, String> {
        let body = body(identity, room);
        let ask = async {
            let permitted = self.ask(body.clone(), lane).await?;
            // Kept until it is to be asked again, so that whoever asks again gets another.
            Ok((permitted, permitted.lifetime.ask))
        };
        self.asked.answer(&question(&[&body]), ask).await.map(|(permitted, _)| permitted)
    }

    /// All answers are asked for again.
    pub(super) fn forget(&self) {
        self.asked.forget();
    }

    async fn ask(&self, body: Bytes, lane: Lane) -> Result<Permitted, String> {
        understand(&self.application.ask(body, lane).await?)
    }
}

/// An address of the application that is asked with a signature.
pub(crate) struct Signed {
    url: Url,
    secret: Option<hmac::Key>,
    fetcher: Arc<Fetcher>,
}

impl Signed {
    pub(crate) fn new(url: Url, secret: &str, fetcher: Arc<Fetcher>) -> Self {
        let secret = (!secret.is_empty()).then(|| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        Self { url, secret, fetcher }
    }

    /// Asks with a body of JSON.
    pub(crate) async fn ask(&self, body: Bytes, lane: Lane) -> Result<Fetched, String> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let signature = self.secret.as_ref().map(|secret| sign(secret, &now_s, &body));
        let mut headers =
            vec![("content-type", "application/json"), ("accept", "application/json"), ("concord-timestamp", &*now_s)];
        headers.extend(signature.as_deref().map(|signature| ("concord-signature", signature)));
        self.fetcher.post(&self.url, &headers, body, lane).await.map_err(|error| error.to_string())
    }
}

/// `sha256=` and, in hex, the HMAC of `timestamp.body`.
fn sign(secret: &hmac::Key, timestamp: &str, body: &[u8]) -> String {
    let message = [timestamp.as_bytes(), b".", body].concat();
    let hex: String = hmac::sign(secret, &message).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// Somebody, as the application is told of them.
pub(crate) fn described(identity: &Identity) -> serde_json::Value {
    let Identity { user, name, firm, role, email, .. } = identity;
    serde_json::json!({ "userId": &**user, "name": name, "firmId": firm, "role": role, "email": email })
}

fn body(identity: &Identity, room: &str) -> Bytes {
    serde_json::json!({ "identity": described(identity), "room": room }).to_string().into()
}

fn understand(fetched: &Fetched) -> Result<Permitted, String> {
    let refused = Permitted { permission: Permission::None, rates: Rates::default(), lifetime: Lifetime::of(REFUSED) };
    match fetched.status {
        200 => {}
        401 | 403 | 404 => return Ok(refused),
        status => return Err(format!("it answered {status}")),
    }
    let Answer { permission, ttl_s, limits } =
        serde_json::from_slice(&fetched.body).map_err(|error| format!("its answer cannot be understood: {error}"))?;
    let LimitsAnswer { messages_per_s, bytes_per_s } = limits;
    let permission = match permission {
        Word::None => Permission::None,
        Word::Read => Permission::Read,
        Word::Write => Permission::Write,
    };
    let lifetime = Lifetime::of(lifetime(ttl_s)?);
    Ok(Permitted { permission, rates: Rates { bytes_per_s, messages_per_s }, lifetime })
}

/// How long an answer counts.
pub(super) fn lifetime(ttl_s: f64) -> Result<Duration, String> {
    let legal = ttl_s.is_finite() && ttl_s >= 0.0;
    let within = || Duration::from_secs_f64(ttl_s.clamp(LIFETIME_MIN_S, LIFETIME_MAX_S));
    legal.then(within).ok_or_else(|| format!("ttl_s cannot be {ttl_s}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let understood = |status, body: &'static str| understand(&Fetched { status, body: body.into() });
        let cases = [
            ("{\"permission\":\"write\"}", Permission::Write),
            ("{\"permission\":\"read\",\"ttl_s\":1,\"more\":{}}", Permission::Read),
            ("{\"permission\":\"none\"}", Permission::None),
        ];
        for (body, permission) in cases {
            assert_eq!(understood(200, body).map(|permitted| permitted.permission), Ok(permission), "{body}");
        }
        for body in [
            "",
            "{}",
            "[]",
            "\"write\"",
            "{\"permission\":\"WRITE\"}",
            "{\"permission\":\"write\",\"ttl_s\":-1}",
            "{\"permission\":true}",
        ] {
            assert!(understood(200, body).is_err(), "{body}");
        }
        for (status, open) in [(401, true), (403, true), (404, true), (500, false), (302, false), (204, false)] {
            let answer = understood(status, "{\"permission\":\"write\"}");
            assert_eq!(answer.map(|permitted| permitted.permission).ok(), open.then_some(Permission::None), "{status}");
        }
        let limited = understood(200, "{\"permission\":\"write\",\"limits\":{\"bytes_per_s\":9}}").expect("legal");
        assert_eq!(limited.rates, Rates { bytes_per_s: Some(9), messages_per_s: None });
    }

    #[test]
    fn the_signature_is_that_of_other_tools() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let signature = sign(&key, "1700000000", b"{\"a\":1}");
        assert_eq!(signature, EXPECTED);
        let body = body(&Identity::anonymous("u\"1"), "a b");
        let read: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((&read["identity"]["userId"], &read["room"]), (&"u\"1".into(), &"a b".into()));
    }

    const EXPECTED: &str = "sha256=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
}

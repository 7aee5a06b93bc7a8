//! Tokens as tests need them: right ones, and ones that are wrong in one point.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use server::config::{Config, Secret};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the servers of these tests share with whoever issues tokens.
pub(crate) const SECRET: &str = "a secret of the tests, 32 bytes or more";

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Tokens with `SECRET` are the way in.
pub(crate) fn with_secret(mut config: Config) -> Config {
    config.auth.secret = Secret::new(SECRET);
    config
}

/// Claims that let `user` in, with some of them replaced; `null` removes one.
pub(crate) fn claims(user: &str, changes: Value) -> Value {
    let mut claims = json!({ "userId": user, "iat": now_s() - 1, "exp": now_s() + 600 });
    if let (Some(claims), Value::Object(changes)) = (claims.as_object_mut(), changes) {
        for (name, value) in changes {
            match value {
                Value::Null => _ = claims.remove(&name),
                value => _ = claims.insert(name, value),
            }
        }
    }
    claims
}

/// A token that is good for `user`, with some claims replaced.
pub(crate) fn token(user: &str, changes: Value) -> String {
    hs256(r#"{"alg":"HS256","typ":"JWT"}"#, &claims(user, changes).to_string(), SECRET)
}

pub(crate) fn hs256(header: &str, claims: &str, secret: &str) -> String {
    let signed = unsigned(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(tag))
}

pub(crate) fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", BASE64.encode(header), BASE64.encode(claims))
}

/// An issuer with a key pair.
pub(crate) enum Issuer {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Issuer {
    pub(crate) fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("randomness"))
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().expect("randomness"))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        match self {
            Self::Es256(pair) => pair.public_key().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// As it is published.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let public = self.public();
        match self {
            // 4, then both coordinates.
            Self::Es256(_) => json!({
                "kty": "EC", "crv": "P-256", "kid": id,
                "x": BASE64.encode(&public[1..33]), "y": BASE64.encode(&public[33..]),
            }),
            Self::Ed25519(_) => json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": BASE64.encode(&public) }),
        }
    }

    /// A token with this key id that is good for `user`.
    pub(crate) fn token(&self, id: &str, user: &str) -> String {
        let header = json!({ "alg": self.algorithm(), "kid": id }).to_string();
        self.sign(&header, &claims(user, json!({})).to_string())
    }

    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let signed = unsigned(header, claims);
        let signature = match self {
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signs").as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

/// Looks at every line that any server of these tests logs, at the level that says most. A secret in one of them ends the whole run: it may have been
/// any test's.
pub(crate) fn watch_the_log() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| server::logging::init_to(server::logging::LogLevel::Trace, || Watch));
}

struct Watch;

impl std::io::Write for Watch {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        if let Some(what) = secret_in(&line) {
            eprintln!("{what} in the log: {line}");
            std::process::abort();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a line must not have.
fn secret_in(line: &str) -> Option<&'static str> {
    let is_part =
        |text: &str| text.len() > 8 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let words = || line.split(|char: char| !(char.is_ascii_alphanumeric() || "-_.".contains(char)));
    let is_token = |word: &str| {
        let parts: Vec<&str> = word.split('.').collect();
        word.starts_with("eyJ") && parts.len() >= 3 && parts[..2].iter().all(|part| is_part(part))
    };
    // `concord_`, twelve characters of the id, and the secret.
    let is_key = |word: &str| {
        word.find("concord_").is_some_and(|at| word[at..].len() > 8 + 12 + 20 && word[at + 20..].starts_with('_'))
    };
    // `nk_live_` and 32 digits, of which people may see four.
    let is_console_key = |word: &str| {
        word.find("nk_live_").is_some_and(|at| word[at + 8..].bytes().take_while(u8::is_ascii_hexdigit).count() > 4)
    };
    let named = [
        (crate::accounts::PASSWORD, "a password"),
        (SECRET, "the secret that tokens are signed with"),
        (crate::webhooks::WEBHOOK_SECRET, "the secret of webhooks"),
    ];
    let named = named.into_iter().find(|(secret, _)| line.contains(secret)).map(|(_, what)| what);
    named
        .or_else(|| words().any(is_token).then_some("a token"))
        .or_else(|| words().any(is_key).then_some("an API key"))
        .or_else(|| words().any(is_console_key).then_some("an API key of the console"))
        .or_else(|| line.contains("sid=").then_some("a session's cookie"))
}

#[test]
fn the_watch_over_the_log_sees_secrets() {
    let token = token("ann", json!({}));
    let cases = [
        (format!("target=/r?token={token}"), true),
        (format!("\"cookie\":\"jwt={token}; a=b\""), true),
        (format!("{SECRET}."), true),
        ("concord_abcdefghijkl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(), true),
        ("Cookie: sid=ann".to_owned(), true),
        ("/x?k=nk_live_0123456789abcdef0123456789abcdef".to_owned(), true),
        (format!("body {}", crate::accounts::PASSWORD), true),
        ("key nk_live_0123…".to_owned(), false),
        ("target=/r?token=*** kid=\"abcdefghijkl\" key id abcdefghijkl".to_owned(), false),
        ("concord_connections 5, version 1.2.3, eyJust a word".to_owned(), false),
    ];
    for (line, expected) in cases {
        assert_eq!(secret_in(&line).is_some(), expected, "{line}");
    }
}

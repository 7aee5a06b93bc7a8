//! Making a token with a shared secret: for `concord token`, for tests, and for servers that have no issuer of their own. Never makes
//! one that `verify` with the same names would refuse. Signs with secrets only: private keys stay with issuers.

use crate::{
    Algorithm, ClaimNames, Grant, KeySetError, Permission,
    key::check_secret,
    text::{problem, quoted},
    time::YEAR_9999_S,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde_json::{Map, Value, json};
use std::fmt;

/// A secret to sign tokens with. `Debug` does not show it.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    secret: EncodingKey,
}

impl SigningKey {
    /// A secret for HS256, HS384 or HS512. Fails as `Key::secret` does.
    pub fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<SigningKey, KeySetError> {
        check_secret(algorithm, secret)?;
        Ok(SigningKey { algorithm, secret: EncodingKey::from_secret(secret) })
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// What a token is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minted {
    /// Who bears it: `userId`.
    pub user: String,
    /// What to show: `name`.
    pub name: Option<String>,
    /// Their organisation: `firmId`.
    pub firm: Option<String>,
    /// What they may do where: `rooms`. `None`: the rooms' own rules decide.
    pub grants: Option<Vec<Grant>>,
    /// Seconds until it expires.
    pub ttl_s: u64,
    /// Whom it is for: `aud`.
    pub audience: Option<String>,
    /// Who made it: `iss`.
    pub issuer: Option<String>,
    /// The id of the key: `kid`.
    pub kid: Option<String>,
}

/// Why no token is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// A text that no identity can have.
    #[error("the {field} {shown} {problem}; give 1 to 256 bytes without control characters")]
    BadText {
        /// Which.
        field: &'static str,
        /// The text, as shown to people.
        shown: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A life that has no end, or none at all.
    #[error("a token cannot live for {ttl_s} s; give a time such as 15m, 1h or 7d")]
    BadTtl {
        /// What was asked for.
        ttl_s: u64,
    },
    /// A grant that grants nothing: leaving the room out says the same.
    #[error("the grant {grant} allows nothing; leave it out, or give read or write")]
    EmptyGrant {
        /// Which.
        grant: String,
    },
    /// The cryptographic library refused.
    #[error("the token could not be signed; please report this")]
    Signing,
}

/// A token that says this from `now_s` on, signed. `names`: what the claims are called.
pub fn mint(key: &SigningKey, token: &Minted, names: &ClaimNames, now_s: u64) -> Result<String, MintError> {
    check(token, now_s)?;
    let mut header =
        Map::from_iter([("alg".to_owned(), json!(key.algorithm.name())), ("typ".to_owned(), json!("JWT"))]);
    insert(&mut header, "kid", token.kid.as_deref());
    let signed = format!("{}.{}", part(header), part(claims(token, names, now_s)));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key.secret, key.algorithm.jose());
    signature.map(|signature| format!("{signed}.{signature}")).map_err(|_| MintError::Signing)
}

fn claims(token: &Minted, names: &ClaimNames, now_s: u64) -> Map<String, Value> {
    let mut claims = Map::from_iter([
        (names.user.first().map_or("sub", String::as_str).to_owned(), json!(token.user)),
        ("iat".to_owned(), json!(now_s)),
        ("exp".to_owned(), json!(now_s + token.ttl_s)),
    ]);
    insert(&mut claims, names.name.first().map_or("name", String::as_str), token.name.as_deref());
    insert(&mut claims, &names.firm, token.firm.as_deref());
    insert(&mut claims, "aud", token.audience.as_deref());
    insert(&mut claims, "iss", token.issuer.as_deref());
    if let Some(grants) = &token.grants {
        let room = |grant: &Grant| json!({"name": grant.pattern.to_string(), "permission": grant.permission.name()});
        claims.insert(names.rooms.clone(), grants.iter().map(room).collect());
    }
    claims
}

fn insert(object: &mut Map<String, Value>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        object.insert(name.to_owned(), json!(text));
    }
}

fn part(object: Map<String, Value>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Value::Object(object).to_string())
}

fn check(token: &Minted, now_s: u64) -> Result<(), MintError> {
    let optional = [
        ("name", &token.name),
        ("firm", &token.firm),
        ("audience", &token.audience),
        ("issuer", &token.issuer),
        ("key id", &token.kid),
    ];
    let texts = optional.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?)));
    for (field, text) in texts.chain([("user", token.user.as_str())]) {
        if let Some(problem) = problem(text) {
            return Err(MintError::BadText { field, shown: quoted(text), problem });
        }
    }
    let ends = now_s.checked_add(token.ttl_s).is_some_and(|end_s| end_s <= YEAR_9999_S);
    if token.ttl_s == 0 || !ends {
        return Err(MintError::BadTtl { ttl_s: token.ttl_s });
    }
    let empty = token.grants.iter().flatten().find(|grant| grant.permission == Permission::None);
    empty.map_or(Ok(()), |grant| Err(MintError::EmptyGrant { grant: grant.to_string() }))
}

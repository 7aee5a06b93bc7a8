//! Checking a signed token (RFC 7515, RFC 7519) by the rules of RFC 8725: the configuration chooses key and algorithm, the signature
//! is checked before a claim is read, and what is not understood is refused. Called once for each credential that comes in.

use crate::{
    Identity, KeySet, Rules, TokenError, claims,
    key::Algorithm,
    strict_json::{self, Fault},
    text::{problem, quoted},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// Bytes of a token: more does not pass through the header lines of common proxies. A hundred grants fit.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Who the token says that its bearer is, when one of the keys signed it and it holds by the rules at `now_s`.
pub fn verify(token: &str, keys: &KeySet, rules: &Rules, now_s: u64) -> Result<Identity, TokenError> {
    let parts = Parts::split(token)?;
    let header = Header::read(&object("header", parts.header)?)?;
    let candidates = keys.candidates(header.kid.as_deref(), header.algorithm)?;
    decode("signature", parts.signature)?;
    if !candidates.iter().any(|key| key.signed(parts.signed.as_bytes(), parts.signature)) {
        return Err(keys.refusal(header.kid.as_deref(), TokenError::BadSignature));
    }
    claims::identity(&object("claims", parts.claims)?, rules, now_s)
}

/// A token's text, cut at its dots.
pub(crate) struct Parts<'a> {
    pub(crate) header: &'a str,
    pub(crate) claims: &'a str,
    pub(crate) signature: &'a str,
    /// What the signature covers: header and claims as they came.
    signed: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn split(token: &'a str) -> Result<Parts<'a>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: token.len() });
        }
        let wrong_count = || TokenError::PartCount { count: token.split('.').count() };
        let (signed, signature) = token.rsplit_once('.').ok_or_else(wrong_count)?;
        let (header, claims) = signed.split_once('.').ok_or_else(wrong_count)?;
        if claims.contains('.') { Err(wrong_count()) } else { Ok(Parts { header, claims, signature, signed }) }
    }
}

/// What a header says that matters.
pub(crate) struct Header {
    kid: Option<String>,
    algorithm: Algorithm,
}

impl Header {
    pub(crate) fn read(header: &Map<String, Value>) -> Result<Header, TokenError> {
        let algorithm = algorithm(header)?;
        let has = |names: &[&'static str]| names.iter().copied().find(|name| header.contains_key(*name));
        if let Some(header) = has(&["jwk", "jku", "x5u", "x5c"]) {
            return Err(TokenError::EmbeddedKey { header });
        }
        check_critical(header.get("crit"))?;
        if let Some(header) = has(&["b64", "zip", "enc"]) {
            return Err(TokenError::UnsupportedHeader { header });
        }
        check_type(header.get("typ"))?;
        Ok(Header { kid: kid(header.get("kid"))?, algorithm })
    }
}

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, TokenError> {
    let name = header.get("alg").and_then(Value::as_str).ok_or(TokenError::NoAlgorithm)?;
    if name.eq_ignore_ascii_case("none") {
        return Err(TokenError::Unsigned);
    }
    Algorithm::parse(name).ok_or_else(|| TokenError::UnknownAlgorithm { found: quoted(name) })
}

/// RFC 7515 section 4.1.11: a list of different names, not empty, and whoever does not understand one of them refuses the token.
fn check_critical(crit: Option<&Value>) -> Result<(), TokenError> {
    let Some(crit) = crit else { return Ok(()) };
    let names: Option<Vec<&str>> = crit.as_array().and_then(|names| names.iter().map(Value::as_str).collect());
    let mut names = names.ok_or(TokenError::MalformedCritical)?;
    let Some(first) = names.first().copied() else { return Err(TokenError::MalformedCritical) };
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(TokenError::MalformedCritical);
    }
    Err(TokenError::Critical { name: quoted(first) })
}

/// RFC 7515 section 4.1.9 leaves out `application/`, RFC 9068 section 4 allows it.
fn check_type(typ: Option<&Value>) -> Result<(), TokenError> {
    let Some(typ) = typ else { return Ok(()) };
    let found = typ.as_str().ok_or_else(|| TokenError::WrongType { found: "not a text".to_owned() })?;
    let lower = found.to_ascii_lowercase();
    let known = ["jwt", "at+jwt"].contains(&lower.strip_prefix("application/").unwrap_or(&lower));
    if known { Ok(()) } else { Err(TokenError::WrongType { found: quoted(found) }) }
}

fn kid(kid: Option<&Value>) -> Result<Option<String>, TokenError> {
    match kid {
        None => Ok(None),
        Some(Value::String(kid)) if problem(kid).is_none() => Ok(Some(kid.clone())),
        Some(_) => Err(TokenError::MalformedKeyId),
    }
}

/// The JSON object in a part of a token.
pub(crate) fn object(part: &'static str, text: &str) -> Result<Map<String, Value>, TokenError> {
    strict_json::parse_object(&decode(part, text)?).map_err(|fault| match fault {
        Fault::Syntax | Fault::NotAnObject => TokenError::NotJson { part },
        Fault::Duplicate(name) => TokenError::DuplicateName { part, name: quoted(&name) },
        Fault::TooDeep => TokenError::TooDeep { part },
    })
}

/// Strict base64url: no padding, no white space, no bits after the end, so that one signature has one text.
fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    if text.is_empty() {
        return Err(TokenError::EmptyPart { part });
    }
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::NotBase64 { part })
}

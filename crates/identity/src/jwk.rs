//! One JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037). Called for each key of a set; says whether the key is of use here,
//! and refuses one that is broken. Reads public keys and secrets only.

use crate::key::{Algorithm, Key, KeySetError};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, RsaSubjectPublicKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// Members that only the private half of a key has (RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2).
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// The key, or `None` when it is not for us: another kind, curve or algorithm, or not for checking signatures. Fails when it says that
/// it is for us and is broken: leaving such a key out silently would only show as tokens that are refused.
pub(crate) fn parse(jwk: &Map<String, Value>) -> Result<Option<Key>, KeySetError> {
    let Some(algorithm) = algorithm(jwk)? else { return Ok(None) };
    if !is_for_checking(jwk, algorithm)? {
        return Ok(None);
    }
    let key = match text(jwk, "kty")? {
        Some("oct") => Key::secret(algorithm, &bytes(jwk, "k")?)?,
        _ if PRIVATE_MEMBERS.iter().any(|member| jwk.contains_key(*member)) => return Err(KeySetError::Private),
        Some("RSA") => Key::public(algorithm, &rsa(algorithm, jwk)?)?,
        Some("EC") => Key::public(algorithm, &point(jwk)?)?,
        _ => Key::public(algorithm, &bytes(jwk, "x")?)?,
    };
    match text(jwk, "kid")? {
        Some(id) => key.with_id(id).map(Some),
        None => Ok(Some(key)),
    }
}

/// What the key is for: `alg`, which must be of the key's kind and curve, or what the kind suggests where `alg` is missing.
fn algorithm(jwk: &Map<String, Value>) -> Result<Option<Algorithm>, KeySetError> {
    let Some(kind) = text(jwk, "kty")? else { return Err(broken("kty is missing")) };
    let possible: &[Algorithm] = match (kind, text(jwk, "crv")?) {
        ("oct", _) => &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
        ("RSA", _) => &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256],
        ("EC", Some("P-256")) => &[Algorithm::ES256],
        ("EC", Some("P-384")) => &[Algorithm::ES384],
        ("OKP", Some("Ed25519")) => &[Algorithm::EdDSA],
        ("EC" | "OKP", None) => return Err(broken("crv is missing")),
        _ => return Ok(None),
    };
    let Some(name) = text(jwk, "alg")? else { return Ok(possible.first().copied()) };
    match Algorithm::parse(name) {
        Some(algorithm) if !possible.contains(&algorithm) => Err(broken("alg does not fit kty and crv")),
        known => Ok(known),
    }
}

fn is_for_checking(jwk: &Map<String, Value>, algorithm: Algorithm) -> Result<bool, KeySetError> {
    if text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Ok(false);
    }
    let Some(operations) = jwk.get("key_ops") else { return Ok(true) };
    let operations = operations.as_array().filter(|operations| operations.iter().all(Value::is_string));
    let Some(operations) = operations else { return Err(broken("key_ops is not a list of strings")) };
    // An issuer may publish the secret of an HMAC as what it is for the issuer.
    let is_secret = algorithm.secret_bytes_min().is_some();
    Ok(operations.iter().any(|operation| operation == "verify" || (is_secret && operation == "sign")))
}

/// The key as PKCS #1. Zeros before the modulus, which RFC 7518 section 6.3.1.1 forbids and Java's issuers write, change nothing.
fn rsa(algorithm: Algorithm, jwk: &Map<String, Value>) -> Result<Vec<u8>, KeySetError> {
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let zeros = n.iter().take_while(|byte| **byte == 0).count();
    let components = RsaPublicKeyComponents { n: &n[zeros..], e: &e };
    let parsed = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
    let key = parsed.and_then(|parsed| RsaSubjectPublicKey::from_der(parsed.as_ref()));
    key.map(|key| key.as_ref().to_vec()).map_err(|_| KeySetError::Invalid { algorithm })
}

/// The uncompressed point (SEC 1 section 2.3.3). Both coordinates have the full width of the curve, zeros included.
fn point(jwk: &Map<String, Value>) -> Result<Vec<u8>, KeySetError> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() == y.len() { Ok([vec![4], x, y].concat()) } else { Err(broken("x and y differ in length")) }
}

/// A member that must be text where it is there.
fn text<'a>(jwk: &'a Map<String, Value>, member: &str) -> Result<Option<&'a str>, KeySetError> {
    match jwk.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(broken(&format!("{member} is not a string"))),
    }
}

/// A member that must be there, base64url without padding.
fn bytes(jwk: &Map<String, Value>, member: &str) -> Result<Vec<u8>, KeySetError> {
    let text = text(jwk, member)?.ok_or_else(|| broken(&format!("{member} is missing")))?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| broken(&format!("{member} is not base64url without padding")))
}

fn broken(problem: &str) -> KeySetError {
    KeySetError::NotAKeySet { problem: problem.to_owned() }
}

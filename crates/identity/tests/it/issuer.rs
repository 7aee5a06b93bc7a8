//! Somebody who signs tokens, good ones and bad ones: header and claims are texts, so that they may be anything. Keys are made when the
//! tests run, because a private key in a repository only teaches people to ignore those who find one.

use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, prelude::*};
use identity::{Algorithm, KeySet, Rules, verify};
use std::sync::LazyLock;

/// When the tests are.
pub(crate) const NOW_S: u64 = 1_800_000_000;

/// Long enough for every HMAC.
pub(crate) const SECRET: &[u8; 64] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Claims that hold for ten minutes.
pub(crate) const CLAIMS: &str = r#"{"userId":"u1","exp":1800000600}"#;

pub(crate) static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
pub(crate) static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
pub(crate) static P384: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());
pub(crate) static ED: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

/// `{"alg": ALGORITHM, "typ": "JWT"}`.
pub(crate) fn header(algorithm: Algorithm) -> String {
    format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#)
}

/// Header and claims as texts, signed with the test's key for the algorithm, whatever the header says.
pub(crate) fn signed(algorithm: Algorithm, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", b64(header), b64(claims));
    let signature = sign(algorithm, message.as_bytes());
    format!("{message}.{}", b64(signature))
}

/// The same with HS256.
pub(crate) fn hs256(header: &str, claims: &str) -> String {
    signed(Algorithm::HS256, header, claims)
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A signature as a token has it, before base64url.
pub(crate) fn sign(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    let mac = |algorithm| hmac::sign(&hmac::Key::new(algorithm, SECRET), message).as_ref().to_vec();
    let random = SystemRandom::new();
    let rsa = |encoding| {
        let mut signature = vec![0; RSA.public_modulus_len()];
        RSA.sign(encoding, &random, message, &mut signature).unwrap();
        signature
    };
    match algorithm {
        Algorithm::HS256 => mac(hmac::HMAC_SHA256),
        Algorithm::HS384 => mac(hmac::HMAC_SHA384),
        Algorithm::HS512 => mac(hmac::HMAC_SHA512),
        Algorithm::RS256 => rsa(&RSA_PKCS1_SHA256),
        Algorithm::RS384 => rsa(&RSA_PKCS1_SHA384),
        Algorithm::RS512 => rsa(&RSA_PKCS1_SHA512),
        Algorithm::PS256 => rsa(&RSA_PSS_SHA256),
        Algorithm::ES256 => P256.sign(&random, message).unwrap().as_ref().to_vec(),
        Algorithm::ES384 => P384.sign(&random, message).unwrap().as_ref().to_vec(),
        Algorithm::EdDSA => ED.sign(message).as_ref().to_vec(),
    }
}

/// What the server has for the algorithm: the secret, or the public key in PEM.
pub(crate) fn keys(algorithm: Algorithm) -> KeySet {
    match public_pem(algorithm) {
        Some(pem) => KeySet::pem(algorithm, &pem).unwrap(),
        None => KeySet::secret(algorithm, SECRET).unwrap(),
    }
}

/// The public key of an algorithm that has one.
pub(crate) fn public_pem(algorithm: Algorithm) -> Option<String> {
    let der = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return None,
        Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 => {
            RSA.public_key().as_der().unwrap().as_ref().to_vec()
        }
        Algorithm::ES256 => P256.public_key().as_der().unwrap().as_ref().to_vec(),
        Algorithm::ES384 => P384.public_key().as_der().unwrap().as_ref().to_vec(),
        Algorithm::EdDSA => ED.public_key().as_der().unwrap().as_ref().to_vec(),
    };
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    Some(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
}

/// The public key, or the secret, as a JSON Web Key with these members besides: `"kid":"1",`.
pub(crate) fn jwk(algorithm: Algorithm, members: &str) -> String {
    let (point, width, curve) = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            return format!(r#"{{{members}"kty":"oct","k":"{}"}}"#, b64(SECRET));
        }
        Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 => {
            let key = RSA.public_key();
            let n = b64(key.modulus().big_endian_without_leading_zero());
            let e = b64(key.exponent().big_endian_without_leading_zero());
            return format!(r#"{{{members}"kty":"RSA","n":"{n}","e":"{e}"}}"#);
        }
        Algorithm::EdDSA => {
            return format!(r#"{{{members}"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, b64(ED.public_key()));
        }
        Algorithm::ES256 => (P256.public_key().as_ref(), 32, "P-256"),
        Algorithm::ES384 => (P384.public_key().as_ref(), 48, "P-384"),
    };
    let (x, y) = point[1..].split_at(width);
    format!(r#"{{{members}"kty":"EC","crv":"{curve}","x":"{}","y":"{}"}}"#, b64(x), b64(y))
}

/// The one check of tokens: `expected` is `ok USER` or the code of the reason. A reason never shows the token, and fits a log line.
pub(crate) fn check(name: &str, token: &str, keys: &KeySet, rules: &Rules, expected: &str) {
    let found = match verify(token, keys, rules, NOW_S) {
        Ok(identity) => format!("ok {}", identity.user),
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 500 && !text.contains(char::is_control), "{name}: {text}");
            let leaked = token.split('.').find(|part| part.len() > 20 && text.contains(part));
            assert_eq!(leaked, None, "{name}: {text}");
            assert_eq!(error.is_expired(), error.code() == "token-expired");
            error.code().to_owned()
        }
    };
    assert_eq!(found, expected, "{name}: {token}");
}

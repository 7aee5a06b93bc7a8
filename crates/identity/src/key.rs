//! One key that tokens are checked with, and the one algorithm that it is for. Made while the configuration is read or a key set
//! arrives; everything that could make it useless or dangerous is refused then, so that checking a token only asks yes or no.

use crate::text::problem;
use aws_lc_rs::signature as primitives;
use jsonwebtoken::DecodingKey;
use std::fmt;

/// How a token is signed. A key has exactly one: a token's header never chooses how it is checked (RFC 8725 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSA PKCS #1 v1.5 with SHA-256.
    RS256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    RS384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    RS512,
    /// RSA-PSS with SHA-256.
    PS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// Every algorithm that a key may have.
    pub const ALL: [Algorithm; 10] = [
        Algorithm::HS256,
        Algorithm::HS384,
        Algorithm::HS512,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];

    /// The algorithm of this name, as RFC 7518 and RFC 8037 write it. `None` for every other name and letter case.
    pub fn parse(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its name in headers and key sets.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::HS256 => "HS256",
            Algorithm::HS384 => "HS384",
            Algorithm::HS512 => "HS512",
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::RS512 => "RS512",
            Algorithm::PS256 => "PS256",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::EdDSA => "EdDSA",
        }
    }

    /// Bytes that a secret must have: the size of the hash (RFC 7518 section 3.2). `None` for algorithms with public keys.
    pub fn secret_bytes_min(self) -> Option<usize> {
        match self {
            Algorithm::HS256 => Some(32),
            Algorithm::HS384 => Some(48),
            Algorithm::HS512 => Some(64),
            _ => None,
        }
    }

    pub(crate) fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::HS384 => jsonwebtoken::Algorithm::HS384,
            Algorithm::HS512 => jsonwebtoken::Algorithm::HS512,
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
            Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
            Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    /// Which kind of public key it takes, in words.
    fn key_kind(self) -> &'static str {
        match self {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => "a secret",
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 => "an RSA public key",
            Algorithm::ES256 => "a public key on the curve P-256",
            Algorithm::ES384 => "a public key on the curve P-384",
            Algorithm::EdDSA => "an Ed25519 public key",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a key or a key set is not taken. No text shows a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// A secret that somebody could guess.
    #[error(
        "the secret has {bytes} bytes, {algorithm} needs at least {bytes_min} (RFC 7518 section 3.2); \
         make one with: openssl rand -base64 {}",
        bytes_min * 3 / 2
    )]
    ShortSecret {
        /// What it is for.
        algorithm: Algorithm,
        /// What it has.
        bytes: usize,
        /// What it must have.
        bytes_min: usize,
    },
    /// A secret for an algorithm with public keys, or the other way round.
    #[error("{algorithm} needs {}, not {given}", algorithm.key_kind())]
    WrongKind {
        /// The algorithm.
        algorithm: Algorithm,
        /// What came instead.
        given: &'static str,
    },
    /// The text of a PEM file as a secret: everybody who has the public key could sign.
    #[error(
        "the secret is the text of a PEM key; configure it as a public key with its algorithm, such as RS256 or ES256"
    )]
    SecretIsPem,
    /// Not PEM, or more than one block of it.
    #[error("this is not one public key in PEM; it must have one block that begins with -----BEGIN PUBLIC KEY-----")]
    NotPem,
    /// The server never needs a private key, and must not be where one leaks from.
    #[error(
        "this is a PRIVATE key; give the server only the public half: openssl pkey -in private.pem -pubout \
         (and treat a private key that was copied as leaked)"
    )]
    Private,
    /// A certificate says more than a key, and nothing of that would be checked.
    #[error("this is a certificate; take the public key out of it: openssl x509 -in certificate.pem -pubkey -noout")]
    Certificate,
    /// A key of another kind or on another curve, or bytes that are no key.
    #[error("this is not {}, which {algorithm} needs, or not a valid one", algorithm.key_kind())]
    Invalid {
        /// What it was to be for.
        algorithm: Algorithm,
    },
    /// RSA keys that can be factored, or that only waste time.
    #[error(
        "the RSA key has {bits} bits, 2048 to 8192 are allowed; make another: openssl genrsa -out private.pem 3072"
    )]
    RsaBits {
        /// What it has.
        bits: usize,
    },
    /// A key id that is empty, too long or not printable.
    #[error("the key id {problem}; it must have 1 to 256 bytes without control characters")]
    BadId {
        /// What is wrong.
        problem: &'static str,
    },
    /// A key set that is not one.
    #[error("the key set is not usable: {problem}; it must be a JSON Web Key or {{\"keys\": [...]}} (RFC 7517)")]
    NotAKeySet {
        /// What is wrong.
        problem: String,
    },
    /// A key in a set that is broken.
    #[error("key {place} of the set, {id}: {problem}")]
    InSet {
        /// Its place, from 1.
        place: usize,
        /// Its id, as shown to people.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// Nothing to check tokens with.
    #[error(
        "none of the {count} keys can be used: needed is an RSA, P-256, P-384, Ed25519 or oct key for signatures, \
         with one of the algorithms {}",
        Algorithm::ALL.map(Algorithm::name).join(", ")
    )]
    NoneUsable {
        /// How many there are.
        count: usize,
    },
    /// Two keys of one id: which of them counts would be chance.
    #[error("two keys have the id {id}; give each its own")]
    DuplicateId {
        /// The id, as shown to people.
        id: String,
    },
    /// More keys than a token should ever be tried with.
    #[error("there are {count} keys, at most {count_max} are allowed; remove those that sign no tokens any more")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        count_max: usize,
    },
}

/// A key, its algorithm and its id. `Debug` does not show the key.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    material: DecodingKey,
}

impl Key {
    /// A secret that issuer and server share, for HS256, HS384 or HS512. Fails when it is shorter than the hash.
    pub fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Key, KeySetError> {
        check_secret(algorithm, secret)?;
        Ok(Key { id: None, algorithm, material: DecodingKey::from_secret(secret) })
    }

    /// A public key in PEM: `PUBLIC KEY` for every algorithm, or `RSA PUBLIC KEY`. Fails for private keys, certificates, keys of another
    /// kind or curve, and RSA keys of less than 2,048 or more than 8,192 bits.
    pub fn pem(algorithm: Algorithm, text: &str) -> Result<Key, KeySetError> {
        check_pem(text)?;
        let invalid = KeySetError::Invalid { algorithm };
        let decoded = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                return Err(KeySetError::WrongKind { algorithm, given: "a public key" });
            }
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 => {
                DecodingKey::from_rsa_pem(text.as_bytes())
            }
            Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(text.as_bytes()),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(text.as_bytes()),
        };
        let material = decoded.map_err(|_| invalid.clone())?;
        let bytes = material.try_get_as_bytes().map_err(|_| invalid)?.to_vec();
        Key::public(algorithm, &bytes)
    }

    /// A public key in the form that its algorithm has without a wrapping: PKCS #1 for RSA, the uncompressed point for ECDSA, the 32
    /// bytes of Ed25519.
    pub(crate) fn public(algorithm: Algorithm, bytes: &[u8]) -> Result<Key, KeySetError> {
        let material = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                return Err(KeySetError::WrongKind { algorithm, given: "a public key" });
            }
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 => {
                check_rsa(algorithm, bytes)?;
                DecodingKey::from_rsa_der(bytes)
            }
            Algorithm::ES256 | Algorithm::ES384 => {
                check_point(algorithm, bytes)?;
                DecodingKey::from_ec_der(bytes)
            }
            Algorithm::EdDSA => {
                check_ed25519(bytes)?;
                DecodingKey::from_ed_der(bytes)
            }
        };
        Ok(Key { id: None, algorithm, material })
    }

    /// The same key under an id, the `kid` of the tokens that it is for.
    pub fn with_id(self, id: &str) -> Result<Key, KeySetError> {
        match problem(id) {
            Some(problem) => Err(KeySetError::BadId { problem }),
            None => Ok(Key { id: Some(id.to_owned()), ..self }),
        }
    }

    /// The `kid` of the tokens that it is for. `None`: it does not matter which they have.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The only algorithm that it checks.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// True when `signature`, base64url without padding, is this key's for the message.
    pub(crate) fn signed(&self, message: &[u8], signature: &str) -> bool {
        matches!(jsonwebtoken::crypto::verify(signature, message, &self.material, self.algorithm.jose()), Ok(true))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// What a secret must be, to check tokens with or to sign them.
pub(crate) fn check_secret(algorithm: Algorithm, secret: &[u8]) -> Result<(), KeySetError> {
    let Some(bytes_min) = algorithm.secret_bytes_min() else {
        return Err(KeySetError::WrongKind { algorithm, given: "a secret" });
    };
    if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
        return Err(KeySetError::SecretIsPem);
    }
    if secret.len() < bytes_min {
        return Err(KeySetError::ShortSecret { algorithm, bytes: secret.len(), bytes_min });
    }
    Ok(())
}

/// By its labels: one block, and of a public key.
fn check_pem(text: &str) -> Result<(), KeySetError> {
    let labels = text.split("-----BEGIN ").skip(1).map(|block| block.split("-----").next().unwrap_or(""));
    let labels: Vec<&str> = labels.collect();
    match labels.as_slice() {
        labels if labels.iter().any(|label| label.contains("PRIVATE KEY")) => Err(KeySetError::Private),
        ["CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE", ..] => Err(KeySetError::Certificate),
        ["PUBLIC KEY" | "RSA PUBLIC KEY"] => Ok(()),
        _ => Err(KeySetError::NotPem),
    }
}

fn check_rsa(algorithm: Algorithm, pkcs1: &[u8]) -> Result<(), KeySetError> {
    let invalid = |_| KeySetError::Invalid { algorithm };
    let key = primitives::RsaSubjectPublicKey::from_der(pkcs1).map_err(invalid)?;
    check_rsa_bits(key.modulus().big_endian_without_leading_zero())
}

/// A modulus, big-endian without leading zeros. Under 2,048 bits is in reach of factoring; over 8,192 the library checks nothing.
fn check_rsa_bits(modulus: &[u8]) -> Result<(), KeySetError> {
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    if (2_048..=8_192).contains(&bits) { Ok(()) } else { Err(KeySetError::RsaBits { bits }) }
}

fn check_point(algorithm: Algorithm, point: &[u8]) -> Result<(), KeySetError> {
    let (curve, bytes) = match algorithm {
        Algorithm::ES256 => (&primitives::ECDSA_P256_SHA256_FIXED, 65),
        _ => (&primitives::ECDSA_P384_SHA384_FIXED, 97),
    };
    let on_curve = point.len() == bytes && primitives::ParsedPublicKey::new(curve, point).is_ok();
    if on_curve { Ok(()) } else { Err(KeySetError::Invalid { algorithm }) }
}

/// The y coordinates of the points of small order, which sign everything for everybody; the last two are 0 and 1 not reduced. As
/// libsodium refuses them (`ge25519_has_small_order`).
const SMALL_ORDER: [&[u8; 32]; 7] = [
    &[0; 32],
    b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
    b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
    b"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xed\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xee\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
];

fn check_ed25519(key: &[u8]) -> Result<(), KeySetError> {
    let invalid = KeySetError::Invalid { algorithm: Algorithm::EdDSA };
    let Ok(mut y) = <[u8; 32]>::try_from(key) else { return Err(invalid) };
    y[31] &= 0x7f;
    let valid = !SMALL_ORDER.contains(&&y) && primitives::ParsedPublicKey::new(&primitives::ED25519, key).is_ok();
    if valid { Ok(()) } else { Err(invalid) }
}

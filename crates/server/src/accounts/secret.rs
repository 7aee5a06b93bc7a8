//! What nobody may guess or read: the tokens of sessions, the hashes that are kept of them, and ids. Called by the other files of this folder.
//! Does not know whose they are.

use super::AccountError;
use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::sync::Arc;

/// Random bytes of a token: 256 bits.
const TOKEN_BYTES: usize = 32;
/// And of an id: 120 bits, which are 20 characters; ids of this size do not meet.
const ID_BYTES: usize = 15;

/// A new token of a session: 43 characters, none of them a dot, as what follows a dot in a cookie is a signature.
pub(super) fn new_token() -> Result<String, AccountError> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random::<TOKEN_BYTES>()?))
}

/// A new id of a user or a session. No secret.
pub(super) fn new_id() -> Result<Arc<str>, AccountError> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random::<ID_BYTES>()?).into())
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], AccountError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| AccountError::NoRandomness)?;
    Ok(bytes)
}

/// What is kept of a token: its SHA-256, which is enough as a token has 256 random bits. Not printed; base64 in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    /// Takes the same time wherever they differ.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("the hash of a token is not 32 bytes of base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_unlike_each_other_and_without_a_dot() {
        let (one, other) = (new_token().expect("randomness"), new_token().expect("randomness"));
        assert!(one.len() == 43 && one != other && !one.contains('.'));
        assert_eq!(new_id().expect("randomness").len(), 20);
        assert!(
            TokenHash::of(&one).is_same(&TokenHash::of(&one)) && !TokenHash::of(&one).is_same(&TokenHash::of(&other))
        );
        let json = serde_json::to_string(&TokenHash::of(&one)).expect("text");
        assert!(!json.contains(&one) && !format!("{:?}", TokenHash::of(&one)).contains(&json[1..20]));
        assert_eq!(serde_json::from_str::<TokenHash>(&json).expect("read back"), TokenHash::of(&one));
        assert!(serde_json::from_str::<TokenHash>("\"AAAA\"").is_err());
    }
}

//! The keys that a server checks tokens with, and which of them a token is checked with. Built from the configuration or from what an
//! issuer publishes; does not fetch anything.

use crate::{
    jwk,
    key::{Algorithm, Key, KeySetError},
    strict_json::{self, Fault},
    text::quoted,
    token_error::TokenError,
};
use serde_json::{Map, Value};

/// Keys of one set: a token without a key id is tried with each that has its algorithm, and an RSA signature takes 30 us to check.
const KEYS_MAX: usize = 100;

/// Bytes of a set's text: a hundred keys of 8,192 bits with their certificates stay far below.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// At most a hundred keys; none by default, where nobody comes with a token. `Debug` does not show them.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// These keys together. Fails without any, with more than 100, and when two have the same id.
    pub fn new(keys: Vec<Key>) -> Result<KeySet, KeySetError> {
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable { count: 0 });
        }
        if keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany { count: keys.len(), count_max: KEYS_MAX });
        }
        let mut ids: Vec<&str> = keys.iter().filter_map(Key::id).collect();
        ids.sort_unstable();
        if let Some(twins) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(KeySetError::DuplicateId { id: quoted(twins[0]) });
        }
        Ok(KeySet { keys })
    }

    /// One secret, for tokens with any key id or none. Fails as `Key::secret` does.
    pub fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<KeySet, KeySetError> {
        KeySet::new(vec![Key::secret(algorithm, secret)?])
    }

    /// One public key, for tokens with any key id or none. Fails as `Key::pem` does.
    pub fn pem(algorithm: Algorithm, text: &str) -> Result<KeySet, KeySetError> {
        KeySet::new(vec![Key::pem(algorithm, text)?])
    }

    /// A JSON Web Key, or a set of them: `{"keys": [...]}`. Keys of kinds and for purposes that are not ours are left out. Fails when no
    /// key is left, when one of ours is broken, weak or private, and above 1 MiB.
    pub fn jwks(text: &str) -> Result<KeySet, KeySetError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(not_a_set("it is longer than 1 MiB".to_owned()));
        }
        let object = strict_json::parse_object(text.as_bytes()).map_err(|fault| not_a_set(fault_text(fault)))?;
        let jwks = match object.get("keys") {
            None => vec![&object],
            Some(Value::Array(keys)) => objects(keys)?,
            Some(_) => return Err(not_a_set("\"keys\" is not a list".to_owned())),
        };
        let count = jwks.len();
        if count > KEYS_MAX {
            return Err(KeySetError::TooMany { count, count_max: KEYS_MAX });
        }
        let mut keys = Vec::new();
        for (index, jwk) in jwks.into_iter().enumerate() {
            keys.extend(jwk::parse(jwk).map_err(|error| in_set(index, jwk, error))?);
        }
        if keys.is_empty() { Err(KeySetError::NoneUsable { count }) } else { KeySet::new(keys) }
    }

    /// The keys of both. Fails as `new` does.
    pub fn merge(mut self, other: KeySet) -> Result<KeySet, KeySetError> {
        self.keys.extend(other.keys);
        KeySet::new(self.keys)
    }

    /// There is none: no token is good.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// All keys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The keys that may have signed a token with this header: the one with its key id; else, where keys without an id are configured,
    /// those, because they are for every token. Those of another algorithm than the header's are left out.
    pub(crate) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Vec<&Key>, TokenError> {
        let named = kid.and_then(|kid| self.keys.iter().find(|key| key.id() == Some(kid)));
        let possible: Vec<&Key> = match named {
            Some(key) => vec![key],
            None => self.keys.iter().filter(|key| kid.is_none() || key.id().is_none()).collect(),
        };
        let matching: Vec<&Key> = possible.iter().copied().filter(|key| key.algorithm() == algorithm).collect();
        if matching.is_empty() {
            let expected = algorithms(&possible);
            return Err(self.refusal(kid, TokenError::WrongAlgorithm { found: algorithm, expected }));
        }
        Ok(matching)
    }

    /// The reason, or that the key id is unknown, where keys have ids and none has this: an issuer may have a key since the set was
    /// fetched, and that keys for every token did not fit says nothing about it.
    pub(crate) fn refusal(&self, kid: Option<&str>, reason: TokenError) -> TokenError {
        let ids: Vec<&str> = self.keys.iter().filter_map(Key::id).collect();
        match kid {
            Some(kid) if !ids.is_empty() && !ids.contains(&kid) => TokenError::UnknownKey { kid: quoted(kid) },
            _ => reason,
        }
    }
}

/// The algorithms of the keys, each once.
fn algorithms(keys: &[&Key]) -> String {
    let used = Algorithm::ALL.into_iter().filter(|algorithm| keys.iter().any(|key| key.algorithm() == *algorithm));
    used.map(Algorithm::name).collect::<Vec<_>>().join(" or ")
}

fn objects(keys: &[Value]) -> Result<Vec<&Map<String, Value>>, KeySetError> {
    let objects: Option<Vec<_>> = keys.iter().map(Value::as_object).collect();
    objects.ok_or_else(|| not_a_set("one of the keys is not an object".to_owned()))
}

fn not_a_set(problem: String) -> KeySetError {
    KeySetError::NotAKeySet { problem }
}

fn fault_text(fault: Fault) -> String {
    match fault {
        Fault::Syntax => "it is not JSON".to_owned(),
        Fault::NotAnObject => "it is not an object".to_owned(),
        Fault::Duplicate(name) => format!("the name {} comes twice in one object", quoted(&name)),
        Fault::TooDeep => "it is nested too deep".to_owned(),
    }
}

fn in_set(index: usize, jwk: &Map<String, Value>, error: KeySetError) -> KeySetError {
    let id = jwk.get("kid").and_then(Value::as_str).map_or_else(|| "which has no id".to_owned(), quoted);
    let problem = match error {
        KeySetError::NotAKeySet { problem } => problem,
        KeySetError::Private => {
            "it is a PRIVATE key; publish only the public half, and treat this one as leaked".to_owned()
        }
        other => other.to_string(),
    };
    KeySetError::InSet { place: index + 1, id, problem }
}

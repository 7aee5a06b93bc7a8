//! API keys: a text `concord_<id>_<secret>`, or `nk_live_<32 hexadecimal digits>` for the console of room databases, that its owner sees once, and the
//! record of it that the server keeps. The record has only a keyed hash of the text, so whoever reads the file has no key. `KeyTable` keeps the records;
//! it does no I/O and knows no clock.

pub use crate::key_table::{KeyError, KeyTable, KeyTableError};

use crate::{Credential, Grant, Identity, RoomPattern, Scopes, text};
use aws_lc_rs::{hmac, rand};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, sync::Arc};

/// What every API key begins with: secret scanners find it, and people see what they have in front of them.
const PREFIX: &str = "concord_";

/// Characters of an id: 60 bits, so that ids do not meet, and still short enough to read out.
const ID_CHARS: usize = 12;

/// Characters of a secret: 256 bits as base64url without padding.
const SECRET_CHARS: usize = 43;

/// Letters of an id (RFC 4648 section 6, in lower case): 32, so that a byte cut to five bits is one of them with equal chance.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What a key of the console begins with. Its clients take a text for a key by the first three characters.
const CONSOLE_PREFIX: &str = "nk_live_";

/// Random bytes of such a key: 128 bits, written as 32 digits, which is the form that its clients expect.
const CONSOLE_BYTES: usize = 16;

/// Digits of such a key that people may see, so that they can tell one from another: 112 bits stay secret.
const CONSOLE_SHOWN: usize = 4;

/// Rooms of one key: few enough to look through for each room.
const ROOMS_MAX: usize = 1_000;

/// True when a text is meant as an API key, good or not.
pub fn looks_like_api_key(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// True when a text has the form of a console's key.
pub fn is_console_key(text: &str) -> bool {
    text.strip_prefix(CONSOLE_PREFIX)
        .is_some_and(|digits| digits.len() == 2 * CONSOLE_BYTES && digits.bytes().all(is_digit))
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The id in a text of the right form, `None` for every other text. Says nothing about the secret.
pub(crate) fn id_in(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_at_checked(ID_CHARS)?;
    let secret = secret.strip_prefix('_')?;
    let is_secret = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let formed = id.bytes().all(|byte| LETTERS.contains(&byte)) && secret.bytes().all(is_secret);
    (formed && secret.len() == SECRET_CHARS).then_some(id)
}

/// How a key is written, and with that where it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyForm {
    /// `concord_<id>_<secret>`: counts everywhere.
    #[default]
    Standard,
    /// `nk_live_<32 hexadecimal digits>`: counts for room databases only, and never administers the server, as their users make such keys themselves.
    Console,
}

impl KeyForm {
    /// The forms by the names that operators write.
    pub const NAMED: &[(&str, KeyForm)] = &[("standard", KeyForm::Standard), ("console", KeyForm::Console)];

    /// By its name.
    pub fn parse(name: &str) -> Option<KeyForm> {
        KeyForm::NAMED.iter().find(|(known, _)| *known == name).map(|(_, form)| *form)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            KeyForm::Standard => "standard",
            KeyForm::Console => "console",
        }
    }
}

/// What a key is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What people call it: 1 to 256 bytes without control characters.
    pub name: String,
    /// Whom its changes are credited to, with the same bounds.
    pub owner: String,
    /// What it may be used for: at least one.
    pub scopes: Scopes,
    /// Where: at most 1,000 patterns. None: in every room.
    pub rooms: Vec<RoomPattern>,
    /// The second from which it is no longer good. `None`: it has no end.
    pub expires_at_s: Option<u64>,
}

impl KeySpec {
    fn check(&self, now_s: u64) -> Result<(), KeyTableError> {
        for (field, text) in [("name", &self.name), ("owner", &self.owner)] {
            if let Some(problem) = text::problem(text) {
                return Err(KeyTableError::BadSpec {
                    problem: format!("the {field} {} {problem}", text::quoted(text)),
                });
            }
        }
        let problem = match self {
            KeySpec { scopes, .. } if *scopes == Scopes::default() => "it has no scope; give read, write or admin",
            KeySpec { rooms, .. } if rooms.len() > ROOMS_MAX => "it has more than 1000 rooms; use patterns",
            KeySpec { scopes, rooms, .. } if scopes.admin && !rooms.is_empty() => {
                "the scope admin is for the whole server; leave the rooms out, or make two keys"
            }
            KeySpec { expires_at_s: Some(at_s), .. } if *at_s <= now_s => "it would have expired already",
            _ => return Ok(()),
        };
        Err(KeyTableError::BadSpec { problem: problem.to_owned() })
    }
}

/// A key that was just made. `Debug` does not show its text.
pub struct NewKey {
    /// The key itself: shown to its owner once, kept nowhere.
    pub text: String,
    /// What is kept of it.
    pub record: KeyRecord,
}

impl NewKey {
    /// A key with a random id and a random secret of 256 bits. Fails when the specification is not one, or when the system has no
    /// randomness to give.
    pub fn create(spec: KeySpec, pepper: &Pepper, now_s: u64) -> Result<NewKey, KeyTableError> {
        NewKey::create_as(KeyForm::Standard, spec, pepper, now_s)
    }

    /// The same in another form; a secret of the console's has 128 bits, and its id is not in the text.
    pub fn create_as(form: KeyForm, spec: KeySpec, pepper: &Pepper, now_s: u64) -> Result<NewKey, KeyTableError> {
        spec.check(now_s)?;
        let letters = random::<ID_CHARS>()?.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
        let id: String = letters.iter().collect();
        let text = match form {
            KeyForm::Standard => format!("{PREFIX}{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?)),
            KeyForm::Console => format!("{CONSOLE_PREFIX}{}", hex(&random::<CONSOLE_BYTES>()?)),
        };
        let begins = (form == KeyForm::Console).then(|| text[..CONSOLE_PREFIX.len() + CONSOLE_SHOWN].into());
        let KeySpec { name, owner, scopes, rooms, expires_at_s } = spec;
        let record = KeyRecord {
            hash: pepper.hash(&text),
            id: id.into(),
            name,
            owner: owner.into(),
            scopes,
            rooms,
            created_at_s: now_s,
            expires_at_s,
            revoked_at_s: None,
            replaces: None,
            replaced_by: None,
            begins,
        };
        Ok(NewKey { text, record })
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("record", &self.record).finish_non_exhaustive()
    }
}

/// What the server keeps of a key. `Debug` does not show the hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// The public part of the key.
    pub id: Arc<str>,
    /// What people call it.
    pub name: String,
    /// Whom its changes are credited to.
    pub owner: Arc<str>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// Where. None: in every room.
    pub rooms: Vec<RoomPattern>,
    /// When it was made.
    pub created_at_s: u64,
    /// The second from which it is no longer good. `None`: it has no end.
    pub expires_at_s: Option<u64>,
    /// When it was taken back, if it was.
    pub revoked_at_s: Option<u64>,
    /// The key that it took the place of.
    pub replaces: Option<Arc<str>>,
    /// The key that takes its place.
    pub replaced_by: Option<Arc<str>>,
    /// What a console's key begins with, for people to tell it from others. `None` for all other keys, whose id is in their text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<Arc<str>>,
    /// HMAC-SHA-256 of the key's text under the pepper.
    hash: Hidden,
}

impl KeyRecord {
    /// How its text is written.
    pub fn form(&self) -> KeyForm {
        if self.begins.is_some() { KeyForm::Console } else { KeyForm::Standard }
    }

    /// The text as people may see it: `concord_<id>_…` or `nk_live_abcd…`.
    pub fn masked(&self) -> String {
        match &self.begins {
            Some(begins) => format!("{begins}…"),
            None => format!("{PREFIX}{}_…", self.id),
        }
    }

    /// Who uses the key.
    pub(crate) fn identity(&self) -> Identity {
        let permission = self.scopes.permission();
        let scopes = Scopes { admin: self.scopes.admin && self.form() == KeyForm::Standard, ..self.scopes };
        let everywhere = [RoomPattern::all()];
        let rooms = if self.rooms.is_empty() { everywhere.as_slice() } else { &self.rooms };
        let grants = rooms.iter().map(|pattern| Grant { pattern: pattern.clone(), permission }).collect();
        Identity {
            grants: Some(grants),
            scopes: Some(scopes),
            credential: Credential::Key(self.id.clone()),
            issued_at_s: Some(self.created_at_s),
            expires_at_s: self.expires_at_s,
            ..Identity::anonymous(self.owner.clone())
        }
    }

    /// What a record read from a file must keep to, because `create` does.
    pub(crate) fn check(&self) -> Result<(), String> {
        let formed = self.id.len() == ID_CHARS && self.id.bytes().all(|byte| LETTERS.contains(&byte));
        if !formed {
            return Err(format!("the id {} is not 12 of the letters a to z and 2 to 7", text::quoted(&self.id)));
        }
        let problem = |field: &str, text: &str| text::problem(text).map(|problem| format!("its {field} {problem}"));
        match problem("name", &self.name).or_else(|| problem("owner", &self.owner)) {
            Some(problem) => Err(problem),
            None if self.rooms.len() > ROOMS_MAX => Err("it has more than 1000 rooms".to_owned()),
            None if !self.begins.as_deref().is_none_or(is_beginning) => {
                Err("it begins with something else than nk_live_ and four digits".to_owned())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn hash(&self) -> &[u8; 32] {
        &self.hash.0
    }
}

/// What may be shown of a console's key.
fn is_beginning(text: &str) -> bool {
    text.strip_prefix(CONSOLE_PREFIX)
        .is_some_and(|digits| digits.len() == CONSOLE_SHOWN && digits.bytes().all(is_digit))
}

/// The key of the hashes, 32 random bytes: without it, even a secret that was guessed cannot be tried against a record. `Debug` does
/// not show it; in JSON it is hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pepper(Hidden);

impl Pepper {
    /// Of random bytes. Fails when the system has none to give.
    pub fn generate() -> Result<Pepper, KeyTableError> {
        Ok(Pepper(Hidden(random()?)))
    }

    /// Of these bytes, which must be random.
    pub fn new(bytes: [u8; 32]) -> Pepper {
        Pepper(Hidden(bytes))
    }

    /// What is kept of a key's text.
    fn hash(&self, text: &str) -> Hidden {
        Hidden(self.digest(text))
    }

    /// The same as bytes, to find a key by its text.
    pub(crate) fn digest(&self, text: &str) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.key(), text.as_bytes()).as_ref());
        hash
    }

    /// True when the text has this hash. Takes the same time wherever they differ.
    pub(crate) fn matches(&self, text: &str, hash: &[u8; 32]) -> bool {
        hmac::verify(&self.key(), text.as_bytes(), hash).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0.0)
    }
}

fn random<const N: usize>() -> Result<[u8; N], KeyTableError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| KeyTableError::NoRandomness)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that are not printed; hexadecimal in JSON.
#[derive(Clone, PartialEq, Eq)]
struct Hidden([u8; 32]);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let pairs = (0..32).map_while(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok());
        let bytes = pairs.collect::<Vec<u8>>().try_into().ok().filter(|_| is_hex);
        bytes.map(Hidden).ok_or_else(|| de::Error::custom("a hash or pepper is not 64 hexadecimal digits"))
    }
}

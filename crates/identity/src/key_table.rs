//! All API keys of a server: makes, replaces and revokes them, and says whose key a text is. The server keeps it in a file and
//! reads and writes that file itself; when a key was last used is for the server to remember, too.

use crate::{
    Identity,
    api_key::{KeyForm, KeyRecord, KeySpec, NewKey, Pepper, id_in, is_console_key},
    text::quoted,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Version of the file's form. A reader that does not know it must not guess what makes a key invalid.
const VERSION: u32 = 1;

/// Keys of one table, revoked ones included: a file of 5 MB, and far more than people give out by hand.
const KEYS_MAX: usize = 10_000;

/// Of them keys of the console, which people make for themselves: however many they make, operators find a place.
const CONSOLE_KEYS_MAX: usize = 9_000;

/// Why a text is no good as an API key. Clients get one answer for all of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `concord_<id>_<secret>`, nor, where those count, `nk_live_<digits>`.
    #[error("this is not an API key; one has the form concord_<12 characters>_<43 characters>")]
    Malformed,
    /// Of the console's form, and no such key is there. The text has no id that could be told.
    #[error("there is no such API key of the form nk_live_<32 hexadecimal digits>")]
    UnknownConsole,
    /// No key of this id.
    #[error("no API key has the id {id}")]
    Unknown {
        /// The id.
        id: String,
    },
    /// The id is right and the secret is not.
    #[error("the secret of the API key {id} is wrong")]
    WrongSecret {
        /// The id.
        id: Arc<str>,
    },
    /// The key was taken back.
    #[error("the API key {id} was revoked at {}", crate::time::rfc3339(*at_s))]
    Revoked {
        /// The id.
        id: Arc<str>,
        /// When.
        at_s: u64,
    },
    /// The key's time is over.
    #[error("the API key {id} expired at {}", crate::time::rfc3339(*at_s))]
    Expired {
        /// The id.
        id: Arc<str>,
        /// When.
        at_s: u64,
    },
}

impl KeyError {
    /// A short name of the reason that stays the same, for metrics and log fields.
    pub fn code(&self) -> &'static str {
        match self {
            KeyError::Malformed => "malformed-api-key",
            KeyError::Unknown { .. } | KeyError::UnknownConsole => "unknown-api-key",
            KeyError::WrongSecret { .. } => "wrong-api-key-secret",
            KeyError::Revoked { .. } => "api-key-revoked",
            KeyError::Expired { .. } => "api-key-expired",
        }
    }
}

/// Why the table of keys cannot be read or changed like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTableError {
    /// A key that cannot be.
    #[error("no such key can be made: {problem}")]
    BadSpec {
        /// What is wrong.
        problem: String,
    },
    /// No key of this id.
    #[error("no API key has the id {id}; list them to see which there are")]
    Unknown {
        /// The id, as shown to people.
        id: String,
    },
    /// A key that is no longer good cannot be replaced: whoever has it must not get another.
    #[error("the API key {id} {problem}; create a new one")]
    NotReplaceable {
        /// The id.
        id: Arc<str>,
        /// Why.
        problem: &'static str,
    },
    /// The table is full.
    #[error("there are 10000 API keys, revoked ones included; remove those that are no longer needed")]
    Full,
    /// The part of the table is full that is for keys which people make for themselves.
    #[error("there are 9000 API keys of the form nk_live_ already; delete those that are no longer needed")]
    ConsoleFull,
    /// The system's generator of random numbers failed.
    #[error("the system gave no random bytes, so no key can be made; try again")]
    NoRandomness,
    /// A file that is not a table of keys.
    #[error(
        "the file of API keys is not usable: {problem}; restore it from a backup, or move it away to begin without keys"
    )]
    NotATable {
        /// What is wrong.
        problem: String,
    },
}

/// All keys, by id, and the pepper of their hashes. `Debug` shows neither pepper nor hashes.
#[derive(Clone)]
pub struct KeyTable {
    pepper: Pepper,
    records: BTreeMap<Arc<str>, KeyRecord>,
    /// Ids of the console's keys by their keyed hashes, as their texts have no id.
    console: BTreeMap<[u8; 32], Arc<str>>,
}

impl KeyTable {
    /// Without a key.
    pub fn new(pepper: Pepper) -> KeyTable {
        KeyTable { pepper, records: BTreeMap::new(), console: BTreeMap::new() }
    }

    fn insert(&mut self, record: KeyRecord) -> Option<KeyRecord> {
        if record.form() == KeyForm::Console {
            self.console.insert(*record.hash(), record.id.clone());
        }
        self.records.insert(record.id.clone(), record)
    }

    /// As `to_json` wrote it. Fails for another version, a field that is not known, and a record that `create` would not have made.
    pub fn from_json(text: &str) -> Result<KeyTable, KeyTableError> {
        let not_a_table = |problem: String| KeyTableError::NotATable { problem };
        let Version { version } = serde_json::from_str(text).map_err(|error| not_a_table(place(&error)))?;
        if version != VERSION {
            return Err(not_a_table(format!("it has version {version}, this program reads version {VERSION}")));
        }
        let file: File = serde_json::from_str(text).map_err(|error| not_a_table(place(&error)))?;
        if file.keys.len() > KEYS_MAX {
            return Err(KeyTableError::Full);
        }
        let mut table = KeyTable::new(file.pepper);
        for record in file.keys {
            record.check().map_err(|problem| not_a_table(format!("key {}: {problem}", quoted(&record.id))))?;
            if let Some(twin) = table.insert(record) {
                return Err(not_a_table(format!("the id {} comes twice", quoted(&twin.id))));
            }
        }
        Ok(table)
    }

    /// `{"version": 1, "pepper": HEX, "keys": [...]}`. It has no key in it, but let nobody else read it.
    pub fn to_json(&self) -> String {
        let file =
            File { version: VERSION, pepper: self.pepper.clone(), keys: self.records.values().cloned().collect() };
        serde_json::to_string_pretty(&file).expect("texts, numbers and lists are always JSON")
    }

    /// Whose key the text is, when it is good at `now_s`. Does the same work whether the id is known or not. That a key is revoked or
    /// expired is told only to who has its secret.
    pub fn authenticate(&self, text: &str, now_s: u64) -> Result<Identity, KeyError> {
        let id = id_in(text).ok_or(KeyError::Malformed)?;
        let record = self.records.get(id);
        let matches = self.pepper.matches(text, record.map_or(&[0; 32], KeyRecord::hash));
        let Some(record) = record else { return Err(KeyError::Unknown { id: id.to_owned() }) };
        if matches { in_force(record, now_s) } else { Err(KeyError::WrongSecret { id: record.id.clone() }) }
    }

    /// The same for a key of either form, where both count.
    pub fn authenticate_console(&self, text: &str, now_s: u64) -> Result<Identity, KeyError> {
        if !is_console_key(text) {
            return self.authenticate(text, now_s);
        }
        // Looked up by a hash under a key that nobody outside has: how long it takes says nothing about the text.
        let record = self.console.get(&self.pepper.digest(text)).and_then(|id| self.records.get(id));
        in_force(record.ok_or(KeyError::UnknownConsole)?, now_s)
    }

    /// The id of the console's key with this text, also when it has run out or was revoked.
    pub fn console_key(&self, text: &str) -> Option<&Arc<str>> {
        self.console.get(&self.pepper.digest(text)).filter(|_| is_console_key(text))
    }

    /// Who uses the key of this id, when it is still good: for whoever has shown its secret before.
    pub fn identity(&self, id: &str, now_s: u64) -> Result<Identity, KeyError> {
        let record = self.records.get(id).ok_or_else(|| KeyError::Unknown { id: id.to_owned() })?;
        in_force(record, now_s)
    }

    /// Makes a key. Fails as `NewKey::create` does, and when there are 10,000.
    pub fn create(&mut self, spec: KeySpec, now_s: u64) -> Result<NewKey, KeyTableError> {
        self.create_as(KeyForm::Standard, spec, now_s)
    }

    /// The same in another form; of the console's there may be 9,000.
    pub fn create_as(&mut self, form: KeyForm, spec: KeySpec, now_s: u64) -> Result<NewKey, KeyTableError> {
        if self.records.len() >= KEYS_MAX {
            return Err(KeyTableError::Full);
        }
        if form == KeyForm::Console && self.console.len() >= CONSOLE_KEYS_MAX {
            self.forget_expired(now_s);
            if self.console.len() >= CONSOLE_KEYS_MAX {
                return Err(KeyTableError::ConsoleFull);
            }
        }
        let key = NewKey::create_as(form, spec, &self.pepper, now_s)?;
        if self.records.contains_key(&key.record.id) {
            // Two equal ids of 60 random bits: the generator is broken, and its secrets are no better.
            return Err(KeyTableError::NoRandomness);
        }
        self.insert(key.record.clone());
        Ok(key)
    }

    /// Takes a key back. From then on it is refused; the first time counts. Fails for an unknown id.
    pub fn revoke(&mut self, id: &str, now_s: u64) -> Result<(), KeyTableError> {
        let record = self.records.get_mut(id).ok_or_else(|| KeyTableError::Unknown { id: quoted(id) })?;
        record.revoked_at_s.get_or_insert(now_s);
        Ok(())
    }

    /// Makes a key that is like this one and lives as long from now on, and lets this one expire `overlap_s` later at the latest. Fails for an
    /// unknown id, and for a key that is revoked, expired or replaced already.
    pub fn rotate(&mut self, id: &str, overlap_s: u64, now_s: u64) -> Result<NewKey, KeyTableError> {
        let old = self.records.get(id).ok_or_else(|| KeyTableError::Unknown { id: quoted(id) })?.clone();
        let problem = match &old {
            KeyRecord { revoked_at_s: Some(_), .. } => Some("is revoked"),
            KeyRecord { expires_at_s: Some(at_s), .. } if *at_s <= now_s => Some("is expired"),
            KeyRecord { replaced_by: Some(_), .. } => Some("is replaced already"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(KeyTableError::NotReplaceable { id: old.id, problem });
        }
        let form = old.form();
        let life_s = old.expires_at_s.map(|at_s| at_s.saturating_sub(old.created_at_s));
        let spec = KeySpec {
            name: old.name,
            owner: old.owner.to_string(),
            scopes: old.scopes,
            rooms: old.rooms,
            expires_at_s: life_s.map(|life_s| now_s.saturating_add(life_s)),
        };
        let mut new = self.create_as(form, spec, now_s)?;
        new.record.replaces = Some(old.id.clone());
        self.insert(new.record.clone());
        if let Some(old) = self.records.get_mut(id) {
            let end_s = now_s.saturating_add(overlap_s);
            old.expires_at_s = Some(old.expires_at_s.map_or(end_s, |at_s| at_s.min(end_s)));
            old.replaced_by = Some(new.record.id.clone());
        }
        Ok(new)
    }

    /// Forgets the console's keys that have run out: their owners, who may have gone, are the only ones who would.
    fn forget_expired(&mut self, now_s: u64) {
        let has_run_out = |record: &KeyRecord| record.expires_at_s.is_some_and(|at_s| at_s <= now_s);
        let expired = |record: &&KeyRecord| record.form() == KeyForm::Console && has_run_out(record);
        let ids: Vec<Arc<str>> = self.records.values().filter(expired).map(|record| record.id.clone()).collect();
        for id in ids {
            if let Some(record) = self.records.remove(&id) {
                self.console.remove(record.hash());
            }
        }
    }

    /// Forgets a key, which makes place for another. From then on it is unknown. Fails for an unknown id.
    pub fn remove(&mut self, id: &str) -> Result<KeyRecord, KeyTableError> {
        let record = self.records.remove(id).ok_or_else(|| KeyTableError::Unknown { id: quoted(id) })?;
        self.console.remove(record.hash());
        Ok(record)
    }

    /// Whether there is a key of this id, in force or not.
    pub fn contains(&self, id: &str) -> bool {
        self.records.contains_key(id)
    }

    /// All records, revoked and expired ones too, by id.
    pub fn list(&self) -> impl Iterator<Item = &KeyRecord> {
        self.records.values()
    }
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable").field("keys", &self.records.len()).finish_non_exhaustive()
    }
}

fn in_force(record: &KeyRecord, now_s: u64) -> Result<Identity, KeyError> {
    let id = record.id.clone();
    match (record.revoked_at_s, record.expires_at_s) {
        (Some(at_s), _) => Err(KeyError::Revoked { id, at_s }),
        (None, Some(at_s)) if at_s <= now_s => Err(KeyError::Expired { id, at_s }),
        _ => Ok(record.identity()),
    }
}

/// Read before the rest, because only the version says what the rest may be.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    pepper: Pepper,
    keys: Vec<KeyRecord>,
}

/// What serde says of a file, without anything of its content that it may quote.
fn place(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "it has a missing, unknown or wrong value",
        _ => "it is not whole JSON",
    };
    format!("{kind} at line {}, column {}", error.line(), error.column())
}

//! The API keys of this server: a file in the data folder that the command line changes while the server runs, and that the server reads again when
//! it has changed. Beside it a second file says when each key was used last.
//!
//! The file is written whole under another name and renamed, under a lock, so that nobody ever reads half of it. Secrets are in it as hashes only; it
//! is readable by its owner alone.

use crate::stamp::Stamp;
use identity::Identity;
use identity::api_key::{KeyError, KeyForm, KeyRecord, KeyTable, KeyTableError, Pepper};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const KEYS: &str = "keys.json";
const USED: &str = "keys-used.json";
const LOCK: &str = "keys.lock";
/// How often the file is looked at: a key that is revoked is out within a second.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The keys, and where they are kept.
pub struct KeyFile {
    folder: PathBuf,
    table: RwLock<Arc<KeyTable>>,
    seen: Mutex<Option<Stamp>>,
    /// Key id to seconds since the Unix epoch; `true`: not written down yet.
    used: Mutex<(BTreeMap<String, u64>, bool)>,
}

/// Why keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The disk.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It is not what was written.
    #[error("{path} cannot be understood: {reason}; restore it from a copy, or move it away and make keys anew")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The change itself cannot be.
    #[error(transparent)]
    Change(#[from] KeyTableError),
}

impl KeyFile {
    /// Keys of the data folder at `folder`, which need not exist.
    pub fn open(folder: &Path) -> Result<Self, KeyFileError> {
        let file = Self {
            folder: folder.to_owned(),
            table: RwLock::new(Arc::new(no_keys())),
            seen: Mutex::new(None),
            used: Mutex::default(),
        };
        file.refresh()?;
        if let Ok(used) = std::fs::read(file.folder.join(USED)) {
            // Only for people to look at: what cannot be read begins anew.
            file.lock_used().0 = serde_json::from_slice(&used).unwrap_or_default();
        }
        Ok(file)
    }

    /// Whose key this is.
    pub fn authenticate(&self, text: &str, now_s: u64) -> Result<Identity, KeyError> {
        Ok(self.note(self.table().authenticate(text, now_s)?, now_s))
    }

    /// The same where keys of the console count too.
    pub fn authenticate_console(&self, text: &str, now_s: u64) -> Result<Identity, KeyError> {
        Ok(self.note(self.table().authenticate_console(text, now_s)?, now_s))
    }

    fn note(&self, identity: Identity, now_s: u64) -> Identity {
        if let identity::Credential::Key(id) = &identity.credential {
            let mut used = self.lock_used();
            if used.0.insert(id.to_string(), now_s) != Some(now_s) {
                used.1 = true;
            }
        }
        identity
    }

    /// The keys as they are.
    pub fn table(&self) -> Arc<KeyTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When each key was used last: seconds since the Unix epoch, at most a minute old on the disk.
    pub fn used(&self) -> BTreeMap<String, u64> {
        self.lock_used().0.clone()
    }

    /// Reads the file if it has changed. True: it had.
    pub fn refresh(&self) -> Result<bool, KeyFileError> {
        let path = self.folder.join(KEYS);
        let stamp = Stamp::of(&path);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == stamp {
            return Ok(false);
        }
        let table = read_table(&path)?.unwrap_or_else(no_keys);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        *seen = stamp;
        Ok(true)
    }

    /// Changes the keys, also when another process changes them at the same time.
    pub fn change<T>(&self, change: impl FnOnce(&mut KeyTable) -> Result<T, KeyTableError>) -> Result<T, KeyFileError> {
        let path = self.folder.join(KEYS);
        let folder = &self.folder;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("create", folder))?;
        let lock_path = folder.join(LOCK);
        let lock = private(&lock_path).map_err(failed("open", &lock_path))?;
        lock.lock().map_err(failed("lock", &lock_path))?;
        let mut table = match read_table(&path)? {
            Some(table) => table,
            None => KeyTable::new(Pepper::generate()?),
        };
        let done = change(&mut table)?;
        write_whole(&path, table.to_json().as_bytes())?;
        drop(lock);
        self.refresh()?;
        Ok(done)
    }

    /// Writes down when keys were used, if that has changed.
    pub fn note_used(&self) {
        let used = {
            let mut used = self.lock_used();
            if !std::mem::take(&mut used.1) {
                return;
            }
            // Of keys that are gone nobody asks.
            let table = self.table();
            used.0.retain(|id, _| table.contains(id));
            used.0.clone()
        };
        let json = serde_json::to_vec(&used).expect("texts and numbers are always JSON");
        if let Err(error) = write_whole(&self.folder.join(USED), &json) {
            self.lock_used().1 = true;
            tracing::warn!(action = "auth.keys", %error, "cannot note when keys were used");
        }
    }

    fn lock_used(&self) -> std::sync::MutexGuard<'_, (BTreeMap<String, u64>, bool)> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a key. One of the console's makes place for another; what became of others stays in the file, for operators to see.
pub(crate) fn end_key(table: &mut KeyTable, id: &str, now_s: u64) -> Result<(), KeyTableError> {
    let is_consoles = table.list().any(|record| *record.id == *id && record.form() == KeyForm::Console);
    if is_consoles { table.remove(id).map(drop) } else { table.revoke(id, now_s).map(drop) }
}

/// A key as administrators see it: everything but its hash.
pub(crate) fn described(record: &KeyRecord, used: &BTreeMap<String, u64>) -> serde_json::Value {
    serde_json::json!({
        "id": &*record.id,
        "form": record.form().name(),
        "begins": record.begins.as_deref(),
        "name": record.name,
        "owner": &*record.owner,
        "scopes": record.scopes,
        "rooms": record.rooms,
        "created_at_s": record.created_at_s,
        "expires_at_s": record.expires_at_s,
        "revoked_at_s": record.revoked_at_s,
        "replaces": record.replaces.as_deref(),
        "replaced_by": record.replaced_by.as_deref(),
        "used_at_s": used.get(&*record.id),
    })
}

/// Seconds since the Unix epoch, by the wall clock, which is what credentials are made with.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Where there is no file. Its hashes are of no key, so they need no secret: the first random number of a process takes 30 ms.
fn no_keys() -> KeyTable {
    KeyTable::new(Pepper::new([0; 32]))
}

/// None: there is no file.
fn read_table(path: &Path) -> Result<Option<KeyTable>, KeyFileError> {
    let mut text = String::new();
    match File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
        Ok(_) => {}
    }
    KeyTable::from_json(&text)
        .map(Some)
        .map_err(|error| KeyFileError::Broken { path: path.to_owned(), reason: error.to_string() })
}

/// Under another name first, so that whoever reads finds the old content or the new.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let unfinished = path.with_extension("json.new");
    let written = private(&unfinished).and_then(|mut file| {
        file.set_len(0)?;
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed("write", &unfinished))?;
    std::fs::rename(&unfinished, path).map_err(failed("write", path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

/// Opens a file that only its owner may read.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyFileError {
    move |source| KeyFileError::Io { doing, path: path.to_owned(), source }
}

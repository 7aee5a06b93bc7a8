//! Documents that other servers have stored, as names and Yjs updates.
//!
//! Called by `concord import --from`. Each source is read and never written, not even by a lock or a journal; what is damaged is told with
//! its name and does not stop the rest. Knows nothing of rooms, of limits, or of what an update means.

mod hocuspocus_sqlite;
mod leveldb;
mod y_leveldb;
mod y_sweet;

use std::path::Path;

/// Whose data it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file of `@hocuspocus/extension-sqlite`: a table `documents` with `name` and `data`.
    HocuspocusSqlite,
    /// The folder of `y-leveldb`, which y-websocket-server writes when `YPERSISTENCE` is set.
    YLeveldb,
    /// The folder of a y-sweet server: a folder for each document, with a file `data.ysweet`.
    YSweet,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HocuspocusSqlite, Self::YLeveldb, Self::YSweet];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::HocuspocusSqlite => "hocuspocus-sqlite",
            Self::YLeveldb => "y-leveldb",
            Self::YSweet => "y-sweet",
        }
    }

    /// True when its names are paths of URLs as they stood in requests, `a%20b` for `a b`.
    pub fn names_are_paths(self) -> bool {
        self == Self::YLeveldb
    }

    /// Opens a file or folder. Fails when nothing of it can be read.
    pub fn open(self, path: &Path) -> Result<Documents, OpenError> {
        Ok(match self {
            Self::HocuspocusSqlite => Box::new(hocuspocus_sqlite::open(path)?),
            Self::YLeveldb => Box::new(y_leveldb::open(path)?),
            Self::YSweet => Box::new(y_sweet::open(path)?),
        })
    }
}

/// What a source has, one document after the other. Memory is that of one document and a little more.
pub type Documents = Box<dyn Iterator<Item = Found>>;

/// What was found under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Of the document as the other server knows it; or of the place that cannot be read.
    pub name: String,
    /// The document's updates, oldest first, exactly as they are stored. None: it was created and never written to.
    pub content: Result<Vec<Vec<u8>>, Unreadable>,
}

/// Why something is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// This document cannot be read, or not all of it.
    #[error("{0}")]
    Document(String),
    /// A place that may hold any document, or none.
    #[error("{0}")]
    Place(String),
}

/// Why a source cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or folder, or one inside it, cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: String,
        /// As the system says it.
        error: std::io::Error,
    },
    /// SQLite does not open it, or not now.
    #[error("cannot read {path}: {reason}")]
    Refused {
        /// The file.
        path: String,
        /// What SQLite says, and what to do.
        reason: String,
    },
    /// It is something else.
    #[error("{path} is not what {origin} writes: {reason}")]
    NotIts {
        /// The file or folder.
        path: String,
        /// By its name on the command line.
        origin: &'static str,
        /// What was looked for.
        reason: String,
    },
    /// Another process has it open, and could change it meanwhile.
    #[error("{path} is open in process {process}; stop that server, or import a copy made after it was stopped")]
    InUse {
        /// The folder.
        path: String,
        /// Process id.
        process: u32,
    },
    /// It is what it should be, and broken where everything depends on it.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl OpenError {
    fn unreadable(path: &Path, error: std::io::Error) -> Self {
        Self::Unreadable { path: path.display().to_string(), error }
    }

    fn not_its(path: &Path, origin: Origin, reason: &str) -> Self {
        Self::NotIts { path: path.display().to_string(), origin: origin.name(), reason: reason.to_owned() }
    }

    fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.display().to_string(), reason: reason.into() }
    }
}

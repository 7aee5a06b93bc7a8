//! What can go wrong with the whole folder or at an operator's request. What a client's call meets is a [`crate::Failure`].

use std::path::PathBuf;

/// Why the folder or a room's database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// The folder cannot be made, read or changed.
    #[error(
        "cannot use {path} for room databases: {source}; check that it is a folder this user may write to, and that the disk has space"
    )]
    Folder {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread for room databases: {0}; raise the limit of threads for this user")]
    Thread(std::io::Error),
    /// SQLite itself does not start.
    #[error("cannot start SQLite: {0}; check how much memory this process may have")]
    Sqlite(String),
    /// A room's database could not be closed cleanly; what was acknowledged is in its files.
    #[error(
        "room databases were not closed cleanly: {0}; what was acknowledged is in the files and is read at the next start"
    )]
    Close(String),
    /// The databases are closed already.
    #[error("room databases are closed; start again to use them")]
    Closed,
}

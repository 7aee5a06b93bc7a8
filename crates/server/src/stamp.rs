//! Tells one state of a file from another without reading it. Called by whoever looks again and again at a file that others change.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One state of a file: which file it is, how long, and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    bytes: u64,
    written_s: i64,
    written_ns: i64,
}

impl Stamp {
    /// Of the file that is at a path. None: there is none, or it cannot be looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            bytes: metadata.size(),
            written_s: metadata.mtime(),
            written_ns: metadata.mtime_nsec(),
        })
    }
}

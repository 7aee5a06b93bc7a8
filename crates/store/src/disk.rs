//! What the embedded store asks of a disk, and the disk of the operating system.
//!
//! Called by everything under `backends/embedded`, redb's file included, which touches files in no other way: so a
//! test can be the disk that loses power, fills up or fails (`testkit::disk`). Names are relative to the data
//! folder, with `/` between the parts. Does not retry, buffer or interpret.

use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

/// A folder and the files in it.
pub trait Disk: Debug + Send + Sync + 'static {
    /// The folder's name, for messages.
    fn describe(&self) -> String;
    /// Makes a folder and what lies above it, unless it is there. The empty name is the data folder itself.
    fn create_folder(&self, name: &str) -> io::Result<()>;
    /// Opens a file for reading and writing, and makes an empty one first if `create` and there is none.
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file. Open handles keep working.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Renames a file, replacing one that has the name. Open handles keep working.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// The names in a folder, without the folder's, in any order.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Puts what `open`, `remove` and `rename` did to the folder's entries on stable storage.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// Takes the lock file `name` for this process, or says who has it.
    fn lock(&self, name: &str) -> io::Result<Lock>;
}

/// One open file.
pub trait DiskFile: Debug + Send + Sync {
    /// Writes at a place; may write less than asked for. Returns how much.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Reads from a place; may read less than asked for, 0 only at the end. Returns how much.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Cuts the file, or extends it with zeros.
    fn set_size(&self, bytes: u64) -> io::Result<()>;
    /// Puts content and length on stable storage.
    fn sync_data(&self) -> io::Result<()>;
}

/// What `Disk::lock` found.
#[derive(Debug)]
pub enum Lock {
    /// The lock is ours until this value is dropped.
    Taken(Box<dyn Debug + Send + Sync>),
    /// The process id of the holder, or `unknown`.
    HeldBy(String),
}

/// Writes all of `bytes`, in one call to the disk unless it takes less.
pub(crate) fn write_all(file: &dyn DiskFile, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(at, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                bytes = &bytes[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `into` from a place as far as the file goes. Returns how much.
pub(crate) fn read_full(file: &dyn DiskFile, at: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(at + filled as u64, &mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A folder of the operating system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn at(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }
}

impl Disk for Folder {
    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    fn create_folder(&self, name: &str) -> io::Result<()> {
        // Documents are nobody else's business on this machine. A folder that exists keeps the mode that it has.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.at(name))
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(self.at(name))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.at(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.at(from), self.at(to))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.at(folder))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        // Windows has no such call; its file systems log directory entries themselves.
        if cfg!(unix) { File::open(self.at(folder))?.sync_all() } else { Ok(()) }
    }

    fn lock(&self, name: &str) -> io::Result<Lock> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.at(name))?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.write_all(std::process::id().to_string().as_bytes())?;
                Ok(Lock::Taken(Box::new(file)))
            }
            Err(TryLockError::WouldBlock) => Ok(Lock::HeldBy(holder(&mut file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The process id in a lock file. A file that holds anything else was not written by us.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(20).read_to_string(&mut text) {
        Ok(_) if text.trim().parse::<u32>().is_ok() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    #[cfg(unix)]
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.0, bytes, at)
    }

    #[cfg(unix)]
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, into, at)
    }

    #[cfg(windows)]
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.0, bytes, at)
    }

    #[cfg(windows)]
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, into, at)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

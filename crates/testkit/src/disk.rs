//! A disk in memory that fails as asked: power cuts, torn and lost writes, a full disk, errors, syncs that take their time.
//!
//! Used by the tests of `store` and of the server in place of a folder. It is as unkind as POSIX allows: what is not
//! synced may be lost in any part, directory entries included, and what a failed sync should have written is never
//! written by a later one although it still reads back. Chance comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Formatter};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use store::disk::{Disk, DiskFile, Lock};

/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

/// A disk, shared by its clones.
#[derive(Clone, Default)]
pub struct FaultyDisk {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    world: Mutex<World>,
    changed: Condvar,
}

/// Everything on the disk and everything that shall go wrong.
#[derive(Clone, Default)]
struct World {
    folders: BTreeSet<String>,
    files: Vec<FileState>,
    names: BTreeMap<String, usize>,
    stable_names: BTreeMap<String, usize>,
    unsynced_entries: Vec<Entry>,
    locked: bool,
    off: bool,
    operations: u64,
    stop_at: Option<u64>,
    write_fault: Option<Fault>,
    read_fault: Option<Fault>,
    sync_fault: Option<Fault>,
    bytes_free: Option<u64>,
    held: Option<String>,
    syncs_held: usize,
    syncs_ended: usize,
    /// Files whose sync failed and that still have their names.
    failed_syncs: BTreeSet<String>,
}

#[derive(Clone, Default)]
struct FileState {
    cached: Vec<u8>,
    stable: Vec<u8>,
    unsynced: Vec<Change>,
}

/// A change to a file that is in the operating system's memory only.
#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Size(usize),
}

/// A change to a folder that is in the operating system's memory only.
#[derive(Clone)]
struct Entry {
    name: String,
    file: Option<usize>,
    /// Part of the change before it: a rename is never half done.
    joined: bool,
}

#[derive(Clone)]
struct Fault {
    prefix: String,
    kind: io::ErrorKind,
}

impl FaultyDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// This disk as the store takes it.
    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// From here on writes to files whose names begin with `prefix` fail with `kind`, after some of the bytes.
    pub fn fail_writes(&self, prefix: &str, kind: io::ErrorKind) {
        self.world().write_fault = Some(Fault { prefix: prefix.to_owned(), kind });
    }

    /// From here on reads of files whose names begin with `prefix` fail.
    pub fn fail_reads(&self, prefix: &str, kind: io::ErrorKind) {
        self.world().read_fault = Some(Fault { prefix: prefix.to_owned(), kind });
    }

    /// From here on syncs of files whose names begin with `prefix` fail with `kind`, and lose what they should have written.
    pub fn fail_syncs(&self, prefix: &str, kind: io::ErrorKind) {
        self.world().sync_fault = Some(Fault { prefix: prefix.to_owned(), kind });
    }

    /// Files can grow by so many bytes together, then the disk is full. None: without end.
    pub fn set_bytes_free(&self, bytes: Option<u64>) {
        self.world().bytes_free = bytes;
    }

    /// All faults end; what they have done stays.
    pub fn heal(&self) {
        let mut world = self.world();
        (world.write_fault, world.read_fault, world.sync_fault, world.bytes_free) = (None, None, None, None);
    }

    /// From here on syncs of files whose names begin with `prefix` do not return before `release_syncs`.
    pub fn hold_syncs(&self, prefix: &str) {
        self.world().held = Some(prefix.to_owned());
    }

    /// Lets held syncs go on, and holds no more.
    pub fn release_syncs(&self) {
        self.world().held = None;
        self.inner.changed.notify_all();
    }

    /// Lets the syncs that are held now go on, and holds the next ones.
    pub fn release_held_sync(&self) {
        let mut world = self.world();
        world.syncs_held = 0;
        self.inner.changed.notify_all();
    }

    /// Waits until a sync is held.
    pub fn await_held_sync(&self) {
        let mut world = self.world();
        while world.syncs_held == 0 {
            world = self.inner.changed.wait(world).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until every file below `folder` whose sync failed has been renamed or removed, which is how the store remembers
    /// it. A process that is killed between the two knows no more of the failure than the kernel tells the next one.
    pub fn await_failed_syncs_noted(&self, folder: &str) {
        let mut world = self.world();
        while world.failed_syncs.iter().any(|name| folder_of(name) == folder && world.names.contains_key(name)) {
            world = self.inner.changed.wait(world).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many syncs of files have ended so far, well or not.
    pub fn syncs_ended(&self) -> usize {
        self.world().syncs_ended
    }

    /// How many changing operations have been asked for: writes, resizings, syncs, changes to folders.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// The disk goes off at the operation after the next `operations`; a write may then be half done.
    pub fn stop_after(&self, operations: u64) {
        let mut world = self.world();
        world.stop_at = Some(world.operations + operations);
    }

    /// Whether the disk has gone off.
    pub fn is_off(&self) -> bool {
        self.world().off
    }

    /// What a new process finds after this one was killed. For this one the disk is off.
    pub fn kill(&self) -> Self {
        let mut world = self.world();
        let mut next = world.clone();
        world.off = true;
        self.inner.changed.notify_all();
        next.restart();
        Self { inner: Arc::new(Inner { world: Mutex::new(next), changed: Condvar::new() }) }
    }

    /// What is found after a power cut: of what was not synced, whatever `rng` leaves. For this process the disk is off.
    pub fn cut_power(&self, rng: &mut fastrand::Rng) -> Self {
        let next = self.kill();
        next.world().lose_unsynced(rng);
        next
    }

    /// The files of a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        let world = self.world();
        world.names.keys().filter(|name| name.starts_with(&prefix)).cloned().collect()
    }

    /// A file's content. Empty when there is none.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let world = self.world();
        world.names.get(name).map(|&file| world.files[file].cached.clone()).unwrap_or_default()
    }

    /// Replaces a file's content, on stable storage at once: what a test does to a file behind the store's back.
    pub fn overwrite(&self, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let file = world.file(name);
        world.stable_names.insert(name.to_owned(), file);
        world.files[file] = FileState { cached: bytes.to_vec(), stable: bytes.to_vec(), unsynced: Vec::new() };
    }

    /// A copy of everything, with nothing unsynced and no faults.
    pub fn copy(&self) -> Self {
        let mut next = self.world().clone();
        next.restart();
        for file in &mut next.files {
            file.stable = file.cached.clone();
            file.unsynced.clear();
        }
        next.stable_names = next.names.clone();
        next.unsynced_entries.clear();
        Self { inner: Arc::new(Inner { world: Mutex::new(next), changed: Condvar::new() }) }
    }

    /// A copy of everything without faults, for a test that goes on in several ways from here.
    pub fn copy_with_unsynced(&self) -> Self {
        let mut next = self.world().clone();
        next.restart();
        Self { inner: Arc::new(Inner { world: Mutex::new(next), changed: Condvar::new() }) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.inner.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world, for an operation that changes something.
    fn changing(&self) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.world();
        world.check_on()?;
        world.operations += 1;
        if world.stop_at.is_some_and(|stop_at| world.operations > stop_at) {
            world.off = true;
            self.inner.changed.notify_all();
        }
        Ok(world)
    }
}

impl Debug for FaultyDisk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyDisk")
    }
}

impl World {
    fn check_on(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the disk is off")) } else { Ok(()) }
    }

    fn restart(&mut self) {
        *self = Self {
            folders: std::mem::take(&mut self.folders),
            files: std::mem::take(&mut self.files),
            names: std::mem::take(&mut self.names),
            stable_names: std::mem::take(&mut self.stable_names),
            unsynced_entries: std::mem::take(&mut self.unsynced_entries),
            ..Self::default()
        };
    }

    fn file(&mut self, name: &str) -> usize {
        if let Some(&file) = self.names.get(name) {
            return file;
        }
        self.files.push(FileState::default());
        let file = self.files.len() - 1;
        self.enter(name, Some(file), false);
        file
    }

    fn enter(&mut self, name: &str, file: Option<usize>, joined: bool) {
        match file {
            Some(file) => self.names.insert(name.to_owned(), file),
            None => self.names.remove(name),
        };
        self.unsynced_entries.push(Entry { name: name.to_owned(), file, joined });
    }

    fn lose_unsynced(&mut self, rng: &mut fastrand::Rng) {
        for file in &mut self.files {
            let unsynced = std::mem::take(&mut file.unsynced);
            survive(&mut file.stable, unsynced, rng);
            file.cached = file.stable.clone();
        }
        // A journal keeps the order of the entries.
        let survivors = rng.usize(0..=self.unsynced_entries.len());
        let entries = std::mem::take(&mut self.unsynced_entries);
        for (index, entry) in entries.into_iter().enumerate() {
            if index < survivors || (entry.joined && index == survivors) {
                set_entry(&mut self.stable_names, &entry);
            }
        }
        self.names = self.stable_names.clone();
    }

    fn fault(&self, fault: &Option<Fault>, name: &str) -> Option<io::Error> {
        let fault = fault.as_ref().filter(|fault| name.starts_with(&fault.prefix))?;
        Some(io::Error::new(fault.kind, "a fault of the test's disk"))
    }
}

/// What of the unsynced changes a power cut leaves: none, the first ones, or any, in any parts.
fn survive(stable: &mut Vec<u8>, unsynced: Vec<Change>, rng: &mut fastrand::Rng) {
    match rng.u8(0..4) {
        0 => {}
        1 => unsynced.iter().for_each(|change| apply(stable, change)),
        2 => {
            let whole = rng.usize(0..=unsynced.len());
            unsynced[..whole].iter().for_each(|change| apply(stable, change));
            if let Some(Change::Write(at, bytes)) = unsynced.get(whole) {
                apply(stable, &Change::Write(*at, bytes[..rng.usize(0..=bytes.len())].to_vec()));
            }
        }
        _ => {
            for change in unsynced {
                match change {
                    Change::Size(_) if rng.bool() => apply(stable, &change),
                    Change::Size(_) => {}
                    Change::Write(at, bytes) => {
                        let sectors = bytes.chunks(SECTOR_BYTES).enumerate().filter(|_| rng.u8(0..4) > 0);
                        for (index, sector) in sectors {
                            apply(stable, &Change::Write(at + index * SECTOR_BYTES, sector.to_vec()));
                        }
                    }
                }
            }
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Size(size) => bytes.resize(*size, 0),
        Change::Write(at, new) => {
            if bytes.len() < at + new.len() {
                bytes.resize(at + new.len(), 0);
            }
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
    }
}

fn set_entry(names: &mut BTreeMap<String, usize>, entry: &Entry) {
    match entry.file {
        Some(file) => names.insert(entry.name.clone(), file),
        None => names.remove(&entry.name),
    };
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Disk for FaultyDisk {
    fn describe(&self) -> String {
        "a disk in memory".to_owned()
    }

    fn create_folder(&self, name: &str) -> io::Result<()> {
        self.changing()?.folders.insert(name.to_owned());
        Ok(())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let known = {
            let world = self.world();
            world.check_on()?;
            world.names.get(name).copied()
        };
        let file = match known {
            Some(file) => file,
            None if !create => return Err(io::ErrorKind::NotFound.into()),
            None => {
                let mut world = self.changing()?;
                world.check_on()?;
                if let Some(error) = world.fault(&world.write_fault, name) {
                    return Err(error);
                }
                world.file(name)
            }
        };
        Ok(Arc::new(FaultyFile { disk: self.clone(), file, name: name.to_owned() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.changing()?;
        world.check_on()?;
        if !world.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.enter(name, None, false);
        self.inner.changed.notify_all();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.changing()?;
        world.check_on()?;
        let file = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        world.enter(to, Some(file), false);
        world.enter(from, None, true);
        self.inner.changed.notify_all();
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let world = self.world();
        world.check_on()?;
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let all = world.names.keys().chain(&world.folders).filter(|name| !name.is_empty() && folder_of(name) == folder);
        Ok(all.map(|name| name[prefix.len()..].to_owned()).collect())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut world = self.changing()?;
        world.check_on()?;
        let entries = std::mem::take(&mut world.unsynced_entries);
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| folder_of(&entry.name) == folder);
        here.iter().for_each(|entry| set_entry(&mut world.stable_names, entry));
        world.unsynced_entries = elsewhere;
        Ok(())
    }

    fn lock(&self, _name: &str) -> io::Result<Lock> {
        let mut world = self.changing()?;
        world.check_on()?;
        if std::mem::replace(&mut world.locked, true) {
            return Ok(Lock::HeldBy(std::process::id().to_string()));
        }
        Ok(Lock::Taken(Box::new(Held(self.clone()))))
    }
}

#[derive(Debug)]
struct Held(FaultyDisk);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.world().locked = false;
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    file: usize,
    name: String,
}

impl FaultyFile {
    fn write(&self, world: &mut World, at: u64, bytes: &[u8]) -> usize {
        let change = Change::Write(at as usize, bytes.to_vec());
        let file = &mut world.files[self.file];
        apply(&mut file.cached, &change);
        file.unsynced.push(change);
        bytes.len()
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.disk.changing()?;
        if world.off {
            self.write(&mut world, at, &bytes[..bytes.len() / 2]);
            return Err(io::Error::other("the disk is off"));
        }
        if let Some(error) = world.fault(&world.write_fault, &self.name) {
            // As a disk does it: the first call writes less than asked for, the next one fails.
            return if bytes.len() > 8 {
                Ok(self.write(&mut world, at, &bytes[..bytes.len() / 2]))
            } else {
                Err(error)
            };
        }
        let growth = (at + bytes.len() as u64).saturating_sub(world.files[self.file].cached.len() as u64);
        let free = world.bytes_free.unwrap_or(u64::MAX);
        let written = if growth <= free { bytes.len() } else { bytes.len().saturating_sub((growth - free) as usize) };
        world.bytes_free = world.bytes_free.map(|free| free.saturating_sub(growth));
        if written == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(self.write(&mut world, at, &bytes[..written]))
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let world = self.disk.world();
        world.check_on()?;
        if let Some(error) = world.fault(&world.read_fault, &self.name) {
            return Err(error);
        }
        let cached = &world.files[self.file].cached;
        let from = cached.get(at as usize..).unwrap_or_default();
        let read = from.len().min(into.len());
        into[..read].copy_from_slice(&from[..read]);
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        let world = self.disk.world();
        world.check_on()?;
        Ok(world.files[self.file].cached.len() as u64)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        let mut world = self.disk.changing()?;
        world.check_on()?;
        let change = Change::Size(bytes as usize);
        let held = world.files[self.file].cached.len() as u64;
        if let Some(free) = world.bytes_free.filter(|_| bytes > held) {
            world.bytes_free = Some(free.checked_sub(bytes - held).ok_or(io::ErrorKind::StorageFull)?);
        }
        let file = &mut world.files[self.file];
        apply(&mut file.cached, &change);
        file.unsynced.push(change);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.disk.changing()?;
        // What the sync covers is decided when it begins.
        let covered = world.files[self.file].unsynced.len();
        if world.held.as_ref().is_some_and(|prefix| self.name.starts_with(prefix)) {
            world.syncs_held += 1;
            self.disk.inner.changed.notify_all();
            while world.held.is_some() && world.syncs_held > 0 && !world.off {
                world = self.disk.inner.changed.wait(world).unwrap_or_else(PoisonError::into_inner);
            }
            world.syncs_held = 0;
        }
        world.check_on()?;
        world.syncs_ended += 1;
        let error = world.fault(&world.sync_fault, &self.name);
        if error.is_some() {
            world.failed_syncs.insert(self.name.clone());
        }
        let file = &mut world.files[self.file];
        for change in file.unsynced.drain(..covered) {
            if error.is_none() {
                apply(&mut file.stable, &change);
            }
        }
        error.map_or(Ok(()), Err)
    }
}

//! The door of the crate: starts and ends the threads, takes calls, and knows the files of the folder. What happens to a call is decided in
//! `src/schedule.rs` and done in `src/threads.rs`.

use std::cell::Cell;
use std::os::unix::fs::DirBuilderExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::schedule::{Done, Job, Lane, Stage};
use crate::threads::Shared;
use crate::{Call, Outcome, Settings, TablesError, room_file, writing};

/// Bytes of a room's name. 255: what the protocol says.
const ROOM_MAX: usize = 255;

/// All room databases of one data folder. Share it by `Arc`; dropping it closes it.
pub struct Tables {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One room of the folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoomSummary {
    /// The room's name.
    pub room: String,
    /// Bytes of its database and log.
    pub bytes: u64,
}

/// What has been done since the start, for metrics and tests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counts {
    /// Transactions that were committed; each covers one or many calls.
    pub commits: u64,
    /// Databases that were opened.
    pub opens: u64,
}

impl Tables {
    /// Starts with the folder, which is made if it is not there. Fails if the folder cannot be used or a thread not be started.
    pub fn open(settings: Settings) -> Result<Tables, TablesError> {
        let folder = settings.folder.clone();
        // What is in it is nobody else's business.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| TablesError::Folder { path: folder.clone(), source })?;
        // The limit is the process's: any connection can set it, and it can only become lower.
        let limit = |bytes| {
            Connection::open_in_memory()?.query_row(&format!("PRAGMA hard_heap_limit = {bytes}"), [], |_| Ok(()))
        };
        limit(settings.heap_bytes_max).map_err(|why: rusqlite::Error| TablesError::Sqlite(why.to_string()))?;
        let lanes = [
            (Lane::Writes, "tables-write", settings.writer_threads),
            (Lane::Quick, "tables-read", settings.quick_threads),
            (Lane::Queries, "tables-query", settings.query_threads),
        ];
        let tables = Tables { shared: Arc::new(Shared::new(settings)), threads: Mutex::default() };
        for (lane, name, count) in lanes {
            for _ in 0..count.max(1) {
                let shared = tables.shared.clone();
                let thread = std::thread::Builder::new().name(name.to_owned());
                let thread = thread.spawn(move || shared.run(lane)).map_err(TablesError::Thread)?;
                tables.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
            }
        }
        Ok(tables)
    }

    /// Hands over a call. `done` is called once, on a thread of this crate: for writes after the commit is as durable as the settings say,
    /// for reads when the answer is there; for one room in the order of the writes. A call that cannot even wait (closed, or too much waits
    /// already) is answered on the caller's thread before this returns. Never waits for the disk. `done` must neither block for long nor
    /// call [`Tables::close`] or [`Tables::delete`].
    pub fn submit(&self, room: &str, call: Call, done: Box<dyn FnOnce(Outcome) + Send>) {
        let job = Job::new(room, call, done);
        if room.is_empty() || room.len() > ROOM_MAX {
            return job.answer(Outcome::failed("A room's name has 1 to 255 bytes"));
        }
        // Counted in the order in which they come: the threads that read take them in any.
        let job = match self.shared.refusal(&job) {
            Some(outcome) => return job.answer(outcome),
            None => job,
        };
        let added = self.shared.schedule().add(&self.shared.settings, job);
        match added {
            Ok(lane) => self.shared.wake(lane),
            Err(refused) => refused.0.answer(Outcome::failed(refused.1)),
        }
    }

    /// Whether the room has a database.
    pub fn exists(&self, room: &str) -> Result<bool, TablesError> {
        let path = room_file::path_of(&self.shared.settings.folder, room);
        path.try_exists().map_err(|source| TablesError::Folder { path, source })
    }

    /// Removes the room's database with all files, after what runs in it. What waits is done in a new one. Waits for the disk. Says whether
    /// there was one.
    pub fn delete(&self, room: &str) -> Result<bool, TablesError> {
        let name: Arc<str> = Arc::from(room);
        let shared = &self.shared;
        let mut schedule = shared.schedule();
        while schedule.is_deleting(room) {
            schedule = shared.changed.wait(schedule).unwrap_or_else(PoisonError::into_inner);
        }
        let database = loop {
            if schedule.stage == Stage::Ended {
                return Err(TablesError::Closed);
            }
            match schedule.begin_delete(&name) {
                Some(database) => break database,
                None => schedule = shared.changed.wait(schedule).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(schedule);
        // Nothing of it is wanted any more, so an error of closing says nothing.
        let _ = database.and_then(Arc::into_inner).map(|database| database.close());
        let removed = self.remove(room);
        let mut schedule = shared.schedule();
        schedule.end_delete(&name);
        shared.wake_all(&schedule);
        removed
    }

    fn remove(&self, room: &str) -> Result<bool, TablesError> {
        let folder = &self.shared.settings.folder;
        let path = room_file::path_of(folder, room);
        let mut was_there = false;
        // The database last: as long as it is there, the room is, and deleting can be tried again.
        for file in [room_file::beside(&path, "-shm"), room_file::beside(&path, "-wal"), path.clone()] {
            match std::fs::remove_file(&file) {
                Ok(()) => was_there |= file == path,
                Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(TablesError::Folder { path: file, source }),
            }
        }
        Ok(was_there)
    }

    /// All rooms that have a database, by name.
    pub fn list(&self) -> Result<Vec<RoomSummary>, TablesError> {
        let folder = &self.shared.settings.folder;
        let rooms = room_file::list(folder).map_err(|source| TablesError::Folder { path: folder.clone(), source })?;
        Ok(rooms.into_iter().map(|(room, bytes)| RoomSummary { room, bytes }).collect())
    }

    /// Databases that are open now.
    pub fn open_count(&self) -> usize {
        self.shared.schedule().open_count()
    }

    /// What has been done since the start.
    pub fn counts(&self) -> Counts {
        let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        Counts { commits: count(&self.shared.commits), opens: count(&self.shared.opens) }
    }

    /// Finishes the writes and short reads that were submitted, breaks off statements, writes what waits in memory, and closes all files.
    /// Waits for the disk. The error says which values could not be written; closing again does nothing.
    pub fn close(&self) -> Result<(), TablesError> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        finish(&self.shared, std::mem::take(&mut *threads))
    }
}

fn finish(shared: &Shared, threads: Vec<JoinHandle<()>>) -> Result<(), TablesError> {
    let mut schedule = shared.schedule();
    if schedule.stage == Stage::Runs {
        schedule.stage = Stage::Finishes;
    }
    shared.is_closing.store(true, Ordering::Relaxed);
    shared.wake_all(&schedule);
    while !schedule.is_quiet() {
        schedule = shared.changed.wait(schedule).unwrap_or_else(PoisonError::into_inner);
    }
    let databases = schedule.end();
    shared.wake_all(&schedule);
    drop(schedule);
    for thread in threads {
        // A thread that has failed has said so in the outcome of its call.
        let _ = thread.join();
    }
    let mut errors = Vec::new();
    for database in databases {
        errors.extend(writing::flush(&shared.desk(), &database).err());
        errors.extend(Arc::into_inner(database).and_then(|database| database.close().err()));
    }
    if errors.is_empty() { Ok(()) } else { Err(TablesError::Close(errors.join("; "))) }
}

impl Drop for Tables {
    fn drop(&mut self) {
        let threads = std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        let this = std::thread::current().id();
        if threads.iter().any(|thread| thread.thread().id() == this) {
            // The last of its owners was in the answer to a call: that thread cannot wait for itself.
            let shared = self.shared.clone();
            std::thread::spawn(move || finish(&shared, threads));
        } else {
            let _ = finish(&self.shared, threads);
        }
    }
}

impl Job {
    fn new(room: &str, call: Call, done: Done) -> Job {
        Job {
            room: Arc::from(room),
            call,
            done: Some(done),
            is_admitted: Cell::new(false),
            submitted: std::time::Instant::now(),
            is_long: Cell::new(false),
        }
    }
}

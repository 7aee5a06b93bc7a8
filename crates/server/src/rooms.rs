//! Which rooms are in memory. A room loads once: two first visitors get the same one, and loading never overlaps with unloading.
//!
//! Called by whoever lets a connection in (`enter`) and by the rooms' tasks (`retire`, `pause`). Holds mailboxes, never a room itself.

use crate::clock::Clock;
use crate::compaction::Compactor;
use crate::config::Config;
use crate::connections::Connection;
use crate::room_task;
use room::{Access, Author, Closing, Input, MemberId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use store::{RoomKey, Store};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// Inputs that wait for a room: beyond it, sockets wait.
const MAILBOX_INPUTS_MAX: usize = 512;
/// Bytes of large inputs that wait for a room. Small ones are bounded by their number.
const MAILBOX_BYTES_MAX: usize = 32 << 20;
/// From this size on an input takes its share of `MAILBOX_BYTES_MAX`.
const LARGE_INPUT_BYTES: usize = 4 << 10;
/// First and longest pause after a storage failure.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 1_000..=30_000;

/// What reaches a room's task.
pub(crate) enum ToRoom {
    /// A connection comes in; it is the member from here on. `opening` is what its session says first, before anybody else does.
    Join {
        connection: Arc<Connection>,
        member: MemberId,
        author: Author,
        access: Access,
        trusts_all: bool,
        opening: Vec<Input>,
    },
    /// Anything that a session says.
    Input(Input),
    /// The same, of a size that had to be reserved.
    Large(Input, tokio::sync::OwnedSemaphorePermit),
}

/// What the rooms' tasks share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) compactor: Compactor,
    /// Room tasks that still run; shutdown waits for them.
    pub(crate) running: watch::Sender<usize>,
    pub(crate) shutdown: watch::Sender<bool>,
    /// A flush at shutdown has failed: what was not acknowledged may not be on the disk.
    pub(crate) flush_failed: AtomicBool,
}

/// The table of rooms.
pub(crate) struct Rooms {
    pub(crate) shared: Arc<Shared>,
    table: Mutex<Table>,
    members: AtomicU64,
    /// Every room task reads the same flag.
    closed: AtomicBool,
}

#[derive(Default)]
struct Table {
    rooms: HashMap<RoomKey, Arc<Handle>>,
    pauses: HashMap<RoomKey, Pause>,
}

#[derive(Clone, Copy)]
struct Pause {
    until_ms: u64,
    length_ms: u64,
}

/// The way to one room in memory.
pub(crate) struct Handle {
    pub(crate) key: RoomKey,
    mailbox: mpsc::Sender<ToRoom>,
    bytes: Arc<Semaphore>,
    ready: watch::Receiver<Loading>,
    /// Why the room's task has ended, for those that it did not know.
    end: OnceLock<Closing>,
    /// Connections that hold it, in the room or on their way. Changed under the table's lock only.
    visitors: AtomicU64,
    /// The last of them has gone.
    vacated: Notify,
}

impl Handle {
    /// Done when the last visitor has gone, once for each time.
    pub(crate) async fn vacated(&self) {
        self.vacated.notified().await;
    }

    /// Leaves a word for those that the room's task does not know.
    pub(crate) fn ends_with(&self, closing: &Closing) {
        // The first reason counts.
        let _ = self.end.set(closing.clone());
    }
}

/// How far a room's task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loading {
    Begun,
    Done,
    Failed,
}

/// Why nobody can enter now. All of them are worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("the room cannot store changes right now; try again later")]
    Storage { retry_after_ms: u64 },
    #[error("the room has all the connections that it may have; try again later")]
    Full,
    #[error("the server is shutting down; try again later")]
    ShuttingDown,
}

impl Rooms {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, table: Mutex::default(), members: AtomicU64::new(1), closed: AtomicBool::new(false) })
    }

    /// A name for one more member.
    pub(crate) fn next_member(&self) -> MemberId {
        MemberId(self.members.fetch_add(1, Ordering::Relaxed))
    }

    /// The way into a room, loaded if it is not; the room stays in memory as long as the visit lasts.
    pub(crate) async fn enter(self: &Arc<Self>, key: &RoomKey) -> Result<Visit, Unavailable> {
        let visit = self.visit(key)?;
        let mut ready = visit.handle.ready.clone();
        let loaded = ready.wait_for(|loading| *loading != Loading::Begun).await;
        match loaded.map(|state| *state) {
            Ok(Loading::Done) => Ok(visit),
            _ => Err(Unavailable::Storage { retry_after_ms: self.pause_left_ms(key) }),
        }
    }

    fn visit(self: &Arc<Self>, key: &RoomKey) -> Result<Visit, Unavailable> {
        let mut table = self.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(Unavailable::ShuttingDown);
        }
        let now_ms = self.shared.clock.now_ms();
        if let Some(pause) = table.pauses.get(key).filter(|pause| pause.until_ms > now_ms) {
            return Err(Unavailable::Storage { retry_after_ms: pause.until_ms - now_ms });
        }
        let handle = match table.rooms.get(key) {
            Some(handle) => handle.clone(),
            None => table.rooms.entry(key.clone()).or_insert(self.load(key)).clone(),
        };
        if handle.visitors.load(Ordering::Relaxed) >= self.shared.config.limits.room_connections_max {
            return Err(Unavailable::Full);
        }
        handle.visitors.fetch_add(1, Ordering::Relaxed);
        Ok(Visit { rooms: self.clone(), handle })
    }

    fn load(self: &Arc<Self>, key: &RoomKey) -> Arc<Handle> {
        let (mailbox, inbox) = mpsc::channel(MAILBOX_INPUTS_MAX);
        let (loading, ready) = watch::channel(Loading::Begun);
        let bytes = Arc::new(Semaphore::new(MAILBOX_BYTES_MAX));
        let handle = Arc::new(Handle {
            key: key.clone(),
            mailbox,
            bytes,
            ready,
            end: OnceLock::new(),
            visitors: AtomicU64::new(0),
            vacated: Notify::new(),
        });
        self.shared.running.send_modify(|running| *running += 1);
        tokio::spawn(room_task::run(self.clone(), handle.clone(), inbox, loading));
        handle
    }

    /// Takes a room out of the table if nobody is in it or on the way, and nothing waits for it. The caller ends then.
    pub(crate) fn retire(&self, handle: &Arc<Handle>) -> bool {
        let mut table = self.lock();
        let unused =
            handle.visitors.load(Ordering::Relaxed) == 0 && handle.mailbox.capacity() == handle.mailbox.max_capacity();
        if unused {
            remove(&mut table.rooms, handle);
        }
        unused
    }

    /// Takes a room out of the table because its task ends, whoever is in it or on the way.
    pub(crate) fn remove(&self, handle: &Arc<Handle>) {
        remove(&mut self.lock().rooms, handle);
    }

    /// Keeps everybody out of a room for a while after a storage failure, each time twice as long.
    pub(crate) fn pause(&self, handle: &Arc<Handle>) {
        let mut table = self.lock();
        remove(&mut table.rooms, handle);
        let length_ms =
            table.pauses.get(&handle.key).map_or(*PAUSE_MS.start(), |last| (last.length_ms * 2).min(*PAUSE_MS.end()));
        let now_ms = self.shared.clock.now_ms();
        let until_ms = now_ms + length_ms;
        // One that nobody came back to is not worth remembering.
        table.pauses.retain(|_, pause| pause.until_ms + *PAUSE_MS.end() > now_ms);
        table.pauses.insert(handle.key.clone(), Pause { until_ms, length_ms });
    }

    fn pause_left_ms(&self, key: &RoomKey) -> u64 {
        let until_ms = self.lock().pauses.get(key).map_or(0, |pause| pause.until_ms);
        until_ms.saturating_sub(self.shared.clock.now_ms()).max(*PAUSE_MS.start())
    }

    /// Whether the room has failed lately: then its store is tried before anybody enters.
    pub(crate) fn has_failed(&self, key: &RoomKey) -> bool {
        self.lock().pauses.contains_key(key)
    }

    /// Changes of the room have become durable.
    pub(crate) fn is_healthy(&self, key: &RoomKey) {
        self.lock().pauses.remove(key);
    }

    /// Lets nobody in any more, and tells the rooms to end.
    pub(crate) fn close(&self) {
        let _table = self.lock();
        self.closed.store(true, Ordering::Release);
        self.shared.shutdown.send_replace(true);
    }

    /// Rooms with at least one connection.
    pub(crate) fn count(&self) -> usize {
        self.lock().rooms.values().filter(|handle| handle.visitors.load(Ordering::Relaxed) > 0).count()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(rooms: &mut HashMap<RoomKey, Arc<Handle>>, handle: &Arc<Handle>) {
    if rooms.get(&handle.key).is_some_and(|known| Arc::ptr_eq(known, handle)) {
        rooms.remove(&handle.key);
    }
}

/// A connection's hold on a room.
pub(crate) struct Visit {
    rooms: Arc<Rooms>,
    pub(crate) handle: Arc<Handle>,
}

/// The room's task has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

impl Visit {
    /// Puts an input into the room's mailbox; waits while that is full.
    pub(crate) async fn send(&self, input: Input) -> Result<(), Gone> {
        self.reserve(input_bytes(&input)).await?.put(input);
        Ok(())
    }

    /// A place in the mailbox for an input of so many bytes.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Place<'_>, Gone> {
        let share = if bytes < LARGE_INPUT_BYTES {
            None
        } else {
            let share = bytes.min(MAILBOX_BYTES_MAX) as u32;
            Some(self.handle.bytes.clone().acquire_many_owned(share).await.map_err(|_| Gone)?)
        };
        let permit = self.handle.mailbox.reserve().await.map_err(|_| Gone)?;
        Ok(Place { permit, share })
    }

    /// Done when the room's task has ended.
    pub(crate) async fn closed(&self) {
        self.handle.mailbox.closed().await;
    }

    /// Why it has ended.
    pub(crate) fn end(&self) -> Closing {
        self.handle.end.get().cloned().unwrap_or(Closing::Internal)
    }

    /// Leaves without waiting, if there is a place in the mailbox.
    pub(crate) fn leave_at_once(&self, member: MemberId) {
        let _ = self.handle.mailbox.try_send(ToRoom::Input(Input::Leave(member)));
    }

    pub(crate) async fn deliver(&self, message: ToRoom) -> Result<(), Gone> {
        self.handle.mailbox.send(message).await.map_err(|_| Gone)
    }
}

/// A place in a mailbox, and its share of what large inputs may take.
pub(crate) struct Place<'a> {
    permit: mpsc::Permit<'a, ToRoom>,
    share: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Place<'_> {
    pub(crate) fn put(self, input: Input) {
        self.permit.send(match self.share {
            Some(share) => ToRoom::Large(input, share),
            None => ToRoom::Input(input),
        });
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let _table = self.rooms.lock();
        if self.handle.visitors.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.handle.vacated.notify_one();
        }
    }
}

/// What an input holds beside itself.
pub(crate) fn input_bytes(input: &Input) -> usize {
    match input {
        Input::Update { update, .. } => update.bytes().len(),
        Input::Awareness(_, bytes) => bytes.len(),
        Input::Sync(_, known) => size_of_val(known.entries()),
        _ => 0,
    }
}

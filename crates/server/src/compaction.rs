//! Makes snapshots in the background, one after the other, on a thread of its own: from what the store has, so that no room waits for it.
//!
//! Knows three kinds of rooms: documents, notebooks, and the logs of what was decided (the ledger, the accounts), which make their own. Asked by the rooms' tasks when a log has outgrown its snapshot, and by itself for quiet rooms that keep old segments of the log alive.
//! A crash at any step leaves the room as it reads before or after; which of the two is the store's business.

use crate::accounts::Accounts;
use crate::auth::Ledger;
use crate::clock::Clock;
use crate::config::Config;
use crate::loading::room_limits;
use crate::room_kind::RoomKind;
use bytes::Bytes;
use room::{Limits, Notebook, Room, Snapshot, Stored};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use store::{Position, RoomKey, Store};
use tokio::sync::oneshot;

/// How often the log is looked through for segments that nothing needs.
const TIDY_EVERY: Duration = Duration::from_secs(30);

/// The way to the background thread. The thread ends when the last of these is gone.
#[derive(Clone, Debug)]
pub(crate) struct Compactor {
    jobs: Sender<Job>,
    /// Set when the server stops: nothing is begun any more from then on.
    until: Arc<OnceLock<Instant>>,
}

/// Is told the size of the snapshot in bytes, or none when that failed.
pub(crate) type Done = Box<dyn FnOnce(Option<u64>) + Send>;

/// What makes its own snapshots.
struct Decided {
    ledger: Arc<Ledger>,
    accounts: Arc<Accounts>,
}

enum Job {
    Snapshot(RoomKey, Done),
    /// The last one: the thread ends, and says so by dropping this.
    End(oneshot::Sender<()>),
}

impl Compactor {
    /// Starts the thread.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        ledger: Arc<Ledger>,
        accounts: Arc<Accounts>,
        config: Arc<Config>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let ((jobs, inbox), until) = (channel(), Arc::new(OnceLock::new()));
        let ends = until.clone();
        std::thread::Builder::new().name("compaction".to_owned()).spawn(move || {
            let ended = work(&*store, &Decided { ledger, accounts }, &config, clock, &inbox, &ends);
            // Whoever waits for the end may open the folder again.
            drop(store);
            drop(ended);
        })?;
        Ok(Self { jobs, until })
    }

    /// Makes a snapshot of a room.
    pub(crate) fn compact(&self, room: RoomKey, done: Done) {
        if let Err(SendError(Job::Snapshot(_, done))) = self.jobs.send(Job::Snapshot(room, done)) {
            done(None);
        }
    }

    /// Makes the snapshots that were asked for, as far as they can be begun before `until`, and ends the thread. What is not made is read from the log next time.
    pub(crate) async fn finish(&self, until: Instant) {
        let (ending, ended) = oneshot::channel();
        // The first one counts.
        let _ = self.until.set(until);
        if self.jobs.send(Job::End(ending)).is_ok() {
            // An error means that it has ended; one large document may take longer than there is time.
            let _ = tokio::time::timeout_at(until.into(), ended).await;
        }
    }
}

/// Returns who waits for the end, if somebody does.
fn work(
    store: &dyn Store,
    decided: &Decided,
    config: &Config,
    clock: Clock,
    inbox: &Receiver<Job>,
    until: &OnceLock<Instant>,
) -> Option<oneshot::Sender<()>> {
    let mut next_tidy = Instant::now() + TIDY_EVERY;
    loop {
        let now = Instant::now();
        if now >= next_tidy {
            next_tidy = now + TIDY_EVERY;
            tidy(store, decided, config, clock);
        }
        match inbox.recv_timeout(next_tidy.saturating_duration_since(now)) {
            Ok(Job::Snapshot(_, done)) if until.get().is_some_and(|until| Instant::now() >= *until) => done(None),
            Ok(Job::Snapshot(room, done)) => {
                // A bug with one room must not keep all others from being compacted.
                let made = catch_unwind(AssertUnwindSafe(|| snapshot_or_log(store, config, clock, &room)));
                done(made.unwrap_or(None));
            }
            Ok(Job::End(ending)) => return Some(ending),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn tidy(store: &dyn Store, decided: &Decided, config: &Config, clock: Clock) {
    match store.tidy(clock.now_ms()) {
        Ok(rooms) => rooms.iter().for_each(|room| compact_old(store, decided, config, clock, room)),
        Err(error) => tracing::warn!(action = "store.error", %error, "cannot tidy the log; it is tried again"),
    }
}

fn compact_old(store: &dyn Store, decided: &Decided, config: &Config, clock: Clock, room: &RoomKey) {
    let own = if Ledger::is_its(room) {
        decided.ledger.compact()
    } else if Accounts::is_its(room) {
        decided.accounts.compact()
    } else {
        Ok(())
    };
    if let Err(error) = own {
        tracing::warn!(action = "store.error", %room, %error, "cannot make a snapshot; the log keeps everything");
    }
    if matches!(RoomKind::of(room), Some((RoomKind::Document | RoomKind::Notebook, _))) {
        snapshot_or_log(store, config, clock, room);
    }
}

fn snapshot_or_log(store: &dyn Store, config: &Config, clock: Clock, room: &RoomKey) -> Option<u64> {
    match snapshot(store, room, config, clock.now_ms()) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let room = crate::logging::Printable(room);
            tracing::warn!(action = "store.error", %room, error, "cannot make a snapshot; the log keeps everything");
            None
        }
    }
}

/// Replaces what a room's log holds by one snapshot, and returns its size.
pub(crate) fn snapshot(store: &dyn Store, room: &RoomKey, config: &Config, now_ms: u64) -> Result<u64, String> {
    // The room is known to the store unless it was deleted meanwhile; then the life that this begins is never written.
    let opened = store.open(room, fastrand::u64(..)).map_err(|error| error.to_string())?;
    if opened.head == opened.snapshot_offset {
        return Ok(opened.snapshot.map_or(0, |bytes| bytes.len() as u64));
    }
    let changes = crate::changes::of_opened(&opened);
    let before = opened.snapshot.as_deref();
    // Read back before the log may go: a room that cannot be opened any more would be worse than a long log.
    let unreadable = |error: String| format!("the new snapshot does not read back: {error}");
    let read_back = |snapshot: &[u8]| Stored { snapshot: Some(Bytes::copy_from_slice(snapshot)), ..Stored::default() };
    let snapshot = match RoomKind::of(room) {
        Some((RoomKind::Notebook, _)) => {
            let snapshot = Notebook::squash(before, &changes, &room_limits(&config.limits), now_ms)
                .map_err(|error| error.to_string())?;
            Notebook::load(&read_back(&snapshot), Limits::default()).map_err(|error| unreadable(error.to_string()))?;
            snapshot
        }
        _ => {
            let squashed =
                Snapshot::squash(before, &changes, config.keeps_deleted(room)).map_err(|error| error.to_string())?;
            let snapshot = squashed.encode();
            Room::load(&read_back(&snapshot), Limits::default()).map_err(|error| unreadable(error.to_string()))?;
            snapshot
        }
    };
    let at = Position { epoch: opened.epoch, offset: opened.head };
    store.replace_with_snapshot(room, at, &snapshot).map_err(|error| error.to_string())?;
    Ok(snapshot.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Anonymous, KeyFile};
    use store::backends::memory::Memory;

    #[test]
    fn tidying_leaves_what_is_no_document_as_it_is() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let ledger = Arc::new(Ledger::open(store.clone(), false).expect("opens"));
        let keys = Arc::new(KeyFile::open(std::path::Path::new("none")).expect("no file"));
        let accounts = Accounts::open(store.clone(), keys, Arc::new(Anonymous), &Config::default()).expect("opens");
        ledger.set_locked("doc/a", true, "key k", 5).expect("written");
        let decided = Decided { ledger: ledger.clone(), accounts: Arc::new(accounts) };
        for room in ["access/ledger", "access/other", "access/accounts"] {
            compact_old(&*store, &decided, &Config::default(), Clock::start(), &RoomKey::from(room));
        }
        ledger.set_deleted("doc/b", true, "key k", 5).expect("written");
        assert_eq!(store.open(&RoomKey::from("access/ledger"), 1).expect("opens").snapshot_offset, 1);
        let again = Ledger::open(store, false).expect("opens");
        assert!(again.is_locked("doc/a") && again.is_deleted("doc/b"));
    }
}

//! A store that tells what is done with it, waits when told to, and panics where asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use store::{Append, Change, Damage, Opened, Position, RoomKey, RoomSummary, Store, StoreError};
use testkit::client::{Client, PATIENCE};
use tokio::sync::watch;

/// How often something was done, by room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) opens: BTreeMap<String, usize>,
    pub(crate) appends: BTreeMap<String, usize>,
    pub(crate) snapshots: BTreeMap<String, usize>,
}

impl Counts {
    pub(crate) fn opens(&self, room: &str) -> usize {
        self.opens.get(room).copied().unwrap_or(0)
    }

    pub(crate) fn appends(&self, room: &str) -> usize {
        self.appends.get(room).copied().unwrap_or(0)
    }

    pub(crate) fn snapshots(&self, room: &str) -> usize {
        self.snapshots.get(room).copied().unwrap_or(0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Open(String),
    Append(String),
}

pub(crate) struct Spy {
    inner: Arc<dyn Store>,
    counts: watch::Sender<Counts>,
    /// The room that is not opened, or not written to, before `release`.
    held: Mutex<Option<Held>>,
    released: Condvar,
    /// Appends that contain these bytes panic.
    poison: Option<&'static [u8]>,
}

impl Spy {
    pub(crate) fn on(inner: Arc<dyn Store>) -> Self {
        let counts = watch::Sender::new(Counts::default());
        Self { inner, counts, held: Mutex::default(), released: Condvar::new(), poison: None }
    }

    pub(crate) fn panicking_at(inner: Arc<dyn Store>, poison: &'static [u8]) -> Self {
        Self { poison: Some(poison), ..Self::on(inner) }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    pub(crate) async fn until(&self, fits: impl FnMut(&Counts) -> bool) {
        let mut counts = self.counts.subscribe();
        let _ = tokio::time::timeout(PATIENCE, counts.wait_for(fits)).await.expect("the store is asked");
    }

    /// Comes by now and then, as long as it takes until the room had to be opened again.
    pub(crate) async fn until_reopened(&self, room: &str, address: SocketAddr) {
        let target = room.replacen("doc/", "/y/", 1);
        let before = self.counts().opens(room);
        let visits = async {
            // Who comes by more often keeps the room in memory.
            let mut pause = tokio::time::interval(Duration::from_millis(150));
            while self.counts().opens(room) == before {
                pause.tick().await;
                let _full_or_paused = Client::connect_with(address, &target, "").await;
            }
        };
        tokio::time::timeout(PATIENCE, visits).await.expect("the room is unloaded");
    }

    pub(crate) fn hold_open(&self, room: &str) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held::Open(room.to_owned()));
    }

    pub(crate) fn hold_append(&self, room: &str) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held::Append(room.to_owned()));
    }

    pub(crate) fn release(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.released.notify_all();
    }

    fn held(&self) -> Option<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait_while(&self, wanted: &Held) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.as_ref() == Some(wanted) {
            held = self.released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Store for Spy {
    fn open(&self, room: &RoomKey, new_epoch: u64) -> Result<Opened, StoreError> {
        self.counts.send_modify(|counts| *counts.opens.entry(room.to_string()).or_default() += 1);
        self.wait_while(&Held::Open(room.to_string()));
        self.inner.open(room, new_epoch)
    }

    fn append_all(&self, batch: &[Append<'_>]) -> Vec<Result<(), StoreError>> {
        let poisoned = |change: &Change| {
            self.poison.is_some_and(|poison| change.bytes.windows(poison.len()).any(|window| window == poison))
        };
        for Append { room, changes, .. } in batch {
            assert!(!changes.iter().any(poisoned), "the bug of this test");
            self.counts.send_modify(|counts| *counts.appends.entry(room.to_string()).or_default() += 1);
            let held = Held::Append(room.to_string());
            if self.held() == Some(held.clone()) {
                self.wait_while(&held);
            }
        }
        self.inner.append_all(batch)
    }

    fn read_since(&self, room: &RoomKey, at: Position) -> Result<Option<Vec<(u64, Change)>>, StoreError> {
        self.inner.read_since(room, at)
    }

    fn replace_with_snapshot(&self, room: &RoomKey, at: Position, snapshot: &[u8]) -> Result<(), StoreError> {
        self.inner.replace_with_snapshot(room, at, snapshot)?;
        self.counts.send_modify(|counts| *counts.snapshots.entry(room.to_string()).or_default() += 1);
        Ok(())
    }

    fn delete(&self, room: &RoomKey) -> Result<bool, StoreError> {
        self.inner.delete(room)
    }

    fn exists(&self, room: &RoomKey) -> Result<bool, StoreError> {
        self.inner.exists(room)
    }

    fn list(&self) -> Result<Vec<RoomSummary>, StoreError> {
        self.inner.list()
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.inner.flush()
    }

    fn try_writing(&self) -> Result<(), StoreError> {
        self.inner.try_writing()
    }

    fn tidy(&self, now_ms: u64) -> Result<Vec<RoomKey>, StoreError> {
        self.inner.tidy(now_ms)
    }

    fn damage(&self) -> Vec<Damage> {
        self.inner.damage()
    }
}

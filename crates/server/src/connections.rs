//! Every open socket, and what time does to it: pings, keep-alives, and the end of those that are silent or take nothing.
//!
//! One task looks at all sockets several times a second, which costs less than a timer for each. Liveness never passes through a room.
//! Knows nothing of what sockets say.

use crate::clock::Clock;
use crate::config::Config;
use crate::outbox::Outbox;
use crate::websocket::{Opcode, encode_frame, ping_frame};
use dialect::Dialect;
use room::{Author, Closing};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Slowest rate at which a socket may take what waits for it, or finish a message it has begun: 16 KiB/s is a telephone modem of 2005.
const BYTES_PER_S_MIN: u64 = 16 << 10;
/// Longest time for a message to arrive whole at a lower rate than that.
const ASSEMBLY_MS: u64 = 30_000;
/// How often the sockets are looked at, at most.
const SWEEP_MS: u64 = 500;

/// One open socket, as those see it who do not read from it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// As it stands in the log.
    pub(crate) id: String,
    /// Who it is, for the log.
    pub(crate) user: Author,
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) outbox: Outbox,
    /// When something was sent to it last, as far as the sweep has seen.
    pub(crate) liveness: Mutex<Liveness>,
    /// A pong came since the last ping.
    pub(crate) answered: AtomicBool,
    /// Its reader waits for a room, or has used up what may be read in a second: then a missing pong says nothing.
    pub(crate) paused: AtomicBool,
    /// Questions to the room that are not answered yet.
    pub(crate) unanswered: AtomicUsize,
    /// Since when a message has been incomplete, and how many bytes came since; 0: none is.
    pub(crate) incomplete_since_ms: AtomicU64,
    pub(crate) incomplete_bytes: AtomicU64,
    /// Why it ends, in words for the log. Set once.
    ended: Mutex<Option<String>>,
}

/// What the sweep remembers of a socket.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    taken_bytes: u64,
    said: u64,
    said_ms: u64,
    pinged_ms: u64,
    pinged: bool,
    slow_since_ms: Option<u64>,
    slow_from_bytes: u64,
}

impl Connection {
    pub(crate) fn new(id: String, user: Author, dialect: &'static dyn Dialect, outbox: Outbox, now_ms: u64) -> Self {
        let liveness = Liveness { said_ms: now_ms, pinged_ms: now_ms, ..Liveness::default() };
        Self {
            id,
            user,
            dialect,
            outbox,
            liveness: Mutex::new(liveness),
            answered: AtomicBool::new(true),
            paused: AtomicBool::new(false),
            unanswered: AtomicUsize::new(0),
            incomplete_since_ms: AtomicU64::new(0),
            incomplete_bytes: AtomicU64::new(0),
            ended: Mutex::default(),
        }
    }

    /// Says farewell and lets the socket's task end. The first reason counts.
    pub(crate) fn close(&self, closing: &Closing) {
        let farewell = self.dialect.farewell(closing);
        if !matches!(closing, Closing::ShuttingDown | Closing::Silent) {
            tracing::warn!(action = "ws.error", connectionId = self.id, error = farewell.reason, context = ?closing, "closing a connection");
        }
        lock(&self.ended).get_or_insert_with(|| farewell.reason.clone());
        let message = farewell.message.map(|payload| encode_frame(Opcode::Binary, &payload));
        self.outbox.end(message.into_iter().chain([crate::websocket::close_frame(farewell.code, &farewell.reason)]));
        self.outbox.flush();
    }

    /// Why it ended, when this side ended it.
    pub(crate) fn end_reason(&self) -> Option<String> {
        lock(&self.ended).clone()
    }

    /// Does what is due now.
    fn sweep(&self, now_ms: u64, config: &Config) {
        let mut liveness = lock(&self.liveness);
        liveness.taken_bytes = self.outbox.taken_bytes();
        let said = self.outbox.said();
        if said != liveness.said {
            (liveness.said, liveness.said_ms) = (said, now_ms);
        }
        if let Some(closing) = liveness.verdict(self, now_ms, config) {
            drop(liveness);
            return self.close(&closing);
        }
        let mut due = false;
        if now_ms - liveness.said_ms >= config.keep_alive_ms
            && let Some(payload) = self.dialect.keep_alive()
        {
            self.outbox.control(encode_frame(Opcode::Binary, payload));
            liveness.said_ms = now_ms;
            due = true;
        }
        if now_ms - liveness.pinged_ms >= config.ping_ms {
            (liveness.pinged_ms, liveness.pinged) = (now_ms, true);
            self.answered.store(false, Ordering::Release);
            self.outbox.control(ping_frame(&[]));
            due = true;
        }
        if due {
            drop(liveness);
            self.outbox.flush();
        }
    }
}

impl Liveness {
    /// Whether the socket has to end.
    fn verdict(&mut self, socket: &Connection, now_ms: u64, config: &Config) -> Option<Closing> {
        if self.is_too_slow(socket, now_ms, config.slow_consumer_ms) {
            return Some(Closing::SlowConsumer);
        }
        let ping_due = self.pinged && now_ms - self.pinged_ms >= config.ping_ms;
        if ping_due
            && !socket.answered.load(Ordering::Acquire)
            && !socket.paused.load(Ordering::Acquire)
            && !socket.outbox.is_stalled()
        {
            return Some(Closing::Silent);
        }
        let since = socket.incomplete_since_ms.load(Ordering::Acquire);
        let open_ms = now_ms.saturating_sub(since);
        let paused = socket.paused.load(Ordering::Acquire);
        if since > 0
            && open_ms >= ASSEMBLY_MS
            && !paused
            && socket.incomplete_bytes.load(Ordering::Acquire) < BYTES_PER_S_MIN * open_ms / 1_000
        {
            return Some(Closing::Protocol(1008, "message was not finished within 30 s".to_owned()));
        }
        None
    }

    /// Something has waited for `slow_ms`, and what was taken meanwhile is less than the slowest rate allowed.
    fn is_too_slow(&mut self, socket: &Connection, now_ms: u64, slow_ms: u64) -> bool {
        if !socket.outbox.is_stalled() {
            self.slow_since_ms = None;
            return false;
        }
        let since = *self.slow_since_ms.get_or_insert_with(|| {
            self.slow_from_bytes = self.taken_bytes;
            now_ms
        });
        if now_ms - since < slow_ms {
            return false;
        }
        let too_slow = self.taken_bytes - self.slow_from_bytes < BYTES_PER_S_MIN * slow_ms / 1_000;
        (self.slow_since_ms, self.slow_from_bytes) = (Some(now_ms), self.taken_bytes);
        too_slow
    }
}

/// All open sockets.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    /// Connections that were accepted, upgraded or not yet.
    accepted: AtomicUsize,
}

impl Connections {
    /// A place for one more connection, or none.
    pub(crate) fn admit(self: &Arc<Self>, connections_max: u64) -> Option<Accepted> {
        let before = self.accepted.fetch_add(1, Ordering::AcqRel);
        let accepted = Accepted { connections: self.clone() };
        (before < connections_max as usize).then_some(accepted)
    }

    /// Keeps a socket in sight until the returned guard goes.
    pub(crate) fn enter(self: &Arc<Self>, connection: Arc<Connection>) -> Entered {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(key, connection);
        Entered { connections: self.clone(), key }
    }

    /// Open WebSockets.
    pub(crate) fn count(&self) -> usize {
        lock(&self.open).len()
    }

    /// Looks after all sockets, for ever.
    pub(crate) async fn look_after(&self, clock: Clock, config: Arc<Config>) {
        let period =
            [config.ping_ms, config.keep_alive_ms, config.slow_consumer_ms].into_iter().min().unwrap_or(SWEEP_MS) / 4;
        let mut timer = tokio::time::interval(Duration::from_millis(period.clamp(1, SWEEP_MS)));
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            let open: Vec<_> = lock(&self.open).values().cloned().collect();
            for connection in open {
                connection.sweep(clock.now_ms(), &config);
            }
        }
    }
}

/// Counts as a connection until dropped.
#[derive(Debug)]
pub(crate) struct Accepted {
    connections: Arc<Connections>,
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.connections.accepted.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Is in the table of open sockets until dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    connections: Arc<Connections>,
    key: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

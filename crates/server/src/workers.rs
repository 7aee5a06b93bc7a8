//! The threads that serve rooms, and what they share. A room belongs to the thread that its name's hash says, with all its sockets.

use crate::auth::{Gate, Ledger};
use crate::clock::Clock;
use crate::compaction::Compactor;
use crate::config::Config;
use crate::connections::Connections;
use crate::databases::Databases;
use crate::memory::Memory;
use crate::stateless::Stateless;
use crate::worker::{Arrival, Command, INBOX, Inbox, Message, What, Whom, Worker};
use mio::{Poll, Waker};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use store::Store;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

/// What the workers share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) compactor: Compactor,
    /// Who may enter, and stay.
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) connections: Arc<Connections>,
    /// Where stateless messages go, when not to other clients.
    pub(crate) stateless: Option<Arc<Stateless>>,
    pub(crate) memory: Memory,
    /// None: nobody can come to any.
    pub(crate) databases: Option<Arc<Databases>>,
    /// Has the threads that wait for the disk.
    pub(crate) runtime: Handle,
    /// Rooms with at least one member.
    pub(crate) occupied: AtomicUsize,
    /// A flush at shutdown has failed: what was not acknowledged may not be on the disk.
    pub(crate) flush_failed: AtomicBool,
    /// Bounds of every room.
    pub(crate) room_limits: Arc<room::Limits>,
    /// Bounds of the room of every database.
    pub(crate) hub_limits: Arc<room::HubLimits>,
    serial: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        config: Arc<Config>,
        clock: Clock,
        compactor: Compactor,
        gate: Arc<dyn Gate>,
        ledger: Arc<Ledger>,
        connections: Arc<Connections>,
    ) -> Self {
        Self {
            memory: Memory::new(config.limits.memory_bytes_max),
            stateless: Stateless::of(&config).map(Arc::new),
            hub_limits: Arc::default(),
            room_limits: Arc::new(crate::loading::room_limits(&config.limits)),
            store,
            config,
            clock,
            compactor,
            gate,
            ledger,
            connections,
            databases: None,
            runtime: Handle::current(),
            occupied: AtomicUsize::new(0),
            flush_failed: AtomicBool::new(false),
            serial: AtomicU64::new(1),
        }
    }

    /// The same with room databases.
    pub(crate) fn with_databases(self, databases: Option<Arc<Databases>>) -> Self {
        Self { databases, ..self }
    }

    /// A number that no member of this process has had.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }
}

/// How long the numbers of a command are waited for; a turn takes milliseconds.
const COMMAND_MAX: Duration = Duration::from_secs(10);

/// All workers.
pub(crate) struct Workers {
    pub(crate) shared: Arc<Shared>,
    inboxes: Vec<Arc<Inbox>>,
    hasher: RandomState,
    /// Workers that have not ended.
    running: watch::Receiver<usize>,
    stopping: watch::Sender<bool>,
}

impl Workers {
    /// Starts so many threads.
    pub(crate) fn start(shared: Shared, count: usize) -> std::io::Result<Self> {
        let shared = Arc::new(shared);
        let (running, running_seen) = watch::channel(0);
        let mut inboxes = Vec::new();
        for number in 0..count {
            let poll = Poll::new()?;
            let inbox = Arc::new(Inbox::new(Waker::new(poll.registry(), INBOX)?));
            inboxes.push(inbox.clone());
            let (shared, ended) = (shared.clone(), Ended(running.clone()));
            running.send_modify(|running| *running += 1);
            std::thread::Builder::new().name(format!("rooms-{number}")).spawn(move || {
                let _ended = ended;
                let ran = catch_unwind(AssertUnwindSafe(|| Worker::new(shared, inbox, poll).run()));
                if ran.is_err() {
                    // Its rooms would hang for ever, and nobody would know; started again, everything that was written is there.
                    tracing::error!(
                        action = "server.error",
                        "a thread that serves rooms has ended by a bug; the process ends"
                    );
                    std::process::abort();
                }
            })?;
        }
        Ok(Self {
            shared,
            inboxes,
            hasher: RandomState::new(),
            running: running_seen,
            stopping: watch::Sender::new(false),
        })
    }

    /// Hands a connection to the thread of its room.
    pub(crate) fn enter(&self, arrival: Arrival) {
        self.inboxes[self.worker_of(&arrival.room)].send(Message::Arrival(Box::new(arrival)));
    }

    /// The thread of a room.
    fn worker_of(&self, key: &str) -> usize {
        self.hasher.hash_one(key) as usize % self.inboxes.len()
    }

    /// Has something done with connections, by all workers. Returns how many it concerned, when it is done.
    pub(crate) async fn command(&self, whom: Whom, what: What) -> usize {
        let (done, mut heard) = mpsc::unbounded_channel();
        let command = Command { whom, what, done };
        self.inboxes.iter().for_each(|inbox| inbox.send(Message::Command(Box::new(command.clone()))));
        drop(command);
        let mut concerned = 0;
        let counted = async {
            // Ends when each worker has told its number. One that has ended, because the server stops, tells none.
            while let Some(count) = heard.recv().await {
                concerned += count;
            }
        };
        let _ = tokio::time::timeout(COMMAND_MAX, counted).await;
        concerned
    }

    /// True from the moment on at which the server was told to stop.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Lets nobody in any more; what was accepted goes to the disk, and then everybody is told.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
        self.inboxes.iter().for_each(|inbox| inbox.send(Message::Stop));
    }

    /// Done when every worker has ended, each when its last socket is gone. Nobody enters after that.
    pub(crate) async fn finished(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.send(Message::Finish));
        let mut running = self.running.clone();
        // An error means that the last one is gone.
        let _ = running.wait_for(|running| *running == 0).await;
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.inboxes.iter().for_each(|inbox| inbox.send(Message::Abort));
    }
}

/// Tells that a worker has ended, in whatever way.
struct Ended(watch::Sender<usize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

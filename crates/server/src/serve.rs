//! A whole server: opens the store, listens, lets connections in, and stops in order.
//!
//! Shutdown: nobody new gets in (503), everything accepted goes to the disk, every socket is closed with 1001, and what is still open when the deadline
//! has passed is cut off.

use crate::auth::{Anonymous, Gate};
use crate::clock::Clock;
use crate::compaction::Compactor;
use crate::config::{Config, Durability, KeepLog};
use crate::transport::certificates::{Certificates, Renewal};
use crate::transport::listen::{ListenError, Listeners};
use crate::transport::{Door, Wire};
use crate::upgrade::Entrance;
use crate::workers::{Shared, Workers};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::backends::memory::Memory;
use store::{Store, StoreError};
use tokio::task::JoinSet;

/// A server that listens but does not serve yet.
pub struct Server {
    listeners: Listeners,
    /// Of the certificate.
    renewal: Option<Renewal>,
    entrance: Arc<Entrance>,
}

/// The store that the configuration asks for.
pub fn open_store(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    let durability = match config.durability {
        Durability::Memory => return Ok(Arc::new(Memory::default())),
        Durability::Ack | Durability::Strict => store::Durability::Synced { group_ms: config.sync_group_ms },
        Durability::Interval => store::Durability::Written { sync_ms: config.durability_interval_ms },
    };
    let rules = config.clone();
    let keep_log = move |room: &str| match rules.keeps_log(room) {
        KeepLog::None => store::KeepLog::None,
        KeepLog::Days(days) => store::KeepLog::Days(days),
        KeepLog::Forever => store::KeepLog::Forever,
    };
    let options = EmbeddedOptions {
        durability,
        segment_bytes_max: config.store.segment_bytes_max,
        log_bytes_max: config.store.log_bytes_max,
        keep_log: Box::new(keep_log),
    };
    Ok(Arc::new(Embedded::open(&config.data, options)?))
}

impl Server {
    /// Listens, with everybody let in as `anonymous`.
    pub fn bind(config: Config, store: Arc<dyn Store>) -> Result<Self, ListenError> {
        Self::bind_with(config, store, Arc::new(Anonymous))
    }

    /// Listens, with a gate of the caller's. Called within a runtime of tokio, whose blocking threads wait for the disk.
    pub fn bind_with(config: Config, store: Arc<dyn Store>, gate: Arc<dyn Gate>) -> Result<Self, ListenError> {
        let (certificates, renewal) = Certificates::open(&config.tls)?.unzip();
        let listeners = Listeners::bind(&config)?;
        let (config, clock) = (Arc::new(config), Clock::start());
        let compactor = Compactor::start(store.clone(), config.clone(), clock).map_err(ListenError::Threads)?;
        let threads = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some as usize,
        };
        let shared = Shared::new(store, config.clone(), clock, compactor);
        let workers = Workers::start(shared, threads).map_err(ListenError::Threads)?;
        let door = Door { config: config.clone(), certificates };
        let entrance = Arc::new(Entrance { workers, connections: Arc::default(), gate, config, clock, door });
        Ok(Self { listeners, renewal, entrance })
    }

    /// Where it listens; of use when the port was 0.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.address()
    }

    /// Serves until `stop` is done, then shuts down. True: everything was stored, and closed in order before the deadline.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let Self { listeners, renewal, entrance } = self;
        let (mut tasks, mut background) = (JoinSet::new(), JoinSet::new());
        if let Some(renewal) = renewal {
            background.spawn(renewal.run());
        }
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listeners.accept() => accept(&entrance, &mut tasks, accepted).await,
                Some(_) = tasks.join_next() => {}
            }
        }
        let deadline = Duration::from_millis(entrance.config.shutdown_ms);
        let in_order = tokio::time::timeout(deadline, shut_down(&entrance, &listeners, &mut tasks)).await.is_ok();
        tasks.shutdown().await;
        background.shutdown().await;
        in_order && !entrance.workers.shared.flush_failed.load(Ordering::Acquire)
    }
}

async fn accept(entrance: &Arc<Entrance>, tasks: &mut JoinSet<()>, accepted: std::io::Result<Wire>) {
    match accepted {
        Ok(wire) => {
            let entrance = entrance.clone();
            tasks.spawn(async move { entrance.serve(wire).await });
        }
        Err(error) => {
            tracing::warn!(action = "server.error", %error, "cannot accept a connection; check the limit of open files");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Refuses who comes now, and waits for the rooms to store everything and for the sockets to be gone.
async fn shut_down(entrance: &Arc<Entrance>, listeners: &Listeners, tasks: &mut JoinSet<()>) {
    entrance.workers.stop();
    let mut late = JoinSet::new();
    // Whoever is on the way in still gets there, and is told like the others.
    while !tasks.is_empty() {
        tokio::select! {
            _ = tasks.join_next() => {}
            accepted = listeners.accept() => accept(entrance, &mut late, accepted).await,
        }
    }
    let finished = entrance.workers.finished();
    tokio::pin!(finished);
    loop {
        tokio::select! {
            () = &mut finished => return,
            accepted = listeners.accept() => accept(entrance, &mut late, accepted).await,
        }
    }
}

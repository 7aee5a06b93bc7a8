//! A whole server: opens the store, listens, lets connections in, and stops in order.
//!
//! Shutdown: nobody new gets in (503), everything accepted goes to the disk, every socket is closed with 1001, and what is still open when the deadline
//! has passed is cut off.

use crate::auth::{Anonymous, Gate};
use crate::clock::Clock;
use crate::compaction::Compactor;
use crate::config::{Config, Durability, KeepLog};
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
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

/// Connections that may wait to be accepted: a thousand browsers return at once after a restart, and a shorter queue costs each of them a second.
const BACKLOG: u32 = 4_096;

/// A server that listens but does not serve yet.
pub struct Server {
    listener: TcpListener,
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
    pub fn bind(config: Config, store: Arc<dyn Store>) -> std::io::Result<Self> {
        Self::bind_with(config, store, Arc::new(Anonymous))
    }

    /// Listens, with a gate of the caller's. Called within a runtime of tokio, whose blocking threads wait for the disk.
    pub fn bind_with(config: Config, store: Arc<dyn Store>, gate: Arc<dyn Gate>) -> std::io::Result<Self> {
        let socket = if config.listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(config.listen)?;
        let listener = socket.listen(BACKLOG)?;
        let (config, clock) = (Arc::new(config), Clock::start());
        let compactor = Compactor::start(store.clone(), config.clone(), clock)?;
        let threads = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some as usize,
        };
        let workers = Workers::start(Shared::new(store, config.clone(), clock, compactor), threads)?;
        let entrance = Arc::new(Entrance { workers, connections: Arc::default(), gate, config, clock });
        Ok(Self { listener, entrance })
    }

    /// Where it listens; of use when the port was 0.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is done, then shuts down. True: everything was stored, and closed in order before the deadline.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let Self { listener, entrance } = self;
        let mut tasks = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => accept(&entrance, &mut tasks, accepted).await,
                Some(_) = tasks.join_next() => {}
            }
        }
        let deadline = Duration::from_millis(entrance.config.shutdown_ms);
        let in_order = tokio::time::timeout(deadline, shut_down(&entrance, &listener, &mut tasks)).await.is_ok();
        tasks.shutdown().await;
        in_order && !entrance.workers.shared.flush_failed.load(Ordering::Acquire)
    }
}

async fn accept(
    entrance: &Arc<Entrance>,
    tasks: &mut JoinSet<()>,
    accepted: std::io::Result<(tokio::net::TcpStream, SocketAddr)>,
) {
    match accepted {
        Ok((stream, _)) => {
            // Without it a small frame waits up to 40 ms for the answer to the one before.
            let _ = stream.set_nodelay(true);
            let entrance = entrance.clone();
            tasks.spawn(async move { entrance.serve(stream).await });
        }
        Err(error) => {
            tracing::warn!(action = "server.error", %error, "cannot accept a connection; check the limit of open files");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Refuses who comes now, and waits for the rooms to store everything and for the sockets to be gone.
async fn shut_down(entrance: &Arc<Entrance>, listener: &TcpListener, tasks: &mut JoinSet<()>) {
    entrance.workers.stop();
    let mut late = JoinSet::new();
    // Whoever is on the way in still gets there, and is told like the others.
    while !tasks.is_empty() {
        tokio::select! {
            _ = tasks.join_next() => {}
            accepted = listener.accept() => accept(entrance, &mut late, accepted).await,
        }
    }
    let finished = entrance.workers.finished();
    tokio::pin!(finished);
    loop {
        tokio::select! {
            () = &mut finished => return,
            accepted = listener.accept() => accept(entrance, &mut late, accepted).await,
        }
    }
}

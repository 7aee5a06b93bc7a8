//! A whole server: opens the store, listens, lets connections in, and stops in order.
//!
//! Shutdown: nobody new gets in (503), everything accepted goes to the disk, every socket is closed with 1001, and what is still open when the deadline
//! has passed is cut off.

use crate::accounts::{AccountError, Accounts, Withdrawn};
use crate::admin;
use crate::auth::{
    Anonymous, AuthError, Authenticator, Documents, Gate, KeyFile, LOOK_EVERY, Ledger, LedgerError, Notebooks,
};
use crate::clock::Clock;
use crate::compaction::Compactor;
use crate::config::{Config, Durability, KeepLog};
use crate::connections::Connections;
use crate::databases::Databases;
use crate::metrics::Metrics;
use crate::room_kind::RoomKind;
use crate::transport::certificates::{Certificates, Renewal};
use crate::transport::listen::{ListenError, Listeners};
use crate::transport::{Door, Wire};
use crate::trunk::Trunks;
use crate::upgrade::Entrance;
use crate::worker::{What, Whom};
use crate::workers::{Shared, Workers};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::backends::memory::Memory;
use store::{Store, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How often it is written down when keys were used, in looks at their file: once a minute.
const NOTE_USE_EVERY: u32 = 240;
/// How long snapshots are made at the end, so that rooms are opened faster next time.
const COMPACTING: Duration = Duration::from_secs(2);
/// Connections of administrators at the same time.
const ADMINISTRATORS_MAX: usize = 64;

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

/// Why the server does not start. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Where it is to listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What administrators have decided cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Accounts, sessions and rooms cannot be read.
    #[error(transparent)]
    Accounts(#[from] AccountError),
    /// Who may enter cannot be found out.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The threads that serve rooms.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
}

impl Server {
    /// Listens, with the gate that the configuration asks for. Called within a runtime of tokio, whose blocking threads wait for the disk.
    pub fn bind(config: Config, store: Arc<dyn Store>) -> Result<Self, StartError> {
        Self::start(config, store, None)
    }

    /// Listens, with a gate of the caller's.
    pub fn bind_with(config: Config, store: Arc<dyn Store>, gate: Arc<dyn Gate>) -> Result<Self, StartError> {
        Self::start(config, store, Some(gate))
    }

    fn start(config: Config, store: Arc<dyn Store>, gate: Option<Arc<dyn Gate>>) -> Result<Self, StartError> {
        let (certificates, renewal) = Certificates::open(&config.tls).map_err(ListenError::from)?.unzip();
        let listeners = Listeners::bind(&config)?;
        let ledger = Arc::new(Ledger::open(store.clone(), config.admin.ignore_damage)?);
        let key_file = Arc::new(KeyFile::open(&config.data).map_err(AuthError::from)?);
        let gate: Arc<dyn Gate> = match gate {
            Some(gate) => gate,
            None if config.auth.is_on() => Arc::new(Authenticator::new(&config, key_file.clone(), ledger.clone())?),
            None => Arc::new(Anonymous),
        };
        let connections = Arc::new(Connections::new(&config.limits, config.exempt.clone()));
        let accounts = Arc::new(Accounts::open(store.clone(), key_file.clone(), gate.clone(), &config)?);
        let (config, clock) = (Arc::new(config), Clock::start());
        let compactor = Compactor::start(store.clone(), ledger.clone(), accounts.clone(), config.clone(), clock)
            .map_err(StartError::Threads)?;
        let threads = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some as usize,
        };
        let documents = Documents::new(&config, gate.clone(), ledger.clone());
        let notebooks = Notebooks::new(&config, gate.clone(), clock);
        let databases = config.mounts.room_db.is_some().then(|| Arc::new(Databases::new(&config, accounts.clone())));
        let shared = Shared::new(store, config.clone(), clock, compactor, gate, ledger, connections.clone())
            .with_databases(databases);
        let workers = Workers::start(shared, threads).map_err(StartError::Threads)?;
        let door = Door { config: config.clone(), certificates };
        let metrics = Metrics::default();
        let entrance = Arc::new(Entrance {
            workers,
            connections,
            documents,
            notebooks,
            config,
            clock,
            door,
            key_file,
            accounts,
            metrics,
            trunks: Trunks::default(),
        });
        Ok(Self { listeners, renewal, entrance })
    }

    /// Where it listens; of use when the port was 0.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.address()
    }

    /// Where administrators are answered, if they have an address of their own.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listeners.admin_address()
    }

    /// Serves until `stop` is done, then shuts down. True: everything was stored, and closed in order before the deadline.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let Self { listeners, renewal, entrance } = self;
        tell_of_y_sweet(&entrance.config);
        let listeners = Arc::new(listeners);
        let (mut tasks, mut background) = (JoinSet::new(), JoinSet::new());
        if let Some(renewal) = renewal {
            background.spawn(renewal.run());
        }
        background.spawn(watch_keys(entrance.clone()));
        background.spawn(watch_accounts(entrance.clone()));
        background.spawn(serve_administrators(entrance.clone(), listeners.clone()));
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listeners.accept() => accept(&entrance, &mut tasks, accepted).await,
                Some(_) = tasks.join_next() => {}
            }
        }
        let deadline = Instant::now() + Duration::from_millis(entrance.config.shutdown_ms);
        let stopped = tokio::time::timeout_at(deadline.into(), shut_down(&entrance, &listeners, &mut tasks)).await;
        // Everybody is gone; what is left only makes the next opening faster.
        entrance.workers.shared.compactor.finish(deadline.min(Instant::now() + COMPACTING)).await;
        tasks.shutdown().await;
        background.shutdown().await;
        entrance.key_file.note_used();
        entrance.accounts.note_used(entrance.clock.now_ms());
        stopped.is_ok() && !entrance.workers.shared.flush_failed.load(Ordering::Acquire)
    }
}

/// What an operator may have expected of the y-sweet API, and does not get.
fn tell_of_y_sweet(config: &Config) {
    let (auth, y_sweet) = (config.auth.is_on(), &config.y_sweet);
    if config.mounts.y_sweet.is_some() && !config.serves_y_sweet() {
        tracing::info!(
            action = "y_sweet.off",
            "authentication is on and there is no y_sweet.signing_key: the y-sweet API is not served"
        );
    } else if config.serves_y_sweet() && auth && y_sweet.server_token.is_empty() {
        tracing::warn!(
            action = "y_sweet.no_backend",
            "there is no y_sweet.server_token, so nobody can make documents and tokens through the y-sweet API; set one"
        );
    } else if config.serves_y_sweet() && !auth && !y_sweet.server_token.is_empty() {
        tracing::warn!(
            action = "y_sweet.open",
            "y_sweet.server_token is not looked at while authentication is off; set y_sweet.signing_key as well"
        );
    }
}

/// Reads the API keys again when they have changed; whoever is in with one is looked at again then.
async fn watch_keys(entrance: Arc<Entrance>) {
    let mut told = None;
    for turn in 1_u32.. {
        tokio::time::sleep(LOOK_EVERY).await;
        let (noting, notes_use) = (entrance.clone(), turn.is_multiple_of(NOTE_USE_EVERY));
        let looked = tokio::task::spawn_blocking(move || {
            if notes_use {
                noting.key_file.note_used();
                noting.accounts.note_used(noting.clock.now_ms());
            }
            noting.key_file.refresh()
        });
        match looked.await {
            Ok(Ok(false)) | Err(_) => {}
            Ok(Ok(true)) => {
                told = None;
                // Also for who is on the way in.
                entrance.gate().forget_answers();
                entrance.accounts.withdraw(&Withdrawn::Keys);
                entrance.workers.command(Whom { any_key: true, ..Whom::default() }, What::Confirm).await;
            }
            Ok(Err(error)) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    tracing::error!(action = "auth.keys", error, "the keys stay as they were");
                    told = Some(error);
                }
            }
        }
    }
}

/// Whoever is connected by what the accounts have withdrawn is looked at again.
async fn watch_accounts(entrance: Arc<Entrance>) {
    let (told, mut heard) = mpsc::unbounded_channel();
    entrance.accounts.on_withdrawn(move |withdrawn| {
        // Fails when the server has stopped.
        let _ = told.send(withdrawn.clone());
    });
    while let Some(withdrawn) = heard.recv().await {
        let whom = match withdrawn {
            Withdrawn::Session(id) => Whom { session: Some(id), ..Whom::default() },
            Withdrawn::Key(id) => Whom { key: Some(id.to_string()), ..Whom::default() },
            Withdrawn::Keys => Whom { any_key: true, ..Whom::default() },
            Withdrawn::Room(id) => Whom { place: Some(RoomKind::Database.key(&id).into()), ..Whom::default() },
        };
        entrance.workers.command(whom, What::Confirm).await;
    }
}

/// Serves the address of the administrators, if there is one.
async fn serve_administrators(entrance: Arc<Entrance>, listeners: Arc<Listeners>) {
    let mut tasks = JoinSet::new();
    loop {
        let wire = match listeners.accept_administrator().await {
            Ok(wire) => wire,
            Err(error) => {
                tracing::warn!(action = "server.error", %error, "cannot accept a connection of an administrator");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        while tasks.len() >= ADMINISTRATORS_MAX {
            tasks.join_next().await;
        }
        while tasks.try_join_next().is_some() {}
        let entrance = entrance.clone();
        tasks.spawn(async move {
            let handshake = Duration::from_millis(entrance.config.handshake_ms);
            match tokio::time::timeout(handshake, entrance.door.secure(wire)).await {
                Ok(Ok(stream)) => admin::serve(entrance.clone(), stream).await,
                Ok(Err(error)) => tracing::debug!(action = "http.refused", %error, "connection of an administrator"),
                Err(_) => {}
            }
        });
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
    let finished = async {
        entrance.workers.finished().await;
        entrance.trunks.gone().await;
    };
    tokio::pin!(finished);
    loop {
        tokio::select! {
            () = &mut finished => return,
            accepted = listeners.accept() => accept(entrance, &mut late, accepted).await,
        }
    }
}

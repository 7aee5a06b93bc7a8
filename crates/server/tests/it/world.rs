//! Servers for the tests, the stores under them, and gates.

use identity::Identity;
use room::{Access, Closing};
use server::Server;
use server::auth::{Admission, Answer, Gate, Refusal, Standing};
use server::config::{Config, Limits};
use server::request::RequestHead;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::backends::memory::Memory;
use store::{Durability, Store};
use testkit::client::PATIENCE;
use testkit::disk::FaultyDisk;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A free port, and no timer that a slow machine could reach by accident.
pub(crate) fn config() -> Config {
    let mut config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() };
    (config.ping_ms, config.keep_alive_ms, config.slow_consumer_ms) = (600_000, 600_000, 600_000);
    config.handshake_ms = 60_000;
    config.limits.questions_per_s = 1_000_000;
    config
}

/// The same with a limit.
pub(crate) fn limited(limit: impl FnOnce(&mut Limits)) -> Config {
    let mut config = config();
    limit(&mut config.limits);
    config
}

/// A server that serves.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<bool>,
}

impl Running {
    pub(crate) async fn start(config: Config, store: Arc<dyn Store>) -> Self {
        Self::serve(Server::bind(config, store).expect("a free port"))
    }

    pub(crate) async fn start_with(config: Config, store: Arc<dyn Store>, gate: Arc<dyn Gate>) -> Self {
        Self::serve(Server::bind_with(config, store, gate).expect("a free port"))
    }

    pub(crate) fn serve(server: Server) -> Self {
        crate::credentials::watch_the_log();
        let (address, admin) = (server.address().expect("it listens"), server.admin_address());
        let (stop, stopped) = oneshot::channel();
        let stopped = async { stopped.await.unwrap_or(()) };
        Self { address, admin, stop: Some(stop), task: tokio::spawn(server.run(stopped)) }
    }

    /// What SIGTERM does.
    pub(crate) fn begin_stop(&mut self) {
        let _already_stopped = self.stop.take().map(|stop| stop.send(()));
    }

    /// What `run` returns in the end.
    pub(crate) async fn stopped(self) -> bool {
        tokio::time::timeout(2 * PATIENCE, self.task)
            .await
            .expect("the server stops")
            .expect("the server does not panic")
    }

    /// Stops it when `members` are gone: the server waits a while for those that do not answer its close frame.
    pub(crate) async fn stop<T>(mut self, members: T) -> bool {
        drop(members);
        self.begin_stop();
        self.stopped().await
    }
}

pub(crate) fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::default())
}

/// A store on a disk of the test, which syncs as soon as there is something.
pub(crate) fn store_on(disk: &FaultyDisk) -> Arc<Embedded> {
    store_with(disk, EmbeddedOptions { durability: Durability::Synced { group_ms: 0 }, ..EmbeddedOptions::default() })
}

pub(crate) fn store_with(disk: &FaultyDisk, options: EmbeddedOptions) -> Arc<Embedded> {
    Arc::new(Embedded::open_on(disk.shared(), options).expect("the store opens"))
}

/// Syncs are held until this goes; also when the test fails, as the runtime waits for the disk.
pub(crate) struct HeldSyncs(FaultyDisk);

impl HeldSyncs {
    pub(crate) fn of(disk: &FaultyDisk) -> Self {
        disk.hold_syncs("log/");
        Self(disk.clone())
    }
}

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        self.0.release_syncs();
    }
}

/// Waits for a blocking condition of a disk without stopping the runtime.
pub(crate) async fn on_disk(disk: &FaultyDisk, wait: impl FnOnce(&FaultyDisk) + Send + 'static) {
    let disk = disk.clone();
    let waited = tokio::task::spawn_blocking(move || wait(&disk));
    tokio::time::timeout(PATIENCE, waited).await.expect("the disk comes to it").expect("no panic");
}

/// A gate that reads the query: `user=` is who it is, `access=read`, `refuse=401|403|404`.
pub(crate) struct ByQuery;

impl ByQuery {
    fn look(head: &RequestHead) -> Result<Admission, Refusal> {
        match head.query_value("refuse").as_deref() {
            Some("401") => return Err(Refusal::Closing(Closing::Unauthorized)),
            Some("403") => return Err(Refusal::Closing(Closing::Forbidden)),
            Some("404") => return Err(Refusal::Closing(Closing::NotFound)),
            _ => {}
        }
        let access = if head.query_value("access").as_deref() == Some("read") { Access::Read } else { Access::Write };
        let author = head.query_value("user").unwrap_or_else(|| "nobody".to_owned()).into();
        Ok(Admission { author, name: None, access, trusts_all: false, standing: None })
    }
}

impl Gate for ByQuery {
    fn admit<'a>(&'a self, head: &'a RequestHead, _: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(std::future::ready(Self::look(head)))
    }

    fn confirm<'a>(&'a self, _: &'a Standing, _: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        unreachable!("who has no standing is not asked about")
    }
}

/// A gate that knows everybody by the name that `user=` in the query gives.
pub(crate) struct Known;

impl Gate for Known {
    fn admit<'a>(&'a self, head: &'a RequestHead, _: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        let user = head.query_value("user").unwrap_or_else(|| "nobody".to_owned());
        let standing = Standing::of(Identity::anonymous(user.as_str()));
        let admission = Admission {
            name: None,
            author: user.into(),
            access: Access::Write,
            trusts_all: false,
            standing: Some(Box::new(standing)),
        };
        Box::pin(std::future::ready(Ok(admission)))
    }

    fn confirm<'a>(&'a self, _: &'a Standing, _: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        unreachable!("nobody's terms run out")
    }
}

/// A folder of this test that does not exist yet, below the build's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _none_left_behind = std::fs::remove_dir_all(&folder);
    folder
}

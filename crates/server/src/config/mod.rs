//! What an operator can choose, and where it comes from: command line, then environment, then `concord.toml`, then default.
//! Everything that can be set is one row in `settings.rs`; help, environment names, keys, `config --print` and
//! docs/configuration.md are made from it. Called once at start-up. Reads no file and no environment itself: `cli` hands them in.

mod file;
mod loaded;
mod page;
mod settings;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use loaded::{ConfigError, Loaded, Source, Sources};
pub use page::settings_markdown;
pub use settings::{SETTINGS, Setting};
pub use value::{KeepLog, Secret};

use crate::address::{ForwardHeader, Trusted};
use crate::fetch::Url;
use crate::liveness::Patience;
use crate::logging::{LogFormat, LogLevel};
use crate::routes::Mounts;
use dialect::{Dialect, Expiry};
use identity::{Algorithm, ClaimNames, Permission, RoomPattern};

/// When a change counts as saved, and when others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Written before others see it, synced to the disk before it is acknowledged.
    Ack,
    /// Synced to the disk before anybody sees it.
    Strict,
    /// Acknowledged when written, synced at intervals.
    Interval,
    /// Kept until the process ends.
    Memory,
}

impl Durability {
    /// The modes by the names that operators write.
    pub const NAMED: &[(&str, Durability)] = &[
        ("ack", Durability::Ack),
        ("strict", Durability::Strict),
        ("interval", Durability::Interval),
        ("memory", Durability::Memory),
    ];
}

/// The effective configuration. Each field is a row of [`SETTINGS`], where its default and its range are.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Address and port that clients connect to.
    pub listen: SocketAddr,
    /// Folder of the store.
    pub data: PathBuf,
    /// File of the Unix socket that is served too; none: no such socket.
    pub unix_socket: Option<PathBuf>,
    /// Who may open that file, as `chmod` has it.
    pub unix_socket_mode: u32,
    /// When a change counts as saved.
    pub durability: Durability,
    /// Longest time between two syncs in mode `interval`, in milliseconds.
    pub durability_interval_ms: u64,
    /// A sync starts at most this often, in milliseconds; changes in between share the next one.
    pub sync_group_ms: u64,
    /// Threads that serve rooms; 0: one a core.
    pub workers: u64,
    /// Presence of one room is told at most this often, in milliseconds.
    pub presence_ms: u64,
    /// How long an empty room stays in memory, in milliseconds.
    pub unload_after_ms: u64,
    /// Longest wait for sockets and the store at shutdown, in milliseconds.
    pub shutdown_ms: u64,
    /// Time between two WebSocket pings, in milliseconds; a connection that missed one is dropped at the next.
    pub ping_ms: u64,
    /// Silence after which a y-websocket or hocuspocus client is sent an empty message, in milliseconds.
    pub keep_alive_ms: u64,
    /// A socket that takes no byte for so long is closed, in milliseconds.
    pub slow_consumer_ms: u64,
    /// From accepting a connection to its finished handshake, in milliseconds.
    pub handshake_ms: u64,
    /// Rooms whose deleted content is kept.
    pub keep_deleted: Vec<RoomPattern>,
    /// Rooms whose log is kept after compaction; the first pattern that matches counts.
    pub keep_log: Vec<(RoomPattern, KeepLog)>,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Certificate and key; without them the port speaks plain HTTP.
    pub tls: TlsConfig,
    /// Whose word about the addresses of clients counts.
    pub proxy: ProxyConfig,
    /// Who may enter.
    pub auth: AuthConfig,
    /// Which pages may connect.
    pub origins: OriginsConfig,
    /// Where administrators are answered.
    pub admin: AdminConfig,
    /// People who sign in with a password.
    pub accounts: AccountsConfig,
    /// Who may enter the rooms of databases.
    pub rooms: RoomsConfig,
    /// Where the dialects are mounted.
    pub mounts: Mounts,
    /// Each dialect has rooms of its own.
    pub isolate: bool,
    /// Of the WebSocket codec.
    pub websocket: WebsocketConfig,
    /// Of the y-websocket dialect.
    pub y_websocket: YWebsocketConfig,
    /// Of the hocuspocus dialect.
    pub hocuspocus: HocuspocusConfig,
    /// Of the y-sweet dialect.
    pub y_sweet: YSweetConfig,
    /// Of the json-yjs dialect.
    pub json_yjs: JsonYjsConfig,
    /// Whose documents are.
    pub drafts: DraftsConfig,
    /// Of the sessions dialect.
    pub sessions: SessionsConfig,
    /// Of the notes dialect.
    pub notes: NotesConfig,
    /// Of room databases.
    pub room_db: RoomDbConfig,
    /// Bounds on what clients may use.
    pub limits: Limits,
    /// Addresses that have no limits of their own.
    pub exempt: Trusted,
    /// Of the embedded store.
    pub store: StoreConfig,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// The least important level that is logged.
    pub level: LogLevel,
}

/// Certificate and key of the port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of the certificate and those that lead to its root.
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub key: Option<PathBuf>,
    /// How often the files are looked at, in milliseconds.
    pub reload_ms: u64,
}

/// Whose word about the addresses of clients counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Proxies, by their addresses.
    pub trusted: Trusted,
    /// The header that is read.
    pub header: ForwardHeader,
    /// Connections begin with a header of the PROXY protocol.
    pub protocol: bool,
}

/// Who may enter. Authentication is on as soon as one of `secret`, `keys_file`, `jwks_url`, `session_url` and `api_keys` is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// Everybody, without a token.
    pub anonymous: bool,
    /// Tokens are signed with it; empty: they are not.
    pub secret: Secret,
    /// How.
    pub secret_algorithm: Algorithm,
    /// A file with public keys: PEM or JSON.
    pub keys_file: Option<PathBuf>,
    /// How tokens are signed whose key is in a PEM file.
    pub keys_algorithm: Algorithm,
    /// Where the identity provider publishes its keys.
    pub jwks_url: Option<Url>,
    /// How often they are fetched, in milliseconds.
    pub jwks_refresh_ms: u64,
    /// Who may have issued a token; empty: anybody with the key.
    pub issuer: Vec<String>,
    /// For whom it must have been issued; empty: for anybody.
    pub audience: Vec<String>,
    /// By how much clocks may differ, in seconds.
    pub leeway_s: u64,
    /// A cookie that holds a token; empty: none.
    pub cookie: String,
    /// Names of the claims.
    pub claims: ClaimNames,
    /// API keys are a way in, also where there is no other.
    pub api_keys: bool,
    /// Where the application says whose session a cookie belongs to.
    pub session_url: Option<Url>,
    /// How long it counts, in milliseconds, when the answer does not say.
    pub session_ms: u64,
    /// Where the application says what somebody may do in a room.
    pub permission_url: Option<Url>,
    /// Those questions are signed with it.
    pub webhook_secret: Secret,
    /// How long the application and the identity provider may take to answer, in milliseconds.
    pub time_out_ms: u64,
    /// Documents have tokens of their own (`y_sweet.signing_key`).
    pub has_document_keys: bool,
    /// Other machines may be asked without TLS.
    pub insecure_http: bool,
    /// What rooms allow to people whose credential does not say; the first pattern that matches counts.
    pub rooms: Vec<(RoomPattern, Permission)>,
}

impl Config {
    /// How often the sockets of a dialect are pinged, and how long they may be silent.
    pub(crate) fn patience(&self, dialect: &str) -> Patience {
        let usual = Patience { ping_ms: self.ping_ms, silence_ms: None, inactive_ms: None };
        match dialect {
            "y-sweet" => {
                Patience { ping_ms: self.y_sweet.ping_ms, silence_ms: Some(self.y_sweet.silence_ms), inactive_ms: None }
            }
            "json-yjs" => Patience {
                ping_ms: self.json_yjs.ping_ms,
                silence_ms: Some(self.json_yjs.silence_ms),
                inactive_ms: None,
            },
            "sessions" => Patience {
                ping_ms: self.sessions.ping_ms,
                silence_ms: Some(self.sessions.silence_ms),
                inactive_ms: Some(self.sessions.inactive_ms),
            },
            "notes" => {
                Patience { ping_ms: self.notes.ping_ms, silence_ms: Some(self.notes.silence_ms), inactive_ms: None }
            }
            "room-db" => {
                Patience { ping_ms: self.room_db.ping_ms, silence_ms: Some(self.room_db.silence_ms), inactive_ms: None }
            }
            _ => usual,
        }
    }

    /// Whether the y-sweet API is there: without keys of its own it would be a way around authentication.
    pub(crate) fn serves_y_sweet(&self) -> bool {
        self.mounts.y_sweet.is_some() && (!self.auth.is_on() || !self.y_sweet.signing_key.is_empty())
    }

    /// What is served where, in one line for the log.
    pub fn mounts_listed(&self) -> String {
        let off = |dialect: &str| dialect == "y-sweet" && !self.serves_y_sweet();
        let rows = self.mounts.listed().into_iter().filter(|(dialect, _)| !off(dialect));
        rows.map(|(dialect, path)| format!("{dialect} {path}")).collect::<Vec<_>>().join(", ")
    }

    /// What becomes of a dialect's connection whose token runs out.
    pub(crate) fn expiry(&self, dialect: &dyn Dialect) -> Expiry {
        match dialect.name() {
            "y-sweet" if self.y_sweet.end_with_token => Expiry::Ends,
            "json-yjs" if self.json_yjs.end_with_token => Expiry::Ends,
            "notes" if self.notes.end_with_token => Expiry::Ends,
            _ => dialect.expiry(),
        }
    }

    /// A room as the clients of a dialect call it, from its key in the store.
    pub(crate) fn room_of<'k>(&self, key: &'k str, dialect: &str) -> &'k str {
        let name = name_of(key);
        match self.isolate {
            true => name.strip_prefix(dialect).and_then(|name| name.strip_prefix('/')).unwrap_or(name),
            false => name,
        }
    }

    /// A room as the rules about rooms call it.
    pub(crate) fn room_named(&self, name: &str, dialect: &str) -> String {
        if self.isolate { format!("{dialect}/{name}") } else { name.to_owned() }
    }

    /// The shortest time after which something may have to be done for a socket.
    pub(crate) fn shortest_wait_ms(&self) -> u64 {
        let all = dialect::ALL.iter().map(|dialect| self.patience(dialect.name()));
        let patience = all.flat_map(|patience| [Some(patience.ping_ms), patience.silence_ms, patience.inactive_ms]);
        let others = [self.keep_alive_ms, self.slow_consumer_ms];
        patience.flatten().chain(others).min().unwrap_or(self.ping_ms)
    }
}

impl AuthConfig {
    /// Nobody enters without a credential.
    pub fn is_on(&self) -> bool {
        !self.secret.is_empty()
            || self.keys_file.is_some()
            || self.jwks_url.is_some()
            || self.session_url.is_some()
            || self.api_keys
            || self.has_document_keys
    }

    /// What tokens must keep to.
    pub fn rules(&self) -> identity::Rules {
        let listed = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        identity::Rules {
            leeway_s: self.leeway_s,
            audience: listed(&self.audience),
            issuer: listed(&self.issuer),
            claims: self.claims.clone(),
        }
    }
}

/// Where administrators are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminConfig {
    /// An address of their own.
    pub listen: Option<SocketAddr>,
    /// Also where clients connect.
    pub public: bool,
    /// Starts although decisions of administrators are lost.
    pub ignore_damage: bool,
}

/// People who sign in with a password, and the HTTP API of their console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountsConfig {
    /// It is served.
    pub enabled: bool,
    /// Who may make an account.
    pub sign_up: SignUp,
    /// How long a session lasts, in seconds.
    pub session_s: u64,
    /// Requests from one address in a minute.
    pub requests_per_minute: u64,
    /// Accounts made from one address in an hour.
    pub sign_ups_per_hour: u64,
    /// Accounts in all.
    pub users_max: u64,
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignUp {
    /// Whoever comes, unless authentication is on: then others say who somebody is.
    #[default]
    Auto,
    /// Whoever comes.
    Open,
    /// Administrators, for others.
    Closed,
}

impl SignUp {
    /// By the names that operators write.
    pub const NAMED: &[(&str, SignUp)] = &[("auto", SignUp::Auto), ("open", SignUp::Open), ("closed", SignUp::Closed)];
}

/// Who may enter the rooms of databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoomsConfig {
    /// Everybody who is known, or whom the owner has let in.
    pub access: RoomAccess,
    /// Rooms that one user may have; 0: any number.
    pub per_user_max: u64,
}

/// Who may enter a room of a database that is somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoomAccess {
    /// Everybody who is known.
    #[default]
    Open,
    /// Its owner, and those who have a permission in it.
    Owner,
}

impl RoomAccess {
    /// By the names that operators write.
    pub const NAMED: &[(&str, RoomAccess)] = &[("open", RoomAccess::Open), ("owner", RoomAccess::Owner)];
}

/// Which pages may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginsConfig {
    /// Values of the header `Origin` in lower case; `*` alone for all.
    pub allowed: Vec<String>,
}

/// Of the WebSocket codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebsocketConfig {
    /// Clients that offer compression get it.
    pub deflate: bool,
    /// Messages under this size are sent to them as they are.
    pub deflate_bytes_min: u64,
}

/// Of the y-websocket dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct YWebsocketConfig {
    /// A sender gets its own updates back once they are saved.
    pub echo: bool,
}

/// Of the hocuspocus dialect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HocuspocusConfig {
    /// Where stateless messages go; none: to the other clients of the document.
    pub stateless_url: Option<Url>,
    /// How long a socket may be without an accepted document, in milliseconds.
    pub lobby_ms: u64,
    /// How long before its token runs out a client is asked for another, in milliseconds.
    pub token_ask_ms: u64,
    /// How long after that its document is closed without one, in milliseconds.
    pub token_grace_ms: u64,
}

/// Of the y-sweet dialect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct YSweetConfig {
    /// What an application's backend shows. Empty: with authentication on nobody is the backend. Not looked at while authentication is off.
    pub server_token: Secret,
    /// Document tokens are signed with it; empty: there are none.
    pub signing_key: Secret,
    /// The address that clients are given, such as `https://collab.example.com`; empty: the one that was asked.
    pub url_prefix: String,
    /// Time between two WebSocket pings, in milliseconds.
    pub ping_ms: u64,
    /// A connection of which nothing is heard for so long is dropped, in milliseconds.
    pub silence_ms: u64,
    /// A connection ends with its token.
    pub end_with_token: bool,
    /// Errors say only a status.
    pub production: bool,
}

/// Of the json-yjs dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JsonYjsConfig {
    /// Time between two WebSocket pings, in milliseconds.
    pub ping_ms: u64,
    /// A connection of which nothing is heard for so long is dropped, in milliseconds.
    pub silence_ms: u64,
    /// Updates that one connection may send in a second; 0: any number.
    pub updates_per_s: u64,
    /// A connection ends with its token.
    pub end_with_token: bool,
}

/// Whose documents are that json-yjs clients come for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DraftsConfig {
    /// Who comes for one that does not exist makes it, and owns it.
    pub auto_create: bool,
    /// Who comes for one that exists and is nobody's owns it.
    pub claim_existing: bool,
}

/// Of the sessions dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionsConfig {
    /// Time between two WebSocket pings, in milliseconds.
    pub ping_ms: u64,
    /// A connection of which nothing is heard for so long is dropped, in milliseconds.
    pub silence_ms: u64,
    /// The same, with a close code.
    pub inactive_ms: u64,
}

/// Of the notes dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NotesConfig {
    /// Time between two WebSocket pings, in milliseconds.
    pub ping_ms: u64,
    /// A connection of which nothing is heard for so long is dropped, in milliseconds.
    pub silence_ms: u64,
    /// A connection ends with its token.
    pub end_with_token: bool,
}

/// Of room databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoomDbConfig {
    /// Time between two WebSocket pings, in milliseconds.
    pub ping_ms: u64,
    /// A connection of which nothing is heard for so long is dropped, in milliseconds.
    pub silence_ms: u64,
    /// Databases whose files are open at the same time.
    pub open_max: u64,
    /// Of one database, in bytes.
    pub room_bytes_max: u64,
    /// A query is cut off after so long, in milliseconds.
    pub query_ms_max: u64,
}

/// Bounds on what clients may use. Bytes, connections, or bytes per second, as the names say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Of one WebSocket message.
    pub frame_bytes_max: u64,
    /// Of one document update.
    pub update_bytes_max: u64,
    /// Of one document.
    pub room_bytes_max: u64,
    /// Of updates in one room that wait for others to arrive.
    pub parked_bytes_max: u64,
    /// Connections of the whole server.
    pub connections_max: u64,
    /// Connections of one room.
    pub room_connections_max: u64,
    /// What is read from one socket.
    pub bytes_per_s: u64,
    /// Of frames that one room keeps for members that are behind.
    pub ring_bytes_max: u64,
    /// Of frames for one socket alone; with more unsent, the socket is not read.
    pub private_bytes_max: u64,
    /// Connections from one address.
    pub address_connections_max: u64,
    /// First requests from one address in a second.
    pub handshakes_per_s: u64,
    /// First requests that may come at once from an address that was quiet.
    pub handshakes_at_once_max: u64,
    /// Connections of one user.
    pub user_connections_max: u64,
    /// Messages, and fragments of them, that are read from one socket in a second.
    pub messages_per_s: u64,
    /// Bytes that are read from all sockets of one user in a second.
    pub user_bytes_per_s: u64,
    /// Messages, and fragments of them, that are read from all sockets of one user in a second.
    pub user_messages_per_s: u64,
    /// Questions (step 1s and the like) of one socket that are answered in a second.
    pub questions_per_s: u64,
    /// Rooms that one user may make in an hour.
    pub user_rooms_per_h: u64,
    /// Of all rooms and sockets together; 0: as the machine has it.
    pub memory_bytes_max: u64,
    /// How long a message may take to arrive whole, in milliseconds, unless it comes fast.
    pub message_ms: u64,
}

/// Of the embedded store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreConfig {
    /// Of one file of the log.
    pub segment_bytes_max: u64,
    /// Of the whole log, above which rooms are compacted although they are small.
    pub log_bytes_max: u64,
    /// Of a room's log, below which it is not worth a snapshot.
    pub compact_bytes_min: u64,
}

impl Config {
    /// Rules that concern more than one setting, for a process that is about to listen.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err(ConfigError::HalfTls);
        }
        if self.proxy.protocol && self.proxy.trusted.is_empty() {
            return Err(ConfigError::NobodyTrusted);
        }
        let auth = &self.auth;
        let loopback = self.listen.ip().to_canonical().is_loopback();
        if !loopback && !auth.anonymous && !auth.is_on() {
            return Err(ConfigError::OpenToAll { listen: self.listen });
        }
        if auth.anonymous && auth.is_on() {
            return Err(ConfigError::Contradiction(
                "auth.anonymous lets everybody in, and another setting of auth asks for credentials; \
                 switch auth.anonymous off, or remove the others",
            ));
        }
        if auth.permission_url.is_some() && auth.webhook_secret.is_empty() {
            return Err(ConfigError::Contradiction(
                "auth.permission_url needs auth.webhook_secret, with which its questions are signed; \
                 make one with: openssl rand -base64 32",
            ));
        }
        if auth.permission_url.is_some() && !auth.is_on() {
            return Err(ConfigError::Contradiction(
                "auth.permission_url asks about identities, and nothing says who somebody is; \
                 set auth.secret, auth.keys_file, auth.jwks_url or auth.session_url too",
            ));
        }
        if self.hocuspocus.stateless_url.is_some() && auth.webhook_secret.is_empty() {
            return Err(ConfigError::Contradiction(
                "hocuspocus.stateless_url needs auth.webhook_secret, with which its messages are signed; \
                 make one with: openssl rand -base64 32",
            ));
        }
        let urls = [&auth.jwks_url, &auth.session_url, &auth.permission_url, &self.hocuspocus.stateless_url];
        if !auth.insecure_http && urls.into_iter().flatten().any(Url::is_exposed) {
            return Err(ConfigError::Contradiction(
                "auth.jwks_url, auth.session_url, auth.permission_url and hocuspocus.stateless_url must begin with https:// unless they are on this \
                 machine, because whoever is between could let himself in; auth.insecure_http = true allows it",
            ));
        }
        Ok(())
    }

    /// True for rooms whose deleted content is kept.
    pub fn keeps_deleted(&self, room: &str) -> bool {
        let room = name_of(room);
        self.keep_deleted.iter().any(|pattern| pattern.matches(room))
    }

    /// How long a room's log is kept after compaction.
    pub fn keeps_log(&self, room: &str) -> KeepLog {
        let room = name_of(room);
        let first = self.keep_log.iter().find(|(pattern, _)| pattern.matches(room));
        first.map_or(KeepLog::None, |(_, keep)| *keep)
    }

    /// A frame for the defaults, all of which come from the table.
    fn unset() -> Config {
        Config {
            listen: SocketAddr::from(([0; 4], 0)),
            data: PathBuf::new(),
            unix_socket: None,
            unix_socket_mode: 0,
            durability: Durability::Ack,
            durability_interval_ms: 0,
            sync_group_ms: 0,
            workers: 0,
            presence_ms: 0,
            unload_after_ms: 0,
            shutdown_ms: 0,
            ping_ms: 0,
            keep_alive_ms: 0,
            slow_consumer_ms: 0,
            handshake_ms: 0,
            keep_deleted: Vec::new(),
            keep_log: Vec::new(),
            log: LogConfig { format: LogFormat::Auto, level: LogLevel::Info },
            tls: TlsConfig::default(),
            proxy: ProxyConfig { trusted: Trusted::default(), header: ForwardHeader::XForwardedFor, protocol: false },
            auth: AuthConfig {
                anonymous: false,
                secret: Secret::default(),
                secret_algorithm: Algorithm::HS256,
                keys_file: None,
                keys_algorithm: Algorithm::RS256,
                jwks_url: None,
                jwks_refresh_ms: 0,
                issuer: Vec::new(),
                audience: Vec::new(),
                leeway_s: 0,
                cookie: String::new(),
                claims: ClaimNames::default(),
                api_keys: false,
                has_document_keys: false,
                session_url: None,
                session_ms: 0,
                permission_url: None,
                webhook_secret: Secret::default(),
                time_out_ms: 0,
                insecure_http: false,
                rooms: Vec::new(),
            },
            origins: OriginsConfig { allowed: Vec::new() },
            admin: AdminConfig { listen: None, public: false, ignore_damage: false },
            accounts: AccountsConfig::default(),
            rooms: RoomsConfig::default(),
            mounts: Mounts::nowhere(),
            websocket: WebsocketConfig { deflate: false, deflate_bytes_min: 0 },
            y_websocket: YWebsocketConfig { echo: false },
            hocuspocus: HocuspocusConfig::default(),
            y_sweet: YSweetConfig::default(),
            json_yjs: JsonYjsConfig::default(),
            notes: NotesConfig::default(),
            room_db: RoomDbConfig::default(),
            drafts: DraftsConfig::default(),
            sessions: SessionsConfig::default(),
            isolate: false,
            limits: Limits::default(),
            exempt: Trusted::default(),
            store: StoreConfig::default(),
        }
    }
}

/// A document's name, which is what patterns are about, from its key in the store.
fn name_of(key: &str) -> &str {
    crate::room_kind::rules_name(key)
}

impl Default for Config {
    fn default() -> Self {
        Loaded::from_sources(&Sources::default()).expect("the table's defaults are within their own ranges").config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_table() {
        let config = Config::default();
        assert_eq!(config.listen.to_string(), "127.0.0.1:1234");
        assert_eq!((config.durability, config.limits.frame_bytes_max), (Durability::Ack, 16 << 20));
        assert_eq!((config.mounts, config.y_websocket.echo), (Mounts::default(), true));
        assert_eq!(config.origins.allowed, ["*"]);
        assert_eq!(config.limits.bytes_per_s, 64 << 20);
        assert_eq!((config.store.log_bytes_max, config.store.compact_bytes_min), (1 << 30, 64 << 10));
    }

    #[test]
    fn what_belongs_together_is_set_together() {
        let mut config = Config::default();
        config.tls.key = Some("k".into());
        assert!(config.check().is_err_and(|error| error.to_string().contains("tls.certificate and tls.key")));
        config.tls.certificate = Some("c".into());
        assert!(config.check().is_ok());
        config.proxy.protocol = true;
        assert!(config.check().is_err_and(|error| error.to_string().contains("proxy.trusted")));
        config.proxy.trusted = Trusted::parse(&["unix".to_owned()]).expect("a word");
        assert!(config.check().is_ok());
    }

    #[test]
    fn patterns_are_about_the_names_that_clients_use() {
        let file = "keep_deleted = [\"legal/*\"]\nkeep_log = [\"legal/*=forever\"]\n".to_owned();
        let sources = Sources { file: Some(("concord.toml".to_owned(), file)), ..Sources::default() };
        let config = Loaded::from_sources(&sources).expect("legal").config;
        for (key, kept) in [("doc/legal/7", true), ("doc/other", false), ("doc/doc/legal/7", false)] {
            assert_eq!(config.keeps_deleted(key), kept, "{key}");
            assert_eq!(config.keeps_log(key), if kept { KeepLog::Forever } else { KeepLog::None }, "{key}");
        }
    }

    #[test]
    fn only_loopback_is_served_without_authentication() {
        let cases = [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
        ];
        for (listen, allowed) in cases {
            let mut config = Config { listen: listen.parse().expect("an address"), ..Config::default() };
            let checked = config.check();
            assert_eq!(checked.is_ok(), allowed, "{listen}");
            if let Err(error) = checked {
                let text = error.to_string();
                assert!(text.contains(listen) && text.contains("--listen 127.0.0.1:1") && text.contains("--anonymous"));
            }
            config.auth.anonymous = true;
            assert!(config.check().is_ok(), "{listen}");
        }
    }
}

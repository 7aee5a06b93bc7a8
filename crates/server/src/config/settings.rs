//! The table of everything that can be set. Read by whatever turns it into options, variables, keys, or documentation. A setting
//! is added by adding its row here and its field in [`Config`]; nothing else knows it.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::value::{KeepLog, Kind, Secret, choose};
use super::{Config, Durability, RoomAccess, SignUp};
use crate::address::{ForwardHeader, Trusted};
use crate::fetch::Url;
use crate::logging::{LogFormat, LogLevel};
use identity::{Algorithm, Permission, RoomPattern};

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    /// In `concord.toml`, with the section before the dot.
    pub key: &'static str,
    /// As it would be written in the environment.
    pub default: &'static str,
    /// One line for people.
    pub doc: &'static str,
    /// The long option on the command line, if there is one.
    pub flag: Option<&'static str>,
    /// What help calls the option's value.
    pub value_name: &'static str,
    /// Never printed.
    pub secret: bool,
    pub(super) kind: Kind,
}

impl Setting {
    const fn new(key: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
        Setting { key, default, doc, flag: None, value_name: "", secret: false, kind }
    }

    const fn flag(self, flag: &'static str, value_name: &'static str) -> Setting {
        Setting { flag: Some(flag), value_name, ..self }
    }

    const fn secret(self) -> Setting {
        Setting { secret: true, ..self }
    }

    /// The variable that sets it: `CONCORD_LIMITS_FRAME_BYTES_MAX` for `limits.frame_bytes_max`.
    pub fn environment(&self) -> String {
        format!("CONCORD_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// The part of the key before the dot; empty for keys without a section.
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// What its value may be, in words.
    pub fn allowed(&self) -> String {
        self.kind.allowed()
    }

    /// True for an option without a value, which means `true`.
    pub fn is_switch(&self) -> bool {
        matches!(self.kind, Kind::Bool(_))
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const fn ms(field: fn(&mut Config) -> &mut u64, min: u64, max: u64) -> Kind {
    Kind::Number { field, min, max, unit: ", in milliseconds" }
}

const fn connections(field: fn(&mut Config) -> &mut u64) -> Kind {
    Kind::Number { field, min: 1, max: 10_000_000, unit: "" }
}

const fn size(field: fn(&mut Config) -> &mut u64, min: u64, max: u64) -> Kind {
    Kind::Size { field, min, max }
}

const DURABILITY: Kind = Kind::Choice {
    names: || names(Durability::NAMED),
    set: |config, name| choose(Durability::NAMED, name).map(|mode| config.durability = mode),
};
const LOG_FORMAT: Kind = Kind::Choice {
    names: || names(LogFormat::NAMED),
    set: |config, name| choose(LogFormat::NAMED, name).map(|format| config.log.format = format),
};
const LOG_LEVEL: Kind = Kind::Choice {
    names: || names(LogLevel::NAMED),
    set: |config, name| choose(LogLevel::NAMED, name).map(|level| config.log.level = level),
};
const LISTEN: Kind = Kind::Text {
    allowed: "an IP address and a port, such as 127.0.0.1:1234 or [::1]:1234",
    set: |config, text| text.parse::<SocketAddr>().ok().map(|listen| config.listen = listen),
};
const DATA: Kind = Kind::Text {
    allowed: "the path of a folder",
    set: |config, text| (!text.is_empty()).then(|| config.data = text.into()),
};
const UNIX_SOCKET: Kind = Kind::Text {
    allowed: "the path of a file; or empty for off",
    set: |config, text| {
        config.unix_socket = path_or_none(text);
        Some(())
    },
};
const UNIX_SOCKET_MODE: Kind = Kind::Text {
    allowed: "an octal mode as text, such as \"0600\" (its owner) or \"0660\" (its group too)",
    set: |config, text| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
        mode.map(|mode| config.unix_socket_mode = mode)
    },
};
const TLS_CERTIFICATE: Kind = Kind::Text {
    allowed: "the path of a PEM file; or empty for off",
    set: |config, text| {
        config.tls.certificate = path_or_none(text);
        Some(())
    },
};
const TLS_KEY: Kind = Kind::Text {
    allowed: "the path of a PEM file; or empty for off",
    set: |config, text| {
        config.tls.key = path_or_none(text);
        Some(())
    },
};
const PROXY_TRUSTED: Kind = Kind::List {
    allowed: "IP addresses, networks such as \"10.0.0.0/8\" or \"fd00::/8\", and the word \"unix\"",
    set: |config, items| Trusted::parse(items).map(|trusted| config.proxy.trusted = trusted),
};
const EXEMPT: Kind = Kind::List {
    allowed: "IP addresses, networks such as 10.0.0.0/8, or the word unix",
    set: |config, items| Trusted::parse(items).map(|exempt| config.exempt = exempt),
};
const PROXY_HEADER: Kind = Kind::Choice {
    names: || names(ForwardHeader::NAMED),
    set: |config, name| choose(ForwardHeader::NAMED, name).map(|header| config.proxy.header = header),
};
const MOUNT_Y_WEBSOCKET: Kind =
    mount(|config, text| set_mount(text, &[]).map(|mount| config.mounts.y_websocket = mount));
const MOUNT_HOCUSPOCUS: Kind = mount(|config, text| set_mount(text, &[]).map(|mount| config.mounts.hocuspocus = mount));
const MOUNT_JSON_YJS: Kind =
    mount(|config, text| set_mount(text, &["/ws"]).map(|mount| config.mounts.json_yjs = mount));
const MOUNT_SESSIONS: Kind =
    mount(|config, text| set_mount(text, &["/ws/document"]).map(|mount| config.mounts.sessions = mount));
const MOUNT_NOTES: Kind = mount(|config, text| set_mount(text, &[]).map(|mount| config.mounts.notes = mount));
const MOUNT_ROOM_DB: Kind = Kind::Text {
    allowed: "/, or a path such as /console, without a slash at the end and not below /ws or /_concord; or empty for off",
    set: |config, text| {
        let mount = if text == "/" { Some(String::new()) } else { set_mount(text, &[])? };
        config.mounts.room_db = mount;
        Some(())
    },
};
const MOUNT_Y_SWEET: Kind = Kind::Text {
    allowed: "/, or a path such as /y-sweet, without a slash at the end and not below /ws or /_concord; or empty for off",
    set: |config, text| {
        let mount = if text == "/" { Some(String::new()) } else { set_mount(text, &[])? };
        config.mounts.y_sweet = mount;
        Some(())
    },
};
const SERVER_TOKEN: Kind = Kind::Text {
    allowed: "empty, or at least 16 bytes of text",
    set: |config, text| (text.is_empty() || text.len() >= 16).then(|| config.y_sweet.server_token = Secret::new(text)),
};
const SIGNING_KEY: Kind = Kind::Text {
    allowed: "empty, or at least 32 bytes of text",
    set: |config, text| {
        config.y_sweet.signing_key = set_secret(text)?;
        config.auth.has_document_keys = !text.is_empty();
        Some(())
    },
};
const URL_PREFIX: Kind = Kind::Text {
    allowed: "empty, or an address that begins with https:// or http://, without a query",
    set: |config, text| {
        let legal = text.is_empty() || text.starts_with("https://") || text.starts_with("http://");
        (legal && !text.contains(['?', '#', ' ']))
            .then(|| config.y_sweet.url_prefix = text.trim_end_matches('/').to_owned())
    },
};
const ORIGINS: Kind = Kind::List {
    allowed: "\"*\", or origins as browsers send them, such as \"https://app.example\", without a path; \"https://*.app.example\" for subdomains; \"null\" for pages without an origin",
    set: set_origins,
};
const SECRET: Kind = Kind::Text {
    allowed: "empty, or at least 32 bytes of text",
    set: |config, text| set_secret(text).map(|secret| config.auth.secret = secret),
};
const WEBHOOK_SECRET: Kind = Kind::Text {
    allowed: "empty, or at least 32 bytes of text",
    set: |config, text| set_secret(text).map(|secret| config.auth.webhook_secret = secret),
};
const SECRET_ALGORITHM: Kind = Kind::Choice {
    names: || vec!["HS256", "HS384", "HS512"],
    set: |config, name| {
        Algorithm::parse(name)
            .filter(|_| name.starts_with("HS"))
            .map(|algorithm| config.auth.secret_algorithm = algorithm)
    },
};
const KEYS_ALGORITHM: Kind = Kind::Choice {
    names: || vec!["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"],
    set: |config, name| {
        Algorithm::parse(name)
            .filter(|_| !name.starts_with("HS"))
            .map(|algorithm| config.auth.keys_algorithm = algorithm)
    },
};
const KEYS_FILE: Kind = Kind::Text {
    allowed: "empty, or the path of a file",
    set: |config, text| {
        config.auth.keys_file = (!text.is_empty()).then(|| text.into());
        Some(())
    },
};
const COOKIE: Kind = Kind::Text {
    allowed: "empty, or the name of a cookie",
    set: |config, text| {
        let legal = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"=;,\"".contains(&byte));
        legal.then(|| config.auth.cookie = text.to_owned())
    },
};
const USER_CLAIMS: Kind = Kind::List {
    allowed: "names of claims, the first that is there counts",
    set: |config, items| claims(items).map(|names| config.auth.claims.user = names),
};
const NAME_CLAIMS: Kind = Kind::List {
    allowed: "names of claims, the first that is not empty counts",
    set: |config, items| claims(items).map(|names| config.auth.claims.name = names),
};
const ROOM_RULES: Kind = Kind::List {
    allowed: "PATTERN=write, PATTERN=read or PATTERN=none, with a * only at the pattern's end",
    set: |config, items| {
        let rules: Option<Vec<(RoomPattern, Permission)>> = items.iter().map(|item| room_rule(item)).collect();
        rules.map(|rules| config.auth.rooms = rules)
    },
};
const ROOM_ACCESS: Kind = Kind::Choice {
    names: || names(RoomAccess::NAMED),
    set: |config, name| choose(RoomAccess::NAMED, name).map(|access| config.rooms.access = access),
};
const SIGN_UP: Kind = Kind::Choice {
    names: || names(SignUp::NAMED),
    set: |config, name| choose(SignUp::NAMED, name).map(|sign_up| config.accounts.sign_up = sign_up),
};
const ADMIN_LISTEN: Kind = Kind::Text {
    allowed: "empty for off, or an IP address and a port, such as 127.0.0.1:1235",
    set: |config, text| {
        config.admin.listen = if text.is_empty() { None } else { Some(text.parse().ok()?) };
        Some(())
    },
};

const fn mount(set: fn(&mut Config, &str) -> Option<()>) -> Kind {
    Kind::Text {
        allowed: "a path such as /y, without a slash at the end and not below /ws or /_concord; or empty for off",
        set,
    }
}

const fn text_list(field: fn(&mut Config) -> &mut Vec<String>) -> Kind {
    Kind::Texts { field, allowed: "a list of texts" }
}

fn claims(names: &[String]) -> Option<Vec<String>> {
    (!names.is_empty() && names.iter().all(|name| !name.is_empty())).then(|| names.to_vec())
}

const fn claim(field: fn(&mut Config) -> &mut String) -> Kind {
    Kind::Name { field, allowed: "the name of a claim" }
}

const fn url(field: fn(&mut Config) -> &mut Option<Url>) -> Kind {
    Kind::Address {
        field,
        allowed: "empty, or an address that begins with https:// (http:// on this machine), without a user name",
    }
}

const fn number(field: fn(&mut Config) -> &mut u64, min: u64, max: u64, unit: &'static str) -> Kind {
    Kind::Number { field, min, max, unit }
}
const KEEP_DELETED: Kind = Kind::List {
    allowed: "room names, with a * only at the end, such as \"legal/*\"",
    set: |config, items| {
        let patterns: Option<Vec<RoomPattern>> = items.iter().map(|item| RoomPattern::parse(item)).collect();
        patterns.map(|patterns| config.keep_deleted = patterns)
    },
};
const KEEP_LOG: Kind = Kind::List {
    allowed: "PATTERN=none, PATTERN=30d (days) or PATTERN=forever, with a * only at the pattern's end",
    set: |config, items| {
        let rules: Option<Vec<(RoomPattern, KeepLog)>> = items.iter().map(|item| keep_log_rule(item)).collect();
        rules.map(|rules| config.keep_log = rules)
    },
};

/// Everything that can be set; keys without a section first, as TOML wants them.
#[rustfmt::skip]
pub static SETTINGS: &[Setting] = &[
    Setting::new("listen", LISTEN, "127.0.0.1:1234", "Address and port that clients connect to.").flag("listen", "ADDRESS"),
    Setting::new("data", DATA, "./concord-data", "Folder in which documents are stored.").flag("data", "FOLDER"),
    Setting::new("unix_socket", UNIX_SOCKET, "", "A Unix socket that is served too. The file of a dead server is replaced, and it goes with the server."),
    Setting::new("unix_socket_mode", UNIX_SOCKET_MODE, "0600", "Who may connect to the Unix socket: the mode of its file."),
    Setting::new("durability", DURABILITY, "ack", "When a change counts as saved: `ack` on disk before it is acknowledged, `strict` on disk before anybody sees it, `interval` acknowledged when written, `memory` kept until the process ends.").flag("durability", "MODE"),
    Setting::new("durability_interval_ms", ms(|c| &mut c.durability_interval_ms, 1, 60_000), "1000", "Longest time between two syncs to the disk with durability `interval`."),
    Setting::new("sync_group_ms", ms(|c| &mut c.sync_group_ms, 0, 1_000), "5", "Changes that come within this time of a sync share the next one. A sync costs 30 to 50 us of CPU, and an acknowledgement is for people."),
    Setting::new("workers", Kind::Number { field: |c| &mut c.workers, min: 0, max: 1_024, unit: "" }, "0", "Threads that serve rooms, each with its own rooms and their connections; 0: one a core."),
    Setting::new("presence_ms", ms(|c| &mut c.presence_ms, 0, 10_000), "15", "Presence (cursors, who is there) of one room is told at most this often; what changes in between is told together."),
    Setting::new("unload_after_ms", ms(|c| &mut c.unload_after_ms, 0, 86_400_000), "10000", "How long a room without members stays in memory.").flag("unload-after-ms", "MS"),
    Setting::new("shutdown_ms", ms(|c| &mut c.shutdown_ms, 0, 600_000), "30000", "Longest wait for connections and the store at shutdown."),
    Setting::new("ping_ms", ms(|c| &mut c.ping_ms, 10, 600_000), "30000", "Time between two WebSocket pings. A connection that missed one is dropped when the next is due."),
    Setting::new("keep_alive_ms", ms(|c| &mut c.keep_alive_ms, 10, 25_000), "20000", "Silence after which a client is sent an empty awareness message. Stock providers reconnect after 30 s without a message."),
    Setting::new("slow_consumer_ms", ms(|c| &mut c.slow_consumer_ms, 100, 3_600_000), "60000", "A connection for which something waits, and which takes less than 16 KiB a second for so long, is closed (1013)."),
    Setting::new("handshake_ms", ms(|c| &mut c.handshake_ms, 100, 600_000), "10000", "From accepting a connection to its finished handshake, its room loaded. Traffic does not extend it, so that slow senders hold no places."),
    Setting::new("keep_deleted", KEEP_DELETED, "", "Rooms whose deleted content is kept, for clients that restore old versions."),
    Setting::new("keep_log", KEEP_LOG, "", "How long the log of changes is kept after compaction, for rooms by pattern; the first that matches counts, and without one it is not kept."),
    Setting::new("log.format", LOG_FORMAT, "auto", "`text` for people, `json` for machines (one object per line); `auto` is text on a terminal and JSON elsewhere.").flag("log-format", "FORMAT"),
    Setting::new("log.level", LOG_LEVEL, "info", "The least important level that is logged.").flag("log-level", "LEVEL"),
    Setting::new("tls.certificate", TLS_CERTIFICATE, "", "The port speaks TLS 1.2 and 1.3 (`wss://`, `https://`) with this certificate, behind which those come that lead to its root. The Unix socket speaks both, plain HTTP and TLS."),
    Setting::new("tls.key", TLS_KEY, "", "The certificate's private key."),
    Setting::new("tls.reload_ms", ms(|c| &mut c.tls.reload_ms, 100, 86_400_000), "10000", "How often the two files are looked at. New ones are for new connections; a pair that cannot be used is reported, and the old one stays. SIGHUP does it at once."),
    Setting::new("proxy.trusted", PROXY_TRUSTED, "", "Proxies that are believed when they say for which client they speak; `unix` is whoever connects to the Unix socket."),
    Setting::new("proxy.header", PROXY_HEADER, "x-forwarded-for", "The one header in which trusted proxies say so. The other one is ignored, as a proxy passes on what a client writes into a header that it does not know."),
    Setting::new("proxy.protocol", Kind::Bool(|c| &mut c.proxy.protocol), "false", "Every connection must come from a trusted proxy and begin with a header of the PROXY protocol, version 2."),
    Setting::new("auth.anonymous", Kind::Bool(|c| &mut c.auth.anonymous), "false", "Lets everybody in without a token, also on addresses other than loopback.").flag("anonymous", ""),
    Setting::new("auth.secret", SECRET, "", "Tokens (JWT) are signed with this secret. Any one of `secret`, `keys_file`, `jwks_url`, `session_url` and `api_keys` switches authentication on: then nobody enters without a credential.").secret(),
    Setting::new("auth.secret_algorithm", SECRET_ALGORITHM, "HS256", "How they are signed with it. A token says so too, and is refused when it says something else."),
    Setting::new("auth.keys_file", KEYS_FILE, "", "File with the public keys that tokens are checked with: PEM, or JSON (a JWK or a set of them)."),
    Setting::new("auth.keys_algorithm", KEYS_ALGORITHM, "RS256", "How tokens are signed whose key is in a PEM file. Keys in JSON say so themselves."),
    Setting::new("auth.jwks_url", url(|c| &mut c.auth.jwks_url), "", "Where the identity provider publishes its keys (JWKS). While it is down, the last good ones stay."),
    Setting::new("auth.jwks_refresh_ms", ms(|c| &mut c.auth.jwks_refresh_ms, 1_000, 86_400_000), "300000", "How often they are fetched again. A token with an unknown key fetches them at once, but at most once a minute."),
    Setting::new("auth.issuer", text_list(|c| &mut c.auth.issuer), "", "Issuers (`iss`) whose tokens count; empty: anybody's who has the key."),
    Setting::new("auth.audience", text_list(|c| &mut c.auth.audience), "", "Audiences (`aud`) of which a token must name one; empty: it need not."),
    Setting::new("auth.leeway_s", number(|c| &mut c.auth.leeway_s, 0, 600, ", in seconds"), "30", "By how much the clocks of this machine and of whoever issues tokens may differ."),
    Setting::new("auth.cookie", COOKIE, "", "Name of a cookie that holds a token, for browsers that have no other. Counts only for pages of the same host, or listed in `origins.allowed`."),
    Setting::new("auth.claim_user", USER_CLAIMS, "userId,user_id,sub", "Claims that say whose token it is; the first that is there counts."),
    Setting::new("auth.claim_name", NAME_CLAIMS, "name,user_name", "Claims with the name that people see; the first that is not empty counts."),
    Setting::new("auth.claim_firm", claim(|c| &mut c.auth.claims.firm), "firmId", "Claim with the organisation."),
    Setting::new("auth.claim_role", claim(|c| &mut c.auth.claims.role), "role", "Claim with the role."),
    Setting::new("auth.claim_email", claim(|c| &mut c.auth.claims.email), "email", "Claim with the address."),
    Setting::new("auth.claim_rooms", claim(|c| &mut c.auth.claims.rooms), "rooms", "Claim with the rooms that a token is for: a list of objects with `name` (a `*` at its end stands for anything) and `permission` (`read` or `write`)."),
    Setting::new("auth.api_keys", Kind::Bool(|c| &mut c.auth.api_keys), "false", "API keys (`concord key create`) are the way in. Where authentication is on for another reason, they are one too."),
    Setting::new("auth.session_url", url(|c| &mut c.auth.session_url), "", "Address of the application that says whose session a browser's cookies belong to. Asked with the headers Cookie and Origin; answers 200 with an object such as {\"userId\": \"u1\", \"ttl_s\": 10}, or 401."),
    Setting::new("auth.session_ms", ms(|c| &mut c.auth.session_ms, 100, 3_600_000), "10000", "How long an answer about a session counts that has no `ttl_s`."),
    Setting::new("auth.permission_url", url(|c| &mut c.auth.permission_url), "", "Address of the application that says what somebody may do in a room. Asked by POST with {\"identity\": ..., \"room\": ...}; answers 200 with {\"permission\": \"none\", \"read\" or \"write\", \"ttl_s\": 60}."),
    Setting::new("auth.webhook_secret", WEBHOOK_SECRET, "", "Those questions are signed with it: header `concord-signature`, `sha256=` and the HMAC-SHA-256 in hex of the header `concord-timestamp`, a dot and the body.").secret(),
    Setting::new("auth.time_out_ms", ms(|c| &mut c.auth.time_out_ms, 100, 60_000), "5000", "How long the application and the identity provider may take to answer. Without an answer nobody gets in, and is told to come back."),
    Setting::new("auth.insecure_http", Kind::Bool(|c| &mut c.auth.insecure_http), "false", "The application and the identity provider may be asked without TLS although they are on other machines."),
    Setting::new("auth.rooms", ROOM_RULES, "*=write", "What rooms allow to people who are known, when neither their credential nor the application says it; the first that matches counts, and without one nothing is allowed."),
    Setting::new("origins.allowed", ORIGINS, "*", "Pages that may connect, by the header `Origin`; others get 403."),
    Setting::new("admin.listen", ADMIN_LISTEN, "", "Address and port of the admin API and the metrics. Every request needs an API key with the scope `admin`."),
    Setting::new("admin.public", Kind::Bool(|c| &mut c.admin.public), "false", "The admin API is also answered where clients connect, at /api/admin and /metrics."),
    Setting::new("admin.ignore_damage", Kind::Bool(|c| &mut c.admin.ignore_damage), "false", "Starts although decisions of administrators (locks, deletions, revocations) were damaged on the disk, without those that are lost."),
    Setting::new("accounts.enabled", Kind::Bool(|c| &mut c.accounts.enabled), "true", "The console's HTTP API is served: accounts with e-mail and password (/api/auth), rooms of databases (/api/rooms) and keys for them (/api/keys). Accounts and their keys count for room databases only."),
    Setting::new("accounts.sign_up", SIGN_UP, "auto", "Who may make an account: `open` whoever comes, `closed` administrators only, `auto` whoever comes as long as authentication is off (`auth`): otherwise strangers could let themselves into databases."),
    Setting::new("accounts.session_s", number(|c| &mut c.accounts.session_s, 60, 31_536_000, ", in seconds"), "604800", "How long somebody stays signed in; without \"rememberMe\" a day at most, and until the browser closes."),
    Setting::new("accounts.requests_per_minute", number(|c| &mut c.accounts.requests_per_minute, 1, 1_000_000, ""), "300", "Requests of the console's API and for sockets of room databases from one address in a minute; further ones get 429. Addresses in `limits.exempt` have no such limit."),
    Setting::new("accounts.sign_ups_per_hour", number(|c| &mut c.accounts.sign_ups_per_hour, 1, 1_000_000, ""), "20", "Accounts that are made from one address in an hour: a class, and no robot. The same exception holds."),
    Setting::new("accounts.users_max", number(|c| &mut c.accounts.users_max, 1, 1_000_000, ""), "100000", "Accounts in all. They are kept in memory: some 500 bytes each, and 400 for each of their sessions."),
    Setting::new("rooms.access", ROOM_ACCESS, "open", "Who may enter a room of a database: `open` everybody who is known, `owner` its owner, who came first or made it, and those with a permission in it."),
    Setting::new("rooms.per_user_max", number(|c| &mut c.rooms.per_user_max, 0, 1_000_000, ""), "0", "Rooms of databases that one user may have; 0: any number."),
    Setting::new("mounts.y_websocket", MOUNT_Y_WEBSOCKET, "/y", "Where y-websocket rooms are: `/y/ROOM`. Empty: nowhere."),
    Setting::new("mounts.root_rooms", Kind::Bool(|c| &mut c.mounts.root_rooms), "true", "Every path that is not reserved is a y-websocket room, so that `ws://HOST` works as a provider's server URL."),
    Setting::new("mounts.hocuspocus", MOUNT_HOCUSPOCUS, "/hocuspocus", "Where hocuspocus clients connect. Empty: nowhere."),
    Setting::new("mounts.root_hocuspocus", Kind::Bool(|c| &mut c.mounts.root_hocuspocus), "true", "They may also connect to `ws://HOST`, without a path."),
    Setting::new("mounts.y_sweet", MOUNT_Y_SWEET, "/", "Where the y-sweet API is, and its documents: `/d/ID/ws/ID`. Empty: nowhere."),
    Setting::new("mounts.json_yjs", MOUNT_JSON_YJS, "/ws", "Where json-yjs clients connect: `/ws?draftId=ID`. Empty: nowhere."),
    Setting::new("mounts.sessions", MOUNT_SESSIONS, "/ws/document", "Where the rooms of the sessions dialect are: `/ws/document/ID`. Empty: nowhere."),
    Setting::new("mounts.notes", MOUNT_NOTES, "/sync", "Where notes clients connect. Empty: nowhere."),
    Setting::new("mounts.room_db", MOUNT_ROOM_DB, "/", "Where room-db clients connect: `/websocket?room_id=ID`. Empty: nowhere."),
    Setting::new("namespaces.isolate", Kind::Bool(|c| &mut c.isolate), "false", "Each dialect has rooms of its own: their names get the dialect's name before them, such as `hocuspocus/ROOM`. Otherwise the same name is the same document in all of them."),
    Setting::new("websocket.deflate", Kind::Bool(|c| &mut c.websocket.deflate), "true", "Clients that offer compression (permessage-deflate), as browsers do, get it. Documents become about half as large on their way; such a client then compresses what it sends too, which costs the server 3 us a keystroke."),
    Setting::new("websocket.deflate_bytes_min", size(|c| &mut c.websocket.deflate_bytes_min, 0, GIB), "1 KiB", "Of one message, below which it is sent uncompressed: documents profit, keystrokes do not."),
    Setting::new("y_websocket.echo", Kind::Bool(|c| &mut c.y_websocket.echo), "true", "Senders get their own updates back once they are saved. Version 4 of the provider waits for it."),
    Setting::new("hocuspocus.lobby_ms", ms(|c| &mut c.hocuspocus.lobby_ms, 10, 3_600_000), "60000", "A hocuspocus connection without an accepted document is closed (4408) after so long, whatever it sends."),
    Setting::new("hocuspocus.stateless_url", url(|c| &mut c.hocuspocus.stateless_url), "", "Address of the application that takes stateless messages, instead of the document's other clients. Asked by POST with {\"identity\": ..., \"permission\": ..., \"document\": ..., \"payload\": ...}, signed as the others; answers 200 with {\"to\": \"sender\" or \"all\", \"payload\": ...}, or 204."),
    Setting::new("hocuspocus.token_ask_ms", ms(|c| &mut c.hocuspocus.token_ask_ms, 0, 3_600_000), "30000", "So long before its token runs out a hocuspocus client is asked for another; providers answer by themselves."),
    Setting::new("hocuspocus.token_grace_ms", ms(|c| &mut c.hocuspocus.token_grace_ms, 0, 3_600_000), "30000", "So long after that its document is closed, if no good one came."),
    Setting::new("y_sweet.server_token", SERVER_TOKEN, "", "What an application's backend shows to make documents and tokens: the user part of its connection string.").secret(),
    Setting::new("y_sweet.signing_key", SIGNING_KEY, "", "Document tokens are signed with it. It switches authentication on for the whole server; where authentication is on for another reason and there is no such key, the y-sweet API is off.").secret(),
    Setting::new("y_sweet.url_prefix", URL_PREFIX, "", "The address that clients are told to connect to, such as https://collab.example.com. Empty: the host that the backend has asked."),
    Setting::new("y_sweet.production", Kind::Bool(|c| &mut c.y_sweet.production), "false", "Errors of the y-sweet API say their status and nothing else."),
    Setting::new("y_sweet.ping_ms", ms(|c| &mut c.y_sweet.ping_ms, 10, 600_000), "20000", "Time between two WebSocket pings of y-sweet clients."),
    Setting::new("y_sweet.silence_ms", ms(|c| &mut c.y_sweet.silence_ms, 20, 3_600_000), "40000", "A y-sweet connection of which nothing is heard for so long is dropped."),
    Setting::new("y_sweet.end_with_token", Kind::Bool(|c| &mut c.y_sweet.end_with_token), "false", "A y-sweet connection ends when its token runs out. Otherwise tokens count when a client connects."),
    Setting::new("json_yjs.ping_ms", ms(|c| &mut c.json_yjs.ping_ms, 10, 600_000), "30000", "Time between two WebSocket pings of json-yjs clients."),
    Setting::new("json_yjs.silence_ms", ms(|c| &mut c.json_yjs.silence_ms, 20, 3_600_000), "35000", "A json-yjs connection of which nothing is heard for so long is dropped."),
    Setting::new("json_yjs.updates_per_s", number(|c| &mut c.json_yjs.updates_per_s, 0, 1_000_000, ""), "0", "Updates of one json-yjs connection in a second, over ten of them; further ones are refused with an error. 0: none is refused, a faster one is read more slowly."),
    Setting::new("json_yjs.end_with_token", Kind::Bool(|c| &mut c.json_yjs.end_with_token), "false", "A json-yjs connection ends when its token runs out. Otherwise tokens count when a client connects."),
    Setting::new("drafts.auto_create", Kind::Bool(|c| &mut c.drafts.auto_create), "true", "A json-yjs client that comes for a draft that does not exist makes it, and it belongs to the client's firm and user from then on, in all dialects. Otherwise such clients are refused, and only the admin API registers drafts. Without authentication nothing is registered."),
    Setting::new("drafts.claim_existing", Kind::Bool(|c| &mut c.drafts.claim_existing), "false", "The same for a document that exists and is registered to nobody: the first json-yjs client that may write owns it. Otherwise it stays open to everybody who is known, until the admin API registers it."),
    Setting::new("sessions.ping_ms", ms(|c| &mut c.sessions.ping_ms, 10, 600_000), "30000", "Time between two WebSocket pings of sessions clients."),
    Setting::new("sessions.silence_ms", ms(|c| &mut c.sessions.silence_ms, 20, 3_600_000), "60000", "A sessions connection of which nothing is heard for so long is dropped."),
    Setting::new("sessions.inactive_ms", ms(|c| &mut c.sessions.inactive_ms, 20, 86_400_000), "300000", "The same with a close frame (1013), for what the transport did not notice."),
    Setting::new("notes.ping_ms", ms(|c| &mut c.notes.ping_ms, 10, 600_000), "30000", "Time between two WebSocket pings of notes clients."),
    Setting::new("notes.silence_ms", ms(|c| &mut c.notes.silence_ms, 20, 3_600_000), "75000", "A notes connection of which nothing is heard for so long is dropped."),
    Setting::new("notes.end_with_token", Kind::Bool(|c| &mut c.notes.end_with_token), "false", "A notes connection ends when its token runs out. Otherwise tokens count when a client connects."),
    Setting::new("room_db.ping_ms", ms(|c| &mut c.room_db.ping_ms, 10, 600_000), "30000", "Time between two WebSocket pings of room-db clients."),
    Setting::new("room_db.silence_ms", ms(|c| &mut c.room_db.silence_ms, 20, 3_600_000), "75000", "A room-db connection of which nothing is heard for so long is dropped."),
    Setting::new("room_db.open_max", number(|c| &mut c.room_db.open_max, 1, 100_000, ""), "100", "Room databases whose files are open at the same time: each takes up to nine file descriptors and 2 MiB of cached pages. Others are opened when somebody asks them something."),
    Setting::new("room_db.room_bytes_max", size(|c| &mut c.room_db.room_bytes_max, MIB, TIB), "1 GiB", "Of one room database; above it, rows can only be read and deleted."),
    Setting::new("room_db.query_ms_max", ms(|c| &mut c.room_db.query_ms_max, 10, 600_000), "5000", "A query of a room database is cut off after so long."),
    Setting::new("limits.frame_bytes_max", size(|c| &mut c.limits.frame_bytes_max, KIB, GIB), "16 MiB", "Of one WebSocket message; a larger one is refused from its header."),
    Setting::new("limits.update_bytes_max", size(|c| &mut c.limits.update_bytes_max, KIB, GIB), "16 MiB", "Of one document update. A document that the server has lost comes back from a client as one."),
    Setting::new("limits.room_bytes_max", size(|c| &mut c.limits.room_bytes_max, KIB, 2 * GIB), "64 MiB", "Of one document; above it, the document can only be read."),
    Setting::new("limits.parked_bytes_max", size(|c| &mut c.limits.parked_bytes_max, 0, GIB), "1 MiB", "Of updates in one room that wait for others to arrive."),
    Setting::new("limits.connections_max", connections(|c| &mut c.limits.connections_max), "100000", "Connections of the whole server; further ones get 503."),
    Setting::new("limits.room_connections_max", connections(|c| &mut c.limits.room_connections_max), "10000", "Connections of one room; further ones get 503."),
    Setting::new("limits.bytes_per_s", size(|c| &mut c.limits.bytes_per_s, 64 * KIB, TIB), "64 MiB", "What is read from one connection in a second; a faster one is read more slowly."),
    Setting::new("limits.ring_bytes_max", size(|c| &mut c.limits.ring_bytes_max, 4 * KIB, GIB), "1 MiB", "Of messages that one room keeps for members that are behind; who is further behind is caught up with one update."),
    Setting::new("limits.private_bytes_max", size(|c| &mut c.limits.private_bytes_max, 4 * KIB, GIB), "256 KiB", "Of answers to one connection that it has not taken; with more, the connection is not read."),
    Setting::new("limits.address_connections_max", connections(|c| &mut c.limits.address_connections_max), "2000", "Connections from one address (of IPv6: one /64), so that one machine cannot take all places; further ones get 503. A large office behind one address has fewer."),
    Setting::new("limits.exempt", EXEMPT, "127.0.0.0/8,::1,unix", "Addresses without the limits per address. Behind a proxy on this machine that is not in `proxy.trusted`, everybody comes from here."),
    Setting::new("limits.handshakes_per_s", number(|c| &mut c.limits.handshakes_per_s, 1, 1_000_000, ""), "100", "First requests from one address in a second; further ones get 503. Checking a signature costs some 100 us."),
    Setting::new("limits.handshakes_at_once_max", number(|c| &mut c.limits.handshakes_at_once_max, 1, 1_000_000, ""), "2000", "First requests that may come at once from an address that was quiet: an office returns together after a restart."),
    Setting::new("limits.user_connections_max", connections(|c| &mut c.limits.user_connections_max), "1000", "Connections of one user: tabs, devices, and services that work for many rooms under one name; further ones get 503. Without authentication nobody is known, and this does not apply."),
    Setting::new("limits.messages_per_s", number(|c| &mut c.limits.messages_per_s, 10, 100_000_000, ""), "2000000", "Messages, and fragments of them, that are read from one connection in a second; a faster one is read more slowly. As delivered it is more than one thread can take in, because turns are fair without it; a person types 20."),
    Setting::new("limits.user_bytes_per_s", size(|c| &mut c.limits.user_bytes_per_s, 64 * KIB, 64 * GIB), "256 MiB", "What is read from all connections of one user in a second."),
    Setting::new("limits.user_messages_per_s", number(|c| &mut c.limits.user_messages_per_s, 10, 100_000_000, ""), "2000000", "Messages, and fragments of them, that are read from all connections of one user in a second."),
    Setting::new("limits.questions_per_s", number(|c| &mut c.limits.questions_per_s, 1, 1_000_000, ""), "200", "Questions about the whole document (a client asks some three when it connects) that one connection gets answered in a second; each may cost a walk through the document. Further ones wait."),
    Setting::new("limits.user_rooms_per_h", number(|c| &mut c.limits.user_rooms_per_h, 1, 100_000_000, ""), "5000", "Rooms that one user may make in an hour; further ones get 503, and rooms that exist stay open. Without authentication this does not apply."),
    Setting::new("limits.memory_bytes_max", size(|c| &mut c.limits.memory_bytes_max, 0, TIB), "0", "Of all rooms and connections together: above it, who comes anew gets 503, and who is in works on. 0: three quarters of what this machine, or its container, has."),
    Setting::new("limits.message_ms", ms(|c| &mut c.limits.message_ms, 100, 600_000), "30000", "How long one message may take to arrive whole, unless 16 KiB of it come each second: who sends byte by byte holds memory."),
    Setting::new("store.segment_bytes_max", size(|c| &mut c.store.segment_bytes_max, 4 * KIB, 4 * GIB), "64 MiB", "Of one file of the log."),
    Setting::new("store.log_bytes_max", size(|c| &mut c.store.log_bytes_max, 64 * KIB, TIB), "1 GiB", "Of the whole log, above which rooms with little in it are compacted too."),
    Setting::new("store.compact_bytes_min", size(|c| &mut c.store.compact_bytes_min, 0, GIB), "64 KiB", "Of a room's part of the log, below which it is not worth a snapshot."),
];

fn path_or_none(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

fn names<T>(named: &[(&'static str, T)]) -> Vec<&'static str> {
    named.iter().map(|(name, _)| *name).collect()
}

/// A path, or none. Mounts below `/ws` or `/_concord` would never be reached, as those rows come first, except for `before` them.
fn set_mount(text: &str, before: &[&str]) -> Option<Option<String>> {
    let legal = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_graphic() && !b"%?#".contains(&byte))
    };
    if text.is_empty() {
        return Some(None);
    }
    let path = text.strip_prefix('/').filter(|path| path.split('/').all(legal))?;
    if path.split('/').any(|segment| matches!(segment, "." | ".."))
        || matches!(path.split('/').next(), Some("ws" | "_concord")) && !before.contains(&text)
    {
        return None;
    }
    Some(Some(text.to_owned()))
}

/// An origin is scheme, host and perhaps a port. A slash at its end is what people write and browsers never send.
fn set_origins(config: &mut Config, items: &[String]) -> Option<()> {
    let is_origin = |item: &String| {
        item.split_once("://").is_some_and(|(scheme, host)| {
            let host = host.strip_prefix("*.").unwrap_or(host);
            !scheme.is_empty()
                && !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte))
        })
    };
    if !items.iter().all(|item| item == "*" || item == "null" || is_origin(item)) {
        return None;
    }
    config.origins.allowed = items.iter().map(|item| item.to_ascii_lowercase()).collect();
    Some(())
}

/// Split at the last `=`, as room names may contain one.
fn keep_log_rule(item: &str) -> Option<(RoomPattern, KeepLog)> {
    let (pattern, keep) = item.rsplit_once('=')?;
    Some((RoomPattern::parse(pattern)?, KeepLog::parse(keep)?))
}

/// A shorter secret can be guessed from one token (RFC 7518, section 3.2).
fn set_secret(text: &str) -> Option<Secret> {
    (text.is_empty() || text.len() >= 32).then(|| Secret::new(text))
}

/// Split at the last `=`, as room names may contain one.
fn room_rule(item: &str) -> Option<(RoomPattern, Permission)> {
    let (pattern, permission) = item.rsplit_once('=')?;
    let permission = if permission == "none" { Some(Permission::None) } else { Permission::parse(permission) };
    Some((RoomPattern::parse(pattern)?, permission?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_sections_together() {
        let mut sections: Vec<&str> = SETTINGS.iter().map(Setting::section).collect();
        sections.dedup();
        assert_eq!(sections.iter().collect::<HashSet<_>>().len(), sections.len(), "a section is in two places");
        assert_eq!(sections[0], "", "keys without a section must come first in TOML");
        let variables: HashSet<String> = SETTINGS.iter().map(Setting::environment).collect();
        assert_eq!(variables.len(), SETTINGS.len());
        for setting in SETTINGS {
            assert!(setting.doc.ends_with('.'), "{}", setting.key);
            assert!(!setting.allowed().is_empty(), "{}", setting.key);
        }
    }
}

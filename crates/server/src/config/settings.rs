//! The table of everything that can be set. Read by whatever turns it into options, variables, keys, or documentation. A setting
//! is added by adding its row here and its field in [`Config`]; nothing else knows it.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::value::{KeepLog, Kind, RoomPattern, choose};
use super::{Config, Durability};
use crate::address::{ForwardHeader, Trusted};
use crate::logging::{LogFormat, LogLevel};

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
const PROXY_HEADER: Kind = Kind::Choice {
    names: || names(ForwardHeader::NAMED),
    set: |config, name| choose(ForwardHeader::NAMED, name).map(|header| config.proxy.header = header),
};
const MOUNT: Kind = Kind::Text {
    allowed: "a path such as /y, without a slash at the end and not below /ws or /_concord; or empty for off",
    set: set_mount,
};
const ORIGINS: Kind = Kind::List {
    allowed: "\"*\", or origins as browsers send them, such as \"https://app.example\", without a path",
    set: set_origins,
};
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
    Setting::new("origins.allowed", ORIGINS, "*", "Pages that may connect, by the header `Origin`; others get 403."),
    Setting::new("mounts.y_websocket", MOUNT, "/y", "Where y-websocket rooms are: `/y/ROOM`. Empty: nowhere."),
    Setting::new("mounts.root_rooms", Kind::Bool(|c| &mut c.mounts.root_rooms), "true", "Every path that is not reserved is a y-websocket room, so that `ws://HOST` works as a provider's server URL."),
    Setting::new("websocket.deflate", Kind::Bool(|c| &mut c.websocket.deflate), "true", "Clients that offer compression (permessage-deflate), as browsers do, get it. Documents become about half as large on their way; such a client then compresses what it sends too, which costs the server 3 us a keystroke."),
    Setting::new("websocket.deflate_bytes_min", size(|c| &mut c.websocket.deflate_bytes_min, 0, GIB), "1 KiB", "Of one message, below which it is sent uncompressed: documents profit, keystrokes do not."),
    Setting::new("y_websocket.echo", Kind::Bool(|c| &mut c.y_websocket.echo), "true", "Senders get their own updates back once they are saved. Version 4 of the provider waits for it."),
    Setting::new("limits.frame_bytes_max", size(|c| &mut c.limits.frame_bytes_max, KIB, GIB), "16 MiB", "Of one WebSocket message; a larger one is refused from its header."),
    Setting::new("limits.update_bytes_max", size(|c| &mut c.limits.update_bytes_max, KIB, GIB), "16 MiB", "Of one document update. A document that the server has lost comes back from a client as one."),
    Setting::new("limits.room_bytes_max", size(|c| &mut c.limits.room_bytes_max, KIB, 2 * GIB), "64 MiB", "Of one document; above it, the document can only be read."),
    Setting::new("limits.parked_bytes_max", size(|c| &mut c.limits.parked_bytes_max, 0, GIB), "1 MiB", "Of updates in one room that wait for others to arrive."),
    Setting::new("limits.connections_max", connections(|c| &mut c.limits.connections_max), "100000", "Connections of the whole server; further ones get 503."),
    Setting::new("limits.room_connections_max", connections(|c| &mut c.limits.room_connections_max), "10000", "Connections of one room; further ones get 503."),
    Setting::new("limits.bytes_per_s", size(|c| &mut c.limits.bytes_per_s, 64 * KIB, TIB), "64 MiB", "What is read from one connection in a second; a faster one is read more slowly."),
    Setting::new("limits.ring_bytes_max", size(|c| &mut c.limits.ring_bytes_max, 4 * KIB, GIB), "1 MiB", "Of messages that one room keeps for members that are behind; who is further behind is caught up with one update."),
    Setting::new("limits.private_bytes_max", size(|c| &mut c.limits.private_bytes_max, 4 * KIB, GIB), "256 KiB", "Of answers to one connection that it has not taken; with more, the connection is not read."),
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

/// Mounts below `/ws` or `/_concord` would never be reached, as those rows come first.
fn set_mount(config: &mut Config, text: &str) -> Option<()> {
    let legal = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_graphic() && !b"%?#".contains(&byte))
    };
    if text.is_empty() {
        config.mounts.y_websocket = None;
        return Some(());
    }
    let path = text.strip_prefix('/').filter(|path| path.split('/').all(legal))?;
    if path.split('/').any(|segment| matches!(segment, "." | ".."))
        || matches!(path.split('/').next(), Some("ws" | "_concord"))
    {
        return None;
    }
    config.mounts.y_websocket = Some(text.to_owned());
    Some(())
}

/// An origin is scheme, host and perhaps a port. A slash at its end is what people write and browsers never send.
fn set_origins(config: &mut Config, items: &[String]) -> Option<()> {
    let is_origin = |item: &String| {
        item.split_once("://").is_some_and(|(scheme, host)| {
            !scheme.is_empty()
                && !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte))
        })
    };
    if !items.iter().all(|item| item == "*" || is_origin(item)) {
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

//! Puts a configuration together from its sources, and remembers where each value came from. Called by the command line, which
//! has read the sources. Refuses what it does not understand: a setting that was misspelt must not look as if it were in effect.

use std::fmt;
use std::net::SocketAddr;

use super::value::Raw;
use super::{Config, SETTINGS, Setting, file, page};
use crate::logging::Printable;

/// Why the server does not start. Each text names the setting, the value, where it comes from and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key of the file, or a `CONCORD_` variable, that means nothing.
    #[error("unknown setting {key} ({source_of}); {known}")]
    UnknownKey {
        /// As it was written.
        key: String,
        /// Where.
        source_of: Source,
        /// The keys that it may have been meant to be.
        known: String,
    },
    /// A value outside of what its setting allows.
    #[error("setting {key} cannot be {value} ({source_of}); it must be {allowed}")]
    InvalidValue {
        /// The setting.
        key: &'static str,
        /// As it was written; masked for secrets.
        value: String,
        /// Where.
        source_of: Source,
        /// In words.
        allowed: String,
    },
    /// The file is not TOML.
    #[error("{path} line {line} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// The file cannot be read.
    #[error("cannot read {path}: {error}; name another file with --config, or leave the option out")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A `CONCORD_` variable that is not text.
    #[error("environment variable {name} is not valid UTF-8; set it to plain text")]
    NotText {
        /// The variable.
        name: String,
    },
    /// Settings that exclude or need each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// A certificate without a key, or the other way round.
    #[error("tls.certificate and tls.key must both be set, for TLS, or neither")]
    HalfTls,
    /// A server that would refuse everybody.
    #[error("proxy.protocol refuses every connection as long as proxy.trusted names no proxy; add its address there")]
    NobodyTrusted,
    /// The server would be open to its whole network.
    #[error(
        "listening on {listen} without authentication would let everybody on the network read and write every room; \
         listen on this machine only (--listen 127.0.0.1:{}), switch authentication on (auth.secret), or allow it with \
         --anonymous (auth.anonymous = true)",
        .listen.port()
    )]
    OpenToAll {
        /// The address.
        listen: SocketAddr,
    },
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The table of settings.
    Default,
    /// The configuration file.
    File {
        /// As given.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// A variable, by its name.
    Environment(String),
    /// An option, by its long name.
    CommandLine(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{} line {line}", Printable(path)),
            Source::Environment(name) => write!(f, "environment {}", Printable(name)),
            Source::CommandLine(flag) => write!(f, "command line --{flag}"),
        }
    }
}

/// The sources as text, weakest first.
#[derive(Debug, Default)]
pub struct Sources {
    /// Path and content of the configuration file.
    pub file: Option<(String, String)>,
    /// Variables whose names begin with `CONCORD_`.
    pub environment: Vec<(String, String)>,
    /// Options that were given: setting and value.
    pub command_line: Vec<(&'static Setting, String)>,
}

/// A configuration, and where each value comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What the server runs with.
    pub config: Config,
    /// For each of [`SETTINGS`], in order: the value as TOML, and its source.
    effective: Vec<(String, Source)>,
}

/// One value on its way into the configuration.
pub(super) struct Given {
    pub(super) setting: &'static Setting,
    pub(super) raw: Raw,
    pub(super) source: Source,
}

impl Loaded {
    /// Puts the sources together. Every value is checked, also one that a stronger source replaces.
    pub fn from_sources(sources: &Sources) -> Result<Loaded, ConfigError> {
        let mut loaded =
            Loaded { config: Config::unset(), effective: vec![(String::new(), Source::Default); SETTINGS.len()] };
        for setting in SETTINGS {
            loaded.set(Given { setting, raw: Raw::Text(setting.default.to_owned()), source: Source::Default })?;
        }
        if let Some((path, text)) = &sources.file {
            for given in file::read(path, text)? {
                loaded.set(given)?;
            }
        }
        for (name, value) in &sources.environment {
            if let Some(given) = from_environment(name, value)? {
                loaded.set(given)?;
            }
        }
        for (setting, value) in &sources.command_line {
            let source = Source::CommandLine(setting.flag.unwrap_or_default());
            loaded.set(Given { setting, raw: Raw::Text(value.clone()), source })?;
        }
        Ok(loaded)
    }

    fn set(&mut self, given: Given) -> Result<(), ConfigError> {
        let Given { setting, raw, source } = given;
        let Some(toml) = setting.kind.assign(&mut self.config, &raw) else {
            let value = if setting.secret { "***".to_owned() } else { raw.to_string() };
            return Err(ConfigError::InvalidValue {
                key: setting.key,
                value,
                source_of: source,
                allowed: setting.kind.allowed(),
            });
        };
        let row = SETTINGS.iter().position(|row| row.key == setting.key).expect("a setting is a row of the table");
        self.effective[row] = (toml, source);
        Ok(())
    }

    /// The secrets that stand in the configuration file, and its path: others must not be able to read it.
    pub fn secrets_in_file(&self) -> Option<(&str, Vec<&'static str>)> {
        let mut found: Option<(&str, Vec<&'static str>)> = None;
        for (setting, (_, source)) in SETTINGS.iter().zip(&self.effective) {
            if let (true, Source::File { path, .. }) = (setting.secret, source) {
                found.get_or_insert_with(|| (path, Vec::new())).1.push(setting.key);
            }
        }
        found
    }

    /// The effective configuration as a `concord.toml` with the source of each value in a comment; secrets masked.
    pub fn to_toml(&self) -> String {
        page::effective_toml(SETTINGS, &self.effective)
    }
}

/// The value that a `CONCORD_` variable gives; `None` for variables that are not ours although they look like it: Kubernetes
/// sets `CONCORD_PORT` and `CONCORD_SERVICE_HOST` for every pod beside a service that is called "concord".
fn from_environment(name: &str, value: &str) -> Result<Option<Given>, ConfigError> {
    let foreign = ["CONCORD_PORT_", "CONCORD_SERVICE_"].iter().any(|prefix| name.starts_with(prefix));
    if name == "CONCORD_CONFIG" || name == "CONCORD_PORT" || foreign {
        return Ok(None);
    }
    let source = Source::Environment(name.to_owned());
    let Some(setting) = SETTINGS.iter().find(|setting| setting.environment() == name) else {
        let names: Vec<String> = SETTINGS.iter().map(Setting::environment).collect();
        let known = format!("known are CONCORD_CONFIG, {}", names.join(", "));
        return Err(ConfigError::UnknownKey { key: name.to_owned(), source_of: source, known });
    };
    Ok(Some(Given { setting, raw: Raw::Text(value.to_owned()), source }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeepLog;
    use crate::logging::LogLevel;

    fn sources(file: &str, environment: &[(&str, &str)], command_line: &[(&str, &str)]) -> Sources {
        let setting = |key| SETTINGS.iter().find(|setting| setting.key == key).expect("a known key");
        Sources {
            file: Some(("concord.toml".to_owned(), file.to_owned())),
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            command_line: command_line.iter().map(|(k, v)| (setting(*k), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn the_stronger_source_wins() {
        let file = "listen = \"127.0.0.1:1\"\nping_ms = 1_000\n[log]\nlevel = \"warn\"\n[mounts]\ny_websocket = \"\"\n";
        let environment =
            [("CONCORD_LISTEN", "127.0.0.1:2"), ("CONCORD_LOG_LEVEL", "debug"), ("CONCORD_PORT", "tcp://x")];
        let loaded = Loaded::from_sources(&sources(file, &environment, &[("listen", "127.0.0.1:3")])).expect("legal");
        assert_eq!(loaded.config.listen.port(), 3);
        assert_eq!((loaded.config.ping_ms, loaded.config.log.level), (1_000, LogLevel::Debug));
        assert_eq!(loaded.config.mounts.y_websocket, None);
        let printed = loaded.to_toml();
        for line in [
            "listen = \"127.0.0.1:3\" # command line --listen",
            "data = \"./concord-data\" # default",
            "ping_ms = 1000 # concord.toml line 2",
            "level = \"debug\" # environment CONCORD_LOG_LEVEL",
            "frame_bytes_max = \"16 MiB\" # default",
        ] {
            assert!(printed.lines().any(|printed| printed == line), "{line} in\n{printed}");
        }
        // What is printed can be read back, and means the same.
        let again = Loaded::from_sources(&sources(&printed, &[], &[])).expect("legal");
        assert_eq!(again.config, loaded.config);
    }

    #[test]
    fn errors_name_the_key_the_value_the_source_and_what_is_allowed() {
        let file = |text| sources(text, &[], &[]);
        let cases: &[(Sources, &[&str])] = &[
            (file("listn = 1"), &["unknown setting listn", "concord.toml line 1", "listen, data"]),
            (file("[limits]\nx = 1"), &["limits.x", "line 2", "limits.frame_bytes_max"]),
            (file("[limts]"), &["unknown setting limts", "limits"]),
            (file("listen.x = 1"), &["listen.x"]),
            (
                file("\ndurability = \"often\""),
                &["setting durability cannot be \"often\" (concord.toml line 2)", "ack, strict, interval or memory"],
            ),
            (file("ping_ms = \"soon\""), &["ping_ms", "\"soon\"", "whole number from 10 to 600000, in milliseconds"]),
            (file("ping_ms = -5"), &["ping_ms cannot be -5"]),
            (file("ping_ms = 9.5"), &["ping_ms cannot be 9.5"]),
            (file("limits.frame_bytes_max = \"16 MB\""), &["frame_bytes_max", "16 MB", "1 KiB to 1 GiB"]),
            (file("limits.frame_bytes_max = 5"), &["cannot be 5"]),
            (file("unix_socket_mode = \"rw\""), &["unix_socket_mode", "\"rw\"", "octal", "0660"]),
            (file("unix_socket_mode = 600"), &["unix_socket_mode cannot be 600", "octal"]),
            (file("proxy.trusted = [\"10.0.0.0/33\"]"), &["proxy.trusted", "10.0.0.0/33", "10.0.0.0/8"]),
            (
                file("proxy.header = \"x-real-ip\""),
                &["proxy.header", "x-real-ip", "one of x-forwarded-for or forwarded"],
            ),
            (file("data = 5"), &["data cannot be 5"]),
            (file("data = \"\""), &["data cannot be \"\""]),
            (file("mounts.root_rooms = \"perhaps\""), &["\"perhaps\"", "true or false"]),
            (file("mounts.y_websocket = \"y/\""), &["mounts.y_websocket", "\"y/\""]),
            (file("mounts.y_websocket = \"/ws/y\""), &["mounts.y_websocket", "\"/ws/y\""]),
            (file("origins.allowed = [\"https://a.example/\"]"), &["origins.allowed", "https://a.example/"]),
            (file("origins.allowed = [1]"), &["origins.allowed", "[1]"]),
            (file("keep_deleted = [\"a*b\"]"), &["keep_deleted", "a*b"]),
            (file("keep_log = [\"a=1w\"]"), &["keep_log", "a=1w", "forever"]),
            (file("listen = \n"), &["concord.toml line 1 is not valid TOML"]),
            (file("a = 1\na = 2"), &["concord.toml line 2 is not valid TOML"]),
            (sources("", &[("CONCORD_LISTEM", "x")], &[]), &["CONCORD_LISTEM", "CONCORD_LISTEN"]),
            (
                sources("", &[("CONCORD_LISTEN", "localhost")], &[]),
                &["listen cannot be \"localhost\" (environment CONCORD_LISTEN)", "127.0.0.1:1234"],
            ),
            (sources("", &[], &[("durability", "x")]), &["command line --durability"]),
        ];
        for (sources, words) in cases {
            let error = Loaded::from_sources(sources).expect_err(words[0]).to_string();
            for word in *words {
                assert!(error.contains(word), "{word:?} in {error}");
            }
        }
    }

    #[test]
    fn lists_and_patterns() {
        let file = "keep_deleted = [\"legal/*\", \"one\"]\nkeep_log = [\"a=b*=30d\", \"x=none\", \"*=forever\"]\n\
                    [origins]\nallowed = [\"https://App.example:8443\"]";
        let environment = [("CONCORD_LIMITS_RING_BYTES_MAX", "64KiB")];
        let config = Loaded::from_sources(&sources(file, &environment, &[])).expect("legal").config;
        assert!(config.keeps_deleted("legal/7") && config.keeps_deleted("one") && !config.keeps_deleted("one/more"));
        assert_eq!(config.keeps_log("a=bc"), KeepLog::Days(30));
        assert_eq!(config.keeps_log("x"), KeepLog::None);
        assert_eq!(config.keeps_log("else"), KeepLog::Forever);
        assert_eq!(config.origins.allowed, ["https://app.example:8443"]);
        assert_eq!(config.limits.ring_bytes_max, 65_536);
    }
}

//! What happened, on stderr: text for people on a terminal, one JSON object per line for machines. Set up once by `main`; events
//! come from everywhere as `tracing::info!(action = "ws.connect", connectionId = %id, room = %Printable(room))`. Knows no spans.
//! Secrets are kept out by whoever logs, with [`redact_query`]; room names go through [`Printable`].

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::request::percent_decode;

/// Who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// People on a terminal, machines elsewhere.
    Auto,
    /// People.
    Text,
    /// Machines.
    Json,
}

impl LogFormat {
    /// The formats by the names that operators write.
    pub const NAMED: &[(&str, LogFormat)] =
        &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
}

/// The least important level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something is broken that somebody must repair.
    Error,
    /// A client or a setting is doing what it should not.
    Warn,
    /// What an operator wants to know of a healthy server.
    Info,
    /// Each change of each room.
    Debug,
    /// For the authors.
    Trace,
}

impl LogLevel {
    /// The levels by the names that operators write.
    pub const NAMED: &[(&str, LogLevel)] = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];

    fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// Sends the events of the whole process to stderr. A second call changes nothing, so tests may call it each.
pub fn init(format: LogFormat, level: LogLevel) {
    let terminal = io::stderr().is_terminal();
    let json = format == LogFormat::Json || (format == LogFormat::Auto && !terminal);
    // https://no-color.org: any value but the empty one.
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let _ = tracing::subscriber::set_global_default(subscriber(json, colour, level, io::stderr));
}

/// Sends the events of the whole process as JSON to a writer of the caller's, who wants to look at them. A second call changes nothing.
pub fn init_to<W>(level: LogLevel, writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let _ = tracing::subscriber::set_global_default(subscriber(true, false, level, writer));
}

fn subscriber<W>(json: bool, colour: bool, level: LogLevel, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_max_level(level.filter()).with_writer(writer);
    if json {
        let builder = builder.json().with_timer(Rfc3339).with_target(false).flatten_event(true);
        return Box::new(builder.with_current_span(false).with_span_list(false).finish());
    }
    Box::new(builder.with_ansi(colour).event_format(Lines).finish())
}

struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        w.write_str(&rfc3339_ms(SystemTime::now()))
    }
}

/// A moment as `2026-02-07T12:00:00.000Z`. Times before 1970 count as 1970.
pub fn rfc3339_ms(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let whole = identity::rfc3339(since.as_secs());
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), since.subsec_millis())
}

/// One line per event: time, level, action, then the fields as `name=value`. Everything a client could have written is escaped,
/// so that nobody can forge a line or paint the terminal.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let mut words = Words::default();
        event.record(&mut words);
        let (paint, clear) = match (writer.has_ansi_escapes(), level) {
            (false, _) => ("", ""),
            (true, tracing::Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
            (true, tracing::Level::WARN) => ("\x1b[33m", "\x1b[0m"),
            (true, tracing::Level::INFO) => ("\x1b[32m", "\x1b[0m"),
            (true, _) => ("\x1b[2m", "\x1b[0m"),
        };
        let time = rfc3339_ms(SystemTime::now());
        writeln!(writer, "{time} {paint}{level:>5}{clear}{}{}{}", words.action, words.message, words.fields)
    }
}

/// The fields of an event as text, each with a space before it.
#[derive(Default)]
struct Words {
    action: String,
    message: String,
    fields: String,
}

impl Words {
    fn add(&mut self, field: &Field, value: &str) {
        let value = Printable(value);
        match field.name() {
            "action" => self.action = format!(" {value}"),
            "message" => self.message = format!(" {value}"),
            name => self.fields.push_str(&format!(" {name}={value}")),
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Characters of a value in a log line: enough for every honest name, and a bound for the others.
const PRINTED_CHARS_MAX: usize = 256;

/// Text from outside, fit for a line of a log: control characters, direction marks and other invisible ones are escaped as in
/// Rust (`\n`, `\u{202e}`), and what is over 256 characters is cut, with a `…` and the number of bytes. A token or key in it, because a client has put
/// it where a name belongs, is `***`.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let text = &*masked(self.0);
        for char in text.chars().take(PRINTED_CHARS_MAX) {
            match char {
                '"' | '\'' | '\\' => f.write_char(char)?,
                _ => write!(f, "{}", char.escape_debug())?,
            }
        }
        if text.chars().nth(PRINTED_CHARS_MAX).is_some() {
            write!(f, "… ({} bytes)", text.len())?;
        }
        Ok(())
    }
}

/// Every word that is a signed token or an API key by its looks, replaced.
fn masked(text: &str) -> Cow<'_, str> {
    if !["eyJ", "concord_", "nk_live_"].iter().any(|sign| text.contains(sign)) {
        return Cow::Borrowed(text);
    }
    let is_secret = |word: &str| {
        let token = word.find("eyJ").is_some_and(|at| word[at..].split('.').count() >= 3);
        let longer = |sign, chars| word.find(sign).is_some_and(|at: usize| word.len() - at > chars);
        token || longer("concord_", KEY_CHARS_MIN) || longer("nk_live_", CONSOLE_KEY_SHOWN)
    };
    let is_part = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|char| is_part(char) != is_part(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        masked.push_str(if is_secret(word) { "***" } else { word });
        rest = after;
    }
    Cow::Owned(masked)
}

/// An API key is longer; its id, which is no secret, is shorter.
const KEY_CHARS_MIN: usize = 40;

/// Of a console's key, which has 40 characters, people may see the first twelve.
const CONSOLE_KEY_SHOWN: usize = 12;

/// Parameters whose values are secrets, in any dialect.
const SECRET_PARAMETERS: &[&str] = &["token", "auth", "access_token", "session_token", "key", "api_key"];

/// A request target without the values of its secret parameters: `/room?token=***&page=2`. A second `?` counts as a separator
/// too: a `?` in a room name is not escaped by clients, and puts the token behind it.
pub fn redact_query(target: &str) -> String {
    let target = &*masked(target);
    let mut redacted = String::with_capacity(target.len());
    for part in target.split_inclusive(['?', '&', ';', '#']) {
        let (pair, separator) = match part.strip_suffix(['?', '&', ';', '#']) {
            Some(pair) => (pair, &part[pair.len()..]),
            None => (part, ""),
        };
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                redacted.push_str(name);
                redacted.push_str("=***");
            }
            _ => redacted.push_str(pair),
        }
        redacted.push_str(separator);
    }
    redacted
}

fn is_secret(name: &str) -> bool {
    let name = percent_decode(name);
    SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(json: bool, colour: bool, events: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(json, colour, LogLevel::Info, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = written.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    fn events() {
        tracing::info!(action = "ws.connect", connectionId = %"ws_1_a", room = %Printable("a\nb"), members = 3, ok = true);
        tracing::warn!(action = "ws.error", error = "bad \"quote\"\r\n{\"level\":\"forged\"}", "in words");
        tracing::debug!(action = "yjs.update", "below the level");
    }

    #[test]
    fn json_is_one_object_per_line() {
        let text = written(true, false, events);
        let lines: Vec<&str> = text.lines().collect();
        let expected = [
            r#""level":"INFO","action":"ws.connect","connectionId":"ws_1_a","room":"a\\nb","members":3,"ok":true}"#,
            r#""level":"WARN","message":"in words","action":"ws.error","error":"bad \"quote\"\r\n{\"level\":\"forged\"}"}"#,
        ];
        assert_eq!(lines.len(), expected.len(), "{text}");
        for (line, expected) in lines.iter().zip(expected) {
            // {"timestamp":"2026-02-07T12:00:00.000Z",
            let (time, rest) = line.split_at(40);
            assert!(time.starts_with("{\"timestamp\":\"2") && time.ends_with("Z\","), "{line}");
            assert_eq!(rest, expected);
        }
    }

    #[test]
    fn text_is_one_line_per_event_and_cannot_be_forged() {
        let text = written(false, false, events);
        let lines: Vec<&str> = text.lines().map(|line| &line[24..]).collect();
        let expected = [
            "  INFO ws.connect connectionId=ws_1_a room=a\\nb members=3 ok=true",
            "  WARN ws.error in words error=bad \"quote\"\\r\\n{\"level\":\"forged\"}",
        ];
        assert_eq!(lines, expected);
        let coloured = written(false, true, || tracing::error!(action = "x", name = "\x1b[2J"));
        assert!(coloured.contains("\x1b[31mERROR\x1b[0m x name=\\u{1b}[2J\n"), "{coloured:?}");
    }

    #[test]
    fn times() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_770_465_600_000, "2026-02-07T12:00:00.000Z"),
            (1_798_761_599_001, "2026-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (ms, expected) in cases {
            assert_eq!(rfc3339_ms(UNIX_EPOCH + Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn names_are_printable_and_bounded() {
        let long = "é".repeat(300);
        let cut = format!("{}… (600 bytes)", "é".repeat(256));
        let cases = [
            ("team/notes 7", "team/notes 7"),
            ("ä 日本 😀 \"q\" c:\\x", "ä 日本 😀 \"q\" c:\\x"),
            ("a\r\nb\0\x1b[2J", "a\\r\\nb\\0\\u{1b}[2J"),
            ("\u{202e}txt\u{200b}\u{2028}", "\\u{202e}txt\\u{200b}\\u{2028}"),
            (&long, &cut),
            ("a/eyJhbGciOiJ9.eyJleHAiOjE3.C4mG-w_x/b", "a/***/b"),
            ("eyJhbGciOiJ9.notes", "eyJhbGciOiJ9.notes"),
            ("concord_ujgo7rcbwwud_ZpMoHd4nsXmbPsUR9JzyBgj0mlDtKI7BwK0E2yHxvp4 x", "*** x"),
            ("concord_ujgo7rcbwwud", "concord_ujgo7rcbwwud"),
            ("/x/nk_live_0123456789abcdef0123456789abcdef?a", "/x/***?a"),
            ("nk_live_0123…", "nk_live_0123…"),
        ];
        for (name, expected) in cases {
            assert_eq!(Printable(name).to_string(), expected);
        }
    }

    #[test]
    fn secrets_are_cut_out_of_targets() {
        let cases = [
            ("/room", "/room"),
            ("/room?token=abc", "/room?token=***"),
            ("/room?a=1&token=a%26b&b=2&auth=x&access_token=y", "/room?a=1&token=***&b=2&auth=***&access_token=***"),
            ("/room?Token=abc&%74oken=abc", "/room?Token=***&%74oken=***"),
            ("/my?room?token=abc", "/my?room?token=***"),
            ("/room?token=", "/room?token=***"),
            ("/room?token=a=b;key=c#auth=d", "/room?token=***;key=***#auth=***"),
            ("/room/eyJhbGciOiJ9.eyJleHAiOjE3.C4mG?a=1", "/room/***?a=1"),
            ("/room?tokens=1&mytoken=2&token", "/room?tokens=1&mytoken=2&token"),
        ];
        for (target, expected) in cases {
            assert_eq!(redact_query(target), expected);
        }
    }
}

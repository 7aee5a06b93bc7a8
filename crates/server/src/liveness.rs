//! What time does to a socket: pings, keep-alives, and the end of one that is silent or takes nothing.
//!
//! Looked at several times a second by the socket's worker, which costs less than a timer for each. Liveness never passes through a room.

use crate::config::Config;
use crate::socket::Socket;
use crate::websocket::{Opcode, encode_frame, ping_frame};
use room::Closing;

/// Slowest rate at which a socket may take what waits for it, or finish a message it has begun: 16 KiB/s is a telephone modem of 2005.
const BYTES_PER_S_MIN: u64 = 16 << 10;

/// Whoever waits for an answer hears something so often: y-sweet's client gives up after 3 s of silence.
const OWING_MS: u64 = 2_000;

/// What is remembered of a socket. Milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// A pong came since the last ping.
    pub(crate) answered: bool,
    pinged: bool,
    said: u64,
    said_ms: u64,
    /// When anything was read last.
    heard_ms: u64,
    pinged_ms: u64,
    /// Since something has waited for it. Seldom, like the next, so it is kept elsewhere.
    slow: Option<Box<Since>>,
    /// Since a message has been incomplete.
    incomplete: Option<Box<Since>>,
}

/// A time, and bytes counted from it on, or until then.
#[derive(Clone, Copy, Debug)]
struct Since {
    ms: u64,
    bytes: u64,
}

/// What is due now.
pub(crate) enum Due {
    /// Something is to be said, or nothing.
    Say {
        ping: bool,
        keep_alive: bool,
    },
    End(Closing),
    /// It is gone, and cannot be told anything.
    Drop,
}

/// What can be seen of a connection's own doing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// It is read from as soon as it sends, so its silence is its own.
    pub(crate) reads: bool,
    /// Something waits for it that the kernel does not take.
    pub(crate) stalled: bool,
    /// Bytes that it has taken so far.
    pub(crate) taken_bytes: u64,
    /// Messages, or bytes of them, that it was told so far.
    pub(crate) said: u64,
}

/// How often a socket is pinged, and how long it may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) ping_ms: u64,
    /// Nothing at all was heard of it for so long: it is dropped. Without this it is closed when a ping is not answered before the next is due.
    pub(crate) silence_ms: Option<u64>,
    /// The same, with a word to the client.
    pub(crate) inactive_ms: Option<u64>,
}

impl Liveness {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { answered: true, said_ms: now_ms, heard_ms: now_ms, pinged_ms: now_ms, ..Self::default() }
    }

    /// Notes what one read brought: whether it completed a message, and whether it left one incomplete.
    pub(crate) fn read(&mut self, bytes: usize, completed: bool, incomplete: bool, now_ms: u64) {
        self.heard_ms = now_ms;
        if completed || !incomplete {
            self.incomplete = None;
        }
        if incomplete {
            let incomplete = self.incomplete.get_or_insert_with(|| Box::new(Since { ms: now_ms, bytes: 0 }));
            incomplete.bytes += bytes as u64;
        }
    }

    /// What is due for a connection of which this is seen.
    pub(crate) fn due(
        &mut self,
        seen: Seen,
        patience: Patience,
        keep_alive_ms: u64,
        now_ms: u64,
        config: &Config,
    ) -> Due {
        if seen.said != self.said {
            (self.said, self.said_ms) = (seen.said, now_ms);
        }
        if let Some(due) = self.verdict(seen, patience, now_ms, config) {
            return due;
        }
        let (keep_alive, ping) = (now_ms - self.said_ms >= keep_alive_ms, now_ms - self.pinged_ms >= patience.ping_ms);
        if keep_alive {
            self.said_ms = now_ms;
        }
        if ping {
            (self.pinged_ms, self.pinged, self.answered) = (now_ms, true, false);
        }
        Due::Say { ping, keep_alive }
    }

    /// Whether the connection has to end.
    fn verdict(&mut self, seen: Seen, patience: Patience, now_ms: u64, config: &Config) -> Option<Due> {
        let Seen { reads, stalled, taken_bytes, .. } = seen;
        if self.is_too_slow(stalled, taken_bytes, now_ms, config.slow_consumer_ms) {
            return Some(Due::End(Closing::SlowConsumer));
        }
        let Patience { ping_ms, silence_ms, inactive_ms } = patience;
        if reads && !stalled {
            let silent_ms = now_ms.saturating_sub(self.heard_ms);
            if inactive_ms.is_some_and(|max| silent_ms >= max) {
                return Some(Due::End(Closing::Inactive));
            }
            match silence_ms {
                Some(max) if silent_ms >= max => return Some(Due::Drop),
                Some(_) => {}
                None if self.pinged && now_ms - self.pinged_ms >= ping_ms && !self.answered => {
                    return Some(Due::End(Closing::Silent));
                }
                None => {}
            }
        }
        let Since { ms, bytes } = **self.incomplete.as_ref()?;
        let open_ms = now_ms.saturating_sub(ms);
        if open_ms >= config.limits.message_ms && reads && bytes < BYTES_PER_S_MIN * open_ms / 1_000 {
            let reason = format!("message was not finished within {} s", config.limits.message_ms.div_ceil(1_000));
            return Some(Due::End(Closing::Protocol(1008, reason)));
        }
        None
    }

    /// Something has waited for `slow_ms`, and what was taken meanwhile is less than the slowest rate allowed.
    fn is_too_slow(&mut self, stalled: bool, taken_bytes: u64, now_ms: u64, slow_ms: u64) -> bool {
        if !stalled {
            self.slow = None;
            return false;
        }
        let now = Since { ms: now_ms, bytes: taken_bytes };
        let slow = self.slow.get_or_insert_with(|| Box::new(now));
        if now_ms - slow.ms < slow_ms {
            return false;
        }
        let too_slow = taken_bytes - slow.bytes < BYTES_PER_S_MIN * slow_ms / 1_000;
        **slow = now;
        too_slow
    }
}

/// Does what is due now for an open socket: what it is to be told is put into its outbox.
pub(crate) fn sweep(socket: &mut Socket, reads: bool, now_ms: u64, config: &Config) -> Due {
    let outbox = &socket.outbox;
    let seen = Seen { reads, stalled: outbox.is_stalled(), taken_bytes: outbox.taken_bytes(), said: outbox.said() };
    let keep_alive_ms = if socket.session.owes() { OWING_MS.min(config.keep_alive_ms) } else { config.keep_alive_ms };
    let due = socket.liveness.due(seen, config.patience(socket.dialect.name()), keep_alive_ms, now_ms, config);
    let Due::Say { ping, keep_alive } = due else { return due };
    socket.rest();
    let payload = socket.dialect.keep_alive().filter(|_| keep_alive);
    if let Some(payload) = payload {
        socket.outbox.control(encode_frame(Opcode::Binary, payload));
    }
    if ping {
        socket.outbox.control(ping_frame(&[]));
    }
    Due::Say { ping, keep_alive: payload.is_some() }
}

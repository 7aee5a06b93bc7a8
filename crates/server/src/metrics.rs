//! Counts for whoever watches the server, as Prometheus reads them. Served with the admin API only, and without names of rooms or people: those are
//! nobody's business who may read metrics, and each would be a time series.

use crate::upgrade::Entrance;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why requests are refused, as metrics count it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    /// The request itself is wrong.
    Malformed,
    /// Its origin is not allowed.
    Origin,
    /// Who it is, or that it may enter, was not shown.
    Credential,
    /// A limit was reached.
    Limit,
    /// Something that is needed is not there: storage, keys, the application.
    Unavailable,
}

const WHYS: [(Why, &str); 5] = [
    (Why::Malformed, "malformed"),
    (Why::Origin, "origin"),
    (Why::Credential, "credential"),
    (Why::Limit, "limit"),
    (Why::Unavailable, "unavailable"),
];

/// What is counted at the front door.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    refused: [AtomicU64; WHYS.len()],
}

impl Metrics {
    pub(crate) fn refused(&self, why: Why) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The page.
pub(crate) fn metrics_page(entrance: &Entrance) -> String {
    let mut page = String::new();
    let shared = &entrance.workers.shared;
    gauge(&mut page, "concord_connections", "Open WebSockets.", entrance.connections.count() as u64);
    gauge(
        &mut page,
        "concord_rooms",
        "Rooms with at least one member.",
        shared.occupied.load(Ordering::Acquire) as u64,
    );
    gauge(&mut page, "concord_memory_bytes", "What rooms and connections hold, about.", shared.memory.used());
    gauge(&mut page, "concord_memory_bytes_max", "Above it, who comes anew is refused.", shared.memory.max());
    let name = "concord_refused_total";
    let _ = write!(page, "# HELP {name} Requests for a room that were refused, by reason.\n# TYPE {name} counter\n");
    for (why, label) in WHYS {
        let count = entrance.metrics.refused[why as usize].load(Ordering::Relaxed);
        let _ = writeln!(page, "{name}{{reason=\"{label}\"}} {count}");
    }
    page
}

fn gauge(page: &mut String, name: &str, help: &str, value: u64) {
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
}

//! How many connections there are. The counts are all that threads share about sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Connections of the whole server.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// Accepted, upgraded or not yet.
    accepted: AtomicUsize,
    /// Open WebSockets.
    open: AtomicUsize,
}

impl Connections {
    /// A place for one more connection, or none.
    pub(crate) fn admit(self: &Arc<Self>, connections_max: u64) -> Option<Accepted> {
        let before = self.accepted.fetch_add(1, Ordering::AcqRel);
        let accepted = Accepted { connections: self.clone(), is_open: false };
        (before < connections_max as usize).then_some(accepted)
    }

    /// Open WebSockets.
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

/// Counts as a connection until dropped.
#[derive(Debug)]
pub(crate) struct Accepted {
    connections: Arc<Connections>,
    is_open: bool,
}

impl Accepted {
    /// It is a WebSocket from here on.
    pub(crate) fn opened(&mut self) {
        if !std::mem::replace(&mut self.is_open, true) {
            self.connections.open.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.connections.accepted.fetch_sub(1, Ordering::AcqRel);
        if self.is_open {
            self.connections.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

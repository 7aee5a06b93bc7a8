//! Reads a room from the store, on a thread where waiting for the disk stops nobody.
//!
//! Called through the worker of the room, which loads each once. What was damaged is reported here, once for each time that a room is read. Changes nothing.

use crate::room_kind::RoomKind;
use crate::workers::Shared;
use document::{MessageLimits, RoomLimits};
use room::{Hub, Notebook, Room, Rules, Stored};
use store::{Opened, RoomKey};

/// A room that was read from the store.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) opened: Opened,
    pub(crate) room: Box<dyn Rules>,
    /// Nobody has written anything into it.
    pub(crate) is_new: bool,
}

/// Reads a room from the store; waits for the disk.
pub(crate) fn load(shared: &Shared, key: &RoomKey, has_failed: bool) -> Result<Box<Loaded>, String> {
    if has_failed {
        shared.store.try_writing().map_err(|error| error.to_string())?;
    }
    let opened = shared.store.open(key, fastrand::u64(..)).map_err(|error| error.to_string())?;
    // The content of a database is elsewhere: who makes one is counted at the door.
    let is_new = opened.head == 0 && !matches!(RoomKind::of(key), Some((RoomKind::Database, _)));
    let stored = Stored {
        snapshot: opened.snapshot.clone(),
        changes: crate::changes::of_opened(&opened),
        head: opened.head,
        durable: opened.durable.offset(),
        keep_deleted: shared.config.keeps_deleted(key),
    };
    let limits = shared.room_limits.clone();
    let room: Box<dyn Rules> = match RoomKind::of(key) {
        Some((RoomKind::Notebook, _)) => Box::new(Notebook::load(&stored, limits).map_err(|error| error.to_string())?),
        Some((RoomKind::Database, _)) => Box::new(Hub::new(shared.hub_limits.clone())),
        _ => Box::new(Room::load(&stored, limits).map_err(|error| error.to_string())?),
    };
    report_damage(key, &opened);
    Ok(Box::new(Loaded { opened, room, is_new }))
}

fn report_damage(key: &str, opened: &Opened) {
    for damage in &opened.damage {
        let (place, reason) = (&damage.place, &damage.reason);
        tracing::error!(action = "store.damage", room = %crate::logging::Printable(key), offset = damage.offset, place, reason, "record set aside");
    }
}

/// The bounds of every room, with those that the configuration has.
pub(crate) fn room_limits(limits: &crate::config::Limits) -> room::Limits {
    let defaults = room::Limits::default();
    room::Limits {
        message: MessageLimits { update_bytes_max: limits.update_bytes_max as usize, ..defaults.message },
        document: RoomLimits {
            room_bytes_max: limits.room_bytes_max as usize,
            parked_bytes_max: limits.parked_bytes_max as usize,
            ..defaults.document
        },
        ..defaults
    }
}

//! One change, as the room and as the store speak of it: neither knows the other.

/// From the log to the room.
pub(crate) fn to_room(change: &store::Change) -> room::Change {
    room::Change { author: change.author.clone(), time_ms: change.time_ms, bytes: change.bytes.clone() }
}

/// From the room to the log.
pub(crate) fn to_store(change: &room::Change) -> store::Change {
    store::Change { author: change.author.clone(), time_ms: change.time_ms, bytes: change.bytes.clone() }
}

/// All of an opened room's changes, in order.
pub(crate) fn of_opened(opened: &store::Opened) -> Vec<room::Change> {
    opened.changes.iter().map(|(_, change)| to_room(change)).collect()
}

/// All that effects want logged, in order.
pub(crate) fn of_effects(effects: &room::Effects) -> Vec<store::Change> {
    let appended = effects.iter().filter_map(|effect| match effect {
        room::Effect::Append(change) => Some(to_store(change)),
        _ => None,
    });
    appended.collect()
}

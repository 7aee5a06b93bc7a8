//! Every bound of a room, in one struct, with the reason beside each. The server fills it from the configuration; tests reach each one.

use document::{MessageLimits, RoomLimits};

/// What a room lets its members do at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of one message.
    pub message: MessageLimits,
    /// Bounds of the document.
    pub document: RoomLimits,
    /// JSON of one awareness state: a cursor takes 200 bytes, an avatar pasted as a data URL 20 KiB.
    pub awareness_state_bytes_max: usize,
    /// Awareness ids that one client member may own: a page has one, a page with several editors on one socket a few.
    pub awareness_ids_per_member_max: usize,
    /// Awareness ids of a room, present and remembered: each costs about 150 bytes beside its state.
    pub awareness_ids_max: usize,
    /// Bytes of all awareness states of a room: each joiner is sent all of them.
    pub awareness_bytes_max: usize,
    /// A state not renewed for so long is removed; clients do the same, and renew every 15 s.
    pub awareness_expiry_ms: u64,
    /// How long the clock of a removed id is remembered, so that late copies of its state cannot revive it.
    pub awareness_memory_ms: u64,
    /// Malformed messages of one member within a minute before it is closed: a broken client, not a line error.
    pub malformed_per_minute_max: usize,
    /// Bytes accepted but not yet durable. Beyond it the room takes no input until the disk catches up, and TCP pushes back.
    pub unacknowledged_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: MessageLimits::default(),
            document: RoomLimits::default(),
            awareness_state_bytes_max: 64 << 10,
            awareness_ids_per_member_max: 16,
            awareness_ids_max: 50_000,
            awareness_bytes_max: 8 << 20,
            awareness_expiry_ms: 30_000,
            awareness_memory_ms: 60_000,
            malformed_per_minute_max: 10,
            unacknowledged_bytes_max: 16 << 20,
        }
    }
}

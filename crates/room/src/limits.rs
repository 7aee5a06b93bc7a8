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
    /// Bounds of a notebook. How many bytes its notes may have together is `document.room_bytes_max`.
    pub notebook: NotebookLimits,
}

/// What a notebook holds, and what a newcomer is sent of it, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotebookLimits {
    /// Notes that are not deleted: each costs about 760 bytes of memory beside its text.
    pub notes_max: usize,
    /// Deletion marks; beyond it the oldest is forgotten. Who deletes all notes leaves as many.
    pub marks_max: usize,
    /// How long a mark and the content of what was deleted are kept: devices that have been off for longer are rare.
    pub kept_ms: u64,
    /// Notes, and marks, that a newcomer is sent unasked: more are fetched faster than pushed one message after the other.
    pub replay_entries_max: usize,
    /// Bytes of the messages that a newcomer is sent unasked: they wait in memory until its socket has taken them.
    pub replay_bytes_max: usize,
}

impl Default for NotebookLimits {
    fn default() -> Self {
        Self {
            notes_max: 100_000,
            marks_max: 100_000,
            kept_ms: 30 * 24 * 3_600_000,
            replay_entries_max: 1_000,
            replay_bytes_max: 16 << 20,
        }
    }
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
            notebook: NotebookLimits::default(),
        }
    }
}

/// What a room database lets its members do at most, as far as its room knows: bounds of the database itself are the database's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubLimits {
    /// Tables and queries together that one member may be subscribed to: a console has a few dozen, a generated client one for each table.
    pub subscriptions_per_member_max: usize,
    /// Bytes of the names and queries of one member's subscriptions: 2,000 queries of 1 KiB.
    pub subscription_bytes_per_member_max: usize,
    /// Members that may be subscribed to one table: each change of a row is sent to all of them.
    pub members_per_table_max: usize,
    /// Questions of one member that the database has not answered: a page that asks for everything at once has dozens.
    pub questions_per_member_max: usize,
    /// Bytes of them: two of the largest insertions, each of 16 MiB.
    pub question_bytes_per_member_max: usize,
    /// Bytes at the database for all members, also for those who have left. Beyond it the room takes no input until there are answers.
    pub question_bytes_max: usize,
    /// Questions at the database of all members, likewise: who comes back again and again does not get more by it.
    pub questions_max: usize,
    /// Reruns of live queries at the database at the same time: more would keep other questions of the room waiting.
    pub reruns_max: usize,
    /// Between two results of one live query: what changes faster cannot be read anyway.
    pub rerun_pause_ms: u64,
    /// A cursor is forgotten after so long.
    pub cursor_expiry_ms: u64,
    /// The presence of somebody is forgotten after so long.
    pub presence_expiry_ms: u64,
    /// JSON string of the name that one is shown under: user ids have 256 bytes at most.
    pub memory_label_bytes_max: usize,
    /// JSON of one cursor or presence: a cursor takes 100 bytes.
    pub memory_value_bytes_max: usize,
    /// Cursors and presences of one user: a page has one of each, somebody with many pages some dozens. At their largest they are an eighth of the room's.
    pub memories_per_user_max: usize,
    /// Cursors and presences of a room.
    pub memories_max: usize,
    /// Bytes of them: each list of presence is sent whole, and asked for every 5 s.
    pub memory_bytes_max: usize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            subscriptions_per_member_max: 2_000,
            subscription_bytes_per_member_max: 2 << 20,
            members_per_table_max: 10_000,
            questions_per_member_max: 256,
            question_bytes_per_member_max: 32 << 20,
            question_bytes_max: 128 << 20,
            questions_max: 10_000,
            reruns_max: 16,
            rerun_pause_ms: 500,
            cursor_expiry_ms: 30_000,
            presence_expiry_ms: 60_000,
            memory_label_bytes_max: 1 << 10,
            memory_value_bytes_max: 16 << 10,
            memories_per_user_max: 64,
            memories_max: 20_000,
            memory_bytes_max: 8 << 20,
        }
    }
}

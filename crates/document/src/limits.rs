//! The bounds of a document and of the messages that change it, with the reason beside each.
//! The owner of a document chooses the numbers; this crate only keeps to them.

/// Bounds of one message, kept by `wire`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Bytes of one update. A paste of a whole book is 2 MiB, but a document that was lost comes back as one update; validating costs about 1 us a KB.
    pub update_bytes_max: usize,
    /// Structs and delete ranges in one update: each costs up to 48 bytes of memory for 2 bytes sent.
    pub structs_max: usize,
    /// Clients in one update: each costs an entry in the room's table.
    pub clients_max: usize,
    /// Bytes of one state vector: 1 MiB names 100,000 clients.
    pub state_vector_bytes_max: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self {
            update_bytes_max: 16 << 20,
            structs_max: 1_000_000,
            clients_max: 100_000,
            state_vector_bytes_max: 1 << 20,
        }
    }
}

impl MessageLimits {
    /// For bytes that this program has written itself: the grammar is checked, the size is not.
    pub const STORED: Self = Self {
        update_bytes_max: usize::MAX,
        structs_max: usize::MAX,
        clients_max: usize::MAX,
        state_vector_bytes_max: usize::MAX,
    };
}

/// Bounds of one document, kept by `Document::add`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// Bytes of content. A room costs at least this much memory while somebody is in it.
    pub room_bytes_max: usize,
    /// Client ids that ever wrote or deleted: each page load of each author is one.
    pub clients_max: usize,
    /// Bytes of updates whose dependencies are missing: nothing says that those ever come.
    pub parked_bytes_max: usize,
    /// Delete ranges, neighbours joined: each costs about 16 bytes, also ahead of what it deletes. Deletes of content are always welcome in a full
    /// document, so they need a bound of their own.
    pub delete_ranges_max: usize,
    /// How deep types may be nested: readers in other languages recurse, and overflow their stacks at a few thousand.
    pub depth_max: u32,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            room_bytes_max: 64 << 20,
            clients_max: 200_000,
            parked_bytes_max: 1 << 20,
            delete_ranges_max: 2_000_000,
            depth_max: DEPTH_MAX,
        }
    }
}

/// The same for what is stored: a type that was refused when something released it must not come in by a restart.
const DEPTH_MAX: u32 = 256;

impl RoomLimits {
    /// For content that was accepted earlier: nothing of it may be refused now.
    pub const STORED: Self = Self {
        room_bytes_max: usize::MAX,
        clients_max: usize::MAX,
        parked_bytes_max: usize::MAX,
        delete_ranges_max: usize::MAX,
        depth_max: DEPTH_MAX,
    };
}

/// A well-formed message that goes beyond a bound. The text names the bound and its value, for the person whose editor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// An update of too many bytes.
    #[error("update larger than {0} bytes")]
    UpdateBytes(usize),
    /// Too many structs and delete ranges in one update.
    #[error("update with more than {0} structs")]
    Structs(usize),
    /// Too many clients in one update or one document.
    #[error("more than {0} client ids")]
    Clients(usize),
    /// A state vector of too many bytes.
    #[error("state vector larger than {0} bytes")]
    StateVectorBytes(usize),
    /// The document would become too large.
    #[error("document larger than {0} bytes")]
    RoomBytes(usize),
    /// Too much waits for missing updates.
    #[error("more than {0} bytes wait for missing updates")]
    ParkedBytes(usize),
    /// Too many delete ranges.
    #[error("more than {0} delete ranges")]
    DeleteRanges(usize),
    /// Types nested too deeply.
    #[error("types nested deeper than {0}")]
    Depth(u32),
    /// A value nested too deeply.
    #[error("value nested deeper than {0}")]
    ValueDepth(u32),
    /// A kind of content that this version does not know: its length cannot be known either.
    #[error("content kind {0} is not supported")]
    Kind(u8),
    /// A kind of shared type that this version does not know.
    #[error("type {0} is not supported")]
    TypeRef(u64),
}

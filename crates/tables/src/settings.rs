//! Every bound of the crate, with its reason. The server fills this from its configuration; tests make the bounds small.

use std::path::PathBuf;

/// What "the write is done" means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// Synced to the disk before the answer (`synchronous=FULL`): survives a power cut. For the modes `ack` and `strict`.
    Synced,
    /// Written to the operating system before the answer: survives the end of the process, not of the machine.
    Written,
    /// Nothing is ever synced. There are files all the same, because reads have connections of their own.
    Memory,
}

/// How to keep the databases of one data folder. [`Settings::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the databases; made if it is not there.
    pub folder: PathBuf,
    /// When a write counts as done.
    pub durability: Durability,
    /// Rooms open at once. 100: an open room holds four to eight file descriptors and up to 1.5 MiB of cached pages, which keeps below
    /// the usual 1,024 descriptors of a process and 150 MiB.
    pub open_max: usize,
    /// Threads that write. 4: a commit mostly waits for the disk, and so do four at once without being slower than one.
    pub writer_threads: usize,
    /// Threads for short reads, which never wait for a statement of a user. 2: they take microseconds; one stays when a table is large.
    pub quick_threads: usize,
    /// Threads for `executeSQL`. 4: more would take the processors from the document rooms.
    pub query_threads: usize,
    /// How long a statement may run before others have their turn, milliseconds. 50 ms: most are done in a tenth of that, and what is begun anew costs little
    /// beside the seconds that it may take.
    pub query_moment_ms: u64,
    /// Statements of one user that run at once, over all rooms. 2: half of the threads stay for the others.
    pub query_user_share: usize,
    /// Long statements of one room that run at once. 2: of the threads one never runs long ones, and one stays for the other rooms.
    pub query_room_share: usize,
    /// Quiet time after which debounced values are written, milliseconds. The protocol says one second.
    pub debounce_ms: u64,
    /// How long counts of usage may stay in memory, milliseconds. 5 s: a read must not become a write, and a crash may cost a few counts.
    pub usage_ms: u64,
    /// Size of one room's database in bytes. The protocol says 1 GiB.
    pub room_bytes_max: u64,
    /// Running time of one statement, milliseconds. The protocol says 5 s.
    pub query_ms_max: u64,
    /// Rows of one answer. The protocol says 10,000.
    pub rows_max: usize,
    /// Bytes of one answer's rows. 16 MiB: as large as the largest message that a client may send; an answer waits in memory.
    pub answer_bytes_max: usize,
    /// Bytes of one value or row. 2 MiB: what the original's platform allows; with 100 columns a statement's row stays below 200 MiB.
    pub value_bytes_max: usize,
    /// Bytes of protected rows that one statement may look at. 64 MiB: they are copied into memory for it, and four statements run at once.
    pub copy_bytes_max: u64,
    /// Bytes that SQLite may take from the heap, over all databases of the process; the lowest of several settings holds. 512 MiB: four
    /// statements with their copies and sorted rows, and the cached pages of all open rooms. A statement that wants more fails.
    pub heap_bytes_max: u64,
    /// Tables of one room. 1,000: opening a connection reads the definition of each.
    pub tables_max: usize,
    /// Calls of one room that wait. 4,096: four clients with everything they may have unsent.
    pub waiting_calls_max: usize,
    /// Bytes of payloads that wait in all rooms, with 512 more for each call. 256 MiB: sixteen of the largest inserts.
    pub waiting_bytes_max: usize,
    /// Calls that one commit covers. 256: a commit then costs each a few microseconds, and none waits long for the others.
    pub batch_calls_max: usize,
    /// Users, rooms and methods whose last minute is remembered. 16,384 of at most 800 bytes: 13 MiB.
    pub rate_windows_max: usize,
    /// Bytes of debounced values of one room. The protocol says 10 MiB.
    pub debounced_bytes_max: usize,
}

impl Settings {
    /// The defaults for the databases in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Settings {
        Settings {
            folder: folder.into(),
            durability: Durability::Synced,
            open_max: 100,
            writer_threads: 4,
            quick_threads: 2,
            query_threads: 4,
            query_moment_ms: 50,
            query_user_share: 2,
            query_room_share: 2,
            debounce_ms: 1_000,
            usage_ms: 5_000,
            room_bytes_max: 1 << 30,
            query_ms_max: 5_000,
            rows_max: 10_000,
            answer_bytes_max: 16 << 20,
            value_bytes_max: 2 << 20,
            copy_bytes_max: 64 << 20,
            heap_bytes_max: 512 << 20,
            tables_max: 1_000,
            waiting_calls_max: 4_096,
            waiting_bytes_max: 256 << 20,
            batch_calls_max: 256,
            rate_windows_max: 16_384,
            debounced_bytes_max: 10 << 20,
        }
    }
}

//! The methods that clients call: what kind each is, and in which form it is answered. Called by the dialect; what methods do is the database's.

use room::hub::MemoryKind;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The database reads.
    Read,
    /// The database writes.
    Write,
    /// The schema.
    Schema,
    /// The database keeps a value for a moment before it writes it.
    Debounced,
    /// Something is shown to others.
    Set(MemoryKind),
    /// What is shown.
    Get(MemoryKind),
    /// It finds nothing, since nothing understands meanings.
    Search,
    /// There are no replicas, and so they are well.
    SyncStatus,
    /// Others have it.
    Absent,
}

/// In which words it is said that something was done, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `query_result`, `query_error`.
    Query,
    /// `mutation_success`, `mutation_error`.
    Mutation,
    /// `success`, `error`.
    Plain,
}

pub(super) const CREATE_TASK: &str = "createTask";
pub(super) const BATCH_INSERT: &str = "batchInsert";
pub(super) const SET_CURSOR: &str = "setCursor";
pub(super) const SET_PRESENCE: &str = "setPresence";

const METHODS: [(&str, Kind); 35] = [
    (CREATE_TASK, Kind::Write),
    ("completeTask", Kind::Write),
    ("deleteTask", Kind::Write),
    ("listTasks", Kind::Read),
    ("updateRow", Kind::Write),
    (BATCH_INSERT, Kind::Write),
    ("executeSQL", Kind::Read),
    ("createTable", Kind::Write),
    ("deleteTable", Kind::Write),
    ("getSchema", Kind::Schema),
    ("getUsage", Kind::Read),
    ("getAuditLog", Kind::Read),
    ("updateDebounced", Kind::Debounced),
    ("flushDebounced", Kind::Debounced),
    (SET_CURSOR, Kind::Set(MemoryKind::Cursor)),
    ("getCursors", Kind::Get(MemoryKind::Cursor)),
    (SET_PRESENCE, Kind::Set(MemoryKind::Presence)),
    ("getPresence", Kind::Get(MemoryKind::Presence)),
    ("search", Kind::Search),
    ("getSyncStatus", Kind::SyncStatus),
    ("forceSyncAll", Kind::Absent),
    ("streamIntent", Kind::Absent),
    ("subscribeSemantic", Kind::Absent),
    ("chatWithDatabase", Kind::Absent),
    ("createWebhook", Kind::Absent),
    ("listWebhooks", Kind::Absent),
    ("updateWebhook", Kind::Absent),
    ("deleteWebhook", Kind::Absent),
    ("getWebhooklogs", Kind::Absent),
    ("getWebhookLogs", Kind::Absent),
    ("getUploadUrl", Kind::Absent),
    ("listFiles", Kind::Absent),
    ("scheduleCron", Kind::Absent),
    ("listCronJobs", Kind::Absent),
    ("exportAuditLog", Kind::Absent),
];

/// The method of this name.
pub(super) fn of_name(name: &str) -> Option<(&'static str, Kind)> {
    METHODS.iter().find(|(known, _)| *known == name).copied()
}

/// The form of its answers. What is no method, as a subscription, is answered plainly.
pub(super) fn form_of(name: &str) -> Form {
    match of_name(name) {
        Some((_, Kind::Read | Kind::Get(_) | Kind::Search | Kind::SyncStatus)) => Form::Query,
        Some((_, Kind::Write)) => Form::Mutation,
        _ => Form::Plain,
    }
}

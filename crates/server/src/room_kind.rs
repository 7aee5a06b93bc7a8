//! What a room is about, and so where it is in the store: documents share one namespace over all dialects, notebooks and databases have their own.
//!
//! Used wherever a room's key is made or taken apart. The names in keys are those that the rules about rooms use.

/// What a room is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomKind {
    /// A Yjs document.
    Document,
    /// The notes of one user.
    Notebook,
    /// A SQL database.
    Database,
}

impl RoomKind {
    /// What keys of this kind begin with.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Document => "doc/",
            Self::Notebook => "notes/",
            Self::Database => "db/",
        }
    }

    /// The key of a room.
    pub(crate) fn key(self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    /// The kind of a room and its name. None: what has this key is no room, but something of the server's own.
    pub(crate) fn of(key: &str) -> Option<(Self, &str)> {
        [Self::Document, Self::Notebook, Self::Database]
            .into_iter()
            .find_map(|kind| key.strip_prefix(kind.prefix()).map(|name| (kind, name)))
    }
}

/// A room as the rules about rooms call it: documents by their name alone, others with their kind before it.
pub(crate) fn rules_name(key: &str) -> &str {
    key.strip_prefix(RoomKind::Document.prefix()).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_and_taken_apart() {
        for (kind, key) in
            [(RoomKind::Document, "doc/a/b"), (RoomKind::Notebook, "notes/a/b"), (RoomKind::Database, "db/a/b")]
        {
            assert_eq!((kind.key("a/b").as_str(), RoomKind::of(key)), (key, Some((kind, "a/b"))));
        }
        assert_eq!(RoomKind::of("access/ledger"), None);
        assert_eq!((rules_name("doc/db/x"), rules_name("db/x")), ("db/x", "db/x"));
    }
}

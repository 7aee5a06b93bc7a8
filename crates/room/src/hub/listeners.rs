//! Who is told when a row of a table changes: those who have subscribed to the table, and those who watch a query that reads it.
//!
//! Called by the hub. A table that nobody listens to is not here, and costs nothing. Table names are compared as SQL does: letters of ASCII in either case
//! are the same.

use crate::member::MemberId;
use crate::message::Author;
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The one spelling of a table's name that it is known by here.
pub(super) fn folded(table: &str) -> Cow<'_, str> {
    if table.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(table.to_ascii_lowercase())
    } else {
        Cow::Borrowed(table)
    }
}

/// All tables that somebody listens to.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    tables: BTreeMap<Arc<str>, Table>,
}

/// Who listens to one table.
#[derive(Debug, Default)]
pub(super) struct Table {
    members: BTreeMap<MemberId, Listening>,
    /// How many of them watch queries.
    watching: usize,
}

/// How a member listens to a table.
#[derive(Debug)]
struct Listening {
    user: Author,
    /// It has subscribed to the table itself.
    is_direct: bool,
    /// The queries that it wants to ask again.
    queries: BTreeSet<Bytes>,
}

/// Why somebody listens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reason<'a> {
    Subscribed,
    /// For this query.
    Watches(&'a Bytes),
}

impl Listeners {
    /// Adds a reason to listen. False: so many members listen to the table already.
    pub(super) fn add(
        &mut self,
        table: &Arc<str>,
        member: MemberId,
        user: &Author,
        reason: Reason<'_>,
        most: usize,
    ) -> bool {
        let table = self.tables.entry(table.clone()).or_default();
        if table.members.len() >= most && !table.members.contains_key(&member) {
            return false;
        }
        let new = || Listening { user: user.clone(), is_direct: false, queries: BTreeSet::new() };
        let listening = table.members.entry(member).or_insert_with(new);
        match reason {
            Reason::Subscribed => listening.is_direct = true,
            Reason::Watches(query_id) => {
                table.watching += usize::from(listening.queries.is_empty());
                listening.queries.insert(query_id.clone());
            }
        }
        true
    }

    /// Takes a reason away. Who has none left listens no more.
    pub(super) fn remove(&mut self, name: &Arc<str>, member: MemberId, reason: Reason<'_>) {
        let Some(table) = self.tables.get_mut(name) else { return };
        let Some(listening) = table.members.get_mut(&member) else { return };
        match reason {
            Reason::Subscribed => listening.is_direct = false,
            Reason::Watches(query_id) => {
                if listening.queries.remove(query_id) && listening.queries.is_empty() {
                    table.watching -= 1;
                }
            }
        }
        if !listening.is_direct && listening.queries.is_empty() {
            table.members.remove(&member);
        }
        if table.members.is_empty() {
            self.tables.remove(name);
        }
    }

    /// Who listens to a table, by its folded name, if anybody does.
    pub(super) fn get(&self, table: &str) -> Option<&Table> {
        self.tables.get(table)
    }

    /// True when another member may listen to it.
    pub(super) fn has_room(&self, table: &str, member: MemberId, most: usize) -> bool {
        self.tables.get(table).is_none_or(|table| table.members.len() < most || table.members.contains_key(&member))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Some want to be told which of their queries are to be asked again.
    pub(super) fn is_watched(&self) -> bool {
        self.watching > 0
    }

    /// Calls `tell` for each listener whose user is among `readers` (none: all) and not among `except`. `members_of`: those of a user in
    /// the whole room.
    pub(super) fn each<'a>(
        &'a self,
        readers: Option<&BTreeSet<Author>>,
        except: Option<&BTreeSet<Author>>,
        members_of: impl Fn(&Author) -> &'a [MemberId],
        mut tell: impl FnMut(MemberId),
    ) {
        let is_told = |listening: &Listening| !except.is_some_and(|except| except.contains(&listening.user));
        match readers {
            // Few may read what many listen to.
            Some(readers) if readers.len() < self.members.len() => {
                for member in readers.iter().flat_map(members_of) {
                    if self.members.get(member).is_some_and(is_told) {
                        tell(*member);
                    }
                }
            }
            _ => {
                for (member, listening) in &self.members {
                    if readers.is_none_or(|readers| readers.contains(&listening.user)) && is_told(listening) {
                        tell(*member);
                    }
                }
            }
        }
    }

    /// Those who watch queries, from this one on, and whose user is among `readers`, with the queries.
    pub(super) fn watchers<'a>(
        &'a self,
        from: MemberId,
        readers: Option<&'a BTreeSet<Author>>,
    ) -> impl Iterator<Item = (MemberId, &'a BTreeSet<Bytes>)> {
        let watch = self.members.range(from..).filter(|(_, listening)| !listening.queries.is_empty());
        let may = watch.filter(move |(_, listening)| readers.is_none_or(|readers| readers.contains(&listening.user)));
        may.map(|(member, listening)| (*member, &listening.queries))
    }
}

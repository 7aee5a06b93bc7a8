//! Who may see and change which row of a table. Every method and every change event asks here, so the rule is in one place.
//! It makes conditions for SQL and sets of users; it runs no statement.
//!
//! The rule: in a protected table a row whose `owner_id` is null is everybody's, any other belongs to that user; permissions lift this.
//! A protected table without that column shows its rows to those with permission only: nobody can be known to own one.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::types::ValueRef;

use crate::{Action, Caller, RowChange, Rules};

/// Users, or everybody.
type Readers = Option<Arc<BTreeSet<Arc<str>>>>;

/// The column that says whose a row is.
pub(crate) const OWNER: &str = "owner_id";

/// One table as one caller may use it.
pub(crate) struct Sight<'a> {
    pub(crate) is_protected: bool,
    has_owner: bool,
    reads_all: bool,
    writes_all: bool,
    table: &'a str,
    caller: &'a Caller,
}

impl<'a> Sight<'a> {
    pub(crate) fn new(caller: &'a Caller, table: &'a str, has_owner: bool) -> Sight<'a> {
        let is_protected = caller.rules.is_protected(table);
        Sight {
            is_protected,
            has_owner,
            reads_all: !is_protected || caller.rules.reads_all(table, &caller.user),
            writes_all: !is_protected || caller.rules.writes_all(table, &caller.user),
            table,
            caller,
        }
    }

    /// Which rows the caller sees, as a condition in which `user` stands for the caller's id.
    pub(crate) fn readable(&self, user: &str) -> String {
        self.condition(self.reads_all, user)
    }

    /// Which rows the caller may change.
    pub(crate) fn writable(&self, user: &str) -> String {
        self.condition(self.writes_all, user)
    }

    fn condition(&self, is_lifted: bool, user: &str) -> String {
        // The comparison is of bytes: a column's own collation or affinity must not make one user of two. Only the built-in table's column
        // is known to be TEXT, so only there the index can be used.
        if is_lifted {
            // True, and names the caller all the same, so that every statement has the same parameters.
            format!("{user} IS NOT NULL")
        } else if !self.has_owner {
            format!("{user} IS NULL")
        } else if self.table.eq_ignore_ascii_case("tasks") {
            format!("({OWNER} IS NULL OR {OWNER} = {user} COLLATE BINARY)")
        } else {
            format!("({OWNER} IS NULL OR CAST({OWNER} AS TEXT) = {user} COLLATE BINARY)")
        }
    }

    /// Whether the caller sees a row of that owner.
    pub(crate) fn sees(&self, owner: &Owner) -> bool {
        self.reads_all
            || self.has_owner && matches!(owner, Owner::Everybody)
            || self.has_owner && matches!(owner, Owner::User(user) if user == &*self.caller.user)
    }

    /// Whether the caller may add rows at all: in a protected table without owners a row would be nobody's.
    pub(crate) fn may_add(&self) -> bool {
        self.writes_all || self.has_owner
    }

    /// Whether the caller may give a row of a protected table to this user, in `owner_id` or `user_id`: to nobody else than themself.
    pub(crate) fn may_name(&self, column: &str, value: ValueRef<'_>) -> bool {
        let is_person = column.eq_ignore_ascii_case(OWNER) || column.eq_ignore_ascii_case("user_id");
        !self.is_protected
            || !is_person
            || matches!(value, ValueRef::Null)
            || matches!(value, ValueRef::Text(user) if user == self.caller.user.as_bytes())
    }

    /// Who sees a row of that owner.
    pub(crate) fn readers(&self, owner: &Owner) -> Readers {
        let rules: &Rules = &self.caller.rules;
        let privileged = || rules.readers_of(self.table).cloned();
        match owner {
            _ if !self.is_protected => None,
            _ if !self.has_owner => Some(Arc::new(privileged().collect())),
            Owner::Everybody => None,
            Owner::User(user) => Some(Arc::new(privileged().chain([Arc::from(user.as_str())]).collect())),
            Owner::Nobody => Some(Arc::new(privileged().collect())),
        }
    }
}

/// Whose a row is.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Owner {
    Everybody,
    User(String),
    /// A number with a fraction or a BLOB: no user has such an id.
    Nobody,
}

impl Owner {
    pub(crate) fn of(value: ValueRef<'_>) -> Owner {
        match value {
            ValueRef::Null => Owner::Everybody,
            ValueRef::Integer(number) => Owner::User(number.to_string()),
            ValueRef::Text(user) => {
                std::str::from_utf8(user).map_or(Owner::Nobody, |user| Owner::User(user.to_owned()))
            }
            ValueRef::Real(_) | ValueRef::Blob(_) => Owner::Nobody,
        }
    }
}

/// A row that is new or gone.
pub(crate) fn told(table: &Arc<str>, action: Action, row: Bytes, readers: Readers) -> RowChange {
    RowChange { table: table.clone(), action, row, readers, except: None }
}

/// A row that has changed, for those who saw it before and those who see it now: who loses sight of it is told that it is gone, who comes to
/// see it that it is new.
pub(crate) fn modified(table: &Arc<str>, old: (Bytes, Readers), new: (Bytes, Readers)) -> Vec<RowChange> {
    let (old_row, before) = old;
    let (row, after) = new;
    if before == after {
        return vec![told(table, Action::Modified, row, after)];
    }
    let both = match (&before, &after) {
        (Some(before), Some(after)) => Some(Arc::new(before.intersection(after).cloned().collect())),
        (one, None) | (None, one) => one.clone(),
    };
    let change = |action, row, (readers, except)| RowChange { table: table.clone(), action, row, readers, except };
    let gone = difference(&before, &after).map(|who| change(Action::Deleted, old_row, who));
    let new = difference(&after, &before).map(|who| change(Action::Added, row.clone(), who));
    let stay = both.as_ref().is_none_or(|both: &Arc<BTreeSet<_>>| !both.is_empty());
    let stay = stay.then(|| change(Action::Modified, row, (both, None)));
    gone.into_iter().chain(new).chain(stay).collect()
}

/// Those of `these` who are not of `those`; none if nobody is.
fn difference(these: &Readers, those: &Readers) -> Option<(Readers, Readers)> {
    match (these, those) {
        (_, None) => None,
        (None, Some(those)) => Some((None, Some(those.clone()))),
        (Some(these), Some(those)) => {
            let left: BTreeSet<_> = these.difference(those).cloned().collect();
            (!left.is_empty()).then(|| (Some(Arc::new(left)), None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(users: &[&str]) -> Readers {
        Some(Arc::new(users.iter().map(|user| Arc::from(*user)).collect()))
    }

    #[test]
    fn each_user_is_told_what_the_change_means_to_them() {
        use Action::{Added, Deleted, Modified};
        let cases: &[(Readers, Readers, [&[Action]; 3])] = &[
            (None, None, [&[Modified], &[Modified], &[Modified]]),
            (some(&["ann"]), some(&["ann"]), [&[Modified], &[], &[]]),
            (None, some(&["ann"]), [&[Modified], &[Deleted], &[Deleted]]),
            (some(&["ann"]), None, [&[Modified], &[Added], &[Added]]),
            (some(&["ann", "eve"]), some(&["bob", "eve"]), [&[Deleted], &[Added], &[Modified]]),
            (some(&["ann"]), some(&["bob"]), [&[Deleted], &[Added], &[]]),
        ];
        for (before, after, expected) in cases {
            let changes = modified(
                &Arc::from("t"),
                (Bytes::from_static(b"old"), before.clone()),
                (Bytes::from_static(b"new"), after.clone()),
            );
            for (user, expected) in ["ann", "bob", "eve"].iter().zip(expected) {
                let got: Vec<_> = changes.iter().filter(|change| change.is_for(user)).collect();
                assert_eq!(
                    got.iter().map(|change| change.action).collect::<Vec<_>>(),
                    *expected,
                    "{user} {before:?} {after:?}"
                );
                assert!(got.iter().all(|change| (change.row == "old") == (change.action == Deleted)));
            }
        }
    }
}

//! What commits have changed, told to those who listen and may know: row by row, then the schema, then once for each query that is to be asked again.
//!
//! Called by the hub when the database has answered, and as long as something is left to tell: many rows for many members are told in parts, so that what
//! was told is sent before more of it takes memory. Tables to which nobody listens cost a look-up each, however many members there are.

use super::listeners::{Table, folded};
use super::vocabulary::{Action, News, Readers, RowChange, Told};
use super::{Hub, publish, send};
use crate::member::MemberId;
use crate::message::{Author, Effects};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Messages after which the rest waits for the next input: some megabytes of effects.
const MESSAGES_AT_ONCE_MAX: usize = 65_536;
/// Of a change beside its row.
const CHANGE_BYTES: usize = 192;

/// What is still to be told of commits, in their order.
#[derive(Debug, Default)]
pub(super) struct Untold {
    items: VecDeque<Item>,
    bytes: usize,
}

#[derive(Debug)]
enum Item {
    Row(Arc<Told<RowChange>>),
    Schema(Bytes),
    /// Queries that read a table are to be asked again: those of members from this one on.
    Queries(Touched, MemberId),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Row(change) => CHANGE_BYTES + change.what().row.len(),
            Self::Schema(schema) => schema.len(),
            Self::Queries(..) => CHANGE_BYTES,
        }
    }
}

impl Untold {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.items.push_back(item);
    }

    fn push_first(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.items.push_front(item);
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front();
        match &item {
            Some(item) => self.bytes -= item.bytes(),
            None => self.items = VecDeque::new(),
        }
        item
    }
}

impl Hub {
    /// Takes note of a commit: live queries know of it at once, and who listens is told by `tell`.
    pub(super) fn commit(&mut self, changes: Vec<RowChange>, schema: Option<Bytes>) {
        let mut touched: Vec<Touched> = Vec::new();
        for change in changes {
            let is_heard = self.listeners.get(&folded(&change.table)).is_some();
            let place = touched.iter().position(|known| known.is_like(&change));
            let change = Told::new(change);
            match place {
                Some(place) => touched[place].add(&change.what().readers),
                None => touched.push(Touched::by(&change)),
            }
            if is_heard {
                self.untold.push(Item::Row(change));
            }
        }
        if let Some(schema) = &schema {
            self.untold.push(Item::Schema(schema.clone()));
        }
        for touched in touched {
            let table = touched.change.what().table.clone();
            let (table, readers) = (folded(&table), touched.readers());
            self.live.changed(&table, &readers);
            if self.listeners.get(&table).is_some_and(Table::is_watched) {
                self.untold.push(Item::Queries(touched, MemberId(0)));
            }
        }
        if schema.is_some() {
            // A table may be another one under the same name.
            self.live.all_changed();
        }
    }

    /// Tells what is untold, as much as may be told at once.
    pub(super) fn tell(&mut self, effects: &mut Effects) {
        let end = effects.len().saturating_add(MESSAGES_AT_ONCE_MAX);
        while effects.len() < end
            && let Some(item) = self.untold.pop()
        {
            match item {
                Item::Row(change) => self.tell_row(&change, effects),
                Item::Schema(schema) => publish(News::Schema(schema), effects),
                Item::Queries(touched, from) => {
                    if let Some(from) = self.tell_watchers(&touched, from, end, effects) {
                        self.untold.push_first(Item::Queries(touched, from));
                    }
                }
            }
        }
    }

    fn tell_row(&self, change: &Arc<Told<RowChange>>, effects: &mut Effects) {
        let RowChange { table, readers, except, .. } = change.what();
        let Some(table) = self.listeners.get(&folded(table)) else { return };
        if readers.is_none() && except.is_none() && table.len() == self.members.len() {
            return publish(News::RowChanged(change.clone()), effects);
        }
        let tell = |member| send(member, News::RowChanged(change.clone()), effects);
        table.each(readers.as_deref(), except.as_deref(), |user| self.members_of(user), tell);
    }

    /// Returns who is next when it was enough for now.
    fn tell_watchers(&self, touched: &Touched, from: MemberId, end: usize, effects: &mut Effects) -> Option<MemberId> {
        let (change, readers) = (&touched.change, touched.readers());
        let table = self.listeners.get(&folded(&change.what().table))?;
        for (member, queries) in table.watchers(from, readers.as_deref()) {
            if effects.len() >= end {
                return Some(member);
            }
            for query_id in queries {
                send(member, News::Refresh { query_id: query_id.clone(), change: change.clone() }, effects);
            }
        }
        None
    }
}

/// What a commit has done to a table, in one way.
#[derive(Debug)]
struct Touched {
    /// The first such change.
    change: Arc<Told<RowChange>>,
    /// Who may know of any of them.
    users: Arc<BTreeSet<Author>>,
    is_for_all: bool,
    /// Most rows of a commit have the same readers.
    last: Readers,
}

impl Touched {
    fn by(change: &Arc<Told<RowChange>>) -> Self {
        let readers = change.what().readers.clone();
        let users = readers.clone().unwrap_or_default();
        Self { change: change.clone(), users, is_for_all: readers.is_none(), last: readers }
    }

    fn is_like(&self, change: &RowChange) -> bool {
        let RowChange { table, action, .. } = self.change.what();
        let same: (&Arc<str>, &Action) = (&change.table, &change.action);
        (table, action) == same
    }

    fn add(&mut self, readers: &Readers) {
        match (readers, &self.last) {
            (None, _) => self.is_for_all = true,
            (Some(readers), Some(last)) if Arc::ptr_eq(readers, last) => {}
            (Some(readers), _) => {
                Arc::make_mut(&mut self.users).extend(readers.iter().cloned());
                self.last = Some(readers.clone());
            }
        }
    }

    fn readers(&self) -> Readers {
        (!self.is_for_all).then(|| self.users.clone())
    }
}

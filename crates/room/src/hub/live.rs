//! Live queries: who watches the result of which query, what it reads, and when it is asked again.
//!
//! Members with the same query share one run of it while its result is the same for all; otherwise there is a run for each user. A run is asked again after
//! a change, not sooner than a pause after its last result, and never twice at the same time. Whatever was told of an answer that is older than a change is
//! asked again, so that the last result has the last change. Called by the hub, which asks and tells; knows no rows and no messages.

use super::vocabulary::Readers;
use crate::member::MemberId;
use crate::message::Author;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tables whose last change is remembered: a room has a few dozen. Beyond it all count as changed.
const CHANGED_TABLES_MAX: usize = 1_024;

/// For whom a run is. None: for all who watch.
pub(super) type Audience = Option<Author>;

/// One who watches: the member, and what it calls the query.
pub(super) type Watcher = (MemberId, Option<Bytes>);

/// When tables have changed last, counted in changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    count: u64,
    /// All tables count as changed then.
    floor: u64,
    tables: BTreeMap<Arc<str>, u64>,
}

impl Changes {
    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    fn note(&mut self, table: &str) {
        self.count += 1;
        let has_room = self.tables.len() < CHANGED_TABLES_MAX;
        match self.tables.get_mut(table) {
            Some(last) => *last = self.count,
            None if has_room => _ = self.tables.insert(table.into(), self.count),
            None => self.note_all(),
        }
    }

    fn note_all(&mut self) {
        self.count += 1;
        self.floor = self.count;
        self.tables.clear();
    }

    fn since<'a>(&self, count: u64, mut tables: impl Iterator<Item = &'a Arc<str>>) -> bool {
        self.floor > count || tables.any(|table| self.tables.get(table).is_some_and(|last| *last > count))
    }
}

/// The live queries of a room.
#[derive(Debug, Default)]
pub(super) struct Live {
    queries: BTreeMap<u64, Query>,
    /// By table and payload.
    numbers: BTreeMap<(Arc<str>, Bytes), u64>,
    /// What is asked again when a table changes.
    by_table: BTreeMap<Arc<str>, BTreeSet<u64>>,
    /// What is to be asked again, by when and in which order.
    due: BTreeMap<(u64, u64), (u64, Audience)>,
    /// How many are being asked.
    running: usize,
    /// The last number or place that was given.
    last: u64,
    changes: Changes,
}

#[derive(Debug)]
struct Query {
    table: Arc<str>,
    payload: Bytes,
    /// What it reads beside that table.
    reads: BTreeSet<Arc<str>>,
    /// Its result is another one for each user, as far as is known: at first nothing is.
    is_personal: bool,
    /// By user; true: the first answer was there, so it may read this.
    watchers: BTreeMap<Author, BTreeMap<Watcher, bool>>,
    runs: BTreeMap<Audience, Run>,
}

#[derive(Debug)]
struct Run {
    is_dirty: bool,
    is_running: bool,
    not_before_ms: u64,
    due: Option<(u64, u64)>,
}

/// A query that is to be asked again now.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) number: u64,
    pub(super) audience: Audience,
    /// On whose behalf.
    pub(super) member: MemberId,
    pub(super) user: Author,
    pub(super) payload: Bytes,
}

/// What is known from an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Learnt<'a> {
    pub(super) is_personal: bool,
    pub(super) tables: &'a [Arc<str>],
}

impl Query {
    fn tables(&self) -> impl Iterator<Item = &Arc<str>> {
        self.reads.iter().chain([&self.table])
    }

    /// For whom the run is that serves this user.
    fn audience(&self, user: &Author) -> Audience {
        self.is_personal.then(|| user.clone())
    }

    /// Two answers to one query at a time could come in the wrong order.
    fn may_start(&self, audience: &Audience) -> bool {
        match audience {
            None => !self.runs.values().any(|run| run.is_running),
            Some(_) => !self.runs.get(&None).is_some_and(|run| run.is_running),
        }
    }

    /// Who may ask for this audience.
    fn asker(&self, audience: &Audience) -> Option<(MemberId, Author)> {
        let known = |(user, watchers): (&Author, &BTreeMap<Watcher, bool>)| {
            let mut known = watchers.iter().filter(|(_, is_known)| **is_known);
            known.next().map(|((member, _), _)| (*member, user.clone()))
        };
        match audience {
            None => self.watchers.iter().find_map(known),
            Some(user) => self.watchers.get_key_value(user).and_then(known),
        }
    }
}

impl Live {
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// When something is to be asked again, if that does not wait for an answer.
    pub(super) fn wakes_at_ms(&self, running_max: usize) -> Option<u64> {
        self.due.keys().next().map(|(at_ms, _)| *at_ms).filter(|_| self.running < running_max)
    }

    /// The number of a query, if it is watched.
    pub(super) fn find(&self, table: &Arc<str>, payload: &Bytes) -> Option<u64> {
        self.numbers.get(&(table.clone(), payload.clone())).copied()
    }

    /// Somebody watches a query from now on, and is told of it when `confirm` has been called. Returns its number.
    pub(super) fn watch(
        &mut self,
        watcher: Watcher,
        user: &Author,
        table: &Arc<str>,
        payload: &Bytes,
        not_before_ms: u64,
    ) -> u64 {
        let number = self.find(table, payload).unwrap_or_else(|| {
            self.last += 1;
            self.numbers.insert((table.clone(), payload.clone()), self.last);
            self.by_table.entry(table.clone()).or_default().insert(self.last);
            let query = Query {
                table: table.clone(),
                payload: payload.clone(),
                reads: BTreeSet::new(),
                is_personal: true,
                watchers: BTreeMap::new(),
                runs: BTreeMap::new(),
            };
            self.queries.insert(self.last, query);
            self.last
        });
        if let Some(query) = self.queries.get_mut(&number) {
            query.watchers.entry(user.clone()).or_default().entry(watcher).or_insert(false);
            let run = Run { is_dirty: false, is_running: false, not_before_ms, due: None };
            query.runs.entry(query.audience(user)).or_insert(run);
        }
        number
    }

    /// It does not any more. A query that nobody watches is forgotten.
    pub(super) fn unwatch(&mut self, number: u64, watcher: &Watcher, user: &Author) {
        let Some(query) = self.queries.get_mut(&number) else { return };
        if let Some(watchers) = query.watchers.get_mut(user) {
            watchers.remove(watcher);
            if watchers.is_empty() {
                query.watchers.remove(user);
            }
        }
        if query.watchers.is_empty() {
            if let Some(query) = self.queries.remove(&number) {
                query.runs.values().filter_map(|run| run.due).for_each(|due| drop(self.due.remove(&due)));
                query.tables().for_each(|table| self.unlist(table, number));
                self.numbers.remove(&(query.table, query.payload));
            }
        } else {
            self.tidy(number);
        }
    }

    /// The first answer to a watcher. `learnt`: what it says; None: not even that.
    pub(super) fn confirm(
        &mut self,
        number: u64,
        watcher: &Watcher,
        user: &Author,
        learnt: Option<Learnt<'_>>,
        asked: u64,
        not_before_ms: u64,
    ) {
        let Some(query) = self.queries.get_mut(&number) else { return };
        let Some(is_known) = query.watchers.get_mut(user).and_then(|watchers| watchers.get_mut(watcher)) else {
            return;
        };
        *is_known = true;
        if let Some(learnt) = learnt {
            self.learn(number, learnt, not_before_ms);
        }
        self.catch_up(number, user, asked);
        self.schedule(number);
    }

    /// True when a watcher has had an answer.
    pub(super) fn is_confirmed(&self, number: u64, watcher: &Watcher, user: &Author) -> bool {
        let watchers = self.queries.get(&number).and_then(|query| query.watchers.get(user));
        watchers.and_then(|watchers| watchers.get(watcher)).copied().unwrap_or_default()
    }

    /// A table has changed, as far as these users can see.
    pub(super) fn changed(&mut self, table: &str, readers: &Readers) {
        self.changes.note(table);
        for number in self.by_table.get(table).cloned().unwrap_or_default() {
            let Some(query) = self.queries.get_mut(&number) else { continue };
            match readers {
                Some(readers) if query.is_personal => {
                    for reader in readers.iter() {
                        if let Some(run) = query.runs.get_mut(&Some(reader.clone())) {
                            run.is_dirty = true;
                        }
                    }
                }
                _ => query.runs.values_mut().for_each(|run| run.is_dirty = true),
            }
            self.schedule(number);
        }
    }

    /// All tables may have changed.
    pub(super) fn all_changed(&mut self) {
        self.changes.note_all();
        let numbers: Vec<u64> = self.queries.keys().copied().collect();
        for number in numbers {
            if let Some(query) = self.queries.get_mut(&number) {
                query.runs.values_mut().for_each(|run| run.is_dirty = true);
            }
            self.schedule(number);
        }
    }

    /// What is to be asked again now.
    pub(super) fn start(&mut self, now_ms: u64, running_max: usize) -> Option<Start> {
        while self.running < running_max {
            let due = self.due.first_entry().filter(|due| due.key().0 <= now_ms)?;
            let (number, audience) = due.remove();
            let Some(query) = self.queries.get_mut(&number) else { continue };
            let (may_start, asker) = (query.may_start(&audience), query.asker(&audience));
            let Some(run) = query.runs.get_mut(&audience) else { continue };
            run.due = None;
            // Otherwise it stays dirty, and is looked at again after the answer that it waits for.
            if let Some((member, user)) = asker.filter(|_| may_start && run.is_dirty) {
                (run.is_dirty, run.is_running) = (false, true);
                self.running += 1;
                return Some(Start { number, audience, member, user, payload: query.payload.clone() });
            }
        }
        None
    }

    /// The answer to a query that was asked again on behalf of a user. Returns who is to be told.
    pub(super) fn finish(
        &mut self,
        number: u64,
        audience: &Audience,
        user: &Author,
        learnt: Option<Learnt<'_>>,
        asked: u64,
        not_before_ms: u64,
    ) -> Vec<Watcher> {
        self.running = self.running.saturating_sub(1);
        let Some(query) = self.queries.get_mut(&number) else { return Vec::new() };
        if let Some(run) = query.runs.get_mut(audience) {
            (run.is_running, run.not_before_ms) = (false, not_before_ms);
        }
        let is_for_all = learnt.map_or(audience.is_none(), |learnt| !learnt.is_personal);
        let by_user = |(known, watchers)| (is_for_all || known == user).then_some(watchers);
        let told = query.watchers.iter().filter_map(by_user).flatten().filter(|(_, is_known)| **is_known);
        let told = told.map(|(watcher, _)| watcher.clone()).collect();
        if let Some(learnt) = learnt {
            let was_personal = query.is_personal;
            self.learn(number, learnt, not_before_ms);
            if let Some(query) = self.queries.get_mut(&number) {
                // Everybody has this answer, or this user has it: they lack only what came after it was asked for.
                if was_personal != query.is_personal
                    && let Some(run) = query.runs.get_mut(&query.audience(user))
                {
                    run.is_dirty = false;
                }
            }
        }
        self.catch_up(number, user, asked);
        self.tidy(number);
        self.schedule(number);
        told
    }

    /// What was asked for this audience is to be asked again.
    pub(super) fn retry(&mut self, number: u64, audience: &Audience) {
        let run = self.queries.get_mut(&number).and_then(|query| query.runs.get_mut(audience));
        if let Some(run) = run {
            run.is_dirty = true;
            self.schedule(number);
        }
    }

    /// A run that serves a user is to be made again when something has changed since then that its query reads.
    fn catch_up(&mut self, number: u64, user: &Author, asked: u64) {
        let Some(query) = self.queries.get_mut(&number) else { return };
        let has_changed = self.changes.since(asked, query.tables());
        let audience = query.audience(user);
        if let Some(run) = query.runs.get_mut(&audience).filter(|_| has_changed) {
            run.is_dirty = true;
        }
    }

    fn learn(&mut self, number: u64, learnt: Learnt<'_>, not_before_ms: u64) {
        let Some(query) = self.queries.get_mut(&number) else { return };
        let reads: BTreeSet<Arc<str>> = learnt.tables.iter().filter(|table| **table != query.table).cloned().collect();
        if reads != query.reads {
            let before = std::mem::replace(&mut query.reads, reads.clone());
            before.difference(&reads).for_each(|table| self.unlist(table, number));
            for table in reads {
                self.by_table.entry(table).or_default().insert(number);
            }
        }
        let Some(query) = self.queries.get_mut(&number) else { return };
        if learnt.is_personal == query.is_personal {
            return;
        }
        query.is_personal = learnt.is_personal;
        let is_any_dirty = query.runs.values().any(|run| run.is_dirty);
        for run in query.runs.values_mut() {
            run.is_dirty = false;
            run.due.take().map(|due| self.due.remove(&due));
        }
        query.runs.retain(|_, run| run.is_running);
        // What was told to one may have been meant for another: when it turns out to be personal, each gets its own.
        let is_dirty = query.is_personal || is_any_dirty;
        let audiences: Vec<Audience> =
            if query.is_personal { query.watchers.keys().cloned().map(Some).collect() } else { vec![None] };
        for audience in audiences {
            let new = Run { is_dirty, is_running: false, not_before_ms, due: None };
            query.runs.entry(audience).and_modify(|run| run.is_dirty = is_dirty).or_insert(new);
        }
    }

    /// Drops runs that serve nobody.
    fn tidy(&mut self, number: u64) {
        let Some(query) = self.queries.get_mut(&number) else { return };
        let (is_personal, watchers, due) = (query.is_personal, &query.watchers, &mut self.due);
        query.runs.retain(|audience, run| {
            let serves = audience.as_ref().map_or(!is_personal, |user| is_personal && watchers.contains_key(user));
            if !serves && !run.is_running {
                run.due.take().map(|place| due.remove(&place));
            }
            serves || run.is_running
        });
    }

    /// Gives those runs of a query a time that have to be made again and can be.
    fn schedule(&mut self, number: u64) {
        let Some(query) = self.queries.get_mut(&number) else { return };
        let is_shared_running = query.runs.get(&None).is_some_and(|run| run.is_running);
        let is_any_running = query.runs.values().any(|run| run.is_running);
        for (audience, run) in &mut query.runs {
            let waits = if audience.is_none() { is_any_running } else { is_shared_running || run.is_running };
            if run.is_dirty && run.due.is_none() && !waits {
                self.last += 1;
                let place = (run.not_before_ms, self.last);
                run.due = Some(place);
                self.due.insert(place, (number, audience.clone()));
            }
        }
    }

    fn unlist(&mut self, table: &Arc<str>, number: u64) {
        if let Some(numbers) = self.by_table.get_mut(table) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_table.remove(table);
            }
        }
    }

    /// Nothing is remembered of queries.
    pub(super) fn is_empty(&self) -> bool {
        self.queries.is_empty() && self.numbers.is_empty() && self.by_table.is_empty() && self.due.is_empty()
    }
}

//! A room that is a database: who is in it, what each member wants to hear of, what members show to each other, and what is outstanding at the database.
//!
//! The database itself is asked by `Effect::Ask` and answers by `Input::Answered`; the server carries both. Called by the room's task like any other room.
//! Nothing is ever logged: what is durable is the database's business, and it answers when it is. Knows no SQL, and nothing of the JSON that passes.

mod commit;
mod listeners;
mod live;
mod memory;
mod vocabulary;

pub use vocabulary::{
    Action, Answer, EXECUTE, MemoryKind, News, Outcome, Question, Readers, Reply, Request, RowChange, SUBSCRIBE, Shown,
    TABLE_NOT_FOUND, Told,
};

use crate::limits::HubLimits;
use crate::member::{Access, MemberId};
use crate::message::{Author, Closing, Effect, Effects, Event, Input};
use crate::rules::Rules;
use bytes::Bytes;
use commit::Untold;
use listeners::{Listeners, Reason, folded};
use live::{Audience, Learnt, Live, Start};
use memory::Memory;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What somebody is told who may only read.
const READ_ONLY: &str = "API key lacks the 'write' scope";
/// Of a table's name that is repeated to who has sent it.
const NAME_CHARACTERS_MAX: usize = 64;
/// A live query rests for as long as its last run took, but not longer than this: so it never takes more than half of the database's time.
const REST_MS_MAX: u64 = 10_000;
/// Of a subscription or a question beside what it carries: nodes of trees.
const OVERHEAD_BYTES: usize = 192;
/// Of a member, likewise.
const MEMBER_BYTES: usize = 320;

/// The room of a database.
#[derive(Debug)]
pub struct Hub {
    limits: Arc<HubLimits>,
    members: BTreeMap<MemberId, Member>,
    /// The members of each user.
    users: BTreeMap<Author, Vec<MemberId>>,
    listeners: Listeners,
    live: Live,
    memory: Memory,
    untold: Untold,
    /// What the database has not answered, by ticket.
    questions: BTreeMap<u64, Asked>,
    question_bytes: usize,
    last_ticket: u64,
    /// Questions that are asked when the write with this ticket is answered. They count as asked.
    held: BTreeMap<u64, Effects>,
    subscription_bytes: usize,
}

/// One connection.
#[derive(Debug)]
struct Member {
    user: Author,
    access: Access,
    /// The tables that it has subscribed to itself.
    tables: BTreeSet<Arc<str>>,
    /// The queries that it watches, by its names for them.
    watches: BTreeMap<WatchName, Watch>,
    subscription_bytes: usize,
    questions: usize,
    question_bytes: usize,
    /// The ticket of its last write; 0: it has written nothing.
    last_write: u64,
}

/// What a member calls a query that it watches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WatchName {
    Given(Bytes),
    /// It has no name: its number.
    Number(u64),
}

#[derive(Debug)]
enum Watch {
    /// It is told to ask again when one of these changes.
    Tables(Vec<Arc<str>>),
    /// It is told the result of the query with this number.
    Result { number: u64, bytes: usize },
}

impl Watch {
    fn bytes(&self, name: &WatchName) -> usize {
        let name = if let WatchName::Given(name) = name { name.len() } else { 0 };
        let tables = |tables: &[Arc<str>]| tables.iter().map(|table| 2 * OVERHEAD_BYTES + table.len()).sum();
        OVERHEAD_BYTES
            + name
            + match self {
                Self::Tables(names) => tables(names),
                Self::Result { bytes, .. } => *bytes,
            }
    }
}

/// A question that is not answered yet.
#[derive(Debug)]
struct Asked {
    member: MemberId,
    method: &'static str,
    echo: Bytes,
    bytes: usize,
    purpose: Purpose,
    /// How many changes were known.
    changes: u64,
}

#[derive(Debug)]
enum Purpose {
    /// The member has asked.
    Call {
        /// For something that changes.
        writes: bool,
    },
    /// It has asked, and will be told again.
    First { number: u64, table: Arc<str>, payload: Bytes, query_id: Option<Bytes> },
    /// A live query again.
    Rerun { number: u64, audience: Audience, user: Author, started_ms: u64 },
}

impl Rules for Hub {
    fn handle(&mut self, input: Input, now_ms: u64, effects: &mut Effects) {
        match input {
            Input::Join { member, access, author, .. } => self.join(member, access, author, effects),
            Input::Leave(member) => self.leave(member),
            Input::SetAccess(member, access) => {
                if let Some(member) = self.members.get_mut(&member) {
                    member.access = access;
                }
            }
            Input::Tables(member, request) => self.request(member, *request, now_ms, effects),
            Input::Answered { ticket, outcome } => self.answered(ticket, *outcome, now_ms, effects),
            Input::Announce(topic, payload) => {
                effects.push(Effect::Publish { except: None, event: Event::Relayed(topic, payload) });
            }
            // Nothing is ever behind.
            Input::Mark(member, bytes) => effects.push(Effect::Send(member, Event::Marked(bytes))),
            Input::CatchUp(member) => effects.push(Effect::Place(member)),
            Input::Malformed(member) => effects.push(Effect::Close(member, Closing::Malformed)),
            Input::Beyond(member, exceeded) => {
                effects.push(Effect::Close(member, Closing::Beyond(exceeded.to_string())));
            }
            Input::Tick => self.memory.expire(now_ms),
            // For rooms of other kinds.
            Input::Adopt(..)
            | Input::Notes(..)
            | Input::Introduce { .. }
            | Input::Present(..)
            | Input::Relay { .. }
            | Input::Found(_)
            | Input::Ask(_)
            | Input::Sync(..)
            | Input::SyncInOne(..)
            | Input::Update { .. }
            | Input::Awareness(..)
            | Input::QueryAwareness { .. }
            | Input::Durable(_)
            | Input::Compacted { .. }
            | Input::TellPresence => {}
        }
        self.tell(effects);
        self.rerun(now_ms, effects);
    }

    fn head(&self) -> u64 {
        0
    }

    fn durable_offset(&self) -> u64 {
        0
    }

    fn bytes(&self) -> usize {
        self.members.len() * MEMBER_BYTES
            + self.subscription_bytes
            + self.question_bytes
            + self.memory.bytes()
            + self.untold.bytes()
    }

    fn is_congested(&self) -> bool {
        let is_asking =
            self.question_bytes > self.limits.question_bytes_max || self.questions.len() >= self.limits.questions_max;
        is_asking || !self.untold.is_empty()
    }

    fn wants_ticks(&self) -> bool {
        !self.memory.is_empty()
    }

    fn wakes_at_ms(&self) -> Option<u64> {
        if !self.untold.is_empty() {
            return Some(0);
        }
        self.live.wakes_at_ms(self.limits.reruns_max)
    }
}

impl Hub {
    /// A room in which nobody is. Rooms may share their limits.
    pub fn new(limits: impl Into<Arc<HubLimits>>) -> Self {
        Self {
            limits: limits.into(),
            members: BTreeMap::new(),
            users: BTreeMap::new(),
            listeners: Listeners::default(),
            live: Live::default(),
            memory: Memory::default(),
            untold: Untold::default(),
            questions: BTreeMap::new(),
            question_bytes: 0,
            last_ticket: 0,
            held: BTreeMap::new(),
            subscription_bytes: 0,
        }
    }

    /// How many are in it.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// True when it remembers nothing of anybody: what it is when all have left and all is answered.
    pub fn is_blank(&self) -> bool {
        self.members.is_empty()
            && self.users.is_empty()
            && self.listeners.is_empty()
            && self.live.is_empty()
            && self.memory.is_empty()
            && self.untold.is_empty()
            && self.questions.is_empty()
            && self.held.is_empty()
            && (self.question_bytes, self.subscription_bytes) == (0, 0)
    }

    fn join(&mut self, id: MemberId, access: Access, user: Author, effects: &mut Effects) {
        self.leave(id);
        self.users.entry(user.clone()).or_default().push(id);
        let member = Member {
            user,
            access,
            tables: BTreeSet::new(),
            watches: BTreeMap::new(),
            subscription_bytes: 0,
            questions: 0,
            question_bytes: 0,
            last_write: 0,
        };
        self.members.insert(id, member);
        effects.push(Effect::Place(id));
    }

    fn leave(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let (tables, watches) = (std::mem::take(&mut member.tables), std::mem::take(&mut member.watches));
        let user = member.user.clone();
        self.subscription_bytes -= member.subscription_bytes;
        for table in tables {
            self.listeners.remove(&table, id, Reason::Subscribed);
        }
        for (name, watch) in watches {
            self.end_watch(id, &user, &name, &watch);
        }
        self.members.remove(&id);
        if let Some(members) = self.users.get_mut(&user) {
            members.retain(|other| *other != id);
            if members.is_empty() {
                self.users.remove(&user);
                self.memory.forget(&user);
            }
        }
    }

    fn request(&mut self, id: MemberId, request: Request, now_ms: u64, effects: &mut Effects) {
        let Some((user, access)) = self.members.get(&id).map(|member| (member.user.clone(), member.access)) else {
            return;
        };
        match request {
            Request::Subscribe { table, echo } => self.subscribe(id, &user, &table, echo, effects),
            Request::Unsubscribe(table) => self.unsubscribe(id, &table),
            Request::Call { method, writes: true, echo, .. } if access == Access::Read => {
                reply(id, method, echo, Answer::failed(READ_ONLY), effects);
            }
            Request::Call { method, payload, writes, echo } => {
                self.ask(id, method, payload, echo, Purpose::Call { writes }, effects);
            }
            Request::SetMemory { kind, label, value, is_quiet, echo } => {
                match self.memory.set(kind, &user, Shown { label, value }, now_ms, &self.limits) {
                    Ok(shown) => {
                        if !is_quiet {
                            let done = Answer::Done { data: None, message: None };
                            reply(id, kind.setter(), echo, done, effects);
                        }
                        publish(News::Memory(kind, shown), effects);
                    }
                    Err(error) => reply(id, kind.setter(), echo, Answer::failed(error), effects),
                }
            }
            Request::GetMemory { kind, echo } => {
                let all = self.memory.list(kind, now_ms);
                send(id, News::Memories { kind, echo, all }, effects);
            }
            Request::WatchTables { query_id, tables, echo } => {
                self.watch_tables(id, &user, query_id, &tables, echo, effects);
            }
            Request::WatchResult { query_id, table, payload, echo } => {
                let not_before_ms = now_ms.saturating_add(self.limits.rerun_pause_ms);
                self.watch_result(id, &user, query_id, &table, payload, echo, not_before_ms, effects);
            }
            Request::Unwatch { query_id, echo } => {
                self.unwatch(id, &user, &WatchName::Given(query_id.clone()));
                reply(id, SUBSCRIBE, echo, Answer::Watching { query_id, is_on: false }, effects);
            }
        }
    }

    fn subscribe(&mut self, id: MemberId, user: &Author, table: &Arc<str>, echo: Bytes, effects: &mut Effects) {
        let key = key_of(table);
        if self.members.get(&id).is_some_and(|member| member.tables.contains(&key)) {
            return;
        }
        let bytes = OVERHEAD_BYTES + key.len();
        if let Err(error) = self.may_subscribe(id, table, std::slice::from_ref(&key), bytes) {
            return reply(id, SUBSCRIBE, echo, Answer::failed(error), effects);
        }
        self.listeners.add(&key, id, user, Reason::Subscribed, self.limits.members_per_table_max);
        if let Some(member) = self.members.get_mut(&id) {
            member.tables.insert(key);
        }
        self.count_subscription(id, bytes);
    }

    fn unsubscribe(&mut self, id: MemberId, table: &str) {
        let key = key_of(table);
        if self.members.get_mut(&id).is_some_and(|member| member.tables.remove(&key)) {
            self.listeners.remove(&key, id, Reason::Subscribed);
            self.discount_subscription(id, OVERHEAD_BYTES + key.len());
        }
    }

    /// Whether a member may have one subscription more, of so many bytes, that makes it listen to these tables. The error says why not; it calls the
    /// table as the member does.
    fn may_subscribe(&self, id: MemberId, called: &str, tables: &[Arc<str>], bytes: usize) -> Result<(), String> {
        let HubLimits {
            subscriptions_per_member_max, subscription_bytes_per_member_max, members_per_table_max, ..
        } = *self.limits;
        let Some(member) = self.members.get(&id) else { return Ok(()) };
        let reached = |called: &str, max: usize| {
            let called: String = called.chars().take(NAME_CHARACTERS_MAX).collect();
            format!("Table '{called}' subscription limit reached ({max} max). Please try again later.")
        };
        if member.tables.len() + member.watches.len() >= subscriptions_per_member_max {
            return Err(reached(called, subscriptions_per_member_max));
        }
        if member.subscription_bytes + bytes > subscription_bytes_per_member_max {
            return Err(format!(
                "Subscriptions are too large ({subscription_bytes_per_member_max} bytes max). Unsubscribe from some."
            ));
        }
        match tables.iter().find(|table| !self.listeners.has_room(table, id, members_per_table_max)) {
            Some(table) => Err(reached(if tables.len() == 1 { called } else { table }, members_per_table_max)),
            None => Ok(()),
        }
    }

    fn watch_tables(
        &mut self,
        id: MemberId,
        user: &Author,
        query_id: Bytes,
        called: &[Arc<str>],
        echo: Bytes,
        effects: &mut Effects,
    ) {
        let name = WatchName::Given(query_id.clone());
        self.unwatch(id, user, &name);
        let keys: BTreeSet<Arc<str>> = called.iter().map(|table| key_of(table)).collect();
        let keys: Vec<Arc<str>> = keys.into_iter().collect();
        let watch = Watch::Tables(keys.clone());
        let bytes = watch.bytes(&name);
        let first = called.first().map(|table| &**table).unwrap_or_default();
        if let Err(error) = self.may_subscribe(id, first, &keys, bytes) {
            return reply(id, SUBSCRIBE, echo, Answer::failed(error), effects);
        }
        for key in &keys {
            self.listeners.add(key, id, user, Reason::Watches(&query_id), self.limits.members_per_table_max);
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.watches.insert(name, watch);
        }
        self.count_subscription(id, bytes);
        reply(id, SUBSCRIBE, echo, Answer::Watching { query_id, is_on: true }, effects);
    }

    #[expect(clippy::too_many_arguments, reason = "all that the request says")]
    fn watch_result(
        &mut self,
        id: MemberId,
        user: &Author,
        query_id: Option<Bytes>,
        called: &Arc<str>,
        payload: Bytes,
        echo: Bytes,
        not_before_ms: u64,
        effects: &mut Effects,
    ) {
        let key = key_of(called);
        let known = self.live.find(&key, &payload);
        let is_same = |member: &Member| {
            let name = query_id.clone().map(WatchName::Given).or(known.map(WatchName::Number));
            let watch = name.and_then(|name| member.watches.get(&name));
            known.is_some() && matches!(watch, Some(Watch::Result { number, .. }) if Some(*number) == known)
        };
        let is_new = !self.members.get(&id).is_some_and(is_same);
        if is_new {
            if let Some(query_id) = &query_id {
                self.unwatch(id, user, &WatchName::Given(query_id.clone()));
            }
            let bytes = OVERHEAD_BYTES + payload.len() + key.len();
            let with_name = OVERHEAD_BYTES + bytes + query_id.as_ref().map_or(0, Bytes::len);
            if let Err(error) = self.may_subscribe(id, called, &[], with_name) {
                return reply(id, SUBSCRIBE, echo, Answer::failed(error), effects);
            }
            let number = self.live.watch((id, query_id.clone()), user, &key, &payload, not_before_ms);
            let name = query_id.clone().map_or(WatchName::Number(number), WatchName::Given);
            if let Some(member) = self.members.get_mut(&id) {
                member.watches.insert(name, Watch::Result { number, bytes });
            }
            self.count_subscription(id, with_name);
        }
        let Some(number) = self.live.find(&key, &payload) else { return };
        let purpose = Purpose::First { number, table: key, payload: payload.clone(), query_id: query_id.clone() };
        // One that is followed already is followed on.
        if !self.ask(id, EXECUTE, payload, echo, purpose, effects) && is_new {
            self.unwatch_unconfirmed(id, user, number, query_id);
        }
    }

    /// A query that was never answered is not watched.
    fn unwatch_unconfirmed(&mut self, id: MemberId, user: &Author, number: u64, query_id: Option<Bytes>) {
        if !self.live.is_confirmed(number, &(id, query_id.clone()), user) {
            let name = query_id.map_or(WatchName::Number(number), WatchName::Given);
            let watches = self.members.get(&id).and_then(|member| member.watches.get(&name));
            if matches!(watches, Some(Watch::Result { number: known, .. }) if *known == number) {
                self.unwatch(id, user, &name);
            }
        }
    }

    fn unwatch(&mut self, id: MemberId, user: &Author, name: &WatchName) {
        let Some(watch) = self.members.get_mut(&id).and_then(|member| member.watches.remove(name)) else { return };
        self.discount_subscription(id, watch.bytes(name));
        self.end_watch(id, user, name, &watch);
    }

    fn end_watch(&mut self, id: MemberId, user: &Author, name: &WatchName, watch: &Watch) {
        let query_id = if let WatchName::Given(query_id) = name { Some(query_id.clone()) } else { None };
        match watch {
            Watch::Tables(tables) => {
                for table in tables {
                    self.listeners.remove(table, id, Reason::Watches(query_id.as_ref().unwrap_or(&Bytes::new())));
                }
            }
            Watch::Result { number, .. } => self.live.unwatch(*number, &(id, query_id), user),
        }
    }

    fn count_subscription(&mut self, id: MemberId, bytes: usize) {
        if let Some(member) = self.members.get_mut(&id) {
            member.subscription_bytes += bytes;
            self.subscription_bytes += bytes;
        }
    }

    fn discount_subscription(&mut self, id: MemberId, bytes: usize) {
        if let Some(member) = self.members.get_mut(&id) {
            member.subscription_bytes -= bytes;
            self.subscription_bytes -= bytes;
        }
    }

    /// Asks the database on behalf of a member, or tells it why not. True: it was asked.
    fn ask(
        &mut self,
        id: MemberId,
        method: &'static str,
        payload: Bytes,
        echo: Bytes,
        purpose: Purpose,
        effects: &mut Effects,
    ) -> bool {
        let HubLimits { questions_per_member_max, question_bytes_per_member_max, .. } = *self.limits;
        let is_rerun = matches!(purpose, Purpose::Rerun { .. });
        let bytes = OVERHEAD_BYTES + payload.len() + echo.len();
        if let Some(member) = self.members.get_mut(&id).filter(|_| !is_rerun) {
            if member.questions >= questions_per_member_max {
                let error = format!(
                    "Too many requests at once ({questions_per_member_max} max). Please wait for answers before sending more."
                );
                reply(id, method, echo, Answer::failed(error), effects);
                return false;
            }
            if member.question_bytes + bytes > question_bytes_per_member_max {
                let error = format!(
                    "Too much data at once ({question_bytes_per_member_max} bytes max). Please wait for answers before sending more."
                );
                reply(id, method, echo, Answer::failed(error), effects);
                return false;
            }
            member.questions += 1;
            member.question_bytes += bytes;
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let writes = matches!(purpose, Purpose::Call { writes: true });
        let behind = self.members.get_mut(&id).filter(|_| !is_rerun).map_or(0, |member| {
            if writes { std::mem::replace(&mut member.last_write, ticket) } else { member.last_write }
        });
        let changes = self.live.changes().count();
        self.question_bytes += bytes;
        self.questions.insert(ticket, Asked { member: id, method, echo, bytes, purpose, changes });
        let question = Effect::Ask(Box::new(Question { ticket, member: id, method, payload, is_rerun }));
        if !writes && self.questions.contains_key(&behind) {
            // Whoever reads behind a write of its own sees what it has written.
            self.held.entry(behind).or_default().push(question);
        } else {
            effects.push(question);
        }
        true
    }

    /// Asks what has waited for a write.
    fn release(&mut self, ticket: u64, effects: &mut Effects) {
        for effect in self.held.remove(&ticket).into_iter().flatten() {
            match &effect {
                // Nobody is there any more for whom to ask.
                Effect::Ask(question) if !self.members.contains_key(&question.member) => {
                    let asked = self.questions.remove(&question.ticket);
                    self.question_bytes -= asked.map_or(0, |asked| asked.bytes);
                }
                _ => effects.push(effect),
            }
        }
    }

    /// What follows from an answer. One that nobody waits for tells its changes all the same.
    fn answered(&mut self, ticket: u64, outcome: Outcome, now_ms: u64, effects: &mut Effects) {
        let Outcome { answer, changes, schema, is_personal, tables } = outcome;
        let asked = self.questions.remove(&ticket);
        self.release(ticket, effects);
        let keys: Vec<Arc<str>> = tables.iter().map(|table| key_of(table)).collect();
        let learnt = matches!(answer, Answer::Rows { .. }).then_some(Learnt { is_personal, tables: &keys });
        let not_before_ms = now_ms.saturating_add(self.limits.rerun_pause_ms);
        let Some(asked) = asked else { return self.commit(changes, schema) };
        self.question_bytes -= asked.bytes;
        if let Purpose::Rerun { number, audience, user, started_ms } = &asked.purpose {
            let took_ms = now_ms.saturating_sub(*started_ms).min(REST_MS_MAX);
            let not_before_ms = not_before_ms.max(now_ms.saturating_add(took_ms));
            let told = self.live.finish(*number, audience, user, learnt, asked.changes, not_before_ms);
            if learnt.is_none() && !self.members.contains_key(&asked.member) {
                // It may have failed because nobody was there any more on whose behalf it was asked.
                self.live.retry(*number, audience);
                return self.commit(changes, schema);
            }
            let answer = Told::new(answer);
            for (member, query_id) in told {
                send(member, News::Result { query_id, answer: answer.clone() }, effects);
            }
            return self.commit(changes, schema);
        }
        let Some(member) = self.members.get_mut(&asked.member) else {
            return self.commit(changes, schema);
        };
        member.questions -= 1;
        member.question_bytes -= asked.bytes;
        let user = member.user.clone();
        if let Purpose::First { number, table, payload, query_id } = asked.purpose {
            let is_kept = learnt.is_some() || matches!(answer, Answer::Failed { code: Some(TABLE_NOT_FOUND), .. });
            if !is_kept {
                self.unwatch_unconfirmed(asked.member, &user, number, query_id);
            } else if let Some(number) = self.live.find(&table, &payload) {
                // It may have been ended and begun again since: then too this answer is perhaps the last, and must not stay if it is old.
                let watcher = (asked.member, query_id);
                self.live.confirm(number, &watcher, &user, learnt, asked.changes, not_before_ms);
            }
        }
        // Before it is told of its own change.
        reply(asked.member, asked.method, asked.echo, answer, effects);
        self.commit(changes, schema);
    }

    /// Asks again what has changed, as much at a time as may be.
    fn rerun(&mut self, now_ms: u64, effects: &mut Effects) {
        while let Some(start) = self.live.start(now_ms, self.limits.reruns_max) {
            let Start { number, audience, user, .. } = start;
            let purpose = Purpose::Rerun { number, audience, user, started_ms: now_ms };
            self.ask(start.member, EXECUTE, start.payload, Bytes::new(), purpose, effects);
        }
    }

    fn members_of(&self, user: &Author) -> &[MemberId] {
        self.users.get(user).map(Vec::as_slice).unwrap_or_default()
    }
}

fn key_of(table: &str) -> Arc<str> {
    folded(table).into()
}

fn send(member: MemberId, news: News, effects: &mut Effects) {
    effects.push(Effect::Send(member, Event::Tables(news)));
}

fn publish(news: News, effects: &mut Effects) {
    effects.push(Effect::Publish { except: None, event: Event::Tables(news) });
}

fn reply(member: MemberId, method: &'static str, echo: Bytes, answer: Answer, effects: &mut Effects) {
    send(member, News::Reply(Arc::new(Reply { method, echo, answer })), effects);
}

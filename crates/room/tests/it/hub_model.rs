//! Random members of a room of a database, against a model that is a list of who listens and what rows say: each is told exactly what it may know, in the
//! order of the commits, and whoever follows a query has its last result when everything is quiet. A failing seed is printed.

use crate::hub_script::rows;
use fastrand::Rng;
use room::hub::{Action, Answer, EXECUTE, MemoryKind, News, Outcome, Question, Request, RowChange};
use room::{Access, Author, Effect, Event, Hub, HubLimits, Input, Kind, MemberId, Rules};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const USERS: [&str; 4] = ["ann", "bob", "cy", "dora"];
const TABLES: [&str; 3] = ["people", "tasks", "towns"];
/// Rows of this table belong to people.
const PROTECTED: &str = "tasks";
/// Queries, with what they read beside the table that they are said to be on.
const QUERIES: [(&str, &[&str]); 4] =
    [("P", &["people"]), ("T", &["tasks"]), ("PT", &["people", "tasks"]), ("O", &["towns"])];

#[test]
fn each_is_told_what_it_may_know_and_has_the_last_result() {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..300, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let run = std::panic::catch_unwind(|| World::new(seed).play(250));
        assert!(run.is_ok(), "SEED={seed}");
    }
}

/// One connection, and what the model knows of it.
struct Client {
    user: &'static str,
    tables: BTreeSet<&'static str>,
    /// The tables of each query that it asks again itself.
    watches: BTreeMap<u8, BTreeSet<&'static str>>,
    /// By name (none: the query's own), the query and its last result.
    follows: BTreeMap<(Option<u8>, usize), Option<String>>,
    /// Rows that it has still to be told of.
    owed: VecDeque<String>,
    /// What it has to be told of anything else: requests that were not answered.
    unanswered: usize,
}

struct World {
    rng: Rng,
    hub: Hub,
    now_ms: u64,
    clients: BTreeMap<MemberId, Client>,
    joined: u64,
    /// Of each table: how often it has changed for each user.
    versions: BTreeMap<(&'static str, &'static str), u64>,
    /// What the database was asked, with the query and the result that it will answer: it reads when it is asked.
    asked: Vec<(Question, Option<(usize, String)>)>,
    /// What is being asked again, by ticket: the query and for whom.
    reruns: BTreeMap<u64, (usize, &'static str)>,
    rows: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            hub: Hub::new(HubLimits::default()),
            now_ms: 1_000,
            clients: BTreeMap::new(),
            joined: 0,
            versions: BTreeMap::new(),
            asked: Vec::new(),
            reruns: BTreeMap::new(),
            rows: 0,
        }
    }

    fn play(mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
        self.settle();
        let all: Vec<MemberId> = self.clients.keys().copied().collect();
        all.into_iter().for_each(|member| self.leave(member));
        assert!(self.hub.is_blank() && self.hub.bytes() == 0, "{:?}", self.hub);
    }

    fn step(&mut self) {
        match self.rng.u8(..20) {
            0 | 1 => self.join(),
            2 => {
                if let Some(member) = self.anybody().filter(|_| self.rng.bool()) {
                    self.leave(member);
                }
            }
            3 | 4 => self.subscribe(),
            5 => self.watch(),
            6..=8 => self.follow(),
            9..=12 => self.write(),
            13..=16 => self.answer(),
            17 => self.show(),
            _ => {
                let ms = self.rng.u64(..700);
                self.wait(ms);
            }
        }
    }

    /// All questions are answered and all pauses over: then everybody knows everything.
    fn settle(&mut self) {
        for _ in 0..200 {
            while !self.asked.is_empty() {
                self.answer();
            }
            self.wait(500);
        }
        assert!(self.asked.is_empty() && self.hub.wakes_at_ms().is_none(), "it never ends");
        for (member, client) in &self.clients {
            assert!(client.owed.is_empty(), "{member:?} was not told of {:?}", client.owed);
            assert_eq!(client.unanswered, 0, "{member:?}");
            for ((_, query), result) in &client.follows {
                assert_eq!(*result, Some(self.result(*query, client.user)), "{member:?} follows {query}");
            }
        }
    }

    fn anybody(&mut self) -> Option<MemberId> {
        let members: Vec<MemberId> = self.clients.keys().copied().collect();
        self.rng.choice(members)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }

    fn join(&mut self) {
        let user = self.pick(&USERS);
        self.joined += 1;
        let member = MemberId(self.joined);
        let client = Client {
            user,
            tables: BTreeSet::new(),
            watches: BTreeMap::new(),
            follows: BTreeMap::new(),
            owed: VecDeque::new(),
            unanswered: 0,
        };
        self.clients.insert(member, client);
        let (kind, access, author) = (Kind::Client, Access::Write, Author::from(user));
        self.handle(Input::Join { member, kind, access, author, trusts_all: false });
    }

    fn leave(&mut self, member: MemberId) {
        self.clients.remove(&member);
        self.handle(Input::Leave(member));
    }

    fn request(&mut self, member: MemberId, request: Request) {
        self.handle(Input::Tables(member, Box::new(request)));
    }

    fn subscribe(&mut self) {
        let (Some(member), table) = (self.anybody(), self.pick(&TABLES)) else { return };
        let tables = &mut self.clients.get_mut(&member).expect("a client").tables;
        if self.rng.u8(..4) > 0 {
            tables.insert(table);
            self.request(member, Request::Subscribe { table: table.to_uppercase().into(), echo: "".into() });
        } else {
            tables.remove(table);
            self.request(member, Request::Unsubscribe(table.into()));
        }
    }

    fn watch(&mut self) {
        let (Some(member), name) = (self.anybody(), self.rng.u8(..3)) else { return };
        let tables: BTreeSet<&str> = [self.pick(&TABLES), self.pick(&TABLES)].into();
        let query_id = vec![b'w', name].into();
        let client = self.clients.get_mut(&member).expect("a client");
        client.unanswered += 1;
        if self.rng.u8(..3) > 0 {
            client.watches.insert(name, tables.clone());
            let tables = tables.into_iter().map(Into::into).collect();
            self.request(member, Request::WatchTables { query_id, tables, echo: "".into() });
        } else {
            client.watches.remove(&name);
            self.request(member, Request::Unwatch { query_id, echo: "".into() });
        }
    }

    fn follow(&mut self) {
        let (Some(member), query) = (self.anybody(), self.rng.usize(..QUERIES.len())) else { return };
        let name = Some(self.rng.u8(..2)).filter(|_| self.rng.bool());
        let client = self.clients.get_mut(&member).expect("a client");
        client.unanswered += 1;
        let query_id = name.map(|name| vec![b'f', name].into());
        if let Some(query_id) = query_id.clone().filter(|_| self.rng.u8(..3) == 0) {
            client.follows.retain(|(known, _), _| *known != name);
            self.request(member, Request::Unwatch { query_id, echo: "".into() });
            return;
        }
        if name.is_some() {
            client.follows.retain(|(known, other), _| *known != name || *other == query);
        }
        client.follows.entry((name, query)).or_insert(None);
        let (payload, reads) = QUERIES[query];
        let echo = vec![name.map_or(b'-', |name| name), query as u8].into();
        self.request(member, Request::WatchResult { query_id, table: reads[0].into(), payload: payload.into(), echo });
    }

    fn write(&mut self) {
        let Some(member) = self.anybody() else { return };
        self.clients.get_mut(&member).expect("a client").unanswered += 1;
        self.request(
            member,
            Request::Call { method: "updateRow", payload: "{}".into(), writes: true, echo: "".into() },
        );
    }

    /// Presence does not disturb anything.
    fn show(&mut self) {
        let Some(member) = self.anybody() else { return };
        let user = self.clients[&member].user;
        let (kind, label, value) = (MemoryKind::Cursor, user.into(), "1".into());
        self.request(member, Request::SetMemory { kind, label, value, is_quiet: true, echo: "".into() });
    }

    fn wait(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while let Some(at_ms) = self.hub.wakes_at_ms().filter(|at_ms| *at_ms <= until_ms) {
            self.now_ms = at_ms.max(self.now_ms);
            self.handle(Input::Tick);
        }
        self.now_ms = until_ms;
        self.handle(Input::Tick);
    }

    fn result(&self, query: usize, user: &'static str) -> String {
        let version = |table: &&'static str| {
            let reader = if *table == PROTECTED { user } else { "" };
            self.versions.get(&(*table, reader)).copied().unwrap_or_default()
        };
        let (name, reads) = QUERIES[query];
        let versions: Vec<String> = reads.iter().map(|table| version(table).to_string()).collect();
        let whose = if reads.contains(&PROTECTED) { user } else { "all" };
        format!("{name} {whose} {}", versions.join("."))
    }

    /// Any of the questions is answered; a write happens now.
    fn answer(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let place = self.rng.usize(..self.asked.len());
        let (question, result) = self.asked.swap_remove(place);
        let ticket = question.ticket;
        let outcome = match result {
            Some((query, result)) => {
                let reads = QUERIES[query].1;
                let tables = reads.iter().map(|table| Arc::from(*table)).collect();
                Outcome { is_personal: reads.contains(&PROTECTED), tables, ..Outcome::of(rows(&result)) }
            }
            None => self.commit(question.member),
        };
        self.reruns.remove(&ticket);
        self.handle(Input::Answered { ticket, outcome: Box::new(outcome) });
    }

    /// Some rows change.
    fn commit(&mut self, writer: MemberId) -> Outcome {
        let mut outcome = Outcome::of(Answer::Done { data: None, message: None });
        for _ in 0..self.rng.usize(..4) {
            let table = self.pick(&TABLES);
            let action = self.pick(&[Action::Added, Action::Modified, Action::Deleted]);
            let users: BTreeSet<Author> = (0..self.rng.usize(1..4)).map(|_| self.pick(&USERS).into()).collect();
            let readers = (table == PROTECTED).then(|| Arc::new(users));
            self.rows += 1;
            let row = format!("{table} {}", self.rows);
            for user in USERS {
                if table != PROTECTED {
                    *self.versions.entry((table, "")).or_default() += u64::from(user == USERS[0]);
                } else if readers.as_ref().is_some_and(|readers| readers.contains(user)) {
                    *self.versions.entry((table, user)).or_default() += 1;
                }
            }
            for client in self.clients.values_mut() {
                let may = readers.as_ref().is_none_or(|readers| readers.contains(client.user));
                let watches = client.watches.values().any(|tables| tables.contains(table));
                if may && (watches || client.tables.contains(table)) {
                    client.owed.push_back(row.clone());
                }
            }
            outcome.changes.push(RowChange { readers, ..RowChange::of(table, action, row) });
        }
        if let Some(writer) = self.clients.get_mut(&writer) {
            // The answer comes before any of these.
            writer.owed.push_front("the answer".to_owned());
        }
        outcome
    }

    fn handle(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.hub.handle(input, self.now_ms, &mut effects);
        // A query that nobody follows any more is forgotten, with what is still on its way; followed again it is another one.
        let clients = &self.clients;
        self.reruns.retain(|_, (query, _)| {
            clients.values().any(|client| client.follows.keys().any(|(_, followed)| followed == query))
        });
        for effect in effects {
            match effect {
                Effect::Place(_) => {}
                Effect::Ask(question) => self.ask(*question),
                Effect::Send(member, Event::Tables(news)) => self.tell(member, &news),
                Effect::Publish { except: None, event: Event::Tables(news) } => {
                    let members: Vec<MemberId> = self.clients.keys().copied().collect();
                    members.into_iter().for_each(|member| self.tell(member, &news));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn ask(&mut self, question: Question) {
        let user = self.clients[&question.member].user;
        let query = QUERIES.iter().position(|(name, _)| name.as_bytes() == question.payload);
        let result = query.map(|query| (query, self.result(query, user)));
        if question.is_rerun {
            let query = query.expect("a query");
            let is_shared = !QUERIES[query].1.contains(&PROTECTED);
            let twice = self.reruns.values().any(|(other, whose)| *other == query && (is_shared || *whose == user));
            assert!(!twice, "two runs of {query} for {user} at a time");
            self.reruns.insert(question.ticket, (query, user));
        }
        self.asked.push((question, result));
    }

    fn tell(&mut self, member: MemberId, news: &News) {
        let Some(client) = self.clients.get_mut(&member) else { return };
        match news {
            News::Reply(reply) if reply.method == EXECUTE => {
                client.unanswered -= 1;
                let Answer::Rows { data, .. } = &reply.answer else { panic!("{reply:?}") };
                let (name, query) = (Some(reply.echo[0]).filter(|name| *name != b'-'), usize::from(reply.echo[1]));
                assert_result(client.user, query, data);
                if let Some(result) = client.follows.get_mut(&(name, query)) {
                    *result = Some(String::from_utf8_lossy(data).into_owned());
                }
            }
            News::Reply(reply) => {
                client.unanswered -= 1;
                if reply.method == "updateRow" {
                    assert_eq!(client.owed.pop_front().as_deref(), Some("the answer"));
                }
            }
            News::RowChanged(change) => {
                let row = String::from_utf8_lossy(&change.what().row).into_owned();
                assert_eq!(client.owed.pop_front(), Some(row), "{member:?}");
            }
            News::Refresh { query_id, change } => {
                let tables = client.watches.get(&query_id[1]).expect("it watches this");
                assert!(tables.contains(&*change.what().table));
            }
            News::Result { query_id, answer } => {
                let Answer::Rows { data, .. } = answer.what() else { panic!("{answer:?}") };
                let name = query_id.as_ref().map(|query_id| query_id[1]);
                let query = QUERIES.iter().position(|(query, _)| data.starts_with(format!("{query} ").as_bytes()));
                let query = query.expect("a query");
                assert_result(client.user, query, data);
                let result = client.follows.get_mut(&(name, query)).expect("it follows this");
                *result = Some(String::from_utf8_lossy(data).into_owned());
            }
            News::Memory(..) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Nobody is told what another one may read.
fn assert_result(user: &str, query: usize, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let whose = text.split(' ').nth(1).expect("whose it is").to_owned();
    let expected = if QUERIES[query].1.contains(&PROTECTED) { user } else { "all" };
    assert_eq!(whose, expected, "{text} is told to {user}");
}

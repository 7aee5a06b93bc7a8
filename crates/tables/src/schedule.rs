//! Who works on what next: the calls that wait, the rooms that are open, and the three lanes of threads (writes, short reads, statements).
//! `src/threads.rs` asks under one lock, which is never held over disk or SQL; this file touches neither.
//!
//! A room's writes are at one thread at a time. A room is closed only when nothing of it waits or runs, so that a room in use never is; when
//! all that may be open are in use, calls for others wait.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::database::Database;
use crate::{Call, Method, Outcome, Settings};

pub(crate) type Done = Box<dyn FnOnce(Outcome) + Send>;

/// What one waiting call costs besides its payload.
const CALL_BYTES: usize = 512;

/// One call that waits.
pub(crate) struct Job {
    pub(crate) room: Arc<str>,
    pub(crate) call: Call,
    /// Taken when it is called.
    pub(crate) done: Option<Done>,
    pub(crate) is_admitted: Cell<bool>,
    /// When it came.
    pub(crate) submitted: Instant,
    /// A statement that was not done in a moment: others have their moment before it goes on.
    pub(crate) is_long: Cell<bool>,
}

impl Job {
    fn bytes(&self) -> usize {
        self.call.payload.len() + CALL_BYTES
    }

    /// Tells the caller. What they do with it must not end a thread.
    pub(crate) fn answer(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(done) = self.done.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| done(outcome)));
        }
    }
}

impl Drop for Job {
    /// A call that is dropped unanswered met a bug; its caller must not wait for ever.
    fn drop(&mut self) {
        if self.done.is_some() {
            self.tell(Outcome::failed("The server has failed at this call; see its log"));
        }
    }
}

/// How far a room's database is open.
enum Phase {
    Closed,
    /// Another thread opens or closes it.
    Busy,
    Open(Arc<Database>),
}

struct Room {
    phase: Phase,
    writes: VecDeque<Job>,
    is_writing: bool,
    is_deleting: bool,
    /// Reads that wait, and reads that run.
    reads: usize,
    running_reads: usize,
    /// Long statements that run.
    running_queries: usize,
    due: Option<Instant>,
    /// When it was last used, as a number that grows with each use.
    used: u64,
}

/// What a thread must do to get at a room's database.
pub(crate) enum Access {
    Open(Arc<Database>),
    /// Open it; before, close the other one if there is one.
    Opens(Option<(Arc<str>, Arc<Database>)>),
}

/// Work of one lane.
pub(crate) struct Work {
    pub(crate) room: Arc<str>,
    pub(crate) access: Access,
    /// None: what waits in memory is to be written.
    pub(crate) jobs: Vec<Job>,
}

/// How far the whole is.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Stage {
    Runs,
    /// What was submitted is finished; nothing new is taken.
    Finishes,
    Ended,
}

/// Everything that the lanes share.
pub(crate) struct Schedule {
    rooms: HashMap<Arc<str>, Room>,
    /// Rooms with writes that no thread has.
    ready: VecDeque<Arc<str>>,
    quick: VecDeque<Job>,
    queries: VecDeque<Job>,
    /// Statements that run, by their users, long ones apart.
    query_users: HashMap<(Arc<str>, bool), usize>,
    /// Short reads that run, by their users.
    quick_users: HashMap<Arc<str>, usize>,
    running_long: usize,
    timers: BTreeSet<(Instant, Arc<str>)>,
    open: usize,
    uses: u64,
    waiting_bytes: usize,
    running: usize,
    pub(crate) stage: Stage,
}

/// Who has read: the user, and of a statement whether it was a long one.
pub(crate) enum Reader {
    Quick(Arc<str>),
    Query((Arc<str>, bool)),
}

fn one_less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The lanes, for whoever must be woken.
#[derive(Clone, Copy)]
pub(crate) enum Lane {
    Writes,
    Quick,
    Queries,
}

impl Schedule {
    pub(crate) fn new() -> Schedule {
        Schedule {
            rooms: HashMap::new(),
            ready: VecDeque::new(),
            quick: VecDeque::new(),
            queries: VecDeque::new(),
            query_users: HashMap::new(),
            quick_users: HashMap::new(),
            running_long: 0,
            timers: BTreeSet::new(),
            open: 0,
            uses: 0,
            waiting_bytes: 0,
            running: 0,
            stage: Stage::Runs,
        }
    }

    /// Puts a call in line. The error gives it back with the reason.
    pub(crate) fn add(&mut self, settings: &Settings, job: Job) -> Result<Lane, Box<(Job, &'static str)>> {
        if self.stage != Stage::Runs {
            return Err(Box::new((job, "Room databases are closed")));
        }
        let room = self.room(&job.room);
        if room.writes.len() + room.reads >= settings.waiting_calls_max {
            return Err(Box::new((job, "Too many calls are waiting in this room. Please try again later.")));
        }
        if self.waiting_bytes + job.bytes() > settings.waiting_bytes_max {
            self.forget(&job.room);
            return Err(Box::new((job, "Too much is waiting for the disk. Please try again later.")));
        }
        self.waiting_bytes += job.bytes();
        if job.call.method.writes() {
            let name = job.room.clone();
            let room = self.room(&name);
            room.writes.push_back(job);
            if !room.is_writing && room.writes.len() == 1 {
                self.ready.push_back(name);
            }
            Ok(Lane::Writes)
        } else {
            self.room(&job.room).reads += 1;
            self.quick.push_back(job);
            Ok(Lane::Quick)
        }
    }

    /// A statement that was admitted waits for its turn. It is still counted as a read of its room.
    pub(crate) fn add_query(&mut self, job: Job) {
        self.waiting_bytes += job.bytes();
        self.room(&job.room).reads += 1;
        self.queries.push_back(job);
    }

    /// The next room's writes, or what has waited in memory long enough.
    pub(crate) fn next_writes(&mut self, settings: &Settings, now: Instant) -> Option<Work> {
        let slots = Slots::new(self, settings);
        let at = self.ready.iter().position(|name| self.can_use(name, slots));
        if let Some(at) = at
            && let Some(name) = self.ready.remove(at)
        {
            let access = self.access(&name, settings);
            let most = settings.batch_calls_max.max(1);
            let room = self.room(&name);
            room.is_writing = true;
            let many = room.writes.len().min(most);
            let jobs: Vec<Job> = room.writes.drain(..many).collect();
            self.running += 1;
            return Some(Work { room: name, access, jobs });
        }
        let is_due = |(due, name): &&(Instant, Arc<str>)| {
            *due <= now
                && self
                    .rooms
                    .get(name)
                    .is_some_and(|room| !room.is_writing && !room.is_deleting && room.writes.is_empty())
        };
        let (due, name) = self.timers.iter().take_while(|(due, _)| *due <= now).find(is_due)?.clone();
        self.timers.remove(&(due, name.clone()));
        let room = self.room(&name);
        room.due = None;
        let Phase::Open(database) = &room.phase else { return None };
        let access = Access::Open(database.clone());
        room.is_writing = true;
        self.running += 1;
        Some(Work { room: name, access, jobs: Vec::new() })
    }

    /// The next short read. If there are several threads, one is never at work for a user who has the others.
    pub(crate) fn next_quick(&mut self, settings: &Settings) -> Option<Work> {
        let slots = Slots::new(self, settings);
        let share = settings.quick_threads.saturating_sub(1).max(1);
        let is_fair = |job: &Job| self.quick_users.get(&job.call.caller.user).is_none_or(|count| *count < share);
        let at = self.quick.iter().position(|job| is_fair(job) && self.can_use(&job.room, slots))?;
        let job = self.quick.remove(at)?;
        *self.quick_users.entry(job.call.caller.user.clone()).or_default() += 1;
        Some(self.start_read(settings, job))
    }

    /// The next statement whose user and room have not their shares running; new ones first. One thread never runs long ones, if there are several.
    pub(crate) fn next_query(&mut self, settings: &Settings) -> Option<Work> {
        let slots = Slots::new(self, settings);
        let may_be_long = self.running_long < settings.query_threads.saturating_sub(1).max(1);
        let is_fair = |job: &Job, is_long: bool| {
            let user = (job.call.caller.user.clone(), is_long);
            let of_user = self.query_users.get(&user).copied().unwrap_or(0);
            let of_room = self.rooms.get(&job.room).map_or(0, |room| room.running_queries);
            of_user < settings.query_user_share.max(1) && (!is_long || of_room < settings.query_room_share.max(1))
        };
        let find = |is_long: bool| {
            let is_next = |job: &Job| job.is_long.get() == is_long && is_fair(job, is_long);
            self.queries.iter().position(|job| is_next(job) && self.can_use(&job.room, slots))
        };
        let waited = |job: &Job| job.is_long.get().then(|| job.submitted.elapsed().as_millis() as u64);
        // Whoever has waited too long is told so, whatever runs; and new ones do not go before for ever.
        let late =
            |job: &Job| waited(job).is_some_and(|ms| ms >= settings.query_ms_max) && self.can_use(&job.room, slots);
        let is_old = self.queries.iter().any(|job| waited(job).is_some_and(|ms| ms >= settings.query_ms_max / 4));
        let find_long = || if may_be_long { find(true) } else { None };
        let at = match self.queries.iter().position(late) {
            None if is_old => find_long().or_else(|| find(false)),
            None => find(false).or_else(find_long),
            late => late,
        }?;
        let job = self.queries.remove(at)?;
        let is_long = job.is_long.get();
        *self.query_users.entry((job.call.caller.user.clone(), is_long)).or_default() += 1;
        if is_long {
            self.running_long += 1;
            self.room(&job.room).running_queries += 1;
        }
        Some(self.start_read(settings, job))
    }

    fn start_read(&mut self, settings: &Settings, job: Job) -> Work {
        let access = self.access(&job.room, settings);
        let room = self.room(&job.room);
        room.reads -= 1;
        room.running_reads += 1;
        self.running += 1;
        Work { room: job.room.clone(), access, jobs: vec![job] }
    }

    /// A thread has opened the room's database, or has not; and the other one is closed, or still open.
    pub(crate) fn opened(
        &mut self,
        name: &Arc<str>,
        database: Option<&Arc<Database>>,
        victim: Option<(Arc<str>, Option<Arc<Database>>)>,
    ) {
        let is_open = database.is_some();
        self.room(name).phase = database.map_or(Phase::Closed, |database| Phase::Open(database.clone()));
        if !is_open {
            self.open -= 1;
        }
        if let Some((victim, kept)) = victim {
            let uses = self.next_use();
            let room = self.room(&victim);
            match kept {
                Some(database) => {
                    // It could not be written down: others are tried first, next time.
                    room.used = uses;
                    room.phase = Phase::Open(database);
                    self.open += 1;
                }
                None => {
                    room.phase = Phase::Closed;
                    self.forget(&victim);
                }
            }
        }
    }

    /// A thread has answered a room's writes, and `due` is when it must write again.
    pub(crate) fn wrote(&mut self, name: &Arc<str>, bytes: usize, due: Option<Instant>) {
        self.running -= 1;
        self.waiting_bytes -= bytes;
        let room = self.room(name);
        room.is_writing = false;
        let is_waiting = !room.writes.is_empty();
        if is_waiting {
            self.ready.push_back(name.clone());
        }
        self.set_timer(name, due);
        self.forget(name);
    }

    /// A thread has answered a read.
    pub(crate) fn read(&mut self, name: &Arc<str>, bytes: usize, due: Option<Instant>, by: &Reader) {
        self.running -= 1;
        self.waiting_bytes -= bytes;
        let room = self.room(name);
        room.running_reads -= 1;
        // What a write has set meanwhile stays.
        let due = due.into_iter().chain(room.due).min();
        match by {
            Reader::Quick(user) => one_less(&mut self.quick_users, user),
            Reader::Query(user) => {
                if user.1 {
                    room.running_queries -= 1;
                    self.running_long -= 1;
                }
                one_less(&mut self.query_users, user);
            }
        }
        self.set_timer(name, due);
        self.forget(name);
    }

    fn set_timer(&mut self, name: &Arc<str>, due: Option<Instant>) {
        let room = self.room(name);
        let due = due.filter(|_| matches!(room.phase, Phase::Open(_)));
        let before = std::mem::replace(&mut room.due, due);
        if before != due {
            if let Some(before) = before {
                self.timers.remove(&(before, name.clone()));
            }
            if let Some(due) = due {
                self.timers.insert((due, name.clone()));
            }
        }
    }

    /// When the next values in memory must be written, of those that are not late already: their rooms are at work.
    pub(crate) fn next_timer(&self, now: Instant) -> Option<Instant> {
        self.timers.iter().map(|(due, _)| *due).find(|due| *due > now)
    }

    /// Lanes in which something waits: whoever has changed what is free wakes them.
    pub(crate) fn waiting(&self) -> [bool; 3] {
        [!self.ready.is_empty(), !self.quick.is_empty(), !self.queries.is_empty()]
    }

    /// Whether everything that was submitted is answered.
    pub(crate) fn is_quiet(&self) -> bool {
        self.running == 0 && self.waiting() == [false; 3]
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// Keeps threads away from a room, and says whether none is there; what its database was. Calls that wait are for the next one.
    pub(crate) fn begin_delete(&mut self, name: &Arc<str>) -> Option<Option<Arc<Database>>> {
        let room = self.room(name);
        room.is_deleting = true;
        if room.is_writing || room.running_reads > 0 || matches!(room.phase, Phase::Busy) {
            return None;
        }
        self.set_timer(name, None);
        let room = self.room(name);
        match std::mem::replace(&mut room.phase, Phase::Busy) {
            Phase::Open(database) => Some(Some(database)),
            _ => {
                // The place of an open database is kept until the files are gone.
                self.open += 1;
                Some(None)
            }
        }
    }

    pub(crate) fn end_delete(&mut self, name: &Arc<str>) {
        if self.stage == Stage::Ended {
            return;
        }
        self.open -= 1;
        let room = self.room(name);
        room.phase = Phase::Closed;
        room.is_deleting = false;
        self.forget(name);
    }

    /// Whether somebody deletes the room already.
    pub(crate) fn is_deleting(&self, name: &str) -> bool {
        self.rooms.get(name).is_some_and(|room| room.is_deleting)
    }

    /// All open databases, to be closed at the end.
    pub(crate) fn end(&mut self) -> Vec<Arc<Database>> {
        self.stage = Stage::Ended;
        self.timers.clear();
        self.open = 0;
        let open = self.rooms.drain().filter_map(|(_, room)| match room.phase {
            Phase::Open(database) => Some(database),
            _ => None,
        });
        open.collect()
    }

    fn room(&mut self, name: &Arc<str>) -> &mut Room {
        self.rooms.entry(name.clone()).or_insert_with(|| Room {
            phase: Phase::Closed,
            writes: VecDeque::new(),
            is_writing: false,
            is_deleting: false,
            reads: 0,
            running_reads: 0,
            running_queries: 0,
            due: None,
            used: 0,
        })
    }

    /// A closed room of which nothing waits is not kept.
    fn forget(&mut self, name: &Arc<str>) {
        if self.rooms.get(name).is_some_and(|room| matches!(room.phase, Phase::Closed) && room.is_idle()) {
            self.rooms.remove(name);
        }
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn can_use(&self, name: &Arc<str>, slots: Slots) -> bool {
        self.rooms.get(name).is_some_and(|room| {
            !room.is_deleting
                && match room.phase {
                    Phase::Open(_) => true,
                    Phase::Busy => false,
                    Phase::Closed => slots.can_open,
                }
        })
    }

    /// Takes a room that can be used; one that is closed becomes this thread's to open.
    fn access(&mut self, name: &Arc<str>, settings: &Settings) -> Access {
        let used = self.next_use();
        let room = self.room(name);
        room.used = used;
        if let Phase::Open(database) = &room.phase {
            return Access::Open(database.clone());
        }
        room.phase = Phase::Busy;
        let victim = if self.open >= settings.open_max.max(1) { self.take_oldest() } else { None };
        self.open += 1;
        Access::Opens(victim)
    }

    fn take_oldest(&mut self) -> Option<(Arc<str>, Arc<Database>)> {
        let idle = self.rooms.iter().filter(|(_, room)| matches!(room.phase, Phase::Open(_)) && room.is_idle());
        let name = idle.min_by_key(|(_, room)| room.used).map(|(name, _)| name.clone())?;
        self.set_timer(&name, None);
        match std::mem::replace(&mut self.room(&name).phase, Phase::Busy) {
            Phase::Open(database) => {
                // Its place is the other's now: it is closed before that is opened.
                self.open -= 1;
                Some((name, database))
            }
            other => {
                self.room(&name).phase = other;
                None
            }
        }
    }
}

impl Room {
    fn is_idle(&self) -> bool {
        self.writes.is_empty() && !self.is_writing && !self.is_deleting && self.reads == 0 && self.running_reads == 0
    }
}

/// Whether one more database can be opened: looked up once for a search through a line.
#[derive(Clone, Copy)]
struct Slots {
    can_open: bool,
}

impl Slots {
    fn new(schedule: &Schedule, settings: &Settings) -> Slots {
        let is_free = schedule.open < settings.open_max.max(1);
        let has_idle = || schedule.rooms.values().any(|room| matches!(room.phase, Phase::Open(_)) && room.is_idle());
        Slots { can_open: is_free || has_idle() }
    }
}

/// What the calls cost while they wait.
pub(crate) fn bytes_of(jobs: &[Job]) -> usize {
    jobs.iter().map(Job::bytes).sum()
}

/// Whether a call is for the lane of statements.
pub(crate) fn is_query(job: &Job) -> bool {
    matches!(job.call.method, Method::ExecuteSql { .. })
}

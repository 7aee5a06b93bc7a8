//! The threads of the three lanes: each takes work from the schedule, opens the room if it must, does the work, answers. `src/tables.rs`
//! starts and ends them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::methods::{self, Ask, query};
use crate::payload::Payload;
use crate::rates::Rates;
use crate::schedule::{Access, Job, Lane, Reader, Schedule, Stage, Work, bytes_of, is_query};
use crate::writing::{self, Desk};
use crate::{Answer, Method, Outcome, Settings};

/// Payloads up to this size are looked at on the thread that submits them: a statement of 10,000 characters fits, however it is written, and it takes some
/// 50 microseconds.
const LOOKED_AT_BYTES_MAX: usize = 64 << 10;

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    schedule: Mutex<Schedule>,
    lanes: [Condvar; 3],
    /// For those who wait until a room or everything is quiet.
    pub(crate) changed: Condvar,
    pub(crate) rates: Rates,
    pub(crate) commits: AtomicU64,
    pub(crate) opens: AtomicU64,
    /// Running statements end when this is set.
    pub(crate) is_closing: Arc<AtomicBool>,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Shared {
        Shared {
            rates: Rates::new(settings.rate_windows_max),
            settings,
            schedule: Mutex::new(Schedule::new()),
            lanes: [Condvar::new(), Condvar::new(), Condvar::new()],
            changed: Condvar::new(),
            commits: AtomicU64::new(0),
            opens: AtomicU64::new(0),
            is_closing: Arc::default(),
        }
    }

    pub(crate) fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wake(&self, lane: Lane) {
        self.lanes[lane as usize].notify_one();
    }

    /// Something has become free, or has ended.
    pub(crate) fn wake_all(&self, schedule: &Schedule) {
        for (lane, is_waiting) in self.lanes.iter().zip(schedule.waiting()) {
            if is_waiting || schedule.stage != Stage::Runs {
                lane.notify_all();
            }
        }
        self.changed.notify_all();
    }

    pub(crate) fn desk(&self) -> Desk<'_> {
        Desk { settings: &self.settings, rates: &self.rates, commits: &self.commits }
    }

    /// The life of a thread.
    pub(crate) fn run(&self, lane: Lane) {
        let mut schedule = self.schedule();
        loop {
            let now = Instant::now();
            let work = match lane {
                Lane::Writes => schedule.next_writes(&self.settings, now),
                Lane::Quick => schedule.next_quick(&self.settings),
                Lane::Queries => schedule.next_query(&self.settings),
            };
            if let Some(work) = work {
                drop(schedule);
                match lane {
                    Lane::Writes => self.write(work),
                    Lane::Quick | Lane::Queries => self.read(work, lane),
                }
                schedule = self.schedule();
                continue;
            }
            if schedule.stage == Stage::Ended {
                return;
            }
            let condvar = &self.lanes[lane as usize];
            let timer = if matches!(lane, Lane::Writes) { schedule.next_timer(now) } else { None };
            schedule = match timer {
                Some(due) => condvar.wait_timeout(schedule, due - now).unwrap_or_else(PoisonError::into_inner).0,
                None => condvar.wait(schedule).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn write(&self, work: Work) {
        let Work { room, access, jobs } = work;
        let bytes = bytes_of(&jobs);
        let due = match self.database(&room, access) {
            Ok(database) => {
                let desk = self.desk();
                let result = catch_unwind(AssertUnwindSafe(|| writing::write(&desk, &database, jobs, Job::answer)));
                if result.is_err() {
                    writing::abandon(&database);
                }
                if database.due(&self.settings).is_some_and(|due| due <= Instant::now()) {
                    // What cannot be written waits on; whoever flushes or closes hears why.
                    let _ = writing::flush(&desk, &database);
                }
                database.due(&self.settings)
            }
            Err(why) => {
                jobs.into_iter().for_each(|job| job.answer(Outcome::failed(why.clone())));
                None
            }
        };
        let mut schedule = self.schedule();
        schedule.wrote(&room, bytes, due);
        self.wake_all(&schedule);
        if due.is_some() {
            self.wake(Lane::Writes);
        }
    }

    fn read(&self, work: Work, lane: Lane) {
        let Work { room, access, jobs } = work;
        let bytes = bytes_of(&jobs);
        let Some(job) = jobs.first() else { return };
        let user = job.call.caller.user.clone();
        let reader = match lane {
            Lane::Queries => Reader::Query((user, job.is_long.get())),
            Lane::Quick | Lane::Writes => Reader::Quick(user),
        };
        let mut due = None;
        let mut later = None;
        match self.database(&room, access) {
            Ok(database) => {
                for job in jobs {
                    let result = catch_unwind(AssertUnwindSafe(|| self.outcome(&database, &job, lane)));
                    match result {
                        Ok(Some(outcome)) => job.answer(outcome),
                        Ok(None) => later = Some(job),
                        Err(_) => drop(job),
                    }
                }
                due = database.due(&self.settings);
            }
            Err(why) => jobs.into_iter().for_each(|job| job.answer(Outcome::failed(why.clone()))),
        }
        let mut schedule = self.schedule();
        if let Some(job) = later {
            schedule.add_query(job);
        }
        schedule.read(&room, bytes, due, &reader);
        self.wake_all(&schedule);
        if due.is_some() {
            self.wake(Lane::Writes);
        }
    }

    /// The outcome of a statement; none if it needs longer than a moment and others are to have theirs first.
    fn statement(&self, database: &Database, ask: &Ask<'_>, job: &Job) -> Option<Outcome> {
        let most = Duration::from_millis(self.settings.query_ms_max);
        let moment = Duration::from_millis(self.settings.query_moment_ms);
        let (is_first, waited) = (!job.is_long.get() && moment < most, job.submitted.elapsed());
        if !is_first && waited >= most {
            return Some(Outcome::failed("Too many queries are running. Please try again later."));
        }
        // Whoever has waited is answered in time all the same.
        let allowed = if is_first { moment } else { most - waited.min(most / 2) };
        let outcome = match query::run(database, ask, &self.is_closing, allowed) {
            Some(result) => result.unwrap_or_else(Outcome::from),
            None if is_first => {
                job.is_long.set(true);
                return None;
            }
            None => query::too_long(&self.settings),
        };
        Some(self.counted(database, job, outcome))
    }

    /// Why a statement is not even looked at, where that can be said at once.
    pub(crate) fn refusal(&self, job: &Job) -> Option<Outcome> {
        if !is_query(job) || job.call.payload.len() > LOOKED_AT_BYTES_MAX || methods::lacks(&job.call).is_some() {
            return None;
        }
        query::admit(&self.ask(job)).err().map(Outcome::from)
    }

    fn ask<'a>(&'a self, job: &'a Job) -> Ask<'a> {
        Ask {
            room: &job.room,
            call: &job.call,
            payload: Payload::of(&job.call.payload),
            settings: &self.settings,
            rates: &self.rates,
            is_admitted: &job.is_admitted,
        }
    }

    /// The outcome of a read; none for a statement whose turn is later.
    fn outcome(&self, database: &Database, job: &Job, lane: Lane) -> Option<Outcome> {
        if let Some(text) = methods::lacks(&job.call) {
            return Some(Outcome::failed(text));
        }
        let ask = self.ask(job);
        let result = match (is_query(job), lane) {
            (true, Lane::Quick) => match query::admit(&ask) {
                Ok(()) => return None,
                Err(why) => Err(why),
            },
            (true, _) => return self.statement(database, &ask, job),
            (false, _) => methods::read(database, &ask),
        };
        Some(self.counted(database, job, result.unwrap_or_else(Outcome::from)))
    }

    /// Notes that a method was used, if it has not failed.
    fn counted(&self, database: &Database, job: &Job, outcome: Outcome) -> Outcome {
        let is_rerun = job.call.method == (Method::ExecuteSql { is_rerun: true });
        if !is_rerun && !matches!(outcome.answer, Answer::Failed(_)) {
            database.usage().count(job.call.now_ms, false);
        }
        outcome
    }

    /// The room's database. The error is a sentence for those who wait for it.
    fn database(&self, room: &Arc<str>, access: Access) -> Result<Arc<Database>, String> {
        let victim = match access {
            Access::Open(database) => return Ok(database),
            Access::Opens(victim) => victim,
        };
        let closed = victim.map(|(name, database)| match writing::flush(&self.desk(), &database) {
            Ok(()) => (name, close(database)),
            Err(why) => (name, Err((database, why))),
        });
        let (opened, victim) = match closed {
            Some((name, Err((database, why)))) => {
                let text = format!("Room database cannot be opened: another room cannot be closed, because {why}");
                (Err(text), Some((name, Some(database))))
            }
            Some((name, Ok(()))) => (self.open(room), Some((name, None))),
            None => (self.open(room), None),
        };
        let mut schedule = self.schedule();
        schedule.opened(room, opened.as_ref().ok(), victim);
        self.wake_all(&schedule);
        opened
    }

    fn open(&self, room: &str) -> Result<Arc<Database>, String> {
        self.opens.fetch_add(1, Ordering::Relaxed);
        let opened = catch_unwind(|| Database::open(&self.settings, room));
        opened.unwrap_or_else(|_| Err("Room database cannot be opened; see the server's log".to_owned())).map(Arc::new)
    }
}

/// Closes a database that nobody else has. What cannot be brought from the log into the database stays in the log.
fn close(database: Arc<Database>) -> Result<(), (Arc<Database>, String)> {
    if let Some(database) = Arc::into_inner(database) {
        let _ = database.close();
    }
    Ok(())
}

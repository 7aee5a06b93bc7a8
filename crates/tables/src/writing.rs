//! Group commit: all writes of a room that wait become one transaction, each in a savepoint, and are answered in their order when the commit
//! is on disk. Threads of the writing lane call this; what a write does is in `src/methods`.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use crate::database::{Database, is_full, is_out_of_memory, is_room_full, patiently, words};
use crate::methods::{self, Ask, Refusal, insert};
use crate::payload::Payload;
use crate::rates::Rates;
use crate::schedule::Job;
use crate::{Method, Outcome, Settings, debounced, usage};

/// What writes need besides the room.
pub(crate) struct Desk<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) rates: &'a Rates,
    pub(crate) commits: &'a AtomicU64,
}

/// Does the calls in their order and hands each outcome to `answer`.
pub(crate) fn write(desk: &Desk<'_>, database: &Database, jobs: Vec<Job>, mut answer: impl FnMut(Job, Outcome)) {
    let mut jobs = jobs.into_iter().peekable();
    while let Some(job) = jobs.next() {
        if let Some(text) = methods::lacks(&job.call) {
            answer(job, Outcome::failed(text));
        } else if is_transaction(&job) {
            let outcome = insert::run(&database.writer(), &ask(desk, &job), desk.commits).unwrap_or_else(Outcome::from);
            answer_counted(database, job, outcome, &mut answer);
        } else {
            let mut group = vec![job];
            while let Some(next) = jobs.next_if(|next| !is_transaction(next) && methods::lacks(&next.call).is_none()) {
                group.push(next);
            }
            let outcomes = commit(desk, database, &group);
            for (job, outcome) in group.into_iter().zip(outcomes) {
                answer_counted(database, job, outcome, &mut answer);
            }
        }
    }
}

/// Whether a call has a transaction of its own, or several: others share one.
fn is_transaction(job: &Job) -> bool {
    job.call.method == Method::BatchInsert && !insert::is_one_group(&job.call.payload)
}

/// Writes what waits in memory. The error is a sentence; the values then wait on.
pub(crate) fn flush(desk: &Desk<'_>, database: &Database) -> Result<(), String> {
    if !database.is_dirty() {
        return Ok(());
    }
    let db = database.writer();
    let try_once = || {
        let result = begin(&db).and_then(|()| end(desk, database, &db, true));
        if result.is_err() {
            rollback(&db);
        }
        result
    };
    patiently(try_once).map_err(|why| {
        database.debounced().postpone();
        database.usage().postpone();
        words(&why)
    })
}

fn ask<'a>(desk: &'a Desk<'_>, job: &'a Job) -> Ask<'a> {
    Ask {
        room: &job.room,
        call: &job.call,
        payload: Payload::of(&job.call.payload),
        settings: desk.settings,
        rates: desk.rates,
        is_admitted: &job.is_admitted,
    }
}

fn answer_counted(database: &Database, job: Job, outcome: Outcome, answer: &mut impl FnMut(Job, Outcome)) {
    if !matches!(outcome.answer, crate::Answer::Failed(_)) {
        database.usage().count(job.call.now_ms, true);
    }
    answer(job, outcome);
}

/// One transaction for all; if one of the calls makes SQLite give it up, one transaction for each.
fn commit(desk: &Desk<'_>, database: &Database, group: &[Job]) -> Vec<Outcome> {
    let db = database.writer();
    let run = |group: &[Job]| match patiently(|| transaction(desk, database, &db, group)) {
        Err(why) => Some(all_failed(group, &words(&why))),
        Ok(outcomes) => outcomes,
    };
    if let Some(outcomes) = run(group) {
        return outcomes;
    }
    let given_up = || Outcome::failed("The database has given up this write");
    group
        .iter()
        .map(|job| run(std::slice::from_ref(job)).and_then(|mut one| one.pop()).unwrap_or_else(given_up))
        .collect()
}

fn all_failed(group: &[Job], text: &str) -> Vec<Outcome> {
    group.iter().map(|_| Outcome::failed(text)).collect()
}

/// The outcomes of one transaction. None if SQLite has given it up on the way and there is more than one call to blame. The error is that
/// there was no memory; then nothing has happened.
fn transaction(
    desk: &Desk<'_>,
    database: &Database,
    db: &Connection,
    group: &[Job],
) -> rusqlite::Result<Option<Vec<Outcome>>> {
    if group.iter().all(|job| job.call.method == Method::UpdateDebounced) {
        // Nothing for the disk yet.
        let put = |job| methods::write(db, database, &ask(desk, job)).unwrap_or_else(Outcome::from);
        return Ok(Some(group.iter().map(put).collect()));
    }
    let refused = |why: &rusqlite::Error, bytes: usize| {
        if is_full(why) && is_room_full(db, bytes) { insert::FULL.to_owned() } else { words(why) }
    };
    match begin(db) {
        Err(why) if is_out_of_memory(&why) => return Err(why),
        Err(why) => return Ok(Some(all_failed(group, &words(&why)))),
        Ok(()) => {}
    }
    let mut outcomes = Vec::with_capacity(group.len());
    for job in group {
        let result = match one(desk, database, db, job) {
            Err(Refusal::Sql(why)) if is_out_of_memory(&why) => {
                rollback(db);
                return Err(why);
            }
            result => result,
        };
        if !db.is_autocommit() {
            outcomes.push(result.unwrap_or_else(Outcome::from));
            continue;
        }
        if group.len() > 1 {
            return Ok(None);
        }
        return Ok(match result {
            Err(Refusal::Sql(why)) => Some(all_failed(group, &refused(&why, job.call.payload.len()))),
            Err(why) => Some(vec![why.into()]),
            Ok(_) => None,
        });
    }
    let flushes = group.iter().any(|job| job.call.method == Method::FlushDebounced);
    let Err(why) = end(desk, database, db, flushes) else { return Ok(Some(outcomes)) };
    rollback(db);
    if is_out_of_memory(&why) {
        return Err(why);
    }
    if is_full(&why) && group.len() > 1 {
        // What is too much together may not be so alone.
        return Ok(None);
    }
    Ok(Some(all_failed(group, &refused(&why, group.iter().map(|job| job.call.payload.len()).sum()))))
}

/// One call in its savepoint.
fn one(desk: &Desk<'_>, database: &Database, db: &Connection, job: &Job) -> Result<Outcome, Refusal> {
    db.execute_batch("SAVEPOINT one_call")?;
    let result = methods::write(db, database, &ask(desk, job));
    if let Err(why) = &result {
        if let Refusal::Sql(why) = why
            && is_full(why)
            && !db.is_autocommit()
        {
            // What a full disk leaves of a transaction is not to be built upon.
            rollback(db);
        }
        if db.is_autocommit() {
            return result;
        }
        undone(db, "ROLLBACK TO one_call")?;
    }
    undone(db, "RELEASE one_call")?;
    result
}

/// Ends a part of a transaction. If even that fails, nothing of the whole may stay.
fn undone(db: &Connection, statement: &str) -> Result<(), Refusal> {
    db.execute_batch(statement).map_err(|why| {
        rollback(db);
        Refusal::Sql(why)
    })
}

/// Ends the transaction, with the counts of usage and, if wanted, the debounced values in it.
fn end(desk: &Desk<'_>, database: &Database, db: &Connection, with_debounced: bool) -> rusqlite::Result<()> {
    let debounced: Option<debounced::Written> =
        if with_debounced { Some(database.debounced().write(db)?) } else { None };
    let usage: Option<usage::Written> = database.usage().write(db)?;
    db.execute_batch("COMMIT")?;
    desk.commits.fetch_add(1, Ordering::Relaxed);
    if let Some(written) = debounced {
        database.debounced().settle(written);
    }
    if let Some(written) = usage {
        database.usage().settle(written);
    }
    Ok(())
}

/// Leaves no transaction behind after a bug.
pub(crate) fn abandon(database: &Database) {
    rollback(&database.writer());
}

fn begin(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch("BEGIN IMMEDIATE")
}

fn rollback(db: &Connection) {
    if !db.is_autocommit() {
        // If this fails too, the next BEGIN will say so.
        let _ = db.execute_batch("ROLLBACK");
    }
}

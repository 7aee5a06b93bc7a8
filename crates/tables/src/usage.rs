//! How many methods were called on which day. Counts wait in memory and go to disk with the next write, so that a read is none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

const DAY_MS: u64 = 86_400_000;
/// Days that wait at most: counts are written every few seconds, so more are there only if a caller's clock jumps about.
const DAYS_MAX: usize = 40;

/// Counts of one day.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Day {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) ai_ops: u64,
}

/// The counts of one room that are not written yet.
pub(crate) struct Usage {
    /// By days since 1970.
    waiting: BTreeMap<u64, Day>,
    since: Option<Instant>,
    /// Flushes that were committed. The database has the same number, so that a reader knows whether what it reads has the counts already.
    flushes: u64,
}

/// What a transaction has written, to be forgotten after its commit.
pub(crate) struct Written(BTreeMap<u64, Day>);

impl Usage {
    pub(crate) fn new(flushes: u64) -> Usage {
        Usage { waiting: BTreeMap::new(), since: None, flushes }
    }

    pub(crate) fn count(&mut self, now_ms: u64, is_write: bool) {
        let day = now_ms / DAY_MS;
        if self.waiting.len() >= DAYS_MAX && !self.waiting.contains_key(&day) {
            return;
        }
        let day = self.waiting.entry(day).or_default();
        if is_write {
            day.writes += 1;
        } else {
            day.reads += 1;
        }
        self.since.get_or_insert_with(Instant::now);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn due(&self, after: Duration) -> Option<Instant> {
        self.since.map(|since| since + after)
    }

    /// Adds the counts to the database in the transaction that is open.
    pub(crate) fn write(&self, db: &Connection) -> rusqlite::Result<Option<Written>> {
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let mut add = db.prepare_cached(
            "INSERT INTO _usage(date, reads, writes, ai_ops) VALUES (?1, ?2, ?3, ?4) ON CONFLICT(date) DO UPDATE SET
             reads = reads + excluded.reads, writes = writes + excluded.writes, ai_ops = ai_ops + excluded.ai_ops",
        )?;
        for (date, day) in &self.waiting {
            add.execute(params![date_of(*date), day.reads as i64, day.writes as i64, day.ai_ops as i64])?;
        }
        db.prepare_cached("UPDATE _meta SET value = ?1 WHERE name = 'usage_flushes'")?
            .execute([self.flushes as i64 + 1])?;
        Ok(Some(Written(self.waiting.clone())))
    }

    /// Forgets what is on disk.
    pub(crate) fn settle(&mut self, written: Written) {
        self.flushes += 1;
        for (date, done) in written.0 {
            let Some(day) = self.waiting.get_mut(&date) else { continue };
            day.reads -= done.reads;
            day.writes -= done.writes;
            day.ai_ops -= done.ai_ops;
            if *day == Day::default() {
                self.waiting.remove(&date);
            }
        }
        self.since = (!self.waiting.is_empty()).then(Instant::now);
    }

    /// Waits once more, after a write that has failed.
    pub(crate) fn postpone(&mut self) {
        self.since = self.since.map(|_| Instant::now());
    }

    /// The last 30 days by `now_ms`, newest first: what the database has and what waits. `waiting` and `flushes` were taken before the
    /// snapshot; if the snapshot is newer, it has them.
    pub(crate) fn read(db: &Connection, taken: &Taken, now_ms: u64) -> rusqlite::Result<Vec<(String, Day)>> {
        let today = now_ms / DAY_MS;
        let first = today.saturating_sub(29);
        let mut days: BTreeMap<String, Day> = BTreeMap::new();
        let mut list =
            db.prepare_cached("SELECT date, reads, writes, ai_ops FROM _usage WHERE date BETWEEN ?1 AND ?2")?;
        let mut rows = list.query([date_of(first), date_of(today)])?;
        while let Some(row) = rows.next()? {
            days.insert(row.get(0)?, Day { reads: row.get(1)?, writes: row.get(2)?, ai_ops: row.get(3)? });
        }
        let flushes: u64 =
            db.query_row("SELECT value FROM _meta WHERE name = 'usage_flushes'", [], |row| row.get(0))?;
        if flushes <= taken.flushes {
            for (date, more) in taken.waiting.range(first..=today) {
                let day = days.entry(date_of(*date)).or_default();
                day.reads += more.reads;
                day.writes += more.writes;
                day.ai_ops += more.ai_ops;
            }
        }
        Ok(days.into_iter().rev().collect())
    }

    /// The counts that wait, for a reader.
    pub(crate) fn taken(&self) -> Taken {
        Taken { waiting: self.waiting.clone(), flushes: self.flushes }
    }
}

/// Counts as they waited at some moment.
pub(crate) struct Taken {
    waiting: BTreeMap<u64, Day>,
    flushes: u64,
}

/// The date of a day, counted from 1970-01-01, in the Gregorian calendar. Years begin in March here, so that the leap day is the last.
fn date_of(day: u64) -> String {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (day, date) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_491, "2026-02-07"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date_of(day), date);
        }
    }
}

//! A recorded editing session, change by change through one writer to one reader. Called by the command line for `trace`. The file is what
//! `conformance/traces.mjs --write` makes: u32 LE count, then u32 LE length and bytes of each update.

use crate::LoadError;
use crate::fleet::Fleet;
use crate::peers::Peers;
use crate::protocol::{Clocks, UPDATE, ranges, sync};
use crate::report::{Figure, figure};
use crate::run::{Progress, Run};
use std::time::{Duration, Instant};

/// What is to be run.
pub(crate) struct Trace {
    /// Messages, ready to be sent.
    messages: Vec<Vec<u8>>,
    /// Client and clock that somebody has who has this update; None for one that only deletes.
    ends: Vec<Option<(u64, u64)>>,
    /// What a client has that has all of it.
    clocks: Clocks,
    /// Updates that the writer sends before the reader has them.
    in_flight: usize,
}

/// Without anything new for so long, nothing more comes.
const SETTLE: Duration = Duration::from_secs(2);

impl Trace {
    pub(crate) fn read(path: &str, in_flight: usize) -> Result<Self, LoadError> {
        let bytes = std::fs::read(path).map_err(|error| LoadError(format!("cannot read {path}: {error}")))?;
        let updates = updates_of(&bytes).ok_or_else(|| {
            LoadError(format!(
                "{path} is not a file of updates; make one with: node conformance/traces.mjs --write DIR"
            ))
        })?;
        let mut clocks = Clocks::default();
        for (place, update) in updates.iter().enumerate() {
            if !clocks.add(update) {
                return Err(LoadError(format!("{path}: update {place} cannot be read, or comes before what it needs")));
            }
        }
        let ends = updates.iter().map(|update| end_of(update)).collect();
        let messages = updates.into_iter().map(|update| sync(UPDATE, update)).collect();
        Ok(Self { messages, ends, clocks, in_flight: in_flight.max(1) })
    }

    pub(crate) fn run(&self, run: &Run) -> Result<Vec<Figure>, LoadError> {
        let mut fleet = Fleet::new(&run.target)?;
        let mut peers = Peers::default();
        let room = run.room("trace", 0);
        let writer = peers.add(&mut fleet, &room, Clocks::default())?;
        let reader = peers.add(&mut fleet, &room, Clocks::default())?;
        peers.sync_all(&mut fleet)?;

        let total = self.messages.len();
        let (meter, began) = (run.meter(), Instant::now());
        let (mut sent, mut merged, mut covered, mut read_s, mut acknowledged_s) = (0, 0, 0, None, None);
        let (mut seen, mut changed) = ((0, 0), began);
        let mut progress = Progress::new();
        loop {
            let quiet = changed.elapsed() > SETTLE;
            let messages = peers.all[reader].updates as usize;
            // Merged updates are fewer messages: clocks tell more, but nothing of deletions.
            self.cover(&peers.all[reader].clocks, sent, &mut covered);
            merged = merged.max(covered.saturating_sub(messages));
            if quiet && sent < total {
                // When nothing more comes, nothing is in flight.
                (merged, changed) = (sent.saturating_sub(messages), Instant::now());
            }
            let received = messages + merged;
            while sent < total && sent < received + self.in_flight {
                fleet.send(writer, &self.messages[sent]);
                sent += 1;
            }
            peers.turn(&mut fleet, Duration::from_millis(50))?;
            let now = (peers.all[reader].updates, peers.all[writer].updates);
            if now != seen {
                (seen, changed) = (now, Instant::now());
            }
            if read_s.is_none() && self.is_read(&peers, reader, sent, quiet) {
                // Merged, it is known only when nothing more comes; then it came before the wait.
                let at = if quiet { changed } else { Instant::now() };
                read_s = Some((at - began).as_secs_f64());
            }
            if acknowledged_s.is_none() && now.1 as usize >= total {
                acknowledged_s = Some(began.elapsed().as_secs_f64());
            }
            if (read_s.is_some() && acknowledged_s.is_some()) || (sent == total && quiet && changed.elapsed() > SETTLE)
            {
                break;
            }
            progress.tell(|| format!("replaying: {sent} of {total} sent, {} read, {} acknowledged", now.0, now.1));
        }
        let used = meter.read();

        // Somebody who comes later has everything too.
        let late = peers.add(&mut fleet, &room, Clocks::default())?;
        peers.sync_all(&mut fleet)?;
        let received = peers.all[reader].updates;
        let lost = match (read_s, peers.all[late].clocks.covers(&self.clocks)) {
            (Some(_), true) => 0,
            (Some(_), false) => 1,
            (None, _) => (total as u64).saturating_sub(received).max(1),
        };
        let mut figures = vec![
            figure("updates", "", Some(total as f64)),
            figure("updates_per_s", "1/s", read_s.map(|seconds| total as f64 / seconds)),
            figure("cpu_per_update", "us", used.server_us_per(total as f64)),
            figure("reader_has_all", "s", read_s),
            figure("acknowledged", "s", acknowledged_s),
            figure("rss", "MB", run.rss_bytes().map(|bytes| bytes as f64 / 1e6)),
            figure("document", "bytes", Some(peers.all[late].step_2_bytes as f64)),
            figure("sent", "", Some(sent as f64)),
            figure("delivered", "", Some(received as f64)),
            figure("lost", "", Some(lost as f64)),
        ];
        figures.extend(used.figures());
        Ok(figures)
    }

    /// Moves `covered` on behind the last update of those sent that these clocks have.
    fn cover(&self, clocks: &Clocks, sent: usize, covered: &mut usize) {
        let mut place = *covered;
        while place < sent {
            match self.ends[place] {
                Some((client, end)) if clocks.get(client) < end => return,
                Some(_) => *covered = place + 1,
                None => {}
            }
            place += 1;
        }
    }

    fn is_read(&self, peers: &Peers, reader: usize, sent: usize, quiet: bool) -> bool {
        let reader = &peers.all[reader];
        sent == self.messages.len() && (reader.updates as usize >= sent || quiet) && reader.clocks.covers(&self.clocks)
    }
}

fn end_of(update: &[u8]) -> Option<(u64, u64)> {
    let mut end = None;
    ranges(update, |client, clock, length| end = Some((client, clock + length)));
    end
}

fn updates_of(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = bytes;
    let count = take_u32(&mut rest)?;
    let mut updates = Vec::new();
    for _ in 0..count {
        let length = take_u32(&mut rest)?;
        updates.push(rest.split_off(..length)?);
    }
    rest.is_empty().then_some(updates)
}

fn take_u32(rest: &mut &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(rest.split_off(..4)?.try_into().ok()?) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_updates_are_read_whole_or_not_at_all() {
        let file = [2, 0, 0, 0, 1, 0, 0, 0, 9, 2, 0, 0, 0, 8, 7];
        assert_eq!(updates_of(&file), Some(vec![&[9][..], &[8, 7]]));
        assert_eq!(updates_of(&file[..14]), None);
        assert_eq!(updates_of(&[&file[..], &[1]].concat()), None);
    }

    #[test]
    fn clocks_tell_which_updates_a_reader_has() {
        let ends = vec![Some((1, 3)), None, Some((1, 5)), None, Some((2, 4)), Some((1, 6))];
        let trace = Trace { messages: Vec::new(), ends, clocks: Clocks::default(), in_flight: 1 };
        let mut clocks = Clocks::default();
        let mut covered = 0;
        for (client, clock, length, expected) in [(1, 0, 2, 0), (1, 2, 3, 3), (1, 5, 1, 3), (2, 0, 4, 5)] {
            clocks.cover(client, clock, length);
            trace.cover(&clocks, 5, &mut covered);
            assert_eq!(covered, expected, "{client} {clock}");
        }
    }
}

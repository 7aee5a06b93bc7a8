//! Rooms of clients of which some write: what it costs to hand a change to everybody else, and how long that takes. Called by the command line for
//! `fanout` and `rooms`.
//!
//! Open loop: each write has a time at which it is due, and its latency counts from there, so a server that stalls does not hide the waiting.
//! Saturated: each writer has so many updates under way, and sends the next when one has reached the last member of its room.
//! Every receiver keeps the clock of each writer, so that a lost, repeated or merged update is told from a delivered one.

use crate::LoadError;
use crate::fleet::{Fleet, Handler, Outgoing};
use crate::histogram::Histogram;
use crate::protocol::{
    Author, EMPTY_STEP_1, EMPTY_STEP_2, STEP_1, STEP_2, SYNC, UPDATE, author_and_clock, ranges, sync_message,
};
use crate::report::{Figure, figure};
use crate::run::{Progress, Run};
use std::time::{Duration, Instant};

/// How writers are paced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many updates a second in all, evenly spread.
    PerSecond(f64),
    /// So many updates under way per writer.
    InFlight(usize),
}

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Fanout {
    pub(crate) rooms: usize,
    /// In each room.
    pub(crate) clients: usize,
    /// Of these.
    pub(crate) writers: usize,
    pub(crate) pace: Pace,
    /// In each update; at least 32, so that one update is told from two merged ones by its length.
    pub(crate) text_bytes: usize,
}

/// Without anything new for so long, what has not come is lost.
const SETTLE: Duration = Duration::from_secs(3);

/// A relay never answers a step 1.
const SYNC_WAIT: Duration = Duration::from_millis(1_500);

struct Writer {
    author: Author,
    under_way: usize,
    /// When what is under way was sent, by sequence number; for saturation only.
    sent_ns: Vec<u64>,
    /// In the list of those that may write.
    ready: bool,
}

struct State {
    plan: Fanout,
    started: Instant,
    now_ns: u64,
    counting: bool,
    /// By client and writer of its room: how far it has read.
    clocks: Vec<u32>,
    answered: Vec<bool>,
    synced: Vec<bool>,
    synced_count: usize,
    /// Whose messages are handled: client, room, place in the room.
    current: (usize, usize, usize),
    writers: Vec<Writer>,
    ready: Vec<usize>,
    latencies: Histogram,
    delivered: u64,
    delivered_in_all: u64,
    sent: u64,
    gaps: u64,
    repeated: u64,
    /// Open loop: when update 0 is due, and how long after it update n of all is.
    first_ns: f64,
    interval_ns: f64,
}

impl Fanout {
    pub(crate) fn run(&self, run: &Run) -> Result<Vec<Figure>, LoadError> {
        let mut fleet = Fleet::new(&run.target)?;
        let mut state = State::new(self);
        for room in 0..self.rooms {
            let name = run.room("fanout", room);
            for _ in 0..self.clients {
                fleet.add(&name)?;
            }
        }
        let connecting = Instant::now();
        state.connect(&mut fleet)?;
        let connect_s = connecting.elapsed().as_secs_f64();
        state.begin(&mut fleet);
        state.write_until(&mut fleet, run.warm_up_s, "warming up")?;
        let meter = run.meter();
        state.counting = true;
        state.write_until(&mut fleet, run.seconds, "measuring")?;
        state.counting = false;
        let used = meter.read();
        let rss = run.rss_bytes();
        let lost = state.settle(&mut fleet)?;
        let delivered = state.delivered as f64;
        let mut figures = vec![
            figure("connect", "s", Some(connect_s)),
            figure("deliveries", "1/s", Some(delivered / used.seconds)),
            figure("cpu_per_delivery", "us", used.server_us_per(delivered)),
            figure("p50", "ms", state.latencies.quantile_ms(0.5)),
            figure("p99", "ms", state.latencies.quantile_ms(0.99)),
            figure("max", "ms", state.latencies.quantile_ms(1.0)),
            figure("rss", "MB", rss.map(|bytes| bytes as f64 / 1e6)),
            figure("sent", "", Some(state.sent as f64)),
            figure("delivered_in_all", "", Some(state.delivered_in_all as f64)),
            figure("repeated", "", Some(state.repeated as f64)),
            figure("lost", "", Some(lost as f64)),
        ];
        figures.extend(used.figures());
        Ok(figures)
    }
}

impl State {
    fn new(plan: &Fanout) -> Self {
        let (members, writers) = (plan.rooms * plan.clients, plan.rooms * plan.writers);
        let window = match plan.pace {
            Pace::PerSecond(_) => 0,
            Pace::InFlight(limit) => limit.next_power_of_two(),
        };
        let interval_ns = match plan.pace {
            Pace::PerSecond(rate) => 1e9 / rate,
            Pace::InFlight(_) => 0.0,
        };
        let writer = |client| Writer {
            author: Author::new(client as u64),
            under_way: 0,
            sent_ns: vec![0; window],
            ready: false,
        };
        Self {
            plan: plan.clone(),
            started: Instant::now(),
            now_ns: 0,
            counting: false,
            clocks: vec![0; members * plan.writers],
            answered: vec![false; members],
            synced: vec![false; members],
            current: (0, 0, 0),
            synced_count: 0,
            writers: (1..=writers).map(writer).collect(),
            ready: Vec::new(),
            latencies: Histogram::default(),
            delivered: 0,
            delivered_in_all: 0,
            sent: 0,
            gaps: 0,
            repeated: 0,
            first_ns: 0.0,
            interval_ns,
        }
    }

    fn connect(&mut self, fleet: &mut Fleet) -> Result<(), LoadError> {
        let mut progress = Progress::new();
        let mut changed = Instant::now();
        let mut before = 0;
        while fleet.open() < fleet.len() || (self.synced_count < fleet.len() && changed.elapsed() < SYNC_WAIT) {
            fleet.turn(Some(Duration::from_millis(100)), self)?;
            if fleet.open() + self.synced_count != before {
                before = fleet.open() + self.synced_count;
                changed = Instant::now();
            }
            progress
                .tell(|| format!("connecting: {} of {} open, {} synced", fleet.open(), fleet.len(), self.synced_count));
        }
        Ok(())
    }

    fn begin(&mut self, fleet: &mut Fleet) {
        match self.plan.pace {
            Pace::PerSecond(_) => {
                self.first_ns = (self.started.elapsed() + Duration::from_millis(50)).as_nanos() as f64;
            }
            Pace::InFlight(_) => {
                for writer in 0..self.writers.len() {
                    self.make_ready(writer);
                }
                self.top_up(fleet);
            }
        }
    }

    fn write_until(&mut self, fleet: &mut Fleet, seconds: f64, what: &str) -> Result<(), LoadError> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut progress = Progress::new();
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let mut wait = end - now;
            match self.plan.pace {
                Pace::PerSecond(_) => {
                    let now_ns = (now - self.started).as_nanos() as f64;
                    while self.due_ns(self.sent) <= now_ns {
                        // Writers take turns, so an update's time follows from its number.
                        let writer = (self.sent % self.writers.len() as u64) as usize;
                        self.write(fleet, writer);
                    }
                    let next_ns = self.due_ns(self.sent) - now_ns;
                    wait = wait.min(Duration::from_nanos(next_ns.max(0.0) as u64));
                }
                Pace::InFlight(_) => self.top_up(fleet),
            }
            fleet.turn(Some(wait.min(Duration::from_millis(100))), self)?;
            progress.tell(|| format!("{what}: {} sent, {} delivered", self.sent, self.delivered_in_all));
        }
    }

    fn due_ns(&self, number: u64) -> f64 {
        self.first_ns + number as f64 * self.interval_ns
    }

    fn make_ready(&mut self, writer: usize) {
        if !std::mem::replace(&mut self.writers[writer].ready, true) {
            self.ready.push(writer);
        }
    }

    fn top_up(&mut self, fleet: &mut Fleet) {
        let Pace::InFlight(limit) = self.plan.pace else { return };
        let now_ns = self.started.elapsed().as_nanos() as u64;
        while let Some(writer) = self.ready.pop() {
            self.writers[writer].ready = false;
            while self.writers[writer].under_way < limit {
                let state = &mut self.writers[writer];
                let sequence = state.author.clock as usize / self.plan.text_bytes;
                let window = state.sent_ns.len();
                state.sent_ns[sequence & (window - 1)] = now_ns;
                state.under_way += 1;
                self.write(fleet, writer);
            }
        }
    }

    fn write(&mut self, fleet: &mut Fleet, writer: usize) {
        const LINE: &[u8] = b"the quick brown fox jumps over the lazy dog and types on, ";
        let (room, member) = (writer / self.plan.writers, writer % self.plan.writers);
        let mut text = [0; 4_096];
        let length = self.plan.text_bytes.min(text.len());
        text[..length].iter_mut().zip(LINE.iter().cycle()).for_each(|(byte, line)| *byte = *line);
        let mut update = Vec::with_capacity(length + 40);
        self.writers[writer].author.append(&text[..length], &mut update);
        let mut message = Vec::with_capacity(update.len() + 8);
        message.extend([SYNC, UPDATE]);
        crate::protocol::var_bytes(&mut message, &update);
        fleet.send(room * self.plan.clients + member, &message);
        self.sent += 1;
    }

    /// Waits until everything sent has arrived everywhere. How many deliveries have not.
    fn settle(&mut self, fleet: &mut Fleet) -> Result<u64, LoadError> {
        let (mut before, mut changed) = (0, Instant::now());
        let mut progress = Progress::new();
        loop {
            let lost = self.missing();
            if lost == 0 || changed.elapsed() > SETTLE {
                return Ok(lost);
            }
            // The count of the missing walks all clocks: not in every turn.
            let until = Instant::now() + Duration::from_millis(20);
            while Instant::now() < until {
                fleet.turn(Some(Duration::from_millis(20)), self)?;
            }
            if self.delivered_in_all != before {
                before = self.delivered_in_all;
                changed = Instant::now();
            }
            progress.tell(|| format!("waiting for {lost} deliveries"));
        }
    }

    /// Deliveries that have not come, from the clocks that receivers have.
    fn missing(&self) -> u64 {
        let mut missing = 0;
        for (place, &clock) in self.clocks.iter().enumerate() {
            let (who, index) = (place / self.plan.writers, place % self.plan.writers);
            if who % self.plan.clients == index {
                continue;
            }
            let writer = &self.writers[who / self.plan.clients * self.plan.writers + index];
            missing += (writer.author.clock - u64::from(clock)) / self.plan.text_bytes as u64;
        }
        missing + self.gaps
    }

    /// Whether what reaches this member has reached the room: it is the last, or the last but one for the last one's own.
    fn observes(&self, member: usize, index: usize) -> bool {
        let last = self.plan.clients - 1;
        member == if index == last { last.saturating_sub(1) } else { last }
    }

    /// Takes note that the current client has this writer's text up to `end`, from `clock` on.
    #[inline]
    fn covered(&mut self, author: u64, clock: u64, end: u64) {
        let (plan, (who, room, member)) = (&self.plan, self.current);
        let Some(index) = (author as usize).checked_sub(1 + room * plan.writers).filter(|&index| index < plan.writers)
        else {
            return;
        };
        if index == member {
            return;
        }
        let known = &mut self.clocks[who * plan.writers + index];
        let before = u64::from(*known);
        if end <= before {
            self.repeated += 1;
            return;
        }
        if clock > before {
            self.gaps += (clock - before) / plan.text_bytes as u64;
        }
        *known = end as u32;
        let from = clock.max(before);
        let count = (end - from) / plan.text_bytes as u64;
        self.delivered_in_all += count;
        let writer = room * plan.writers + index;
        let observes = self.observes(member, index);
        if self.counting {
            self.delivered += count;
            self.note_latency(writer, from / self.plan.text_bytes as u64, observes);
        }
        if observes && let Pace::InFlight(_) = self.plan.pace {
            let state = &mut self.writers[writer];
            state.under_way = state.under_way.saturating_sub(count as usize);
            self.make_ready(writer);
        }
    }

    #[inline]
    fn note_latency(&mut self, writer: usize, sequence: u64, observes: bool) {
        let due_ns = match self.plan.pace {
            Pace::PerSecond(_) => self.due_ns(sequence * self.writers.len() as u64 + writer as u64) as u64,
            Pace::InFlight(_) if observes => {
                let sent = &self.writers[writer].sent_ns;
                sent[sequence as usize & (sent.len() - 1)]
            }
            Pace::InFlight(_) => return,
        };
        self.latencies.add(self.now_ns.saturating_sub(due_ns) / 1_000);
    }
}

impl Handler for State {
    fn opened(&mut self, _who: usize, out: &mut Outgoing<'_>) {
        out.message(EMPTY_STEP_1);
    }

    fn arrived(&mut self, who: usize, at: Instant) {
        self.current = (who, who / self.plan.clients, who % self.plan.clients);
        self.now_ns = (at - self.started).as_nanos() as u64;
    }

    #[inline]
    fn message(&mut self, who: usize, message: &[u8], out: &mut Outgoing<'_>) {
        let Some((step, payload)) = sync_message(message) else { return };
        if step != UPDATE {
            // Only the first of each: a relay hands on everybody's.
            if step == STEP_1 && !std::mem::replace(&mut self.answered[who], true) {
                out.message(EMPTY_STEP_2);
            }
            if step == STEP_2 && !std::mem::replace(&mut self.synced[who], true) {
                self.synced_count += 1;
            }
            if step == STEP_1 || payload.len() <= 2 {
                return;
            }
        }
        if payload.len() < 2 * self.plan.text_bytes
            && let Some((author, clock)) = author_and_clock(payload)
        {
            self.covered(author, clock, clock + self.plan.text_bytes as u64);
        } else {
            let mut found = Vec::new();
            ranges(payload, |client, clock, length| found.push((client, clock, length)));
            for (client, clock, length) in found {
                self.covered(client, clock, clock + length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sync;

    const PLAN: Fanout = Fanout { rooms: 2, clients: 3, writers: 2, pace: Pace::InFlight(4), text_bytes: 40 };

    /// Hands updates of both writers of the second room to its member 2, which observes them. What is missing, what came again, what is under way.
    fn after(deliver: impl FnOnce(&mut dyn FnMut(&[u8]), [&[Vec<u8>]; 2])) -> (u64, u64, [usize; 2]) {
        let mut state = State::new(&PLAN);
        let updates = [2, 3].map(|writer: usize| {
            let mut messages = Vec::new();
            for _ in 0..3 {
                let mut update = Vec::new();
                state.writers[writer].author.append(&[b'x'; 40], &mut update);
                state.writers[writer].under_way += 1;
                messages.push(sync(UPDATE, &update));
            }
            messages
        });
        // The other members have everything.
        for (who, writer) in [(3, 1), (4, 0)] {
            state.clocks[who * PLAN.writers + writer] = 120;
        }
        state.arrived(5, state.started);
        let mut unsent = Vec::new();
        deliver(&mut |message| state.message(5, message, &mut Outgoing::to(&mut unsent)), [&updates[0], &updates[1]]);
        (state.missing(), state.repeated, [2, 3].map(|writer| state.writers[writer].under_way))
    }

    #[test]
    fn what_is_delivered_lost_repeated_and_merged_is_told_apart() {
        let all = after(|deliver, [first, second]| first.iter().chain(second).for_each(|update| deliver(update)));
        assert_eq!(all, (0, 0, [0, 0]));
        let gap = after(|deliver, [first, second]| {
            [&first[0], &first[2]].into_iter().chain(second).for_each(|update| deliver(update));
        });
        assert_eq!(gap, (1, 0, [1, 0]));
        let repeated = after(|deliver, [first, second]| {
            first.iter().chain(second).chain(&first[1..2]).for_each(|update| deliver(update));
        });
        assert_eq!(repeated, (0, 1, [0, 0]));
        let merged = after(|deliver, [_, second]| {
            deliver(&second[0]);
            // Both authors' 120 characters as one struct each.
            let mut update = vec![2, 1, 4, 0, 4, 1, 1, b't', 120];
            update.extend([b'x'; 120]);
            update.extend([1, 3, 0, 4, 1, 1, b't', 120]);
            update.extend([b'x'; 120]);
            update.push(0);
            deliver(&sync(UPDATE, &update));
        });
        assert_eq!(merged, (0, 0, [0, 0]));
    }
}

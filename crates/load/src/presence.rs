//! Cursors: everybody in a room renews its awareness state and hands on each state that it learns of, as providers do. Called by the command line for
//! `presence`. What counts is covered states: a newer clock of another client has reached a receiver, whether one by one or several at once.

use crate::LoadError;
use crate::fleet::{Fleet, Handler, Outgoing};
use crate::histogram::Histogram;
use crate::protocol::{
    AWARENESS, EMPTY_STEP_1, EMPTY_STEP_2, STEP_1, STEP_2, read_var_bytes, read_var_uint, sync_message, var_bytes,
    var_uint,
};
use crate::report::{Figure, figure};
use crate::run::{Progress, Run};
use std::time::{Duration, Instant};

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presence {
    pub(crate) clients: usize,
    /// New states of each client in a second.
    pub(crate) rate: f64,
    /// Whether states of others are handed on.
    pub(crate) copies: bool,
}

/// Without anything new for so long, what has not come is lost.
const SETTLE: Duration = Duration::from_secs(3);

struct State {
    plan: Presence,
    started: Instant,
    now_ns: u64,
    counting: bool,
    /// By receiver and author.
    clocks: Vec<u32>,
    synced: usize,
    latencies: Histogram,
    covered: u64,
    covered_in_all: u64,
    messages: u64,
    copies_sent: u64,
    /// New states so far; number n is of client n modulo all, and due n intervals after the first.
    sent: u64,
    first_ns: f64,
    interval_ns: f64,
    /// States to hand on, while a message is read.
    fresh: Vec<u8>,
}

impl Presence {
    pub(crate) fn run(&self, run: &Run) -> Result<Vec<Figure>, LoadError> {
        let mut fleet = Fleet::new(&run.target)?;
        let room = run.room("presence", 0);
        for _ in 0..self.clients {
            fleet.add(&room)?;
        }
        let mut state = State::new(self);
        let (mut progress, connecting) = (Progress::new(), Instant::now());
        while fleet.open() < self.clients || (state.synced < self.clients && connecting.elapsed() < SETTLE) {
            fleet.turn(Some(Duration::from_millis(50)), &mut state)?;
            progress.tell(|| format!("connecting: {} of {} open", fleet.open(), self.clients));
        }
        state.first_ns = state.started.elapsed().as_nanos() as f64;
        state.renew_for(&mut fleet, run.warm_up_s, "warming up")?;
        let meter = run.meter();
        let (messages, copies) = (state.messages, state.copies_sent);
        state.counting = true;
        state.renew_for(&mut fleet, run.seconds, "measuring")?;
        state.counting = false;
        let used = meter.read();
        let seconds = used.seconds;
        let (messages, copies) = (state.messages - messages, state.copies_sent - copies);
        let lost = state.settle(&mut fleet)?;
        let mut figures = vec![
            figure("states_covered", "1/s", Some(state.covered as f64 / seconds)),
            figure("cpu_per_state", "us", used.server_us_per(state.covered as f64)),
            figure("p50", "ms", state.latencies.quantile_ms(0.5)),
            figure("p99", "ms", state.latencies.quantile_ms(0.99)),
            figure("max", "ms", state.latencies.quantile_ms(1.0)),
            figure("messages_to_clients", "1/s", Some(messages as f64 / seconds)),
            figure("copies_to_server", "1/s", Some(copies as f64 / seconds)),
            figure("rss", "MB", run.rss_bytes().map(|bytes| bytes as f64 / 1e6)),
            figure("sent", "", Some(state.sent as f64)),
            figure("covered_in_all", "", Some(state.covered_in_all as f64)),
            figure("lost", "", Some(lost as f64)),
        ];
        figures.extend(used.figures());
        Ok(figures)
    }
}

impl State {
    fn new(plan: &Presence) -> Self {
        Self {
            plan: *plan,
            started: Instant::now(),
            now_ns: 0,
            counting: false,
            clocks: vec![0; plan.clients * plan.clients],
            synced: 0,
            latencies: Histogram::default(),
            covered: 0,
            covered_in_all: 0,
            messages: 0,
            copies_sent: 0,
            sent: 0,
            first_ns: 0.0,
            interval_ns: 1e9 / (plan.rate * plan.clients as f64),
            fresh: Vec::new(),
        }
    }

    fn renew_for(&mut self, fleet: &mut Fleet, seconds: f64, what: &str) -> Result<(), LoadError> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut progress = Progress::new();
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let now_ns = (now - self.started).as_nanos() as f64;
            while self.due_ns(self.sent) <= now_ns {
                self.renew(fleet);
            }
            let next = Duration::from_nanos((self.due_ns(self.sent) - now_ns).max(0.0) as u64);
            fleet.turn(Some(next.min(end - now)), self)?;
            progress.tell(|| format!("{what}: {} states sent, {} covered", self.sent, self.covered_in_all));
        }
    }

    fn due_ns(&self, number: u64) -> f64 {
        self.first_ns + number as f64 * self.interval_ns
    }

    fn renew(&mut self, fleet: &mut Fleet) {
        let clients = self.plan.clients as u64;
        let (who, clock) = (self.sent % clients, self.sent / clients + 1);
        let state = format!(
            "{{\"user\":{{\"name\":\"User {who}\",\"color\":\"#{:06x}\"}},\"cursor\":{{\"anchor\":{clock},\"head\":{clock}}}}}",
            who * 163_841 % 0x0100_0000
        );
        let mut update = vec![1];
        var_uint(&mut update, who + 1);
        var_uint(&mut update, clock);
        var_bytes(&mut update, state.as_bytes());
        fleet.send(who as usize, &awareness(&update));
        self.sent += 1;
    }

    /// Waits until everybody has the last state of everybody. How many states did not come, nor a later one.
    fn settle(&mut self, fleet: &mut Fleet) -> Result<u64, LoadError> {
        let (mut before, mut changed) = (0, Instant::now());
        let clients = self.plan.clients as u64;
        let expected = self.sent * (clients - 1);
        while self.covered_in_all < expected && changed.elapsed() < SETTLE {
            fleet.turn(Some(Duration::from_millis(20)), self)?;
            if self.covered_in_all != before {
                (before, changed) = (self.covered_in_all, Instant::now());
            }
        }
        Ok(expected.saturating_sub(self.covered_in_all))
    }

    /// Takes note of one state. True: it is news.
    fn cover(&mut self, who: usize, client: u64, clock: u64) -> bool {
        let clients = self.plan.clients;
        let Some(author) = (client as usize).checked_sub(1).filter(|&author| author < clients && author != who) else {
            return false;
        };
        let known = &mut self.clocks[who * clients + author];
        let before = u64::from(*known);
        if clock <= before || clock > self.sent {
            return false;
        }
        *known = clock as u32;
        self.covered_in_all += clock - before;
        if self.counting {
            self.covered += clock - before;
            for clock in before..clock {
                let due_ns = self.due_ns(clock * clients as u64 + author as u64) as u64;
                self.latencies.add(self.now_ns.saturating_sub(due_ns) / 1_000);
            }
        }
        true
    }

    /// Reads an awareness update, and gathers what is news of it.
    fn read(&mut self, who: usize, update: &[u8]) -> Option<u64> {
        let mut rest = update;
        let mut news = 0;
        self.fresh.clear();
        for _ in 0..read_var_uint(&mut rest)? {
            let entry = rest;
            let (client, clock) = (read_var_uint(&mut rest)?, read_var_uint(&mut rest)?);
            read_var_bytes(&mut rest)?;
            if self.cover(who, client, clock) {
                news += 1;
                self.fresh.extend_from_slice(&entry[..entry.len() - rest.len()]);
            }
        }
        Some(news)
    }
}

impl Handler for State {
    fn opened(&mut self, _who: usize, out: &mut Outgoing<'_>) {
        out.message(EMPTY_STEP_1);
    }

    fn arrived(&mut self, _who: usize, at: Instant) {
        self.now_ns = (at - self.started).as_nanos() as u64;
    }

    fn message(&mut self, who: usize, message: &[u8], out: &mut Outgoing<'_>) {
        if let Some((step, _)) = sync_message(message) {
            if step == STEP_1 {
                out.message(EMPTY_STEP_2);
            }
            self.synced += usize::from(step == STEP_2);
            return;
        }
        let Some(mut rest) = message.strip_prefix(&[AWARENESS]) else { return };
        let Some(update) = read_var_bytes(&mut rest) else { return };
        self.messages += 1;
        let news = self.read(who, update).unwrap_or_default();
        if news > 0 && self.plan.copies {
            let mut update = Vec::with_capacity(self.fresh.len() + 4);
            var_uint(&mut update, news);
            update.extend_from_slice(&self.fresh);
            out.message(&awareness(&update));
            self.copies_sent += news;
        }
    }
}

fn awareness(update: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(update.len() + 4);
    message.push(AWARENESS);
    var_bytes(&mut message, update);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_counts_once_and_a_later_one_for_those_between() {
        let mut state = State::new(&Presence { clients: 3, rate: 10.0, copies: true });
        state.sent = 30;
        let update = [2, 1, 2, 2, b'{', b'}', 2, 5, 2, b'{', b'}'];
        assert_eq!(state.read(1, &update), Some(1), "its own state is no news");
        assert_eq!(state.fresh, [1, 2, 2, b'{', b'}']);
        assert_eq!(state.covered_in_all, 2);
        assert_eq!(state.read(1, &update), Some(0));
        assert_eq!(state.read(0, &update), Some(1));
        assert_eq!(state.covered_in_all, 7);
        assert_eq!(state.read(0, &update[..8]), None);
    }
}

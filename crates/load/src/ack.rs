//! Acknowledgements: how long one author waits until the server says that it has a change, and whether it still has it after a crash. Called by the
//! command line for `ack`. In y-websocket the author's own update comes back; hocuspocus sends a status for each; y-sweet answers with the version it was asked about.

use crate::LoadError;
use crate::dialect::Dialect;
use crate::fleet::{Fleet, Handler, Outgoing};
use crate::histogram::Histogram;
use crate::peers::Peers;
use crate::protocol::{
    Author, Clocks, EMPTY_STEP_1, EMPTY_STEP_2, STEP_1, STEP_2, UPDATE, ranges, read_var_bytes, read_var_uint, sync,
    sync_message, var_bytes, var_uint,
};
use crate::report::{Figure, figure};
use crate::run::{Progress, Run};
use std::time::{Duration, Instant};

/// Types of messages that acknowledge, in hocuspocus and y-sweet.
const SYNC_STATUS: u8 = 8;
const Y_SWEET_SYNC_STATUS: u8 = 102;

/// Bytes of text in each update.
const TEXT: &[u8] = b"a sentence that somebody has typed, and wants to be saved before the lid is closed";

/// Until what was acknowledged before a crash has been read, or what was sent before the end of a run is acknowledged.
const SETTLE: Duration = Duration::from_secs(3);

/// What is to be run.
pub(crate) struct Ack {
    /// Updates a second.
    pub(crate) rate: f64,
    /// Seconds of writing before the server is killed.
    pub(crate) kill_after_s: f64,
}

struct State {
    dialect: Dialect,
    author: Author,
    started: Instant,
    now_ns: u64,
    synced: bool,
    writing: bool,
    closed: bool,
    counting: bool,
    /// Updates sent and acknowledged.
    sent: u64,
    acknowledged: u64,
    /// Those before were due before measuring began.
    counts_from: u64,
    latencies: Histogram,
    first_ns: f64,
    interval_ns: f64,
}

impl Ack {
    pub(crate) fn run(&self, run: &Run) -> Result<Vec<Figure>, LoadError> {
        let mut fleet = Fleet::new(&run.target)?;
        let room = run.room("ack", 0);
        fleet.add(&room)?;
        let mut state = State::new(run.target.dialect, self.rate);
        let began = Instant::now();
        while !state.synced {
            fleet.turn(Some(Duration::from_millis(20)), &mut state)?;
            if began.elapsed() > SETTLE {
                return Err(LoadError(format!("the server has sent no step 2 within {} s", SETTLE.as_secs())));
            }
        }
        // A server may acknowledge the handshake's own step 2 as well.
        state.turn_for(&mut fleet, 0.3)?;
        state.begin();
        state.write_for(&mut fleet, run.warm_up_s, "warming up")?;
        (state.counting, state.counts_from) = (true, state.sent);
        let meter = run.meter();
        state.write_for(&mut fleet, run.seconds, "measuring")?;
        let used = meter.read();
        let measured = state.sent - state.counts_from;
        let settling = Instant::now();
        while state.acknowledged < state.sent && settling.elapsed() < SETTLE {
            fleet.turn(Some(Duration::from_millis(20)), &mut state)?;
        }
        let missing = state.sent - state.acknowledged;
        state.counting = false;
        let mut figures = vec![
            figure("updates", "1/s", Some(measured as f64 / used.seconds)),
            figure("p50", "ms", state.latencies.quantile_ms(0.5)),
            figure("p99", "ms", state.latencies.quantile_ms(0.99)),
            figure("max", "ms", state.latencies.quantile_ms(1.0)),
            figure("cpu_per_update", "us", used.server_us_per(measured as f64)),
            figure("acknowledgements", "", Some(state.latencies.count() as f64)),
            figure("not_acknowledged", "", Some(missing as f64)),
        ];
        figures.extend(used.figures());
        if run.server.is_some() {
            figures.extend(self.crash(run, &room, &mut fleet, &mut state)?);
        }
        Ok(figures)
    }

    /// Kills the server while updates are under way, and looks for those that were acknowledged.
    fn crash(&self, run: &Run, room: &str, fleet: &mut Fleet, state: &mut State) -> Result<Vec<Figure>, LoadError> {
        state.begin();
        state.write_for(fleet, self.kill_after_s, "writing until the crash")?;
        let server = run.own_server()?;
        server.borrow_mut().kill();
        let began = Instant::now();
        while !state.closed && began.elapsed() < SETTLE {
            fleet.turn(Some(Duration::from_millis(20)), state)?;
        }
        let restart = server.borrow_mut().start_again()?;
        let mut fleet = Fleet::new(&run.target)?;
        let mut peers = Peers::default();
        let reader = peers.add(&mut fleet, room, Clocks::default())?;
        let began = Instant::now();
        peers.sync_all(&mut fleet)?;
        let kept_of = |peers: &Peers| peers.all[reader].clocks.get(state.author.client) / TEXT.len() as u64;
        let (mut kept, mut read) = (kept_of(&peers), began.elapsed());
        // A server may answer before it has read what it has stored.
        while kept < state.acknowledged && began.elapsed() < read + SETTLE {
            peers.turn(&mut fleet, Duration::from_millis(20))?;
            if kept_of(&peers) != kept {
                (kept, read) = (kept_of(&peers), began.elapsed());
            }
        }
        let read_ms = read.as_secs_f64() * 1e3;
        Ok(vec![
            figure("restart", "ms", Some(restart.as_secs_f64() * 1e3)),
            figure("read_after_restart", "ms", Some(read_ms)),
            figure("sent", "", Some(state.sent as f64)),
            figure("acknowledged_before_crash", "", Some(state.acknowledged as f64)),
            figure("kept", "", Some(kept as f64)),
            figure("lost", "", Some(state.acknowledged.saturating_sub(kept) as f64)),
        ])
    }
}

impl State {
    fn new(dialect: Dialect, rate: f64) -> Self {
        Self {
            dialect,
            author: Author::new(4_711),
            started: Instant::now(),
            now_ns: 0,
            synced: false,
            writing: false,
            closed: false,
            counting: false,
            sent: 0,
            acknowledged: 0,
            counts_from: 0,
            latencies: Histogram::default(),
            first_ns: 0.0,
            interval_ns: 1e9 / rate,
        }
    }

    /// From now on the next update is due, and one after each interval.
    fn begin(&mut self) {
        self.writing = true;
        self.first_ns = self.started.elapsed().as_nanos() as f64 - self.sent as f64 * self.interval_ns;
    }

    fn due_ns(&self, number: u64) -> f64 {
        self.first_ns + number as f64 * self.interval_ns
    }

    fn turn_for(&mut self, fleet: &mut Fleet, seconds: f64) -> Result<(), LoadError> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            fleet.turn(Some(Duration::from_millis(20)), self)?;
        }
        Ok(())
    }

    fn write_for(&mut self, fleet: &mut Fleet, seconds: f64, what: &str) -> Result<(), LoadError> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut progress = Progress::new();
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let now_ns = (now - self.started).as_nanos() as f64;
            while self.due_ns(self.sent) <= now_ns {
                self.write(fleet);
            }
            let next = Duration::from_nanos((self.due_ns(self.sent) - now_ns).max(0.0) as u64);
            fleet.turn(Some(next.min(end - now)), self)?;
            progress.tell(|| format!("{what}: {} sent, {} acknowledged", self.sent, self.acknowledged));
        }
    }

    fn write(&mut self, fleet: &mut Fleet) {
        let mut update = Vec::new();
        self.author.append(TEXT, &mut update);
        fleet.send(0, &sync(UPDATE, &update));
        self.sent += 1;
        if self.dialect == Dialect::YSweet {
            let (mut version, mut message) = (Vec::new(), vec![Y_SWEET_SYNC_STATUS]);
            var_uint(&mut version, self.sent);
            var_bytes(&mut message, &version);
            fleet.send(0, &message);
        }
    }

    /// Takes note that so many updates are acknowledged in all.
    fn acknowledge(&mut self, count: u64) {
        let count = count.min(self.sent);
        for number in self.acknowledged..count {
            if self.counting && number >= self.counts_from {
                let waited_ns = self.now_ns.saturating_sub(self.due_ns(number) as u64);
                self.latencies.add(waited_ns / 1_000);
            }
        }
        self.acknowledged = self.acknowledged.max(count);
    }

    /// How many updates a message acknowledges in all.
    fn acknowledged_by(&self, message: &[u8]) -> Option<u64> {
        match self.dialect {
            Dialect::YWebsocket => {
                let (_, update) = sync_message(message).filter(|(step, _)| *step == UPDATE)?;
                let mut end = 0;
                ranges(update, |client, clock, length| {
                    if client == self.author.client {
                        end = end.max(clock + length);
                    }
                })?;
                Some(end / TEXT.len() as u64)
            }
            Dialect::Hocuspocus => (message == [SYNC_STATUS, 1]).then_some(self.acknowledged + 1),
            Dialect::YSweet => {
                let mut rest = message.strip_prefix(&[Y_SWEET_SYNC_STATUS])?;
                read_var_uint(&mut read_var_bytes(&mut rest)?)
            }
        }
    }
}

impl Handler for State {
    fn opened(&mut self, _who: usize, out: &mut Outgoing<'_>) {
        out.message(EMPTY_STEP_1);
    }

    fn arrived(&mut self, _who: usize, at: Instant) {
        self.now_ns = (at - self.started).as_nanos() as u64;
    }

    fn message(&mut self, _who: usize, message: &[u8], out: &mut Outgoing<'_>) {
        match sync_message(message) {
            Some((STEP_1, _)) => out.message(EMPTY_STEP_2),
            Some((STEP_2, _)) => self.synced = true,
            _ => {}
        }
        if self.writing
            && let Some(count) = self.acknowledged_by(message)
        {
            self.acknowledge(count);
        }
    }

    fn closed(&mut self, who: usize, why: &str) -> Result<(), LoadError> {
        self.closed = true;
        // The crash is meant.
        if self.counting { Err(LoadError(format!("connection {who} ended during the run: {why}"))) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_of_each_dialect() {
        let mut author = Author::new(4_711);
        let echoes: Vec<Vec<u8>> = (0..3)
            .map(|_| {
                let mut update = Vec::new();
                author.append(TEXT, &mut update);
                sync(UPDATE, &update)
            })
            .collect();
        let cases: [(Dialect, &[u8], Option<u64>); 6] = [
            (Dialect::YWebsocket, &echoes[2], Some(3)),
            (Dialect::YWebsocket, &[0, 1, 2, 0, 0], None),
            (Dialect::Hocuspocus, &[8, 1], Some(1)),
            (Dialect::Hocuspocus, &[8, 0], None),
            (Dialect::YSweet, &[102, 1, 2], Some(2)),
            (Dialect::YSweet, &[0, 1, 2], None),
        ];
        for (dialect, message, expected) in cases {
            assert_eq!(State::new(dialect, 1.0).acknowledged_by(message), expected, "{dialect:?} {message:?}");
        }
    }
}

//! Somebody whose laptop sleeps: one reader stops reading while others write, then goes on. Called by the command line for `slow-reader`. What the server
//! keeps for it meanwhile is seen in its memory; when the document grows too, compare with a run without slow readers.

use crate::LoadError;
use crate::fleet::Fleet;
use crate::peers::Peers;
use crate::protocol::{Author, Clocks, UPDATE, sync};
use crate::report::{Figure, figure};
use crate::run::{Progress, Run};
use std::time::{Duration, Instant};

/// What is to be run.
pub(crate) struct SlowReader {
    pub(crate) writers: usize,
    /// Of them, not reading for a while.
    pub(crate) slow: usize,
    /// Updates a second in all.
    pub(crate) rate: f64,
    pub(crate) text_bytes: usize,
    pub(crate) pause_s: f64,
    /// The document grows by what is written; otherwise each writer sets a value of that size again and again.
    pub(crate) grows: bool,
}

/// For the reader to have everything after it reads again.
const CATCH_UP_S: f64 = 60.0;

impl SlowReader {
    pub(crate) fn run(&self, run: &Run) -> Result<Vec<Figure>, LoadError> {
        let mut fleet = Fleet::new(&run.target)?;
        let mut peers = Peers { comes_back: true, ..Peers::default() };
        let room = run.room("slow-reader", 0);
        // Writers, one reader that reads, and those that do not.
        for _ in 0..self.writers + 1 + self.slow {
            peers.add(&mut fleet, &room, Clocks::default())?;
        }
        let slow = self.writers + 1..self.writers + 1 + self.slow;
        peers.sync_all(&mut fleet)?;
        let mut authors: Vec<Author> = (1..=self.writers as u64).map(Author::new).collect();
        self.write_for(&mut fleet, &mut peers, &mut authors, run, run.warm_up_s)?;
        let (before, written_before) = (run.rss_bytes(), written(&authors));
        let meter = run.meter();
        for who in slow.clone() {
            fleet.pause(who, true);
        }
        let most = self.write_for(&mut fleet, &mut peers, &mut authors, run, self.pause_s)?;
        let used = meter.read();
        let meanwhile = written(&authors) - written_before;
        let resumed = Instant::now();
        for who in slow.clone() {
            fleet.pause(who, false);
        }
        let lag = |peers: &Peers, who: usize| -> u64 {
            let missing = |author: &Author| author.clock.saturating_sub(peers.all[who].clocks.get(author.client));
            authors.iter().enumerate().filter(|(writer, _)| *writer != who).map(|(_, author)| missing(author)).sum()
        };
        let everybody = 0..peers.all.len();
        let caught_up = peers.until(&mut fleet, CATCH_UP_S, "the slow reader to have everything", |peers| {
            everybody.clone().all(|who| lag(peers, who) == 0)
        });
        let catch_up_s = caught_up.is_ok().then(|| resumed.elapsed().as_secs_f64());
        let lost: u64 = everybody.map(|who| lag(&peers, who).div_ceil(self.text_bytes as u64)).sum();
        let sum = |value: fn(&crate::peers::Peer) -> u64| slow.clone().map(|who| value(&peers.all[who])).sum::<u64>();
        let closed: u64 = peers.all.iter().map(|peer| peer.closed).sum();
        let megabytes = |bytes: f64| bytes / 1e6;
        Ok(vec![
            figure("rss_growth", "MB", most.zip(before).map(|(most, before)| megabytes(most as f64 - before as f64))),
            figure("written_meanwhile", "MB", Some(megabytes(meanwhile as f64))),
            figure("updates", "1/s", Some(meanwhile as f64 / self.text_bytes as f64 / used.seconds)),
            figure("cpu_per_update", "us", used.server_us_per(meanwhile as f64 / self.text_bytes as f64)),
            figure("catch_up", "s", catch_up_s),
            figure("messages_to_slow", "", Some(sum(|peer| peer.updates) as f64)),
            figure("messages_to_reader", "", Some(peers.all[self.writers].updates as f64)),
            figure("closed_by_server", "", Some(closed as f64)),
            figure("unreadable", "", Some(peers.all.iter().map(|peer| peer.strange).sum::<u64>() as f64)),
            figure("lost", "", Some(lost as f64)),
        ])
    }

    /// Writes at the rate, and looks at the server's memory from time to time. The most it had.
    fn write_for(
        &self,
        fleet: &mut Fleet,
        peers: &mut Peers,
        authors: &mut [Author],
        run: &Run,
        seconds: f64,
    ) -> Result<Option<u64>, LoadError> {
        let text = vec![b'x'; self.text_bytes];
        let (began, mut sent, mut most, mut looked) = (Instant::now(), 0_u64, run.rss_bytes(), Instant::now());
        let mut progress = Progress::new();
        loop {
            let elapsed = began.elapsed().as_secs_f64();
            if elapsed >= seconds {
                return Ok(most.max(run.rss_bytes()));
            }
            while (sent as f64) < elapsed * self.rate {
                let writer = (sent % authors.len() as u64) as usize;
                let mut update = Vec::with_capacity(text.len() + 24);
                let author = &mut authors[writer];
                let last = if self.grows { 0 } else { author.clock.min(text.len() as u64) };
                author.replace(last, &text, &mut update);
                fleet.send(writer, &sync(UPDATE, &update));
                sent += 1;
            }
            peers.turn(fleet, Duration::from_millis(1))?;
            if looked.elapsed() > Duration::from_millis(250) {
                looked = Instant::now();
                most = most.max(run.rss_bytes());
            }
            progress.tell(|| {
                let rss = most.map_or(String::new(), |bytes| format!(", server at most {} MB", bytes / 1_000_000));
                format!("writing: {elapsed:.0} of {seconds} s, {sent} updates{rss}")
            });
        }
    }
}

fn written(authors: &[Author]) -> u64 {
    authors.iter().map(|author| author.clock).sum()
}

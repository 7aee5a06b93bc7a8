//! Everybody comes back at once after the server has started anew: with the document, as open editors do, and with nothing, as reloaded pages do. Called by
//! the command line for `storm`. Everybody must have the whole document in the end, and who had it must not be sent it again.

use crate::LoadError;
use crate::document;
use crate::fleet::Fleet;
use crate::peers::Peers;
use crate::protocol::Clocks;
use crate::report::{Figure, figure};
use crate::run::{Run, Used};

/// A step 2 for somebody who has everything: no structs; a server may repeat what is deleted.
const NOTHING_BYTES_MAX: usize = 256;

pub(crate) struct Storm {
    pub(crate) rooms: usize,
    pub(crate) clients: usize,
    /// Of text in each room.
    pub(crate) bytes: u64,
}

struct Outcome {
    restart_ms: f64,
    used: Used,
    rss_bytes: Option<u64>,
    /// Clients that lacked something at their step 2, and that do in the end.
    early: usize,
    lost: usize,
    step_2_bytes: Vec<usize>,
}

impl Storm {
    pub(crate) fn run(&self, run: &Run) -> Result<Vec<Figure>, LoadError> {
        run.own_server()?;
        let names: Vec<String> = (0..self.rooms).map(|room| run.room("storm", room)).collect();
        let documents = document::write(run, &names, self.bytes)?;
        let with = self.come_back(run, &names, &documents, true)?;
        let without = self.come_back(run, &names, &documents, false)?;
        let repeated = with.step_2_bytes.iter().filter(|&&bytes| bytes > NOTHING_BYTES_MAX).count();
        let document = without.step_2_bytes.iter().sum::<usize>() as f64 / without.step_2_bytes.len() as f64;
        let mut figures = Vec::new();
        for (name, outcome) in [("with_document", &with), ("with_nothing", &without)] {
            figures.extend([
                figure(format!("{name}_restart"), "ms", Some(outcome.restart_ms)),
                figure(format!("{name}_all_synced"), "s", Some(outcome.used.seconds)),
                figure(format!("{name}_cpu"), "s", outcome.used.server_s),
                figure(format!("{name}_load_cpu"), "s", Some(outcome.used.own_s)),
                figure(format!("{name}_others_cpu"), "s", outcome.used.others_s),
                figure(format!("{name}_rss"), "MB", outcome.rss_bytes.map(|bytes| bytes as f64 / 1e6)),
            ]);
        }
        figures.extend([
            figure("document", "bytes", Some(document)),
            figure("connections", "", Some((self.rooms * self.clients) as f64)),
            figure("sent_it_again", "", Some(repeated as f64)),
            figure("synced_too_early", "", Some((with.early + without.early) as f64)),
            figure("lost", "", Some((with.lost + without.lost) as f64)),
        ]);
        Ok(figures)
    }

    fn come_back(&self, run: &Run, names: &[String], documents: &[Clocks], has: bool) -> Result<Outcome, LoadError> {
        let server = run.own_server()?;
        server.borrow_mut().stop();
        let restart = server.borrow_mut().start_again()?;
        let mut fleet = Fleet::new(&run.target)?;
        fleet.opening_max = usize::MAX;
        let mut peers = Peers { announces: true, ..Peers::default() };
        let meter = run.meter();
        // Room by room in turn: nobody waits for another room's members.
        for _ in 0..self.clients {
            for (name, document) in names.iter().zip(documents) {
                peers.add(&mut fleet, name, if has { document.clone() } else { Clocks::default() })?;
            }
        }
        let (early, lost) = peers.have_all(&mut fleet, |who| &documents[who % documents.len()])?;
        let used = meter.read();
        Ok(Outcome {
            restart_ms: restart.as_secs_f64() * 1e3,
            used,
            rss_bytes: run.rss_bytes(),
            early,
            lost,
            step_2_bytes: peers.all.iter().map(|peer| peer.step_2_bytes).collect(),
        })
    }
}

//! Clients that keep the clocks of what they have, as providers keep a document. Called by the workloads that look at whole documents. Answers the server's
//! step 1 with nothing, as what these clients write is never only theirs; integrates nothing.

use crate::LoadError;
use crate::fleet::{Fleet, Handler, Outgoing};
use crate::protocol::{
    AWARENESS, Clocks, EMPTY_STEP_2, STEP_1, STEP_2, UPDATE, sync, sync_message, var_bytes, var_uint,
};
use crate::run::Progress;
use std::time::{Duration, Instant};

/// An answer of so many bytes or more is looked at once for all who are sent the same: walking it again would be most of what the load does.
const LARGE_BYTES: usize = 4 << 10;

/// Without anything new for so long, what has not come is lost.
const SETTLE: Duration = Duration::from_secs(5);

/// One client.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// What it has.
    pub(crate) clocks: Clocks,
    /// The server's step 2 has come.
    pub(crate) synced: bool,
    /// Bytes of update in that step 2.
    pub(crate) step_2_bytes: usize,
    /// Update messages that came.
    pub(crate) updates: u64,
    /// Updates that could not be read, or that came before what they build on.
    pub(crate) strange: u64,
    /// Times at which the server has closed it.
    pub(crate) closed: u64,
}

/// All clients of a run, numbered as in the fleet.
#[derive(Default)]
pub(crate) struct Peers {
    pub(crate) all: Vec<Peer>,
    pub(crate) synced: usize,
    /// Whether a connection that the server ends is opened again, as a provider does.
    pub(crate) comes_back: bool,
    /// Whether clients announce themselves, as providers do.
    pub(crate) announces: bool,
    /// Ended in this turn.
    pub(crate) ended: Vec<usize>,
    /// When everybody has last said something for the sake of it, and how often.
    pub(crate) spoken: Option<Instant>,
    pub(crate) renewals: u64,
    /// The last large update.
    pub(crate) large: Option<Large>,
}

/// What a large update makes of certain clocks.
pub(crate) struct Large {
    update: Vec<u8>,
    before: Clocks,
    after: Clocks,
    is_strange: bool,
}

impl Peers {
    /// Adds a client that has this already.
    pub(crate) fn add(&mut self, fleet: &mut Fleet, room: &str, clocks: Clocks) -> Result<usize, LoadError> {
        self.all.push(Peer { clocks, ..Peer::default() });
        fleet.add(room)
    }

    /// Turns until this is so; after so long without it, an error that says what was waited for.
    pub(crate) fn until(
        &mut self,
        fleet: &mut Fleet,
        seconds: f64,
        what: &str,
        mut done: impl FnMut(&Peers) -> bool,
    ) -> Result<(), LoadError> {
        let began = Instant::now();
        let mut progress = Progress::new();
        while !done(self) {
            if began.elapsed().as_secs_f64() > seconds {
                return Err(LoadError(format!(
                    "after {seconds} s still waiting for {what}: {} of {} clients are connected, {} synced",
                    fleet.open(),
                    fleet.len(),
                    self.synced
                )));
            }
            self.turn(fleet, Duration::from_millis(20))?;
            progress.tell(|| {
                format!("waiting for {what}: {} of {} open, {} synced", fleet.open(), fleet.len(), self.synced)
            });
        }
        Ok(())
    }

    pub(crate) fn turn(&mut self, fleet: &mut Fleet, wait: Duration) -> Result<(), LoadError> {
        fleet.turn(Some(wait), self)?;
        for who in std::mem::take(&mut self.ended) {
            fleet.reopen(who);
        }
        if let Some(silence) = fleet.dialect().silence_max()
            && self.spoken.get_or_insert_with(Instant::now).elapsed() > silence
        {
            self.spoken = Some(Instant::now());
            self.renewals += 1;
            for who in (0..self.all.len()).filter(|&who| fleet.is_awake(who)).collect::<Vec<_>>() {
                fleet.send(who, &announcement(who as u64 + 1, 1 + self.renewals));
            }
        }
        Ok(())
    }

    /// Turns until everybody is synced.
    pub(crate) fn sync_all(&mut self, fleet: &mut Fleet) -> Result<(), LoadError> {
        let count = self.all.len();
        self.until(fleet, 120.0, "everybody's step 2", |peers| peers.synced == count)
    }

    /// Turns until everybody has a whole document, which of them is told by the client's number. How many still lacked something at their step 2, and how
    /// many do in the end: a server may answer before it has read what it has stored.
    pub(crate) fn have_all<'a>(
        &mut self,
        fleet: &mut Fleet,
        document: impl Fn(usize) -> &'a Clocks,
    ) -> Result<(usize, usize), LoadError> {
        self.sync_all(fleet)?;
        let lacking = |peers: &Peers| {
            let lacks = |(who, peer): &(usize, &Peer)| !peer.clocks.covers(document(*who));
            peers.all.iter().enumerate().filter(lacks).count()
        };
        let early = lacking(self);
        let (mut least, mut changed) = (early, Instant::now());
        while least > 0 && changed.elapsed() < SETTLE {
            self.turn(fleet, Duration::from_millis(20))?;
            let now = lacking(self);
            if now != least {
                (least, changed) = (now, Instant::now());
            }
        }
        Ok((early, least))
    }
}

impl Handler for Peers {
    fn opened(&mut self, who: usize, out: &mut Outgoing<'_>) {
        out.message(&sync(crate::protocol::STEP_1, &self.all[who].clocks.state_vector()));
        if self.announces {
            out.message(&announcement(who as u64 + 1, 1 + self.renewals));
        }
    }

    fn message(&mut self, who: usize, message: &[u8], out: &mut Outgoing<'_>) {
        let Some((step, payload)) = sync_message(message) else { return };
        let peer = &mut self.all[who];
        match step {
            STEP_1 => out.message(EMPTY_STEP_2),
            STEP_2 | UPDATE => {
                peer.strange += u64::from(!add(&mut peer.clocks, payload, &mut self.large));
                if step == UPDATE {
                    peer.updates += 1;
                } else if !peer.synced {
                    peer.synced = true;
                    peer.step_2_bytes = payload.len();
                    self.synced += 1;
                }
            }
            _ => {}
        }
    }

    fn closed(&mut self, who: usize, why: &str) -> Result<(), LoadError> {
        if !self.comes_back {
            return Err(LoadError(format!("connection {who} ended during the run: {why}")));
        }
        let peer = &mut self.all[who];
        peer.closed += 1;
        self.synced -= usize::from(std::mem::take(&mut peer.synced));
        self.ended.push(who);
        Ok(())
    }
}

/// Adds an update to what a client has. False: it could not be read, or came before what it builds on.
fn add(clocks: &mut Clocks, update: &[u8], large: &mut Option<Large>) -> bool {
    if update.len() < LARGE_BYTES {
        return clocks.add(update);
    }
    if let Some(known) = large.as_ref().filter(|known| known.before == *clocks && known.update == update) {
        clocks.clone_from(&known.after);
        return !known.is_strange;
    }
    let before = clocks.clone();
    let is_strange = !clocks.add(update);
    *large = Some(Large { update: update.to_vec(), before, after: clocks.clone(), is_strange });
    !is_strange
}

/// The awareness message of a client whose user has not been named: what a provider sends when it has connected.
fn announcement(client: u64, clock: u64) -> Vec<u8> {
    let mut update = vec![1];
    var_uint(&mut update, client);
    var_uint(&mut update, clock);
    var_bytes(&mut update, b"{}");
    let mut message = vec![AWARENESS];
    var_bytes(&mut message, &update);
    message
}

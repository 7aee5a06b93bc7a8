//! Documents as groups of people write them: three authors, short pieces, at places that move, so that they stay many structs. Called by the workloads that
//! restart a server. The same seed makes the same places as far as the server delivers in the same order.

use crate::LoadError;
use crate::fleet::Fleet;
use crate::peers::Peers;
use crate::protocol::{Author, Clocks, UPDATE, sync};
use crate::run::{Progress, Run};
use std::time::{Duration, Instant};

/// Authors in each room.
pub(crate) const AUTHORS: usize = 3;

/// Of text in one update, about.
const PIECE_BYTES: u64 = 50;

/// That one room's members may be behind: no more is under way than servers are meant to hold.
const BEHIND_BYTES: u64 = 16 << 10;

/// Without anything new for so long, the server does not take it.
const STUCK: Duration = Duration::from_secs(20);

struct Writer {
    author: Author,
    /// Where it writes now: between this and that character, for so many pieces more.
    right: Option<(u64, u64)>,
    left: Option<(u64, u64)>,
    pieces: u64,
}

/// Writes a document of so many bytes of text into each room. What everybody in a room has then.
pub(crate) fn write(run: &Run, rooms: &[String], bytes: u64) -> Result<Vec<Clocks>, LoadError> {
    let mut fleet = Fleet::new(&run.target)?;
    let mut peers = Peers::default();
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ (run.number as u64 + 1));
    let mut writers = Vec::new();
    for room in rooms {
        for _ in 0..AUTHORS {
            peers.add(&mut fleet, room, Clocks::default())?;
            let author = Author::new(random.next() >> 32 | 1);
            writers.push(Writer { author, right: None, left: None, pieces: 0 });
        }
    }
    peers.sync_all(&mut fleet)?;
    let (mut progress, mut seen, mut changed) = (Progress::new(), 0, Instant::now());
    loop {
        let mut least_in_all = 0;
        for room in 0..rooms.len() {
            let members = room * AUTHORS..(room + 1) * AUTHORS;
            let least = members.clone().map(|who| peers.all[who].clocks.total()).min().unwrap_or_default();
            least_in_all += least;
            let mut written: u64 = writers[members.clone()].iter().map(|writer| writer.author.clock).sum();
            while written < bytes && written - least < BEHIND_BYTES {
                for who in members.clone() {
                    written += writers[who].piece(who, &members, &mut peers, &mut fleet, &mut random);
                }
            }
        }
        let written: u64 = writers.iter().map(|writer| writer.author.clock).sum();
        if least_in_all >= written {
            break;
        }
        if least_in_all != seen {
            (seen, changed) = (least_in_all, Instant::now());
        } else if changed.elapsed() > STUCK {
            return Err(LoadError(format!(
                "the server has handed on {least_in_all} of {written} bytes of the documents, and nothing more for {} s",
                STUCK.as_secs()
            )));
        }
        peers.turn(&mut fleet, Duration::from_millis(20))?;
        progress.tell(|| format!("writing documents: {} of {} KB", seen / 1_000, bytes * rooms.len() as u64 / 1_000));
    }
    Ok(peers.all.iter_mut().step_by(AUTHORS).map(|peer| std::mem::take(&mut peer.clocks)).collect())
}

impl Writer {
    /// Writes one piece. How many bytes it has.
    fn piece(
        &mut self,
        who: usize,
        members: &std::ops::Range<usize>,
        peers: &mut Peers,
        fleet: &mut Fleet,
        random: &mut Random,
    ) -> u64 {
        const WORDS: &[u8] =
            b"Several people write in one document, and each of them where the others are not, for a while. ";
        if self.pieces == 0 {
            self.pieces = 1 + random.below(6);
            // Only beside what this client has received, as a person could.
            let seen = members.clone().nth(random.below(AUTHORS as u64) as usize).unwrap_or(who);
            let client = peers.all[who].clocks.client(seen - members.start).unwrap_or(self.author.client);
            let known = peers.all[who].clocks.get(client);
            (self.left, self.right) = (None, None);
            if known > 1 {
                let clock = random.below(known - 1);
                (self.left, self.right) = (Some((client, clock)), Some((client, clock + 1)));
            }
        }
        let length = PIECE_BYTES - 15 + random.below(31);
        let start = random.below(WORDS.len() as u64 - length) as usize;
        let (mut update, clock) = (Vec::new(), self.author.clock);
        self.author.insert(self.left, self.right, &WORDS[start..start + length as usize], &mut update);
        self.left = Some((self.author.client, self.author.clock - 1));
        self.pieces -= 1;
        peers.all[who].clocks.cover(self.author.client, clock, length);
        fleet.send(who, &sync(UPDATE, &update));
        length
    }
}

/// A xorshift generator: places in a text need no better chance.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }
}

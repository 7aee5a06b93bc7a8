//! What three people write into one text at the same time: for each keystroke the update that Yjs makes of it.
//!
//! Called by the script before it measures. Seeded, so always the same. Everybody sees everything at once: nothing here merges, and the room does not either.

use document::StateVector;
use document::lib0::{write_var_bytes, write_var_uint};
use fastrand::Rng;

/// People who write.
pub(crate) const AUTHORS: usize = 3;

/// As in an update: a string, and what stands left and right of it.
const STRING: u8 = 4;
const HAS_RIGHT: u8 = 0x40;
const HAS_ORIGIN: u8 = 0x80;

/// A letter's name: who wrote it, and its clock.
type Id = (u64, u32);

/// One keystroke.
pub(crate) struct Keystroke {
    /// Whose, below `AUTHORS`.
    pub(crate) author: usize,
    /// A v1 update.
    pub(crate) update: Vec<u8>,
}

/// The text, with a cursor for each author.
pub(crate) struct Typing {
    rng: Rng,
    clients: [u64; AUTHORS],
    letters: Vec<Id>,
    cursors: [usize; AUTHORS],
    clocks: [u32; AUTHORS],
    /// Who writes now, and how many keystrokes more.
    turn: (usize, u32),
}

impl Typing {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            // As Yjs draws them: large, so five bytes long.
            clients: std::array::from_fn(|author| 2_500_000_000 + seed * 15_485_863 + author as u64 * 104_729),
            letters: Vec::new(),
            cursors: [0; AUTHORS],
            clocks: [0; AUTHORS],
            turn: (0, 0),
        }
    }

    /// The next keystroke: mostly a letter after the last one, sometimes a backspace, a word that is pasted, or a letter elsewhere.
    pub(crate) fn keystroke(&mut self) -> Keystroke {
        if self.turn.1 == 0 {
            self.turn = (self.rng.usize(..AUTHORS), self.rng.u32(1..8));
        }
        self.turn.1 -= 1;
        let author = self.turn.0;
        if self.rng.u32(..40) == 0 {
            self.cursors[author] = self.rng.usize(..=self.letters.len());
        }
        let backspace = self.cursors[author] > 0 && self.rng.u32(..100) < 12;
        let update = if backspace { self.delete(author) } else { self.insert(author) };
        Keystroke { author, update }
    }

    /// What somebody has who was here when so many hundredths were written. An encoded state vector.
    pub(crate) fn state_vector(&self, hundredths: u32) -> Vec<u8> {
        let entries = self.clients.iter().zip(self.clocks).map(|(&client, clock)| (client, clock * hundredths / 100));
        StateVector::from_entries(entries.filter(|&(_, clock)| clock > 0).collect()).encode()
    }

    fn insert(&mut self, author: usize) -> Vec<u8> {
        let (at, client, clock) = (self.cursors[author], self.clients[author], self.clocks[author]);
        let length = if self.rng.u32(..100) == 0 { self.rng.usize(2..30) } else { 1 };
        let text: String = (0..length).map(|_| self.rng.lowercase()).collect();
        let (left, right) = (at.checked_sub(1).map(|left| self.letters[left]), self.letters.get(at).copied());
        let mut out = Vec::new();
        // One client with one struct.
        for value in [1, 1, client, u64::from(clock)] {
            write_var_uint(&mut out, value);
        }
        out.push(STRING | left.map_or(0, |_| HAS_ORIGIN) | right.map_or(0, |_| HAS_RIGHT));
        for (client, clock) in left.into_iter().chain(right) {
            write_var_uint(&mut out, client);
            write_var_uint(&mut out, u64::from(clock));
        }
        if left.or(right).is_none() {
            // Its parent is the root of this name.
            write_var_uint(&mut out, 1);
            write_var_bytes(&mut out, b"text");
        }
        write_var_bytes(&mut out, text.as_bytes());
        // Nothing is deleted.
        write_var_uint(&mut out, 0);
        self.letters.splice(at..at, (0..length as u32).map(|letter| (client, clock + letter)));
        self.clocks[author] += length as u32;
        for (whose, cursor) in self.cursors.iter_mut().enumerate() {
            *cursor += if whose == author || *cursor > at { length } else { 0 };
        }
        out
    }

    fn delete(&mut self, author: usize) -> Vec<u8> {
        let at = self.cursors[author] - 1;
        let (client, clock) = self.letters.remove(at);
        for cursor in &mut self.cursors {
            *cursor -= usize::from(*cursor > at);
        }
        let mut out = Vec::new();
        // No structs; of one client one range of one letter.
        for value in [0, 1, client, 1, u64::from(clock), 1] {
            write_var_uint(&mut out, value);
        }
        out
    }
}

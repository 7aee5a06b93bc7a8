//! Damaged updates: whatever passes validation can be kept together with anything else, and is written again as valid bytes.

use crate::hostile::every_kind;
use crate::writer::{Content, Item, typed, write};
use crate::{vectors, writer};
use document::wire::Invalid;
use document::{Document, MessageLimits, RoomLimits, StateVector, Update};

const ROUNDS: u64 = 250_000;
const SEED: u64 = 0x5eed;

/// Everything that a document writes is valid and says the same again.
pub(crate) fn written_again(document: &Document) -> Result<(), Invalid> {
    let stored = &MessageLimits::STORED;
    for keep_deleted in [false, true] {
        let snapshot = document.snapshot(keep_deleted);
        let mut again = Document::new(RoomLimits::STORED);
        let added = again.add(&Update::validate(&snapshot, stored)?, 0);
        assert_eq!(added.parked, None, "a snapshot needs nothing else");
        assert_eq!(again.state_vector(), document.state_vector());
        for known in [StateVector::default(), halved(&document.state_vector()), document.state_vector()] {
            Update::validate(document.diff(&known, keep_deleted), stored)?;
        }
        assert_eq!(again.snapshot(keep_deleted), snapshot, "a snapshot of a snapshot is that snapshot");
    }
    for (_, parked) in document.parked_updates() {
        Update::validate(parked, stored)?;
    }
    StateVector::decode(&document.state_vector().encode(), stored).map(drop)
}

fn halved(vector: &StateVector) -> StateVector {
    StateVector::from_entries(vector.entries().iter().map(|&(client, clock)| (client, clock / 2)).collect())
}

/// Valid updates to begin with: real ones, every kind of content, several clients, holes, waiting ones.
fn corpus() -> Vec<Vec<u8>> {
    let mut corpus = vectors::updates();
    corpus.extend([every_kind(), typed(1, 0, "😀😀"), typed(1, 3, "é")]);
    let nested = vec![
        Item::root(Content::shared(1)),
        Item::inside((3, 0), Content::shared(0)),
        Item { key: Some("k"), ..Item::inside((3, 1), Content::numbers(&[7])) },
    ];
    corpus.push(write(
        &[(3, 0, nested), (1, 4, vec![Item { right: Some((3, 1)), ..Item::after((3, 0), Content::text("xyz")) }])],
        &[(3, vec![(0, 1)])],
    ));
    let holed =
        vec![Item::root(Content::text("ab")), Item::root(Content::hole(2)), Item::after((2, 3), Content::text("e"))];
    corpus.push(write(&[(2, 0, holed)], &[(2, vec![(1, 1), (3, 5)]), (1, vec![(0, 2)])]));
    corpus.push(writer::one(2, 2, Item { right: Some((1, 0)), ..Item::after((2, 1), Content::text("cd")) }));
    corpus
}

/// Documents that see one input after the other: one that goes on for a while, and a fresh one for each.
struct Victims {
    shared: Document,
    fed: u64,
}

impl Victims {
    fn feed(&mut self, bytes: &[u8], author: u32, context: impl Fn() -> String) -> bool {
        let Ok(update) = Update::validate(bytes, &MessageLimits::default()) else { return false };
        let mut fresh = Document::default();
        fresh.add(&update, author);
        let added = self.shared.add(&update, author);
        self.fed += 1;
        for part in added
            .parts
            .iter()
            .filter_map(|part| if let document::Part::Cut { bytes, .. } = part { Some(bytes) } else { None })
        {
            Update::validate(part, &MessageLimits::STORED)
                .unwrap_or_else(|error| panic!("part: {error}; {}", context()));
        }
        let written = written_again(&fresh)
            .and_then(|()| if self.fed.is_multiple_of(8) { written_again(&self.shared) } else { Ok(()) });
        written.unwrap_or_else(|error| panic!("{error}; {}", context()));
        if self.fed.is_multiple_of(64) {
            self.shared.compact();
        }
        if self.fed.is_multiple_of(512) {
            self.shared = Document::default();
        }
        true
    }
}

#[test]
fn every_single_byte_may_be_any_other() {
    let mut victims = Victims { shared: Document::default(), fed: 0 };
    for whole in corpus() {
        for place in 0..whole.len() {
            for value in 0..=255 {
                let mut damaged = whole.clone();
                damaged[place] = value;
                victims.feed(&damaged, u32::from(value), || format!("byte {place} of {whole:02x?} set to {value:02x}"));
                let _ = StateVector::decode(&damaged, &MessageLimits::default());
            }
        }
    }
    assert!(victims.fed > 10_000, "only {} were valid: the corpus teaches nothing", victims.fed);
}

#[test]
fn random_damage_harms_nothing_downstream() {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut pool = corpus();
    let fixed = pool.len();
    let mut victims = Victims { shared: Document::default(), fed: 0 };
    for round in 0..ROUNDS {
        let mut bytes = pool[random.usize(..pool.len())].clone();
        for _ in 0..random.u32(1..4) {
            damage(&mut bytes, &pool, &mut random);
        }
        let valid = victims.feed(&bytes, random.u32(..3), || format!("seed {SEED:#x}, round {round}: {bytes:02x?}"));
        // What passed is damaged further: that is how one gets far from where one began.
        if valid && bytes.len() < 400 {
            if pool.len() < fixed + 200 {
                pool.push(bytes);
            } else {
                let place = random.usize(fixed..pool.len());
                pool[place] = bytes;
            }
        }
    }
    println!("seed {SEED:#x}: {} of {ROUNDS} were valid", victims.fed);
    assert!(victims.fed > ROUNDS / 20, "seed {SEED:#x}: only {} were valid", victims.fed);
}

fn damage(bytes: &mut Vec<u8>, pool: &[Vec<u8>], random: &mut fastrand::Rng) {
    if bytes.is_empty() {
        bytes.push(random.u8(..));
        return;
    }
    let place = random.usize(..bytes.len());
    let end = (place + random.usize(1..12)).min(bytes.len());
    match random.u8(..7) {
        0 => bytes[place] ^= 1 << random.u8(..8),
        1 => bytes[place] = random.u8(..),
        2 => bytes[place] = random.u8(..8),
        3 => drop(bytes.drain(place..end)),
        4 => {
            let copy = bytes[place..end].to_vec();
            let at = random.usize(..=bytes.len());
            bytes.splice(at..at, copy);
        }
        5 => {
            let other = &pool[random.usize(..pool.len())];
            let from = random.usize(..other.len().max(1)).min(other.len());
            let piece = other[from..(from + random.usize(1..20)).min(other.len())].to_vec();
            bytes.splice(place..end, piece);
        }
        _ => {
            let other = random.usize(..bytes.len());
            bytes.swap(place, other);
        }
    }
}

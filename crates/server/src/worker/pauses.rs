//! Rooms that nobody may enter for a while because storage has failed them, each time for twice as long.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use store::RoomKey;

/// First and longest pause after a storage failure.
const PAUSE_MS: RangeInclusive<u64> = 1_000..=30_000;

#[derive(Debug, Default)]
pub(super) struct Pauses(HashMap<RoomKey, Pause>);

#[derive(Clone, Copy, Debug)]
struct Pause {
    until_ms: u64,
    length_ms: u64,
}

impl Pauses {
    /// Keeps everybody out for a while.
    pub(super) fn begin(&mut self, room: &RoomKey, now_ms: u64) {
        let last = self.0.get(room).map(|pause| pause.length_ms);
        let length_ms = last.map_or(*PAUSE_MS.start(), |last| (last * 2).min(*PAUSE_MS.end()));
        // One that nobody came back to is not worth remembering.
        self.0.retain(|_, pause| pause.until_ms + *PAUSE_MS.end() > now_ms);
        self.0.insert(room.clone(), Pause { until_ms: now_ms + length_ms, length_ms });
    }

    /// What is left of the pause, if there is one.
    pub(super) fn left_ms(&self, room: &str, now_ms: u64) -> Option<u64> {
        let pause = self.0.get(room)?;
        (pause.until_ms > now_ms).then(|| pause.until_ms - now_ms)
    }

    /// Whether the room has failed lately: then its store is tried before anybody enters.
    pub(super) fn has_failed(&self, room: &str) -> bool {
        self.0.contains_key(room)
    }

    /// Storage works for the room again.
    pub(super) fn lift(&mut self, room: &str) {
        self.0.remove(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_its_bound_and_is_lifted() {
        let (mut pauses, room) = (Pauses::default(), RoomKey::from("r"));
        for expected in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            pauses.begin(&room, 5);
            assert_eq!(pauses.left_ms("r", 5), Some(expected));
            assert_eq!(pauses.left_ms("r", 5 + expected), None);
        }
        assert!(pauses.has_failed("r") && !pauses.has_failed("other"));
        pauses.lift("r");
        pauses.begin(&room, 5);
        assert_eq!(pauses.left_ms("r", 6), Some(999));
    }

    #[test]
    fn old_pauses_are_forgotten() {
        let mut pauses = Pauses::default();
        for number in 0..1_000u64 {
            pauses.begin(&format!("{number}").into(), number * 10_000);
        }
        assert!(pauses.0.len() < 10);
    }
}

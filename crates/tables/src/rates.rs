//! How often a user may call a method in a room: a sliding window of a minute by the caller's clock. Methods ask here; nobody else.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Method;

const WINDOW_MS: u64 = 60_000;

type Key = (Arc<str>, Arc<str>, Method);

/// The calls of the last minute, by room, user and method.
pub(crate) struct Rates {
    windows: Mutex<HashMap<Key, VecDeque<u64>>>,
    windows_max: usize,
}

impl Rates {
    pub(crate) fn new(windows_max: usize) -> Rates {
        Rates { windows: Mutex::default(), windows_max: windows_max.max(1) }
    }

    /// Counts a call and says whether it is among the first `limit` of its minute. A refused call is not counted.
    pub(crate) fn admits(&self, room: &Arc<str>, user: &Arc<str>, method: Method, limit: usize, now_ms: u64) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (room.clone(), user.clone(), method);
        if windows.len() >= self.windows_max && !windows.contains_key(&key) {
            make_room(&mut windows, now_ms);
        }
        let window = windows.entry(key).or_default();
        while window.front().is_some_and(|then| then.saturating_add(WINDOW_MS) <= now_ms) {
            window.pop_front();
        }
        if window.len() >= limit {
            return false;
        }
        window.push_back(now_ms);
        true
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Forgets windows that have ended; if all are young, the one that was used longest ago.
fn make_room(windows: &mut HashMap<Key, VecDeque<u64>>, now_ms: u64) {
    let before = windows.len();
    windows.retain(|_, stamps| stamps.back().is_some_and(|last| last.saturating_add(WINDOW_MS) > now_ms));
    if windows.len() == before {
        let oldest = windows.iter().min_by_key(|(_, stamps)| stamps.back().copied()).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            windows.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides() {
        let rates = Rates::new(8);
        let (room, user) = (Arc::from("r"), Arc::from("ann"));
        let ask = |now| rates.admits(&room, &user, Method::CreateTask, 2, now);
        assert_eq!([0, 10, 20, 59_999, 60_000, 60_001, 60_010].map(ask), [true, true, false, false, true, false, true]);
        assert!(rates.admits(&room, &Arc::from("bob"), Method::CreateTask, 2, 20), "another user");
        assert!(rates.admits(&Arc::from("s"), &user, Method::CreateTask, 2, 20), "another room");
        assert!(rates.admits(&room, &user, Method::UpdateRow, 2, 20), "another method");
    }

    #[test]
    fn windows_are_bounded() {
        let rates = Rates::new(100);
        for user in 0..1_000 {
            let user: Arc<str> = Arc::from(user.to_string());
            assert!(rates.admits(&Arc::from("r"), &user, Method::CreateTask, 1, 5));
            assert!(rates.len() <= 100);
        }
    }
}

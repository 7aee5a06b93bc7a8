//! How often somebody may try: passwords with pauses that grow, and counts over a while. Asked before anything that costs is done. Times are
//! arguments, and nothing is kept on the disk: a restart costs an attacker more than it gives him.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the pauses between failed tries grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Failures without a pause.
    pub(super) free: u32,
    /// The longest pause, in seconds.
    pub(super) pause_s_max: u64,
}

/// Of one account: who has forgotten a password tries some. A minute at most, so that strangers who guess keep its owner out no longer; 1,440
/// guesses a day are too few for any password that is not among the first in every list.
pub(super) const OF_ACCOUNT: Patience = Patience { free: 5, pause_s_max: 60 };
/// Of one address, from which a whole office may sign in.
pub(super) const OF_ADDRESS: Patience = Patience { free: 20, pause_s_max: 900 };

/// Failures are forgotten after so long without another.
const FORGOTTEN_AFTER_MS: u64 = 3_600_000;
/// Of accounts, and of addresses, that are remembered: some 100 bytes each. Then the older half goes.
const REMEMBERED_MAX: usize = 20_000;

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    last_ms: u64,
    not_before_ms: u64,
}

/// Failed tries by accounts, or by addresses.
pub(super) struct Tries<K> {
    patience: Patience,
    failures: Mutex<HashMap<K, Failures>>,
}

impl<K: Hash + Eq + Clone> Tries<K> {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, failures: Mutex::default() }
    }

    /// How long to wait before the next try, in seconds; none: it may be made now.
    pub(super) fn pause_s(&self, key: &K, now_ms: u64) -> Option<u64> {
        let not_before_ms = lock(&self.failures).get(key).map_or(0, |failures| failures.not_before_ms);
        (not_before_ms > now_ms).then(|| (not_before_ms - now_ms).div_ceil(1_000))
    }

    /// Counts a try as failed before it is made: of many at the same time each counts. What to give back when it succeeds.
    pub(super) fn begin(&self, key: &K, now_ms: u64) {
        let mut all = lock(&self.failures);
        if all.len() >= REMEMBERED_MAX {
            all.retain(|_, failures| now_ms.saturating_sub(failures.last_ms) < FORGOTTEN_AFTER_MS);
            if all.len() >= REMEMBERED_MAX {
                let mut times: Vec<u64> = all.values().map(|failures| failures.last_ms).collect();
                times.sort_unstable();
                let middle = times[times.len() / 2];
                all.retain(|_, failures| failures.last_ms > middle);
            }
        }
        let failures = all.entry(key.clone()).or_default();
        if now_ms.saturating_sub(failures.last_ms) >= FORGOTTEN_AFTER_MS {
            *failures = Failures::default();
        }
        failures.count = failures.count.saturating_add(1);
        failures.last_ms = now_ms;
        if failures.count > self.patience.free {
            let doubled = failures.count - self.patience.free - 1;
            let pause_s = 1_u64.checked_shl(doubled).unwrap_or(u64::MAX).min(self.patience.pause_s_max);
            failures.not_before_ms = now_ms + pause_s * 1_000;
        }
    }

    /// It has succeeded: all is forgotten.
    pub(super) fn forget(&self, key: &K) {
        lock(&self.failures).remove(key);
    }

    /// It has succeeded, and only it is taken back: whoever has one account must not try others for ever.
    pub(super) fn take_back(&self, key: &K) {
        if let Some(failures) = lock(&self.failures).get_mut(key) {
            failures.count = failures.count.saturating_sub(1);
            failures.not_before_ms = 0;
        }
    }
}

/// Counts over windows that begin with the first of each.
pub(super) struct Windows<K> {
    window_ms: u64,
    most: u64,
    counts: Mutex<HashMap<K, (u64, u64)>>,
}

impl<K: Hash + Eq + Clone> Windows<K> {
    pub(super) fn new(window_ms: u64, most: u64) -> Self {
        Self { window_ms, most, counts: Mutex::default() }
    }

    /// Counts one more. Err: there are too many; the seconds after which the next window begins.
    pub(super) fn one_more(&self, key: &K, now_ms: u64) -> Result<(), u64> {
        let mut counts = lock(&self.counts);
        if counts.len() >= REMEMBERED_MAX {
            counts.retain(|_, (began_ms, _)| now_ms.saturating_sub(*began_ms) < self.window_ms);
            if counts.len() >= REMEMBERED_MAX {
                let mut times: Vec<u64> = counts.values().map(|(began_ms, _)| *began_ms).collect();
                times.sort_unstable();
                let middle = times[times.len() / 2];
                counts.retain(|_, (began_ms, _)| *began_ms > middle);
            }
        }
        let (began_ms, count) = counts.entry(key.clone()).or_insert((now_ms, 0));
        if now_ms.saturating_sub(*began_ms) >= self.window_ms {
            (*began_ms, *count) = (now_ms, 0);
        }
        if *count >= self.most {
            return Err((*began_ms + self.window_ms - now_ms).div_ceil(1_000));
        }
        *count += 1;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_a_success() {
        let tries = Tries::new(OF_ACCOUNT);
        let mut now_ms = 1_000_000;
        for _ in 0..5 {
            tries.begin(&"ann", now_ms);
            assert_eq!(tries.pause_s(&"ann", now_ms), None);
        }
        for pause_s in [1, 2, 4, 8, 16, 32, 60, 60] {
            tries.begin(&"ann", now_ms);
            assert_eq!(tries.pause_s(&"ann", now_ms), Some(pause_s));
            assert_eq!(tries.pause_s(&"ann", now_ms + 1), Some(pause_s));
            assert_eq!(tries.pause_s(&"bob", now_ms), None);
            now_ms += pause_s * 1_000;
            assert_eq!(tries.pause_s(&"ann", now_ms), None);
        }
        tries.forget(&"ann");
        tries.begin(&"ann", now_ms);
        assert_eq!(tries.pause_s(&"ann", now_ms), None);
    }

    #[test]
    fn an_address_with_an_account_of_its_own_gains_nothing_by_it() {
        let tries = Tries::new(Patience { free: 1, pause_s_max: 900 });
        let mut now_ms = 1_000_000;
        let mut pauses = Vec::new();
        for _ in 0..4 {
            tries.begin(&7, now_ms);
            let pause_s = tries.pause_s(&7, now_ms).unwrap_or(0);
            pauses.push(pause_s);
            now_ms += pause_s * 1_000;
            tries.begin(&7, now_ms);
            tries.take_back(&7);
        }
        assert_eq!(pauses, [0, 1, 2, 4]);
        now_ms += FORGOTTEN_AFTER_MS;
        tries.begin(&7, now_ms);
        assert_eq!(tries.pause_s(&7, now_ms), None, "an hour later");
    }

    #[test]
    fn windows_count_and_begin_again() {
        let windows = Windows::new(60_000, 3);
        for _ in 0..3 {
            assert_eq!(windows.one_more(&1, 5_000), Ok(()));
        }
        assert_eq!(windows.one_more(&1, 5_001), Err(60));
        assert_eq!(windows.one_more(&2, 5_001), Ok(()));
        assert_eq!(windows.one_more(&1, 64_999), Err(1));
        assert_eq!(windows.one_more(&1, 65_000), Ok(()));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (tries, windows) = (Tries::new(OF_ADDRESS), Windows::new(60_000, 3));
        for key in 0..3 * REMEMBERED_MAX {
            tries.begin(&key, key as u64);
            windows.one_more(&key, key as u64).expect("the first");
        }
        assert!(lock(&tries.failures).len() <= REMEMBERED_MAX && lock(&windows.counts).len() <= REMEMBERED_MAX);
    }
}

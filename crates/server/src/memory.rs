//! What all rooms and connections hold together, and how much that may be. Above it, who comes anew is refused and who is in works on: a server that
//! is killed for its memory stops everybody.
//!
//! Workers report how their share has changed, rooms once a turn and sockets at each sweep. It is an estimate: what was counted, not what the allocator has.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

/// Of what the machine has: the rest is for the kernel, the disk's cache and what is not counted.
const SHARE: (u64, u64) = (3, 4);
/// Where nothing says what the machine has.
const UNKNOWN: u64 = 4 << 30;

/// The budget.
#[derive(Debug)]
pub(crate) struct Memory {
    used: AtomicI64,
    max: u64,
}

impl Memory {
    /// `bytes_max` 0: as the machine, or its container, has it.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let max = if bytes_max == 0 { machine_bytes().unwrap_or(UNKNOWN) / SHARE.1 * SHARE.0 } else { bytes_max };
        Self { used: AtomicI64::new(0), max }
    }

    /// A share that was `before` is `after`, which is returned.
    pub(crate) fn change(&self, before: u64, after: u64) -> u64 {
        self.used.fetch_add(after as i64 - before as i64, Ordering::Relaxed);
        after
    }

    pub(crate) fn used(&self) -> u64 {
        u64::try_from(self.used.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.max
    }
}

/// The smaller of what the machine has and what this process's group may have.
fn machine_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(total_bytes);
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let limits = ["/sys/fs/cgroup".to_owned(), format!("/sys/fs/cgroup/{group}")].map(|folder| {
        let limit = std::fs::read_to_string(Path::new(&folder).join("memory.max")).ok()?;
        limit.trim().parse().ok()
    });
    limits.into_iter().chain([machine]).flatten().min()
}

/// Of `/proc/meminfo`, which counts in KiB.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_full_at_its_bound() {
        let memory = Memory::new(100);
        let share = memory.change(0, 99);
        assert!(!memory.is_full());
        let share = memory.change(share, 100);
        assert!(memory.is_full());
        memory.change(share, 0);
        assert_eq!((memory.used(), memory.is_full()), (0, false));
        assert_eq!(total_bytes("MemTotal:       24 kB\nMemFree: 1 kB\n"), Some(24 << 10));
        assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
        assert!(Memory::new(0).max() > 1 << 20);
    }
}

//! What a process has used, from outside: CPU time and memory by process id. Called around measurements. Linux only: it reads /proc.

/// A process of this machine, by its id.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

/// Clock ticks a second in /proc; 100 on every Linux.
const TICKS_PER_S: f64 = 100.0;

impl Process {
    /// This process.
    pub(crate) fn own() -> Self {
        Self(std::process::id())
    }

    /// CPU seconds of all its threads so far, kernel included.
    pub fn cpu_s(self) -> Option<f64> {
        // Ticks count threads that have ended, and nanoseconds are exact: both are at most the truth.
        Some(self.ticks_s()?.max(self.threads_s().unwrap_or_default()))
    }

    fn ticks_s(self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The name may contain spaces; fields are counted behind its bracket.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(ticks / TICKS_PER_S)
    }

    fn threads_s(self) -> Option<f64> {
        let mut ns = 0.0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.0)).ok()? {
            // One that has ended meanwhile is in the ticks.
            let Ok(times) = std::fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
            ns += times.split(' ').next()?.parse::<f64>().ok()?;
        }
        Some(ns / 1e9)
    }

    /// Resident memory in bytes.
    pub fn rss_bytes(self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
    }
}

/// CPU seconds of everything on this machine so far, but for waiting.
pub(crate) fn machine_cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let times: Vec<f64> = stat.lines().next()?.split_whitespace().skip(1).flat_map(str::parse).collect();
    // user, nice, system, idle, iowait, irq, softirq; what follows is part of these, or another machine's.
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|&place| times.get(place)).sum::<f64>();
    Some(busy / TICKS_PER_S)
}

/// How many files this process may have open; None: without a limit, or not known.
pub(crate) fn open_files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_use_is_known() {
        assert!(Process::own().rss_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(Process::own().cpu_s().is_some());
        assert!(machine_cpu_s().is_some_and(|seconds| seconds > 0.0));
        assert!(Process(u32::MAX).cpu_s().is_none());
    }
}

//! What the server under test has used, from outside: CPU time and memory by process id.

/// A process of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

/// Clock ticks a second in /proc; 100 on every Linux.
const TICKS_PER_S: f64 = 100.0;

impl Process {
    /// CPU seconds of all its threads so far, kernel included.
    pub fn cpu_s(self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The name may contain spaces; fields are counted behind its bracket.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(ticks / TICKS_PER_S)
    }

    /// Resident memory in bytes.
    pub fn rss_bytes(self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
    }
}

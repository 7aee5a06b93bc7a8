//! Latencies in buckets whose width grows with the value: 1/32 of it at most, whatever the range.

/// Counts of microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

/// Buckets within each doubling.
const STEPS: u64 = 32;

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; 2_048], count: 0 }
    }
}

impl Histogram {
    #[inline]
    pub(crate) fn add(&mut self, us: u64) {
        let last = self.buckets.len() - 1;
        self.buckets[bucket(us).min(last)] += 1;
        self.count += 1;
    }

    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The value below which this share of all lies, in milliseconds. None: there are no values.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return Some(upper(index) as f64 / 1_000.0);
            }
        }
        None
    }
}

fn bucket(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    let doubling = u64::from(us.ilog2() - STEPS.ilog2());
    (STEPS + doubling * STEPS + ((us >> doubling) - STEPS)) as usize
}

fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let doubling = (index - STEPS) / STEPS;
    (STEPS + (index - STEPS) % STEPS + 1) << doubling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_quantiles() {
        assert_eq!(Histogram::default().quantile_ms(0.5), None);
    }

    #[test]
    fn quantiles_are_within_a_thirtysecond() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|us| histogram.add(us));
        for (share, expected) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = histogram.quantile_ms(share).expect("values");
            assert!((found - expected).abs() <= expected / 31.0, "{share}: {found}");
        }
    }
}

//! A set of clocks of one client, as disjoint ranges that never touch: which of its elements are deleted.
//! Used by the struct store. Every operation costs at most the logarithm of the number of ranges, plus the ranges that it swallows.

use std::collections::BTreeMap;

/// Start -> end, exclusive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges(BTreeMap<u32, u32>);

impl Ranges {
    /// The set of ascending ranges, as a document writes them. None: they are not.
    pub(crate) fn of_ascending(ranges: &[(u32, u32)]) -> Option<Self> {
        let ascending = ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
        ascending.then(|| Self(ranges.iter().copied().collect()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// By ascending start: `(start, end)`.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().map(|(&start, &end)| (start, end))
    }

    /// The ranges that end after `clock`, by ascending start.
    pub(crate) fn from(&self, clock: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let first =
            self.0.range(..=clock).next_back().filter(|&(_, &end)| end > clock).map_or(clock, |(&start, _)| start);
        self.0.range(first..).map(|(&start, &end)| (start, end))
    }

    /// The end of the range that holds `clock`.
    pub(crate) fn end_at(&self, clock: u32) -> Option<u32> {
        self.0.range(..=clock).next_back().map(|(_, &end)| end).filter(|&end| end > clock)
    }

    /// True when `start..end` neither lies in, overlaps nor touches a range.
    pub(crate) fn is_apart(&self, start: u32, end: u32) -> bool {
        self.0.range(..=end).next_back().is_none_or(|(_, &known_end)| known_end < start)
    }

    /// Adds `start..end` (not empty) and reports each part that was not in the set before.
    pub(crate) fn insert(&mut self, start: u32, end: u32, mut report: impl FnMut(u32, u32)) {
        let (mut from, mut to, mut fresh) = (start, end, start);
        if let Some((&known_start, known_end)) = self.0.range_mut(..=start).next_back()
            && *known_end >= start
        {
            if *known_end >= end {
                return;
            }
            (from, fresh) = (known_start, *known_end);
        }
        while let Some((&known_start, &known_end)) = self.0.range(from + 1..=end).next() {
            if known_start > fresh {
                report(fresh, known_start);
            }
            fresh = known_end;
            to = to.max(known_end);
            self.0.remove(&known_start);
        }
        if fresh < end {
            report(fresh, end);
        }
        self.0.insert(from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_set_of_single_clocks() {
        let mut state = 1u32;
        let mut random = move |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        for _ in 0..200 {
            let (mut ranges, mut model) = (Ranges::default(), std::collections::BTreeSet::new());
            for _ in 0..40 {
                let start = random(100);
                let end = start + 1 + random(12);
                let model_before = model.clone();
                let expected: Vec<u32> = (start..end).filter(|clock| model.insert(*clock)).collect();
                let apart = (start.saturating_sub(1)..=end).all(|clock| !model_before.contains(&clock));
                assert_eq!(ranges.is_apart(start, end), apart);
                let mut fresh = Vec::new();
                ranges.insert(start, end, |from, to| fresh.extend(from..to));
                assert_eq!(fresh, expected);
                let held: Vec<u32> = ranges.iter().flat_map(|(from, to)| from..to).collect();
                assert!(held.iter().eq(model.iter()));
                let starts: Vec<_> = ranges.iter().collect();
                assert!(starts.windows(2).all(|pair| pair[0].1 < pair[1].0), "touching ranges in {starts:?}");
                let probe = random(100);
                assert_eq!(
                    ranges.end_at(probe),
                    model.contains(&probe).then(|| (probe..).find(|clock| !model.contains(clock)).expect("ranges end"))
                );
                let after: Vec<u32> = ranges.from(probe).flat_map(|(from, to)| from.max(probe)..to).collect();
                assert!(after.iter().eq(model.range(probe..)));
            }
        }
    }
}

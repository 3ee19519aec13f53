//! A set of ports, as sorted ranges.

use crate::config::PortRange;

#[derive(Debug, Clone)]
pub struct PortSet {
    /// Sorted, apart from each other.
    ranges: Box<[PortRange]>,
}

impl PortSet {
    pub fn new(ranges: &[PortRange]) -> Self {
        let mut sorted = ranges.to_vec();
        sorted.sort_by_key(|range| range.first);
        let mut merged: Vec<PortRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match merged.last_mut() {
                Some(last) if range.first <= last.last.saturating_add(1) => last.last = last.last.max(range.last),
                _ => merged.push(range),
            }
        }
        Self { ranges: merged.into() }
    }

    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|range| range.first <= port);
        after > 0 && self.ranges[after - 1].contains(port)
    }
}

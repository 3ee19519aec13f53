//! Addresses that did not answer are left alone for a while: passive outlier detection.
//!
//! They are tried last, never not at all, so that a name whose addresses all fail is as reachable
//! as it can be. Only streams that dial look here.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// First time that an address is left alone; doubled with every failure after it.
const BASE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Of one cluster. No honest name has as many that fail.
const MOST: usize = 256;

#[derive(Default)]
pub(super) struct Outliers {
    /// Whether the list has any entry: nearly always not.
    any: AtomicBool,
    list: Mutex<Vec<Outlier>>,
}

struct Outlier {
    address: IpAddr,
    /// In a row.
    failures: u32,
    until: Instant,
    /// A stream is finding out whether it is back.
    probed: bool,
}

/// An address that failed, as pages show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierView {
    pub address: IpAddr,
    pub failures: u32,
    /// How much longer it is tried last.
    pub remaining: Duration,
}

impl Outliers {
    /// Moves the addresses that failed lately to the end, those first that may be back soonest.
    pub fn put_last(&self, endpoints: &mut [SocketAddr], now: Instant) {
        if endpoints.len() < 2 || !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut list = self.list();
        endpoints.sort_by_cached_key(|endpoint| {
            let outlier = list.iter_mut().find(|outlier| outlier.address == endpoint.ip())?;
            if outlier.until > now {
                return Some(outlier.until);
            }
            // Its turn again: this stream finds out, and the others need not pay for it too.
            outlier.until = now + outlier.time();
            outlier.probed = true;
            None
        });
    }

    pub fn failed(&self, address: IpAddr, now: Instant) {
        let mut list = self.list();
        if let Some(outlier) = list.iter_mut().find(|outlier| outlier.address == address) {
            // Streams that were under way together fail together, which is one failure.
            if outlier.probed || outlier.until <= now {
                outlier.failures += 1;
                outlier.until = now + outlier.time();
                outlier.probed = false;
            }
            return;
        }
        if list.len() >= MOST {
            let soonest = (0..list.len()).min_by_key(|&index| list[index].until).expect("it is full");
            list.swap_remove(soonest);
        }
        list.push(Outlier { address, failures: 1, until: now + BASE, probed: false });
        self.any.store(true, Ordering::Relaxed);
    }

    pub fn succeeded(&self, address: IpAddr) {
        if self.any.load(Ordering::Relaxed) {
            let mut list = self.list();
            list.retain(|outlier| outlier.address != address);
            self.any.store(!list.is_empty(), Ordering::Relaxed);
        }
    }

    pub fn view(&self, now: Instant) -> Vec<OutlierView> {
        let view = |outlier: &Outlier| OutlierView {
            address: outlier.address,
            failures: outlier.failures,
            remaining: outlier.until.saturating_duration_since(now),
        };
        self.list().iter().map(view).collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Outlier>> {
        // Nothing under the lock leaves the list half changed.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlier {
    fn time(&self) -> Duration {
        BASE.saturating_mul(1 << (self.failures - 1).min(20)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 80))
    }

    fn order(outliers: &Outliers, now: Instant) -> Vec<u8> {
        let mut endpoints = [endpoint(1), endpoint(2), endpoint(3)];
        outliers.put_last(&mut endpoints, now);
        let last = |endpoint: &SocketAddr| if let IpAddr::V4(address) = endpoint.ip() { address.octets()[3] } else { 0 };
        endpoints.iter().map(last).collect()
    }

    #[test]
    fn an_address_that_fails_is_tried_last_for_a_growing_time() {
        let (outliers, mut now) = (Outliers::default(), Instant::now());
        assert_eq!(order(&outliers, now), [1, 2, 3]);
        outliers.failed(endpoint(1).ip(), now);
        // Those that were under way with the first.
        outliers.failed(endpoint(1).ip(), now);
        outliers.failed(endpoint(1).ip(), now + BASE / 2);
        assert_eq!(order(&outliers, now), [2, 3, 1]);
        for failures in 1..10 {
            now += Duration::from_secs(60).min(Duration::from_secs(1 << (failures - 1)));
            // One stream probes, the next does not.
            assert_eq!(order(&outliers, now), [1, 2, 3]);
            assert_eq!(order(&outliers, now + Duration::from_millis(1)), [2, 3, 1]);
            assert_eq!(outliers.view(now)[0].failures, failures);
            outliers.failed(endpoint(1).ip(), now);
        }
        assert_eq!(outliers.view(now)[0].remaining, LONGEST);
        outliers.succeeded(endpoint(1).ip());
        assert_eq!(order(&outliers, now), [1, 2, 3]);
    }

    #[test]
    fn when_all_fail_all_are_tried() {
        let (outliers, now) = (Outliers::default(), Instant::now());
        for last in [2, 3, 1] {
            outliers.failed(endpoint(last).ip(), now + Duration::from_millis(last.into()));
        }
        assert_eq!(order(&outliers, now), [1, 2, 3]);
    }

    #[test]
    fn the_list_has_a_bound() {
        let (outliers, now) = (Outliers::default(), Instant::now());
        for number in 0..10_000u32 {
            outliers.failed(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(outliers.view(now).len(), MOST);
    }
}

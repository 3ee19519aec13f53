//! What the directory counts, under the names of Envoy's `dns_cache`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::stats::Kind;

/// A number that any thread may change; only slow paths do.
#[derive(Debug, Default)]
pub struct SharedNumber(AtomicU64);

impl SharedNumber {
    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds one unless that would pass `limit`.
    pub(super) fn increment_within(&self, limit: usize) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |value| (value < limit as u64).then_some(value + 1)).is_ok()
    }

    pub(super) fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! dns_stats {
    ($($kind:ident $field:ident $name:literal $help:literal;)*) => {
        #[derive(Debug, Default)]
        pub struct DnsStats {
            $(#[doc = $help] pub $field: SharedNumber,)*
        }

        impl DnsStats {
            /// Every series, in the order of the list.
            pub fn visit(&self, mut each: impl FnMut(Kind, &'static str, &'static str, u64)) {
                $(each(Kind::$kind, $name, $help, self.$field.get());)*
            }
        }
    };
}

dns_stats! {
    Counter query_attempt "dns_cache.dns_query_attempt" "Look-ups that went to a server";
    Counter query_success "dns_cache.dns_query_success" "Of those, the ones that found an address";
    Counter query_failure "dns_cache.dns_query_failure" "Of those, the ones that found none";
    Counter query_timeout "dns_cache.dns_query_timeout" "Failures that were timeouts";
    Counter host_added "dns_cache.host_added" "Names added";
    Counter host_removed "dns_cache.host_removed" "Names dropped, idle or to make room";
    Counter host_address_changed "dns_cache.host_address_changed" "Answers that named other addresses than the one before";
    Counter host_overflow "dns_cache.host_overflow" "Streams refused because max_hosts names were in use";
    Gauge num_hosts "dns_cache.num_hosts" "Names known now";
    Counter pending_overflow "dns_cache.dns_rq_pending_overflow" "Streams refused because max_pending_requests waited";
    Counter client_overflow "dns_cache.dns_rq_client_overflow" "Streams refused because max_pending_requests_per_client of their client waited";
    Gauge look_ups "dns_cache.look_ups_active" "Look-ups running now, those that nobody waits for any more included";
    Gauge pending "dns_cache.dns_rq_pending" "Streams that wait for a look-up now";
    Counter stale_served "dns_cache.stale_served" "Look-ups that failed while an older answer went on being served";
}

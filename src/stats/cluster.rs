//! What is counted for each cluster, one set per worker.

use super::{Counter, Gauge, Kind};

macro_rules! cluster_stats {
    ($($kind:ident $field:ident $help:literal;)*) => {
        /// What one worker counts of one cluster. Written by that worker alone; breakers and pages
        /// add up those of all workers.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct ClusterStats {
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl ClusterStats {
            /// Name, kind and meaning of every series, in Envoy's words where Envoy has it.
            pub const SERIES: &[(&'static str, Kind, &'static str)] = &[$((stringify!($field), Kind::$kind, $help),)*];

            /// Adds every value to its place in `totals`, in the order of [`ClusterStats::SERIES`].
            pub fn add_to(&self, totals: &mut ClusterTotals) {
                let values = [$(self.$field.get(),)*];
                for (total, value) in totals.0.iter_mut().zip(values) {
                    // Wrapping: a gauge read between two stores may be one below nothing.
                    *total = total.wrapping_add(value);
                }
            }
        }
    };
}

cluster_stats! {
    Counter upstream_cx_total "Connections made";
    Gauge upstream_cx_active "Connections open now";
    Gauge upstream_cx_connecting "Connections being made now";
    Counter upstream_cx_connect_fail "Connection attempts that failed";
    Counter upstream_cx_connect_timeout "Connections that did not stand in time";
    Gauge upstream_cx_idle "Connections kept for another request";
    Counter upstream_cx_idle_timeout "Pooled connections closed for age or want of use";
    Counter upstream_cx_max_requests "Pooled connections closed after max_requests_per_connection";
    Counter upstream_cx_overflow "Streams refused by the connections breaker, after a wait";
    Counter upstream_cx_stale "Pooled connections found closed or with unread bytes";
    Counter upstream_cx_rx_bytes_total "Bytes of bodies and tunnels received";
    Counter upstream_cx_tx_bytes_total "Bytes of bodies and tunnels sent";
    Counter upstream_rq_total "Requests sent";
    Gauge upstream_rq_active "Requests running now";
    Counter upstream_rq_pending_total "Streams that had to wait for a connection";
    Gauge upstream_rq_pending_active "Streams waiting for a connection now";
    Counter upstream_rq_pending_overflow "Streams refused by the requests or pending breaker";
    Counter upstream_rq_timeout "Answers that did not come in time";
    Counter upstream_rq_per_try_timeout "Tries that took longer than per_try_timeout";
    Counter upstream_rq_retry "Requests sent again";
    Gauge upstream_rq_retry_active "Retries running now";
    Counter upstream_rq_retry_success "Retries that got an answer";
    Counter upstream_rq_retry_overflow "Retries refused by the retries breaker";
    Counter upstream_rq_2xx "Responses with status 200 to 299";
    Counter upstream_rq_3xx "Responses with status 300 to 399";
    Counter upstream_rq_4xx "Responses with status 400 to 499";
    Counter upstream_rq_5xx "Responses with status 500 to 599";
}

/// A cluster's values over all workers, in the order of [`ClusterStats::SERIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterTotals(pub [u64; ClusterStats::SERIES.len()]);

impl ClusterTotals {
    pub fn iter(&self) -> impl Iterator<Item = (&'static (&'static str, Kind, &'static str), u64)> + '_ {
        ClusterStats::SERIES.iter().zip(self.0)
    }

    /// The value of a series, by its name.
    pub fn get(&self, name: &str) -> u64 {
        self.iter().find(|((known, ..), _)| *known == name).map_or(0, |(_, value)| value)
    }

    pub fn plus(mut self, other: &ClusterTotals) -> ClusterTotals {
        for (total, value) in self.0.iter_mut().zip(other.0) {
            *total = total.wrapping_add(value);
        }
        self
    }

    /// The counters alone.
    pub fn without_gauges(self) -> ClusterTotals {
        self.with_gauges_of(&ClusterTotals::default())
    }

    pub fn with_gauges_of(mut self, other: &ClusterTotals) -> ClusterTotals {
        for (index, (_, kind, _)) in ClusterStats::SERIES.iter().enumerate() {
            if *kind == Kind::Gauge {
                self.0[index] = other.0[index];
            }
        }
        self
    }

    pub fn minus(mut self, other: &ClusterTotals) -> ClusterTotals {
        for (total, value) in self.0.iter_mut().zip(other.0) {
            *total = total.wrapping_sub(value);
        }
        self
    }
}

impl ClusterStats {
    /// Counts an answer of the upstream.
    pub fn count_status(&self, status: u16) {
        match status {
            200..300 => self.upstream_rq_2xx.increment(),
            300..400 => self.upstream_rq_3xx.increment(),
            400..500 => self.upstream_rq_4xx.increment(),
            500.. => self.upstream_rq_5xx.increment(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up() {
        let (left, right) = (ClusterStats::default(), ClusterStats::default());
        left.upstream_rq_total.add(3);
        right.upstream_rq_total.increment();
        right.count_status(204);
        let mut totals = ClusterTotals::default();
        left.add_to(&mut totals);
        right.add_to(&mut totals);
        assert_eq!((totals.get("upstream_rq_total"), totals.get("upstream_rq_2xx")), (4, 1));
        assert_eq!(totals.plus(&totals).minus(&totals), totals);
    }
}

//! Counters in Envoy's words, one set per worker, merged when somebody asks.
//!
//! A worker's counters are written by that worker alone, with plain stores, and lie on cache lines
//! of their own; readers on other threads see a value that was true a moment ago.

use std::sync::atomic::{AtomicU64, Ordering};

mod cluster;
mod exposition;
mod histogram;
mod process;
mod prometheus;
mod registry;

pub use cluster::{ClusterStats, ClusterTotals};
pub use exposition::{Exposition, Family, Sample, Value};
pub use histogram::{Histogram, HistogramSnapshot};
pub use process::Memory;
pub use registry::{Registry, ServerState};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, amount: u64) {
        // The owner is the only writer, so load and store need not be one atomic step.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    pub fn increment(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down, written by one thread.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn increment(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub fn decrement(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! worker_stats {
    (
        $($kind:ident $field:ident $name:literal $help:literal;)*
        @histograms {
            $($histogram_unit:ident $histogram_field:ident $histogram_name:literal $histogram_help:literal;)*
        }
    ) => {
        /// What one worker counts.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct WorkerStats {
            $(#[doc = $help] pub $field: $kind,)*
            $(#[doc = $histogram_help] pub $histogram_field: Histogram,)*
        }

        impl WorkerStats {
            /// Every series, in the order of the list.
            pub fn visit(&self, mut each: impl FnMut(Kind, &'static str, &'static str, u64)) {
                $(each(Kind::$kind, $name, $help, self.$field.get());)*
            }

            /// Every histogram, in the order of the list.
            pub fn visit_histograms(&self, mut each: impl FnMut(Unit, &'static str, &'static str, &Histogram)) {
                $(each(Unit::$histogram_unit, $histogram_name, $histogram_help, &self.$histogram_field);)*
            }
        }
    };
}

/// How a series behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// In what a histogram is shown; it is always recorded in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Microseconds,
}

// The one list of series: field, name, meaning. The exposition and the documentation are made from it.
worker_stats! {
    Counter downstream_cx_total "http.downstream_cx_total" "Connections accepted";
    Gauge downstream_cx_active "http.downstream_cx_active" "Connections open now";
    Counter downstream_cx_overflow "listener.downstream_cx_overflow" "Connections closed at accept because of max_connections";
    Counter downstream_cx_client_overflow "listener.downstream_cx_client_overflow" "Connections closed at accept because of max_connections_per_client";
    Counter downstream_cx_idle_timeout "http.downstream_cx_idle_timeout" "Connections closed for want of a next request";
    Counter downstream_cx_first_byte_timeout "http.downstream_cx_first_byte_timeout" "Connections closed because nothing came on them";
    Counter downstream_cx_protocol_error "http.downstream_cx_protocol_error" "Requests refused as malformed";
    Counter downstream_cx_drain_close "http.downstream_cx_drain_close" "Connections closed because of a drain";
    Counter downstream_cx_destroy_remote_active_rq "http.downstream_cx_destroy_remote_active_rq" "Connections that the client ended in mid-stream";
    Counter downstream_cx_rx_bytes "http.downstream_cx_rx_bytes_total" "Bytes of heads, bodies and tunnels from clients";
    Counter downstream_cx_tx_bytes "http.downstream_cx_tx_bytes_total" "Bytes of heads, bodies and tunnels to clients";
    Counter downstream_rq_total "http.downstream_rq_total" "Requests read";
    Gauge downstream_rq_active "http.downstream_rq_active" "Requests whose head was read and whose stream has not ended, tunnels among them";
    Counter downstream_rq_1xx "http.downstream_rq_1xx" "Interim responses sent";
    Counter downstream_rq_2xx "http.downstream_rq_2xx" "Responses with status 200 to 299";
    Counter downstream_rq_3xx "http.downstream_rq_3xx" "Responses with status 300 to 399";
    Counter downstream_rq_4xx "http.downstream_rq_4xx" "Responses with status 400 to 499";
    Counter downstream_rq_5xx "http.downstream_rq_5xx" "Responses with status 500 to 599";
    Counter downstream_rq_timeout "http.downstream_rq_timeout" "Requests that did not arrive in time";
    Counter downstream_rq_too_large "http.downstream_rq_too_large" "Requests refused for the size of their head";
    Counter policy_denied "http.policy.denied" "Streams denied by policy";
    Counter address_denied "http.address_denied" "Streams denied by the address rules after resolution";
    Gauge tunnels_active "http.downstream_cx_upgrades_active" "Tunnels open now";
    Counter tunnels_total "http.downstream_cx_upgrades_total" "Tunnels opened";
    Counter tunnels_revoked "http.downstream_cx_upgrades_revoked" "Tunnels ended by a reload whose policy denies them";
    Counter tunnels_client_overflow "http.downstream_cx_upgrades_client_overflow" "Tunnels refused because of max_per_client";
    Counter upstream_cx_total "cluster.upstream_cx_total" "Connections made to upstreams";
    Gauge upstream_cx_active "cluster.upstream_cx_active" "Upstream connections open now";
    Counter upstream_cx_connect_fail "cluster.upstream_cx_connect_fail" "Connection attempts that failed";
    Counter upstream_cx_connect_timeout "cluster.upstream_cx_connect_timeout" "Connections that did not stand in time";
    Counter upstream_cx_idle_timeout "cluster.upstream_cx_idle_timeout" "Pooled connections closed for age or want of use";
    Counter upstream_cx_max_requests "cluster.upstream_cx_max_requests" "Pooled connections closed after max_requests_per_connection";
    Counter upstream_cx_overflow "cluster.upstream_cx_overflow" "Streams refused by the connections breaker, after a wait";
    Gauge upstream_cx_idle "cluster.upstream_cx_idle" "Upstream connections kept for another request";
    Counter upstream_cx_stale "cluster.upstream_cx_stale" "Pooled connections found closed or with unread bytes";
    Counter upstream_rq_total "cluster.upstream_rq_total" "Requests sent to upstreams";
    Counter upstream_rq_pending_overflow "cluster.upstream_rq_pending_overflow" "Streams refused by the requests or pending breaker";
    Counter upstream_rq_timeout "cluster.upstream_rq_timeout" "Upstream answers that did not come in time";
    Counter upstream_rq_retry "cluster.upstream_rq_retry" "Requests sent again on a fresh connection";
    Counter upstream_rq_retry_success "cluster.upstream_rq_retry_success" "Of those, the ones that got an answer";
    Counter upstream_rq_retry_overflow "cluster.upstream_rq_retry_overflow" "Retries refused by the retries breaker";
    Gauge clusters_active "cluster_manager.active_clusters" "Clusters known now";
    Counter clusters_client_overflow "cluster_manager.client_overflow" "Streams refused because max_hosts_per_client destinations of their client were in use";
    Counter access_log_written "access_log.written" "Access-log lines handed to the writer";
    Counter access_log_dropped "access_log.dropped" "Access-log lines lost because the writer could not keep up";
    // These two are written by the watchdog on the main thread, and by it alone.
    Counter watchdog_miss "server.watchdog_miss" "Times a worker did not answer for 200 ms";
    Counter watchdog_mega_miss "server.watchdog_mega_miss" "Times a worker did not answer for 1 s";
    @histograms {
        Milliseconds downstream_rq_time "http.downstream_rq_time" "Time from a request's first byte to the end of its stream, in ms";
        Milliseconds upstream_cx_connect_ms "cluster.upstream_cx_connect_ms" "Time from dialling an upstream to the established connection, in ms";
        Milliseconds upstream_rq_time "cluster.upstream_rq_time" "Time from sending a request to the end of its response, in ms; tunnels are not among them";
        Microseconds loop_duration_us "server.worker.loop_duration_us" "Time from a wake-up of a worker's event loop to its next rest, in us";
        Microseconds poll_delay_us "server.worker.poll_delay_us" "How late a busy worker's heartbeat ran, in us";
    }
}

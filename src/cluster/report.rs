//! What pages and statistics tell of clusters.
//!
//! There may be thousands of clusters, and a time series is for ever. So statistics name only the
//! ones with the most traffic, and add up the rest as "other".

use std::sync::Arc;
use std::time::Instant;

use super::account::NAMED;
use super::{BreakerView, Directory, OutlierView, Shared};
use crate::codec::authority::Authority;
use crate::stats::{ClusterTotals, Exposition, Kind};

/// A cluster as pages show it.
#[derive(Debug)]
pub struct ClusterView {
    pub authority: Authority,
    pub label: String,
    pub totals: ClusterTotals,
    pub breakers: [BreakerView; 4],
    pub outliers: Vec<OutlierView>,
}

impl Directory {
    /// All clusters, in the order of their names.
    pub fn views(&self) -> Vec<ClusterView> {
        let now = Instant::now();
        let mut views: Vec<ClusterView> = self.all().iter().map(|shared| self.view(shared, now)).collect();
        views.sort_unstable_by(|left, right| left.label.cmp(&right.label));
        views
    }

    fn view(&self, shared: &Shared, now: Instant) -> ClusterView {
        ClusterView {
            authority: *shared.authority(),
            label: shared.label().to_owned(),
            totals: shared.totals(),
            breakers: shared.breakers(&self.options_of(shared.authority())),
            outliers: shared.outliers.view(now),
        }
    }

    /// Adds the series of the clusters with the most traffic, and of the others together.
    pub fn describe(&self, exposition: &mut Exposition) {
        exposition.gauge("cluster_manager.clusters", "Destinations known now, over all workers", self.len() as u64);
        exposition.counter("cluster_manager.overflow", "Streams refused because max_hosts destinations were in use", self.overflow());
        let mut all: Vec<(ClusterTotals, Arc<Shared>)> = self.all().into_iter().map(|shared| (shared.totals(), shared)).collect();
        all.sort_by_cached_key(|(totals, _)| std::cmp::Reverse(traffic(totals)));
        let mut places = NAMED;
        for (rank, (_, shared)) in all.iter().enumerate() {
            places = places.saturating_sub(usize::from(shared.account.stays_named(rank)));
        }
        let mut gauges_of_others = ClusterTotals::default();
        let mut counted_of_others = self.take_retired();
        for (totals, shared) in &all {
            let (news, under_its_name) = shared.account.tell(totals, &mut places);
            match under_its_name {
                Some(counted) => {
                    write_series(exposition, shared.label(), &counted.with_gauges_of(totals));
                    self.write_breakers(exposition, shared);
                }
                None => {
                    gauges_of_others = gauges_of_others.plus(totals);
                    counted_of_others = counted_of_others.plus(&news);
                }
            }
        }
        let counted = self.add_others(&counted_of_others);
        write_series(exposition, "other", &counted.with_gauges_of(&gauges_of_others));
    }

    fn write_breakers(&self, exposition: &mut Exposition, shared: &Shared) {
        for view in shared.breakers(&self.options_of(shared.authority())) {
            let (labels, name) = ([("cluster_name", shared.label())], view.breaker.name());
            let series = |what: &str| format!("per_cluster.circuit_breakers.{what}");
            exposition.gauge_with(series(&format!("{name}_open")), "1 while the breaker admits nothing more", &labels, view.open.into());
            exposition.gauge_with(series(&format!("remaining_{name}")), "How many more the breaker admits", &labels, view.remaining);
        }
    }
}

fn traffic(totals: &ClusterTotals) -> u64 {
    totals.get("upstream_rq_total").saturating_add(totals.get("upstream_cx_total"))
}

fn write_series(exposition: &mut Exposition, label: &str, totals: &ClusterTotals) {
    let labels = [("cluster_name", label)];
    for ((name, kind, help), value) in totals.iter() {
        // A family of its own: the sum over its labels is the series of all clusters.
        let name = format!("per_cluster.{name}");
        match kind {
            Kind::Gauge => exposition.gauge_with(name, *help, &labels, value),
            _ => exposition.counter_with(name, *help, &labels, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::{ClientKey, Clients};
    use crate::config::Config;
    use crate::stats::Value;

    fn series(directory: &Directory, name: &str) -> Vec<(String, u64)> {
        let mut exposition = Exposition::default();
        directory.describe(&mut exposition);
        let family = exposition.families().iter().find(|family| family.name == name).expect("described");
        let value = |value: &Value| if let Value::Number(number) = value { *number } else { 0 };
        family.samples.iter().map(|sample| (sample.labels[0].1.clone(), value(&sample.value))).collect()
    }

    fn authority(number: usize) -> Authority {
        Authority::parse(format!("host{number}.example").as_bytes(), Some(80)).expect("an authority")
    }

    fn join(directory: &Directory, number: usize) -> Arc<Shared> {
        let client = Clients::new().connect(ClientKey::V6(0), 1).expect("the first");
        directory.join(&authority(number), client.account(), usize::MAX).expect("there is room")
    }

    #[test]
    fn series_are_bounded_and_never_fall() {
        let mut config = Config::default();
        config.dns.max_hosts = 10_000;
        let directory = Directory::new(2, &config);
        let mut all: Vec<_> = (0..200).map(|number| join(&directory, number)).collect();
        let (mut counted, mut told) = (0, 0);
        let mut last = std::collections::HashMap::new();
        for round in 0..50 {
            for (number, shared) in all.iter().enumerate() {
                // Who has the most traffic changes all the time.
                let traffic = ((number * 37 + round * 11) % 101) as u64;
                shared.slots.of(round % 2).upstream_rq_total.add(traffic);
                counted += traffic;
            }
            // Some go, and what they had counted since the last look is not lost.
            let gone = all.swap_remove(round);
            directory.leave(&gone);
            let series = series(&directory, "per_cluster.upstream_rq_total");
            assert_eq!(series.len(), NAMED + 1);
            for (label, value) in series {
                let before = last.insert(label, value).unwrap_or(0);
                assert!(value >= before);
                told += value - before;
            }
            assert_eq!(told, counted);
        }
        assert_eq!(directory.views().len(), 150);
    }

    #[test]
    fn clusters_may_leave_while_they_are_told_of() {
        let directory = Directory::new(1, &Config::default());
        std::thread::scope(|scope| {
            let coming_and_going = scope.spawn(|| {
                for number in 0..3000 {
                    let shared = join(&directory, number % 3);
                    directory.leave(&shared);
                }
            });
            while !coming_and_going.is_finished() {
                directory.describe(&mut Exposition::default());
            }
        });
        assert_eq!(directory.len(), 0);
    }

    #[test]
    fn a_breaker_tells_its_state() {
        let directory = Directory::new(2, &Config::default());
        let shared = join(&directory, 0);
        shared.slots.of(1).upstream_rq_active.increment();
        assert_eq!(series(&directory, "per_cluster.circuit_breakers.remaining_rq"), [("host0.example:80".to_owned(), 1023)]);
        assert_eq!(series(&directory, "per_cluster.circuit_breakers.rq_open"), [("host0.example:80".to_owned(), 0)]);
        assert_eq!(directory.views()[0].breakers[2].remaining, 1023);
    }
}

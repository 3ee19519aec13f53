//! `/stats`: the series in Envoy's plain text, or as JSON.

use std::fmt::Write;

use super::Format;
use crate::json;
use crate::stats::{Exposition, HistogramSnapshot, Sample, Unit, Value};

/// What histograms show of their distribution.
const QUANTILES: [(&str, f64); 7] =
    [("P0", 0.0), ("P25", 0.25), ("P50", 0.5), ("P90", 0.9), ("P99", 0.99), ("P99.9", 0.999), ("P100", 1.0)];

/// Keeps the series whose name, labels and all, holds `filter`, and of these, with `used_only`, those that ever counted anything.
pub(super) fn select(exposition: &mut Exposition, filter: Option<&str>, used_only: bool) {
    exposition
        .retain(|name, sample| (!used_only || sample.is_used()) && filter.is_none_or(|filter| series_name(name, sample).contains(filter)));
}

pub(super) fn render(mut exposition: Exposition, format: Format) -> String {
    exposition.sort();
    let series = exposition.families().iter().flat_map(|family| family.samples.iter().map(|sample| (family.name.as_ref(), sample)));
    match format {
        Format::Text => series.map(|(name, sample)| text_line(name, sample)).collect(),
        Format::Json => {
            let objects: Vec<String> = series.map(|(name, sample)| json_object(name, sample)).collect();
            format!("{{\"stats\":[{}]}}\n", objects.join(","))
        }
    }
}

fn series_name(name: &str, sample: &Sample) -> String {
    let mut text = name.to_owned();
    for (index, (label, value)) in sample.labels.iter().enumerate() {
        let separator = if index == 0 { '{' } else { ',' };
        write!(text, "{separator}{label}={value:?}").expect("a String takes everything");
    }
    if !sample.labels.is_empty() {
        text.push('}');
    }
    text
}

fn text_line(name: &str, sample: &Sample) -> String {
    let name = series_name(name, sample);
    match &sample.value {
        Value::Number(number) => format!("{name}: {number}\n"),
        Value::Histogram(_, snapshot) if snapshot.count() == 0 => format!("{name}: No recorded values\n"),
        Value::Histogram(unit, snapshot) => {
            let quantiles: Vec<String> = quantiles(snapshot, *unit).map(|(label, value)| format!("{label}({value:.3})")).collect();
            format!("{name}: {} count({}) sum({:.3})\n", quantiles.join(" "), snapshot.count(), in_unit(snapshot.sum() as f64, *unit))
        }
    }
}

fn json_object(name: &str, sample: &Sample) -> String {
    let mut text = format!("{{\"name\":{}", json::string(name));
    if !sample.labels.is_empty() {
        let labels: Vec<String> =
            sample.labels.iter().map(|(label, value)| format!("{}:{}", json::string(label), json::string(value))).collect();
        write!(text, ",\"labels\":{{{}}}", labels.join(",")).expect("a String takes everything");
    }
    match &sample.value {
        Value::Number(number) => write!(text, ",\"value\":{number}}}"),
        Value::Histogram(unit, snapshot) => {
            let quantiles: Vec<String> = quantiles(snapshot, *unit).map(|(label, value)| format!("\"{label}\":{value:.3}")).collect();
            let sum = in_unit(snapshot.sum() as f64, *unit);
            write!(text, ",\"count\":{},\"sum\":{sum:.3},\"quantiles\":{{{}}}}}", snapshot.count(), quantiles.join(","))
        }
    }
    .expect("a String takes everything");
    text
}

fn quantiles(snapshot: &HistogramSnapshot, unit: Unit) -> impl Iterator<Item = (&'static str, f64)> + '_ {
    QUANTILES.into_iter().filter_map(move |(label, quantile)| Some((label, in_unit(snapshot.quantile(quantile)?, unit))))
}

fn in_unit(microseconds: f64, unit: Unit) -> f64 {
    microseconds / unit.microseconds() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Registry;

    fn exposition() -> Exposition {
        let registry = Registry::new();
        let worker = registry.add_worker();
        worker.downstream_cx_total.add(2);
        worker.downstream_rq_time.record(1000);
        registry.collect()
    }

    #[test]
    fn text_is_sorted_and_complete() {
        let text = render(exposition(), Format::Text);
        let names: Vec<&str> = text.lines().map(|line| line.split(": ").next().expect("a name")).collect();
        assert!(names.is_sorted(), "{text}");
        assert!(text.contains("\nhttp.downstream_cx_total: 2\n"));
        assert!(text.contains("\nlistener.worker_downstream_cx_total{worker=\"0\"}: 2\n"));
        assert!(text.contains("\ncluster.upstream_rq_time: No recorded values\n"));
        assert!(text.contains("P100(1.000) count(1) sum(1.000)\n"));
    }

    #[test]
    fn filters_leave_what_was_asked_for() {
        let mut some = exposition();
        select(&mut some, Some("downstream_cx_"), true);
        let expected = "http.downstream_cx_total: 2\nlistener.worker_downstream_cx_total{worker=\"0\"}: 2\n";
        assert_eq!(render(some, Format::Text), expected);
    }

    #[test]
    fn json_is_json() {
        let value: serde_json::Value = serde_json::from_str(&render(exposition(), Format::Json)).expect("valid JSON");
        let series = value["stats"].as_array().expect("a list");
        let find = |name: &str| series.iter().find(|entry| entry["name"] == name).expect("a series of this name");
        assert_eq!(find("http.downstream_cx_total")["value"], 2);
        assert_eq!(find("listener.worker_downstream_cx_total")["labels"]["worker"], "0");
        assert_eq!(find("http.downstream_rq_time")["count"], 1);
        assert_eq!(find("cluster.upstream_rq_time")["quantiles"], serde_json::json!({}));
    }
}

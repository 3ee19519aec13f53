//! The Prometheus text exposition, format 0.0.4.

use std::fmt::Write;

use super::{Exposition, Family, HistogramSnapshot, Kind, Sample, Unit, Value};

/// Upper bounds that histograms show, in microseconds; fewer than they keep, for every one is a series to store.
const SHOWN_BOUNDS: [u64; 22] = [
    10,
    25,
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

impl Exposition {
    pub const PROMETHEUS_CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// `http.downstream_rq_total` becomes `outrider_http_downstream_rq_total`.
    pub fn prometheus(&self) -> String {
        let mut text = String::with_capacity(32 * 1024);
        for family in self.families() {
            write_family(&mut text, family).expect("a String takes everything");
        }
        text
    }
}

fn write_family(text: &mut String, family: &Family) -> std::fmt::Result {
    let name = metric_name(&family.name);
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(text, "# HELP {name} {}", family.help.replace('\\', "\\\\").replace('\n', "\\n"))?;
    writeln!(text, "# TYPE {name} {kind}")?;
    for sample in &family.samples {
        match &sample.value {
            Value::Number(number) => {
                text.push_str(&name);
                write_labels(text, sample, None)?;
                writeln!(text, " {number}")?;
            }
            Value::Histogram(unit, snapshot) => write_histogram(text, &name, sample, *unit, snapshot)?,
        }
    }
    Ok(())
}

fn write_histogram(text: &mut String, name: &str, sample: &Sample, unit: Unit, snapshot: &HistogramSnapshot) -> std::fmt::Result {
    let scale = unit.microseconds() as f64;
    for bound in SHOWN_BOUNDS {
        write!(text, "{name}_bucket")?;
        write_labels(text, sample, Some(&(bound as f64 / scale).to_string()))?;
        writeln!(text, " {}", snapshot.count_up_to(bound))?;
    }
    write!(text, "{name}_bucket")?;
    write_labels(text, sample, Some("+Inf"))?;
    writeln!(text, " {}", snapshot.count())?;
    write!(text, "{name}_sum")?;
    write_labels(text, sample, None)?;
    writeln!(text, " {}", snapshot.sum() as f64 / scale)?;
    write!(text, "{name}_count")?;
    write_labels(text, sample, None)?;
    writeln!(text, " {}", snapshot.count())
}

fn write_labels(text: &mut String, sample: &Sample, bound: Option<&str>) -> std::fmt::Result {
    let bound = bound.map(|bound| ("le", bound));
    let labels = sample.labels.iter().map(|(label, value)| (*label, value.as_str())).chain(bound);
    let mut separator = '{';
    for (label, value) in labels {
        write!(text, "{separator}{label}=\"")?;
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    Ok(())
}

fn metric_name(name: &str) -> String {
    let tail = name.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' });
    "outrider_".chars().chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::super::{Histogram, Registry};
    use super::*;

    #[test]
    fn the_whole_exposition_is_well_formed() {
        let registry = Registry::new();
        let worker = registry.add_worker();
        worker.downstream_rq_total.add(7);
        worker.downstream_rq_time.record(1500);
        worker.downstream_rq_time.record(400_000_000);
        registry.add_worker().downstream_rq_total.add(3);
        registry.add_provider(|exposition| exposition.gauge_with("odd.name", "two\nlines \\", &[("host", "a\"b\\c\nd{},=é")], 1));
        let text = registry.collect().prometheus();
        let series = parse_strictly(&text);
        assert_eq!(series["outrider_http_downstream_rq_total"], 10.0);
        assert_eq!(series["outrider_http_downstream_rq_time_bucket{le=1}"], 0.0);
        assert_eq!(series["outrider_http_downstream_rq_time_bucket{le=2.5}"], 1.0);
        assert_eq!(series["outrider_http_downstream_rq_time_bucket{le=+Inf}"], 2.0);
        assert_eq!(series["outrider_http_downstream_rq_time_sum"], 400_001.5);
        assert_eq!(series["outrider_listener_worker_downstream_cx_total{worker=1}"], 0.0);
        assert_eq!(series["outrider_odd_name{host=a\"b\\c\nd{},=é}"], 1.0);
        assert!(text.contains("# HELP outrider_odd_name two\\nlines \\\\\n"), "{text}");
    }

    #[test]
    fn bounds_that_are_shown_are_bounds_that_are_kept() {
        let mut snapshot = HistogramSnapshot::default();
        let histogram = Histogram::default();
        SHOWN_BOUNDS.iter().for_each(|&bound| histogram.record(bound));
        snapshot.merge(&histogram);
        for (index, bound) in SHOWN_BOUNDS.into_iter().enumerate() {
            assert_eq!(snapshot.count_up_to(bound), index as u64 + 1);
        }
    }

    /// Series by name and unescaped labels. Panics on anything that the format does not allow.
    fn parse_strictly(text: &str) -> HashMap<String, f64> {
        assert!(text.ends_with('\n'));
        let (mut series, mut seen) = (HashMap::new(), HashSet::new());
        let (mut current, mut kind, mut helped) = (String::new(), "", String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                helped = rest.split_once(' ').expect("help has text").0.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, type_name) = rest.split_once(' ').expect("a type");
                assert_eq!(name, helped, "HELP comes right before TYPE");
                assert!(seen.insert(name.to_owned()), "family {name} comes twice");
                assert!(["counter", "gauge", "histogram"].contains(&type_name));
                current = name.to_owned();
                kind = type_name;
            } else {
                let (name, labels, value) = parse_sample(line);
                let base = if kind == "histogram" {
                    ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).expect("a histogram's part")
                } else {
                    name
                };
                assert_eq!(base, current, "series outside of its family");
                let key = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
                assert!(series.insert(key, value).is_none(), "series twice: {line}");
            }
        }
        series
    }

    fn parse_sample(line: &str) -> (&str, Vec<String>, f64) {
        let end = line.find(['{', ' ']).expect("a value");
        let (name, mut rest) = line.split_at(end);
        assert!(name.starts_with(|first: char| first.is_ascii_alphabetic()));
        assert!(name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_'));
        let mut labels = Vec::new();
        if let Some(mut inside) = rest.strip_prefix('{') {
            loop {
                let (label, after) = inside.split_once("=\"").expect("a label's value in quotes");
                assert!(label.chars().all(|character| character.is_ascii_alphanumeric() || character == '_'));
                let (value, after) = unescape(after);
                labels.push(format!("{label}={value}"));
                if let Some(after) = after.strip_prefix('}') {
                    rest = after;
                    break;
                }
                inside = after.strip_prefix(',').expect("a comma between labels");
            }
        }
        let value = rest.strip_prefix(' ').expect("a space before the value");
        (name, labels, value.parse().expect("a number"))
    }

    fn unescape(text: &str) -> (String, &str) {
        let mut value = String::new();
        let mut characters = text.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => return (value, &text[index + 1..]),
                '\\' => match characters.next().expect("an escaped character").1 {
                    'n' => value.push('\n'),
                    same @ ('\\' | '"') => value.push(same),
                    other => panic!("no such escape: {other}"),
                },
                other => value.push(other),
            }
        }
        panic!("a label's value without an end");
    }
}

//! All series at one moment, as data; how they are written is a matter of the format.

use std::borrow::Cow;

use super::{HistogramSnapshot, Kind, Unit};

/// What a collection gathers: families of series, each in the order of arrival.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<Family>,
}

/// All series of one name.
#[derive(Debug)]
pub struct Family {
    /// In Envoy's words, with dots: `http.downstream_rq_total`.
    pub name: Cow<'static, str>,
    pub help: Cow<'static, str>,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

/// One series of a family and its value.
#[derive(Debug)]
pub struct Sample {
    pub labels: Vec<(&'static str, String)>,
    pub value: Value,
}

#[derive(Debug)]
pub enum Value {
    Number(u64),
    Histogram(Unit, Box<HistogramSnapshot>),
}

impl Exposition {
    pub fn counter(&mut self, name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>, value: u64) {
        self.counter_with(name, help, &[], value);
    }

    pub fn gauge(&mut self, name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>, value: u64) {
        self.gauge_with(name, help, &[], value);
    }

    /// Series of one name with different labels form one family, whatever comes between them.
    pub fn counter_with(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        self.push(name.into(), help.into(), Kind::Counter, labels, Value::Number(value));
    }

    pub fn gauge_with(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        self.push(name.into(), help.into(), Kind::Gauge, labels, Value::Number(value));
    }

    pub fn histogram(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        unit: Unit,
        snapshot: HistogramSnapshot,
    ) {
        self.push(name.into(), help.into(), Kind::Histogram, &[], Value::Histogram(unit, Box::new(snapshot)));
    }

    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Keeps the series that `keep` says yes to; a family without any goes too.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Sample) -> bool) {
        for family in &mut self.families {
            let Family { name, samples, .. } = family;
            samples.retain(|sample| keep(name, sample));
        }
        self.families.retain(|family| !family.samples.is_empty());
    }

    pub fn sort(&mut self) {
        self.families.sort_by(|left, right| left.name.cmp(&right.name));
    }

    fn push(&mut self, name: Cow<'static, str>, help: Cow<'static, str>, kind: Kind, labels: &[(&'static str, &str)], value: Value) {
        let labels = labels.iter().map(|&(label, value)| (label, value.to_owned())).collect();
        let sample = Sample { labels, value };
        // Labelled series come in runs, so the family is nearly always the last one.
        let known = self.families.iter_mut().rev().find(|family| family.name == name && family.kind == kind);
        match known {
            Some(family) => family.samples.push(sample),
            None => self.families.push(Family { name, help, kind, samples: vec![sample] }),
        }
    }
}

impl Sample {
    /// Whether anything was ever counted here.
    pub fn is_used(&self) -> bool {
        match &self.value {
            Value::Number(number) => *number != 0,
            Value::Histogram(_, snapshot) => snapshot.count() != 0,
        }
    }
}

impl Unit {
    /// Microseconds in one of this unit.
    pub fn microseconds(self) -> u64 {
        match self {
            Unit::Milliseconds => 1000,
            Unit::Microseconds => 1,
        }
    }
}

//! Durations, sizes and counts.

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;

use super::{Form, Wrong};

/// A whole number, or text with a unit or a word.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or text")]
pub(in crate::config) enum Scalar {
    Number(i64),
    Text(String),
}

impl Scalar {
    fn shown(&self) -> String {
        match self {
            Scalar::Number(number) => format!("`{number}`"),
            Scalar::Text(text) => quoted(text),
        }
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}

/// A duration, `"0s"` included: do not wait, do not keep.
pub(in crate::config) enum Wait {}

/// A duration longer than nothing.
pub(in crate::config) enum Length {}

/// A duration, where `"0s"` is no limit.
pub(in crate::config) enum Limit {}

impl Form for Wait {
    type Written = Scalar;
    type Checked = Duration;

    fn check(written: Scalar) -> Result<Duration, Wrong> {
        match &written {
            Scalar::Text(text) => duration(text),
            Scalar::Number(number) => Err(Wrong::new("a duration without a unit")
                .help(format!("say what it counts: \"{number}s\" for seconds, \"{number}ms\" for milliseconds"))),
        }
    }

    fn remedy() -> String {
        "write a duration as number and unit (ms, s, m, h, d): \"250ms\", \"10s\", \"1h\", \"1h30m\"".to_owned()
    }
}

impl Form for Length {
    type Written = Scalar;
    type Checked = Duration;

    fn check(written: Scalar) -> Result<Duration, Wrong> {
        match Wait::check(written)? {
            Duration::ZERO => Err(Wrong::new("this wait must have a limit").help("write the longest you would wait, such as \"1d\"")),
            length => Ok(length),
        }
    }

    fn remedy() -> String {
        Wait::remedy()
    }
}

impl Form for Limit {
    type Written = Scalar;
    type Checked = Option<Duration>;

    fn check(written: Scalar) -> Result<Option<Duration>, Wrong> {
        Ok(Some(Wait::check(written)?).filter(|limit| !limit.is_zero()))
    }

    fn remedy() -> String {
        format!("{}; \"0s\" is no limit", Wait::remedy())
    }
}

/// A duration that the kernel counts in seconds; `"0s"` is off.
pub(in crate::config) enum WholeSeconds {}

impl Form for WholeSeconds {
    type Written = Scalar;
    type Checked = Duration;

    fn check(written: Scalar) -> Result<Duration, Wrong> {
        const LONGEST: Duration = Duration::from_secs(32_767);
        let duration = Wait::check(written)?;
        if duration.subsec_nanos() != 0 || duration > LONGEST {
            return Err(Wrong::new(format!("{duration:?} is not a whole number of seconds up to {LONGEST:?}")));
        }
        Ok(duration)
    }

    fn remedy() -> String {
        "write whole seconds, up to 9 hours: \"60s\", \"5m\"".to_owned()
    }
}

/// Reads `1h30m`: numbers, each with its unit.
fn duration(text: &str) -> Result<Duration, Wrong> {
    // Far more than any use, and far from where adding to an Instant overflows.
    const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);
    let wrong = || Wrong::new(format!("{} is not a duration", quoted(text)));
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or_else(wrong)?;
        rest = after;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let length = number.checked_mul(milliseconds).map(Duration::from_millis);
        total = length
            .and_then(|length| total.checked_add(length))
            .filter(|total| *total <= LONGEST)
            .ok_or_else(|| Wrong::new(format!("{} is too long", quoted(text))).help("write at most ten years, \"3650d\""))?;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Bytes, from `MIN` to `MAX`.
pub(in crate::config) enum Size<const MIN: u64, const MAX: u64> {}

/// The limits of a message head: below, hardly any message fits; above, one connection could take the machine's memory.
pub(in crate::config) type HeadSize = Size<256, { 8 << 20 }>;

/// The same in Envoy's spelling, a count of KiB.
pub(in crate::config) enum HeadKilobytes {}

impl<const MIN: u64, const MAX: u64> Form for Size<MIN, MAX> {
    type Written = Scalar;
    type Checked = usize;

    fn check(written: Scalar) -> Result<usize, Wrong> {
        let wrong = || Wrong::new(format!("{} is not a size", written.shown()));
        let bytes = match &written {
            Scalar::Number(number) => u64::try_from(*number).map_err(|_| wrong())?,
            Scalar::Text(text) => {
                let (number, unit, after) = number_and_unit(text).ok_or_else(wrong)?;
                let factor = match unit {
                    "B" => 1,
                    "KiB" => 1 << 10,
                    "MiB" => 1 << 20,
                    "GiB" => 1 << 30,
                    _ => return Err(wrong()),
                };
                number.checked_mul(factor).filter(|_| after.is_empty()).ok_or_else(wrong)?
            }
        };
        within(bytes, MIN, MAX).ok_or_else(|| Wrong::new(format!("{} is not within {MIN} to {MAX} bytes", written.shown())))
    }

    fn remedy() -> String {
        format!("write a size from {MIN} to {MAX} bytes, as a number or with a unit (B, KiB, MiB, GiB): \"60KiB\"")
    }
}

impl Form for HeadKilobytes {
    type Written = i64;
    type Checked = usize;

    fn check(written: i64) -> Result<usize, Wrong> {
        HeadSize::check(Scalar::Text(format!("{written}KiB")))
    }

    fn remedy() -> String {
        "write a whole number of KiB from 1 to 8192".to_owned()
    }
}

/// Digits (`_` between them), spaces, then letters; and what is left.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number = digits.replace('_', "").parse().ok()?;
    let rest = rest.trim_start_matches(' ');
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    Some((number, unit, rest))
}

/// A whole number from `MIN` to `MAX`.
pub(in crate::config) struct Whole<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

/// At least one of something.
pub(in crate::config) type Count<T> = Whole<T, 1, { u32::MAX as u64 }>;

/// Perhaps none.
pub(in crate::config) type CountOrNone<T> = Whole<T, 0, { u32::MAX as u64 }>;

/// A number, where 0 is no limit.
pub(in crate::config) enum CountLimit {}

impl<T: TryFrom<u64>, const MIN: u64, const MAX: u64> Form for Whole<T, MIN, MAX> {
    type Written = i64;
    type Checked = T;

    fn check(written: i64) -> Result<T, Wrong> {
        let number = u64::try_from(written).ok();
        number.and_then(|number| within(number, MIN, MAX)).ok_or_else(|| Wrong::new(format!("`{written}` is out of range")))
    }

    fn remedy() -> String {
        format!("write a whole number from {MIN} to {MAX}, without quotes")
    }
}

impl Form for CountLimit {
    type Written = i64;
    type Checked = Option<u64>;

    fn check(written: i64) -> Result<Option<u64>, Wrong> {
        CountOrNone::<u64>::check(written).map(|count| Some(count).filter(|&count| count > 0))
    }

    fn remedy() -> String {
        format!("{}; 0 is no limit", CountOrNone::<u64>::remedy())
    }
}

/// At least one of something, or `"auto"`.
pub(in crate::config) enum CountOrAuto {}

impl Form for CountOrAuto {
    type Written = Scalar;
    type Checked = Option<usize>;

    fn check(written: Scalar) -> Result<Option<usize>, Wrong> {
        match written {
            Scalar::Text(text) if text == "auto" => Ok(None),
            Scalar::Number(number) => Count::<usize>::check(number).map(Some),
            Scalar::Text(_) => Err(Wrong::new(format!("{} is not a number", written.shown()))),
        }
    }

    fn remedy() -> String {
        format!("write \"auto\", or a whole number from 1 to {}, without quotes", u32::MAX)
    }
}

/// A firewall mark; 0 is none.
pub(in crate::config) enum Mark {}

impl Form for Mark {
    type Written = i64;
    type Checked = Option<u32>;

    fn check(written: i64) -> Result<Option<u32>, Wrong> {
        let mark = u32::try_from(written).map_err(|_| Wrong::new(format!("`{written}` is out of range")))?;
        Ok(Some(mark).filter(|&mark| mark > 0))
    }

    fn remedy() -> String {
        "write a number from 1 to 0xffffffff, as the firewall's rules have it; 0 is none".to_owned()
    }
}

/// From 1 to 3, in parts of one.
pub(in crate::config) enum Ratio {}

impl Form for Ratio {
    type Written = f64;
    type Checked = f64;

    fn check(written: f64) -> Result<f64, Wrong> {
        if (1.0..=3.0).contains(&written) { Ok(written) } else { Err(Wrong::new(format!("`{written}` is out of range"))) }
    }

    fn remedy() -> String {
        "write a number from 1.0 to 3.0".to_owned()
    }
}

fn within<T: TryFrom<u64>>(number: u64, min: u64, max: u64) -> Option<T> {
    if (min..=max).contains(&number) { T::try_from(number).ok() } else { None }
}

/// `"auto"`, or how many threads.
pub(in crate::config) enum Workers {}

impl Form for Workers {
    type Written = Scalar;
    type Checked = Option<NonZeroUsize>;

    fn check(written: Scalar) -> Result<Option<NonZeroUsize>, Wrong> {
        match written {
            Scalar::Text(text) if text == "auto" => Ok(None),
            Scalar::Number(1..=1024) if let Scalar::Number(number) = written => Ok(NonZeroUsize::new(number as usize)),
            _ => Err(Wrong::new(format!("{} is not a number of workers", written.shown()))),
        }
    }

    fn remedy() -> String {
        "write \"auto\" for as many as the process may use CPUs, or a number from 1 to 1024".to_owned()
    }
}

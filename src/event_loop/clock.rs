//! Time as a worker sees it.

use std::cell::{Cell, RefCell};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

thread_local! {
    static TURN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// When the event loop of this thread woke last, or the time where it has not: good enough for deadlines and for when
/// something came, and read for nothing.
pub fn coarse_now() -> Instant {
    turn_start().unwrap_or_else(Instant::now)
}

pub(super) fn turn_start() -> Option<Instant> {
    TURN.get()
}

/// Called by the event loop when it wakes.
pub(super) fn set_turn_start(now: Instant) {
    TURN.set(Some(now));
}

/// The time of day in the forms that HTTP needs, made anew at most once a second.
#[derive(Default)]
pub struct Clock {
    second: Cell<u64>,
    date: RefCell<[u8; 29]>,
}

impl Clock {
    /// IMF-fixdate (RFC 9110 section 5.6.7).
    pub fn http_date(&self) -> [u8; 29] {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.second.replace(second) != second || second == 0 {
            *self.date.borrow_mut() = http_date(second);
        }
        *self.date.borrow()
    }
}

fn http_date(second: u64) -> [u8; 29] {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = second / 86_400;
    let (year, month, day) = civil_date(days);
    let mut date = [b' '; 29];
    let text = format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize - 1],
        second / 3600 % 24,
        second / 60 % 60,
        second % 60
    );
    let length = text.len().min(date.len());
    date[..length].copy_from_slice(&text.as_bytes()[..length]);
    date
}

/// Year, month and day, both of the latter counted from 1, of a day since 1970, in the Gregorian calendar.
///
/// Counts in years that begin in March (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
pub fn civil_date(day: u64) -> (u32, u32, u32) {
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year as u32, month as u32, day_of_month as u32)
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn dates() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&http_date(second)), Ok(text));
        }
    }
}

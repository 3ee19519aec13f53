//! One record as one line of JSON.
//!
//! Every line has the keys `time` to `target`, `version`, `reused`, the byte counts and `duration_ms`; what a stream did not
//! get to (no status sent, no cluster chosen, no look-up made) is left out rather than written as an empty value.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Record;
use crate::event_loop::civil_date;
use crate::json::{self, HEX};

/// journald makes two entries of a line above 48 KiB (`LineMax=` of journald.conf(5)), neither of which is JSON, and a request
/// head may be larger. What else is in a line fits into the rest. In bytes, as written.
const LONGEST_METHOD: usize = 1_000;
const LONGEST_TARGET: usize = 40_000;
/// A byte may become six (`\u00XX`).
const ESCAPED: usize = 6;

/// Turns records into lines; keeps the text of the second that it wrote last.
#[derive(Debug)]
pub(super) struct Encoder {
    second: u64,
    /// `2026-11-24T02:08:57.`
    date: [u8; 20],
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { second: 0, date: *b"1970-01-01T00:00:00." }
    }

    /// Appends the line for `record` with its line end.
    pub(super) fn encode(&mut self, out: &mut Vec<u8>, record: &Record<'_>, now: SystemTime) {
        out.extend_from_slice(b"{\"time\":\"");
        self.write_time(out, now);
        out.extend_from_slice(b"\",\"request_id\":\"");
        write_hex(out, record.request_id);
        out.extend_from_slice(b"\",\"listener\":");
        json::write_string(out, record.listener.as_bytes());
        write_number(out, b",\"worker\":", record.worker as u64);
        write_address(out, b",\"client\":\"", record.client);
        write_bounded(out, b",\"method\":", record.method, LONGEST_METHOD);
        write_bounded(out, b",\"target\":", record.target, LONGEST_TARGET);
        out.extend_from_slice(if record.minor_version == 0 { b",\"version\":\"HTTP/1.0\"" } else { b",\"version\":\"HTTP/1.1\"" });
        if let Some(status) = record.status {
            write_number(out, b",\"status\":", u64::from(status));
        }
        write_text(out, b",\"response_flags\":", record.response_flag.as_bytes());
        write_text(out, b",\"reason\":", record.reason.as_bytes());
        write_text(out, b",\"detail\":", record.detail.as_bytes());
        write_text(out, b",\"rule\":", record.rule);
        write_text(out, b",\"cluster\":", record.cluster);
        if let Some(endpoint) = record.endpoint {
            write_address(out, b",\"endpoint\":\"", endpoint);
        }
        out.extend_from_slice(if record.reused { b",\"reused\":true" } else { b",\"reused\":false" });
        write_number(out, b",\"bytes_received\":", record.bytes_received);
        write_number(out, b",\"bytes_sent\":", record.bytes_sent);
        write_duration(out, b",\"dns_ms\":", record.dns);
        write_duration(out, b",\"connect_ms\":", record.connect);
        write_duration(out, b",\"first_byte_ms\":", record.first_byte);
        write_duration(out, b",\"duration_ms\":", Some(record.duration));
        out.extend_from_slice(b"}\n");
    }

    /// RFC 3339 in UTC with milliseconds.
    fn write_time(&mut self, out: &mut Vec<u8>, now: SystemTime) {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since_epoch.as_secs() != self.second {
            self.second = since_epoch.as_secs();
            self.date = date_text(self.second);
        }
        out.extend_from_slice(&self.date);
        write_thousandths(out, since_epoch.subsec_millis());
        out.push(b'Z');
    }
}

fn write_text(out: &mut Vec<u8>, key: &[u8], text: &[u8]) {
    if !text.is_empty() {
        out.extend_from_slice(key);
        json::write_string(out, text);
    }
}

/// What would be longer than `longest` is cut, so that the rest fits in any case, and ends in an ellipsis.
fn write_bounded(out: &mut Vec<u8>, key: &[u8], text: &[u8], longest: usize) {
    out.extend_from_slice(key);
    let start = out.len();
    json::write_string(out, text);
    if out.len() - start > longest {
        out.truncate(start);
        json::write_string(out, &text[..text.len().min(longest / ESCAPED)]);
        out.pop();
        out.extend_from_slice("…\"".as_bytes());
    }
}

fn write_number(out: &mut Vec<u8>, key: &[u8], number: u64) {
    out.extend_from_slice(key);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Milliseconds with three decimals.
fn write_duration(out: &mut Vec<u8>, key: &[u8], duration: Option<Duration>) {
    let Some(duration) = duration else { return };
    let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    write_number(out, key, microseconds / 1000);
    out.push(b'.');
    write_thousandths(out, (microseconds % 1000) as u32);
}

/// `key` opens the quotes of the value.
fn write_address(out: &mut Vec<u8>, key: &[u8], address: SocketAddr) {
    out.extend_from_slice(key);
    match address.ip() {
        IpAddr::V4(ip) => {
            let mut text = [0; 16];
            let mut length = 0;
            for octet in ip.octets() {
                let (digits, digits_length) = OCTETS[usize::from(octet)];
                text[length..length + 4].copy_from_slice(&digits);
                length += digits_length;
            }
            text[length - 1] = b':';
            out.extend_from_slice(&text[..length]);
            out.extend_from_slice(itoa::Buffer::new().format(address.port()).as_bytes());
        }
        // Its shortest form (RFC 5952) is a matter for the standard library.
        IpAddr::V6(_) => write!(out, "{address}").expect("a Vec takes everything"),
    }
    out.push(b'"');
}

/// Each octet in digits with a dot behind it, and how long that is.
const OCTETS: [([u8; 4], usize); 256] = {
    let mut table = [([0; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let (hundreds, tens, ones) = (b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8);
        table[octet] = match octet {
            0..10 => ([ones, b'.', 0, 0], 2),
            10..100 => ([tens, ones, b'.', 0], 3),
            _ => ([hundreds, tens, ones, b'.'], 4),
        };
        octet += 1;
    }
    table
};

fn write_hex(out: &mut Vec<u8>, number: u64) {
    let mut text = [0; 16];
    for (digits, byte) in text.as_chunks_mut().0.iter_mut().zip(number.to_be_bytes()) {
        *digits = HEX_PAIRS[usize::from(byte)];
    }
    out.extend_from_slice(&text);
}

const HEX_PAIRS: [[u8; 2]; 256] = {
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [HEX[byte >> 4], HEX[byte & 15]];
        byte += 1;
    }
    table
};

fn write_thousandths(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&[digit(number / 100), digit(number / 10), digit(number)]);
}

fn digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

fn date_text(second: u64) -> [u8; 20] {
    let (year, month, day) = civil_date(second / 86_400);
    let second_of_day = (second % 86_400) as u32;
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let mut text = *b"0000-00-00T00:00:00.";
    for (place, number) in [(2, year), (5, month), (8, day), (11, hour), (14, minute), (17, second)] {
        text[place] = digit(number / 10);
        text[place + 1] = digit(number);
    }
    text[0] = digit(year / 1000);
    text[1] = digit(year / 100);
    text
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    pub(in super::super) fn sample() -> Record<'static> {
        Record {
            request_id: 0x0123_4567_89ab_cdef,
            listener: "default",
            worker: 3,
            client: "192.0.2.7:51234".parse().expect("an address"),
            method: b"GET",
            target: b"http://example.org/index.html?query=1",
            minor_version: 1,
            status: Some(200),
            response_flag: "",
            reason: "",
            detail: "",
            rule: b"local clients to the web",
            cluster: b"example.org:80",
            endpoint: Some("[2001:db8::1]:80".parse().expect("an address")),
            reused: true,
            bytes_received: 0,
            bytes_sent: 1024,
            dns: None,
            connect: None,
            first_byte: Some(Duration::from_micros(12_045)),
            duration: Duration::from_micros(13_002),
        }
    }

    fn line(record: &Record<'_>, now: SystemTime) -> String {
        let mut out = Vec::new();
        Encoder::new().encode(&mut out, record, now);
        String::from_utf8(out).expect("always UTF-8")
    }

    #[test]
    fn a_line_is_one_entry_of_the_journal() {
        let plain = vec![b'a'; LONGEST_TARGET - 2];
        let whole: Value = serde_json::from_str(&line(&Record { target: &plain, ..sample() }, UNIX_EPOCH)).expect("JSON");
        assert_eq!(whole["target"].as_str().expect("text").as_bytes(), plain);
        for byte in [b'a', b'"', 0xff] {
            let long = vec![byte; 60_000];
            let text = line(&Record { method: &long, target: &long, ..sample() }, UNIX_EPOCH);
            assert!(text.len() < 48 << 10, "{} bytes are two entries of the journal", text.len());
            let value: Value = serde_json::from_str(&text).expect("JSON");
            for (key, length) in [("method", LONGEST_METHOD / ESCAPED), ("target", LONGEST_TARGET / ESCAPED)] {
                let text = value[key].as_str().expect("text");
                assert!(text.ends_with('…') && text.chars().count() == length + 1, "{key}: {} characters", text.chars().count());
            }
        }
    }

    #[test]
    fn a_line_reads_as_documented() {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_485_737_042);
        assert_eq!(
            line(&sample(), now),
            "{\"time\":\"2026-11-24T02:02:17.042Z\",\"request_id\":\"0123456789abcdef\",\"listener\":\"default\",\"worker\":3,\
             \"client\":\"192.0.2.7:51234\",\"method\":\"GET\",\"target\":\"http://example.org/index.html?query=1\",\
             \"version\":\"HTTP/1.1\",\"status\":200,\"rule\":\"local clients to the web\",\"cluster\":\"example.org:80\",\
             \"endpoint\":\"[2001:db8::1]:80\",\"reused\":true,\"bytes_received\":0,\"bytes_sent\":1024,\
             \"first_byte_ms\":12.045,\"duration_ms\":13.002}\n"
        );
    }

    #[test]
    fn dates_are_right_at_the_edges_of_months_and_years() {
        let cases = [
            (0, "1970-01-01T00:00:00."),
            (951_782_399, "2000-02-28T23:59:59."),
            (951_782_400, "2000-02-29T00:00:00."),
            (1_709_251_200, "2024-03-01T00:00:00."),
            (1_735_689_599, "2024-12-31T23:59:59."),
            (4_107_542_400, "2100-03-01T00:00:00."),
        ];
        for (second, text) in cases {
            assert_eq!(String::from_utf8_lossy(&date_text(second)), text);
        }
    }

    #[test]
    fn the_cached_second_moves_on() {
        let mut encoder = Encoder::new();
        let mut out = Vec::new();
        for millisecond in [0, 999, 1000, 61_001, 5] {
            encoder.write_time(&mut out, UNIX_EPOCH + Duration::from_millis(millisecond));
            out.push(b' ');
        }
        let expected = "1970-01-01T00:00:00.000Z 1970-01-01T00:00:00.999Z 1970-01-01T00:00:01.000Z 1970-01-01T00:01:01.001Z \
                        1970-01-01T00:00:00.005Z ";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_line_of_valid_json(
            method in proptest::collection::vec(any::<u8>(), 0..20),
            target in proptest::collection::vec(any::<u8>(), 0..200),
            texts in proptest::array::uniform6(".*"),
            numbers in any::<(u64, u64, u64, u8, u64, u32)>(),
            some in any::<bool>(),
            addresses in any::<(std::net::IpAddr, std::net::IpAddr)>(),
        ) {
            let duration = Duration::new(numbers.4, numbers.5 % 1_000_000_000);
            let record = Record {
                request_id: numbers.0,
                listener: &texts[0],
                client: SocketAddr::new(addresses.0, 1),
                method: &method,
                target: &target,
                minor_version: numbers.3,
                status: some.then_some(599),
                response_flag: &texts[1],
                reason: &texts[2],
                detail: &texts[3],
                rule: texts[4].as_bytes(),
                cluster: texts[5].as_bytes(),
                endpoint: some.then_some(SocketAddr::new(addresses.1, 65535)),
                bytes_received: numbers.1,
                bytes_sent: numbers.2,
                dns: some.then_some(duration),
                duration,
                ..sample()
            };
            let text = line(&record, UNIX_EPOCH + Duration::from_millis(numbers.0 % 4_000_000_000_000));
            prop_assert_eq!(text.matches('\n').count(), 1);
            let value: Value = serde_json::from_str(&text).expect("valid JSON");
            let (request_id, client) = (format!("{:016x}", numbers.0), record.client.to_string());
            prop_assert_eq!(value["request_id"].as_str(), Some(request_id.as_str()));
            prop_assert_eq!(value["listener"].as_str(), Some(texts[0].as_str()));
            prop_assert_eq!(value["detail"].as_str(), Some(texts[3].as_str()).filter(|text| !text.is_empty()));
            prop_assert_eq!(value["client"].as_str(), Some(client.as_str()));
            prop_assert_eq!(value["bytes_sent"].as_u64(), Some(numbers.2));
            if let Ok(target) = std::str::from_utf8(&target) {
                prop_assert_eq!(value["target"].as_str(), Some(target));
            }
        }
    }
}

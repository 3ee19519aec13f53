//! What the keys of a line mean, for the documents.

/// A key, when a line has it, and what it says.
#[derive(Debug, Clone, Copy)]
pub struct LogField {
    pub name: &'static str,
    /// In every line, or only where there is something to say.
    pub always: bool,
    pub meaning: &'static str,
}

const fn always(name: &'static str, meaning: &'static str) -> LogField {
    LogField { name, always: true, meaning }
}

const fn sometimes(name: &'static str, meaning: &'static str) -> LogField {
    LogField { name, always: false, meaning }
}

/// Every key, in the order of a line.
pub const FIELDS: &[LogField] = &[
    always("time", "When the stream ended (RFC 3339, UTC, milliseconds). It began `duration_ms` before."),
    always(
        "request_id",
        "16 hexadecimal digits, unique to this run; the `X-Request-Id` of Outrider's own replies, and the probes' request_id.",
    ),
    always("listener", "Name of the listener."),
    always("worker", "Which worker served it, from 0."),
    always("client", "The client's address and port."),
    always(
        "method",
        "As the client wrote it; empty where its head could not be read. Above 1,000 bytes it is cut, and ends in an ellipsis.",
    ),
    always(
        "target",
        "The request target as the client wrote it: a URL, or host:port of a CONNECT. Above 40,000 bytes it is cut, and ends in an ellipsis.",
    ),
    always("version", "HTTP/1.1 or HTTP/1.0, as the client spoke it."),
    sometimes("status", "Sent to the client; not there where nothing was sent."),
    sometimes("response_flags", "Envoy's response flag, where something went wrong; see RESPONSE FLAGS."),
    sometimes("reason", "A stable name for what went wrong; see REASONS."),
    sometimes("detail", "More of it for people: an address, or the operating system's error. Its words may change."),
    sometimes("rule", "The policy rule that decided, or `default`."),
    sometimes("cluster", "Host and port of the destination, in their canonical form."),
    sometimes("endpoint", "The address that was dialled."),
    always("reused", "Whether the connection to it had served before."),
    always("bytes_received", "Bytes of the body or tunnel from the client; heads do not count."),
    always("bytes_sent", "Bytes of the body or tunnel to the client."),
    sometimes("dns_ms", "Spent on waiting for the name's addresses."),
    sometimes("connect_ms", "Spent on waiting for a connection."),
    sometimes("first_byte_ms", "From the beginning of the stream to the first byte of the origin's answer."),
    always("duration_ms", "From the first byte of the request to the end of the answer, or of the tunnel."),
];

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::Record;
    use super::super::encode::Encoder;
    use super::super::encode::tests::sample;
    use super::*;

    fn keys(record: &Record<'_>) -> Vec<String> {
        let mut line = Vec::new();
        Encoder::new().encode(&mut line, record, SystemTime::now());
        let text = String::from_utf8(line).expect("always UTF-8");
        let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("valid JSON");
        let mut keys: Vec<String> = parsed.keys().cloned().collect();
        // The parser sorts them.
        keys.sort_by_key(|key| text.find(&format!("\"{key}\":")));
        keys
    }

    #[test]
    fn every_key_of_a_line_is_told_and_no_other() {
        let some = Some(Duration::from_millis(1));
        let full = Record { response_flag: "UF", reason: "connect_failed", detail: "x", dns: some, connect: some, ..sample() };
        assert_eq!(keys(&full), FIELDS.iter().map(|field| field.name).collect::<Vec<_>>());
        let none = Record { status: None, rule: b"", cluster: b"", endpoint: None, first_byte: None, ..sample() };
        assert_eq!(keys(&none), FIELDS.iter().filter(|field| field.always).map(|field| field.name).collect::<Vec<_>>());
    }
}

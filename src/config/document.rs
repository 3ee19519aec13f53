//! Tables of keys and values, written as TOML or as JSON.

use std::fmt::Write;

use crate::json;

pub(super) type Entries = Vec<(&'static str, Value)>;

pub(super) enum Value {
    Switch(bool),
    Number(u64),
    Ratio(f64),
    Text(String),
    /// What may not be shown: a password, a private key.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "no key holds a secret yet; the first one that does is to be masked from its beginning")
    )]
    Secret,
    List(Vec<Value>),
    /// A table in one line.
    Inline(Entries),
    Table(Entries),
    Tables(Vec<Entries>),
}

const MASK: &str = "\"[hidden]\"";

/// Keys first, then the tables below, each under its header.
pub(super) fn write_toml_table(out: &mut String, header: &str, entries: &Entries) {
    for (key, value) in entries.iter().filter(|(_, value)| !matches!(value, Value::Table(_) | Value::Tables(_))) {
        out.push_str(key);
        out.push_str(" = ");
        write_toml_value(out, value);
        out.push('\n');
    }
    for (key, value) in entries {
        let header = if header.is_empty() { (*key).to_owned() } else { format!("{header}.{key}") };
        match value {
            Value::Table(entries) => {
                writeln!(out, "\n[{header}]").expect("a String takes everything");
                write_toml_table(out, &header, entries);
            }
            Value::Tables(tables) => {
                for entries in tables {
                    writeln!(out, "\n[[{header}]]").expect("a String takes everything");
                    write_toml_table(out, &header, entries);
                }
            }
            _ => {}
        }
    }
}

fn write_toml_value(out: &mut String, value: &Value) {
    match value {
        Value::Inline(entries) => write_entries(out, ["{ ", " = ", " }"], entries, |out, key| out.push_str(key), write_toml_value),
        Value::List(items) => write_list(out, items, write_toml_value),
        // In the headers' own way, above.
        Value::Table(_) | Value::Tables(_) => {}
        scalar => write_scalar(out, scalar),
    }
}

pub(super) fn write_json_object(out: &mut String, entries: &Entries) {
    write_entries(out, ["{", ": ", "}"], entries, |out, key| out.push_str(&json::string(key)), write_json_value);
}

fn write_json_value(out: &mut String, value: &Value) {
    match value {
        Value::Inline(entries) | Value::Table(entries) => write_json_object(out, entries),
        Value::List(items) => write_list(out, items, write_json_value),
        Value::Tables(tables) => write_list(out, tables, write_json_object),
        scalar => write_scalar(out, scalar),
    }
}

/// What both formats write in one way: the escapes of a JSON string are escapes of a TOML string, too.
fn write_scalar(out: &mut String, value: &Value) {
    match value {
        Value::Switch(switch) => write!(out, "{switch}").expect("a String takes everything"),
        Value::Number(number) => write!(out, "{number}").expect("a String takes everything"),
        Value::Ratio(ratio) => write!(out, "{ratio:?}").expect("a String takes everything"),
        Value::Text(text) => out.push_str(&json::string(text)),
        Value::Secret => out.push_str(MASK),
        Value::List(_) | Value::Inline(_) | Value::Table(_) | Value::Tables(_) => {}
    }
}

fn write_list<T>(out: &mut String, items: &[T], write: impl Fn(&mut String, &T)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
    out.push(']');
}

fn write_entries(
    out: &mut String,
    [open, equals, close]: [&str; 3],
    entries: &Entries,
    write_key: impl Fn(&mut String, &str),
    write: impl Fn(&mut String, &Value),
) {
    out.push_str(open);
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_key(out, key);
        out.push_str(equals);
        write(out, value);
    }
    out.push_str(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        let entries = vec![("password", Value::Secret)];
        let (mut toml, mut json) = (String::new(), String::new());
        write_toml_table(&mut toml, "", &entries);
        write_json_object(&mut json, &entries);
        assert_eq!((toml.as_str(), json.as_str()), ("password = \"[hidden]\"\n", "{\"password\": \"[hidden]\"}"));
    }
}

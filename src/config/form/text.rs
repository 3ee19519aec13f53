//! Names, paths and words of HTTP.

use std::path::PathBuf;

use super::quantity::quoted;
use super::{Form, Wrong};
use crate::config::{AccessLogSink, own_pseudonym};

/// A name for people and for statistics.
pub(in crate::config) enum Title {}

impl Form for Title {
    type Written = String;
    type Checked = String;

    fn check(written: String) -> Result<String, Wrong> {
        // It stands in log lines, header fields and metric labels.
        let right = !written.trim().is_empty() && written.len() <= 100 && !written.chars().any(char::is_control);
        if right { Ok(written) } else { Err(Wrong::new(format!("{} is not a name", quoted(&written)))) }
    }

    fn remedy() -> String {
        "write 1 to 100 characters in quotes, without control characters".to_owned()
    }
}

/// The pseudonym in Via: a token (RFC 9110 section 7.6.3); `""` is this process's own.
pub(in crate::config) enum Pseudonym {}

impl Form for Pseudonym {
    type Written = String;
    type Checked = String;

    fn check(written: String) -> Result<String, Wrong> {
        if written.is_empty() {
            Ok(own_pseudonym().to_owned())
        } else if is_token(&written) && written.len() <= 100 {
            Ok(written)
        } else {
            Err(Wrong::new(format!("{} cannot stand in Via", quoted(&written))))
        }
    }

    fn remedy() -> String {
        "write one word of letters, digits, `-`, `_` and `.`, such as \"proxy-1\"; \"\" is a name that no other proxy has; \
         to keep Via out of requests, set via_in_requests = false"
            .to_owned()
    }
}

/// A method. Methods are case-sensitive (RFC 9110 section 9.1).
pub(in crate::config) enum Method {}

impl Form for Method {
    type Written = String;
    type Checked = String;

    fn check(written: String) -> Result<String, Wrong> {
        const STANDARD: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
        if !is_token(&written) {
            return Err(Wrong::new(format!("{} is not a method", quoted(&written))));
        }
        match STANDARD.into_iter().find(|method| method.eq_ignore_ascii_case(&written) && **method != written) {
            Some(method) => {
                let help = format!("methods are case-sensitive: write \"{method}\"");
                Err(Wrong::new(format!("no client sends the method {}", quoted(&written))).help(help))
            }
            None => Ok(written),
        }
    }

    fn remedy() -> String {
        "write a method as it stands in a request line: \"GET\", \"CONNECT\"".to_owned()
    }

    fn example() -> &'static str {
        "\"GET\""
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Where the access log goes.
pub(in crate::config) enum Sink {}

impl Form for Sink {
    type Written = String;
    type Checked = AccessLogSink;

    fn check(written: String) -> Result<AccessLogSink, Wrong> {
        match written.as_str() {
            "-" => Ok(AccessLogSink::Stdout),
            "off" | "none" => Ok(AccessLogSink::Off),
            path => absolute(path).map(AccessLogSink::File),
        }
    }

    fn remedy() -> String {
        "write \"-\" for standard output (which systemd takes to the journal), the absolute path of a file, or \"off\"".to_owned()
    }
}

/// The path of a Unix socket; `""` is none.
pub(in crate::config) enum SocketPath {}

impl Form for SocketPath {
    type Written = String;
    type Checked = Option<PathBuf>;

    fn check(written: String) -> Result<Option<PathBuf>, Wrong> {
        // sockaddr_un has room for 108 bytes, the last of which is zero.
        match written.len() {
            0 => Ok(None),
            1..=107 => absolute(&written).map(Some),
            _ => Err(Wrong::new("the path is too long for a socket").help("write a path of at most 107 bytes")),
        }
    }

    fn remedy() -> String {
        "write an absolute path, such as \"/run/outrider/admin.sock\", or \"\" for none".to_owned()
    }
}

/// The directory that a service is started in is nobody's intention.
fn absolute(path: &str) -> Result<PathBuf, Wrong> {
    if path.starts_with('/') && !path.contains('\0') {
        Ok(PathBuf::from(path))
    } else {
        Err(Wrong::new(format!("{} is not an absolute path", quoted(path))))
    }
}

//! `outrider reload`: asks the running proxy, and waits for its answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::EXIT_WRONG;

/// The proxy answers when every worker has the new configuration, or sooner, with what is wrong with it.
const PATIENCE: Duration = Duration::from_secs(90);
/// A report quotes a hundred mistakes at most.
const MAX_ANSWER: u64 = 1024 * 1024;

/// `outrider reload`.
pub fn reload(socket: &Path) -> ExitCode {
    // A closed pipe is no reason to panic, and there is nobody left to tell.
    match ask(socket) {
        Ok(Answer { is_success: true, text }) => {
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Answer { is_success: false, text }) => {
            // The proxy has told its own log already; of `systemctl reload`, this output goes to the same journal.
            if systemd_journal_logger::connected_to_journal() {
                return ExitCode::from(EXIT_WRONG);
            }
            let _ = writeln!(io::stderr(), "outrider: not reloaded, the configuration stays as it was:\n{}", text.trim_end());
            ExitCode::from(EXIT_WRONG)
        }
        Err(error) => {
            let remedy = "is Outrider running, with this as its admin socket, and may you talk to it?";
            let _ = writeln!(io::stderr(), "outrider: cannot ask at {}: {error}; {remedy}", socket.display());
            ExitCode::FAILURE
        }
    }
}

struct Answer {
    is_success: bool,
    text: String,
}

fn ask(socket: &Path) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer ends where the connection does.
    stream.write_all(b"POST /reload HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::Error::other("this is no admin API"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, text) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some(Answer { is_success: status == "200", text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_is_an_answer() {
        let good = parse("HTTP/1.0 200 OK\r\na: b\r\n\r\ndone\n").expect("an answer");
        assert!(good.is_success);
        assert_eq!(good.text, "done\n");
        assert!(!parse("HTTP/1.0 500 No\r\n\r\nwhy").expect("an answer").is_success);
        assert!(parse("SSH-2.0\r\n\r\n").is_none());
        assert!(parse("").is_none());
    }
}

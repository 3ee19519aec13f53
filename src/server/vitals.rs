//! Tells the service manager that the proxy lives, as long as every worker's event loop turns.

use std::sync::Arc;
use std::time::Duration;

use super::notify::Notifier;
use crate::event_loop::Pulse;

/// A main loop that hangs tells nothing, since this runs on it; a worker that hangs keeps it from telling anything. Ends
/// at once where the manager does not watch.
pub(super) async fn tell(notifier: Arc<Notifier>, pulses: Vec<Arc<Pulse>>) {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let Some(limit) = watchdog_limit(&variable("WATCHDOG_USEC"), &variable("WATCHDOG_PID")) else { return };
    let mut told = false;
    loop {
        let hanging = pulses.iter().position(|pulse| pulse.silence() > limit / 2);
        match hanging {
            None => notifier.is_alive(),
            Some(worker) if !told => tracing::error!(worker, "a worker hangs; the service manager will end this process unless it goes on"),
            Some(_) => {}
        }
        told = hanging.is_some();
        tokio::time::sleep(limit / 4).await;
    }
}

/// How long the service manager waits for a sign of life of this process.
fn watchdog_limit(microseconds: &str, pid: &str) -> Option<Duration> {
    if !pid.is_empty() && pid.parse() != Ok(std::process::id()) {
        return None;
    }
    microseconds.parse().ok().filter(|&limit| limit > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_process_is_watched() {
        let me = std::process::id().to_string();
        assert_eq!(watchdog_limit("2000000", &me), Some(Duration::from_secs(2)));
        assert_eq!(watchdog_limit("2000000", ""), Some(Duration::from_secs(2)));
        assert_eq!(watchdog_limit("2000000", "1"), None);
        assert_eq!(watchdog_limit("", &me), None);
        assert_eq!(watchdog_limit("0", ""), None);
    }
}

//! What systemd is told (sd_notify(3)); nothing happens without it.

use sd_notify::NotifyState;

pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("Letting streams end")]);
}

fn send(states: &[NotifyState<'_>]) {
    // A failure has no remedy here, and systemd finds out by itself.
    let _ = sd_notify::notify(states);
}

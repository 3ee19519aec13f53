//! Finishing quietly: nothing new, what runs may end.

use std::cell::Cell;

/// How far a worker is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    #[default]
    Running,
    /// Idle connections close; running streams go on and are the last on their connection.
    Draining,
    /// The time for that is up; running streams are ended.
    Expired,
}

/// The phase of one worker.
#[derive(Debug, Default)]
pub struct Drain(Cell<Phase>);

impl Drain {
    pub fn phase(&self) -> Phase {
        self.0.get()
    }

    pub fn set(&self, phase: Phase) {
        self.0.set(phase);
    }

    pub fn has_begun(&self) -> bool {
        self.0.get() != Phase::Running
    }
}

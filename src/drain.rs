//! Finishing quietly: nothing new, what runs may end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

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
pub struct Drain {
    phase: Cell<Phase>,
    cohort: RefCell<Cohort>,
}

/// Held by each connection of a worker; those that come after a drain has begun hold another.
#[derive(Debug, Default, Clone)]
pub struct Cohort(Rc<()>);

impl Drain {
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub fn has_begun(&self) -> bool {
        self.phase.get() != Phase::Running
    }

    /// What a new connection has to hold.
    pub fn cohort(&self) -> Cohort {
        self.cohort.borrow().clone()
    }

    /// Begins, and returns those that were there before.
    pub fn begin(&self) -> Cohort {
        self.phase.set(Phase::Draining);
        self.next_cohort()
    }

    /// Returns those that are there; who comes from now on is another cohort.
    pub fn next_cohort(&self) -> Cohort {
        self.cohort.take()
    }

    pub fn expire(&self) {
        self.phase.set(Phase::Expired);
    }
}

impl Cohort {
    /// Whether all connections that held it have ended.
    pub fn has_ended(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_earlier_connections_are_waited_for() {
        let drain = Drain::default();
        let early = drain.cohort();
        let before = drain.begin();
        let late = drain.cohort();
        assert!(!before.has_ended());
        drop(early);
        assert!(before.has_ended());
        drop(late);
    }
}

//! What one worker's event loop lends to the connections that live on it: buffers, pipes, deadlines
//! and a clock. None of that is shared between threads. And how the loop itself is doing.

mod buffers;
mod clock;
mod deadlines;
mod memory;
mod pipes;
mod pulse;
mod turn;
mod watchdog;

pub use buffers::{Buffer, Buffers, Scratch, ScratchVec};
pub use clock::{Clock, civil_date, coarse_now};
pub use deadlines::{Deadline, Deadlines};
pub use memory::Memory;
pub use pipes::{Pipe, Pipes};
pub use pulse::Pulse;
pub use turn::spend;
pub use watchdog::Watchdog;

/// Everything a worker lends.
pub struct EventLoop {
    pub buffers: Buffers,
    /// Larger ones.
    pub bulk_buffers: Buffers,
    /// For what a stream keeps while it waits.
    pub scratch: Scratch,
    /// For what is written as soon as it is made: a few strings go round, which stay in the processor's cache.
    pub brief_scratch: Scratch,
    pub pipes: Pipes,
    pub deadlines: Deadlines,
    pub clock: Clock,
}

impl Default for EventLoop {
    fn default() -> Self {
        Self {
            buffers: Buffers::usual(),
            bulk_buffers: Buffers::bulk(),
            scratch: Scratch::default(),
            brief_scratch: Scratch::default(),
            pipes: Pipes::default(),
            deadlines: Deadlines::default(),
            clock: Clock::default(),
        }
    }
}

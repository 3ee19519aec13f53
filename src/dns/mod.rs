//! Names to addresses: one directory for all workers, answers cached, look-ups run once however many wait.
//!
//! A worker asks the [`Directory`] for a name's [`Host`] and keeps it for as long as its cluster lives. The host's answer is read
//! without a lock; only when there is none does a stream wait, together with all others, for the one look-up that the [`Driver`]
//! makes on the main thread. The driver also refreshes hosts in use before their answers expire, so that streams seldom wait, and
//! drops those that nobody uses.
//!
//! From the outside in: `directory` and `host` are what threads share, `driver` and `resolver` run on the main thread, `servers`,
//! `datagram` and `stream` speak to DNS servers; `entry`, `message`, `order` and `progress` are rules without I/O.

mod changed;
mod datagram;
mod directory;
mod driver;
mod entry;
mod error;
mod host;
mod hosts_file;
mod message;
mod order;
mod progress;
mod resolver;
mod servers;
mod stats;
mod stream;
#[cfg(test)]
mod tests;

pub use directory::{Directory, HostView};
pub use driver::Driver;
pub use entry::Answer;
pub use error::Error;
pub use host::Host;
pub use order::in_turn;
pub use stats::DnsStats;

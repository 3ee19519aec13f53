//! Connections to upstreams: made, kept, checked out and checked in.

mod connect;
mod connection;
mod counts;
mod pool;
mod queue;
mod socket;

pub use connect::{ConnectError, Lost, back_off, connect};
pub use connection::UpstreamConnection;
pub use counts::Counts;
pub(crate) use counts::count;
pub use pool::{Limits, Pool};
pub use queue::{Queue, Turn};
pub use socket::{can_leave, change_tcp_options, check_egress};

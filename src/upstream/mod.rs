//! Connections to upstreams: made, kept, checked out and checked in.

mod connect;
mod connection;
mod pool;

pub use connect::{ConnectError, connect};
pub use connection::{Counts, UpstreamConnection};
pub use pool::{Limits, Pool};

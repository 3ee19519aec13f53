//! HTTP/1 as bytes: no I/O, no clock. Bytes in, messages out (RFC 9112).
//!
//! A head is kept as it arrived and forwarded by copying its lines; only what a proxy must change
//! is written anew. Framing is strict: whatever two parsers could read differently is refused.

pub mod authority;
mod bytes;
pub mod chunked;
pub mod field;
pub mod framing;
pub mod head;
pub mod index;
pub mod refusal;
pub mod request;
pub mod response;
pub mod target;
pub mod write;

pub use refusal::Refusal;

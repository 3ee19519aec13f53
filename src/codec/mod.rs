//! HTTP/1 as bytes: no I/O, no clock. Bytes in, messages out.

pub mod authority;

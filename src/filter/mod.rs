//! Filters look at a stream before it goes out and decide: it continues, or it gets a reply. A filter
//! never dials.

pub mod policy;

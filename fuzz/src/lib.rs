//! What the fuzz targets hold the codec to. Each target is one function here, so that the corpora can
//! be replayed without a fuzzer (`cargo test`).
//!
//! The first byte of an input chooses options; the rest is what a peer sent.

mod chunked;
mod differential;
mod hyper_server;
mod lines;
mod options;
mod request;
mod response;

pub use chunked::chunked_decoder;
pub use differential::differential;
pub use request::request_head;
pub use response::response_head;

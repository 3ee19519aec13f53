//! http_10

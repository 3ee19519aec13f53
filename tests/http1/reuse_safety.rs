//! reuse_safety

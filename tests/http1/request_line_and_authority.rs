//! request_line_and_authority

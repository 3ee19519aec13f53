//! interim_and_upgrade

//! Names to addresses: one directory for all workers, answers cached, look-ups run once however many wait.

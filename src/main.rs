//! The program: reads the command line and does what it says.

use std::process::ExitCode;

use outrider::cli::{self, Command, RunOptions};

fn main() -> ExitCode {
    match cli::parse() {
        Command::Check(file) => cli::check(file),
        Command::Run(options) => run(options),
    }
}

/// Stands in for `server::run`.
fn run(_options: RunOptions) -> ExitCode {
    eprintln!("outrider: this build has no server yet");
    ExitCode::FAILURE
}

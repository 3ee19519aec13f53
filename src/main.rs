//! The program: reads the command line and does what it says.

use std::process::ExitCode;

use outrider::cli::{self, Command};
use outrider::server;

fn main() -> ExitCode {
    match cli::parse() {
        Command::Check(file) => cli::check(file),
        Command::Run(options) => server::run(&server::Options { config: options.config, log_level: options.log_level }),
    }
}

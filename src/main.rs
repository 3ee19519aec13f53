//! The program: reads the command line and does what it says.

use std::process::ExitCode;

use outrider::cli::{self, Command};
use outrider::server::{self, Passed};

/// Chosen by measurement (ARCHITECTURE.md, decision 11).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives back to the system what the allocator keeps for this thread, and what it keeps for all.
fn release_memory() {
    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // SAFETY: it takes no pointer, and mimalloc allows it on any thread at any time.
    unsafe { mi_collect(true) }
}

fn main() -> ExitCode {
    // SAFETY: nothing has been opened yet; what is open was passed.
    let passed = unsafe { Passed::from_environment() };
    match cli::parse() {
        Command::Check(options) => cli::check(&options),
        Command::Env(file, options) => cli::env(file, &options),
        Command::Reload(socket) => cli::reload(&socket),
        Command::Run(cli::RunOptions { config, log_level, admin_socket }) => {
            server::run(&server::Options { config, log_level, admin_socket, release_memory }, passed)
        }
    }
}

//! The command line: what was asked for, and the commands that need no server.

mod check;
mod env;
mod reload;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config;
use crate::logging::Levels;

pub use check::check;
pub use env::{Client, Scope};
pub use reload::reload;

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Be a proxy.
    Run(RunOptions),
    /// Check a configuration file; `None` is the one that a run would use.
    Check(CheckOptions),
    /// Have the running proxy, whose admin API is at this socket, read its file again.
    Reload(PathBuf),
    /// Print the lines that point a client at the proxy of this file, or put them where it reads them.
    Env(Option<PathBuf>, EnvOptions),
}

/// What `outrider check` is to check, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct CheckOptions {
    pub file: Option<PathBuf>,
    /// Whether a warning counts as a mistake.
    pub is_strict: bool,
}

#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Configuration file [default: /etc/outrider/outrider.toml if it is there, else the built-in configuration]
    #[arg(short, long, value_name = "FILE", env = "OUTRIDER_CONFIG", global = true)]
    pub config: Option<PathBuf>,

    /// How much to log: error, warn, info, debug or trace, for all or by module
    #[arg(long, value_name = "LEVEL|MODULE=LEVEL,...", env = "OUTRIDER_LOG", default_value = "info")]
    pub log_level: Levels,

    /// Serve the admin API on this Unix socket, whatever the configuration says
    #[arg(long, value_name = "PATH", env = ADMIN_SOCKET)]
    pub admin_socket: Option<PathBuf>,
}

/// Which client, and what to do with its lines.
#[derive(Debug, Clone, Args)]
pub struct EnvOptions {
    /// Client to print settings for
    #[arg(long, value_name = "CLIENT", default_value = "sh")]
    pub shell: Client,

    /// Add the settings to the client's own file and show what was changed
    #[arg(long)]
    pub install: bool,

    /// Remove from that file exactly what --install added
    #[arg(long, conflicts_with = "install")]
    pub remove: bool,

    #[command(flatten)]
    pub scope: Scope,
}

/// Names the socket for a run and for the commands that talk to it.
const ADMIN_SOCKET: &str = "OUTRIDER_ADMIN_SOCKET";

/// Exits of `outrider check`, of a wrong command line, and of a run whose configuration is wrong.
pub const EXIT_WRONG: u8 = 2;

const EXIT_CODES: &str = "\
Exit codes:
  0  asked to stop and did; `check` found no mistake
  1  could not run, for example because a thread could not be started
  2  the command line or the configuration is wrong, or an address or a file in it cannot be had; with --strict, `check` has a warning";

/// What `--version` adds to the number, for bug reports.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("OUTRIDER_COMMIT"),
    "\nfeatures: ",
    env!("OUTRIDER_FEATURES"),
    "\ntarget: ",
    env!("OUTRIDER_TARGET")
);

/// An explicit (forward) HTTP proxy
#[derive(Debug, Parser)]
#[command(name = "outrider", version, long_version = LONG_VERSION, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    run: RunOptions,

    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a configuration file, report every error and warning, and exit
    Check {
        /// The file [default: the one that a run would use]
        file: Option<PathBuf>,
        /// Exit with 2 for warnings, too
        #[arg(long)]
        strict: bool,
    },
    /// Print the settings that make a client use the proxy, such as `eval "$(outrider env)"`
    Env(EnvOptions),
    /// Make the running proxy reload its configuration; returns when it is in force, or says why it is not
    Reload {
        /// The Unix socket of its admin API
        #[arg(long, value_name = "PATH", env = ADMIN_SOCKET, default_value = "/run/outrider/admin.sock")]
        socket: PathBuf,
    },
}

/// The grammar of the command line, from which man page and completions are made.
pub fn command() -> clap::Command {
    use clap::CommandFactory;
    Arguments::command()
}

/// Reads the arguments; ends the process with clap's message where they are wrong.
pub fn parse() -> Command {
    parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

fn parse_from(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Command, clap::Error> {
    let arguments = Arguments::try_parse_from(arguments)?;
    Ok(match arguments.action {
        None => Command::Run(arguments.run),
        Some(Action::Check { file, strict }) => Command::Check(CheckOptions { file: file.or(arguments.run.config), is_strict: strict }),
        Some(Action::Env(options)) => Command::Env(arguments.run.config, options),
        Some(Action::Reload { socket }) => Command::Reload(socket),
    })
}

/// `outrider env`.
pub fn env(file: Option<PathBuf>, options: &EnvOptions) -> ExitCode {
    let act = match options {
        EnvOptions { install: true, .. } => env::install,
        EnvOptions { remove: true, .. } => env::remove,
        _ => env::lines,
    };
    let lines = config::load(file.as_deref())
        .map_err(|report| report.render(io::stderr().is_terminal()))
        .and_then(|loaded| act(&loaded.config, options.shell, &options.scope).map_err(|error| format!("outrider: {error}\n")));
    match lines {
        Ok(lines) => {
            let _ = io::stdout().write_all(lines.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = io::stderr().write_all(error.as_bytes());
            ExitCode::from(EXIT_WRONG)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, clap::Error> {
        parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn a_run_takes_a_file_and_levels() {
        let line = "outrider --config a.toml --log-level warn,dns=debug";
        let Ok(Command::Run(options)) = parsed(line) else { panic!("not a run: {line}") };
        assert_eq!(options.config, Some(PathBuf::from("a.toml")));
        assert_eq!(Ok(options.log_level), "warn,dns=debug".parse::<Levels>());
        assert!(parsed("outrider --log-level dns=loud").is_err());
        assert!(parsed("outrider --log-level dsn=info").is_err());
        assert!(parsed("outrider --colour").is_err());
    }

    #[test]
    fn check_takes_its_file_either_way() {
        for line in ["outrider check a.toml", "outrider --config a.toml check", "outrider check --config a.toml"] {
            let Ok(Command::Check(options)) = parsed(line) else { panic!("not a check: {line}") };
            assert_eq!(options, CheckOptions { file: Some(PathBuf::from("a.toml")), is_strict: false }, "{line}");
        }
        let Ok(Command::Check(options)) = parsed("outrider check --strict") else { panic!("not a check") };
        assert_eq!(options, CheckOptions { file: None, is_strict: true });
    }
}

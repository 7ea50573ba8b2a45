//! The program's frame: parse, resolve, run, report, and the exit code.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::global::{Global, LogLevel};
use crate::args::{Cli, unsupported};
use crate::context::Context;
use crate::failure::Status;
use crate::output::{self, Closed};
use crate::settings::{Environment, Settings};
use crate::{allocator, bus_error, commands, files, namespaces};

/// What a shell shows for a command that `SIGPIPE` ended, which is what a closed standard output is.
const PIPE_CLOSED: u8 = 141;
/// Wrong usage, and a container that `run` could not make, as Docker has it.
const USAGE: u8 = 125;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    allocator::tune();
    files::take_umask();
    bus_error::install();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    log(&cli.global);
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let settings = Settings::resolve(&cli.global, &Environment::of_process())?;
    // Before the first thread: a user namespace is entered by a whole process or not at all.
    let joined = match namespaces::join(&settings, &cli.command) {
        Err(failure) if namespaces::is_run(&cli.command) => {
            output::error(&failure);
            return Err(Status(USAGE).into());
        }
        joined => joined?.map(Arc::new),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(commands::dispatch(&Context { settings, joined }, &cli.command));
    // A thread that is blocked in a read of standard input must not hold the program back.
    runtime.shutdown_background();
    result
}

fn report(failure: &anyhow::Error) -> ExitCode {
    let mut code = 1;
    for cause in failure.chain() {
        if cause.is::<Closed>() {
            return ExitCode::from(PIPE_CLOSED);
        }
        if let Some(Status(status)) = cause.downcast_ref() {
            code = *status;
        }
    }
    // A bare status is the exit code of something that has had its own say.
    if !failure.is::<Status>() || failure.chain().count() > 1 {
        output::error(failure);
    }
    ExitCode::from(code)
}

/// Help and version are no errors; a flag of Docker's gets a better answer than "unexpected".
fn refuse(error: &clap::Error) -> ExitCode {
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) if error.kind() == ErrorKind::UnknownArgument => Some(flag),
        _ => None,
    };
    if let Some(words) = flag.and_then(|flag| unsupported::explain(flag)) {
        output::warn(format!("Error: {words}"));
        return ExitCode::from(USAGE);
    }
    let _ = error.print();
    // Docker tells too few or too many names from wrong flags by the exit code.
    let names = match error.kind() {
        ErrorKind::MissingRequiredArgument => match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(missing)) => missing.iter().all(|name| name.starts_with('<')),
            _ => false,
        },
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => true,
        ErrorKind::UnknownArgument => flag.is_some_and(|flag| !flag.starts_with('-')),
        _ => false,
    };
    match error.kind() {
        _ if names => ExitCode::FAILURE,
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        ErrorKind::InvalidSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ExitCode::FAILURE,
        _ => ExitCode::from(USAGE),
    }
}

fn log(global: &Global) {
    let level = match global.log_level {
        Some(level) => level,
        None if global.debug => LogLevel::Debug,
        None => LogLevel::Warn,
    };
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(match level {
        LogLevel::Trace => tracing::Level::TRACE,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Error => tracing::Level::ERROR,
    });
    // The frame is the only place that sets a subscriber, so this cannot have been done before.
    let _ = builder.without_time().with_target(false).try_init();
}

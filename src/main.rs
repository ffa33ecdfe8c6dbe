//! The `b158` command: arguments in, one call, output out.

mod cli;
mod commands;
mod embedded;
mod interrupt;
mod printer;
mod progress;
mod shard;

use std::process::ExitCode;

use anyhow::Context;
use b158_kernels::Isa;
use clap::Parser;

use cli::{Cli, Command};
use printer::Printer;

/// How the command ended; the numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExitStatus {
    /// Done.
    Success = 0,
    /// Bad input or I/O. (2, a usage error, is clap's.)
    Failure = 1,
    /// A required verdict or a proof did not hold.
    CheckFailed = 3,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let printer = Printer::new(cli.global.json);
    let status = run(cli, &printer).unwrap_or_else(|error| {
        printer.error(&error);
        match error.downcast_ref() {
            Some(b158_convert::Error::Verification { .. }) => ExitStatus::CheckFailed,
            _ => ExitStatus::Failure,
        }
    });
    status.into()
}

fn run(cli: Cli, printer: &Printer) -> anyhow::Result<ExitStatus> {
    if let Some(threads) = cli.global.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global()?;
    }
    // The flag goes before the variable; a variable that names no set of this machine is a mistake still.
    Isa::from_env().context("B158_ISA")?;
    let (command, isa) = (cli.command.unwrap_or_default(), cli.global.isa);
    match command {
        // Its jobs have threads of their own, which wait for the pool's.
        Command::Convert(_) => execute(command, isa, printer),
        // On a thread of the pool, so that no product waits for two threads to wake each other.
        _ => rayon::scope(|_| execute(command, isa, printer)),
    }
}

fn execute(command: Command, isa: Isa, printer: &Printer) -> anyhow::Result<ExitStatus> {
    match command {
        Command::Convert(args) => commands::convert::run(&args, isa, printer),
        Command::Inspect(args) => commands::inspect::run(&args, isa, printer),
        Command::Run(args) => commands::run::run(&args, isa, printer),
        Command::Chat(args) => commands::chat::run(&args, isa, printer),
        Command::Logits(args) => commands::logits::run(&args, isa, printer),
        Command::Perplexity(args) => commands::perplexity::run(&args, isa, printer),
        Command::Eval(args) => commands::eval::run(&args, isa, printer),
        Command::Merge(args) => commands::merge::run(&args, printer),
        Command::Compare(args) => commands::compare::run(&args, isa, printer),
        Command::Check(args) => commands::check::run(&args, printer),
        Command::Claims(args) => commands::claims::run(&args, printer),
        Command::Report(args) => commands::report::run(&args, printer),
        Command::Bench(args) => commands::bench::run(&args, isa, printer),
        Command::Data(args) => commands::data::run(&args, printer),
        Command::Reproduce(args) => commands::reproduce::run(&args, isa, printer),
        #[cfg(feature = "serve")]
        Command::Serve(args) => commands::serve::run(&args, isa, printer),
        #[cfg(feature = "train")]
        Command::Train(args) => commands::train::run(&args, printer),
    }
}

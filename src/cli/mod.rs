//! The command line: a file for each kind of verb.

mod data;
mod evaluation;
mod models;
#[cfg(feature = "train")]
mod train;

use b158_kernels::Isa;
use clap::{Args, Parser, Subcommand};

#[cfg(feature = "train")]
pub use self::train::*;
pub use self::{data::*, evaluation::*, models::*};

/// Ternary LLMs: convert, run, and measure against their full-precision twins.
///
/// Without a verb, `b158` runs `reproduce`: both embedded twins, converted, evaluated and compared.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every verb.
#[derive(Args)]
#[command(next_help_heading = "Options of every verb")]
pub struct Global {
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Worker threads [default: one for each core]
    #[arg(long, global = true, env = "B158_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Instruction set of the kernels: auto, scalar, avx2, avx512 or neon. Results have the same bits on all
    #[arg(long, global = true, env = "B158_ISA", default_value = "auto", value_name = "SET")]
    pub isa: Isa,
}

#[derive(Subcommand)]
pub enum Command {
    /// Convert a checkpoint, or many, from any format to any other
    Convert(ConvertArgs),
    /// Show what a checkpoint holds, and whether its weights are ternary
    Inspect(InspectArgs),
    /// Continue a text
    Run(RunArgs),
    /// Talk with a model that has a chat template
    Chat(ChatArgs),
    /// Write raw logits, for comparison with any other implementation
    Logits(LogitsArgs),
    /// Measure the perplexity of text files, by a named protocol
    Perplexity(PerplexityArgs),
    /// Evaluate models on tasks
    Eval(EvalArgs),
    /// Join the results of shards into those that one machine would have made
    Merge(MergeArgs),
    /// Compare two evaluated models, paired sample by sample
    Compare(CompareArgs),
    /// Check results against a baseline, for CI
    Check(CheckArgs),
    /// Write results as a page, tables and data
    Report(ReportArgs),
    /// List what the papers claim, what was measured of it here, and the verdicts
    Claims(ClaimsArgs),
    /// Measure tokens per second, latency, memory and energy
    Bench(BenchArgs),
    /// Convert, evaluate, measure and compare twin models, and report
    Reproduce(ReproduceArgs),
    /// Answer over HTTP as OpenAI's API does: completions, chats, scores of prompts
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Train the twins of a recipe
    #[cfg(feature = "train")]
    Train(TrainArgs),
    /// Text and tasks: what is known and at hand, whether it is right, and the desk's own
    Data(DataArgs),
}

impl Default for Command {
    fn default() -> Self {
        Self::Reproduce(ReproduceArgs::default())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        super::Cli::command().debug_assert();
    }
}

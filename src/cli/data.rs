//! Verbs about text and tasks.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args)]
pub struct DataArgs {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Subcommand)]
pub enum DataCommand {
    /// List the text and task data that b158 knows, and what of it is at hand
    List(DataFolderArgs),
    /// Check what is at hand: checksums, columns, rows, content; exits 3 if anything differs
    Verify(DataVerifyArgs),
    /// Print where the files of a dataset are
    Path(DataPathArgs),
    /// Fetch a dataset from the Hub into its local cache
    Fetch(DataFetchArgs),
    /// Write the desk data: simple English about a small world, and held-out tasks on it
    Desk(DeskArgs),
}

/// Where to look.
#[derive(Args)]
pub struct DataFolderArgs {
    /// Folder with task data, which goes before the Hub's local cache
    #[arg(long, env = "B158_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "\
Every file is compared with SHA256SUMS beside it (as sha256sum writes it), if there is one, and with the checksum that
the Hub's cache names it by; every row with the columns of the catalogue; the rows' number, and for WikiText-2 their
content, with what is published. Rows that occur more than once are only noted: they are scored like others.")]
pub struct DataVerifyArgs {
    /// Datasets [default: all that are at hand]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub folder: DataFolderArgs,
}

#[derive(Args)]
pub struct DataPathArgs {
    /// A dataset; `b158 data list` has their names
    pub name: String,
    /// Only this split: train, validation or test
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    #[command(flatten)]
    pub folder: DataFolderArgs,
}

#[derive(Args)]
#[command(after_long_help = "\
Needs a b158 that was built with `--features hub`, and honours HF_HUB_OFFLINE, HF_HUB_CACHE, HF_HOME and HF_ENDPOINT.
Without, it says which files to put where.")]
pub struct DataFetchArgs {
    /// A dataset; `b158 data list` has their names
    pub name: String,
    /// Only this split: train, validation or test
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
}

#[derive(Args)]
#[command(after_long_help = "\
Writes train.txt and held-out.txt (a sixteenth of it), with an empty line between documents, and one TASK.jsonl for
each of arc_easy, arc_challenge, hellaswag, boolq, openbookqa, piqa, winogrande, lambada and desk (pages for
perplexity). No held-out document or question is in train.txt, whatever the seed; the tasks are always the same.")]
pub struct DeskArgs {
    /// Folder for the files
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Same seed, same text, on every machine
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Size of train.txt at most, 64 KiB to 1 GiB
    #[arg(long, default_value_t = 20_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(65536..=1 << 30))]
    pub bytes: u64,
}

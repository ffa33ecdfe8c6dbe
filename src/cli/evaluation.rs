//! Verbs about results: evaluate, merge, compare, check, report.

use std::{num::NonZeroUsize, path::PathBuf};

use b158_eval::{Preset, perplexity::Protocol};
use clap::Args;

use crate::shard::ShardArgument;

#[derive(Args)]
pub struct EvalArgs {
    /// Suite file: models, tasks, limits and margins (ci/suites/desk.yaml is one); its paths are relative to it
    #[arg(required_unless_present = "models", conflicts_with = "models")]
    pub suite: Option<PathBuf>,
    /// A model to evaluate, instead of a suite (repeat for several)
    #[arg(long = "model", value_name = "NAME=PATH", value_parser = name_and_path)]
    pub models: Vec<(String, PathBuf)>,
    /// Tasks, separated by commas; with a suite, instead of its tasks
    #[arg(long, value_delimiter = ',', value_name = "TASKS", required_unless_present = "suite")]
    pub tasks: Vec<String>,
    /// Folder for results.json and samples.parquet
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Go on from the log in the folder, as if the run had not been interrupted; without it, begin anew
    #[arg(long)]
    pub resume: bool,
    /// Evaluate one of N parts of the documents only, for `merge`: 1/N to N/N, each into a folder of its own; slurm:
    /// the part of this task of a Slurm job array, into DIR/shard-I-of-N; slurm/N likewise, if only some tasks run
    #[arg(long, value_name = "I/N|slurm", value_parser = ShardArgument::parse)]
    pub shard: Option<ShardArgument>,
    /// Write DIR/lm-eval/MODEL/results_DATE.json and samples_TASK_DATE.jsonl, too, for tools that read lm-eval's files
    #[arg(long, conflicts_with = "shard")]
    pub lm_eval_files: bool,
    /// Rules of prompts and scores: lm-eval, or paper (b1.58's authors) [default: the suite's, or lm-eval]
    #[arg(long, value_name = "RULES", value_parser = preset)]
    pub preset: Option<Preset>,
    /// Examples before each question [default: the suite's, or the tasks' own number]
    #[arg(long, value_name = "N")]
    pub num_fewshot: Option<usize>,
    /// Whether the tokenizer puts its special tokens (usually BOS) before texts [default: the suite's, or its own
    /// configuration]
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub add_bos: Option<bool>,
    /// Longest input in tokens [default: the suite's, or the model's own]
    #[arg(long, value_name = "N")]
    pub max_length: Option<NonZeroUsize>,
    #[command(flatten)]
    pub documents: DocumentArgs,
}

#[derive(Args)]
#[command(after_long_help = "\
Results and digest are those of an evaluation without shards, to the byte. Refused, by name, are shards that are
missing, there twice, or of another suite, other margins, models, tasks, data, examples or settings.")]
pub struct MergeArgs {
    /// Folders that `eval --shard` wrote, in any order, or the folder that holds them as shard-I-of-N
    #[arg(required = true, value_name = "DIR")]
    pub shards: Vec<PathBuf>,
    /// Folder for results.json and samples.parquet
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Args)]
#[command(after_long_help = PROTOCOLS)]
pub struct PerplexityArgs {
    /// Hugging Face directory, .safetensors or .gguf
    pub model: PathBuf,
    /// A text file, or .jsonl with a document in each row's column `text` or `page` (repeat for several)
    #[arg(short, long = "file", value_name = "TEXT", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// How to cut and score the text: lm-eval, paper, llama.cpp, gptq or hf-strided
    #[arg(long, value_name = "NAME", value_parser = protocol)]
    pub protocol: Protocol,
    /// Tokens of a window [default: the protocol's usual number, or the model's limit]
    #[arg(long, value_name = "N")]
    pub ctx: Option<NonZeroUsize>,
    /// Tokens from a window to the next, of hf-strided [default: half a window]
    #[arg(long, value_name = "N")]
    pub stride: Option<NonZeroUsize>,
}

const PROTOCOLS: &str = "\
Perplexities of different protocols cannot be compared, nor can those per token of models with different tokenizers:

  lm-eval     lm-evaluation-harness 0.4.13: rolling windows of each document; per word and per byte. WikiText's
              pages have marks to undo: evaluate them with `eval --tasks wikitext`
  paper       b1.58's authors: lines (of .jsonl: rows) with EOS, packed into windows that start with BOS, 2048
              tokens; with several files also the mean, which is the papers' PPL of WikiText2 and C4
  llama.cpp   llama-perplexity: windows of 512 tokens, the second half is scored; with its standard error
  gptq        papers on quantization: lines (rows) joined by empty ones, windows of 2048 tokens
  hf-strided  the guide of transformers: likewise, each window `stride` tokens after the one before";

fn preset(name: &str) -> Result<Preset, String> {
    let names = || Preset::ALL.map(Preset::name).join(", ");
    Preset::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| format!("the rules are {}", names()))
}

fn protocol(name: &str) -> Result<Protocol, String> {
    let names = || Protocol::ALL.map(Protocol::name).join(", ");
    Protocol::ALL
        .into_iter()
        .find(|p| p.name() == name)
        .ok_or_else(|| format!("the protocols are {}", names()))
}

/// Which documents `eval` and `reproduce` evaluate on.
#[derive(Args, Default)]
pub struct DocumentArgs {
    /// Folder with task data, TASK-SPLIT or TASK with .jsonl, .jsonl.gz or .parquet; or `hub`, the Hub's local cache
    /// [default: questions about the desk's small world]
    #[arg(long, env = "B158_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder with more task files (.yaml)
    #[arg(long, value_name = "DIR")]
    pub task_dir: Option<PathBuf>,
    /// Only the first N documents of each task
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Folder that keeps scores, by model, task, data and settings: what was evaluated before is read from there
    #[arg(long, env = "B158_CACHE", value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "\
With --kl, BASE and CANDIDATE are models (as for `run`). Both read the text in windows, side by side; the second half of
each window is scored: Kullback-Leibler divergence, how often both predict the same token, and what becomes of the right
token's probability, as llama.cpp's `perplexity --kl-divergence` reports them. No logits are written anywhere.

Without it, they are results, and every metric gets a verdict (better, parity, undecided, worse) by its 95 % interval
against the margin. p-values are one-sided, for not being inferior; Holm's correction is over the metrics of one kind.")]
pub struct CompareArgs {
    /// Results of the baseline: a folder that `eval` wrote, with `:NAME` if it holds several models
    pub base: String,
    /// Results of the candidate, likewise
    pub candidate: String,
    /// The largest perplexity ratio that still is parity [default: the suite's, or 1.02]
    #[arg(long, value_name = "RATIO", conflicts_with = "kl")]
    pub perplexity_ratio: Option<f64>,
    /// The largest loss of accuracy that still is parity: 0.01 is one point [default: the suite's, or 0.01]
    #[arg(long, value_name = "SHARE", conflicts_with = "kl")]
    pub accuracy: Option<f64>,
    /// Exit with 3 unless the verdict is this one
    #[arg(long, value_name = "VERDICT", conflicts_with = "kl")]
    pub require: Option<Required>,
    /// Compare two models' predictions on this text instead, token by token
    #[arg(long, value_name = "TEXT")]
    pub kl: Option<PathBuf>,
    /// Tokens of a window [default: 512, or the shorter context of the two models]
    #[arg(long, value_name = "N", requires = "kl")]
    pub ctx: Option<NonZeroUsize>,
    /// Exit with 3 if the mean divergence is larger, in nats a token
    #[arg(long, value_name = "NATS", requires = "kl")]
    pub max_kl: Option<f64>,
}

/// What `compare --require` can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Required {
    /// Parity or better on every metric
    Parity,
}

#[derive(Args)]
#[command(after_long_help = "\
Passes if every sample has the bits of the baseline, or else if no metric is worse than the bounds allow; otherwise
the exit code is 3, and the first document that differs is named. A baseline is a small file to commit:

  b158 eval suite.yaml -o results
  b158 check results --write baseline.json                    # once, with --accuracy and so on for bounds
  b158 check results --baseline baseline.json                 # from then on")]
pub struct CheckArgs {
    /// Results: a folder that `eval`, `merge` or `reproduce` wrote
    pub results: PathBuf,
    /// A baseline, or the whole results folder of one, which has the values of the first sample that differs
    #[arg(long, value_name = "FILE", required_unless_present = "write", conflicts_with = "write")]
    pub baseline: Option<PathBuf>,
    /// Make these results the baseline, instead of checking them
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// The largest ratio to a baseline's perplexity that passes [default: the baseline's bounds, if it has any]
    #[arg(long, value_name = "RATIO")]
    pub perplexity_ratio: Option<f64>,
    /// The largest loss of accuracy that passes: 0.01 is one point [default: the baseline's bounds, if it has any]
    #[arg(long, value_name = "SHARE")]
    pub accuracy: Option<f64>,
}

#[derive(Args)]
pub struct ReportArgs {
    /// Results folders that `eval` or `reproduce` wrote
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,
    /// Folder for the report
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// What to write, separated by commas: md (report.md, fits a CI job's summary), html (index.html, one file), csv and
    /// parquet (a row for each model, task and metric), tex (booktabs), json, hub (for the Hugging Face Hub)
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "html,md",
        value_name = "FORMATS",
        hide_possible_values = true
    )]
    pub format: Vec<ReportForm>,
    /// The model that the others are compared with [default: what the folder says]
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// Loss curves to show: curves.json of `train` (repeat for several)
    #[arg(long, value_name = "FILE")]
    pub curves: Vec<PathBuf>,
    /// The tasks' data is that of the public data sets of their names: hub then names them
    #[arg(long)]
    pub public_data: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
Claims about shapes (700M to 70B, 2B-4T) are tested on measurements with random weights, each made by
`b158 bench --shape NAME --json > DIR/bench/NAME.json`. What was not measured is not testable; nothing is assumed.")]
pub struct ClaimsArgs {
    /// Results folder that `eval` or `reproduce` wrote
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// A measurement of a shape beside those in DIR/bench (repeat for several)
    #[arg(long, value_name = "FILE")]
    pub bench: Vec<PathBuf>,
    /// Other claims than the embedded ones
    #[arg(long, value_name = "FILE.yaml")]
    pub claims: Option<PathBuf>,
    /// The model that the others are compared with [default: what the folder says]
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
}

/// What `report --format` can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportForm {
    /// Markdown
    Md,
    /// HTML
    Html,
    /// Comma-separated values
    Csv,
    /// LaTeX
    Tex,
    /// JSON
    Json,
    /// Parquet
    Parquet,
    /// Files for a model's repository on the Hub
    Hub,
}

#[derive(Args)]
pub struct ReproduceArgs {
    /// Suite file [default: the embedded twins]
    pub suite: Option<PathBuf>,
    /// Folder for the converted models, the results and the report
    #[arg(short, long, default_value = DEFAULT_OUTPUT, value_name = "DIR")]
    pub output: PathBuf,
    #[command(flatten)]
    pub documents: DocumentArgs,
}

const DEFAULT_OUTPUT: &str = "target/b158";

impl Default for ReproduceArgs {
    fn default() -> Self {
        Self { suite: None, output: DEFAULT_OUTPUT.into(), documents: DocumentArgs::default() }
    }
}

fn name_and_path(argument: &str) -> Result<(String, PathBuf), String> {
    match argument.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("expected NAME=PATH, for instance fp16=models/llama".to_owned()),
    }
}

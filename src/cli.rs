//! The command line.

use std::{num::NonZeroUsize, path::PathBuf};

use b158_checkpoint::{Activation, Date, Interleave};
use b158_convert::{Format, HeadType, LinearClass, Scales, Scheme};
use b158_eval::{Preset, perplexity::Protocol};
use b158_kernels::{Isa, kv::KvType};
use b158_runner::Shape;
use clap::{Args, Parser, Subcommand};

use crate::shard::ShardArgument;

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

#[derive(Args)]
#[command(after_long_help = JOB_FILE)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct ConvertArgs {
    /// Hugging Face directory, org/name in the Hub's local cache, a .safetensors file beside its config.json, or a
    /// .gguf file
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    pub source: Option<PathBuf>,
    /// What to write: a file ending in .gguf, or a Hugging Face folder (hf, f16, bf16, f32)
    #[arg(short, long, value_name = "OUT", conflicts_with = "batch", required_unless_present = "batch")]
    pub output: Option<PathBuf>,
    /// Format of the linear layers. Packed: tq1_0, tq2_0, q2_0, q1_0 (binary models), i2_s (x86 order) and
    /// i2_s-arm in GGUF; hf for transformers. Full precision, in GGUF or a folder: f16, bf16, f32
    #[arg(long, value_name = "FORMAT", conflicts_with = "batch", required_unless_present = "batch")]
    pub to: Option<Format>,
    /// How full-precision weights become ternary: absmean (b1.58), absmedian (Reloaded), binary (BitNet) or
    /// none; packed codes and scales stay as they are [default: absmean for packed formats, else none]
    #[arg(long, value_name = "SCHEME", conflicts_with = "batch")]
    pub scheme: Option<Scheme>,
    /// Type of embeddings and output head: f32, f16, bf16, q8_0 or q6_k [default: the format where that is
    /// full precision, else the source's; f16 for hf out of q8_0 or q6_k]
    #[arg(long, value_name = "TYPE", conflicts_with = "batch")]
    pub head: Option<HeadType>,
    /// Where GGUF's blocks have their scale: tensor (one f32 beside them, exact) or blocks (f16) [default: tensor]
    #[arg(long, value_name = "PLACE", conflicts_with = "batch")]
    pub scales: Option<Scales>,
    /// How the scales of hf are meant: autobitlinear (multiplied, exact) or bitlinear (divided) [default: autobitlinear]
    #[arg(long, value_name = "CLASS", conflicts_with = "batch")]
    pub linear_class: Option<LinearClass>,
    /// Order of the codes in an I2_S source that does not say it: x86 or arm [default: x86]
    #[arg(long, value_name = "ORDER", conflicts_with = "batch", value_parser = b158_convert::interleave)]
    pub i2_s_order: Option<Interleave>,
    /// Activation of a GGUF source of architecture `bitnet` that does not say it: silu or relu2
    #[arg(long, value_name = "NAME", conflicts_with = "batch", value_parser = b158_convert::activation)]
    pub activation: Option<Activation>,
    /// Read the output back before it gets its name, and prove every code and scale
    #[arg(long, conflicts_with = "batch")]
    pub verify: bool,
    /// Convert every job of a list instead; its outputs and manifest.json go to the folder that it names
    #[arg(long, value_name = "JOBS.yaml")]
    pub batch: Option<PathBuf>,
    /// Skip the jobs that the manifest and the files' hashes prove done
    #[arg(long, requires = "batch", conflicts_with = "source")]
    pub resume: bool,
    /// Only say what each job would write
    #[arg(long, requires = "batch", conflicts_with = "source")]
    pub dry_run: bool,
    /// Run one of N parts of the jobs only, dealt by the sources' bytes, with a manifest of its own: 1/N to N/N;
    /// slurm: the part of this task of a Slurm job array; slurm/N likewise, if only some tasks run
    #[arg(long, value_name = "I/N|slurm", requires = "batch", conflicts_with = "source", value_parser = ShardArgument::parse)]
    pub shard: Option<ShardArgument>,
    /// Make one manifest.json of those of all shards
    #[arg(long, requires = "batch", conflicts_with_all = ["source", "shard", "resume", "dry_run"])]
    pub join: bool,
}

const JOB_FILE: &str = "\
A list of jobs; paths are relative to it, and all but output, source and to may be left out:

  output: packed                  # folder for the outputs and manifest.json
  memory: 4 GiB                   # for all running jobs together [default: half of what there is]
  jobs:
    - source: models/*            # a checkpoint, a pattern, or org/name in the Hub's cache
      to: [tq2_0, i2_s]           # one format or several
      scheme: absmean
      head: q8_0
      scales: tensor
      linear_class: autobitlinear
      i2_s_order: x86             # of sources that do not say it, as is activation
      name: \"{source}-{format}\"   # of the outputs; .gguf is added; {parent}: the folder around it
      verify: true";

#[derive(Args)]
pub struct InspectArgs {
    /// Hugging Face directory, .safetensors or .gguf
    pub model: PathBuf,
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
}

#[derive(Args)]
#[command(
    after_long_help = "Ctrl-C ends the text; the statistics still come, and the exit code is 0. A second one kills."
)]
pub struct RunArgs {
    /// Hugging Face directory, .safetensors or .gguf
    pub model: PathBuf,
    /// The text to continue; only the continuation is printed
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, required_unless_present = "file")]
    pub prompt: Option<String>,
    /// A file with the text to continue, byte for byte; - reads standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub file: Option<PathBuf>,
    /// New tokens at most
    #[arg(short = 'n', long, default_value_t = 128, value_name = "N")]
    pub max_tokens: usize,
    #[command(flatten)]
    pub generation: GenerationArgs,
}

#[derive(Args)]
#[command(after_long_help = "\
Each line of standard input is a message; the answer goes to standard output. /reset forgets the conversation, /exit
or Ctrl-D ends it. Ctrl-C ends the answer, and the chat too where the input is no terminal; while no answer is being
written it kills. What is typed is not escaped: the spelling of a special token is that token.")]
pub struct ChatArgs {
    /// Hugging Face directory, .safetensors or .gguf
    pub model: PathBuf,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// Chat template (Jinja) instead of the model's own
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// The day that templates may write into the system message [default: one that the template names]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub date: Option<Date>,
    /// New tokens of an answer at most
    #[arg(short = 'n', long, default_value_t = 1024, value_name = "N")]
    pub max_tokens: usize,
    #[command(flatten)]
    pub generation: GenerationArgs,
}

#[cfg(feature = "serve")]
#[derive(Args)]
#[command(after_long_help = "\
GET /v1/models, POST /v1/completions (echo and logprobs score prompts), POST /v1/chat/completions, both with
`stream`; POST /tokenize and /detokenize, GET /tokenizer_info, GET /health, GET /metrics (Prometheus).

An answer has the same bits alone or among others; without `seed` it is 0, so the same request has the same answer.
SIGTERM and Ctrl-C let running requests finish and refuse new ones (503); a second signal exits at once.")]
pub struct ServeArgs {
    /// Hugging Face directory, .safetensors or .gguf
    pub model: PathBuf,
    /// Name or address to listen on; 0.0.0.0 lets other machines in
    #[arg(long, default_value = "127.0.0.1", value_name = "HOST")]
    pub host: String,
    /// Port; 0 takes a free one, which --json and the first line name
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub port: u16,
    /// The model's name in requests and answers [default: that of its folder or file]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Demand `Authorization: Bearer KEY` of every request but /health
    #[arg(long, env = "B158_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Sequences that run at once
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub slots: u16,
    /// Requests that may wait for slots; further ones get 429
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub queue: usize,
    /// Positions of all key-value caches together [default: what three quarters of the free memory hold]
    #[arg(long, value_name = "N")]
    pub positions: Option<NonZeroUsize>,
    /// New tokens of an answer at most [default: what the context leaves]
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<NonZeroUsize>,
    /// Bytes of a request's body at most
    #[arg(long, default_value_t = 8 << 20, value_name = "N")]
    pub max_body: usize,
    /// Seconds that a request may take, its time in the queue included
    #[arg(long, default_value_t = 600, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// Seconds that running requests may take after a signal to stop
    #[arg(long, default_value_t = 30, value_name = "S")]
    pub drain: u64,
    /// Chat template (Jinja) instead of the model's own
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// The day that templates may write into the system message [default: one that the template names]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub date: Option<Date>,
    /// Context in tokens [default: the model's limit]
    #[arg(long, value_name = "N")]
    pub ctx: Option<NonZeroUsize>,
    /// Type of cached keys and values: f32, f16 or q8
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    pub kv: KvType,
}

/// How `run` and `chat` choose tokens. The filters apply in this order.
#[derive(Args)]
pub struct GenerationArgs {
    /// Divide the logits of repeated tokens by X where they are positive, multiply where negative; 1: do not
    #[arg(long, default_value_t = 1.0, value_name = "X", allow_negative_numbers = true)]
    pub repeat_penalty: f64,
    /// How many of the last tokens count as repeated, prompt included
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub repeat_last_n: usize,
    /// Temperature; 0 takes the most probable token
    #[arg(long = "temp", default_value_t = 0.0, value_name = "T", allow_negative_numbers = true)]
    pub temperature: f64,
    /// Choose among the K most probable tokens; 0: among all
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: usize,
    /// Choose among the most probable tokens that together reach probability P
    #[arg(long, default_value_t = 1.0, value_name = "P", allow_negative_numbers = true)]
    pub top_p: f64,
    /// Choose among tokens at least P times as probable as the most probable one
    #[arg(long, default_value_t = 0.0, value_name = "P", allow_negative_numbers = true)]
    pub min_p: f64,
    /// Same seed, same text, on every machine
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// End before this text; it is not printed (repeat for several)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// Context in tokens [default: the model's limit]
    #[arg(long, value_name = "N")]
    pub ctx: Option<NonZeroUsize>,
    /// Type of cached keys and values: f32, f16 or q8
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    pub kv: KvType,
}

#[derive(Args)]
pub struct LogitsArgs {
    /// Hugging Face directory, .safetensors or .gguf
    pub model: PathBuf,
    /// Token ids, separated by commas
    #[arg(long, value_delimiter = ',', required = true, value_name = "IDS")]
    pub tokens: Vec<u32>,
    /// The file to write: one tensor `logits` [tokens, vocabulary] in f32
    #[arg(short, long, value_name = "FILE.safetensors", value_parser = |name: &str| with_extension(name, "safetensors"))]
    pub output: PathBuf,
}

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
pub struct BenchArgs {
    /// Hugging Face directory, .safetensors or .gguf
    #[arg(required_unless_present = "shape", conflicts_with = "shape")]
    pub model: Option<PathBuf>,
    /// Instead of a model, one of a published shape with random weights, made in memory: 700M, 1.3B, 3B, 3.9B, 7B,
    /// 13B, 30B, 70B (LLaMA-like, as in the papers), 2B-4T, or tiny
    #[arg(long, value_name = "NAME", value_parser = shape)]
    pub shape: Option<Shape>,
    /// Weights of the shape: ternary, f16 (its twin in full precision), or both side by side [default: both]
    #[arg(long, value_name = "FORMAT", conflicts_with = "model")]
    pub format: Option<BenchFormat>,
    /// Tokens of prompts, separated by commas [default: 128,512, within the context]
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub prefill: Vec<usize>,
    /// Tokens in the cache before decoding, separated by commas [default: 0,2048]
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub depth: Vec<usize>,
    /// Tokens decoded at each depth [default: 32, or half the context]
    #[arg(long, value_name = "N")]
    pub decode: Option<usize>,
    /// Type of cached keys and values: f32, f16 or q8
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    pub kv: KvType,
    /// Runs, of which the best counts; no further one starts after 20 seconds
    #[arg(long, default_value = "3", value_name = "N")]
    pub runs: NonZeroUsize,
}

/// What `bench --format` can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchFormat {
    /// Ternary codes and int8 activations
    Ternary,
    /// Full precision
    F16,
    /// One after the other
    Both,
}

fn shape(name: &str) -> Result<Shape, String> {
    let names = || Shape::ALL.map(|shape| shape.name).join(", ");
    Shape::named(name).copied().ok_or_else(|| format!("the shapes are {}", names()))
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

#[cfg(feature = "train")]
#[derive(Args)]
pub struct TrainArgs {
    /// Recipe file: shape, text, steps and twins
    pub recipe: PathBuf,
    /// Folder for the twins, their loss curves and states to go on from [default: target/b158/train/RECIPE]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Where the recipe's text files are [default: beside the recipe]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Go on from the states in the folder, as if the run had not been interrupted
    #[arg(long)]
    pub resume: bool,
    /// Keep the states (latent weights, optimizer) of twins that are done
    #[arg(long)]
    pub keep_states: bool,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    pub device: TrainDevice,
}

/// What `train --device` can ask for.
#[cfg(feature = "train")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TrainDevice {
    /// The processor, on all threads
    #[default]
    Cpu,
    /// The first CUDA device
    #[cfg(feature = "cuda")]
    Cuda,
}

#[cfg(feature = "train")]
impl TrainDevice {
    /// The device itself.
    #[cfg_attr(not(feature = "cuda"), expect(clippy::unnecessary_wraps, reason = "a CUDA device can fail"))]
    pub fn open(self) -> anyhow::Result<b158_train::Device> {
        match self {
            Self::Cpu => Ok(b158_train::Device::Cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(b158_train::Device::new_cuda(0)?),
        }
    }
}

const DEFAULT_OUTPUT: &str = "target/b158";

impl Default for ReproduceArgs {
    fn default() -> Self {
        Self { suite: None, output: DEFAULT_OUTPUT.into(), documents: DocumentArgs::default() }
    }
}

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

fn with_extension(name: &str, extension: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(name);
    match path.extension() {
        Some(found) if found == extension => Ok(path),
        _ => Err(format!("the file's name must end in .{extension}")),
    }
}

fn name_and_path(argument: &str) -> Result<(String, PathBuf), String> {
    match argument.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("expected NAME=PATH, for instance fp16=models/llama".to_owned()),
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

//! Verbs about models: convert, inspect, run, serve, measure.

use std::{num::NonZeroUsize, path::PathBuf};

use b158_checkpoint::{Activation, Date, Interleave};
use b158_convert::{Format, HeadType, LinearClass, Scales, Scheme};
use b158_kernels::kv::KvType;
use b158_runner::Shape;
use clap::Args;

use crate::shard::ShardArgument;

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

fn with_extension(name: &str, extension: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(name);
    match path.extension() {
        Some(found) if found == extension => Ok(path),
        _ => Err(format!("the file's name must end in .{extension}")),
    }
}

//! What `run` and `chat` share: streaming a generated text and saying how it went.

use std::{io, num::NonZeroUsize, ops::ControlFlow, path::Path};

use anyhow::Result;
use b158_checkpoint::{Checkpoint, Tokenizer};
use b158_kernels::Isa;
use b158_runner::{
    GenerateOptions, Generation, LoadOptions, Model, Sampling, Statistics, StopReason, TextGeneration,
    TextSession,
};
use serde::Serialize;

use crate::{cli::GenerationArgs, commands::load_with, interrupt::Interruptible, printer::Printer};

/// Opens and loads a model and its tokenizer. The tokenizer comes first: one that does not fit the model is
/// said before gigabytes are read.
pub fn load_with_tokenizer(
    path: &Path,
    isa: Isa,
    args: &GenerationArgs,
) -> Result<(Checkpoint, Tokenizer, Model)> {
    let tokenizer = Checkpoint::open(path)?.tokenizer()?;
    let context = args.ctx.map(NonZeroUsize::get);
    let options = LoadOptions { isa, context, kv: args.kv, ..LoadOptions::default() };
    let (checkpoint, model) = load_with(path, options)?;
    Ok((checkpoint, tokenizer, model))
}

/// The options that the arguments ask for.
pub fn options(args: &GenerationArgs, max_tokens: usize, stop_tokens: Vec<u32>) -> GenerateOptions {
    GenerateOptions {
        max_tokens,
        sampling: Sampling {
            repeat_penalty: args.repeat_penalty,
            repeat_last_n: args.repeat_last_n,
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            min_p: args.min_p,
            seed: args.seed,
        },
        stop_tokens,
        stop_strings: args.stop.clone(),
    }
}

/// How a text came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Stopped(StopReason),
    /// Ctrl-C.
    Interrupted,
    /// Whoever reads has enough.
    Closed,
}

impl End {
    /// For people and for JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped(StopReason::StopToken) => "end of text",
            Self::Stopped(StopReason::StopString) => "stop string",
            Self::Stopped(StopReason::MaxTokens) => "token limit",
            Self::Stopped(StopReason::ContextFull) => "context full",
            Self::Interrupted => "interrupted",
            Self::Stopped(StopReason::Caller) | Self::Closed => "output closed",
        }
    }
}

/// Generates, printing the text as it comes unless the result is JSON.
pub fn stream(
    session: &mut TextSession<'_>,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    options: &GenerateOptions,
    printer: &Printer,
) -> Result<(TextGeneration, End)> {
    let generating = Interruptible::new();
    let (mut closed, mut failed) = (false, None::<io::Error>);
    let generated = session.generate_text(tokenizer, prompt, options, |piece| {
        if !piece.is_empty() && !printer.json() {
            match printer.stream(piece) {
                Ok(open) => closed = !open,
                Err(error) => failed = Some(error),
            }
        }
        let more = !closed && failed.is_none() && !generating.interrupted();
        if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let end = match generated.generation.reason {
        StopReason::Caller if closed => End::Closed,
        StopReason::Caller => End::Interrupted,
        reason => End::Stopped(reason),
    };
    Ok((generated, end))
}

/// Counts and times, for JSON.
#[derive(Serialize)]
pub struct StatisticsJson {
    prompt_tokens: usize,
    reused_tokens: usize,
    prompt_seconds: f64,
    prompt_tokens_per_second: f64,
    new_tokens: usize,
    decode_seconds: f64,
    decode_tokens_per_second: f64,
}

impl From<Statistics> for StatisticsJson {
    fn from(s: Statistics) -> Self {
        Self {
            prompt_tokens: s.prompt_tokens,
            reused_tokens: s.reused_tokens,
            prompt_seconds: s.prompt_seconds,
            prompt_tokens_per_second: s.prompt_rate(),
            new_tokens: s.new_tokens,
            decode_seconds: s.decode_seconds,
            decode_tokens_per_second: s.decode_rate(),
        }
    }
}

/// One line about a generation, for a person.
pub fn statistics_line(generation: &Generation, end: End) -> String {
    let s = &generation.statistics;
    let reused = match s.reused_tokens {
        0 => String::new(),
        reused => format!(" ({reused} of them reused)"),
    };
    format!(
        "{} prompt tokens{reused} in {:.3} s, {:.1} tokens/s; {} new tokens in {:.3} s, {:.1} tokens/s ({})",
        s.prompt_tokens,
        s.prompt_seconds,
        s.prompt_rate(),
        s.new_tokens,
        s.decode_seconds,
        s.decode_rate(),
        end.name(),
    )
}

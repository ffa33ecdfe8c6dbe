//! `b158 run`.

use std::{num::NonZeroUsize, ops::ControlFlow, time::Instant};

use anyhow::Result;
use b158_kernels::Isa;
use b158_runner::{GenerateOptions, Sampling, Session, StopReason, generate};
use serde::Serialize;

use crate::{ExitStatus, cli::RunArgs, commands::load, printer::Printer};

#[derive(Serialize)]
struct Output<'a> {
    prompt: &'a str,
    prompt_tokens: &'a [u32],
    text: String,
    tokens: &'a [u32],
    stop: &'static str,
    seconds: f64,
}

pub fn run(args: &RunArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let (checkpoint, model) = load(&args.model, isa, args.ctx.map(NonZeroUsize::get))?;
    let tokenizer = checkpoint.tokenizer()?;
    let prompt = tokenizer.encode(&args.prompt, true)?;
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        sampling: Sampling {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            seed: args.seed,
        },
        stop_tokens: model.config().eos_tokens.clone(),
    };

    let start = Instant::now();
    let capacity = model.context().min(prompt.len().saturating_add(args.max_tokens));
    let mut session = Session::new(&model, capacity.max(prompt.len()))?;
    let mut text = String::new();
    // After the prompt: a token's text may depend on the one before it.
    let mut stream = tokenizer.decode_stream_after(&prompt, true)?;
    let mut failed = None;
    let generation = generate(&mut session, &prompt, &options, |token| {
        let piece = stream.push(token).map_err(anyhow::Error::from).and_then(|piece| {
            text.push_str(&piece);
            if printer.json() { Ok(true) } else { Ok(printer.stream(&piece)?) }
        });
        match piece {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let rest = stream.finish()?;
    text.push_str(&rest);
    let seconds = start.elapsed().as_secs_f64();
    let stop = match generation.reason {
        StopReason::StopToken => "end of text",
        StopReason::MaxTokens => "token limit",
        StopReason::ContextFull => "context full",
        StopReason::Caller => "stopped",
    };
    let output = Output {
        prompt: &args.prompt,
        prompt_tokens: &prompt,
        text,
        tokens: &generation.tokens,
        stop,
        seconds,
    };
    // In text mode all but the rest is out already.
    printer.result(&output, || rest)?;
    let tokens = prompt.len() + generation.tokens.len();
    printer.note(&format!(
        "{} prompt and {} new tokens in {seconds:.3} s, {:.0} tokens/s ({stop})",
        prompt.len(),
        generation.tokens.len(),
        tokens as f64 / seconds,
    ));
    Ok(ExitStatus::Success)
}

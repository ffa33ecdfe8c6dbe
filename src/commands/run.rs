//! `b158 run`.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, Result, bail};
use b158_kernels::Isa;
use b158_runner::{Session, TextSession};
use serde::Serialize;

use crate::{
    ExitStatus,
    cli::RunArgs,
    commands::text::{self, StatisticsJson},
    interrupt,
    printer::Printer,
};

#[derive(Serialize)]
struct Output<'a> {
    prompt: &'a str,
    prompt_tokens: &'a [u32],
    text: &'a str,
    tokens: &'a [u32],
    stop: &'static str,
    statistics: StatisticsJson,
}

pub fn run(args: &RunArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    interrupt::catch()?;
    let text = match (&args.prompt, &args.file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(file)) => read(file)?,
        (None, None) => String::new(), // clap has asked for one of them
    };
    let (_, tokenizer, model) = text::load_with_tokenizer(&args.model, isa, &args.generation)?;
    let prompt = tokenizer.encode(&text, true)?;
    if prompt.is_empty() {
        bail!(
            "the prompt has no tokens\nhint: give a text with -p or -f; this model's tokenizer puts no token before an empty one"
        );
    }
    let options = text::options(&args.generation, args.max_tokens, model.config().eos_tokens.clone());
    let capacity = model.context().min(prompt.len().saturating_add(args.max_tokens));
    let mut session = TextSession::new(&model, Session::new(&model, capacity)?);
    let (generated, end) = text::stream(&mut session, &tokenizer, &prompt, &options, printer)?;
    let generation = &generated.generation;
    let output = Output {
        prompt: &text,
        prompt_tokens: &prompt,
        text: &generated.text,
        tokens: &generation.tokens,
        stop: end.name(),
        statistics: generation.statistics.into(),
    };
    // In text mode all but the line's end is out already.
    printer.result(&output, String::new)?;
    printer.note(&text::statistics_line(generation, end));
    Ok(ExitStatus::Success)
}

/// The text of a file, or of standard input.
fn read(file: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let (name, read) = if file == Path::new("-") {
        ("standard input".to_owned(), io::stdin().lock().read_to_end(&mut bytes).map(|_| ()))
    } else {
        (file.display().to_string(), fs::read(file).map(|read| bytes = read))
    };
    read.with_context(|| {
        format!("{name}: cannot read the prompt\nhint: check the name and the permissions")
    })?;
    String::from_utf8(bytes)
        .map_err(|_| anyhow::anyhow!("{name}: the prompt is not UTF-8\nhint: give a text file in UTF-8"))
}

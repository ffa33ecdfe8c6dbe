//! `b158 chat`.

use std::{
    fs,
    io::{self, BufRead, IsTerminal},
    path::Path,
};

use anyhow::{Context, Result, bail};
use b158_checkpoint::{ChatOptions, ChatTemplate, Checkpoint, Message, Tokenizer};
use b158_kernels::Isa;
use b158_runner::{Error, Session, TextSession};
use serde::Serialize;

use crate::{
    ExitStatus,
    cli::ChatArgs,
    commands::text::{self, End, StatisticsJson},
    interrupt,
    printer::Printer,
};

/// Tokens that end a turn in the templates of chat models. Many checkpoints name only the token that ends a
/// text, and would then talk on for both sides.
const TURN_ENDS: [&str; 5] = ["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>", "<|end_of_turn|>"];

#[derive(Serialize)]
struct Output {
    messages: Vec<Message>,
    turns: Vec<Turn>,
}

/// One answer.
#[derive(Serialize)]
struct Turn {
    prompt: String,
    tokens: Vec<u32>,
    stop: &'static str,
    statistics: StatisticsJson,
}

pub fn run(args: &ChatArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    interrupt::catch()?;
    // What can be wrong with the conversation's form is said before the weights are read.
    let template = template(&Checkpoint::open(&args.model)?, args.template.as_deref())?;
    let (checkpoint, tokenizer, model) = text::load_with_tokenizer(&args.model, isa, &args.generation)?;
    let eos = model.config().eos_tokens.first().and_then(|&id| tokenizer.id_to_token(id));
    let chat = ChatOptions {
        add_generation_prompt: true,
        bos_token: tokenizer.bos_text(),
        eos_token: checkpoint.eos_text().or(eos.as_deref()),
        date: args.date,
    };
    let stop_tokens = stop_tokens(&model.config().eos_tokens, &tokenizer, chat.eos_token);
    let options = text::options(&args.generation, args.max_tokens, stop_tokens);
    let mut session = TextSession::new(&model, Session::new(&model, model.context())?);

    let system: Vec<Message> = args.system.iter().map(|text| Message::new("system", text)).collect();
    let mut output = Output { messages: system.clone(), turns: Vec::new() };
    let terminal = io::stdin().is_terminal();
    let mut lines = io::stdin().lock();
    while let Some(line) = next_line(&mut lines, terminal, printer)? {
        match line.as_str() {
            "" => continue,
            "/exit" => break,
            "/reset" => {
                output.messages.clone_from(&system);
                continue;
            }
            _ => output.messages.push(Message::new("user", line)),
        }
        let prompt = match prompt(&template, &chat, &tokenizer, &output.messages, session.capacity()) {
            Ok(prompt) => prompt,
            Err(error) if terminal => {
                // The message is taken back, and the person can go on.
                printer.error(&error);
                output.messages.pop();
                continue;
            }
            Err(error) => return Err(error),
        };
        let (generated, end) = text::stream(&mut session, &tokenizer, &prompt.1, &options, printer)?;
        if !printer.json() && !printer.stream("\n")? {
            break;
        }
        printer.note(&text::statistics_line(&generated.generation, end));
        output.messages.push(Message::new("assistant", generated.text));
        output.turns.push(Turn {
            prompt: prompt.0,
            tokens: generated.generation.tokens,
            stop: end.name(),
            statistics: generated.generation.statistics.into(),
        });
        if end == End::Closed || (end == End::Interrupted && !terminal) {
            break;
        }
    }
    if printer.json() {
        printer.result(&output, String::new)?;
    }
    Ok(ExitStatus::Success)
}

/// The tokens that end a turn: those that end a text, and those that chat models have for it.
pub(super) fn stop_tokens(eos_tokens: &[u32], tokenizer: &Tokenizer, eos_text: Option<&str>) -> Vec<u32> {
    let named = eos_text.into_iter().chain(TURN_ENDS).filter_map(|text| tokenizer.token_to_id(text));
    eos_tokens.iter().copied().chain(named).collect()
}

/// The template of `file`, or the model's own.
fn template(checkpoint: &Checkpoint, file: Option<&Path>) -> Result<ChatTemplate> {
    match template_if_any(checkpoint, file)? {
        Some(template) => Ok(template),
        None => bail!(
            "{}: the model has no chat template\nhint: use `b158 run` for a model that only continues texts, or give a template with --template FILE",
            checkpoint.path().display()
        ),
    }
}

/// The same; `None` if the model has none.
pub(super) fn template_if_any(checkpoint: &Checkpoint, file: Option<&Path>) -> Result<Option<ChatTemplate>> {
    if let Some(file) = file {
        let source = fs::read_to_string(file).with_context(|| {
            format!(
                "{}: cannot read the chat template\nhint: check the name; it must be UTF-8",
                file.display()
            )
        })?;
        return Ok(Some(ChatTemplate::new(file, source)?));
    }
    Ok(ChatTemplate::of(checkpoint)?)
}

/// The next line without its end; `None` at the end of the input.
fn next_line(lines: &mut impl BufRead, terminal: bool, printer: &Printer) -> Result<Option<String>> {
    if terminal {
        printer.ask("> ");
    }
    let mut line = String::new();
    let read = lines.read_line(&mut line).context("standard input: cannot read it\nhint: give UTF-8 text")?;
    if read == 0 {
        if terminal {
            printer.note("");
        }
        return Ok(None);
    }
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// The conversation as text and as tokens.
fn prompt(
    template: &ChatTemplate,
    options: &ChatOptions<'_>,
    tokenizer: &Tokenizer,
    messages: &[Message],
    capacity: usize,
) -> Result<(String, Vec<u32>)> {
    let text = template.render(messages, options)?;
    // The template writes the special tokens itself.
    let tokens = tokenizer.encode(&text, false)?;
    if tokens.is_empty() {
        return Err(Error::Empty { what: "prompt that the chat template makes" }.into());
    }
    if tokens.len() > capacity {
        bail!(
            "the conversation has {} tokens, but the context holds {capacity}\nhint: begin a new one (/reset), shorten the message, or raise the context with --ctx up to the model's limit",
            tokens.len()
        );
    }
    Ok((text, tokens))
}

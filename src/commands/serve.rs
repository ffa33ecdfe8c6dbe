//! `b158 serve`.

use std::{num::NonZeroUsize, path::Path, time::Duration};

use anyhow::{Result, bail};
use b158_checkpoint::Checkpoint;
use b158_kernels::Isa;
use b158_runner::LoadOptions;
use b158_serve::{Chat, Config, Served, Server, positions};
use serde::Serialize;

use crate::{
    ExitStatus,
    cli::ServeArgs,
    commands::{chat, load_with, memory_limit},
    printer::Printer,
};

/// One line, once requests are answered.
#[derive(Serialize)]
struct Listening<'a> {
    url: String,
    host: String,
    port: u16,
    model: &'a str,
    context: usize,
    slots: usize,
    positions: usize,
    chat: bool,
}

pub fn run(args: &ServeArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    if args.api_key.as_deref().is_some_and(|key| key.trim() != key || key.is_empty()) {
        bail!(
            "the API key is empty, or has blanks around it\nhint: give another --api-key (or B158_API_KEY), or none"
        );
    }
    // What can be wrong is said before gigabytes are read.
    let server = Server::bind(&args.host, args.port)?;
    let checkpoint = Checkpoint::open(&args.model)?;
    let tokenizer = checkpoint.tokenizer()?;
    let template = chat::template_if_any(&checkpoint, args.template.as_deref())?;
    let context = args.ctx.map(NonZeroUsize::get);
    let (_, model) =
        load_with(&args.model, LoadOptions { isa, context, kv: args.kv, ..LoadOptions::default() })?;

    let eos_tokens = &model.config().eos_tokens;
    let chat = template.map(|template| {
        let eos = eos_tokens.first().and_then(|&id| tokenizer.id_to_token(id));
        let eos_text = checkpoint.eos_text().map(str::to_owned).or(eos);
        let stop_tokens = chat::stop_tokens(eos_tokens, &tokenizer, eos_text.as_deref());
        Chat { template, eos_text, date: args.date, stop_tokens }
    });
    let slots = usize::from(args.slots);
    let left = memory_limit()?.map(|bytes| bytes.saturating_sub(model.weight_bytes() as u64));
    let path = args.model.display().to_string();
    let config = Config {
        name: args.name.clone().unwrap_or_else(|| name(&args.model)),
        alias: Some(path).filter(|_| args.name.is_none()),
        api_key: args.api_key.clone(),
        max_body: args.max_body,
        max_tokens: args.max_tokens.map(NonZeroUsize::get),
        slots,
        queue: args.queue,
        positions: args.positions.map_or_else(|| positions(&model, slots, left), NonZeroUsize::get),
        timeout: Duration::from_secs(args.timeout),
        drain: Duration::from_secs(args.drain),
    };
    let address = server.address();
    if !address.ip().is_loopback() && config.api_key.is_none() {
        printer.note(&format!("warning: who reaches {address} may use the model\nhint: demand a key with --api-key or B158_API_KEY"));
    }
    let listening = Listening {
        url: format!("http://{address}"),
        host: address.ip().to_string(),
        port: address.port(),
        model: &config.name.clone(),
        context: model.context(),
        slots,
        positions: config.positions,
        chat: chat.is_some(),
    };
    let ready = || {
        if printer.json() {
            let line = serde_json::to_string(&listening).unwrap_or_default();
            // Who does not read it knows the address already.
            let _ = printer.stream(&format!("{line}\n"));
        } else {
            let Listening { url, model, context, slots, positions, .. } = &listening;
            printer.note(&format!(
                "{model} answers at {url} ({slots} slots, context {context}, {positions} cache positions); Ctrl-C stops it"
            ));
        }
    };
    server.run(Served { model: &model, tokenizer, chat }, config, ready)?;
    Ok(ExitStatus::Success)
}

/// The name of a folder, or of a file without its extension.
fn name(model: &Path) -> String {
    let name = if model.is_dir() { model.file_name() } else { model.file_stem() };
    let resolved = || model.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_owned()));
    name.map(ToOwned::to_owned).or_else(resolved).unwrap_or_default().to_string_lossy().into_owned()
}

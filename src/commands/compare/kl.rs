//! `b158 compare --kl`: two models' predictions on a text, token by token.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use b158_eval::kl::{Estimate, KlOptions, KlReport, compare_logits};
use b158_eval::table::{Align, markdown};
use b158_kernels::Isa;

use crate::{ExitStatus, cli::CompareArgs, commands::load, printer::Printer, progress};

pub fn run(args: &CompareArgs, text: &Path, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let content = std::fs::read_to_string(text).map_err(|e| {
        anyhow!("{}: cannot read the text: {e}\nhint: give a file of UTF-8 text", text.display())
    })?;
    let (base_checkpoint, base) = load(Path::new(&args.base), isa)?;
    let (checkpoint, candidate) = load(Path::new(&args.candidate), isa)?;
    let (base_tokenizer, tokenizer) = (base_checkpoint.tokenizer()?, checkpoint.tokenizer()?);
    let tokens = base_tokenizer.encode(&content, true)?;
    if tokenizer.encode(&content, true)? != tokens {
        bail!(
            "{} and {} make different tokens of the text\nhint: twins share a tokenizer: compare their tokenizer.json files",
            args.base,
            args.candidate
        );
    }
    // Where the tokenizer puts BOS before a text, each window begins with it.
    let bos = base_tokenizer.bos().filter(|bos| tokens.first() == Some(bos));
    let shorter = base.context().min(candidate.context());
    let default = KlOptions::default();
    let context = args.ctx.map_or(default.context.min(shorter), Into::into);
    let options = KlOptions { context, ..default };
    let bar = progress::bar("windows", (tokens.len() / context) as u64);
    let report =
        compare_logits(&base, &candidate, &tokens, bos, &options, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let report = report?;
    printer.result(&report, || table(args, &report))?;
    let holds = args.max_kl.is_none_or(|most| report.kl.value <= most);
    Ok(if holds { ExitStatus::Success } else { ExitStatus::CheckFailed })
}

fn table(args: &CompareArgs, r: &KlReport) -> String {
    use Align::{Left, Right};
    let plain = |e: Estimate| format!("{:.6} ± {:.6}", e.value, e.error);
    let percent = |e: Estimate| format!("{:.3} ± {:.3} %", e.value * 1e2, e.error * 1e2);
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("perplexity of the baseline", plain(r.perplexity_base)),
        row("perplexity of the candidate", plain(r.perplexity_candidate)),
        row("ratio of perplexities", plain(r.perplexity_ratio)),
        row("correlation of log-likelihoods", format!("{:.2} %", r.correlation * 1e2)),
        row("mean KL divergence, nats", plain(r.kl)),
    ];
    if let Some((low, high)) = r.kl_interval {
        rows.push(row("  95 % interval, by windows", format!("{low:.6} to {high:.6}")));
    }
    rows.push(row("same most probable token", percent(r.same_top)));
    rows.push(row("mean Δp of the right token", percent(r.delta_p)));
    rows.push(row("RMS Δp", percent(r.delta_p_rms)));
    let summary = markdown(&[("", Left), ("value", Right)], &rows);
    let spread: Vec<Vec<String>> = r
        .kl_quantiles
        .rows()
        .iter()
        .zip(r.delta_p_quantiles.rows())
        .map(|((name, kl), (_, delta))| {
            vec![(*name).to_owned(), format!("{kl:.6}"), format!("{:+.3} %", delta * 1e2)]
        })
        .collect();
    let quantiles = markdown(&[("", Left), ("KL divergence, nats", Right), ("Δp", Right)], &spread);
    format!(
        "{} against {}: {} tokens in {} windows of {}\n\n{summary}\n{quantiles}\n\
         ±: standard errors over tokens, as llama.cpp has them; tokens of a window depend on each other, windows hardly do.\n",
        args.candidate, args.base, r.tokens, r.windows, r.context
    )
}

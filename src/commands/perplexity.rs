//! `b158 perplexity`.

use std::num::NonZeroUsize;

use anyhow::Result;
use b158_eval::{
    RunnerModel,
    perplexity::{Options, Perplexities, Text, measure},
    table::{Align, markdown},
};
use b158_kernels::Isa;

use crate::{ExitStatus, cli::PerplexityArgs, commands::load, printer::Printer, progress::SuiteBar};

pub fn run(args: &PerplexityArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    // Before gigabytes are read.
    let texts = args.files.iter().map(|file| Ok(Text::read(file)?)).collect::<Result<Vec<_>>>()?;
    let (checkpoint, model) = load(&args.model, isa)?;
    let model = RunnerModel::new(&checkpoint, model)?;
    let options = Options {
        protocol: args.protocol,
        context: args.ctx.map(NonZeroUsize::get),
        stride: args.stride.map(NonZeroUsize::get),
    };
    let measured = measure(&model, &texts, &options, &SuiteBar::new(1))?;
    printer.result(&measured, || text(&measured))?;
    Ok(ExitStatus::Success)
}

/// The protocol and its numbers.
fn text(measured: &Perplexities) -> String {
    use Align::{Left, Right};
    let stride = measured.stride.map_or(String::new(), |n| format!(", stride {n}"));
    let per_text = measured.files.iter().any(|file| file.per_text.is_some());
    let error = measured.files.iter().any(|file| file.error.is_some());
    let left_out = measured.files.iter().any(|file| file.left_out > 0);
    let protocol = measured.protocol.name();
    // The number never stands without its protocol, not even where only the table is copied.
    let mut header = vec![("File".to_owned(), Left)];
    let mut column = |name: &str| header.push((name.to_owned(), Right));
    if per_text {
        column(&format!("{protocol} word perplexity"));
        column("per byte");
        column("bits per byte");
        column("per token");
    } else {
        column(&format!("{protocol} perplexity"));
    }
    if error {
        column("±");
    }
    column("Tokens scored");
    column("Windows");
    if left_out {
        column("Too long, left out");
    }
    let mut rows = Vec::new();
    for file in &measured.files {
        let mut row = vec![file.file.clone()];
        if let Some(per) = &file.per_text {
            row.extend(
                [per.word_perplexity, per.byte_perplexity, per.bits_per_byte].map(|v| format!("{v:.4}")),
            );
        }
        row.push(format!("{:.4}", file.perplexity));
        if error {
            row.push(file.error.map_or("N/A".to_owned(), |e| format!("{e:.4}")));
        }
        row.extend([file.tokens.to_string(), file.windows.to_string()]);
        if left_out {
            row.push(file.left_out.to_string());
        }
        rows.push(row);
    }
    let table = markdown(&header, &rows);
    let mean = measured.mean.map_or(String::new(), |m| {
        format!("\nmean perplexity of {} files, protocol {protocol}: {m:.4}\n", rows.len())
    });
    format!("perplexity, protocol {protocol}, context {}{stride}\n\n{table}{mean}", measured.context)
}

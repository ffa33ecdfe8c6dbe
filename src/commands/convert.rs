//! `b158 convert`.

use std::path::Path;

use anyhow::Result;
use b158_checkpoint::Checkpoint;
use b158_convert::{Inspection, Options, Report, Training, Verified};
use b158_kernels::Isa;
use serde::Serialize;

use crate::{ExitStatus, cli::ConvertArgs, commands::batch, printer::Printer, progress};

#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    report: Report,
    verified: Option<Verified>,
}

pub fn run(args: &ConvertArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    if let Some(file) = &args.batch {
        return batch::run(file, args.resume, args.dry_run, isa, printer);
    }
    let (Some(source), Some(output), Some(format)) = (&args.source, &args.output, args.to) else {
        unreachable!("clap requires them without --batch")
    };
    let options = Options {
        format,
        scheme: args.scheme,
        head: args.head,
        scales: args.scales,
        linear_class: args.linear_class,
        isa,
    };
    let checkpoint = Checkpoint::open(source)?;
    let report = convert(&checkpoint, output, &options)?;
    if report.tensors.iter().any(|t| t.ternarized) && !checkpoint.config().ternary_linears {
        printer.note(&full_precision(&b158_convert::inspect(&checkpoint, isa)?));
    }
    for warning in &report.warnings {
        printer.note(&format!("note: {warning}"));
    }
    let verified =
        if args.verify { Some(b158_convert::verify(&checkpoint, output, &options)?) } else { None };
    let document = Output { report, verified };
    printer.result(&document, || text(&document, output))?;
    Ok(ExitStatus::Success)
}

/// Converts with a progress bar.
pub fn convert(checkpoint: &Checkpoint, output: &Path, options: &Options) -> Result<Report> {
    let bar = progress::bytes(&format!("converting to {}", options.format), 0);
    let report = b158_convert::convert(checkpoint, output, options, &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    Ok(report)
}

/// What most people try first, and what comes of it.
pub fn full_precision(inspection: &Inspection) -> String {
    debug_assert_eq!(inspection.training, Training::FullPrecision);
    format!(
        "warning: this model was not trained with ternary weights: its codes differ from its weights by {:.0} % of their norm\nhint: ternarized afterwards, a model usually loses most of its quality (a model trained with ternary weights does not, for it computes with the codes itself). Evaluate it before use",
        100.0 * inspection.relative_error
    )
}

fn text(output: &Output, path: &Path) -> String {
    let r = &output.report;
    let mut text = format!("{}: ", path.display());
    text += &match r.bits_per_weight {
        Some(bits) => {
            let zeros: u64 = r.tensors.iter().map(|t| t.codes[1]).sum();
            format!(
                "{} ternary weights in {} tensors at {bits:.4} bits a weight, {:.1} % zero",
                r.ternary_weights,
                r.tensors.len(),
                100.0 * zeros as f64 / r.ternary_weights as f64,
            )
        }
        None => "no ternary weights".to_owned(),
    };
    text += &format!("; {} -> {} bytes", r.source_bytes, r.output_bytes);
    if r.largest_scale_change > 0.0 {
        text += &format!(
            "\nscales: {} cannot hold them exactly; the largest relative change is {:.2e}",
            r.format, r.largest_scale_change
        );
    }
    if let Some(v) = output.verified {
        text += &format!(
            "\nverified: {} codes and {} scales in the output are those of the source's weights, {} other values are equal",
            v.codes, v.scales, v.values
        );
    }
    text
}

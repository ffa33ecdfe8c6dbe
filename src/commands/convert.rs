//! `b158 convert`.

use std::path::Path;

use anyhow::Result;
use b158_checkpoint::Checkpoint;
use b158_convert::{Options, Report, Verified};
use b158_kernels::Isa;
use serde::Serialize;

use crate::{ExitStatus, cli::ConvertArgs, printer::Printer, progress};

#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    report: Report,
    verified: Option<Verified>,
}

/// What most people try first, and what comes of it.
const FULL_PRECISION: &str = "warning: this model was not trained with ternary weights; ternarized afterwards, a model usually loses most of its quality. Evaluate it before use";

pub fn run(args: &ConvertArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let options = Options { format: args.to, scheme: args.scheme, isa };
    let checkpoint = Checkpoint::open(&args.source)?;
    if !checkpoint.config().ternary_linears {
        printer.note(FULL_PRECISION);
    }
    let report = convert(&checkpoint, &args.output, &options)?;
    let verified =
        if args.verify { Some(b158_convert::verify(&checkpoint, &args.output, &options)?) } else { None };
    let output = Output { report, verified };
    printer.result(&output, || text(&output, args))?;
    Ok(ExitStatus::Success)
}

/// Converts with a progress bar.
pub fn convert(checkpoint: &Checkpoint, output: &Path, options: &Options) -> Result<Report> {
    let bar = progress::bar(&format!("converting to {}", options.format), 0);
    let report = b158_convert::convert(checkpoint, output, options, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    Ok(report)
}

fn text(output: &Output, args: &ConvertArgs) -> String {
    let r = &output.report;
    let zeros: u64 = r.tensors.iter().map(|t| t.codes[1]).sum();
    let mut text = format!(
        "{}: {} ternary weights in {} tensors at {:.4} bits a weight, {:.1} % zero; {} -> {} bytes",
        args.output.display(),
        r.ternary_weights,
        r.tensors.len(),
        r.bits_per_weight,
        100.0 * zeros as f64 / r.ternary_weights as f64,
        r.source_bytes,
        r.output_bytes,
    );
    if let Some(v) = output.verified {
        text += &format!(
            "\nverified: {} codes and {} scales in the file are those of the source's weights, {} other values are equal",
            v.codes, v.scales, v.values
        );
    }
    text
}

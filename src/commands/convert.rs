//! `b158 convert`.

use std::path::Path;

use anyhow::{Result, bail};
use b158_checkpoint::{Checkpoint, OpenOptions};
use b158_convert::{Format, Options, Report};
use b158_kernels::Isa;

use crate::{ExitStatus, cli::ConvertArgs, commands::batch, printer::Printer, progress};

pub fn run(args: &ConvertArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    if let Some(file) = &args.batch {
        return batch::run(file, args, isa, printer);
    }
    let (Some(source), Some(output), Some(format)) = (&args.source, &args.output, args.to) else {
        unreachable!("clap requires them without --batch")
    };
    let options = Options {
        format,
        scheme: args.scheme,
        head: args.head,
        scales: args.scales.unwrap_or_default(),
        linear_class: args.linear_class.unwrap_or_default(),
        verify: args.verify,
        isa,
    };
    refuse_unused(args, &options)?;
    let open = OpenOptions { i2_s: args.i2_s_order.unwrap_or_default(), activation: args.activation };
    let checkpoint = Checkpoint::open_with(source, &open)?;
    let report = convert(&checkpoint, output, &options)?;
    for warning in &report.warnings {
        printer.note(&format!("warning: {warning}"));
    }
    printer.result(&report, || text(&report, output))?;
    Ok(ExitStatus::Success)
}

/// An option that the format does not use is a mistake.
fn refuse_unused(args: &ConvertArgs, options: &Options) -> Result<()> {
    if args.linear_class.is_some() && options.format != Format::HuggingFace {
        bail!("--linear-class is about the scales of hf, not of {}\nhint: leave it out", options.format);
    }
    let blocks = matches!(options.format, Format::Blocks(blocks) if blocks.block_scales());
    if args.scales.is_some() && !blocks {
        bail!("--scales is about tq1_0, tq2_0, q2_0 and q1_0, not {}\nhint: leave it out", options.format);
    }
    Ok(())
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

fn text(r: &Report, path: &Path) -> String {
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
            "\nscales: rounded by what holds them in this output; the largest relative change is {:.2e}",
            r.largest_scale_change
        );
    }
    if let Some(v) = r.verified {
        text += &format!(
            "\nverified: {} codes and {} scales in the output are those of the source's weights, {} other values are the source's in the output's types",
            v.codes, v.scales, v.values
        );
    }
    text
}

//! `b158 bench`.

mod table;

use std::{path::Path, time::Instant};

use anyhow::Result;
use b158_checkpoint::Checkpoint;
use b158_kernels::Isa;
use b158_runner::{
    Error, LoadOptions, Model, Shape, SyntheticFormat,
    bench::{self, Column, LeftOut, Measured, Options},
    memory::Bytes,
};

use crate::{
    ExitStatus,
    cli::{BenchArgs, BenchFormat},
    commands::memory_limit,
    printer::Printer,
    progress,
};

pub fn run(args: &BenchArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let measured = match (&args.model, &args.shape) {
        (Some(model), _) => of_model(args, model, isa)?,
        (None, Some(shape)) => of_shape(args, shape, isa)?,
        (None, None) => unreachable!("clap demands one of them"),
    };
    for left_out in &measured.left_out {
        printer.note(&format!("note: {} is left out: {}", left_out.what, left_out.reason));
    }
    printer.result(&measured, || table::text(&measured))?;
    Ok(ExitStatus::Success)
}

fn of_model(args: &BenchArgs, path: &Path, isa: Isa) -> Result<Measured> {
    bench::reset_peak();
    let start = Instant::now();
    let checkpoint = Checkpoint::open(path)?;
    let limit = checkpoint.config().context_length;
    let (options, left_out) = options(args, limit);
    let model = Model::load(&checkpoint, load_options(args, isa, &options)?)?;
    let load_seconds = start.elapsed().as_secs_f64();
    let format = if model.is_ternary() { "ternary" } else { "full precision" };
    let (bytes, weights) = linear_layers(&checkpoint)?;
    Ok(Measured {
        model: path.display().to_string(),
        isa: isa.name().to_owned(),
        threads: rayon::current_num_threads(),
        kv: args.kv.to_string(),
        file_bytes: Some(checkpoint.bytes_on_disk()),
        linear_weights: Some(weights),
        bits_per_weight: Some(bytes as f64 * 8.0 / weights as f64),
        formats: vec![column(&model, format, load_seconds, &options)?],
        left_out,
    })
}

fn of_shape(args: &BenchArgs, shape: &Shape, isa: Isa) -> Result<Measured> {
    let (options, mut left_out) = options(args, Shape::CONTEXT);
    let wanted = args.format.unwrap_or(BenchFormat::Both);
    let formats: &[_] = match wanted {
        BenchFormat::Ternary => &[SyntheticFormat::Ternary],
        BenchFormat::F16 => &[SyntheticFormat::F16],
        BenchFormat::Both => &[SyntheticFormat::Ternary, SyntheticFormat::F16],
    };
    let load = load_options(args, isa, &options)?;
    let mut columns = Vec::new();
    for &format in formats {
        bench::reset_peak();
        let start = Instant::now();
        let layers = shape.config(format).layers;
        let bar = progress::bar(&format!("making {} {}", shape.name, format.name()), layers as u64);
        let model = match Model::synthetic(shape, format, load, |done| bar.set_position(done as u64)) {
            // The smaller one is worth showing, and so is what this one would take.
            Err(Error::Memory { needed, available, .. }) if !columns.is_empty() => {
                bar.finish_and_clear();
                let (needed, had) = (needed.bytes(), Bytes(available));
                left_out.push(LeftOut {
                    what: format.name().to_owned(),
                    reason: format!("it takes {}, but {had} of memory are available", Bytes(needed)),
                    needed_bytes: Some(needed),
                    available_bytes: Some(available),
                });
                continue;
            }
            model => model?,
        };
        bar.finish_and_clear();
        columns.push(column(&model, format.name(), start.elapsed().as_secs_f64(), &options)?);
    }
    Ok(Measured {
        model: shape.name.to_owned(),
        isa: isa.name().to_owned(),
        threads: rayon::current_num_threads(),
        kv: args.kv.to_string(),
        file_bytes: None,
        linear_weights: None,
        bits_per_weight: None,
        formats: columns,
        left_out,
    })
}

/// A context as long as the measurements need it.
fn load_options(args: &BenchArgs, isa: Isa, options: &Options) -> Result<LoadOptions> {
    let context = Some(options.longest().max(1));
    Ok(LoadOptions { isa, context, kv: args.kv, memory: memory_limit()?, ..LoadOptions::default() })
}

/// What to measure within the model's limit, and which depths lie beyond it.
fn options(args: &BenchArgs, limit: usize) -> (Options, Vec<LeftOut>) {
    let default = Options::default();
    let half = (limit / 2).max(1);
    let prefill = if args.prefill.is_empty() {
        let within: Vec<_> = default.prefill.into_iter().filter(|&n| n <= limit).collect();
        if within.is_empty() { vec![half] } else { within }
    } else {
        args.prefill.clone()
    };
    let decode = args.decode.unwrap_or(default.decode.min(half));
    let depths = if args.depth.is_empty() { default.depths } else { args.depth.clone() };
    // A single token beyond the limit is the caller's mistake, a depth may be the default's.
    let (depths, beyond): (Vec<_>, Vec<_>) =
        depths.into_iter().partition(|&depth| depth == 0 || depth.saturating_add(decode) <= limit);
    let left_out = beyond.into_iter().map(|depth| LeftOut {
        what: format!("decoding at {depth} tokens"),
        reason: format!("the model's context ends at {limit}"),
        needed_bytes: None,
        available_bytes: None,
    });
    (Options { prefill, depths, decode, runs: args.runs.get() }, left_out.collect())
}

fn column(model: &Model, format: &str, load_seconds: f64, options: &Options) -> Result<Column> {
    let bar = progress::bar("", options.steps() as u64);
    let measurement = bench::run(model, options, |step| {
        bar.set_prefix(format!("{format}: {step}"));
        bar.inc(1);
    });
    bar.finish_and_clear();
    let measurement = measurement?;
    let first_token_seconds = load_seconds + measurement.first_forward_seconds;
    Ok(Column { format: format.to_owned(), load_seconds, first_token_seconds, measurement })
}

/// Bytes on disk, scale tensors included, and number of the linear layers' weights.
fn linear_layers(checkpoint: &Checkpoint) -> Result<(u64, u64)> {
    let (mut bytes, mut weights) = (0, 0);
    for id in checkpoint.tensor_ids().into_iter().filter(|id| id.is_linear()) {
        let tensor = checkpoint.tensor(id)?;
        bytes += tensor.bytes().len() as u64;
        bytes += if checkpoint.scale(id)?.is_some() { size_of::<f32>() as u64 } else { 0 };
        weights += tensor.shape.iter().product::<usize>() as u64;
    }
    Ok((bytes, weights))
}

//! `b158 logits`.

use std::io::Write;

use anyhow::Result;
use b158_kernels::Isa;
use b158_runner::Session;
use safetensors::{Dtype, tensor::TensorView};
use serde::Serialize;

use crate::{ExitStatus, cli::LogitsArgs, commands::load, printer::Printer};

#[derive(Serialize)]
struct Output {
    file: String,
    shape: [usize; 2],
    argmax: Vec<usize>,
}

pub fn run(args: &LogitsArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let (_, model) = load(&args.model, isa, None)?;
    let logits = Session::new(&model, args.tokens.len())?.forward(&args.tokens, 0)?;
    let shape = [logits.nrows(), logits.ncols()];
    let bytes: Vec<u8> = logits.iter().flat_map(|l| l.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes)?;
    let file = safetensors::serialize([("logits", view)], None)?;
    b158_datasets::write_atomically(&args.output, |out| out.write_all(&file))?;

    let argmax = logits.outer_iter().map(|row| {
        let best = row.iter().enumerate().reduce(|best, x| if x.1 > best.1 { x } else { best });
        best.expect("a vocabulary is not empty").0
    });
    let output = Output { file: args.output.display().to_string(), shape, argmax: argmax.collect() };
    printer.result(&output, || format!("{}: logits [{}, {}], f32", output.file, shape[0], shape[1]))?;
    Ok(ExitStatus::Success)
}

//! `b158 logits`.

use anyhow::Result;
use b158_checkpoint::write_file;
use b158_kernels::Isa;
use b158_runner::{Session, argmax};
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
    let (_, model) = load(&args.model, isa)?;
    let logits = Session::new(&model, args.tokens.len())?.forward(&args.tokens, 0)?;
    let shape = [logits.nrows(), logits.ncols()];
    let bytes: Vec<u8> = logits.iter().flat_map(|l| l.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes)?;
    let file = safetensors::serialize([("logits", view)], None)?;
    write_file(&args.output, &file)?;

    let argmax = logits.outer_iter().map(|row| argmax(row.to_slice().expect("standard layout")));
    let output = Output { file: args.output.display().to_string(), shape, argmax: argmax.collect() };
    printer.result(&output, || format!("{}: logits [{}, {}], f32", output.file, shape[0], shape[1]))?;
    Ok(ExitStatus::Success)
}

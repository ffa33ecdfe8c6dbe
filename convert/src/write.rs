//! Writing the output: one tensor at a time, beside the final name, then renamed.

use std::{
    io::BufWriter,
    path::{Path, PathBuf},
};

use b158_checkpoint::{Checkpoint, OutputError, OutputFile, TensorId, gguf::GgufDataWriter};
use serde::Serialize;

use crate::{Error, Options, plan, plan::Step, tensors};

/// What a conversion did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Bytes of the source's weight files.
    pub source_bytes: u64,
    /// Bytes of the output.
    pub output_bytes: u64,
    /// Weights that became ternary.
    pub ternary_weights: u64,
    /// Bits of the packed linear layers, scales included, per weight.
    pub bits_per_weight: f64,
    /// One entry for each ternary tensor, in file order.
    pub tensors: Vec<TensorReport>,
}

/// One ternary tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorReport {
    /// Its name in the output.
    pub name: String,
    /// Its scale.
    pub scale: f32,
    /// How many codes are -1, 0 and +1.
    pub codes: [u64; 3],
}

/// Told after each tensor: tensors done, tensors in all.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// Converts `source` to `output`. Whatever happens, `output` is either as it was or whole.
///
/// # Errors
/// A source that cannot be read or does not fit the format, a tensor that is not finite, or an output
/// that cannot be written.
pub fn convert(
    checkpoint: &Checkpoint,
    output: &Path,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Report, Error> {
    if let Ok(existing) = output.canonicalize() {
        let is_source = |file: &&PathBuf| file.canonicalize().is_ok_and(|file| file == existing);
        if let Some(file) = checkpoint.files().iter().find(is_source) {
            return Err(Error::OutputIsSource { file: file.clone() });
        }
    }
    let (steps, plan) = plan::plan(checkpoint, options)?;
    let mut file = OutputFile::create(output)?;
    let write_error = |source| OutputError { file: output.to_owned(), source };

    let mut report = Report {
        source_bytes: checkpoint.bytes_on_disk(),
        output_bytes: plan.file_len(),
        ternary_weights: 0,
        bits_per_weight: 0.0,
        tensors: Vec::new(),
    };
    let mut ternary_bytes = 0;
    let mut writer = BufWriter::with_capacity(1 << 20, &mut file);
    plan.write_header(&mut writer).map_err(write_error)?;
    let mut data = GgufDataWriter::new(&plan, &mut writer);
    for (done, step) in steps.iter().enumerate() {
        match *step {
            Step::Ternary(id) => {
                let ternary = tensors::ternary(checkpoint, id, options)?;
                let packed = tensors::pack(&ternary, options.format);
                data.write_tensor(&id.gguf_name(), &packed).map_err(write_error)?;
                let scale = ternary.scale.to_le_bytes();
                data.write_tensor(&id.gguf_scale_name(), &scale).map_err(write_error)?;
                ternary_bytes += packed.len() + size_of::<f32>();
                report.tensors.push(tensor_report(id, &ternary));
            }
            Step::Vector(id) => {
                let bytes: Vec<u8> =
                    tensors::vector(checkpoint, id)?.into_iter().flat_map(f32::to_le_bytes).collect();
                data.write_tensor(&id.gguf_name(), &bytes).map_err(write_error)?;
            }
            Step::Copy(id) => {
                let tensor = tensors::copied(checkpoint, id)?;
                data.write_tensor(&id.gguf_name(), tensor.bytes()).map_err(write_error)?;
            }
        }
        progress(done + 1, steps.len());
    }
    data.finish().map_err(write_error)?;
    drop(writer);
    file.commit()?;

    report.ternary_weights = report.tensors.iter().flat_map(|t| t.codes).sum();
    report.bits_per_weight = ternary_bytes as f64 * 8.0 / report.ternary_weights as f64;
    Ok(report)
}

fn tensor_report(id: TensorId, ternary: &tensors::Ternary) -> TensorReport {
    let mut codes = [0; 3];
    for &code in &ternary.codes {
        codes[(code + 1) as usize] += 1;
    }
    TensorReport { name: id.gguf_name(), scale: ternary.scale, codes }
}

//! Writing the output: one tensor at a time, beside the final name, then renamed.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::Path,
};

use b158_checkpoint::{Checkpoint, TensorId, gguf::GgufDataWriter};
use serde::Serialize;
use tempfile::NamedTempFile;

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
    let (steps, plan) = plan::plan(checkpoint, options)?;
    let write_error = |source| Error::Write { file: output.to_owned(), source };
    if output.is_dir() {
        return Err(write_error(io::ErrorKind::IsADirectory.into()));
    }
    let mut file = beside(output).map_err(write_error)?;

    let mut report = Report {
        source_bytes: checkpoint.bytes_on_disk(),
        output_bytes: 0,
        ternary_weights: 0,
        bits_per_weight: 0.0,
        tensors: Vec::new(),
    };
    let mut ternary_bytes = 0;
    let mut writer = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    plan.write_header(&mut writer).map_err(write_error)?;
    let mut data = GgufDataWriter::new(&plan, &mut writer);
    for (done, step) in steps.iter().enumerate() {
        match *step {
            Step::Ternary(id) => {
                let ternary = tensors::ternarize(checkpoint, id, options)?;
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
    file.as_file().sync_all().map_err(write_error)?;
    report.output_bytes = file.as_file().metadata().map_err(write_error)?.len();
    file.persist(output).map_err(|e| write_error(e.error))?;
    sync_folder(output).map_err(write_error)?;

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

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new file in the folder of `output`, deleted unless it is renamed.
fn beside(output: &Path) -> io::Result<NamedTempFile> {
    let name = output.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".partial");
    // A temporary file is private by default, but this one is to become an ordinary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // The error would name the temporary file.
    builder.tempfile_in(folder(output)).map_err(|e| e.kind().into())
}

/// Makes the rename itself durable.
fn sync_folder(output: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder(output))?.sync_all() } else { Ok(()) }
}

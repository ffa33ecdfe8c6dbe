//! Proof that a written file holds exactly the codes and scales of its source.

use std::path::Path;

use b158_checkpoint::Checkpoint;
use half::f16;
use rayon::prelude::*;
use serde::Serialize;

use crate::{Error, Options, plan, plan::Step, tensors};

/// What was compared, all of it equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Tensors compared.
    pub tensors: u64,
    /// Ternary codes compared.
    pub codes: u64,
    /// Scales compared, bit for bit.
    pub scales: u64,
    /// Full-precision values compared, bit for bit.
    pub values: u64,
}

/// Reads `output` back and compares it with the source, ternarized anew.
///
/// # Errors
/// The first difference, by tensor and position, or a file that cannot be read.
pub fn verify(checkpoint: &Checkpoint, output: &Path, options: &Options) -> Result<Verified, Error> {
    let written = Checkpoint::open(output)?;
    let mut verified = Verified::default();
    for step in plan::steps(checkpoint) {
        let (Step::Ternary(id) | Step::Vector(id) | Step::Copy(id)) = step;
        let tensor = written.tensor(id)?;
        let differs =
            |difference| Error::Verification { file: output.to_owned(), tensor: id.gguf_name(), difference };
        match step {
            Step::Ternary(_) => {
                let expected = tensors::ternary(checkpoint, id, options)?;
                let scale = written.scale(id)?;
                if scale.map(f32::to_bits) != Some(expected.scale.to_bits()) {
                    return Err(differs(format!("the scale is {scale:?}, not {}", expected.scale)));
                }
                compare_codes(tensor.bytes(), &expected, options).map_err(differs)?;
                verified.codes += expected.codes.len() as u64;
                verified.scales += 1;
            }
            Step::Vector(_) => {
                let expected = tensors::vector(checkpoint, id)?;
                let mut values = vec![0.0; expected.len()];
                tensor.dense()?.to_f32(&mut values);
                let differing = values.iter().zip(&expected).position(|(a, b)| a.to_bits() != b.to_bits());
                if let Some(i) = differing {
                    return Err(differs(format!("element {i} is {}, not {}", values[i], expected[i])));
                }
                verified.values += expected.len() as u64;
            }
            Step::Copy(_) => {
                let expected = tensors::copied(checkpoint, id)?;
                if tensor.dtype != expected.dtype || tensor.bytes() != expected.bytes() {
                    return Err(differs("the values differ from the source's".to_owned()));
                }
                verified.values += expected.shape.iter().product::<usize>() as u64;
            }
        }
        verified.tensors += 1;
    }
    Ok(verified)
}

fn compare_codes(packed: &[u8], expected: &tensors::Ternary, options: &Options) -> Result<(), String> {
    let packing = options.format.packing();
    let row_bytes = packing.row_bytes(expected.cols).ok_or("the row length does not fit the format")?;
    packed
        .par_chunks_exact(row_bytes)
        .zip(expected.codes.par_chunks_exact(expected.cols))
        .enumerate()
        .try_for_each(|(row, (bytes, codes))| {
            let mut found = vec![0; codes.len()];
            let mut scales = vec![f16::ZERO; codes.len() / packing.block()];
            packing.unpack(bytes, &mut found, &mut scales).map_err(|e| format!("row {row}: {e}"))?;
            if let Some(i) = found.iter().zip(codes).position(|(a, b)| a != b) {
                return Err(format!("row {row}, column {i}: code {} instead of {}", found[i], codes[i]));
            }
            match scales.iter().position(|&s| s != f16::ONE) {
                Some(block) => {
                    Err(format!("row {row}, block {block}: block scale {} instead of 1", scales[block]))
                }
                None => Ok(()),
            }
        })
}

//! One source tensor as the output holds it.

use b158_checkpoint::{Checkpoint, Tensor, TensorId, TensorType, gguf::metadata, rope_permutation};
use b158_kernels::{
    packing::{TernaryFormat, hf},
    ternarize,
    ternary::TernaryMatrix,
};
use half::f16;
use rayon::prelude::*;

use crate::{Error, Format, Options};

/// A linear layer's codes `[rows, cols]`, in the output's row order, and their scale.
pub(crate) struct Ternary {
    pub(crate) codes: Vec<i8>,
    pub(crate) cols: usize,
    pub(crate) scale: f32,
}

/// The codes of a linear layer: its own if it is packed, otherwise ternarized by the scheme.
pub(crate) fn ternary(checkpoint: &Checkpoint, id: TensorId, options: &Options) -> Result<Ternary, Error> {
    let tensor = checkpoint.tensor(id)?;
    let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
    let mut codes = vec![0; rows * cols];
    let scale = match (tensor.dtype, tensor.dtype.ternary()) {
        (_, Some(format)) => blocks(checkpoint, id, &tensor, format, &mut codes)?,
        (TensorType::HfPacked, _) => {
            hf::unpack(tensor.bytes(), cols, &mut codes).map_err(|e| packed(&tensor, &e))?;
            checkpoint.scale(id)?.unwrap_or(1.0)
        }
        _ => {
            let weights = tensor.dense()?;
            let scale = ternarize::scale(options.isa, weights).map_err(|e| non_finite(&tensor, e.index))?;
            ternarize::ternarize(options.isa, weights, scale, &mut codes);
            scale
        }
    };
    let pairs = metadata::rope_pairs(checkpoint.config());
    if let Some(source_rows) = rope_permutation(checkpoint.config(), id, pairs) {
        codes = source_rows.iter().flat_map(|row| &codes[row * cols..][..cols]).copied().collect();
    }
    Ok(Ternary { codes, cols, scale })
}

/// Unpacks GGUF blocks, which must share one scale; returns it, times the tensor's own.
fn blocks(
    checkpoint: &Checkpoint,
    id: TensorId,
    tensor: &Tensor,
    format: TernaryFormat,
    codes: &mut [i8],
) -> Result<f32, Error> {
    let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
    let (matrix, block_scale) =
        TernaryMatrix::from_packed(format, rows, cols, tensor.bytes()).map_err(|e| packed(tensor, &e))?;
    codes.par_chunks_exact_mut(cols).enumerate().for_each(|(row, codes)| matrix.codes_row(row, codes));
    Ok(checkpoint.scale(id)?.map_or(block_scale, |scale| scale * block_scale))
}

fn packed(tensor: &Tensor, error: &dyn std::error::Error) -> Error {
    let (file, tensor) = (tensor.file().to_owned(), tensor.name.clone());
    Error::Packed { file, tensor, reason: error.to_string() }
}

/// Packs codes row by row, with block scales of 1.
pub(crate) fn pack(ternary: &Ternary, format: Format) -> Vec<u8> {
    let packing = format.packing();
    let row_bytes = packing.row_bytes(ternary.cols).expect("the plan checked the row length");
    let mut bytes = vec![0; ternary.codes.len() / ternary.cols * row_bytes];
    bytes
        .par_chunks_exact_mut(row_bytes)
        .zip(ternary.codes.par_chunks_exact(ternary.cols))
        .for_each(|(out, codes)| packing.pack(codes, f16::ONE, out));
    bytes
}

/// A norm's weights in f32.
pub(crate) fn vector(checkpoint: &Checkpoint, id: TensorId) -> Result<Vec<f32>, Error> {
    let tensor = checkpoint.tensor(id)?;
    let weights = tensor.dense()?;
    let mut out = vec![0.0; weights.len()];
    weights.to_f32(&mut out);
    match out.iter().position(|w| !w.is_finite()) {
        Some(index) => Err(non_finite(&tensor, index)),
        None => Ok(out),
    }
}

/// Embedding or head, after a check that every element is finite.
pub(crate) fn copied(checkpoint: &Checkpoint, id: TensorId) -> Result<Tensor, Error> {
    let tensor = checkpoint.tensor(id)?;
    match ternarize::first_non_finite(tensor.dense()?) {
        Some(index) => Err(non_finite(&tensor, index)),
        None => Ok(tensor),
    }
}

fn non_finite(tensor: &Tensor, index: usize) -> Error {
    Error::NonFinite { file: tensor.file().to_owned(), tensor: tensor.name.clone(), index }
}

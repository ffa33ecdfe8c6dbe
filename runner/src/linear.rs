//! The linear layers: full precision, mapped from the file, or ternary, in the kernels' working layout.

use b158_checkpoint::{Checkpoint, Tensor, TensorId, TensorType};
use b158_kernels::{
    Isa, dense,
    packing::{TernaryFormat, hf},
    quantize::{Int8Rows, NonFinite},
    ternarize,
    ternary::TernaryMatrix,
};

use crate::Error;

/// One linear layer without bias, `[rows, cols]`: y = W x.
pub(crate) enum Linear {
    /// Full precision: x stays f32.
    Dense { weight: Tensor, rows: usize, cols: usize },
    /// BitLinear (arXiv 2402.17764, equations 1 to 3): x is quantized to int8 per token, the product
    /// is an exact integer, and one factor per token undoes both quantizations.
    Ternary { matrix: TernaryMatrix, scale: f32 },
}

impl Linear {
    /// Reads one tensor. Full-precision weights of a b1.58 master are ternarized here.
    pub(crate) fn load(checkpoint: &Checkpoint, id: TensorId, isa: Isa) -> Result<Self, Error> {
        let tensor = checkpoint.tensor(id)?;
        let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
        let format = match tensor.dtype {
            TensorType::Tq1_0 => TernaryFormat::Tq1_0,
            TensorType::Tq2_0 => TernaryFormat::Tq2_0,
            TensorType::HfPacked => return Self::unpack(checkpoint, id, &tensor),
            TensorType::F32 | TensorType::F16 | TensorType::Bf16 => {
                if id.is_linear() && checkpoint.config().ternary_linears {
                    return Self::ternarize(&tensor, isa);
                }
                tensor.dense()?;
                return Ok(Self::Dense { weight: tensor, rows, cols });
            }
        };
        let (matrix, block_scale) =
            TernaryMatrix::from_packed(format, rows, cols, tensor.bytes()).map_err(|e| Error::Packed {
                file: tensor.file().to_owned(),
                tensor: tensor.name.clone(),
                reason: e.to_string(),
            })?;
        // Where the file has a scale tensor its block scales are 1, so the product is exact.
        let scale = checkpoint.scale(id)?.map_or(block_scale, |scale| scale * block_scale);
        Ok(Self::Ternary { matrix, scale })
    }

    /// transformers' packed weights, whose scale is a tensor of its own.
    fn unpack(checkpoint: &Checkpoint, id: TensorId, tensor: &Tensor) -> Result<Self, Error> {
        let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
        let mut codes = vec![0i8; rows * cols];
        hf::unpack(tensor.bytes(), cols, &mut codes).map_err(|e| Error::Packed {
            file: tensor.file().to_owned(),
            tensor: tensor.name.clone(),
            reason: e.to_string(),
        })?;
        let scale = checkpoint.scale(id)?.unwrap_or(1.0);
        Ok(Self::Ternary { matrix: TernaryMatrix::from_codes(rows, cols, &codes), scale })
    }

    fn ternarize(tensor: &Tensor, isa: Isa) -> Result<Self, Error> {
        let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
        let weights = tensor.dense()?;
        let scale = ternarize::scale(isa, weights).map_err(|e| Error::NonFiniteWeight {
            file: tensor.file().to_owned(),
            tensor: tensor.name.clone(),
            index: e.index,
        })?;
        let mut codes = vec![0i8; rows * cols];
        ternarize::ternarize(isa, weights, scale, &mut codes);
        Ok(Self::Ternary { matrix: TernaryMatrix::from_codes(rows, cols, &codes), scale })
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Dense { rows, .. } => *rows,
            Self::Ternary { matrix, .. } => matrix.rows(),
        }
    }

    fn cols(&self) -> usize {
        match self {
            Self::Dense { cols, .. } => *cols,
            Self::Ternary { matrix, .. } => matrix.cols(),
        }
    }

    /// Bytes of the weights as they lie in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Dense { weight, .. } => weight.bytes().len(),
            Self::Ternary { matrix, .. } => matrix.bytes(),
        }
    }

    pub(crate) fn is_ternary(&self) -> bool {
        matches!(self, Self::Ternary { .. })
    }
}

/// Applies several linear layers to the same input, which is quantized once.
///
/// `x` is `[tokens, cols]`, each output is resized to `[tokens, rows]`.
pub(crate) fn apply<const N: usize>(
    isa: Isa,
    linears: [&Linear; N],
    x: &[f32],
    quantized: &mut Int8Rows,
    outputs: [&mut Vec<f32>; N],
) -> Result<(), NonFinite> {
    let cols = linears[0].cols();
    let tokens = x.len() / cols;
    if linears.iter().any(|l| l.is_ternary()) {
        quantized.quantize(isa, x, cols)?;
    }
    for (linear, out) in linears.into_iter().zip(outputs) {
        out.resize(tokens * linear.rows(), 0.0);
        match linear {
            Linear::Dense { weight, rows, cols } => {
                let weight = weight.dense().expect("checked when the layer was loaded");
                dense::matmul(isa, weight, *rows, *cols, x, tokens, out);
            }
            Linear::Ternary { matrix, scale } => matrix.matmul(isa, *scale, quantized, out),
        }
    }
    Ok(())
}

//! The linear layers: full precision, mapped from the file, or ternary, in the kernels' working layout.

use b158_checkpoint::{Checkpoint, Tensor, TensorId, TensorType};
use b158_kernels::{
    Isa,
    dense::{self, DenseSlice, Weights},
    norm,
    quantize::{Int8Rows, NonFinite},
    ternarize,
    ternary::{Layout, PackedError, TernaryMatrix},
};

use crate::{Error, weights::DenseWeights};

/// One linear layer without bias, `[rows, cols]`: y = W x.
pub(crate) enum Linear {
    /// Full precision: x stays f32.
    Dense { weight: DenseWeights, rows: usize, cols: usize },
    /// BitLinear (arXiv 2402.17764, equations 1 to 3): x is quantized to int8 per token, the product
    /// is an exact integer, and one factor per token undoes both quantizations.
    Ternary { matrix: TernaryMatrix, scale: f32 },
}

impl Linear {
    /// Reads one tensor. Full-precision weights of a b1.58 master are ternarized here. Where the working layout is
    /// a copy, the memory that the tensor's file took is given back.
    pub(crate) fn load(checkpoint: &Checkpoint, id: TensorId, isa: Isa) -> Result<Self, Error> {
        let tensor = checkpoint.tensor(id)?;
        let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
        let layout = Layout::best(isa);
        let linear = if tensor.dtype == TensorType::HfPacked {
            let matrix = TernaryMatrix::from_hf(layout, rows, cols, tensor.bytes())
                .map_err(|e| unreadable(&tensor, &e))?;
            // The scale is a tensor of its own.
            Self::Ternary { matrix, scale: checkpoint.scale(id)?.unwrap_or(1.0) }
        } else if let Some(format) = tensor.dtype.ternary() {
            let (matrix, block_scale) =
                TernaryMatrix::from_packed(layout, format, rows, cols, tensor.bytes())
                    .map_err(|e| unreadable(&tensor, &e))?;
            // Where the file has a scale for the whole tensor its block scales are 1 or absent, so the
            // product is exact.
            let scale = checkpoint.scale(id)?.map_or(block_scale, |scale| scale * block_scale);
            Self::Ternary { matrix, scale }
        } else if id.is_linear() && checkpoint.config().ternary_linears {
            Self::ternarize(&tensor, isa)?
        } else {
            tensor.weights()?;
            return Ok(Self::Dense { weight: DenseWeights::Mapped(tensor), rows, cols });
        };
        tensor.release();
        Ok(linear)
    }

    fn ternarize(tensor: &Tensor, isa: Isa) -> Result<Self, Error> {
        let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
        let mut values = Vec::new();
        let weights = match tensor.weights()? {
            Weights::Plain(weights) => weights,
            blocks @ Weights::Blocks { .. } => {
                values.resize(blocks.len(), 0.0);
                blocks.to_f32(&mut values);
                DenseSlice::F32(&values)
            }
        };
        let scale = ternarize::scale(isa, weights).map_err(|e| Error::NonFiniteWeight {
            file: tensor.file().to_owned(),
            tensor: tensor.name.clone(),
            index: e.index,
        })?;
        let row = |r: usize, codes: &mut [i8]| {
            ternarize::ternarize(isa, weights.range(r * cols..(r + 1) * cols), scale, codes);
        };
        Ok(Self::Ternary { matrix: TernaryMatrix::from_rows(Layout::best(isa), rows, cols, row), scale })
    }

    /// The product with `x` `[tokens, cols]`; a ternary layer takes it `quantized`.
    pub(crate) fn multiply(&self, isa: Isa, x: &[f32], quantized: &Int8Rows, out: &mut Vec<f32>) {
        let tokens = x.len() / self.cols();
        out.resize(tokens * self.rows(), 0.0);
        match self {
            Self::Dense { weight, rows, cols } => {
                let weight = weight.weights().expect("checked when the layer was loaded");
                dense::matmul(isa, weight, *rows, *cols, x, tokens, out);
            }
            Self::Ternary { matrix, scale } => matrix.matmul(isa, *scale, quantized, out),
        }
    }

    fn rows(&self) -> usize {
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
            Self::Dense { weight, .. } => weight.bytes(),
            Self::Ternary { matrix, .. } => matrix.bytes(),
        }
    }

    /// Whether the weights stay in their file.
    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self, Self::Dense { weight, .. } if weight.is_mapped())
    }

    pub(crate) fn is_ternary(&self) -> bool {
        matches!(self, Self::Ternary { .. })
    }
}

/// A linear layer of a block, with the norm of its input that some layouts have inside it.
pub(crate) struct BlockLinear {
    pub(crate) linear: Linear,
    /// `[cols]`, empty if there is none.
    pub(crate) input_norm: Vec<f32>,
}

/// The input of linear layers on its way: as it comes, then normalized, then quantized.
#[derive(Default)]
pub(crate) struct Inputs {
    normed: Vec<f32>, // [tokens, cols]
    pub(crate) quantized: Int8Rows,
}

impl Inputs {
    /// Applies several linear layers to the same input, which is quantized once unless each of them
    /// normalizes it in its own way; `eps` is of those norms.
    ///
    /// `x` is `[tokens, cols]`, each output is resized to `[tokens, rows]`.
    pub(crate) fn apply<const N: usize>(
        &mut self,
        isa: Isa,
        linears: [&BlockLinear; N],
        eps: f32,
        x: &[f32],
        outputs: [&mut Vec<f32>; N],
    ) -> Result<(), NonFinite> {
        let (mut shared, mut checked) = (false, false);
        for (BlockLinear { linear, input_norm }, out) in linears.into_iter().zip(outputs) {
            if input_norm.is_empty() {
                if linear.is_ternary() && !shared {
                    self.quantized.quantize(isa, x, linear.cols())?;
                    shared = true;
                } else if !linear.is_ternary() && !checked {
                    finite(x, linear.cols())?;
                    checked = true;
                }
                linear.multiply(isa, x, &self.quantized, out);
            } else {
                self.normed.resize(x.len(), 0.0);
                norm::rms_norm(isa, x, input_norm, eps, &mut self.normed);
                if linear.is_ternary() {
                    self.quantized.quantize(isa, &self.normed, linear.cols())?;
                    shared = false;
                } else {
                    finite(&self.normed, linear.cols())?;
                }
                linear.multiply(isa, &self.normed, &self.quantized, out);
            }
        }
        Ok(())
    }
}

/// What quantizing refuses, for layers that do not quantize: so that a NaN is found in the layer that made it.
fn finite(x: &[f32], cols: usize) -> Result<(), NonFinite> {
    match x.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(i) => Err(NonFinite { row: i / cols, col: i % cols, value: x[i] }),
    }
}

fn unreadable(tensor: &Tensor, reason: &PackedError) -> Error {
    Error::Packed { file: tensor.file().to_owned(), tensor: tensor.name.clone(), reason: reason.to_string() }
}

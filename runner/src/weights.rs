//! Full-precision weights: in their file, or in memory of our own.

use std::sync::Arc;

use b158_checkpoint::Tensor;
use b158_kernels::dense::{DenseSlice, Weights};
use half::{f16, slice::HalfBitsSliceExt};

use crate::Error;

/// A matrix in full precision; cloning it copies no weights.
#[derive(Clone)]
pub(crate) enum DenseWeights {
    /// Mapped from a checkpoint: pages come as they are read.
    Mapped(Tensor),
    /// Made here, f16 as bits.
    Owned(Arc<Vec<u16>>),
}

impl DenseWeights {
    /// The weights, in place.
    ///
    /// # Errors
    /// A tensor that is packed.
    pub(crate) fn weights(&self) -> Result<Weights<'_>, Error> {
        match self {
            Self::Mapped(tensor) => Ok(tensor.weights()?),
            Self::Owned(bits) => Ok(Weights::Plain(DenseSlice::F16(bits.reinterpret_cast::<f16>()))),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Mapped(tensor) => tensor.bytes().len(),
            Self::Owned(bits) => size_of_val(bits.as_slice()),
        }
    }

    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self, Self::Mapped(_))
    }
}

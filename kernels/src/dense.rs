//! Full-precision weights and their product with f32 activations: the FP16 baseline.
//!
//! ```text
//!   out[t][r] = sum over k of w[r][k] * x[t][k]     w: f32, f16 or bf16, widened exactly to f32,
//!                                                      or Q8_0 or Q6_K, dequantized to f32
//! ```
//!
//! Every sum follows the rule of the crate page, so a token's result does not depend on how many
//! tokens are multiplied with it, and the two ways of computing differ in speed only: one token
//! streams the weights past it (bound by memory), several tokens share weights that were widened once
//! (bound by arithmetic).

mod blocks;
mod decode;
mod prefill;
mod weights;

use half::{bf16, f16};

use crate::{
    Isa,
    simd::{Lane, Op, Simd},
};

pub use weights::Weights;

/// A weight's type in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenseType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl DenseType {
    /// Bytes of one weight.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// Bytes that are no slice of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenseError {
    /// A part of a weight is left over.
    #[error(
        "{len} bytes are no whole number of {size}-byte weights\nhint: the tensor is cut short or its type is wrong"
    )]
    Ragged {
        /// Bytes given.
        len: usize,
        /// Bytes of a weight.
        size: usize,
    },
    /// The first byte is not where a weight may start.
    #[error(
        "the weights do not start at a multiple of {size} bytes\nhint: rewrite the file with aligned tensors"
    )]
    Misaligned {
        /// Bytes of a weight.
        size: usize,
    },
}

/// Borrowed weights of one of the three types.
#[derive(Clone, Copy, Debug)]
pub enum DenseSlice<'a> {
    /// f32 weights.
    F32(&'a [f32]),
    /// f16 weights.
    F16(&'a [f16]),
    /// bf16 weights.
    Bf16(&'a [bf16]),
}

/// Evaluates an expression for the slice inside, whatever its type.
macro_rules! with_slice {
    ($dense:expr, $w:ident => $e:expr) => {
        match $dense {
            DenseSlice::F32($w) => $e,
            DenseSlice::F16($w) => $e,
            DenseSlice::Bf16($w) => $e,
        }
    };
}
pub(crate) use with_slice;

impl<'a> DenseSlice<'a> {
    /// Little-endian weights as they lie in a file, without a copy.
    ///
    /// # Errors
    /// A part of a weight is left over, or the bytes are not aligned to a weight.
    pub fn from_bytes(dtype: DenseType, bytes: &'a [u8]) -> Result<Self, DenseError> {
        let size = dtype.bytes();
        let error = |e| match e {
            bytemuck::PodCastError::TargetAlignmentGreaterAndInputNotAligned => {
                DenseError::Misaligned { size }
            }
            _ => DenseError::Ragged { len: bytes.len(), size },
        };
        if !bytes.len().is_multiple_of(size) {
            return Err(DenseError::Ragged { len: bytes.len(), size });
        }
        match dtype {
            DenseType::F32 => bytemuck::try_cast_slice(bytes).map(Self::F32),
            DenseType::F16 => bytemuck::try_cast_slice(bytes).map(Self::F16),
            DenseType::Bf16 => bytemuck::try_cast_slice(bytes).map(Self::Bf16),
        }
        .map_err(error)
    }

    /// The type of a weight.
    pub fn dtype(&self) -> DenseType {
        match self {
            Self::F32(_) => DenseType::F32,
            Self::F16(_) => DenseType::F16,
            Self::Bf16(_) => DenseType::Bf16,
        }
    }

    /// Weights.
    pub fn len(&self) -> usize {
        with_slice!(self, w => w.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of the weights.
    ///
    /// # Panics
    /// The range exceeds the length, as in indexing.
    #[must_use]
    pub fn range(&self, range: std::ops::Range<usize>) -> Self {
        match self {
            Self::F32(w) => Self::F32(&w[range]),
            Self::F16(w) => Self::F16(&w[range]),
            Self::Bf16(w) => Self::Bf16(&w[range]),
        }
    }

    /// Widens every weight, exactly.
    ///
    /// # Panics
    /// `out` has another length.
    pub fn to_f32(&self, out: &mut [f32]) {
        assert_eq!(self.len(), out.len(), "output length");
        with_slice!(self, w => Isa::best().run(Widen { w, out }));
    }
}

struct Widen<'a, T> {
    w: &'a [T],
    out: &'a mut [f32],
}

impl<T: Lane> Op for Widen<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        widen(s, self.w, self.out);
    }
}

#[inline(always)]
fn widen<S: Simd, T: Lane>(s: S, w: &[T], out: &mut [f32]) {
    let (whole, tail) = w.as_chunks();
    let (out_whole, out_tail) = out[..w.len()].as_chunks_mut();
    for (w, out) in whole.iter().zip(out_whole) {
        s.store(T::load(s, w), out);
    }
    if !tail.is_empty() {
        s.store_tail(s.load_tail(tail), out_tail);
    }
}

/// `out[t][r] = sum over k of w[r][k] * x[t][k]`, on all threads of the current pool.
///
/// `w` is `[rows, cols]`, `x` `[tokens, cols]`, `out` `[tokens, rows]`, all row-major. Weights in blocks
/// give the bits that their dequantized values give.
///
/// # Panics
/// A length does not fit the shape, or `cols` is no whole number of blocks.
pub fn matmul<'a>(
    isa: Isa,
    w: impl Into<Weights<'a>>,
    rows: usize,
    cols: usize,
    x: &[f32],
    tokens: usize,
    out: &mut [f32],
) {
    let w = w.into();
    assert_eq!(rows.checked_mul(cols), Some(w.len()), "weights are [rows, cols]");
    assert_eq!(tokens.checked_mul(cols), Some(x.len()), "activations are [tokens, cols]");
    assert_eq!(tokens.checked_mul(rows), Some(out.len()), "outputs are [tokens, rows]");
    if out.is_empty() {
        return;
    }
    if cols == 0 {
        out.fill(0.0);
        return;
    }
    match w {
        Weights::Plain(w) => with_slice!(w, w => if tokens == 1 {
            decode::matmul(isa, w, cols, x, out);
        } else {
            prefill::matmul(isa, prefill::Plain { w, cols }, rows, cols, x, out);
        }),
        Weights::Blocks { format, bytes } => {
            let w = blocks::Rows::new(format, bytes, rows, cols);
            if tokens == 1 {
                blocks::matmul(isa, w, x, out);
            } else {
                prefill::matmul(isa, w, rows, cols, x, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;

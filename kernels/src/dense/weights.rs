//! Weights of any type that the dense product takes.

use std::ops::Range;

use super::DenseSlice;
use crate::packing::BlockFormat;

/// Borrowed full-precision weights: plain numbers, or blocks.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// f32, f16 or bf16 weights.
    Plain(DenseSlice<'a>),
    /// Q8_0 or Q6_K blocks, a whole number of them.
    Blocks {
        /// The type of the blocks.
        format: BlockFormat,
        /// The blocks.
        bytes: &'a [u8],
    },
}

impl<'a> From<DenseSlice<'a>> for Weights<'a> {
    fn from(w: DenseSlice<'a>) -> Self {
        Self::Plain(w)
    }
}

impl Weights<'_> {
    /// Weights; of blocks, those of whole ones.
    pub fn len(&self) -> usize {
        match self {
            Self::Plain(w) => w.len(),
            Self::Blocks { format, bytes } => bytes.len() / format.block_bytes() * format.block(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows `range` of a matrix of `cols` columns.
    ///
    /// # Panics
    /// The range exceeds the rows, as in indexing, or a row is no whole number of blocks.
    #[must_use]
    pub fn rows(&self, range: Range<usize>, cols: usize) -> Self {
        match self {
            Self::Plain(w) => Self::Plain(w.range(range.start * cols..range.end * cols)),
            Self::Blocks { format, bytes } => {
                let row = format.row_bytes(cols).expect("rows are whole blocks");
                Self::Blocks { format: *format, bytes: &bytes[range.start * row..range.end * row] }
            }
        }
    }

    /// The f32 value of every weight: widened, exact, or dequantized as the format defines it.
    ///
    /// # Panics
    /// `out` has another length.
    pub fn to_f32(&self, out: &mut [f32]) {
        match self {
            Self::Plain(w) => w.to_f32(out),
            Self::Blocks { format, bytes } => format.dequantize(bytes, out),
        }
    }
}

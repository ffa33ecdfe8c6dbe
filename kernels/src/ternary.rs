//! Ternary matrices and their product with int8 activations, by additions only.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod four_russians;
mod kernels;
mod layout;
mod lookup;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod portable;
mod product;
mod scratch;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vbmi;

#[cfg(target_arch = "x86_64")]
use self::vbmi::Vbmi;
pub use self::{layout::Layout, pack::PackedError};
use self::{
    layout::{Line, Shape},
    product::Product,
};
use crate::{Isa, isa::Set, packing::TernaryFormat, quantize::Int8Rows, simd::Portable};

/// The widest row whose sums fit i32: 127 * 2^24 < 2^31.
const MAX_COLS: usize = 1 << 24;

/// A matrix of codes -1, 0 and 1, `[rows, cols]`.
#[derive(Clone)]
pub struct TernaryMatrix {
    lines: Vec<Line>,
    shape: Shape,
}

impl std::fmt::Debug for TernaryMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shape { rows, cols, layout } = self.shape;
        write!(f, "TernaryMatrix [{rows}, {cols}] {layout:?}")
    }
}

impl TernaryMatrix {
    /// A matrix of `codes` `[rows, cols]`, row-major, each -1, 0 or 1.
    ///
    /// # Panics
    /// The number of codes does not fit, a code is none of the three, or a row has none or more than
    /// 2^24.
    pub fn from_codes(layout: Layout, rows: usize, cols: usize, codes: &[i8]) -> Self {
        assert_eq!(rows.checked_mul(cols), Some(codes.len()), "codes are [rows, cols]");
        assert!((1..=MAX_COLS).contains(&cols), "{cols} columns");
        assert!(codes.iter().all(|code| (-1..=1).contains(code)), "codes are -1, 0 or 1");
        let shape = Shape { rows, cols, layout };
        Self { lines: pack::from_codes(shape, codes), shape }
    }

    /// A matrix of GGUF blocks `[rows, cols]`, and the scale that they share.
    ///
    /// Blocks without a nonzero code may have any scale (llama.cpp writes 0). If all blocks are such,
    /// the scale is that of the first, or 0 for a matrix without rows. A format whose blocks hold no
    /// scale has the scale 1.
    ///
    /// # Errors
    /// Bytes that do not fit the shape, are no trits, or whose scales are not finite or differ.
    pub fn from_packed(
        layout: Layout,
        format: TernaryFormat,
        rows: usize,
        cols: usize,
        bytes: &[u8],
    ) -> Result<(Self, f32), PackedError> {
        let shape = Shape { rows, cols, layout };
        let (lines, scale) = pack::from_packed(shape, format, bytes)?;
        Ok((Self { lines, shape }, scale.to_f32()))
    }

    /// A matrix of transformers' packed weights, which [`hf`](crate::packing::hf) describes:
    /// `[rows, cols]` from bytes `[rows / 4, cols]`.
    ///
    /// # Errors
    /// Bytes that do not fit the shape or are no trits.
    pub fn from_hf(layout: Layout, rows: usize, cols: usize, bytes: &[u8]) -> Result<Self, PackedError> {
        let shape = Shape { rows, cols, layout };
        Ok(Self { lines: pack::from_hf(shape, bytes)?, shape })
    }

    /// Rows, the outputs of the product.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Columns, the inputs of the product.
    pub fn cols(&self) -> usize {
        self.shape.cols
    }

    /// How the codes are held.
    pub fn layout(&self) -> Layout {
        self.shape.layout
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// The codes of row `r`.
    ///
    /// # Panics
    /// `r` is outside the matrix, or `codes` is not one row.
    pub fn codes_row(&self, r: usize, codes: &mut [i8]) {
        assert!(r < self.rows(), "row {r} of {}", self.rows());
        assert_eq!(codes.len(), self.cols(), "one row of codes");
        pack::read_row(self.shape, &self.lines, r, codes);
    }

    /// The exact integer product: `out[t][r] = sum over k of code[r][k] * x[t][k]`.
    ///
    /// `out` is `[tokens, rows]`, row-major.
    ///
    /// # Panics
    /// A length does not fit the shape.
    pub fn matmul_i32(&self, isa: Isa, x: &Int8Rows, out: &mut [i32]) {
        self.product(isa, x, out, |_| |sum| sum);
    }

    /// The product with both quantizations undone: `out[t][r] = sum * (scale / x.scale(t))`.
    ///
    /// `scale` is the weights' (mean |w|), `out` is `[tokens, rows]`, row-major. The factor is computed
    /// once per token and task and multiplied once per output.
    ///
    /// # Panics
    /// A length does not fit the shape.
    pub fn matmul(&self, isa: Isa, scale: f32, x: &Int8Rows, out: &mut [f32]) {
        self.product(isa, x, out, |t| {
            let factor = scale / x.scale(t);
            move |sum| sum as f32 * factor
        });
    }

    /// `finish(token)(sum)` for every output.
    fn product<T: Send, F: Fn(i32) -> T>(
        &self,
        isa: Isa,
        x: &Int8Rows,
        out: &mut [T],
        finish: impl Fn(usize) -> F + Sync,
    ) {
        assert_eq!(x.rows().checked_mul(self.rows()), Some(out.len()), "outputs are [tokens, rows]");
        if out.is_empty() {
            return;
        }
        assert_eq!(x.cols(), self.cols(), "activations are [tokens, cols]");
        let Self { lines, shape } = self;
        macro_rules! run {
            ($kernels:expr) => {
                Product { kernels: $kernels, shape: *shape, lines, x }.run(out, finish)
            };
        }
        match isa.set() {
            Set::Scalar => run!(Portable),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(avx2) => run!(avx2),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(avx512) => match Vbmi::detect(avx512) {
                Some(vbmi) => run!(vbmi),
                None => run!(avx512),
            },
            #[cfg(target_arch = "aarch64")]
            Set::Neon(neon) => run!(neon),
        }
    }
}

//! Ternary matrices and their product with int8 activations, by additions only.
//!
//! ```text
//!   out[t][r] = sum over k of code[r][k] * x[t][k]      code -1, 0, 1    x int8, -127 to 127
//! ```
//!
//! Additions win by sharing: a few activations have few signed sums, so these are computed once, put into
//! a table, and every row of the matrix looks up the one that its codes ask for.
//!
//! # Layouts
//!
//! The same for every instruction set, at 2 or 1.6 bits a weight ([`Layout`]):
//!
//! ```text
//!   rows     tiles of 64 in groups of 4; the last group has 1, 2 or 4
//!   columns  chunks of 160; the last one is as short as whole lines allow
//!
//!   [group 0: [chunk 0][chunk 1] ... ][group 1: [chunk 0][chunk 1] ... ] ...
//!
//!   a group's chunk: [line 0: tiles 0 1 2 3][line 1: tiles 0 1 2 3] ...
//!   a line of a tile: 64 bytes, one for each row
//!
//!     2 bits    40 lines   |  c3 c2  |  c1 c0  |         two pairs of codes, 0 to 8 each
//!     1.6 bits  32 lines   | sign | c4 c3, c2 c1 c0 |    a sign and 0 to 125: a pair and a triple
//!
//!   byte 4 i + j of a line is row 16 j + i of the tile
//! ```
//!
//! The bytes of a line are the lanes of one to four registers. The rows of a group are one stream from
//! memory: where it broke off every few kB, one token took twice as long. Tables of all activations of a
//! token are read again for each group, from a second-level cache.
//!
//! # One token, and many
//!
//! * `lookup`: up to eight tokens, one after the other. Rows are in the lanes; a byte of codes is an
//!   index into tables of bytes.
//! * `four_russians`: more tokens, 32 at a time. Tokens are in the lanes; the codes of a row are indices
//!   into tables of sums for 32 tokens. Lines are transposed into indices on the way.
//!
//! | | table of | entries | looked up by | additions a weight |
//! |---|---|---|---|---|
//! | one token, 2 bits | 2 weights | 9 | byte shuffle | 1 (two halves of a sum) |
//! | one token, 1.6 bits | 3 + 2 weights | 14 + 9 | byte shuffle | 0.8 |
//! | one token, 1.6 bits, VBMI | 5 weights | 126 and a sign | two-register byte permutation | 0.4 |
//! | one token, scalar | 4 or 5 weights | 81 or 243 | load | 0.25 or 0.2 |
//! | many tokens | 4 weights | 81 | load | 0.25 |
//!
//! # Why no lane overflows
//!
//! Sums of bytes are split into a low part of five bits and the rest, which are added up in 8 bits for a
//! few lines, then in 16 bits for a chunk, then in 32 bits. |x| <= 127, so:
//!
//! | lanes | what they hold | bound |
//! |---|---|---|
//! | u8 | 8 low parts of biased pairs | 8 * 31 = 248 <= 255 |
//! | u8 | 16 high parts of biased pairs | 16 * 15 = 240 <= 255 |
//! | i8 | 4 low parts of triple and pair | 4 * 31 = 124 <= 127 |
//! | i8 | 4 high parts of the same | 4 * 20 = 80 <= 127 |
//! | i8 | VBMI: 4 low and 4 high parts of five | 4 * 16 = 64, 4 * 20 = 80 <= 127 |
//! | i16 | a chunk of 160 columns | 160 * 127 = 20320 <= 32767 |
//! | i32 | a row of at most 2^24 columns | 2^24 * 127 < 2^31 |
//!
//! -128 never occurs among the activations ([`quantize`](crate::quantize)).
//!
//! # Speed, and what limits it
//!
//! Measured on one core of a Zen 4 at 3.65 GHz, codes and tables in a first-level cache, in weights times
//! tokens per cycle; `cargo bench` compares whole products (`kernels/README.md` has a table).
//!
//! | | by additions | by multiplication | limit of the additions |
//! |---|---|---|---|
//! | one token, AVX2, 2 bits | 33.5 | 30 (`vpmaddubsw`) | 2 byte shuffles a cycle: 51 |
//! | one token, AVX2, 1.6 bits | 25.5 | | 18 operations for 160 weights, 4 a cycle: 35 |
//! | one token, AVX-512, 2 bits | 34 | 44 (`vpdpbusd`) | 1 byte shuffle of 64 bytes a cycle, 4 for 256 weights: 51 |
//! | one token, VBMI, 1.6 bits | 58 in sixes, which the compiler would count by multiplying; in fours, as now, whole products are as fast | 44 (`vpdpbusd`) | 7 operations for 320 weights, 2 a cycle: 91 |
//! | 32 tokens, AVX2 | 87 | 44 (`vpmaddubsw`) | 2 loads of 32 bytes a cycle: 128 |
//! | 32 tokens, AVX-512 | 86 | 58 (`vpdpbusd`) | 1 load of 64 bytes a cycle: 128 |
//!
//! * `vpdpbusd` does 64 products a cycle on that core, and a blocked kernel reaches nine tenths of them. The
//!   additions for many tokens are bound by loads, one for 128 weights times tokens, of which a pass reaches
//!   two thirds, since each row's 16-bit sums are loaded and stored besides its eight table entries. That
//!   leaves them 1.5 times as fast; building tables (6 %), transposing indices (3 %), 32-bit sums (8 %) and
//!   a first-level cache that the tables overflow take most of it away. A core that loads 64 bytes twice a
//!   cycle (Intel's since Skylake-X, Zen 5) does not have this limit; none was at hand.
//! * Tables cost 5 % (2 bits) and 4 % (1.6 bits) of a product of 2048 rows and one token, 17 % with VBMI, whose
//!   tables are four times as large and whose product is twice as fast; 6 to 8 % for many tokens.
//! * From memory a token takes what reading the codes takes, in the best case; then 1.6 bits win by what they
//!   are smaller, unless the lookups are what limits (AVX2 above about 12 GB/s a core).
//!
//! # Adding an instruction set
//!
//! 1. `simd/`: a token that proves the set, and its sixteen f32 lanes; its variant and name in `isa.rs`, the
//!    only place that detects.
//! 2. Here: a file that implements `ByteLanes` (one token) and `WordLanes` (many tokens) for the token, some
//!    twenty short methods, and ends in `compile_lookups!` and `compile!`, which make the functions
//!    named `ternary_...`; an arm in [`TernaryMatrix`]'s `product`.
//! 3. `ci/check-additions --require` takes its name; tests and benchmarks find it by themselves.

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
use rayon::prelude::*;

use crate::{Isa, disjoint::Disjoint, isa::Set, packing::TernaryFormat, quantize::Int8Rows, simd::Portable};

/// The widest row whose sums fit i32: 127 * 2^24 < 2^31.
const MAX_COLS: usize = 1 << 24;

/// Codes that one task looks at before they are packed.
const CHECK_CODES: usize = 1 << 16;

/// Whether every code is one. Without a way out of the loop, so that it runs in wide registers.
fn all_ternary(codes: &[i8]) -> bool {
    codes.iter().fold(true, |all, code| all & (-1..=1).contains(code))
}

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
        assert!(codes.par_chunks(CHECK_CODES).all(all_ternary), "codes are -1, 0 or 1");
        let shape = Shape { rows, cols, layout };
        let row = |r: usize, row: &mut [i8]| row.copy_from_slice(&codes[r * cols..(r + 1) * cols]);
        Self { lines: pack::from_rows(shape, row), shape }
    }

    /// A matrix `[rows, cols]` whose rows `row(r, codes)` writes, each -1, 0 or 1, on all threads of the current
    /// pool and in any order. A few rows of codes are in memory at a time.
    ///
    /// # Panics
    /// A code is none of the three, or a row has none or more than 2^24.
    pub fn from_rows(
        layout: Layout,
        rows: usize,
        cols: usize,
        row: impl Fn(usize, &mut [i8]) + Sync,
    ) -> Self {
        assert!((1..=MAX_COLS).contains(&cols), "{cols} columns");
        let shape = Shape { rows, cols, layout };
        let checked = |r: usize, codes: &mut [i8]| {
            row(r, codes);
            assert!(all_ternary(codes), "codes are -1, 0 or 1");
        };
        Self { lines: pack::from_rows(shape, checked), shape }
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

    /// Bytes in memory of a matrix `[rows, cols]`, or None if there is none of that shape.
    pub fn bytes_of(layout: Layout, rows: usize, cols: usize) -> Option<usize> {
        // A padded matrix is less than 256 rows and 32 columns larger.
        let padded = rows.checked_add(256)?.checked_mul(cols.checked_add(32)?)?;
        let fits = (1..=MAX_COLS).contains(&cols) && isize::try_from(padded).is_ok();
        fits.then(|| Shape { rows, cols, layout }.total() * size_of::<Line>())
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
        products(isa, x, [(self, out, |_| |sum| sum)]);
    }

    /// The product with both quantizations undone: `out[t][r] = sum * (scale / x.scale(t))`.
    ///
    /// `scale` is the weights' (mean |w|), `out` is `[tokens, rows]`, row-major. The factor is computed
    /// once per token and task and multiplied once per output.
    ///
    /// # Panics
    /// A length does not fit the shape.
    pub fn matmul(&self, isa: Isa, scale: f32, x: &Int8Rows, out: &mut [f32]) {
        matmul_many(isa, x, [Output { matrix: self, scale, out }]);
    }
}

/// A matrix, the scale of its weights, and its outputs `[tokens, rows]`.
#[derive(Debug)]
pub struct Output<'a> {
    /// The codes.
    pub matrix: &'a TernaryMatrix,
    /// Mean |w|.
    pub scale: f32,
    /// Where the product goes.
    pub out: &'a mut [f32],
}

/// Several matrices' products with the same inputs, each as [`TernaryMatrix::matmul`]. They share the tables of
/// the inputs and one division among threads, which for one token is a good part of the time.
///
/// # Panics
/// A length does not fit the shape, or the matrices have different layouts.
pub fn matmul_many<const N: usize>(isa: Isa, x: &Int8Rows, outputs: [Output<'_>; N]) {
    products(
        isa,
        x,
        outputs.map(|Output { matrix, scale, out }| {
            let finish = move |t| {
                let factor = scale / x.scale(t);
                move |sum| sum as f32 * factor
            };
            (matrix, out, finish)
        }),
    );
}

/// `finish(token)(sum)` for every output of each matrix.
fn products<const N: usize, T: Send, F: Fn(i32) -> T, G: Fn(usize) -> F + Sync>(
    isa: Isa,
    x: &Int8Rows,
    matrices: [(&TernaryMatrix, &mut [T], G); N],
) {
    for (matrix, out, _) in &matrices {
        assert_eq!(x.rows().checked_mul(matrix.rows()), Some(out.len()), "outputs are [tokens, rows]");
        assert!(x.rows() == 0 || x.cols() == matrix.cols(), "activations are [tokens, cols]");
        assert_eq!(matrix.layout(), matrices[0].0.layout(), "matrices have one layout");
    }
    if N == 0 || x.rows() == 0 {
        return;
    }
    macro_rules! run {
        ($kernels:expr) => {
            product::run(&matrices.map(|(TernaryMatrix { lines, shape }, out, finish)| Product {
                kernels: $kernels,
                shape: *shape,
                lines,
                x,
                out: Disjoint::new(out),
                finish,
            }))
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

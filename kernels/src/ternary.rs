//! Ternary matrices and their product with int8 activations, by additions only.
//!
//! The working layout, the same for every instruction set:
//!
//! ```text
//!   rows     tiles of 32, the last one padded with zero rows
//!   columns  units of 128, the last one padded with zeros
//!
//!   tile 0: [unit 0][unit 1] ...  tile 1: ...        a unit of a tile is 32 rows x 32 bytes
//!
//!   byte j of a row's unit:  | j + 96 | j + 64 | j + 32 |   j   |      codes, two's complement:
//!                       bits   7    6   5    4   3    2   1   0        00 = 0, 01 = 1, 11 = -1
//! ```
//!
//! A unit is one contiguous kilobyte, so one token reads the matrix as one stream. For many tokens a
//! byte is the index of one of the 81 signed sums of its four activations (`avx2.rs`).

#[cfg(target_arch = "x86_64")]
mod avx2;
mod pack;
mod portable;
#[cfg(test)]
mod tests;

use half::f16;

pub use self::pack::PackedError;
use crate::{
    Isa,
    isa::Set,
    packing::TernaryFormat,
    parallel,
    quantize::{Int8Rows, UNIT_COLS, Unit},
};

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 32;

/// 128 columns of the rows of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct TileUnit([[u8; 32]; TILE_ROWS]);

const ZERO_UNIT: TileUnit = TileUnit([[0; 32]; TILE_ROWS]);

/// The widest row whose sums fit i32: 127 * 2^24 < 2^31.
const MAX_COLS: usize = 1 << 24;

/// Additions that take as long as one fused multiply-add of the dense product, by which `parallel`
/// judges what is worth threads.
const ADDITIONS: usize = 8;

/// Tiles of one task for few tokens: at usual widths about 100 kB of codes.
const TASK_TILES: usize = 4;

/// A matrix of codes -1, 0 and 1, `[rows, cols]`, two bits a code.
#[derive(Clone)]
pub struct TernaryMatrix {
    /// `[tiles, units]`
    units: Vec<TileUnit>,
    rows: usize,
    cols: usize,
}

impl std::fmt::Debug for TernaryMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TernaryMatrix [{}, {}]", self.rows, self.cols)
    }
}

impl TernaryMatrix {
    /// A matrix of `codes` `[rows, cols]`, row-major, each -1, 0 or 1.
    ///
    /// # Panics
    /// The number of codes does not fit, a code is none of the three, or a row has none or more than
    /// 2^24.
    pub fn from_codes(rows: usize, cols: usize, codes: &[i8]) -> Self {
        assert_eq!(rows.checked_mul(cols), Some(codes.len()), "codes are [rows, cols]");
        assert!((1..=MAX_COLS).contains(&cols), "{cols} columns");
        assert!(codes.iter().all(|code| (-1..=1).contains(code)), "codes are -1, 0 or 1");
        Self { units: pack::from_codes(cols, codes), rows, cols }
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
        format: TernaryFormat,
        rows: usize,
        cols: usize,
        bytes: &[u8],
    ) -> Result<(Self, f32), PackedError> {
        let (units, scale) = pack::from_packed(format, rows, cols, bytes)?;
        Ok((Self { units, rows, cols }, scale.to_f32()))
    }

    /// Rows, the outputs of the product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, the inputs of the product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(self.units.as_slice())
    }

    /// The codes of row `r`.
    ///
    /// # Panics
    /// `r` is outside the matrix, or `codes` is not one row.
    pub fn codes_row(&self, r: usize, codes: &mut [i8]) {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        assert_eq!(codes.len(), self.cols, "one row of codes");
        let tile = &self.units[r / TILE_ROWS * self.units_per_row()..][..self.units_per_row()];
        pack::read_row(tile, r % TILE_ROWS, codes);
    }

    fn units_per_row(&self) -> usize {
        self.cols.div_ceil(UNIT_COLS)
    }

    /// The exact integer product: `out[t][r] = sum over k of code[r][k] * x[t][k]`.
    ///
    /// `out` is `[tokens, rows]`, row-major.
    ///
    /// # Panics
    /// A length does not fit the shape.
    pub fn matmul_i32(&self, isa: Isa, x: &Int8Rows, out: &mut [i32]) {
        self.product(isa, x, out, |_, sum| sum);
    }

    /// The product with both quantizations undone: `out[t][r] = sum * (scale / x.scale(t))`.
    ///
    /// `scale` is the weights' (mean |w|), `out` is `[tokens, rows]`, row-major. The factor is computed
    /// once per token and multiplied once per output.
    ///
    /// # Panics
    /// A length does not fit the shape.
    pub fn matmul(&self, isa: Isa, scale: f32, x: &Int8Rows, out: &mut [f32]) {
        let factors: Vec<f32> = (0..x.rows()).map(|t| scale / x.scale(t)).collect();
        self.product(isa, x, out, |t, sum| sum as f32 * factors[t]);
    }

    /// `finish(token, sum)` for every output.
    fn product<T: Send>(
        &self,
        isa: Isa,
        x: &Int8Rows,
        out: &mut [T],
        finish: impl Fn(usize, i32) -> T + Sync + Send,
    ) {
        let tokens = x.rows();
        assert_eq!(tokens.checked_mul(self.rows), Some(out.len()), "outputs are [tokens, rows]");
        if out.is_empty() {
            return;
        }
        assert_eq!(x.cols(), self.cols, "activations are [tokens, cols]");
        let by_table = match isa.set() {
            Set::Scalar => 0,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) | Set::Avx512(_) => avx2::tokens_by_table(tokens),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => 0,
        };
        let (by_table_out, rest) = out.split_at_mut(by_table * self.rows);
        #[cfg(target_arch = "x86_64")]
        match isa.set() {
            Set::Scalar => {}
            Set::Avx2(avx2) => self.product_by_table(avx2, x, by_table_out, &finish),
            Set::Avx512(avx512) => self.product_by_table(avx512.avx2(), x, by_table_out, &finish),
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = by_table_out;
        self.product_by_row(isa, x, by_table, rest, &finish);
    }

    /// Tokens from `first` on, one at a time for each tile of rows: the tile's codes stay in a cache.
    fn product_by_row<T: Send>(
        &self,
        isa: Isa,
        x: &Int8Rows,
        first: usize,
        out: &mut [T],
        finish: &(impl Fn(usize, i32) -> T + Sync + Send),
    ) {
        if out.is_empty() {
            return;
        }
        let units = self.units_per_row();
        let work = out.len() * self.cols / ADDITIONS;
        let tasks = parallel::blocks(out, self.rows, x.rows() - first, TASK_TILES * TILE_ROWS);
        parallel::for_each(work, tasks, |mut block| {
            let tiles = &self.units[block.row / TILE_ROWS * units..];
            for (i, tile) in tiles.chunks_exact(units).take(TASK_TILES).enumerate() {
                for (t, out) in block.out.iter_mut().enumerate() {
                    let token = first + t;
                    let sums = dot_tile(isa, tile, x.units(token));
                    for (out, sum) in out.iter_mut().skip(i * TILE_ROWS).zip(sums) {
                        *out = finish(token, sum);
                    }
                }
            }
        });
    }

    /// Tokens in lanes: `out` holds the first tokens, whole tiles of lanes but for the last one.
    #[cfg(target_arch = "x86_64")]
    fn product_by_table<T: Send>(
        &self,
        avx2: crate::simd::Avx2,
        x: &Int8Rows,
        out: &mut [T],
        finish: &(impl Fn(usize, i32) -> T + Sync + Send),
    ) {
        if out.is_empty() {
            return;
        }
        let units = self.units_per_row();
        let work = out.len() * self.cols / ADDITIONS;
        let part = avx2::rows_of_part(self.rows, out.len() / self.rows);
        let tasks = parallel::blocks(out, self.rows, avx2::TOKENS, part);
        parallel::for_each(work, tasks, |mut block| {
            let tiles = block.out[0].len().div_ceil(TILE_ROWS);
            let codes = &self.units[block.row / TILE_ROWS * units..][..tiles * units];
            let rows: Vec<&[Unit]> = (0..block.out.len()).map(|t| x.units(block.token + t)).collect();
            let sums = avx2::product_by_table(avx2, codes, &rows);
            for (t, out) in block.out.iter_mut().enumerate() {
                for (out, sums) in out.iter_mut().zip(&sums) {
                    *out = finish(block.token + t, sums[t]);
                }
            }
        });
    }
}

/// The sums of one tile's rows for one token.
fn dot_tile(isa: Isa, tile: &[TileUnit], x: &[Unit]) -> [i32; TILE_ROWS] {
    match isa.set() {
        Set::Scalar => portable::ternary_dot_tile(tile, x),
        #[cfg(target_arch = "x86_64")]
        Set::Avx2(avx2) => avx2::dot_tile(avx2, tile, x),
        #[cfg(target_arch = "x86_64")]
        Set::Avx512(avx512) => avx2::dot_tile(avx512.avx2(), tile, x),
        #[cfg(target_arch = "aarch64")]
        Set::Neon(_) => portable::ternary_dot_tile(tile, x),
    }
}

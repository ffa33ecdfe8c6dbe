//! Activations to int8, one scale per token.
//!
//! ```text
//!   scale = 1 / max(max |x|, 1e-5) * 127        q = clamp(round(x * scale), -128, 127)
//! ```
//!
//! "The Era of 1-bit LLMs" (arXiv 2402.17764), section 2, in the form of the reference code of "The
//! Era of 1-bit LLMs: Training Tips, Code and FAQ": absmax per token, ties round to even. That code
//! says `127 / absmax`, which PyTorch computes as reciprocal times 127, rounded twice; so does this,
//! to get the same bits. The product `x * scale` of the largest x rounds to at most 127, so -128 never
//! occurs; the ternary kernels rely on it, since -(-128) does not fit a byte.

use rayon::prelude::*;

use crate::{
    Isa,
    simd::{LANES, Lane, Op, Simd},
};

/// Columns of a [`Chunk`]: what ternary kernels take at a time (`ternary/layout.rs`).
pub(crate) const CHUNK_COLS: usize = 160;

/// 160 columns of one row.
pub(crate) type Chunk = [i8; CHUNK_COLS];

const ZERO_CHUNK: Chunk = [0; CHUNK_COLS];

/// Elements below which threads cost more than they save, and those of a task.
const WORTH_THREADS: usize = 1 << 16;
const TASK_ELEMENTS: usize = 1 << 14;

/// The smallest absmax, so that a row of zeros has a finite scale.
const MIN_ABSMAX: f32 = 1e-5;

/// A value that cannot be quantized.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("activation {value} in row {row}, column {col} is not finite")]
pub struct NonFinite {
    /// The row, a token.
    pub row: usize,
    /// The column.
    pub col: usize,
    /// NaN or an infinity.
    pub value: f32,
}

/// Rows of int8 codes, one scale each: the quantized input of a ternary layer.
///
/// A buffer to keep from layer to layer; [`quantize`](Self::quantize) replaces what it holds.
#[derive(Clone, Debug, Default)]
pub struct Int8Rows {
    /// `[rows, cols / 160 rounded up]`, zeros after the last column.
    chunks: Vec<Chunk>,
    scales: Vec<f32>,
    cols: usize,
}

impl Int8Rows {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Quantizes `x` `[rows, cols]`, many rows on all threads of the current pool.
    ///
    /// # Errors
    /// The first NaN or infinity. The buffer then holds no rows.
    ///
    /// # Panics
    /// `cols` is 0 or does not divide the length of `x`.
    pub fn quantize(&mut self, isa: Isa, x: &[f32], cols: usize) -> Result<(), NonFinite> {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "{} values are no rows of {cols}", x.len());
        let rows = x.len() / cols;
        self.cols = cols;
        self.chunks.clear();
        self.chunks.resize(rows * cols.div_ceil(CHUNK_COLS), ZERO_CHUNK);
        self.scales.clear();
        self.scales.resize(rows, 0.0);
        let rows_of_task = if x.len() < WORTH_THREADS { rows.max(1) } else { (TASK_ELEMENTS / cols).max(1) };
        let quantize = |first: usize, x: &[f32], chunks: &mut [Chunk], scales: &mut [f32]| {
            let row = |e: NonFinite| NonFinite { row: first + e.row, ..e };
            isa.run(Quantize { x, cols, chunks, scales }).map_err(row)
        };
        let result = if rows <= rows_of_task {
            quantize(0, x, &mut self.chunks, &mut self.scales)
        } else {
            x.par_chunks(rows_of_task * cols)
                .zip(self.chunks.par_chunks_mut(rows_of_task * cols.div_ceil(CHUNK_COLS)))
                .zip(self.scales.par_chunks_mut(rows_of_task))
                .enumerate()
                .map(|(i, ((x, chunks), scales))| quantize(i * rows_of_task, x, chunks, scales))
                .reduce(|| Ok(()), Result::and)
        };
        if result.is_err() {
            self.chunks.clear();
            self.scales.clear();
        }
        result
    }

    /// Rows, one per token.
    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Columns of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The codes of a row, from -127 to 127.
    pub fn row(&self, i: usize) -> &[i8] {
        &self.chunks(i).as_flattened()[..self.cols]
    }

    /// 127 / absmax of a row: `code / scale` is about `x`.
    pub fn scale(&self, i: usize) -> f32 {
        self.scales[i]
    }

    /// The codes of a row with the zeros that follow it.
    pub(crate) fn chunks(&self, i: usize) -> &[Chunk] {
        let n = self.cols.div_ceil(CHUNK_COLS);
        &self.chunks[i * n..(i + 1) * n]
    }
}

struct Quantize<'a> {
    x: &'a [f32],
    cols: usize,
    chunks: &'a mut [Chunk],
    scales: &'a mut [f32],
}

impl Op for Quantize<'_> {
    type Output = Result<(), NonFinite>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let chunks = self.chunks.chunks_exact_mut(self.cols.div_ceil(CHUNK_COLS));
        for (row, ((x, chunks), scale)) in
            self.x.chunks_exact(self.cols).zip(chunks).zip(self.scales).enumerate()
        {
            let Some(absmax) = absmax(s, x) else {
                let col = x.iter().position(|x| !x.is_finite()).expect("seen by absmax");
                return Err(NonFinite { row, col, value: x[col] });
            };
            *scale = 1.0 / absmax.max(MIN_ABSMAX) * 127.0;
            let codes = chunks.as_flattened_mut();
            let (whole, tail) = x.as_chunks::<LANES>();
            let (vectors, rest) = codes.as_chunks_mut::<LANES>();
            for (x, codes) in whole.iter().zip(&mut *vectors) {
                *codes = round(s, s.load(x), *scale);
            }
            debug_assert!(rest.is_empty());
            if !tail.is_empty() {
                vectors[whole.len()] = round(s, s.load_tail(tail), *scale);
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn round<S: Simd>(s: S, x: S::V, scale: f32) -> [i8; LANES] {
    // Clamping to integers before rounding is the same as after it, and keeps the conversion in range.
    let scaled = s.mul(x, s.splat(scale));
    s.round_to_i8(s.min(s.splat(127.0), s.max(s.splat(-128.0), scaled)))
}

/// max |x|, or None if anything is not finite.
#[inline(always)]
pub(crate) fn absmax<S: Simd, T: Lane>(s: S, x: &[T]) -> Option<f32> {
    let zero = s.splat(0.0);
    // 0 * x is 0 unless x is not finite, and NaN stays NaN in a sum.
    let (mut max, mut check) = (zero, zero);
    let (whole, tail) = x.as_chunks::<LANES>();
    for x in whole {
        let x = T::load(s, x);
        max = s.max(max, s.abs(x));
        check = s.mul_add(x, zero, check);
    }
    if !tail.is_empty() {
        let x = s.load_tail(tail);
        max = s.max(max, s.abs(x));
        check = s.mul_add(x, zero, check);
    }
    (s.sum(check) == 0.0).then(|| s.max_lane(max))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The formula, word for word.
    fn reference(x: &[f32]) -> (Vec<i8>, f32) {
        let absmax = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let scale = 1.0 / absmax.max(1e-5) * 127.0;
        (x.iter().map(|x| (x * scale).round_ties_even().clamp(-128.0, 127.0) as i8).collect(), scale)
    }

    fn check(x: &[f32], cols: usize) {
        for isa in Isa::available() {
            let mut rows = Int8Rows::new();
            rows.quantize(isa, x, cols).unwrap();
            assert_eq!((rows.rows(), rows.cols()), (x.len() / cols, cols));
            for (i, x) in x.chunks(cols).enumerate() {
                assert_eq!((rows.row(i).to_vec(), rows.scale(i)), reference(x), "{isa}, row {i}");
                assert!(rows.row(i).iter().all(|&q| q > -128));
                let padding = &rows.chunks(i).as_flattened()[cols..];
                assert!(padding.iter().all(|&q| q == 0));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equals_the_formula(rows in 1..5usize, cols in 1..300usize, exponent in -40..30i32, seed: u64) {
            let mut random = crate::testing::Random::new(seed);
            check(&random.floats(rows * cols, libm::exp2f(exponent as f32)), cols);
        }
    }

    #[test]
    fn zeros_extremes_and_subnormals() {
        check(&[0.0; 40], 20);
        check(&[f32::MAX, f32::MIN, 1.0, -0.0], 4);
        check(&[1e-40, -1e-41, 1e-6], 3);
        check(&[127.0, 0.5, 1.5, 2.5, -0.5, -126.5], 6);
    }

    #[test]
    fn what_is_not_finite_is_an_error_and_the_buffer_stays_usable() {
        for isa in Isa::available() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for col in [0, 15, 16, 36] {
                    let mut x = vec![1.0; 3 * 37];
                    x[2 * 37 + col] = bad;
                    let mut rows = Int8Rows::new();
                    let error = rows.quantize(isa, &x, 37).unwrap_err();
                    assert_eq!((error.row, error.col), (2, col));
                    assert!(
                        error.to_string().starts_with(&format!("activation {bad} in row 2, column {col}"))
                    );
                    assert_eq!(rows.rows(), 0);
                    rows.quantize(isa, &[1.0, -1.0], 2).unwrap();
                    assert_eq!(rows.row(0), [127, -127]);
                }
            }
        }
    }
}

//! Several tokens: weights are widened once and shared by all of them.
//!
//! ```text
//!            128 tokens
//!         ┌─────────────┐   A task owns a block of outputs and keeps 16 lanes of partial sums for
//!   12    │ [16 lanes]  │   each of them in memory. It walks over the columns in panels of 512: widen
//!   rows  │   . . .     │   12 rows of the panel (24 kB, first-level cache), then for every tile of
//!         └─────────────┘   2 tokens x 3 rows go on where the sums stopped.
//! ```
//!
//! Going on with all 16 lanes keeps the order of every sum: panels and tiles change no bit.

use std::{array, ops::Range};

use crate::{
    Isa,
    parallel::{self, Block},
    simd::{LANES, Lane, Op, Simd},
};

/// 16 columns, the last ones padded with zeros.
pub(super) type Lanes = [f32; LANES];

/// A tile: 3 x 2 sums of two AVX2 registers each leave four of sixteen registers for operands.
const TILE_ROWS: usize = 3;
const TILE_TOKENS: usize = 2;
/// Rows of a panel: with 512 columns 24 kB, so that it stays in a first-level cache of 32 kB.
const BLOCK_ROWS: usize = 12;
pub(super) const PANEL: usize = 512 / LANES;
/// Tokens of a block: 12 x 128 sums of 64 bytes are 96 kB of second-level cache.
const BLOCK_TOKENS: usize = 128;

/// Where a panel of weights comes from.
pub(super) trait Source: Copy + Send + Sync {
    /// Columns `cols` of a row as f32, the last lanes padded with zeros. `cols` starts at a multiple of a
    /// panel's columns and ends at another or at the end of the row.
    fn widen<S: Simd>(&self, s: S, row: usize, cols: Range<usize>, panel: &mut [Lanes]);
}

/// Weights that are widened one by one, `[rows, cols]`.
#[derive(Clone, Copy)]
pub(super) struct Plain<'a, T> {
    pub(super) w: &'a [T],
    pub(super) cols: usize,
}

impl<T: Lane> Source for Plain<'_, T> {
    #[inline(always)]
    fn widen<S: Simd>(&self, s: S, row: usize, cols: Range<usize>, panel: &mut [Lanes]) {
        let (whole, tail) = self.w[row * self.cols..][cols].as_chunks();
        for (w, lanes) in whole.iter().zip(&mut *panel) {
            s.store(T::load(s, w), lanes);
        }
        if !tail.is_empty() {
            s.store(s.load_tail(tail), &mut panel[whole.len()]);
        }
    }
}

/// `out[t][r] = w[r] . x[t]`
pub(super) fn matmul(isa: Isa, w: impl Source, rows: usize, cols: usize, x: &[f32], out: &mut [f32]) {
    let work = rows * x.len();
    // [tokens, columns / 16 rounded up]
    let mut padded = vec![[0.0; LANES]; x.len() / cols * cols.div_ceil(LANES)];
    for (x, padded) in x.chunks_exact(cols).zip(padded.chunks_exact_mut(cols.div_ceil(LANES))) {
        padded.as_flattened_mut()[..cols].copy_from_slice(x);
    }
    let tasks = parallel::blocks(out, rows, BLOCK_TOKENS, BLOCK_ROWS);
    parallel::for_each(work, tasks, |block| isa.run(MatmulBlock { w, cols, x: &padded, block }));
}

struct MatmulBlock<'a, W> {
    w: W,
    cols: usize,
    x: &'a [Lanes],
    block: Block<'a, f32>,
}

impl<W: Source> Op for MatmulBlock<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { w, cols, x, mut block } = self;
        let steps = cols.div_ceil(LANES);
        let rows = block.out[0].len();
        let tokens = block.out.len();
        let x = &x[block.token * steps..(block.token + tokens) * steps];

        let mut panel = vec![[[0.0; LANES]; PANEL]; BLOCK_ROWS];
        let mut sums = vec![[[0.0; LANES]; BLOCK_ROWS]; tokens];
        for first in (0..steps).step_by(PANEL) {
            let n = PANEL.min(steps - first);
            for (r, panel) in panel.iter_mut().enumerate().take(rows) {
                w.widen(s, block.row + r, first * LANES..cols.min((first + n) * LANES), &mut panel[..n]);
            }
            let mut t = 0;
            while t < tokens {
                let x0 = &x[t * steps + first..][..n];
                if let Some(sums) = sums[t..].first_chunk_mut::<TILE_TOKENS>() {
                    let x1 = &x[(t + 1) * steps + first..][..n];
                    tiles(s, &panel, rows, [x0, x1], sums);
                } else {
                    tiles(s, &panel, rows, [x0], array::from_mut(&mut sums[t]));
                }
                t += TILE_TOKENS;
            }
        }
        for (out, sums) in block.out.iter_mut().zip(&sums) {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = s.sum(s.load(sum));
            }
        }
    }
}

/// Adds a panel's products to the sums of `T` tokens.
#[inline(always)]
fn tiles<S: Simd, const T: usize>(
    s: S,
    panel: &[[Lanes; PANEL]],
    rows: usize,
    x: [&[Lanes]; T],
    sums: &mut [[Lanes; BLOCK_ROWS]; T],
) {
    // Rows after the last one hold zeros or an older panel; their sums are never read.
    for (i, w) in panel.as_chunks::<TILE_ROWS>().0.iter().enumerate().take(rows.div_ceil(TILE_ROWS)) {
        let at = i * TILE_ROWS;
        let mut acc = [[s.splat(0.0); TILE_ROWS]; T];
        for t in 0..T {
            for r in 0..TILE_ROWS {
                acc[t][r] = s.load(&sums[t][at + r]);
            }
        }
        let n = x[0].len();
        let w = [&w[0][..n], &w[1][..n], &w[2][..n]];
        let x = x.map(|x| &x[..n]);
        for k in 0..n {
            let mut tokens = [s.splat(0.0); T];
            for t in 0..T {
                tokens[t] = s.load(&x[t][k]);
            }
            for r in 0..TILE_ROWS {
                let w = s.load(&w[r][k]);
                for t in 0..T {
                    acc[t][r] = s.mul_add(w, tokens[t], acc[t][r]);
                }
            }
        }
        for t in 0..T {
            for r in 0..TILE_ROWS {
                s.store(acc[t][r], &mut sums[t][at + r]);
            }
        }
    }
}

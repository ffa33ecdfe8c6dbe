//! Several tokens: weights are widened once and shared by all of them.
//!
//! ```text
//!            128 tokens
//!         ┌─────────────┐   A task owns a block of outputs and keeps 16 lanes of partial sums for
//!   12    │ [16 lanes]  │   each of them in memory. It walks over the columns in panels of 512: widen
//!   rows  │   . . .     │   12 rows of the panel (24 kB, first-level cache), then for every tile go on
//!         └─────────────┘   where the sums stopped.
//! ```
//!
//! A tile is as many sums as registers hold: 6 rows x 4 tokens where one of 32 registers is a sum
//! (AVX-512), 3 x 2 where a sum takes two of 16. Going on with all 16 lanes keeps the order of every
//! sum: panels and tiles change no bit. Sums start in registers and end there: only between two panels are they
//! in memory.

use std::{array, cell::Cell, ops::Range};

use crate::{
    Isa,
    parallel::{self, Block},
    simd::{LANES, Lane, Op, Simd},
};

/// 16 columns, the last ones padded with zeros. One line of a cache: a load that crosses two lines takes
/// twice as long, and here loads come almost as often as products.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Lanes(pub(super) [f32; LANES]);

impl Lanes {
    const ZERO: Self = Self([0.0; LANES]);
}

/// Rows of a panel, a multiple of every tile's: with 512 columns 24 kB, so that it stays in a first-level
/// cache of 32 kB.
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
            s.store(T::load(s, w), &mut lanes.0);
        }
        if !tail.is_empty() {
            s.store(s.load_tail(tail), &mut panel[whole.len()].0);
        }
    }
}

/// `out[t][r] = w[r] . x[t]`
pub(super) fn matmul(isa: Isa, w: impl Source, rows: usize, cols: usize, x: &[f32], out: &mut [f32]) {
    let work = rows * x.len();
    // [tokens, columns / 16 rounded up]
    let mut padded = Vec::with_capacity(x.len() / cols * cols.div_ceil(LANES));
    for x in x.chunks_exact(cols) {
        let (whole, tail) = x.as_chunks();
        padded.extend(whole.iter().map(|&lanes| Lanes(lanes)));
        if !tail.is_empty() {
            let mut last = Lanes::ZERO;
            last.0[..tail.len()].copy_from_slice(tail);
            padded.push(last);
        }
    }
    let tasks = parallel::blocks(out, rows, BLOCK_TOKENS, BLOCK_ROWS);
    parallel::for_each(work, tasks, |block| {
        let mut scratch = SCRATCH.take().unwrap_or_default();
        isa.run(MatmulBlock { w, cols, x: &padded, block, scratch: &mut scratch });
        SCRATCH.set(Some(scratch));
    });
}

/// Buffers that a thread keeps from one block to the next: clearing them would take a small model as long as its
/// products.
#[derive(Default)]
struct Scratch {
    /// `[BLOCK_ROWS, PANEL]`
    panel: Vec<[Lanes; PANEL]>,
    /// `[tokens, BLOCK_ROWS]`, between two panels.
    sums: Vec<[Lanes; BLOCK_ROWS]>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

struct MatmulBlock<'a, W> {
    w: W,
    cols: usize,
    x: &'a [Lanes],
    block: Block<'a, f32>,
    scratch: &'a mut Scratch,
}

impl<W: Source> Op for MatmulBlock<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if S::SUMS >= 24 {
            self.by_tiles::<S, 6, 4>(s);
        } else {
            self.by_tiles::<S, 3, 2>(s);
        }
    }
}

impl<W: Source> MatmulBlock<'_, W> {
    /// Tiles of `R` rows and `T` tokens.
    #[inline(always)]
    fn by_tiles<S: Simd, const R: usize, const T: usize>(self, s: S) {
        let Self { w, cols, x, mut block, scratch } = self;
        let steps = cols.div_ceil(LANES);
        let rows = block.out[0].len();
        let tokens = block.out.len();
        let x = &x[block.token * steps..(block.token + tokens) * steps];

        // What an earlier block left is overwritten before it is read, but for rows after the last one.
        let Scratch { panel, sums } = scratch;
        panel.resize(BLOCK_ROWS, [Lanes::ZERO; PANEL]);
        sums.resize(tokens, [Lanes::ZERO; BLOCK_ROWS]);
        for first in (0..steps).step_by(PANEL) {
            let n = PANEL.min(steps - first);
            for (r, panel) in panel.iter_mut().enumerate().take(rows) {
                w.widen(s, block.row + r, first * LANES..cols.min((first + n) * LANES), &mut panel[..n]);
            }
            let panel = &panel[..rows.next_multiple_of(R)];
            let stage = Stage { first: first == 0, last: first + n == steps };
            let mut t = 0;
            while t < tokens {
                let x = &x[t * steps + first..];
                let out = &mut block.out[t..];
                if let (Some(sums), Some(out)) = (sums[t..].first_chunk_mut::<T>(), out.first_chunk_mut()) {
                    tiles::<S, R, T>(s, panel, x, steps, n, stage, sums, out);
                    t += T;
                } else {
                    let (sums, out) = (array::from_mut(&mut sums[t]), array::from_mut(&mut out[0]));
                    tiles::<S, R, 1>(s, panel, x, steps, n, stage, sums, out);
                    t += 1;
                }
            }
        }
    }
}

/// Where a panel stands among the panels of its rows; one may be both.
#[derive(Clone, Copy)]
struct Stage {
    /// Sums start from zero.
    first: bool,
    /// Sums are done.
    last: bool,
}

/// Adds a panel's products to the sums of `T` tokens, in tiles of `R` rows; the last panel's sums go to `out`. `x`
/// starts at the panel's columns of the first token; the next token's are `steps` later.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined into one caller")]
fn tiles<S: Simd, const R: usize, const T: usize>(
    s: S,
    panel: &[[Lanes; PANEL]],
    x: &[Lanes],
    steps: usize,
    n: usize,
    stage: Stage,
    sums: &mut [[Lanes; BLOCK_ROWS]; T],
    out: &mut [&mut [f32]; T],
) {
    let mut tokens = [x; T];
    for (t, token) in tokens.iter_mut().enumerate() {
        *token = &x[t * steps..][..n];
    }
    // Rows after the last one hold what an older panel held; their sums are never read.
    for (i, panel) in panel.as_chunks::<R>().0.iter().enumerate() {
        let mut rows = [&panel[0][..n]; R];
        for (row, panel) in rows.iter_mut().zip(panel) {
            *row = &panel[..n];
        }
        let at = i * R;
        let mut acc = [[s.splat(0.0); R]; T];
        if !stage.first {
            for t in 0..T {
                for r in 0..R {
                    acc[t][r] = s.load(&sums[t][at + r].0);
                }
            }
        }
        for k in 0..n {
            let mut x = [s.splat(0.0); T];
            for t in 0..T {
                x[t] = s.load(&tokens[t][k].0);
            }
            for r in 0..R {
                let w = s.load(&rows[r][k].0);
                for t in 0..T {
                    acc[t][r] = s.mul_add(w, x[t], acc[t][r]);
                }
            }
        }
        for t in 0..T {
            if stage.last {
                for (out, sum) in out[t][at..].iter_mut().zip(acc[t]) {
                    *out = s.sum(sum);
                }
            } else {
                for r in 0..R {
                    s.store(acc[t][r], &mut sums[t][at + r].0);
                }
            }
        }
    }
}

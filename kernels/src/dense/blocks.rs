//! Weights in blocks: dequantized a panel at a time into a first-level cache, then multiplied as f32.

use std::ops::Range;

use super::prefill::{Lanes, PANEL, Source};
use crate::{
    Isa,
    packing::{BlockFormat, dequantize},
    parallel,
    simd::{LANES, Op, Simd},
};

/// Rows that are summed side by side, as in `decode`; with a panel of 512 columns, 8 kB.
const ROWS: usize = 4;

/// Rows of one task.
const TASK_ROWS: usize = 64;

/// A matrix of blocks, row-major.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    format: BlockFormat,
    bytes: &'a [u8],
    row_bytes: usize,
}

impl<'a> Rows<'a> {
    /// # Panics
    /// A row is no whole number of blocks, or the bytes are not those of the rows.
    pub(super) fn new(format: BlockFormat, bytes: &'a [u8], rows: usize, cols: usize) -> Self {
        let row_bytes = format.row_bytes(cols).expect("rows are whole blocks");
        assert_eq!(rows.checked_mul(row_bytes), Some(bytes.len()), "bytes of the blocks");
        Self { format, bytes, row_bytes }
    }

    /// Columns of one row, from a block's first to a block's last.
    fn part(&self, row: usize, cols: Range<usize>) -> &'a [u8] {
        let (block, size) = (self.format.block(), self.format.block_bytes());
        let row = &self.bytes[row * self.row_bytes..(row + 1) * self.row_bytes];
        &row[cols.start / block * size..cols.end / block * size]
    }
}

impl Source for Rows<'_> {
    #[inline(always)]
    fn widen<S: Simd>(&self, s: S, row: usize, cols: Range<usize>, panel: &mut [Lanes]) {
        // A panel is a whole number of blocks, and a block one of lanes.
        dequantize(s, self.format, self.part(row, cols), panel.as_flattened_mut());
    }
}

/// `out[r] = w[r] . x`
pub(super) fn matmul(isa: Isa, w: Rows, x: &[f32], out: &mut [f32]) {
    let work = out.len() * x.len();
    let x = x.as_chunks::<LANES>().0;
    let tasks: Vec<_> = out.chunks_mut(TASK_ROWS).enumerate().collect();
    parallel::for_each(work, tasks, |(i, out)| isa.run(DotRows { w, first: i * TASK_ROWS, x, out }));
}

struct DotRows<'a> {
    w: Rows<'a>,
    /// The row of `out[0]`.
    first: usize,
    x: &'a [Lanes],
    out: &'a mut [f32],
}

impl Op for DotRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut panel = [[[0.0; LANES]; PANEL]; ROWS];
        for (i, out) in self.out.chunks_mut(ROWS).enumerate() {
            // Of the last rows, fewer than four, some are computed twice.
            let row = |r: usize| self.first + i * ROWS + r.min(out.len() - 1);
            let mut sums = [s.splat(0.0); ROWS];
            for (p, x) in self.x.chunks(PANEL).enumerate() {
                let cols = p * PANEL * LANES..(p * PANEL + x.len()) * LANES;
                for (r, panel) in panel.iter_mut().enumerate() {
                    self.w.widen(s, row(r), cols.clone(), &mut panel[..x.len()]);
                }
                let [w0, w1, w2, w3] = &panel;
                let w = [&w0[..x.len()], &w1[..x.len()], &w2[..x.len()], &w3[..x.len()]];
                for (k, x) in x.iter().enumerate() {
                    let x = s.load(x);
                    for r in 0..ROWS {
                        sums[r] = s.mul_add(s.load(&w[r][k]), x, sums[r]);
                    }
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = s.sum(sum);
            }
        }
    }
}

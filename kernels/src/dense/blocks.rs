//! Weights in blocks: dequantized in registers for one token, a panel at a time into a first-level
//! cache for several, then multiplied as f32.

use std::ops::Range;

use super::{
    decode,
    prefill::{Lanes, Source},
};
use crate::{
    Isa,
    packing::{BlockFormat, OpenBlock, dequantize, q6_k, q8_0},
    parallel,
    simd::{LANES, Op, Simd},
};

/// Rows that are summed side by side: one chain of fused multiply-adds would be slower than
/// dequantizing is.
const ROWS: usize = 2;

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
        dequantize(s, self.format, self.part(row, cols), panel.iter_mut().map(|lanes| &mut lanes.0));
    }
}

/// `out[r] = w[r] . x`
pub(super) fn matmul(isa: Isa, w: Rows, x: &[f32], out: &mut [f32]) {
    let rows = decode::task_rows(x.len());
    let work = out.len() * x.len();
    let x = x.as_chunks::<LANES>().0;
    parallel::for_each_chunk(work, out, rows, |task, out| {
        let first = task * rows * w.row_bytes;
        let bytes = &w.bytes[first..first + out.len() * w.row_bytes];
        isa.run(DotRows { w: Rows { bytes, ..w }, x, out });
    });
}

struct DotRows<'a> {
    w: Rows<'a>,
    x: &'a [[f32; LANES]],
    out: &'a mut [f32],
}

impl Op for DotRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.w.format {
            BlockFormat::Q8_0 => self.dot::<S, q8_0::Open<S>, { q8_0::BLOCK_BYTES }>(s),
            BlockFormat::Q6K => self.dot::<S, q6_k::Open, { q6_k::BLOCK_BYTES }>(s),
        }
    }
}

impl<'a> DotRows<'a> {
    #[inline(always)]
    fn dot<S: Simd, B: OpenBlock<'a, S, N>, const N: usize>(self, s: S) {
        let pairs = self.w.bytes.chunks(ROWS * self.w.row_bytes);
        for (bytes, out) in pairs.zip(self.out.chunks_mut(ROWS)) {
            // The last row of an odd number is computed twice.
            let (w0, w1) = bytes.split_at(self.w.row_bytes);
            let (w0, w1) = (w0.as_chunks::<N>().0, if w1.is_empty() { w0 } else { w1 }.as_chunks::<N>().0);
            let mut sums = [s.splat(0.0); ROWS];
            for (b, x) in self.x.chunks_exact(B::VECTORS).enumerate() {
                // Two rows are two streams; asking for them in the order of memory makes them one.
                let ahead = bytes.as_ptr().wrapping_add(b * ROWS * N + decode::AHEAD);
                for line in 0..(ROWS * N).div_ceil(64) {
                    s.prefetch(ahead.wrapping_add(64 * line));
                }
                let blocks = [B::open(s, &w0[b]), B::open(s, &w1[b])];
                for (i, x) in x.iter().enumerate() {
                    let x = s.load(x);
                    for r in 0..ROWS {
                        sums[r] = s.mul_add(blocks[r].lanes(s, i), x, sums[r]);
                    }
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = s.sum(sum);
            }
        }
    }
}

//! One token: every weight is read once, so memory sets the pace.

use crate::{
    Isa, parallel,
    simd::{Lane, Op, Simd},
};

/// Rows that are summed side by side: their accumulators are independent chains of fused
/// multiply-adds, enough to hide the latency of each (4 rows x 2 registers on AVX2).
const ROWS: usize = 4;

/// Rows of one task, some 100 kB of weights at usual widths.
const TASK_ROWS: usize = 64;

/// `out[r] = w[r] . x` for `w` `[rows, cols]`.
pub(super) fn matmul<T: Lane>(isa: Isa, w: &[T], cols: usize, x: &[f32], out: &mut [f32]) {
    let work = w.len();
    let tasks: Vec<_> = w.chunks(TASK_ROWS * cols).zip(out.chunks_mut(TASK_ROWS)).collect();
    parallel::for_each(work, tasks, |(w, out)| isa.run(DotRows { w, x, out }));
}

struct DotRows<'a, T> {
    w: &'a [T],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<T: Lane> Op for DotRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        dot_rows(s, self.w, self.x, self.out);
    }
}

/// `out[r] = w[r] . x` for `w` `[out.len(), x.len()]`.
#[inline(always)]
pub(crate) fn dot_rows<S: Simd, T: Lane>(s: S, w: &[T], x: &[f32], out: &mut [f32]) {
    let cols = x.len();
    let mut groups = w.chunks_exact(ROWS * cols);
    let (blocks, rest) = out.as_chunks_mut::<ROWS>();
    for (w, out) in (&mut groups).zip(blocks) {
        let (w0, w) = w.split_at(cols);
        let (w1, w) = w.split_at(cols);
        let (w2, w3) = w.split_at(cols);
        *out = dots(s, [w0, w1, w2, w3], x);
    }
    for (w, out) in groups.remainder().chunks_exact(cols).zip(rest) {
        [*out] = dots(s, [w], x);
    }
}

/// The dot products of `R` rows with `x`.
#[inline(always)]
fn dots<S: Simd, T: Lane, const R: usize>(s: S, w: [&[T]; R], x: &[f32]) -> [f32; R] {
    let (x_whole, x_tail) = x.as_chunks();
    let w_whole = w.map(|w| &w.as_chunks().0[..x_whole.len()]);
    let mut sums = [s.splat(0.0); R];
    for (i, x) in x_whole.iter().enumerate() {
        let x = s.load(x);
        for r in 0..R {
            sums[r] = s.mul_add(T::load(s, &w_whole[r][i]), x, sums[r]);
        }
    }
    if !x_tail.is_empty() {
        let tail = x.len() - x_tail.len()..;
        let x = s.load_tail(x_tail);
        for r in 0..R {
            sums[r] = s.mul_add(s.load_tail(&w[r][tail.clone()]), x, sums[r]);
        }
    }
    let mut out = [0.0; R];
    for r in 0..R {
        out[r] = s.sum(sums[r]);
    }
    out
}

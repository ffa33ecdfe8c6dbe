//! One token: every weight is read once, so memory sets the pace.

use crate::{
    Isa, parallel,
    simd::{Lane, Op, Simd},
};

/// Weights of one task: at 25 GB/s ten microseconds of f16, some fifty times what handing it out costs.
const TASK_WEIGHTS: usize = 1 << 17;

/// Rows of one task.
pub(super) fn task_rows(cols: usize) -> usize {
    (TASK_WEIGHTS / cols).max(1)
}

/// `out[r] = w[r] . x` for `w` `[rows, cols]`.
pub(super) fn matmul<T: Lane>(isa: Isa, w: &[T], cols: usize, x: &[f32], out: &mut [f32]) {
    let rows = task_rows(cols);
    parallel::for_each_chunk(w.len(), out, rows, |task, out| {
        let w = &w[task * rows * cols..][..out.len() * cols];
        isa.run(StreamRows { w, x, out });
    });
}

/// How many bytes ahead of the stream the next weights are asked for. Three pages: a CPU's own
/// prefetchers stop at the end of each.
pub(super) const AHEAD: usize = 12 << 10;

/// Row after row, so that a thread reads one stream. Several rows side by side would be several
/// streams, which the prefetchers of Zen 4 follow at half of the speed. One chain of fused
/// multiply-adds, 16 weights for each latency of 4 cycles, is as fast as memory, and the next row's
/// chain starts before it ends.
struct StreamRows<'a, T> {
    w: &'a [T],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<T: Lane> Op for StreamRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (x, x_tail) = self.x.as_chunks();
        let (x, x_last) = x.as_chunks::<2>();
        for (w, out) in self.w.chunks_exact(self.x.len()).zip(self.out) {
            let (w, w_tail) = w.as_chunks();
            let (w, w_last) = w.as_chunks::<2>();
            let mut sum = s.splat(0.0);
            for (w, x) in w.iter().zip(x) {
                s.prefetch(w.as_ptr().cast::<u8>().wrapping_add(AHEAD));
                sum = s.mul_add(T::load(s, &w[0]), s.load(&x[0]), sum);
                sum = s.mul_add(T::load(s, &w[1]), s.load(&x[1]), sum);
            }
            for (w, x) in w_last.iter().zip(x_last) {
                sum = s.mul_add(T::load(s, w), s.load(x), sum);
            }
            if !x_tail.is_empty() {
                sum = s.mul_add(s.load_tail(w_tail), s.load_tail(x_tail), sum);
            }
            *out = s.sum(sum);
        }
    }
}

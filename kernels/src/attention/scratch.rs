//! Buffers that a thread keeps from one task to the next.

use std::cell::Cell;

use crate::simd::LANES;

#[derive(Default)]
pub(super) struct Scratch {
    /// `[queries, head_dim]`
    pub(super) q: Vec<f32>,
    /// `[queries, positions rounded up to pages]`
    pub(super) scores: Vec<f32>,
    /// `[queries, head_dim / 16 rounded up]`
    pub(super) sums: Vec<[f32; LANES]>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Runs `f` with the thread's buffers.
pub(super) fn with<T>(f: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = f(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

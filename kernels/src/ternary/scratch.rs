//! Buffers that a thread keeps from one product to the next.

use std::cell::Cell;

use super::{
    four_russians::{Indices, Lanes, Partial, Sums, Table},
    layout::Line,
};

/// What a product needs besides its operands. Every user overwrites what it takes.
#[derive(Default)]
pub(super) struct Scratch {
    /// One token: tables of all chunks.
    pub(super) lines: Vec<Line>,
    /// Many tokens: transposed activations.
    pub(super) lanes: Vec<Lanes>,
    /// Many tokens: the tables of a pass.
    pub(super) tables: Vec<Table>,
    /// Many tokens: indices of a task's rows, a chunk of them.
    pub(super) indices: Vec<Indices>,
    /// Many tokens: 16-bit sums of a task's rows.
    pub(super) partial: Vec<Partial>,
    /// Many tokens: sums of a task's rows.
    pub(super) sums: Vec<Sums>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Runs `f` with the thread's buffers. A product that starts within another one on the same thread, as
/// work stealing may do, gets buffers of its own.
pub(super) fn with<T>(f: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = f(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

/// The first `n` elements, of any content, of a buffer that grows to the largest `n` asked for.
pub(super) fn some<T: Clone>(buffer: &mut Vec<T>, n: usize, fill: T) -> &mut [T] {
    if buffer.len() < n {
        buffer.resize(n, fill);
    }
    &mut buffer[..n]
}

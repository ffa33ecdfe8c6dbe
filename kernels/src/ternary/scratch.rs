//! Buffers that a thread keeps from one product to the next.
//!
//! They keep what an earlier product left. What a product does not overwrite belongs to tokens that it does
//! not have, whose sums are not read.

use std::{cell::Cell, thread::LocalKey};

use super::{
    four_russians::{Indices, Lanes, Partial, Sums, Table},
    layout::Line,
};

/// What the tasks of a product share.
#[derive(Default)]
pub(super) struct Shared {
    /// Few tokens: tables of all chunks of each.
    pub(super) lines: Vec<Line>,
    /// Many tokens: transposed activations.
    pub(super) lanes: Vec<Lanes>,
}

/// What each task for many tokens has for itself.
#[derive(Default)]
pub(super) struct Own {
    /// The tables of a pass.
    pub(super) tables: Vec<Table>,
    /// Indices of a task's rows, a chunk of them.
    pub(super) indices: Vec<Indices>,
    /// 16-bit sums of a task's rows.
    pub(super) partial: Vec<Partial>,
    /// Sums of a task's rows.
    pub(super) sums: Vec<Sums>,
}

thread_local! {
    // Two, since a thread that starts a product does some of its tasks.
    pub(super) static SHARED: Cell<Option<Box<Shared>>> = const { Cell::new(None) };
    pub(super) static OWN: Cell<Option<Box<Own>>> = const { Cell::new(None) };
}

/// Runs `f` with the thread's buffers. A product that starts within another one on the same thread, as
/// work stealing may do, gets buffers of its own.
pub(super) fn with<B: Default, T>(
    buffers: &'static LocalKey<Cell<Option<Box<B>>>>,
    f: impl FnOnce(&mut B) -> T,
) -> T {
    let mut now = buffers.take().unwrap_or_default();
    let result = f(&mut now);
    buffers.set(Some(now));
    result
}

/// The first `n` elements, of any content, of a buffer that grows to the largest `n` asked for.
pub(super) fn first<T: Clone>(buffer: &mut Vec<T>, n: usize, fill: T) -> &mut [T] {
    if buffer.len() < n {
        buffer.resize(n, fill);
    }
    &mut buffer[..n]
}

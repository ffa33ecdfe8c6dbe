//! The rotary table that all sequences of a model share.

use std::sync::{Arc, PoisonError, RwLock};

use b158_kernels::rope::RopeTable;

/// A table that grows to the longest sequence so far.
pub(crate) struct RopeCache {
    frequencies: Vec<f32>,
    table: RwLock<Arc<RopeTable>>,
}

impl RopeCache {
    pub(crate) fn new(frequencies: Vec<f32>) -> Self {
        let table = RwLock::new(Arc::new(RopeTable::new(&frequencies, 0)));
        Self { frequencies, table }
    }

    /// A table of at least `positions`, which are at most `limit`.
    pub(crate) fn reach(&self, positions: usize, limit: usize) -> Arc<RopeTable> {
        // A table is replaced as a whole, so a thread that panicked left a good one.
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        if table.positions() >= positions {
            return table;
        }
        // Doubling: decoding token by token must not build a table each time.
        let positions = positions.next_power_of_two().min(limit);
        let table = Arc::new(RopeTable::new(&self.frequencies, positions));
        let mut shared = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if shared.positions() < positions {
            *shared = table.clone();
        }
        table
    }
}

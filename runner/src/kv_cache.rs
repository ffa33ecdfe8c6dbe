//! Keys and values of a sequence, in pages that sequences with a common beginning share.
//!
//! ```text
//!   sequence A   [page 0] [page 1] [page 2 ...]
//!                    ▲        ▲
//!   its fork     ────┘────────┘    [page 2' ..]    copied when either of the two writes to it
//! ```

use std::sync::Arc;

use b158_kernels::kv::{KvPage, KvType};
use rayon::prelude::*;

/// One sequence's keys and values. A clone shares every page until it is written to.
#[derive(Clone)]
pub(crate) struct KvCache {
    kind: KvType,
    kv_heads: usize,
    head_dim: usize,
    layers: Vec<Vec<Arc<KvPage>>>,
}

/// Elements that are worth other threads.
const WORTH_THREADS: usize = 1 << 15;

impl KvCache {
    pub(crate) fn new(kind: KvType, layers: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self { kind, kv_heads, head_dim, layers: vec![Vec::new(); layers] }
    }

    /// Bytes of the pages, those shared with other sequences too.
    pub(crate) fn bytes(&self) -> usize {
        let pages: usize = self.layers.iter().map(Vec::len).sum();
        pages * KvPage::bytes(self.kind, self.kv_heads, self.head_dim)
    }

    /// Sets keys and values, both `[tokens, kv_heads, head_dim]`, of consecutive positions from `start` on. Positions
    /// before `start` are there.
    pub(crate) fn store(&mut self, layer: usize, start: usize, keys: &[f32], values: &[f32]) {
        let width = self.kv_heads * self.head_dim;
        let end = start + keys.len() / width;
        let pages = &mut self.layers[layer];
        pages.resize_with(end.div_ceil(KvPage::POSITIONS), || {
            Arc::new(KvPage::new(self.kind, self.kv_heads, self.head_dim))
        });
        let first = start / KvPage::POSITIONS;
        let write = |(i, page): (usize, &mut Arc<KvPage>)| {
            let page_start = (first + i) * KvPage::POSITIONS;
            let page = Arc::make_mut(page);
            for position in start.max(page_start)..end.min(page_start + KvPage::POSITIONS) {
                let row = (position - start) * width..(position - start + 1) * width;
                page.store(position - page_start, &keys[row.clone()], &values[row]);
            }
        };
        if keys.len() < WORTH_THREADS {
            pages[first..].iter_mut().enumerate().for_each(write);
        } else {
            pages[first..].par_iter_mut().enumerate().for_each(write);
        }
    }

    /// Forgets every position from `positions` on.
    pub(crate) fn truncate(&mut self, positions: usize) {
        for pages in &mut self.layers {
            pages.truncate(positions.div_ceil(KvPage::POSITIONS));
        }
    }

    /// The pages of a layer, from position 0 on.
    pub(crate) fn pages(&self, layer: usize) -> &[Arc<KvPage>] {
        &self.layers[layer]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `tokens` positions whose keys and values are their number plus `base`.
    fn store(cache: &mut KvCache, start: usize, tokens: usize, base: f32) {
        let rows: Vec<f32> = (start..start + tokens).flat_map(|p| [p as f32 + base; 16]).collect();
        cache.store(0, start, &rows, &rows);
    }

    #[test]
    fn a_fork_shares_full_pages_and_copies_the_last() {
        let mut cache = KvCache::new(KvType::F32, 1, 1, 16);
        store(&mut cache, 0, 100, 0.0);
        let mut fork = cache.clone();
        store(&mut fork, 100, 40, 1000.0);
        store(&mut cache, 100, 3, 0.0);
        let shared = |page: usize| Arc::ptr_eq(&cache.pages(0)[page], &fork.pages(0)[page]);
        assert!(shared(0) && !shared(1));
        assert_eq!((cache.pages(0).len(), fork.pages(0).len()), (2, 3));
        assert_eq!(fork.bytes(), 3 * 64 * 32 * 4);
        fork.truncate(64);
        assert_eq!(fork.pages(0).len(), 1);
    }
}

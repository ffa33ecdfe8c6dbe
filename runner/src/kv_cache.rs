//! Keys and values of the positions seen so far.

/// One sequence's keys and values in f32. The positions of one head lie side by side, which is how
/// attention reads them, and memory grows with the sequence.
pub(crate) struct KvCache {
    heads: Vec<Head>, // [layers * kv_heads]
    kv_heads: usize,
    head_dim: usize,
}

#[derive(Clone, Default)]
struct Head {
    keys: Vec<f32>,   // [positions, head_dim]
    values: Vec<f32>, // [positions, head_dim]
}

impl KvCache {
    pub(crate) fn new(layers: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self { heads: vec![Head::default(); layers * kv_heads], kv_heads, head_dim }
    }

    /// Bytes of the positions held.
    pub(crate) fn bytes(&self) -> usize {
        self.heads.iter().map(|h| size_of_val(&h.keys[..]) + size_of_val(&h.values[..])).sum()
    }

    /// Appends one position to a layer. `key` and `value` are `[kv_heads, head_dim]`.
    pub(crate) fn push(&mut self, layer: usize, key: &[f32], value: &[f32]) {
        let heads = &mut self.heads[layer * self.kv_heads..][..self.kv_heads];
        let rows = key.chunks_exact(self.head_dim).zip(value.chunks_exact(self.head_dim));
        for (head, (key, value)) in heads.iter_mut().zip(rows) {
            head.keys.extend_from_slice(key);
            head.values.extend_from_slice(value);
        }
    }

    /// Forgets every position from `positions` on.
    pub(crate) fn truncate(&mut self, positions: usize) {
        for head in &mut self.heads {
            head.keys.truncate(positions * self.head_dim);
            head.values.truncate(positions * self.head_dim);
        }
    }

    /// Keys and values `[positions, head_dim]` of one head, positions 0 to `positions - 1`.
    pub(crate) fn head(&self, layer: usize, kv_head: usize, positions: usize) -> (&[f32], &[f32]) {
        let Head { keys, values } = &self.heads[layer * self.kv_heads + kv_head];
        let end = positions * self.head_dim;
        (&keys[..end], &values[..end])
    }
}

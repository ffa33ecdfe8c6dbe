//! Keys and values of the positions seen so far.

/// One sequence's keys and values, f32, `[layer][kv_head][position][head_dim]`: the positions of one
/// head lie side by side, which is how attention reads them.
pub(crate) struct KvCache {
    keys: Vec<f32>,
    values: Vec<f32>,
    kv_heads: usize,
    head_dim: usize,
    capacity: usize,
}

impl KvCache {
    pub(crate) fn new(layers: usize, kv_heads: usize, head_dim: usize, capacity: usize) -> Self {
        let len = layers * kv_heads * capacity * head_dim;
        Self { keys: vec![0.0; len], values: vec![0.0; len], kv_heads, head_dim, capacity }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.keys.len() + self.values.len()) * size_of::<f32>()
    }

    fn start(&self, layer: usize, kv_head: usize) -> usize {
        (layer * self.kv_heads + kv_head) * self.capacity * self.head_dim
    }

    /// Stores one position. `key` and `value` are `[kv_heads, head_dim]`.
    pub(crate) fn store(&mut self, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        let d = self.head_dim;
        for (head, (k, v)) in key.chunks_exact(d).zip(value.chunks_exact(d)).enumerate() {
            let at = self.start(layer, head) + position * d;
            self.keys[at..at + d].copy_from_slice(k);
            self.values[at..at + d].copy_from_slice(v);
        }
    }

    /// Keys and values `[positions, head_dim]` of one head, positions 0 to `positions - 1`.
    pub(crate) fn head(&self, layer: usize, kv_head: usize, positions: usize) -> (&[f32], &[f32]) {
        let start = self.start(layer, kv_head);
        let range = start..start + positions * self.head_dim;
        (&self.keys[range.clone()], &self.values[range])
    }
}

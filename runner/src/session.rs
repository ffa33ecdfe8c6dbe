//! One sequence: its key-value cache and the forward pass.

use b158_checkpoint::Activation;
use b158_kernels::{Isa, activation, attention, norm, rope::RopeTable};
use ndarray::Array2;
use rayon::prelude::*;

use crate::{Error, Model, kv_cache::KvCache, linear::Inputs, model::Layer};

/// Tokens of one pass through the layers. It bounds the scratch memory of a long prompt and, since no
/// result depends on it, nothing else.
const PREFILL_TILE: usize = 256;

/// Rows of logits in memory: 16 MB at 128k words, and enough rows to share the head's weights.
const HEAD_TILE: usize = 32;

/// A sequence in progress. Cheap to make: memory grows with its tokens.
pub struct Session<'m> {
    model: &'m Model,
    cache: KvCache,
    rope: RopeTable,
    len: usize,
    capacity: usize,
    scratch: Scratch,
}

/// Buffers of one pass, kept from call to call. Every buffer is `[tokens, ...]`.
#[derive(Default)]
struct Scratch {
    x: Vec<f32>,         // [tokens, hidden], the residual stream
    h: Vec<f32>,         // [tokens, hidden], normalized
    q: Vec<f32>,         // [tokens, heads * head_dim]
    k: Vec<f32>,         // [tokens, kv_heads * head_dim]
    v: Vec<f32>,         // [tokens, kv_heads * head_dim]
    attention: Vec<f32>, // [tokens, heads * head_dim]
    gate: Vec<f32>,      // [tokens, intermediate]
    up: Vec<f32>,        // [tokens, intermediate]
    inner: Vec<f32>,     // sub-norms: [tokens, heads * head_dim] or [tokens, intermediate]
    out: Vec<f32>,       // [tokens, hidden]
    inputs: Inputs,
}

impl<'m> Session<'m> {
    /// An empty sequence of at most `capacity` tokens.
    ///
    /// # Errors
    /// A capacity beyond the model's context.
    pub fn new(model: &'m Model, capacity: usize) -> Result<Self, Error> {
        let limit = model.context;
        if capacity > limit {
            return Err(Error::ContextFull {
                wanted: capacity,
                capacity: limit,
                limit: model.config.context_length,
            });
        }
        let c = &model.config;
        let cache = KvCache::new(c.layers, c.kv_heads, c.head_dim);
        let rope = RopeTable::new(&c.rope_frequencies(), 0);
        Ok(Self { model, cache, rope, len: 0, capacity, scratch: Scratch::default() })
    }

    /// Tokens so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token has been run yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens that the session can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of the key-value cache.
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Forgets every token after the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.cache.truncate(self.len);
    }

    /// Makes an empty sequence `len` tokens long by keys and values that stand for no text. What a token costs at
    /// that depth does not depend on them, and computing them may take an hour: for measurements.
    pub(crate) fn fill_cache(&mut self, len: usize) {
        let c = &self.model.config;
        let row: Vec<f32> = (0..c.kv_heads * c.head_dim).map(|i| (i * 37 % 64) as f32 / 64.0 - 0.5).collect();
        self.truncate(0);
        self.reach(len);
        for layer in 0..c.layers {
            for _ in 0..len {
                self.cache.push(layer, &row, &row);
            }
        }
        self.len = len;
    }

    /// Appends `tokens` and returns the logits `[tokens.len() - from, vocab]` after each of
    /// `tokens[from..]`.
    ///
    /// # Errors
    /// As [`Session::forward_each`].
    pub fn forward(&mut self, tokens: &[u32], from: usize) -> Result<Array2<f32>, Error> {
        let vocab_size = self.model.config.vocab_size;
        let mut logits = Vec::new();
        self.forward_each(tokens, from, |row| logits.extend_from_slice(row))?;
        let rows = logits.len() / vocab_size;
        Ok(Array2::from_shape_vec((rows, vocab_size), logits).expect("whole rows of the vocabulary"))
    }

    /// Appends `tokens` and shows `each` the logits `[vocab]` after each of `tokens[from..]`, in order.
    /// Only a few rows are in memory at a time: at 128k words the logits of a long text are gigabytes.
    ///
    /// # Errors
    /// No tokens, an id outside the vocabulary, a full context, or activations that are not finite.
    /// The session then is as it was before the call.
    pub fn forward_each(
        &mut self,
        tokens: &[u32],
        from: usize,
        mut each: impl FnMut(&[f32]),
    ) -> Result<(), Error> {
        let config = &self.model.config;
        if tokens.is_empty() {
            return Err(Error::Empty { what: "input" });
        }
        let wanted = self.len + tokens.len();
        if wanted > self.capacity {
            return Err(Error::ContextFull { wanted, capacity: self.capacity, limit: config.context_length });
        }
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= config.vocab_size) {
            return Err(Error::TokenOutOfVocabulary { id, vocab_size: config.vocab_size });
        }
        let before = self.len;
        let result = self.forward_tiles(tokens, from, &mut each);
        if result.is_err() {
            self.truncate(before);
        }
        result
    }

    fn forward_tiles(
        &mut self,
        tokens: &[u32],
        from: usize,
        each: &mut impl FnMut(&[f32]),
    ) -> Result<(), Error> {
        self.reach(self.len + tokens.len());
        let mut done = 0;
        for tile in tokens.chunks(PREFILL_TILE) {
            self.run_layers(tile)?;
            let skip = from.saturating_sub(done).min(tile.len());
            for start in (skip..tile.len()).step_by(HEAD_TILE) {
                self.run_head(start, tile.len().min(start + HEAD_TILE), each)?;
            }
            self.len += tile.len();
            done += tile.len();
        }
        Ok(())
    }

    /// Makes the rotary table long enough for `positions`.
    fn reach(&mut self, positions: usize) {
        if positions > self.rope.positions() {
            // Doubling: decoding token by token must not build a table each time.
            let positions = positions.next_power_of_two().min(self.capacity);
            self.rope = RopeTable::new(&self.model.config.rope_frequencies(), positions);
        }
    }

    /// Runs `tokens` through every layer; leaves the residual stream in `scratch.x`.
    fn run_layers(&mut self, tokens: &[u32]) -> Result<(), Error> {
        self.embed(tokens)?;
        let model = self.model;
        for (index, layer) in model.layers.iter().enumerate() {
            self.attention(index, layer, tokens.len())?;
            self.feed_forward(index, layer)?;
        }
        Ok(())
    }

    /// x = rows of the embedding
    fn embed(&mut self, tokens: &[u32]) -> Result<(), Error> {
        let hidden = self.model.config.hidden_size;
        let embedding = self.model.embedding.weights()?;
        self.scratch.x.resize(tokens.len() * hidden, 0.0);
        for (&token, row) in tokens.iter().zip(self.scratch.x.chunks_exact_mut(hidden)) {
            let token = token as usize;
            embedding.rows(token..token + 1, hidden).to_f32(row);
        }
        Ok(())
    }

    /// x += o(sub_norm(attention(rope(q), rope(k), v)))
    fn attention(&mut self, index: usize, layer: &Layer, tokens: usize) -> Result<(), Error> {
        let (model, start) = (self.model, self.len);
        let (isa, c, s) = (model.isa, &model.config, &mut self.scratch);
        let (head_dim, q_width, kv_width) = (c.head_dim, c.heads * c.head_dim, c.kv_heads * c.head_dim);

        let linear_eps = c.linear_norm_eps.unwrap_or_default();

        let h = normalized(isa, &s.x, &layer.attn_norm, c.norm_eps, &mut s.h);
        let outputs = [&mut s.q, &mut s.k, &mut s.v];
        s.inputs
            .apply(isa, [&layer.q, &layer.k, &layer.v], linear_eps, h, outputs)
            .map_err(|e| model.non_finite(index, "attention input", start + e.row))?;
        self.rope.apply_tokens(isa, start, tokens, &mut s.q, c.rope_pairs);
        self.rope.apply_tokens(isa, start, tokens, &mut s.k, c.rope_pairs);
        for (k, v) in s.k.chunks_exact(kv_width).zip(s.v.chunks_exact(kv_width)) {
            self.cache.push(index, k, v);
        }

        let (cache, q, group) = (&self.cache, &s.q, c.heads / c.kv_heads);
        resized(&mut s.attention, tokens * q_width).par_chunks_mut(head_dim).enumerate().for_each_init(
            Vec::new,
            |scores, (i, out)| {
                let (t, head) = (i / c.heads, i % c.heads);
                let (keys, values) = cache.head(index, head / group, start + t + 1);
                attention::attend(isa, &q[i * head_dim..(i + 1) * head_dim], keys, values, scores, out);
            },
        );

        let mixed = normalized(isa, &s.attention, &layer.attn_sub_norm, c.norm_eps, &mut s.inner);
        s.inputs
            .apply(isa, [&layer.o], linear_eps, mixed, [&mut s.out])
            .map_err(|e| model.non_finite(index, "attention output", start + e.row))?;
        add(&mut s.x, &s.out);
        Ok(())
    }

    /// x += down(sub_norm(activation(gate(h)) * up(h)))
    fn feed_forward(&mut self, index: usize, layer: &Layer) -> Result<(), Error> {
        let (model, start) = (self.model, self.len);
        let (isa, c, s) = (model.isa, &model.config, &mut self.scratch);

        let linear_eps = c.linear_norm_eps.unwrap_or_default();

        let h = normalized(isa, &s.x, &layer.ffn_norm, c.norm_eps, &mut s.h);
        let outputs = [&mut s.gate, &mut s.up];
        s.inputs
            .apply(isa, [&layer.gate, &layer.up], linear_eps, h, outputs)
            .map_err(|e| model.non_finite(index, "feed-forward input", start + e.row))?;
        let inner = resized(&mut s.inner, s.gate.len());
        match c.activation {
            Activation::Silu => activation::silu_mul(isa, &s.gate, &s.up, inner),
            Activation::Relu2 => activation::relu2_mul(isa, &s.gate, &s.up, inner),
        }
        let mixed = normalized(isa, &s.inner, &layer.ffn_sub_norm, c.norm_eps, &mut s.gate);
        s.inputs
            .apply(isa, [&layer.down], linear_eps, mixed, [&mut s.out])
            .map_err(|e| model.non_finite(index, "feed-forward output", start + e.row))?;
        add(&mut s.x, &s.out);
        Ok(())
    }

    /// Shows the logits of the tile's tokens `from..to`.
    fn run_head(&mut self, from: usize, to: usize, each: &mut impl FnMut(&[f32])) -> Result<(), Error> {
        let (model, s) = (self.model, &mut self.scratch);
        let c = &model.config;
        let x = &s.x[from * c.hidden_size..to * c.hidden_size];
        norm::rms_norm(model.isa, x, &model.output_norm, c.norm_eps, resized(&mut s.h, x.len()));
        // The head is in full precision.
        model.head.multiply(model.isa, &s.h, &s.inputs.quantized, &mut s.out);
        if let Some(bad) = s.out.iter().position(|l| !l.is_finite()) {
            return Err(model.non_finite(c.layers, "output head", self.len + from + bad / c.vocab_size));
        }
        s.out.chunks_exact(c.vocab_size).for_each(each);
        Ok(())
    }
}

impl Model {
    fn non_finite(&self, layer: usize, part: &str, token: usize) -> Error {
        let place =
            if layer < self.config.layers { format!("layer {layer}, {part}") } else { part.to_owned() };
        Error::NonFiniteActivation { file: self.path.clone(), place, token }
    }
}

/// The buffer with exactly `len` elements, whatever it held.
fn resized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    buffer.resize(len, 0.0);
    buffer
}

/// The norm of `x` `[tokens, weight.len()]`, or `x` itself where there is none (no weights).
fn normalized<'a>(isa: Isa, x: &'a [f32], weight: &[f32], eps: f32, buffer: &'a mut Vec<f32>) -> &'a [f32] {
    if weight.is_empty() {
        return x;
    }
    norm::rms_norm(isa, x, weight, eps, resized(buffer, x.len()));
    buffer
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use b158_checkpoint::Checkpoint;
    use b158_kernels::quantize::Int8Rows;
    use safetensors::SafeTensors;

    use super::*;
    use crate::LoadOptions;

    /// The int8 inputs of every linear layer of the first block. Those of q, k and v follow from the
    /// recorded input by one norm and are exact; the others come after products that the reference
    /// rounds to f32 and we do not, so one code in a thousand, at a rounding boundary, may differ by one step.
    #[test]
    fn int8_activations_equal_the_reference() {
        let oracle = std::env::var_os("B158_ORACLE")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle"), PathBuf::from);
        if !oracle.is_dir() {
            eprintln!("skipped: no reference outputs here (set B158_ORACLE to their folder)");
            return;
        }
        for name in ["b158-1bitllm-f16", "tiny-b158-f16"] {
            let bytes = std::fs::read(oracle.join(format!("golden/{name}.f32.safetensors"))).unwrap();
            let golden = SafeTensors::deserialize(&bytes).unwrap();
            let expect = |layer: &str, found: &Int8Rows, per_thousand: usize| {
                let tensor = golden.tensor(&format!("p1.model.layers.0.{layer}.xq")).unwrap();
                let mut differing = 0;
                for (row, expected) in tensor.data().chunks_exact(tensor.shape()[1]).enumerate() {
                    for (&found, &expected) in found.row(row).iter().zip(expected) {
                        let step = (i16::from(found) - i16::from(expected as i8)).abs();
                        assert!(step <= 1, "{name} {layer}: {found} instead of {}", expected as i8);
                        differing += usize::from(step != 0);
                    }
                }
                assert!(
                    differing * 1000 <= per_thousand * tensor.data().len(),
                    "{name} {layer}: {differing} codes differ"
                );
            };
            let checkpoint = Checkpoint::open(&oracle.join("ckpt").join(name)).unwrap();
            let isa = Isa::best();
            let model = Model::load(&checkpoint, LoadOptions { isa, ..LoadOptions::default() }).unwrap();
            let ids = golden.tensor("p1.ids").unwrap();
            let ids: Vec<u32> =
                ids.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
            let hidden = model.config.hidden_size;
            let mut session = Session::new(&model, ids.len()).unwrap();
            let mut quantized = Int8Rows::new();

            session.reach(ids.len());
            session.embed(&ids).unwrap();
            session.attention(0, &model.layers[0], ids.len()).unwrap();
            quantized.quantize(isa, &session.scratch.h, hidden).unwrap();
            expect("self_attn.q_proj", &quantized, 0);
            expect("self_attn.o_proj", &session.scratch.inputs.quantized, 1);
            session.feed_forward(0, &model.layers[0]).unwrap();
            quantized.quantize(isa, &session.scratch.h, hidden).unwrap();
            expect("mlp.gate_proj", &quantized, 1);
            expect("mlp.down_proj", &session.scratch.inputs.quantized, 1);
        }
    }
}

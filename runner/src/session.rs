//! Sequences in progress, one or several at once.

use ndarray::Array2;

use crate::{
    Error, Model,
    kv_cache::KvCache,
    pass::{Pass, Scratch, Segment, tiles},
};

/// Rows of logits in memory: 16 MB at 128k words, and enough rows to share the head's weights.
const HEAD_TILE: usize = 32;

/// A sequence in progress. Cheap to make: memory grows with its tokens.
///
/// ```
/// # use b158_runner::{LoadOptions, Model, Session, Shape, SyntheticFormat};
/// # let shape = Shape::named("tiny").unwrap();
/// # let model = Model::synthetic(shape, SyntheticFormat::Ternary, LoadOptions::default(), |_| ())?;
/// let mut session = Session::new(&model, 16)?;
/// let logits = session.forward(&[1, 5, 3], 2)?; // after the last of the three
/// assert_eq!(logits.dim(), (1, model.config().vocab_size));
///
/// // Two continuations of the same beginning, which is computed once.
/// let mut other = session.fork();
/// session.forward(&[7], 0)?;
/// other.forward(&[8], 0)?;
/// assert_eq!((session.len(), other.len()), (4, 4));
/// # Ok::<(), b158_runner::Error>(())
/// ```
pub struct Session<'m> {
    model: &'m Model,
    cache: KvCache,
    len: usize,
    capacity: usize,
    scratch: Scratch,
}

/// Tokens to append to a sequence, with others in one pass: see [`forward_batch`].
pub struct Part<'p, 'm> {
    /// The sequence.
    pub session: &'p mut Session<'m>,
    /// What to append.
    pub tokens: &'p [u32],
    /// Logits are shown after each of `tokens[from..]`.
    pub from: usize,
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
        let cache = KvCache::new(model.kv, c.layers, c.kv_heads, c.head_dim);
        Ok(Self { model, cache, len: 0, capacity, scratch: Scratch::default() })
    }

    /// A second sequence with the same tokens so far, which share their memory.
    pub fn fork(&self) -> Self {
        let Self { model, len, capacity, .. } = *self;
        Self { model, cache: self.cache.clone(), len, capacity, scratch: Scratch::default() }
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

    /// Bytes of the key-value cache, shared ones included.
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
        for layer in 0..c.layers {
            for position in 0..len {
                self.cache.store(layer, position, &row, &row);
            }
        }
        self.len = len;
    }

    /// Appends `tokens` and returns the logits `[tokens.len() - from, vocab]` after each of
    /// `tokens[from..]`.
    ///
    /// # Errors
    /// As [`forward_batch`].
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
    /// As [`forward_batch`].
    pub fn forward_each(
        &mut self,
        tokens: &[u32],
        from: usize,
        mut each: impl FnMut(&[f32]),
    ) -> Result<(), Error> {
        forward_batch(&mut [Part { session: self, tokens, from }], |_, row| each(row))
    }

    /// Whether `tokens` can be appended.
    fn check(&self, tokens: &[u32]) -> Result<(), Error> {
        let config = &self.model.config;
        if tokens.is_empty() {
            return Err(Error::Empty { what: "input" });
        }
        let wanted = self.len + tokens.len();
        if wanted > self.capacity {
            return Err(Error::ContextFull { wanted, capacity: self.capacity, limit: config.context_length });
        }
        match tokens.iter().find(|&&id| id as usize >= config.vocab_size) {
            Some(&id) => Err(Error::TokenOutOfVocabulary { id, vocab_size: config.vocab_size }),
            None => Ok(()),
        }
    }
}

/// Appends tokens to several sequences of one model at once, which share the reading of its weights, and shows
/// `each` the index of the part and the logits `[vocab]` after each of its `tokens[from..]`: part after part, in
/// order. The bits are those of one sequence at a time.
///
/// # Errors
/// No tokens, an id outside the vocabulary, a full context, or activations that are not finite. The
/// sessions then are as they were before the call.
///
/// # Panics
/// The sessions are of different models.
///
/// ```
/// # use b158_runner::{LoadOptions, Model, Part, Session, Shape, SyntheticFormat, forward_batch};
/// # let shape = Shape::named("tiny").unwrap();
/// # let model = Model::synthetic(shape, SyntheticFormat::Ternary, LoadOptions::default(), |_| ())?;
/// let (mut a, mut b) = (Session::new(&model, 8)?, Session::new(&model, 8)?);
/// let mut seen = Vec::new();
/// forward_batch(
///     &mut [
///         Part { session: &mut a, tokens: &[1, 2, 3], from: 2 },
///         Part { session: &mut b, tokens: &[4], from: 0 },
///     ],
///     |part, logits| seen.push((part, logits.len())),
/// )?;
/// let vocab_size = model.config().vocab_size;
/// assert_eq!(seen, [(0, vocab_size), (1, vocab_size)]);
/// # Ok::<(), b158_runner::Error>(())
/// ```
pub fn forward_batch(parts: &mut [Part<'_, '_>], mut each: impl FnMut(usize, &[f32])) -> Result<(), Error> {
    let Some(first) = parts.first_mut() else { return Ok(()) };
    let model = first.session.model;
    // Buffers of the first sequence serve all.
    let mut scratch = std::mem::take(&mut first.session.scratch);
    let result = parts
        .iter()
        .try_for_each(|part| {
            assert!(std::ptr::eq(part.session.model, model), "a batch is of one model");
            part.session.check(part.tokens)
        })
        .and_then(|()| {
            let before: Vec<usize> = parts.iter().map(|part| part.session.len).collect();
            let result = run_tiles(model, &mut scratch, parts, &mut each);
            if result.is_err() {
                for (part, len) in parts.iter_mut().zip(before) {
                    part.session.truncate(len);
                }
            }
            result
        });
    parts[0].session.scratch = scratch;
    result
}

fn run_tiles(
    model: &Model,
    scratch: &mut Scratch,
    parts: &mut [Part<'_, '_>],
    each: &mut impl FnMut(usize, &[f32]),
) -> Result<(), Error> {
    let positions = parts.iter().map(|p| p.session.len + p.tokens.len()).max().unwrap_or(0);
    let rope = model.rope.reach(positions, model.context);
    let lengths: Vec<usize> = parts.iter().map(|part| part.tokens.len()).collect();
    for tile in tiles(&lengths, model.prefill_tile) {
        let mut wanted = Vec::new(); // rows of the pass whose logits are shown, and their part
        let mut segments = Vec::with_capacity(tile.len());
        let mut row = 0;
        let mut ranges = tile.iter().peekable();
        for (index, Part { session, tokens, from }) in parts.iter_mut().enumerate() {
            let Some((_, range)) = ranges.next_if(|(part, _)| *part == index) else { continue };
            let skip = from.saturating_sub(range.start).min(range.len());
            wanted.extend((row + skip..row + range.len()).map(|row| (row, index)));
            row += range.len();
            segments.push(Segment {
                cache: &mut session.cache,
                start: session.len,
                tokens: &tokens[range.clone()],
            });
        }
        let mut pass = Pass { model, rope: &rope, scratch, segments: &mut segments };
        pass.run()?;
        for wanted in wanted.chunks(HEAD_TILE) {
            let rows: Vec<usize> = wanted.iter().map(|(row, _)| *row).collect();
            let logits = pass.head(&rows)?;
            for (logits, (_, part)) in logits.chunks_exact(model.config.vocab_size).zip(wanted) {
                each(*part, logits);
            }
        }
        for (part, range) in tile {
            parts[part].session.len += range.len();
        }
    }
    Ok(())
}

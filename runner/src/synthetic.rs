//! Models without training: seeded weights of a published shape, made in place.
//!
//! What a token costs does not depend on what the weights are, only on how many and in which form, so speed and
//! memory can be measured without a file. Ternary codes are independent, 31 % of them zero, as rounding by the
//! absolute mean leaves of Gaussian weights (P(|w| < mean / 2) = 0.31). The scales keep the variance of
//! activations: 1 / sqrt(0.69 cols). Full-precision weights are f16, uniform, with variance 1 / cols; norms are 1.
//!
//! Every row has a generator of its own (SplitMix64 of Steele, Lea and Flood, seeded by tensor and row), so
//! the weights are the same for every number of threads, layout and instruction set.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use b158_checkpoint::{LayerTensor, ModelConfig, TensorId};
use b158_kernels::{
    Isa,
    ternary::{Layout, TernaryMatrix},
};
use half::f16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Error, LoadOptions, Model, Shape,
    linear::{BlockLinear, Linear},
    memory::{MemoryReport, Needed},
    model::Layer,
    rope_cache::RopeCache,
    weights::DenseWeights,
};

/// What the linear layers of a synthetic model are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyntheticFormat {
    /// Ternary codes and int8 activations: BitNet b1.58.
    Ternary,
    /// f16: the twin in full precision.
    F16,
}

impl SyntheticFormat {
    /// The name that people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ternary => "ternary",
            Self::F16 => "FP16",
        }
    }
}

/// Code 0 for bytes below the first, 1 below the second, -1 from there on: 79, 89 and 88 of 256.
const FIRST_ONE: u8 = 79;
const FIRST_MINUS: u8 = 168;

/// Steps of the uniform distribution of full-precision weights.
const STEPS: usize = 1 << 12;

impl Model {
    /// A model of that shape with seeded weights. `done` hears the number of finished layers.
    ///
    /// ```
    /// use b158_runner::{LoadOptions, Model, Session, Shape, SyntheticFormat};
    ///
    /// let shape = Shape::named("tiny").unwrap();
    /// let model = Model::synthetic(shape, SyntheticFormat::Ternary, LoadOptions::default(), |_| ())?;
    /// let logits = Session::new(&model, 3)?.forward(&[5, 6, 7], 2)?;
    /// assert_eq!(logits.dim(), (1, 512));
    /// # Ok::<(), b158_runner::Error>(())
    /// ```
    ///
    /// # Errors
    /// Memory that does not suffice, or a context beyond [`Shape::CONTEXT`].
    pub fn synthetic(
        shape: &Shape,
        format: SyntheticFormat,
        options: LoadOptions,
        done: impl Fn(usize) + Sync,
    ) -> Result<Self, Error> {
        let config = shape.config(format);
        let path = PathBuf::from(format!("{} ({}, synthetic)", shape.name, format.name()));
        let context = options.context_within(config.context_length)?;
        let weights = MemoryReport::of_config(&config, options.isa);
        Needed::new(&config, weights, &options).check(&path, options.memory)?;

        let finished = AtomicUsize::new(0);
        let layers = (0..config.layers)
            .into_par_iter()
            .map(|index| {
                let layer = layer(&config, index, options.isa);
                done(finished.fetch_add(1, Ordering::Relaxed) + 1);
                layer
            })
            .collect();
        let embedding = dense(&config, TensorId::TokenEmbedding);
        let tied = config.tied_embeddings;
        let head = if tied { embedding.clone() } else { dense(&config, TensorId::OutputHead) };
        let (rows, cols) = (config.vocab_size, config.hidden_size);
        Ok(Self {
            path,
            isa: options.isa,
            context,
            kv: options.kv,
            prefill_tile: options.prefill_tile.get(),
            rope: RopeCache::new(config.rope_frequencies()),
            embedding,
            layers,
            output_norm: vec![1.0; config.hidden_size],
            head: Linear::Dense { weight: head, rows, cols },
            config,
        })
    }
}

fn layer(config: &ModelConfig, index: usize, isa: Isa) -> Layer {
    let id = |kind| TensorId::Layer { index, kind };
    let linear = |kind| BlockLinear { linear: linear(config, id(kind), isa), input_norm: Vec::new() };
    let norm = |kind, exists: bool| vec![1.0; if exists { id(kind).shape(config)[0] } else { 0 }];
    Layer {
        attn_norm: norm(LayerTensor::AttnNorm, config.block_norms),
        q: linear(LayerTensor::AttnQ),
        k: linear(LayerTensor::AttnK),
        v: linear(LayerTensor::AttnV),
        attn_sub_norm: norm(LayerTensor::AttnSubNorm, config.sub_norms),
        o: linear(LayerTensor::AttnOutput),
        ffn_norm: norm(LayerTensor::FfnNorm, config.block_norms),
        gate: linear(LayerTensor::FfnGate),
        up: linear(LayerTensor::FfnUp),
        ffn_sub_norm: norm(LayerTensor::FfnSubNorm, config.sub_norms),
        down: linear(LayerTensor::FfnDown),
    }
}

fn linear(config: &ModelConfig, id: TensorId, isa: Isa) -> Linear {
    let (rows, cols) = size(config, id);
    if !config.ternary_linears {
        return Linear::Dense { weight: dense(config, id), rows, cols };
    }
    let seed = seed(config, id);
    let row = |r: usize, codes: &mut [i8]| random_codes(seed, r, codes);
    let matrix = TernaryMatrix::from_rows(Layout::best(isa), rows, cols, row);
    Linear::Ternary { matrix, scale: 1.0 / (0.69 * cols as f32).sqrt() }
}

fn size(config: &ModelConfig, id: TensorId) -> (usize, usize) {
    let shape = id.shape(config);
    (shape[0], shape[1])
}

/// Which tensor of the model.
fn seed(config: &ModelConfig, id: TensorId) -> u64 {
    TensorId::all(config).take_while(|other| *other != id).count() as u64
}

fn dense(config: &ModelConfig, id: TensorId) -> DenseWeights {
    let ((rows, cols), seed) = (size(config, id), seed(config, id));
    // A uniform distribution from -a to a has the variance a^2 / 3.
    let a = (3.0 / cols as f32).sqrt();
    let value = |i| f16::from_f32(((2 * i + 1) as f32 / STEPS as f32 - 1.0) * a).to_bits();
    let values: [u16; STEPS] = std::array::from_fn(value);
    let mut bits = vec![0u16; rows * cols];
    bits.par_chunks_exact_mut(cols).enumerate().for_each(|(r, row)| {
        let mut random = SplitMix64::new(seed, r);
        for part in row.chunks_mut(4) {
            let mut word = random.next();
            for bits in part {
                *bits = values[word as usize % STEPS];
                word >>= 16;
            }
        }
    });
    DenseWeights::Owned(Arc::new(bits))
}

fn random_codes(tensor: u64, row: usize, codes: &mut [i8]) {
    let mut random = SplitMix64::new(tensor, row);
    for part in codes.chunks_mut(8) {
        let bytes = random.next().to_le_bytes();
        for (code, byte) in part.iter_mut().zip(bytes) {
            *code = i8::from(byte >= FIRST_ONE) - 2 * i8::from(byte >= FIRST_MINUS);
        }
    }
}

struct SplitMix64(u64);

impl SplitMix64 {
    fn new(tensor: u64, row: usize) -> Self {
        // A step of the generator for each coordinate keeps neighbours apart.
        let tensor = Self(tensor).next();
        Self(Self(tensor ^ row as u64).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Session;

    #[test]
    fn codes_have_the_shares_that_rounding_leaves() {
        let mut counts = [0u32; 3];
        for row in 0..100 {
            let mut codes = [9; 1001];
            random_codes(3, row, &mut codes);
            for code in codes {
                counts[(code + 1) as usize] += 1;
            }
        }
        // Of 100100 independent codes; 500 is more than three standard deviations.
        for (count, share) in counts.into_iter().zip([88.0, 79.0, 89.0]) {
            assert!((f64::from(count) - share / 256.0 * 100_100.0).abs() < 500.0, "{counts:?}");
        }
    }

    /// The sequence that the authors' code gives from the state 0.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = SplitMix64(0);
        assert_eq!([random.next(), random.next()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn every_instruction_set_has_the_same_model() {
        let shape = Shape::named("tiny").unwrap();
        for format in [SyntheticFormat::Ternary, SyntheticFormat::F16] {
            let logits = |isa| {
                let options = LoadOptions { isa, ..LoadOptions::default() };
                let model = Model::synthetic(shape, format, options, |_| ()).unwrap();
                assert_eq!(model.memory(), MemoryReport::of_config(model.config(), isa));
                assert_eq!(model.is_ternary(), format == SyntheticFormat::Ternary);
                Session::new(&model, 3).unwrap().forward(&[1, 2, 3], 0).unwrap()
            };
            let expected = logits(Isa::SCALAR);
            assert!(expected.iter().any(|l| l.abs() > 0.01), "the activations do not die out");
            for isa in Isa::available() {
                assert_eq!(logits(isa), expected, "{isa}");
            }
        }
    }
}

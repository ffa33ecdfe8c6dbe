//! A twin's latent weights and what the optimizer keeps of them, in f32.

use b158_checkpoint::{LayerTensor, ModelConfig, TensorId};
use half::f16;

use crate::random::Random;

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Which of the model's tensors.
    pub id: TensorId,
    /// Rows first; norms have one dimension.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
    /// The optimizer's running mean of the gradient.
    pub mean: Vec<f32>,
    /// Its running mean of the gradient's square.
    pub square: Vec<f32>,
}

impl Parameter {
    /// A tensor with these values that was never updated.
    pub fn new(id: TensorId, shape: Vec<usize>, values: Vec<f32>) -> Self {
        let zeros = vec![0.0; values.len()];
        Self { id, shape, values, mean: zeros.clone(), square: zeros }
    }

    /// Whether weight decay applies: to matrices, not to norms.
    pub fn decays(&self) -> bool {
        self.shape.len() == 2
    }
}

/// A weight that no F16 file holds: one that is not finite or too large.
pub fn beyond_f16(parameters: &[Parameter]) -> Option<f32> {
    let largest = f32::from(f16::MAX);
    let is_beyond = |w: &&f32| w.is_nan() || w.abs() > largest;
    parameters.iter().find_map(|p| p.values.iter().find(is_beyond)).copied()
}

/// All tensors of a model of that config, in its order.
///
/// Norms begin as ones. Matrices are normal with standard deviation 1 / sqrt(inputs), those that add to the
/// residual stream divided by sqrt(2 layers) (as GPT-2 does), so that its variance does not grow with depth. Each
/// tensor draws from a stream of its own, so that twins of one seed begin with the same values whatever norms they
/// have.
pub fn initial(config: &ModelConfig, seed: u64) -> Vec<Parameter> {
    let matrix = |id: TensorId, shape: &[usize]| {
        let residual =
            matches!(id, TensorId::Layer { kind: LayerTensor::AttnOutput | LayerTensor::FfnDown, .. });
        let depth = if residual { 2.0 * config.layers as f64 } else { 1.0 };
        let deviation = 1.0 / (shape[1] as f64 * depth).sqrt();
        let mut random = Random::new(seed, stream(id));
        (0..shape.iter().product()).map(|_| (random.normal() * deviation) as f32).collect()
    };
    TensorId::all(config)
        .map(|id| {
            let shape = id.shape(config);
            let values = if shape.len() == 2 { matrix(id, &shape) } else { vec![1.0; shape[0]] };
            Parameter::new(id, shape, values)
        })
        .collect()
}

/// A number of its own for each tensor of any model.
fn stream(id: TensorId) -> u64 {
    match id {
        TensorId::TokenEmbedding => 1,
        TensorId::OutputNorm => 2,
        TensorId::OutputHead => 3,
        TensorId::Layer { index, kind } => {
            let kind = LayerTensor::ALL.iter().position(|other| *other == kind).expect("one of all");
            ((index as u64 + 1) << 8) + kind as u64
        }
    }
}

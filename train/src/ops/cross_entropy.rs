//! The loss: minus the log-probability of each token that follows, summed.
//!
//! ```text
//!   loss = sum over rows of (ln sum e^x - x[target])      dx = softmax(x) - 1 at the target
//! ```

use b158_kernels::{Isa, softmax};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

use super::{output, values, with_values};

/// The sum over rows of `logits` `[tokens, vocabulary]` of minus the log-probability of `targets` `[tokens]`, in nats,
/// times `weight`: a tensor without dimensions. Sums are f64.
pub fn cross_entropy(logits: &Tensor, targets: &[u32], weight: f32) -> Result<Tensor> {
    if logits.device().is_cpu() {
        logits.apply_op1(CrossEntropy { targets: targets.to_vec(), weight })
    } else {
        composed(logits, targets, weight)
    }
}

/// The same, row by row, without derivative.
pub fn losses(logits: &Tensor, targets: &[u32]) -> Result<Vec<f64>> {
    let vocabulary = logits.dim(D::Minus1)?;
    let logits = logits.to_device(&candle_core::Device::Cpu)?;
    with_values(&logits, |logits| {
        let rows = logits.chunks_exact(vocabulary).zip(targets);
        rows.map(|(row, &target)| -softmax::log_probability(Isa::best(), row, target as usize)).collect()
    })
}

fn composed(logits: &Tensor, targets: &[u32], weight: f32) -> Result<Tensor> {
    let targets = Tensor::new(targets, logits.device())?.unsqueeze(1)?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let losses = (log_sum - shifted.gather(&targets, 1)?)?;
    losses.sum_all()? * f64::from(weight)
}

struct CrossEntropy {
    targets: Vec<u32>,
    weight: f32,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = values(logits, layout)?;
        let (_, vocabulary) = layout.shape().dims2()?;
        let rows = logits.chunks_exact(vocabulary).zip(&self.targets);
        let loss: f64 =
            rows.map(|(row, &target)| -softmax::log_probability(Isa::best(), row, target as usize)).sum();
        Ok(output(vec![(loss * f64::from(self.weight)) as f32], ()))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, dloss: &Tensor) -> Result<Option<Tensor>> {
        let weight = dloss.to_vec0::<f32>()? * self.weight;
        let vocabulary = logits.dim(D::Minus1)?;
        let mut dx = with_values(logits, <[f32]>::to_vec)?;
        for (row, &target) in dx.chunks_exact_mut(vocabulary).zip(&self.targets) {
            softmax::softmax(Isa::best(), row);
            row[target as usize] -= 1.0;
            for x in row {
                *x *= weight;
            }
        }
        Tensor::from_vec(dx, logits.shape(), logits.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{agree, wavy};

    #[test]
    fn fused_equals_composed() {
        let logits = wavy(&[4, 33], 0.0);
        let targets = [0, 32, 7, 7];
        agree(&[&logits], || cross_entropy(&logits, &targets, 0.25), || composed(&logits, &targets, 0.25));
        let sum: f64 = losses(&logits, &targets).unwrap().iter().sum();
        let loss = cross_entropy(&logits, &targets, 0.25).unwrap().to_vec0::<f32>().unwrap();
        assert_eq!((sum * 0.25) as f32, loss);
    }
}

//! AdamW (arXiv 1711.05101) and clipping of the gradient, as PyTorch computes them.
//!
//! ```text
//!   g  *= min(1, clip / (norm + 1e-6))              norm over all gradients together
//!   w  -= rate decay w                              matrices only
//!   m   = 0.9 m + 0.1 g        v = 0.95 v + 0.05 g^2
//!   w  -= rate m' / (sqrt(v') + 1e-8)               m' = m / (1 - 0.9^t), v' = v / (1 - 0.95^t)
//! ```
//!
//! The betas are those of both papers.

use crate::parameters::Parameter;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.95;
const EPSILON: f64 = 1e-8;

/// Scales all gradients so that their common Euclidean norm is at most `limit`; returns the norm before that.
pub fn clip(gradients: &mut [Vec<f32>], limit: f64) -> f64 {
    let square = |gradient: &Vec<f32>| gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
    let norm = gradients.iter().map(square).sum::<f64>().sqrt();
    let factor = (limit / (norm + 1e-6)).min(1.0) as f32;
    if factor < 1.0 {
        gradients.iter_mut().flatten().for_each(|g| *g *= factor);
    }
    norm
}

/// One update; `step` counts from 1.
pub fn update(parameters: &mut [Parameter], gradients: &[Vec<f32>], step: usize, rate: f64, decay: f64) {
    let correction = |beta: f64| 1.0 - libm::pow(beta, step as f64);
    let step_size = (rate / correction(BETA1)) as f32;
    let root = (1.0 / libm::sqrt(correction(BETA2))) as f32;
    for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
        let keep = if parameter.decays() { (1.0 - rate * decay) as f32 } else { 1.0 };
        let moments = parameter.mean.iter_mut().zip(&mut parameter.square);
        for ((w, (m, v)), g) in parameter.values.iter_mut().zip(moments).zip(gradient) {
            *m = BETA1 as f32 * *m + (1.0 - BETA1) as f32 * g;
            *v = BETA2 as f32 * *v + (1.0 - BETA2) as f32 * (g * g);
            *w = *w * keep - step_size * *m / (v.sqrt() * root + EPSILON as f32);
        }
    }
}

//! What a linear layer does to its input, and the straight-through estimator of its derivative.
//!
//! ```text
//!   int8     s = 127 / max(max |x|, 1e-5) of a token (or of each of its groups of features)
//!            y = round(x s) / s, halves to even       dx = dy                       arXiv 2402.17764
//!   sign     y = m sign(x), m = mean |x| of a token   dx = dy where |x| <= 1        arXiv 1602.02830
//! ```
//!
//! The int8 codes are the runner's (absmax of arXiv 2310.11453, equation 4, and 2402.17764): BitNet's quantizer
//! with Qb = 127, so that its integers are symmetric. The sign of 0 is +1. The scale m keeps values near those of
//! full precision and is a constant to the derivative.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

use super::{output, sum, values, with_values};

/// Activations below this count as this large.
const TINY: f32 = 1e-5;
/// Adding and subtracting 1.5 * 2^23 rounds to an integer, halves to even, where |x| < 2^22.
const ROUND: f32 = 12_582_912.0;

/// The input of linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationQuantizer {
    /// As it is.
    None,
    /// Eight-bit integers.
    Int8 {
        /// Groups of features with a scale of their own; divides their number.
        groups: usize,
    },
    /// Signs.
    Sign,
}

/// `x` `[tokens, width]` after the quantizer.
pub fn quantize(quantizer: ActivationQuantizer, x: &Tensor) -> Result<Tensor> {
    match quantizer {
        ActivationQuantizer::None => Ok(x.clone()),
        _ if x.device().is_cpu() => x.apply_op1(Quantize(quantizer)),
        _ => composed(quantizer, x),
    }
}

fn composed(quantizer: ActivationQuantizer, x: &Tensor) -> Result<Tensor> {
    match quantizer {
        ActivationQuantizer::None => Ok(x.clone()),
        ActivationQuantizer::Int8 { groups } => {
            let (tokens, width) = x.dims2()?;
            let grouped = x.reshape((tokens * groups, width / groups))?;
            let absmax = grouped.abs()?.max_keepdim(D::Minus1)?.clamp(TINY, f32::MAX)?;
            let scale = (absmax.recip()? * 127.0)?;
            let scaled = grouped.broadcast_mul(&scale)?;
            let round = f64::from(ROUND);
            let quantized = ((scaled + round)? - round)?.broadcast_div(&scale)?;
            // Added and subtracted, the estimator's difference would round once more: the value is exact.
            let difference = (quantized - &grouped)?.detach();
            (grouped + difference)?.reshape((tokens, width))
        }
        ActivationQuantizer::Sign => {
            let mean = x.abs()?.mean_keepdim(D::Minus1)?.detach();
            let sign = x.ge(0.0)?.to_dtype(x.dtype())?.affine(2.0, -1.0)?;
            // The derivative of clamp is 1 inside, as the hard tanh's.
            let hard_tanh = x.clamp(-1.0, 1.0)?;
            let difference = (sign.broadcast_mul(&mean)? - &hard_tanh)?.detach();
            hard_tanh + difference
        }
    }
}

struct Quantize(ActivationQuantizer);

impl CustomOp1 for Quantize {
    fn name(&self) -> &'static str {
        "quantize_activations"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let (_, width) = layout.shape().dims2()?;
        let mut out = vec![0.0; x.len()];
        match self.0 {
            ActivationQuantizer::None => out.copy_from_slice(x),
            ActivationQuantizer::Int8 { groups } => {
                let group = width / groups;
                for (x, out) in x.chunks_exact(group).zip(out.chunks_exact_mut(group)) {
                    let scale = 127.0 / absmax(x).max(TINY);
                    for (x, out) in x.iter().zip(out) {
                        *out = (x * scale + ROUND - ROUND) / scale;
                    }
                }
            }
            ActivationQuantizer::Sign => {
                for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                    let mean = sum(width, |i| x[i].abs()) / width as f32;
                    for (x, out) in x.iter().zip(out) {
                        *out = if *x >= 0.0 { mean } else { -mean };
                    }
                }
            }
        }
        Ok(output(out, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        if self.0 != ActivationQuantizer::Sign {
            return Ok(Some(dy.clone()));
        }
        let dx = with_values(x, |x| {
            with_values(dy, |dy| {
                x.iter().zip(dy).map(|(x, dy)| if x.abs() <= 1.0 { *dy } else { 0.0 }).collect::<Vec<_>>()
            })
        })??;
        Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
    }
}

fn absmax(x: &[f32]) -> f32 {
    let larger = |max: f32, x: &f32| if x.abs() > max { x.abs() } else { max };
    let mut lanes = [0.0f32; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder().iter().fold(0.0, larger);
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, x);
        }
    }
    lanes.iter().fold(rest, larger)
}

#[cfg(test)]
mod tests {
    use b158_kernels::{Isa, quantize::Int8Rows};

    use super::*;
    use crate::ops::testing::{agree, wavy};

    #[test]
    fn fused_equals_composed() {
        let x = wavy(&[4, 24], 0.0);
        for quantizer in [
            ActivationQuantizer::Int8 { groups: 1 },
            ActivationQuantizer::Int8 { groups: 3 },
            ActivationQuantizer::Sign,
        ] {
            agree(&[&x], || quantize(quantizer, &x), || composed(quantizer, &x));
        }
    }

    #[test]
    fn the_codes_are_those_of_inference() {
        let x = wavy(&[4, 24], 0.0);
        let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mut rows = Int8Rows::new();
        rows.quantize(Isa::best(), &values, 24).unwrap();
        let trained =
            quantize(ActivationQuantizer::Int8 { groups: 1 }, &x).unwrap().to_vec2::<f32>().unwrap();
        for (i, trained) in trained.iter().enumerate() {
            // Back to codes: what is left of the scale's rounding is far below a half.
            let codes: Vec<i8> =
                trained.iter().map(|y| (y * rows.scale(i)).round_ties_even() as i8).collect();
            assert_eq!(codes, rows.row(i));
        }
    }

    #[test]
    fn a_token_of_zeros_stays_zero() {
        let x = Tensor::zeros((2, 8), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        for quantizer in [ActivationQuantizer::Int8 { groups: 1 }, ActivationQuantizer::Sign] {
            let y = quantize(quantizer, &x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(y, [0.0; 16]);
        }
    }
}

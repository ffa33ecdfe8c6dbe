//! Causal attention over whole sequences: softmax(q k / sqrt(d)) v, where a position sees itself and what is before.
//!
//! ```text
//!   s = q k          candle's product, all positions by all positions
//!   p = softmax of the first i + 1 elements of row i, times 1/sqrt(d); zeros after them      fused
//!   y = p v          candle's product
//!   ds = p (dp - sum(dp p)) / sqrt(d)
//! ```

use b158_kernels::{Isa, softmax};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

use super::{output, sum, values, with_values};

/// Attention of heads: `q` `[heads, positions, d]`, `k` `[heads, d, positions]`, `v` `[heads, positions, d]`, heads
/// of all sequences. The result lies as `q`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let scale = 1.0 / (q.dim(D::Minus1)? as f32).sqrt();
    let scores = q.matmul(k)?;
    let probabilities = if q.device().is_cpu() {
        scores.apply_op1(CausalSoftmax { scale })?
    } else {
        composed(&scores, scale)?
    };
    probabilities.matmul(v)
}

fn composed(scores: &Tensor, scale: f32) -> Result<Tensor> {
    let positions = scores.dim(D::Minus1)?;
    let mask: Vec<f32> = (0..positions * positions)
        .map(|i| if i % positions > i / positions { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    let mask = Tensor::from_vec(mask, (positions, positions), scores.device())?;
    let scaled = (scores * f64::from(scale))?.broadcast_add(&mask)?;
    let shifted = scaled.broadcast_sub(&scaled.max_keepdim(D::Minus1)?.detach())?.exp()?;
    shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)
}

struct CausalSoftmax {
    scale: f32,
}

impl CustomOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal_softmax"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let scores = values(scores, layout)?;
        let (_, _, positions) = layout.shape().dims3()?;
        let mut out = vec![0.0; scores.len()];
        for (row, (scores, out)) in
            scores.chunks_exact(positions).zip(out.chunks_exact_mut(positions)).enumerate()
        {
            let seen = row % positions + 1;
            for (out, score) in out[..seen].iter_mut().zip(scores) {
                *out = score * self.scale;
            }
            softmax::softmax(Isa::best(), &mut out[..seen]);
        }
        Ok(output(out, layout.shape()))
    }

    fn bwd(&self, scores: &Tensor, p: &Tensor, dp: &Tensor) -> Result<Option<Tensor>> {
        let positions = scores.dim(D::Minus1)?;
        let mut ds = vec![0.0; scores.elem_count()];
        with_values(p, |p| {
            with_values(dp, |dp| {
                let rows = p.chunks_exact(positions).zip(dp.chunks_exact(positions));
                for (row, ((p, dp), ds)) in rows.zip(ds.chunks_exact_mut(positions)).enumerate() {
                    let seen = row % positions + 1;
                    let expected = sum(seen, |i| p[i] * dp[i]);
                    for i in 0..seen {
                        ds[i] = p[i] * (dp[i] - expected) * self.scale;
                    }
                }
            })
        })??;
        Tensor::from_vec(ds, scores.shape(), scores.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{agree, wavy};

    #[test]
    fn fused_equals_composed() {
        let scores = wavy(&[3, 18, 18], 0.0);
        agree(&[&scores], || scores.apply_op1(CausalSoftmax { scale: 0.5 }), || composed(&scores, 0.5));
    }

    #[test]
    fn a_position_sees_nothing_after_itself() {
        let (q, k, v) = (wavy(&[1, 4, 2], 0.0), wavy(&[1, 2, 4], 1.0), wavy(&[1, 4, 2], 2.0));
        let all = attention(&q, &k, &v).unwrap().to_vec3::<f32>().unwrap();
        let cut = |x: &Tensor, dim| x.narrow(dim, 0, 2).unwrap().contiguous().unwrap();
        let first = attention(&cut(&q, 1), &cut(&k, 2), &cut(&v, 1)).unwrap().to_vec3::<f32>().unwrap();
        for (first, all) in first[0].iter().flatten().zip(all[0].iter().flatten()) {
            // Products of other shapes may add in another order.
            assert!((first - all).abs() < 1e-6, "{first} {all}");
        }
    }
}

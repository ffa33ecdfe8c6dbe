//! RMSNorm (arXiv 1910.07467): y = x / sqrt(mean(x^2) + eps) * w.
//!
//! ```text
//!   n = x r,  r = 1 / sqrt(mean(x^2) + eps)
//!   dw = sum over tokens of dy n
//!   dx = r (dy w - n mean(dy w n))
//! ```

use b158_kernels::{Isa, norm};
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};

use super::{output, sum, values, with_values};

/// The norm of every row of `x` `[tokens, width]` with the weights `[width]`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    if x.device().is_cpu() { x.apply_op2(weight, RmsNorm { eps }) } else { composed(x, weight, eps) }
}

fn composed(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean_square + f64::from(eps))?.sqrt()?)?.broadcast_mul(weight)
}

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (values(x, x_layout)?, values(weight, weight_layout)?);
        let mut out = vec![0.0; x.len()];
        norm::rms_norm(Isa::best(), x, weight, self.eps, &mut out);
        Ok(output(out, x_layout.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let mut dx = vec![0.0; x.elem_count()];
        let mut dw = vec![0.0f32; width];
        with_values(x, |x| {
            with_values(weight, |weight| {
                with_values(dy, |dy| {
                    let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
                    for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(width)) {
                        let mean_square = sum(width, |i| x[i] * x[i]) / width as f32;
                        let r = 1.0 / (mean_square + self.eps).sqrt();
                        let mean = sum(width, |i| dy[i] * weight[i] * x[i]) * r / width as f32;
                        for i in 0..width {
                            let n = x[i] * r;
                            dw[i] += dy[i] * n;
                            dx[i] = r * (dy[i] * weight[i] - n * mean);
                        }
                    }
                })
            })
        })???;
        let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
        Ok((Some(dx), Some(Tensor::from_vec(dw, width, x.device())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{agree, wavy};

    #[test]
    fn fused_equals_composed() {
        let (x, w) = (wavy(&[5, 19], 0.0), wavy(&[19], 1.0));
        agree(&[&x, &w], || rms_norm(&x, &w, 1e-5), || composed(&x, &w, 1e-5));
    }
}

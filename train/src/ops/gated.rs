//! The gated activations of the feed-forward network: silu(gate) up, relu(gate)^2 up.
//!
//! ```text
//!   silu(g) = g s(g)       silu'(g) = s (1 + g (1 - s)),  s = 1 / (1 + e^-g)
//!   relu(g)^2              2 max(g, 0)
//! ```

use b158_checkpoint::Activation;
use b158_kernels::{Isa, activation};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::{output, values, with_values};

/// `activation(gate) * up`, element by element.
pub fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.device().is_cpu() {
        gate.apply_op2(up, Gated(activation))
    } else {
        composed(activation, gate, up)
    }
}

fn composed(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => gate.silu()?.mul(up),
        Activation::Relu2 => gate.relu()?.sqr()?.mul(up),
    }
}

struct Gated(Activation);

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (values(gate, gate_layout)?, values(up, up_layout)?);
        let mut out = vec![0.0; gate.len()];
        match self.0 {
            Activation::Silu => activation::silu_mul(Isa::best(), gate, up, &mut out),
            Activation::Relu2 => activation::relu2_mul(Isa::best(), gate, up, &mut out),
        }
        Ok(output(out, gate_layout.shape()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let n = gate.elem_count();
        let (mut dgate, mut dup) = (vec![0.0; n], vec![0.0; n]);
        with_values(gate, |gate| {
            with_values(up, |up| {
                with_values(dy, |dy| match self.0 {
                    Activation::Silu => {
                        // The sigmoids first, where the gradient will be.
                        activation::sigmoid(Isa::best(), gate, &mut dgate);
                        for i in 0..n {
                            let (g, s) = (gate[i], dgate[i]);
                            dup[i] = dy[i] * g * s;
                            dgate[i] = dy[i] * up[i] * s * (1.0 + g * (1.0 - s));
                        }
                    }
                    Activation::Relu2 => {
                        for i in 0..n {
                            let positive = if gate[i] > 0.0 { gate[i] } else { 0.0 };
                            dup[i] = dy[i] * positive * positive;
                            dgate[i] = dy[i] * up[i] * 2.0 * positive;
                        }
                    }
                })
            })
        })???;
        let tensor = |values| Tensor::from_vec(values, gate.shape(), gate.device());
        Ok((Some(tensor(dgate)?), Some(tensor(dup)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{agree, wavy};

    #[test]
    fn fused_equals_composed() {
        let (gate, up) = (wavy(&[3, 21], 0.0), wavy(&[3, 21], 1.0));
        for activation in [Activation::Silu, Activation::Relu2] {
            agree(&[&gate, &up], || gated(activation, &gate, &up), || composed(activation, &gate, &up));
        }
    }
}

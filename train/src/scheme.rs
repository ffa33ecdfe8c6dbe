//! What the linear layers' weights become in the forward pass, and what their gradient becomes on the way back.
//!
//! ```text
//!   fp16             W                                                    dW = dW~
//!   b1.58            s round(clip(W / s, -1, 1)),  s = mean |W|           dW = dW~      arXiv 2402.17764, eq. 1 to 3
//!   b1.58-absmedian  the same with s = median |W|                         dW = dW~      arXiv 2407.09527
//!   bitnet           beta sign(W - alpha), alpha = mean W, beta = mean |W|  dW = dW~    arXiv 2310.11453, eq. 1 to 3
//!   bnn              beta sign(W)                            dW = dW~ where |W| <= 1    arXiv 1602.02830, eq. 1 and 4
//! ```
//!
//! The gradient is taken at the quantized weights W~ and applied to the latent weights W: the straight-through
//! estimator. So quantization happens once a step, outside of what is differentiated. bitnet's sign of 0 is -1, bnn's
//! is +1, as in their papers. bnn's beta is not in its paper: it keeps the scale of layers that have no batch norm.

use b158_kernels::{Isa, dense::DenseSlice, ternarize};
use serde::{Deserialize, Serialize};

use crate::{Error, ops::ActivationQuantizer};

/// How a twin's linear layers compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// Full precision: f32 while it is trained, F16 in the file.
    #[serde(rename = "fp16")]
    Fp16,
    /// BitNet b1.58: ternary by the mean.
    #[serde(rename = "b1.58")]
    B158,
    /// BitNet b1.58 Reloaded: ternary by the median.
    #[serde(rename = "b1.58-absmedian")]
    B158Absmedian,
    /// BitNet: binary, zero-mean.
    #[serde(rename = "bitnet")]
    BitNet,
    /// Binarized neural network: binary weights and activations.
    #[serde(rename = "bnn")]
    Bnn,
}

impl Scheme {
    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp16 => "fp16",
            Self::B158 => "b1.58",
            Self::B158Absmedian => "b1.58-absmedian",
            Self::BitNet => "bitnet",
            Self::Bnn => "bnn",
        }
    }

    /// Whether the linear layers are BitLinear.
    pub fn is_quantized(self) -> bool {
        self != Self::Fp16
    }

    /// The quantizer of the linear layers' inputs.
    pub fn activations(self, groups: usize) -> ActivationQuantizer {
        match self {
            Self::Fp16 => ActivationQuantizer::None,
            Self::Bnn => ActivationQuantizer::Sign,
            _ => ActivationQuantizer::Int8 { groups },
        }
    }

    /// The weights `[rows, cols]` as the forward pass has them. With several groups, each group of rows has scales of
    /// its own (arXiv 2310.11453, section 2.2: group quantization). The section's norms of each group are not among them:
    /// they save communication between machines, and there is one here; sub-norms are over the whole width.
    ///
    /// # Errors
    /// A weight that is not finite.
    pub fn weights(self, latent: &[f32], groups: usize) -> Result<Vec<f32>, Error> {
        let mut out = vec![0.0; latent.len()];
        let group = latent.len() / groups;
        for (latent, out) in latent.chunks_exact(group).zip(out.chunks_exact_mut(group)) {
            self.quantize(latent, out)?;
        }
        Ok(out)
    }

    fn quantize(self, latent: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let slice = DenseSlice::F32(latent);
        let not_finite = |_| Error::NotFinite;
        let mut codes = vec![0i8; latent.len()];
        let scale = match self {
            Self::Fp16 => {
                out.copy_from_slice(latent);
                return Ok(());
            }
            Self::B158 | Self::B158Absmedian => {
                let isa = Isa::best();
                let scale = if self == Self::B158 {
                    ternarize::absmean(isa, slice)
                } else {
                    ternarize::absmedian(isa, slice)
                };
                let scale = scale.map_err(not_finite)?;
                ternarize::ternarize(isa, slice, scale, &mut codes);
                scale
            }
            Self::BitNet => ternarize::binary(Isa::best(), slice, &mut codes).map_err(not_finite)?,
            Self::Bnn => {
                for (code, w) in codes.iter_mut().zip(latent) {
                    *code = if *w >= 0.0 { 1 } else { -1 };
                }
                ternarize::absmean(Isa::best(), slice).map_err(not_finite)?
            }
        };
        for (out, code) in out.iter_mut().zip(codes) {
            *out = f32::from(code) * scale;
        }
        Ok(())
    }

    /// Turns the gradient of the quantized weights into that of the latent ones, in place.
    pub fn pass_through(self, latent: &[f32], gradient: &mut [f32]) {
        if self == Self::Bnn {
            for (g, w) in gradient.iter_mut().zip(latent) {
                if w.abs() > 1.0 {
                    *g = 0.0;
                }
            }
        }
    }

    /// What an update may not leave: the real weights of a binarized network stay within -1 and 1, since beyond it
    /// they get no gradient.
    pub fn clip_latent(self, latent: &mut [f32]) {
        if self == Self::Bnn {
            for w in latent {
                *w = w.clamp(-1.0, 1.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: [f32; 6] = [0.5, -0.1, 0.0, -2.0, 0.9, 0.1];

    #[test]
    fn weights_of_every_scheme() {
        let mean = 3.6 / 6.0;
        let close = |scheme: Scheme, groups, expected: [f32; 6]| {
            for (found, expected) in scheme.weights(&W, groups).unwrap().into_iter().zip(expected) {
                // Two roundings.
                assert!((found - expected).abs() < 1e-6, "{scheme:?}: {found} {expected}");
            }
        };
        close(Scheme::Fp16, 1, W);
        close(Scheme::B158, 1, [mean, 0.0, 0.0, -mean, mean, 0.0]);
        // The lower of the two in the middle of 0, 0.1, 0.1, 0.5, 0.9, 2.
        close(Scheme::B158Absmedian, 1, [0.1, -0.1, 0.0, -0.1, 0.1, 0.1]);
        // The mean is -0.1.
        close(Scheme::BitNet, 1, [mean, -mean, mean, -mean, mean, mean]);
        close(Scheme::Bnn, 1, [mean, -mean, mean, -mean, mean, mean]);
        // Halves with means 0.4 / 3 and -1 / 3, and magnitudes 0.2 and 1.
        close(Scheme::BitNet, 2, [0.2, -0.2, -0.2, -1.0, 1.0, 1.0]);
    }

    #[test]
    fn only_bnn_stops_gradients() {
        for scheme in [Scheme::Fp16, Scheme::B158, Scheme::B158Absmedian, Scheme::BitNet, Scheme::Bnn] {
            let mut gradient = [1.0; 6];
            scheme.pass_through(&W, &mut gradient);
            assert_eq!(gradient[3], if scheme == Scheme::Bnn { 0.0 } else { 1.0 });
            assert_eq!(gradient.iter().sum::<f32>(), 5.0 + gradient[3]);
            let mut latent = W;
            scheme.clip_latent(&mut latent);
            assert_eq!(latent[3], if scheme == Scheme::Bnn { -1.0 } else { -2.0 });
        }
    }

    #[test]
    fn a_weight_that_is_not_finite_is_an_error() {
        for scheme in [Scheme::B158, Scheme::B158Absmedian, Scheme::BitNet, Scheme::Bnn] {
            assert!(matches!(scheme.weights(&[1.0, f32::NAN], 1), Err(Error::NotFinite)));
        }
    }
}

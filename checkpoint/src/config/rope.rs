//! The frequencies of rotary position embedding, plain or stretched for a longer context.
//!
//! ```text
//! f(i)     = theta^(-2i/D)                              one turn takes w = 2 pi / f positions
//! linear   f / factor
//! llama3   w < original / high          f               fast ones stay
//!          w > original / low           f / factor      slow ones stretch
//!          between                      (1 - s) f / factor + s f
//!                                       s = (original / w - low) / (high - low)
//! ```
//!
//! In f32 and in the order in which transformers computes them (`modeling_rope_utils.py`), where a
//! number divided by a tensor is the number times the tensor's reciprocal.

use b158_kernels::rope;

use super::ModelConfig;

/// How the rotary frequencies are stretched beyond the context of the pre-training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// Every frequency divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// The slow ones divided by a factor, the fast ones as they are (Llama 3.1).
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Slow are those of fewer turns than this in the original context.
        low_freq_factor: f64,
        /// Fast are those of more turns than this in the original context; above `low_freq_factor`.
        high_freq_factor: f64,
        /// The context of the pre-training, in tokens.
        original_context: usize,
    },
}

impl RopeScaling {
    /// Whether the numbers are such that every frequency stays a positive number.
    pub(crate) fn is_valid(self) -> bool {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        match self {
            Self::None => true,
            Self::Linear { factor } => positive(factor),
            Self::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_context } => {
                positive(factor) && positive(low) && positive(high) && low < high && original_context > 0
            }
        }
    }

    /// The scaled frequencies.
    fn apply(self, mut frequencies: Vec<f32>) -> Vec<f32> {
        match self {
            Self::None => {}
            Self::Linear { factor } => frequencies.iter_mut().for_each(|f| *f /= factor as f32),
            Self::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_context } => {
                let original = original_context as f64;
                let (longest_fast, shortest_slow) = ((original / high) as f32, (original / low) as f32);
                for f in &mut frequencies {
                    let wavelength = f.recip() * std::f64::consts::TAU as f32;
                    if wavelength > shortest_slow {
                        *f /= factor as f32;
                    } else if wavelength >= longest_fast {
                        let turns = wavelength.recip() * original as f32;
                        let s = (turns - low as f32) / (high - low) as f32;
                        *f = (1.0 - s) * *f / factor as f32 + s * *f;
                    }
                }
            }
        }
        frequencies
    }
}

impl ModelConfig {
    /// The inverse frequencies of rotary embedding, one for each of a head's pairs, scaled as the
    /// config says; what [`rope::RopeTable::new`] takes.
    pub fn rope_frequencies(&self) -> Vec<f32> {
        self.rope_scaling.apply(rope::inverse_frequencies(self.head_dim, self.rope_theta))
    }

    /// By what llama.cpp divides each unscaled frequency: its tensor `rope_freqs.weight`, for the one
    /// kind of scaling that has no metadata keys there.
    pub fn rope_factors(&self) -> Option<Vec<f32>> {
        if !matches!(self.rope_scaling, RopeScaling::Llama3 { .. }) {
            return None;
        }
        let plain = rope::inverse_frequencies(self.head_dim, self.rope_theta);
        let scaled = self.rope_scaling.apply(plain.clone());
        Some(plain.into_iter().zip(scaled).map(|(plain, scaled)| plain / scaled).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::llama;

    fn llama31() -> ModelConfig {
        let mut config = llama();
        (config.head_dim, config.rope_theta) = (128, 500_000.0);
        config.rope_scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        config
    }

    #[test]
    fn linear_divides_every_frequency() {
        let mut config = llama31();
        config.rope_scaling = RopeScaling::None;
        let plain = config.rope_frequencies();
        config.rope_scaling = RopeScaling::Linear { factor: 3.0 };
        let scaled = config.rope_frequencies();
        assert!(plain.iter().zip(&scaled).all(|(p, s)| (p / 3.0).to_bits() == s.to_bits()));
        assert_eq!(config.rope_factors(), None);
    }

    /// The formula in f64: f32 keeps 24 bits through some eight operations.
    #[test]
    fn llama3_equals_the_formula() {
        let config = llama31();
        let (scaled, factors) = (config.rope_frequencies(), config.rope_factors().unwrap());
        let mut kinds = [0; 3];
        for (i, (&scaled, &factor)) in scaled.iter().zip(&factors).enumerate() {
            let f = 500_000f64.powf(-2.0 * i as f64 / 128.0);
            let turns = 8192.0 * f / std::f64::consts::TAU;
            let expected = if turns < 1.0 {
                kinds[0] += 1;
                f / 8.0
            } else if turns > 4.0 {
                kinds[1] += 1;
                f
            } else {
                kinds[2] += 1;
                let s = (turns - 1.0) / 3.0;
                (1.0 - s) * f / 8.0 + s * f
            };
            assert!((f64::from(scaled) / expected - 1.0).abs() < 1e-6, "{i}: {scaled} {expected}");
            assert!((f64::from(factor) * expected / f - 1.0).abs() < 1e-6, "{i}");
        }
        assert_eq!(kinds, [29, 29, 6]);
    }

    /// Against numpy in f32, from the same unscaled frequencies: fast, medium, slow.
    #[test]
    fn llama3_has_the_bits_of_f32_arithmetic() {
        const BITS: [u32; 10] = [
            0x3b81_2e35,
            0x3b52_7720,
            0x3b0d_fd07,
            0x3ab3_d11d,
            0x3a60_979e,
            0x3a09_95d3,
            0x39a3_f10b,
            0x393b_2dd2,
            0x38c8_6886,
            0x38a3_418d,
        ];
        let frequencies = llama31().rope_frequencies();
        assert_eq!(frequencies[27..37].iter().map(|f| f.to_bits()).collect::<Vec<_>>(), BITS);
    }

    #[test]
    fn only_sensible_numbers() {
        let scaling = |factor, low_freq_factor, high_freq_factor, original_context| RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        };
        assert!(scaling(8.0, 1.0, 4.0, 8192).is_valid());
        assert!(!scaling(8.0, 4.0, 4.0, 8192).is_valid());
        assert!(!scaling(0.0, 1.0, 4.0, 8192).is_valid());
        assert!(!scaling(8.0, 1.0, 4.0, 0).is_valid());
        assert!(!RopeScaling::Linear { factor: f64::NAN }.is_valid());
    }
}

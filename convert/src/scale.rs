//! The scale of a linear layer as a container holds it.
//!
//! ```text
//!   GGUF, scale tensor       f32                       exact
//!   GGUF, scale in blocks    f16                       rounded
//!   I2_S                     f32 after the codes       exact
//!   hf, autobitlinear        f32, multiplied           exact
//!   hf, bitlinear            f32, divided              1 / x rounded twice: once stored, once read
//!   f16, bf16, f32           in every weight           rounded to the type
//! ```

use b158_checkpoint::{ScaleConvention, TensorType};
use half::{bf16, f16};

use crate::{Format, LinearClass, Options, Scales};

/// Where a scale goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A tensor of its own, f32, which multiplies the product.
    Tensor,
    /// After the codes, f32.
    Tail,
    /// Every block, f16.
    Blocks,
    /// A tensor of its own, f32, in transformers' convention.
    WeightScale(LinearClass),
    /// The weights themselves, in that type.
    Weights(TensorType),
}

impl Place {
    pub(crate) fn of(options: &Options) -> Self {
        match options.format {
            Format::Blocks(format) if !format.block_scales() => Self::Tail,
            Format::Blocks(_) if options.scales == Scales::Blocks => Self::Blocks,
            Format::Blocks(_) => Self::Tensor,
            Format::HuggingFace => Self::WeightScale(options.linear_class),
            Format::F16 | Format::Bf16 | Format::F32 => Self::Weights(options.format.tensor_type()),
        }
    }

    /// The scale that a reader of the file gets; not finite or 0 if the place cannot hold it.
    pub(crate) fn held(self, scale: f32) -> f32 {
        match self {
            Self::Blocks | Self::Weights(TensorType::F16) => f16::from_f32(scale).to_f32(),
            Self::Weights(TensorType::Bf16) => bf16::from_f32(scale).to_f32(),
            Self::WeightScale(class) => read_back(class, stored(class, scale)),
            Self::Tensor | Self::Tail | Self::Weights(_) => scale,
        }
    }
}

/// What `weight_scale` holds.
pub(crate) fn stored(class: LinearClass, scale: f32) -> f32 {
    match class.0 {
        ScaleConvention::Multiply => scale,
        // The reciprocal, or the neighbour of it whose own reciprocal is nearest to the scale. A scale that was
        // read out of a bf16 goes back into that one: transformers divides by it, not by a neighbour.
        ScaleConvention::Divide => {
            let near = 1.0 / scale;
            let short = bf16::from_f32(near).to_f32();
            if 1.0 / short == scale {
                return short;
            }
            let distance = |x: &f32| (1.0 / f64::from(1.0 / *x) - 1.0 / f64::from(scale)).abs();
            [near, near.next_down(), near.next_up()]
                .into_iter()
                .min_by(|a, b| distance(a).total_cmp(&distance(b)))
                .expect("three of them")
        }
    }
}

fn read_back(class: LinearClass, stored: f32) -> f32 {
    match class.0 {
        ScaleConvention::Multiply => stored,
        ScaleConvention::Divide => 1.0 / stored,
    }
}

/// How far `held` is from `scale`, relative to it.
pub(crate) fn relative_change(scale: f32, held: f32) -> f64 {
    (f64::from(held) / f64::from(scale) - 1.0).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_divided_scale_of_bf16_comes_back() {
        let class = LinearClass(ScaleConvention::Divide);
        // Every mantissa, at some exponents.
        for bits in (0x3d00..0x4200u16).map(bf16::from_bits) {
            let divisor = bits.to_f32();
            assert_eq!(stored(class, 1.0 / divisor).to_bits(), divisor.to_bits());
        }
    }
}

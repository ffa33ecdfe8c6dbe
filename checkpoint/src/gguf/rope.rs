//! Rotary scaling in GGUF files.
//!
//! ```text
//! {arch}.rope.scaling.type      none | linear | ...     llama.cpp takes an absent type for linear
//! {arch}.rope.scaling.factor    the divisor of linear scaling (older: {arch}.rope.scale_linear)
//! rope_freqs.weight             tensor [D/2]: what each frequency is divided by (scaling `llama3`)
//! b158.rope_scaling.*           type, factor, low_freq_factor, high_freq_factor, original_context
//! ```
//!
//! The tensor has the quotients only, not the numbers that they come from. Our own keys have them; for
//! files of others they are found by trying the numbers that published models use.

use std::path::Path;

use b158_kernels::dense::{DenseSlice, DenseType};

use super::{
    Gguf, Value,
    metadata::{Keys, Metadata},
};
use crate::{Error, ModelConfig, RopeScaling, TensorType};

/// The tensor of quotients; [`ModelConfig::rope_factors`] has its values.
pub const ROPE_FREQS: &str = "rope_freqs.weight";

const TYPE: &str = "b158.rope_scaling.type";
const FACTOR: &str = "b158.rope_scaling.factor";
const LOW: &str = "b158.rope_scaling.low_freq_factor";
const HIGH: &str = "b158.rope_scaling.high_freq_factor";
const ORIGINAL: &str = "b158.rope_scaling.original_context";

/// What llama.cpp's converters round on the way to a quotient: a dozen operations in f32.
const TOLERANCE: f64 = 1e-5;

/// Appends the entries for a kind of scaling.
pub(super) fn to_gguf(scaling: RopeScaling, arch: &str, out: &mut Metadata) {
    let mut put = |key: &str, value: Value<'static>| out.push((key.to_owned(), value));
    match scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            put(&format!("{arch}.rope.scaling.type"), "linear".into());
            put(&format!("{arch}.rope.scaling.factor"), Value::F32(factor as f32));
            if f64::from(factor as f32) != factor {
                put(FACTOR, Value::F64(factor));
            }
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            put(TYPE, "llama3".into());
            put(FACTOR, Value::F64(factor));
            put(LOW, Value::F64(low_freq_factor));
            put(HIGH, Value::F64(high_freq_factor));
            put(ORIGINAL, Value::U64(original_context as u64));
        }
    }
}

/// The scaling of the model in that file, whose bytes are `bytes`; `config` has everything else.
pub(super) fn from_gguf(keys: &Keys, bytes: &[u8], config: &ModelConfig) -> Result<RopeScaling, Error> {
    match keys.text(TYPE)? {
        None => {}
        Some("llama3") => {
            return Ok(RopeScaling::Llama3 {
                factor: keys.required_float(FACTOR)?,
                low_freq_factor: keys.required_float(LOW)?,
                high_freq_factor: keys.required_float(HIGH)?,
                original_context: keys.required_size(ORIGINAL)?,
            });
        }
        Some(_) => return Err(keys.bad(TYPE, "it must be \"llama3\"")),
    }
    let linear = linear(keys)?;
    let Some(factors) = factors(keys.file, keys.gguf, bytes, config)? else { return Ok(linear) };
    let original = keys.size("{arch}.rope.scaling.original_context_length")?;
    let found = if linear == RopeScaling::None { recover(&factors, original, config) } else { None };
    found.ok_or_else(|| {
        let feature = format!("the tensor `{ROPE_FREQS}` with quotients of no published model");
        Error::unsupported(keys.file, feature, "convert the model again from its Hugging Face folder")
    })
}

fn linear(keys: &Keys) -> Result<RopeScaling, Error> {
    let kind = keys.text("{arch}.rope.scaling.type")?;
    let factor = match keys.float("{arch}.rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.float("{arch}.rope.scale_linear")?,
    };
    let factor = keys.float(FACTOR)?.or(factor).filter(|&factor| factor != 0.0);
    match (kind, factor) {
        // llama.cpp's converter writes the factor 1 for BitNet; it scales nothing.
        (Some("none"), _) | (None | Some("linear"), None | Some(1.0)) => Ok(RopeScaling::None),
        (None | Some("linear"), Some(factor)) => Ok(RopeScaling::Linear { factor }),
        (Some(kind), _) => Err(Error::unsupported(
            keys.file,
            format!("`{}` of \"{}\"", keys.full("{arch}.rope.scaling.type"), crate::error::printable(kind)),
            "use a model with rotary embeddings that are plain or scaled by `linear` or `llama3`",
        )),
    }
}

/// The tensor of quotients, if there is one.
fn factors(file: &Path, gguf: &Gguf, bytes: &[u8], config: &ModelConfig) -> Result<Option<Vec<f32>>, Error> {
    let Some(tensor) = gguf.tensor(ROPE_FREQS) else { return Ok(None) };
    let expected = vec![config.head_dim / 2];
    if tensor.shape != expected {
        let (file, tensor, found) = (file.to_owned(), ROPE_FREQS.to_owned(), tensor.shape.clone());
        return Err(Error::WrongShape { file, tensor, found, expected });
    }
    let bad = || Error::malformed(file, format!("tensor `{ROPE_FREQS}` is not a list of F32 numbers"));
    if tensor.dtype != Some(TensorType::F32) {
        return Err(bad());
    }
    let data = bytes.get(tensor.offset as usize..).and_then(|rest| rest.get(..4 * expected[0]));
    let slice = DenseSlice::from_bytes(DenseType::F32, data.ok_or_else(bad)?).map_err(|_| bad())?;
    let mut factors = vec![0.0; expected[0]];
    slice.to_f32(&mut factors);
    Ok(Some(factors))
}

/// The numbers that give these quotients.
fn recover(factors: &[f32], original: Option<usize>, config: &ModelConfig) -> Option<RopeScaling> {
    // Published factors have at most three decimals; the quotient went through f32.
    let quotient = f64::from(factors.iter().copied().fold(1.0, f32::max));
    let rounded = (quotient * 1000.0).round() / 1000.0;
    let factor = if (rounded / quotient - 1.0).abs() < TOLERANCE { rounded } else { quotient };
    if factors.iter().all(|&f| f == 1.0) {
        return Some(RopeScaling::None);
    }
    let contexts = original.into_iter().chain([8192]).chain((11..18).map(|n| 1 << n));
    contexts
        .map(|original_context| RopeScaling::Llama3 {
            factor,
            // Of every model from Llama 3.1 on.
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context,
        })
        .filter(|scaling| scaling.is_valid())
        .find(|&rope_scaling| {
            let expected = ModelConfig { rope_scaling, ..config.clone() }.rope_factors().unwrap_or_default();
            let close = |(a, b): (&f32, f32)| (f64::from(*a) / f64::from(b) - 1.0).abs() < TOLERANCE;
            factors.iter().zip(expected).all(close)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::llama;

    #[test]
    fn numbers_are_found_from_their_quotients() {
        let mut config = llama();
        (config.head_dim, config.rope_theta) = (64, 500_000.0);
        for (factor, original_context) in [(8.0, 8192), (32.0, 8192), (4.0, 4096), (6.5, 8192)] {
            config.rope_scaling =
                RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context };
            let mut factors = config.rope_factors().unwrap();
            let plain = ModelConfig { rope_scaling: RopeScaling::None, ..config.clone() };
            assert_eq!(recover(&factors, None, &plain), Some(config.rope_scaling));
            factors[20] *= 1.001;
            assert_eq!(recover(&factors, None, &plain), None);
        }
        assert_eq!(recover(&[1.0; 32], None, &config), Some(RopeScaling::None));
        assert_eq!(recover(&[f32::NAN; 32], None, &config), None);
    }
}

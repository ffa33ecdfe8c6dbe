//! The operations of the model, each twice.
//!
//! ```text
//!   on the CPU   one fused pass over memory and its derivative, with the kernels' portable exp, so that
//!                neither depends on the machine's mathematical library
//!   elsewhere    composed of candle's operations; also what the fused ones are tested against
//! ```
//!
//! Activations are matrices, a row for each token of each sequence. Matrix products are candle's.

mod activations;
mod attention;
mod cross_entropy;
mod gated;
mod heads;
mod norm;

pub use activations::{ActivationQuantizer, quantize};
pub use attention::attention;
pub use cross_entropy::{cross_entropy, losses};
pub use gated::gated;
pub use heads::{Angles, HeadShape, Layout, merge_heads, split_heads};
pub use norm::rms_norm;

use candle_core::{CpuStorage, Layout as Strides, Result, Shape, Tensor, bail};

/// The values of an operand on the CPU, in order.
fn values<'a>(storage: &'a CpuStorage, strides: &Strides) -> Result<&'a [f32]> {
    let Some((start, end)) = strides.contiguous_offsets() else {
        bail!("an operand of {:?} is not contiguous", strides.shape());
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Calls `f` with the values of a tensor on the CPU, in order.
fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, strides) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => Ok(f(values(storage, strides)?)),
        _ => bail!("a fused operation ran outside the CPU"),
    }
}

/// What a fused operation returns.
fn output(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}

/// Lanes of a sum: enough for the compiler to use vectors, and a fixed order.
const LANES: usize = 16;

/// The sum of f(i) for i below n, in a fixed order.
fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    for i in whole..n {
        lanes[i % LANES] += f(i);
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod testing {
    use candle_core::{Device, Result, Tensor, Var};

    /// Values that differ, between -2 and 2.
    pub fn wavy(shape: &[usize], phase: f32) -> Var {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| 2.0 * (i as f32 * 0.7 + phase).sin()).collect();
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
    }

    /// Both ways of computing agree in value and in the gradients of every operand. The tolerance is a few
    /// roundings of values around 1.
    pub fn agree(
        operands: &[&Var],
        fused: impl Fn() -> Result<Tensor>,
        composed: impl Fn() -> Result<Tensor>,
    ) {
        let (fused, composed) = (fused().unwrap(), composed().unwrap());
        assert_eq!(fused.shape(), composed.shape());
        let close = |a: &Tensor, b: &Tensor| {
            let (a, b) = (a.flatten_all().unwrap(), b.flatten_all().unwrap());
            for (a, b) in a.to_vec1::<f32>().unwrap().into_iter().zip(b.to_vec1::<f32>().unwrap()) {
                assert!((a - b).abs() <= 4e-6 * (1.0 + b.abs()), "{a} {b}");
            }
        };
        close(&fused, &composed);
        // A gradient that differs from element to element.
        let weights = wavy(fused.dims(), 0.3);
        let gradients = |y: &Tensor| y.mul(&weights).unwrap().sum_all().unwrap().backward().unwrap();
        let (a, b) = (gradients(&fused), gradients(&composed));
        for &operand in operands {
            close(a.get(operand).unwrap(), b.get(operand).unwrap());
        }
    }
}

//! The gated activations of the feed-forward block.
//!
//! ```text
//!   silu_mul   out = g / (1 + e^-g) * up      SwiGLU (arXiv 2002.05202)
//!   relu2_mul  out = max(0, g)^2 * up         squared ReLU, BitNet b1.58 2B4T (arXiv 2504.12285)
//!   sigmoid    out = 1 / (1 + e^-x)           what the derivative of the former needs
//! ```
//!
//! Many elements are divided among all threads of the current pool.

use crate::{
    Isa,
    exp::exp,
    parallel,
    simd::{LANES, Op, Simd},
};

/// `out = silu(gate) * up`, element by element.
///
/// # Panics
/// The lengths differ.
pub fn silu_mul(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    gated(isa, Silu, gate, up, out);
}

/// `out = relu(gate)^2 * up`, element by element.
///
/// # Panics
/// The lengths differ.
pub fn relu2_mul(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    gated(isa, SquaredRelu, gate, up, out);
}

/// `out = 1 / (1 + e^-x)`, element by element, on this thread.
///
/// # Panics
/// The lengths differ.
pub fn sigmoid(isa: Isa, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "input and output have one length");
    isa.run(Sigmoid { x, out });
}

struct Sigmoid<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Op for Sigmoid<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let one = s.splat(1.0);
        let sigmoid = |x| s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))));
        let (x, x_tail) = self.x.as_chunks();
        let (out, out_tail) = self.out.as_chunks_mut();
        for (x, out) in x.iter().zip(out) {
            s.store(sigmoid(s.load(x)), out);
        }
        s.store_tail(sigmoid(s.load_tail(x_tail)), out_tail);
    }
}

trait Activation: Copy + Send + Sync {
    /// Fused multiply-adds, by which `parallel` judges what is worth threads, that take as long as one element.
    const WORK: usize;
    fn apply<S: Simd>(self, s: S, x: S::V) -> S::V;
}

#[derive(Clone, Copy)]
struct Silu;

impl Activation for Silu {
    const WORK: usize = 4;

    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        let denominator = s.add(s.splat(1.0), exp(s, s.sub(s.splat(0.0), x)));
        s.div(x, denominator)
    }
}

#[derive(Clone, Copy)]
struct SquaredRelu;

impl Activation for SquaredRelu {
    const WORK: usize = 1;

    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        let positive = s.max(s.splat(0.0), x);
        s.mul(positive, positive)
    }
}

fn gated<A: Activation>(isa: Isa, activation: A, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(gate.len() == up.len() && gate.len() == out.len(), "gate, up and output have one length");
    parallel::for_each_rows(out.len() * A::WORK, out, LANES, |first, out| {
        let range = first * LANES..first * LANES + out.len();
        isa.run(Gated { activation, gate: &gate[range.clone()], up: &up[range], out });
    });
}

struct Gated<'a, A> {
    activation: A,
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl<A: Activation> Op for Gated<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (gate, gate_tail) = self.gate.as_chunks();
        let (up, up_tail) = self.up.as_chunks();
        let (out, out_tail) = self.out.as_chunks_mut();
        for ((gate, up), out) in gate.iter().zip(up).zip(out) {
            s.store(s.mul(self.activation.apply(s, s.load(gate)), s.load(up)), out);
        }
        let tail = s.mul(self.activation.apply(s, s.load_tail(gate_tail)), s.load_tail(up_tail));
        s.store_tail(tail, out_tail);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn equal_f64_and_themselves(n in 0..100usize, scale in 0.1f32..80.0, seed: u64) {
            let mut random = Random::new(seed);
            let (gate, up) = (random.floats(n, scale), random.floats(n, 3.0));
            let mut reference = [vec![0.0; n], vec![0.0; n], vec![0.0; n]];
            silu_mul(Isa::SCALAR, &gate, &up, &mut reference[0]);
            relu2_mul(Isa::SCALAR, &gate, &up, &mut reference[1]);
            sigmoid(Isa::SCALAR, &gate, &mut reference[2]);
            for i in 0..n {
                let (g, u) = (f64::from(gate[i]), f64::from(up[i]));
                let s = 1.0 / (1.0 + libm::exp(-g));
                let exact = [g * s * u, g.max(0.0) * g.max(0.0) * u, s];
                for (found, exact) in reference.iter().map(|found| found[i]).zip(exact) {
                    // Four roundings of 6e-8 and an exponential within 1.2e-7.
                    prop_assert!((f64::from(found) - exact).abs() <= 5e-7 * exact.abs() + 1e-37);
                }
            }
            for isa in Isa::available() {
                let mut out = [vec![0.0; n], vec![0.0; n], vec![0.0; n]];
                silu_mul(isa, &gate, &up, &mut out[0]);
                relu2_mul(isa, &gate, &up, &mut out[1]);
                sigmoid(isa, &gate, &mut out[2]);
                for (out, reference) in out.iter().flatten().zip(reference.iter().flatten()) {
                    prop_assert_eq!(out.to_bits(), reference.to_bits(), "{}", isa);
                }
            }
        }
    }

    #[test]
    fn many_elements_equal_few() {
        let n = 200_003;
        let mut random = Random::new(5);
        let (gate, up) = (random.floats(n, 20.0), random.floats(n, 2.0));
        for operation in [silu_mul, relu2_mul] {
            let (mut all, mut few) = (vec![0.0; n], vec![0.0; n]);
            operation(Isa::best(), &gate, &up, &mut all);
            for i in (0..n).step_by(1000) {
                let range = i..n.min(i + 1000);
                let (gate, up) = (&gate[range.clone()], &up[range.clone()]);
                operation(Isa::best(), gate, up, &mut few[range]);
            }
            assert_eq!(all, few);
        }
    }

    #[test]
    fn far_gates() {
        let gate = [-1000.0, 1000.0, 0.0, f32::NAN];
        for isa in Isa::available() {
            let mut out = [0.0; 4];
            silu_mul(isa, &gate, &[1.0; 4], &mut out);
            assert_eq!(out[..3], [0.0, 1000.0, 0.0], "{isa}");
            assert!(out[3].is_nan(), "{isa}");
            relu2_mul(isa, &gate, &[1.0; 4], &mut out);
            assert_eq!(out[..3], [0.0, 1e6, 0.0], "{isa}");
            assert!(out[3].is_nan(), "{isa}");
        }
    }
}

//! Every instruction set against the portable one, operation by operation.

use half::{bf16, f16};
use proptest::prelude::*;

use super::{LANES, Op, Simd};
use crate::{Isa, simd::portable::fused_mul_add};

/// Every operation once, on the same three vectors.
struct Everything {
    a: [f32; LANES],
    b: [f32; LANES],
    c: [f32; LANES],
}

impl Op for Everything {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f32> {
        let (a, b, c) = (s.load(&self.a), s.load(&self.b), s.load(&self.c));
        let results = [
            s.add(a, b),
            s.sub(a, b),
            s.mul(a, b),
            s.div(a, b),
            s.mul_add(a, b, c),
            s.neg_mul_add(a, b, c),
            s.min(a, b),
            s.max(a, b),
            s.abs(a),
            s.splat(self.a[3]),
        ];
        let mut out = vec![s.sum(a), s.max_lane(a)];
        for v in results {
            let mut lanes = [0.0; LANES];
            s.store(v, &mut lanes);
            out.extend(lanes);
        }
        out
    }
}

/// Integers as their own powers of two and as bytes.
struct Integers([f32; LANES]);

impl Op for Integers {
    type Output = ([f32; LANES], [i8; LANES]);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let v = s.load(&self.0);
        let mut powers = [0.0; LANES];
        s.store(s.exp2_integer(v), &mut powers);
        (powers, s.round_to_i8(v))
    }
}

struct Widen<T>([T; LANES]);

impl<T: super::Lane> Op for Widen<T> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        s.store(T::load(s, &self.0), &mut lanes);
        lanes
    }
}

struct WidenBytes([i8; LANES]);

impl Op for WidenBytes {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        s.store(s.load_i8(&self.0), &mut lanes);
        lanes
    }
}

/// NaN counts as one value: its payload is not specified.
fn bits(x: f32) -> u32 {
    if x.is_nan() { u32::MAX } else { x.to_bits() }
}

fn any_lanes() -> impl Strategy<Value = [f32; LANES]> {
    // Every class of f32, and numbers of like size, whose sums cancel and round.
    proptest::array::uniform16(prop_oneof![proptest::num::f32::ANY, -4.0f32..4.0])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn operations_agree(a in any_lanes(), b in any_lanes(), c in any_lanes()) {
        let reference: Vec<u32> = Isa::SCALAR.run(Everything { a, b, c }).into_iter().map(bits).collect();
        for isa in Isa::available() {
            let found: Vec<u32> = isa.run(Everything { a, b, c }).into_iter().map(bits).collect();
            prop_assert_eq!(&found, &reference, "{}", isa);
        }
    }

    #[test]
    fn fused_mul_add_is_rounded_once(a in any_lanes(), b in any_lanes(), c in any_lanes()) {
        for i in 0..LANES {
            prop_assert_eq!(bits(fused_mul_add(a[i], b[i], c[i])), bits(libm::fmaf(a[i], b[i], c[i])));
            // Almost cancelling: the product's low bits decide.
            let c = -(a[i] * b[i]);
            prop_assert_eq!(bits(fused_mul_add(a[i], b[i], c)), bits(libm::fmaf(a[i], b[i], c)));
        }
    }

    #[test]
    fn rounding_is_to_nearest_even(v in proptest::array::uniform16(-126.0f32..=127.0)) {
        for isa in Isa::available() {
            let (_, bytes) = isa.run(Integers(v));
            prop_assert_eq!(bytes, v.map(|x| x.round_ties_even() as i8), "{}", isa);
            let whole = v.map(f32::round_ties_even);
            let (powers, _) = isa.run(Integers(whole));
            prop_assert_eq!(powers, whole.map(|x| libm::exp2(f64::from(x)) as f32), "{}", isa);
        }
    }
}

#[test]
fn ties_round_to_even() {
    let v = [
        -2.5,
        -1.5,
        -0.5,
        0.5,
        1.5,
        2.5,
        126.5,
        -128.0,
        -127.5,
        0.0,
        -0.0,
        3.5,
        4.5,
        0.499_999_97,
        127.0,
        1.0,
    ];
    for isa in Isa::available() {
        let (_, bytes) = isa.run(Integers(v));
        assert_eq!(bytes, [-2, -2, 0, 0, 2, 2, 126, -128, -128, 0, 0, 4, 4, 0, 127, 1], "{isa}");
    }
}

#[test]
fn every_half_widens_exactly() {
    for isa in Isa::available() {
        for first in (0..=u16::MAX).step_by(LANES) {
            let words: [u16; LANES] = std::array::from_fn(|i| first + i as u16);
            let wide = isa.run(Widen(words.map(f16::from_bits)));
            assert_eq!(wide.map(bits), words.map(|w| bits(f16::from_bits(w).to_f32())), "{isa}");
            let wide = isa.run(Widen(words.map(bf16::from_bits)));
            assert_eq!(wide.map(bits), words.map(|w| bits(bf16::from_bits(w).to_f32())), "{isa}");
        }
    }
}

#[test]
fn every_byte_widens() {
    for isa in Isa::available() {
        for first in (0..=u8::MAX).step_by(LANES) {
            let bytes: [i8; LANES] = std::array::from_fn(|i| (first + i as u8) as i8);
            assert_eq!(isa.run(WidenBytes(bytes)), bytes.map(f32::from), "{isa}");
        }
    }
}

#[test]
fn the_sum_is_a_tree() {
    // Lane 0 and lane 8 meet first, so the large numbers cancel before anything small is lost.
    let mut a = [1.0f32; LANES];
    (a[0], a[8]) = (1e30, -1e30);
    for isa in Isa::available() {
        assert_eq!(isa.run(Everything { a, b: a, c: a })[0], 14.0, "{isa}");
    }
}

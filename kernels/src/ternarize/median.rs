//! The absolute median as the scale.
//!
//! ```text
//!   |w| as an integer:  | exponent, 8 bits of fraction | 15 bits of fraction |
//!                   1.  count these 16 bits: which bin holds the middle?
//!                   2.  count these 15 bits of the weights in that bin: which value?
//! ```
//!
//! Magnitudes of floats are ordered as their bits are, so two passes of counting find the median without
//! sorting. Counts do not depend on the order in which threads add them.

use rayon::prelude::*;

use super::{CHUNK, MIN_MEAN, NonFinite, first_non_finite};
use crate::{
    Isa,
    dense::{DenseSlice, with_slice},
    simd::{LANES, Lane, Op, Simd},
};

/// Bits of the second pass, and bins of either.
const LOW_BITS: u32 = 15;
const BINS: usize = 1 << 16;

/// The first bin of what is not finite.
const INFINITE: usize = (f32::INFINITY.to_bits() >> LOW_BITS) as usize;

/// The scale of a tensor by the median: `median |w|`, the lower of two middle values, at least 1e-5.
/// 1e-5 for an empty one. The codes are those of [`ternarize`](super::ternarize) with this scale.
///
/// "BitNet b1.58 Reloaded" (arXiv 2407.09527); the lower of two is what `torch.median` gives.
///
/// # Errors
/// The first NaN or infinity.
pub fn absmedian(isa: Isa, w: DenseSlice) -> Result<f32, NonFinite> {
    if w.is_empty() {
        return Ok(MIN_MEAN);
    }
    let high = count(isa, w, None);
    if high[INFINITE..].iter().any(|&n| n > 0)
        && let Some(index) = first_non_finite(w)
    {
        return Err(NonFinite { index });
    }
    let (bin, rank) = find(&high, (w.len() as u64 - 1) / 2);
    let (value, _) = find(&count(isa, w, Some(bin as u32)), rank);
    let median = f32::from_bits((bin << LOW_BITS | value) as u32);
    Ok(median.max(MIN_MEAN))
}

/// The bin that holds the element of that rank, and its rank within the bin.
fn find(counts: &[u64], mut rank: u64) -> (usize, u64) {
    for (bin, &n) in counts.iter().enumerate() {
        if rank < n {
            return (bin, rank);
        }
        rank -= n;
    }
    unreachable!("the rank is below the number of elements")
}

/// How many weights have each value of the high bits, or of the low bits among those with these high
/// bits.
fn count(isa: Isa, w: DenseSlice, high: Option<u32>) -> Vec<u64> {
    let none = || vec![0; BINS];
    with_slice!(w, w => w
    .par_chunks(CHUNK)
    .fold(none, |mut counts, w| {
        isa.run(Count { w, high, counts: &mut counts });
        counts
    })
    .reduce(none, |mut a, b| {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
        a
    }))
}

struct Count<'a, T> {
    w: &'a [T],
    high: Option<u32>,
    counts: &'a mut [u64],
}

impl<T: Lane> Op for Count<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for w in self.w.chunks(LANES) {
            let mut lanes = [0.0; LANES];
            match w.as_array() {
                Some(w) => s.store(T::load(s, w), &mut lanes),
                None => s.store(s.load_tail(w), &mut lanes),
            }
            for magnitude in lanes.map(|w| w.abs().to_bits()).into_iter().take(w.len()) {
                let (top, low) = (magnitude >> LOW_BITS, magnitude & ((1 << LOW_BITS) - 1));
                match self.high {
                    None => self.counts[top as usize] += 1,
                    Some(high) if top == high => self.counts[low as usize] += 1,
                    Some(_) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    fn check(w: &[f32]) {
        let halves: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
        let brains: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
        for slice in [DenseSlice::F32(w), DenseSlice::F16(&halves), DenseSlice::Bf16(&brains)] {
            let mut sorted = vec![0.0; w.len()];
            slice.to_f32(&mut sorted);
            for w in &mut sorted {
                *w = w.abs();
            }
            sorted.sort_by(f32::total_cmp);
            let expected = sorted[(w.len() - 1) / 2].max(1e-5);
            for isa in Isa::available() {
                assert_eq!(absmedian(isa, slice), Ok(expected), "{isa} {:?}", slice.dtype());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_sorting(n in 1..600usize, exponent in -20..9i32, seed: u64) {
            check(&Random::new(seed).floats(n, libm::exp2f(exponent as f32)));
        }
    }

    #[test]
    fn several_chunks_and_few_values() {
        check(&Random::new(1).floats(2 * CHUNK + 77, 0.05));
        check(&[0.0; 33]);
        check(&[1.0, -2.0, 3.0, -4.0]);
        check(&[0.5, -0.5, 0.5, 0.0]);
        assert_eq!(absmedian(Isa::best(), DenseSlice::F32(&[])), Ok(1e-5));
    }

    #[test]
    fn what_is_not_finite_is_named() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut w = vec![1.0; CHUNK + 40];
            w[CHUNK + 21] = bad;
            let found = absmedian(Isa::best(), DenseSlice::F32(&w));
            assert_eq!(found, Err(NonFinite { index: CHUNK + 21 }));
        }
    }

    #[test]
    fn threads_change_nothing() {
        let w = Random::new(5).floats(5 * CHUNK + 3, 1.0);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| absmedian(Isa::best(), DenseSlice::F32(&w)).unwrap())
        };
        assert_eq!(run(1), run(2));
    }
}

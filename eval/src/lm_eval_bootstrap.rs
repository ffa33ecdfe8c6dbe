//! lm-eval's standard error of a perplexity (`lm_eval/api/metrics.py`): a bootstrap with the random numbers of Python.
//!
//! ```text
//!   100 000 resamples (lm-eval's default) = 100 streams of 1000;  stream i: Mersenne twister with the seed i
//!     resample   k draws of the k documents:  index = floor(random() * k)
//!     statistic  exp(-mean of the log-likelihoods drawn)
//!   standard error = sample standard deviation (n - 1) of all statistics
//! ```
//!
//! `random()` has 53 bits of two outputs of MT19937 (Matsumoto and Nishimura 1998, ACM TOMACS 8(1)), seeded by
//! `init_by_array` with the one word i, as Python's `random.Random(i)` is. The paired comparison uses
//! [`crate::bootstrap`] instead, which depends on no other language's library.

use rayon::prelude::*;

/// lm-eval's default number of resamples.
pub const RESAMPLES: usize = 100_000;
/// Resamples of a stream, at most.
const STREAM: usize = 1000;

/// The standard error of [`crate::metrics::perplexity`] from so many resamples; none for fewer than two documents or
/// resamples.
pub fn perplexity_stderr(loglikelihoods: &[f64], resamples: usize) -> Option<f64> {
    let n = loglikelihoods.len();
    if n < 2 || resamples < 2 {
        return None;
    }
    let per_stream = resamples.min(STREAM);
    let stream = |seed: u32| -> Vec<f64> {
        let mut random = MersenneTwister::new(seed);
        let one = |_| {
            let sum = (0..n).fold(0.0, |sum, _| sum + loglikelihoods[(random.real() * n as f64) as usize]);
            libm::exp(-(sum / n as f64))
        };
        (0..per_stream).map(one).collect()
    };
    let values: Vec<f64> =
        (0..(resamples / per_stream) as u32).into_par_iter().flat_map_iter(stream).collect();
    let mean = values.iter().fold(0.0, |sum, v| sum + v) / values.len() as f64;
    let squares = values.iter().fold(0.0, |sum, v| sum + (v - mean) * (v - mean));
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Words of the state.
const N: usize = 624;
/// Distance of the words that are combined.
const M: usize = 397;

/// MT19937.
struct MersenneTwister {
    state: [u32; N],
    next: usize,
}

impl MersenneTwister {
    /// `init_by_array` with one word.
    fn new(seed: u32) -> Self {
        let mut s = [0; N];
        s[0] = 19_650_218;
        for i in 1..N {
            s[i] = scramble(s[i - 1], 1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        for _ in 0..N {
            s[i] = (s[i] ^ scramble(s[i - 1], 1_664_525)).wrapping_add(seed);
            i = following(&mut s, i);
        }
        for _ in 0..N - 1 {
            s[i] = (s[i] ^ scramble(s[i - 1], 1_566_083_941)).wrapping_sub(i as u32);
            i = following(&mut s, i);
        }
        s[0] = 0x8000_0000;
        Self { state: s, next: N }
    }

    fn word(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        let s = &mut self.state;
        for i in 0..N {
            let y = (s[i] & 0x8000_0000) | (s[(i + 1) % N] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            s[i] = s[(i + M) % N] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// Uniform in [0, 1), 53 bits.
    fn real(&mut self) -> f64 {
        let high = f64::from(self.word() >> 5);
        let low = f64::from(self.word() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }
}

fn scramble(word: u32, factor: u32) -> u32 {
    (word ^ (word >> 30)).wrapping_mul(factor)
}

/// The index after `i` in the seeding: from the last word back to word 1.
fn following(state: &mut [u32; N], i: usize) -> usize {
    if i + 1 < N {
        return i + 1;
    }
    state[0] = state[N - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_of_python() {
        // Python 3.11: [random.Random(seed).random() for each of the first three calls].
        for (seed, values) in [
            (0, [0.844_421_851_525_048_1, 0.757_954_402_940_302_5, 0.420_571_580_830_845]),
            (99, [0.403_978_074_943_666_33, 0.200_075_444_574_945_42, 0.178_802_320_586_612_27]),
        ] {
            let mut random = MersenneTwister::new(seed);
            assert_eq!(values.map(|_| random.real()), values);
        }
        // The 1000th number: the state was made anew several times.
        let mut random = MersenneTwister::new(1);
        assert_eq!((0..1000).fold(0.0, |_, _| random.real()), 0.706_261_547_255_138_6);
    }

    #[test]
    fn the_standard_error_of_lm_eval() {
        // lm-eval's algorithm in Python 3.11; exp of the C library may differ in its last digit.
        let stderr = perplexity_stderr(&[-0.5, -1.25, -3.0, -0.125, -2.0], RESAMPLES).unwrap();
        assert!((stderr / 2.204_989_033_382_828 - 1.0).abs() < 1e-12, "{stderr}");
        assert_eq!(perplexity_stderr(&[-1.0], RESAMPLES), None);
        assert_eq!(perplexity_stderr(&[-1.0, -2.0], 1), None);
        // What rounding leaves of 0.
        assert!(perplexity_stderr(&[-1.0, -1.0], RESAMPLES).unwrap() < 1e-10);
    }

    #[test]
    fn threads_do_not_matter() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| perplexity_stderr(&[-0.5, -1.25, -3.0], 3000))
        };
        assert_eq!(on(1), on(3));
    }
}

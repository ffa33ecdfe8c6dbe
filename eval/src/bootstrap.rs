//! The bootstrap (Efron 1979, Ann. Statist. 7(1)): the spread of a statistic over resamples of the documents.
//!
//! ```text
//!   documents   0 1 2 3 4
//!   resample 0  3 0 0 4 1  -> statistic      sorted statistics:  |--2.5 %--[     interval     ]--2.5 %--|
//!   resample 1  2 2 1 0 3  -> statistic
//! ```
//!
//! Random numbers are SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", as in
//! the authors' Java SplittableRandom): integers only, so the same on every machine. Each resample has a stream of
//! its own, so that the interval does not depend on the number of threads.

use rayon::prelude::*;

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resampling {
    /// Number of resamples.
    pub resamples: usize,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Resampling {
    /// 10 000 resamples: the ends of a 95 % interval then rest on 250 resamples each.
    fn default() -> Self {
        Self { resamples: 10_000, seed: 1234 }
    }
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64.
struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// An index below `n`: the high half of a 128-bit product; its bias is below n / 2^64.
    fn index(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A statistic's values over resamples, sorted.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    values: Vec<f64>,
}

impl Distribution {
    /// The central 95 % percentile interval: of B values the k-th from below and from above, k = 0.025 (B + 1) rounded
    /// down (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13).
    pub fn interval_95(&self) -> (f64, f64) {
        let k = ((self.values.len() + 1) * 25 / 1000).max(1);
        (self.values[k - 1], self.values[self.values.len() - k])
    }

    /// One-sided p-value of the hypothesis that what was observed lies where `on_this_side` says: the share of
    /// resamples there, one more than there are (Davison and Hinkley 1997, Bootstrap Methods, section 4.4). It is at
    /// most 0.025 exactly where the end of [`Self::interval_95`] is not there.
    pub fn p(&self, on_this_side: impl Fn(f64) -> bool) -> f64 {
        let there = self.values.iter().filter(|value| on_this_side(**value)).count();
        (there + 1) as f64 / (self.values.len() + 1) as f64
    }
}

/// The distribution of a statistic over resamples of `n` documents. `statistic` gets the indices of a resample; `n`
/// and the number of resamples must not be zero.
pub fn resample(
    n: usize,
    resampling: Resampling,
    statistic: impl Fn(&[usize]) -> f64 + Sync,
) -> Distribution {
    resample_strata(&[n], resampling, statistic)
}

/// [`resample`] where the documents are of several kinds, `strata[k]` of kind k and numbered one kind after the
/// other: a resample has as many of each kind as there are.
pub fn resample_strata(
    strata: &[usize],
    resampling: Resampling,
    statistic: impl Fn(&[usize]) -> f64 + Sync,
) -> Distribution {
    let one = |indices: &mut Vec<usize>, resample: usize| {
        let mut random =
            SplitMix64 { state: mix(resampling.seed.wrapping_add((resample as u64).wrapping_mul(GAMMA))) };
        indices.clear();
        let mut first = 0;
        for &n in strata {
            indices.extend((0..n).map(|_| first + random.index(n)));
            first += n;
        }
        statistic(indices)
    };
    let mut values: Vec<f64> = (0..resampling.resamples)
        .into_par_iter()
        .map_init(|| Vec::with_capacity(strata.iter().sum()), one)
        .collect();
    values.sort_by(f64::total_cmp);
    Distribution { values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_values_of_splitmix64() {
        // The first outputs of the published C version (prng.di.unimi.it/splitmix64.c) for the state 1234567.
        let mut random = SplitMix64 { state: 1_234_567 };
        let values: Vec<u64> = (0..5).map(|_| random.next()).collect();
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn two_documents_by_hand() {
        // Means of two draws from {0, 1}: 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4: both ends are in the tails.
        let mean = |i: &[usize]| i.iter().sum::<usize>() as f64 / i.len() as f64;
        assert_eq!(resample(2, Resampling::default(), mean).interval_95(), (0.0, 1.0));
        assert_eq!(resample(1, Resampling::default(), mean).interval_95(), (0.0, 0.0));
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
        // 400 documents, half of them 1: standard error 0.5 / 20 = 0.025, so 0.5 +- 1.96 * 0.025. A percentile from
        // 10 000 resamples has a standard error of 0.0007; a mean moves in steps of 1 / 400.
        let mean = |i: &[usize]| i.iter().filter(|i| **i < 200).count() as f64 / 400.0;
        let (low, high) = resample(400, Resampling::default(), mean).interval_95();
        assert!((low - 0.451).abs() < 0.005 && (high - 0.549).abs() < 0.005, "{low} {high}");
    }

    #[test]
    fn every_kind_keeps_its_number() {
        let statistic = |i: &[usize]| {
            assert!(
                i.len() == 5 && i[..2].iter().all(|i| *i < 2) && i[2..].iter().all(|i| (2..5).contains(i))
            );
            0.0
        };
        assert_eq!(resample_strata(&[2, 3], Resampling::default(), statistic).interval_95(), (0.0, 0.0));
    }

    #[test]
    fn p_values_and_intervals_agree() {
        let mean = |i: &[usize]| i.iter().sum::<usize>() as f64 / i.len() as f64;
        let values = resample(37, Resampling::default(), mean);
        let (low, high) = values.interval_95();
        // The end itself is excluded by `<`, and not by `<=`.
        assert!(values.p(|v| v < low) <= 0.025 && values.p(|v| v <= low) > 0.025);
        assert!(values.p(|v| v > high) <= 0.025 && values.p(|v| v >= high) > 0.025);
        assert_eq!(values.p(|_| true), 1.0);
        assert_eq!(values.p(|_| false), 1.0 / 10_001.0);
    }

    #[test]
    fn threads_do_not_matter() {
        let mean = |i: &[usize]| i.iter().sum::<usize>() as f64 / i.len() as f64;
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| resample(37, Resampling::default(), mean))
        };
        assert_eq!(on(1), on(3));
    }
}

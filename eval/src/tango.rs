//! The score test and interval for a difference of paired shares (Tango 1998, Statistics in Medicine 17(8)).
//!
//! ```text
//!   n documents: won, that only the candidate has right; lost, that only the baseline has right
//!   difference  d = share won - share lost
//!
//!   T(d) = (won - lost - n d) / sqrt(n (2 q + d (1 - d)))      q: the share lost that is most likely, given d
//!          q = (sqrt(B^2 - 4 A C) - B) / 2 A     A = 2 n
//!                                                B = (2 n - won + lost) d - won - lost
//!                                                C = -lost d (1 - d)
//!   95 % interval: where |T(d)| <= 1.96
//! ```
//!
//! Unlike resamples, which cannot show what did not happen, it has a width where there was nothing to see: without a
//! difference in any document it is +-z^2 / (n + z^2). At d = 0 the test is McNemar's, without correction.

use std::f64::consts::SQRT_2;

/// The 97.5 % quantile of the normal distribution.
pub(crate) const Z: f64 = 1.959_963_984_540_054;

/// Documents on which two models differ in correctness, of `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pairs {
    /// All documents; not zero.
    pub n: u64,
    /// Only the candidate is right.
    pub won: u64,
    /// Only the baseline is right.
    pub lost: u64,
}

impl Pairs {
    /// T(d), which falls as d grows; 0 where nothing was seen and nothing is asked.
    fn score(self, d: f64) -> f64 {
        let (n, won, lost) = (self.n as f64, self.won as f64, self.lost as f64);
        let (a, b, c) = (2.0 * n, (2.0 * n - won + lost) * d - won - lost, -lost * d * (1.0 - d));
        // Rounding may step below zero.
        let q = (((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a)).max(0.0);
        let variance = n * (2.0 * q + d * (1.0 - d));
        let difference = won - lost - n * d;
        if difference == 0.0 { 0.0 } else { difference / variance.max(0.0).sqrt() }
    }

    /// One-sided p-value of the hypothesis that the difference is `d` or less.
    pub fn p_at_most(self, d: f64) -> f64 {
        0.5 * libm::erfc(self.score(d) / SQRT_2)
    }

    /// One-sided p-value of the hypothesis that the difference is `d` or more.
    pub fn p_at_least(self, d: f64) -> f64 {
        0.5 * libm::erfc(-self.score(d) / SQRT_2)
    }

    /// The 95 % interval of the difference.
    pub fn interval_95(self) -> (f64, f64) {
        (self.where_score_is(Z), self.where_score_is(-Z))
    }

    /// By halving: T falls from above z at -1 to below -z at 1.
    fn where_score_is(self, z: f64) -> f64 {
        let (mut low, mut high) = (-1.0, 1.0);
        // Each halving is a binary digit, of which f64 has 53.
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            *(if self.score(middle) > z { &mut low } else { &mut high }) = middle;
        }
        f64::midpoint(low, high)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(n: u64, won: u64, lost: u64) -> Pairs {
        Pairs { n, won, lost }
    }

    #[test]
    fn without_a_difference_by_hand() {
        // z^2 / (20 + z^2) = 3.8415 / 23.8415.
        let (low, high) = pairs(20, 0, 0).interval_95();
        assert!((high - 0.161_126).abs() < 1e-6 && (low + high).abs() < 1e-12, "{low} {high}");
        // T(-0.01) = sqrt(n d / (1 - d)) reaches 1.96 at n = 380.3.
        assert!(pairs(380, 0, 0).p_at_most(-0.01) > 0.025 && pairs(381, 0, 0).p_at_most(-0.01) < 0.025);
        assert_eq!(pairs(20, 0, 0).p_at_most(0.0), 0.5);
    }

    #[test]
    fn at_zero_it_is_mcnemars_test() {
        // (16 - 4) / sqrt(20) = 2.683: p = 0.00365.
        let p = pairs(100, 16, 4).p_at_most(0.0);
        assert!((p - 0.003_65).abs() < 1e-5, "{p}");
        assert!((p + pairs(100, 16, 4).p_at_least(0.0) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_interval_is_where_a_plain_search_over_shares_puts_it() {
        // The most likely share lost, given d, by trying a million of them.
        let (n, won, lost) = (50.0, 9.0, 3.0);
        let most_likely = |d: f64| {
            let likelihood =
                |q: f64| won * (q + d).ln() + lost * q.ln() + (n - won - lost) * (1.0 - 2.0 * q - d).ln();
            let (low, high) = ((-d).max(0.0), (1.0 - d) / 2.0);
            let steps = 1_000_000;
            let tried = (1..steps).map(|i| low + (high - low) * f64::from(i) / f64::from(steps));
            tried.max_by(|a, b| likelihood(*a).total_cmp(&likelihood(*b))).unwrap()
        };
        let (low, high) = pairs(50, 9, 3).interval_95();
        for (d, z) in [(low, Z), (high, -Z)] {
            let t = (won - lost - n * d) / (n * (2.0 * most_likely(d) + d * (1.0 - d))).sqrt();
            // The grid has six digits.
            assert!((t - z).abs() < 1e-4, "{d}: {t}");
        }
    }

    proptest! {
        #[test]
        fn p_values_and_interval_agree(n in 1_u64..300, won in 0.0..1.0_f64, lost in 0.0..1.0_f64, d in -0.9..0.9_f64) {
            let won = (n as f64 * won) as u64;
            let lost = ((n - won) as f64 * lost) as u64;
            let pairs = pairs(n, won, lost);
            let (low, high) = pairs.interval_95();
            let effect = (won as f64 - lost as f64) / n as f64;
            prop_assert!(-1.0 <= low && low <= effect && effect <= high && high <= 1.0);
            prop_assert_eq!(pairs.p_at_most(d) < 0.025, low > d);
            prop_assert_eq!(pairs.p_at_least(d) < 0.025, high < d);
            // Turned around.
            let (l, h) = Pairs { won: lost, lost: won, ..pairs }.interval_95();
            prop_assert!((l + high).abs() < 1e-9 && (h + low).abs() < 1e-9);
        }
    }
}

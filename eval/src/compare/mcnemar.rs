//! McNemar's exact test (McNemar 1947, Psychometrika 12(2)).

use serde::Serialize;

/// McNemar's test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct McNemar {
    /// Documents that only the baseline has right.
    pub only_baseline: u64,
    /// Documents that only the candidate has right.
    pub only_candidate: u64,
    /// Exact two-sided p-value.
    pub p: f64,
}

/// McNemar's exact two-sided test of `b` against `c` discordant pairs.
pub fn mcnemar(b: u64, c: u64) -> McNemar {
    let n = (b + c) as f64;
    let ln_choose = |k: f64| libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
    let term = |k: u64| libm::exp(ln_choose(k as f64) - n * std::f64::consts::LN_2);
    let tail: f64 = (0..=b.min(c)).map(term).sum();
    // Half of the outcomes or more, whatever rounding says.
    let p = if b.abs_diff(c) <= 1 { 1.0 } else { (2.0 * tail).min(1.0) };
    McNemar { only_baseline: b, only_candidate: c, p }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_by_hand() {
        // 2 * P(X <= min(b, c)) for X ~ Binomial(b + c, 1/2): exact fractions. lgamma costs some last digits.
        for (b, c, p) in [
            (0, 0, 1.0),
            (1, 0, 1.0),
            (5, 0, 2.0 / 32.0),
            (1, 5, 2.0 * 7.0 / 64.0),
            (3, 3, 1.0),
            (2, 8, 2.0 * 56.0 / 1024.0),
            (9, 1, 2.0 * 11.0 / 1024.0),
        ] {
            assert!((mcnemar(b, c).p - p).abs() < 1e-13, "{b} {c}: {} and {p}", mcnemar(b, c).p);
        }
        assert_eq!((mcnemar(3, 4).p, mcnemar(500, 500).p), (1.0, 1.0));
        assert!(mcnemar(30_000, 31_000).p > 0.0);
    }
}

//! Holm's correction for testing several metrics at once (Holm 1979, Scand. J. Statist. 6(2)).
//!
//! ```text
//!   m p-values, sorted     p(1)      p(2)          p(3)      ...   p(m)
//!   times                  m         m - 1         m - 2           1
//!   adjusted               running maximum of the products, at most 1
//! ```
//!
//! If the hypotheses whose adjusted p-value is at most a are rejected, the chance that any true one is among them is
//! at most a, whatever the metrics have to do with each other (`acc` and `acc_norm` of one task have a lot).

/// Adjusted p-values, in the order of the given ones.
pub fn adjust(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut highest = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        highest = highest.max(p[index] * (p.len() - rank) as f64).min(1.0);
        adjusted[index] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") is 0.03 0.06 0.06 0.02. Rounding of the products.
        for (ours, theirs) in adjust(&[0.01, 0.04, 0.03, 0.005]).iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((ours - theirs).abs() < 1e-15, "{ours} {theirs}");
        }
        assert_eq!(adjust(&[0.5, 0.6]), [1.0, 1.0]);
        assert!(adjust(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn never_smaller_never_out_of_order(p in proptest::collection::vec(0.0..1.0_f64, 1..20)) {
            let adjusted = adjust(&p);
            for (i, a) in adjusted.iter().enumerate() {
                prop_assert!(*a >= p[i] && *a <= 1.0);
                for (j, b) in adjusted.iter().enumerate() {
                    prop_assert!(p[i] > p[j] || a <= b);
                }
            }
            // Not larger than Bonferroni's.
            let least = p.iter().copied().fold(1.0, f64::min);
            prop_assert!(adjusted.iter().any(|a| *a <= (least * p.len() as f64).min(1.0)));
        }
    }
}

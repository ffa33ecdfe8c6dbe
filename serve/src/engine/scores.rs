//! Log-probabilities of a token and of the most probable ones.

use b158_kernels::{Isa, softmax};
use b158_runner::argmax;

/// The log-probability of a token at its place, with those of the most probable tokens there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenScore {
    pub(crate) logprob: f64,
    /// Ids and log-probabilities, the most probable first; of equals the lower id.
    pub(crate) top: Vec<(u32, f64)>,
}

impl TokenScore {
    /// Of `token` in a row of logits, with the bits of [`b158_runner::score`].
    pub(crate) fn new(isa: Isa, row: &[f32], token: u32, top: usize) -> Self {
        let best = argmax(row);
        // The most probable token's is 0 - ln sum, so one pass over the row gives the others' ln sum exactly.
        let log_sum = -softmax::log_probability(isa, row, best);
        let max = f64::from(row[best]);
        let logprob = |id: u32| (f64::from(row[id as usize]) - max) - log_sum;
        let ids = if top == 1 { vec![best as u32] } else { most_probable(row, top) };
        Self { logprob: logprob(token), top: ids.into_iter().map(|id| (id, logprob(id))).collect() }
    }
}

/// The ids of the `count` highest logits, highest first; of equals the lower id.
fn most_probable(row: &[f32], count: usize) -> Vec<u32> {
    let mut top: Vec<u32> = Vec::with_capacity(count + 1);
    for (id, &logit) in row.iter().enumerate() {
        if top.len() == count && top.last().is_none_or(|&last| logit <= row[last as usize]) {
            continue;
        }
        let place = top.partition_point(|&other| row[other as usize] >= logit);
        top.insert(place, id as u32);
        top.truncate(count);
    }
    top
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn scores_have_the_bits_of_the_softmax(row in prop::collection::vec(-30f32..30.0, 1..80), token: usize, top in 0usize..6) {
            let isa = Isa::best();
            let token = token % row.len();
            let score = TokenScore::new(isa, &row, token as u32, top);
            let direct = |i: usize| softmax::log_probability(isa, &row, i).to_bits();
            prop_assert_eq!(score.logprob.to_bits(), direct(token));
            let mut ids: Vec<usize> = (0..row.len()).collect();
            ids.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            ids.truncate(top);
            let found: Vec<_> = score.top.iter().map(|&(id, p)| (id as usize, p.to_bits())).collect();
            prop_assert_eq!(found, ids.into_iter().map(|i| (i, direct(i))).collect::<Vec<_>>());
        }
    }

    #[test]
    fn of_equals_the_lower_id() {
        assert_eq!(most_probable(&[1.0, 3.0, 3.0, 2.0], 2), [1, 2]);
        assert_eq!(most_probable(&[1.0], 3), [0]);
        assert!(most_probable(&[1.0, 2.0], 0).is_empty());
    }
}

//! What accuracy is reached without reading the question, and whether a model is above it.
//!
//! ```text
//!   choices that come with the document       1 / number of choices, mean over documents
//!   the same choices for every document       the larger of that and the share of the most frequent answer
//!   one continuation                          the share of the most frequent continuation
//!
//!   above chance: Wilson's 95 % interval of the share of right answers lies above it
//! ```
//!
//! Wilson 1927, J. Am. Stat. Assoc. 22(158): for a share p of n documents the lower bound is
//! (p + z^2/2n - z sqrt(p (1 - p) / n + z^2/4n^2)) / (1 + z^2/n), z = 1.96; + z for the upper one.

use std::collections::HashMap;
use std::hash::Hash;

use crate::Metric;
use crate::results::{Outcome, TaskResults};
use crate::tango::Z;
use crate::task::{Choices, OutputType};

/// The accuracy of chance; none for tasks without accuracies.
pub fn chance(results: &TaskResults) -> Option<f64> {
    let n = results.documents.len() as f64;
    match results.task.output_type {
        OutputType::MultipleChoice => {
            let uniform = results.documents.iter().map(|d| 1.0 / d.samples.len() as f64).sum::<f64>() / n;
            if !matches!(results.task.doc_to_choice, Some(Choices::Fixed(_))) {
                return Some(uniform);
            }
            let gold = results.documents.iter().map(|d| match d.outcome {
                Outcome::Choice { gold, .. } => Some(gold),
                _ => None,
            });
            Some(uniform.max(most_frequent(gold) as f64 / n))
        }
        OutputType::Loglikelihood => {
            let targets =
                results.documents.iter().map(|d| d.samples.first().map(|s| &s.request.continuation));
            Some(most_frequent(targets) as f64 / n)
        }
        OutputType::LoglikelihoodRolling => None,
    }
}

/// Whether the task's `acc` is above [`chance`] with 95 % confidence; none for tasks without one.
pub fn above_chance(results: &TaskResults) -> Option<bool> {
    let index = results.task.metrics().position(|m| m == Metric::Acc)?;
    Some(wilson(results.right(index), results.documents.len()).0 > chance(results)?)
}

/// Wilson's 95 % interval of the share of `right` in `n` documents; everything is possible without any.
pub fn wilson(right: usize, n: usize) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (p, n) = (right as f64 / n as f64, n as f64);
    let z2 = Z * Z;
    let (center, width) = (p + z2 / (2.0 * n), Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt());
    // Rounding may step over the ends, or miss them.
    let bound = |value: f64| (value / (1.0 + z2 / n)).clamp(0.0, 1.0);
    (if p == 0.0 { 0.0 } else { bound(center - width) }, if p == 1.0 { 1.0 } else { bound(center + width) })
}

/// How often the most frequent item occurs.
fn most_frequent<T: Eq + Hash>(items: impl Iterator<Item = T>) -> usize {
    let mut counts: HashMap<T, usize> = HashMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{choice_task, continuation_task, rolling_task};

    #[test]
    fn chance_by_hand() {
        let (two, four) = ([-1.0, -2.0], [-1.0, -2.0, -3.0, -4.0]);
        let mut task = choice_task(&[(&two, 0), (&four, 0), (&four, 0), (&two, 1)]);
        assert_eq!(chance(&task), Some(0.375));
        task.task.doc_to_choice = Some(Choices::Fixed(vec!["no".into(), "yes".into()]));
        assert_eq!(chance(&task), Some(0.75), "no is right in 3 of 4");
        let mut last = continuation_task(&[(-1.0, true), (-1.0, false), (-1.0, false), (-1.0, true)]);
        assert_eq!(chance(&last), Some(0.25), "all differ");
        for document in &mut last.documents[..3] {
            document.samples[0].request.continuation = Some(" cat".into());
        }
        assert_eq!(chance(&last), Some(0.75));
        assert_eq!(chance(&rolling_task(&[(-1.0, 1, 1)])), None);
        assert_eq!(above_chance(&rolling_task(&[(-1.0, 1, 1)])), None);
    }

    #[test]
    fn bounds_of_wilson() {
        // Values of R's prop.test(x, n, correct = FALSE): 15 of 100 and 10 of 10.
        let (low, high) = wilson(15, 100);
        assert!((low - 0.0931).abs() < 1e-4 && (high - 0.2328).abs() < 1e-4, "{low} {high}");
        assert!((wilson(10, 10).0 - 0.7225).abs() < 1e-4, "{:?}", wilson(10, 10));
        assert_eq!((wilson(10, 10).1, wilson(0, 10).0, wilson(0, 3).0), (1.0, 0.0, 0.0));
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn above_chance_needs_enough_documents() {
        let rows = |n: usize| vec![(&[-1.0, -2.0][..], 0_usize); n];
        assert_eq!(above_chance(&choice_task(&rows(3))), Some(false));
        assert_eq!(above_chance(&choice_task(&rows(10))), Some(true));
    }
}

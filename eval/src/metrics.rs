//! Metrics and their standard errors, as lm-eval 0.4.13 computes them (`lm_eval/api/metrics.py`).
//!
//! ```text
//!   acc              first argmax of ll(choice)                            = gold ?   mean over documents
//!   acc_norm         first argmax of ll(choice) / characters of the choice = gold ?   mean over documents
//!   acc_bytes        first argmax of ll(choice) / UTF-8 bytes              = gold ?   mean over documents
//!                    of loglikelihood tasks: every token of the target is the argmax?        mean over documents
//!   perplexity       exp(-mean ll)                     of whole targets; standard error by bootstrap
//!   word_perplexity  exp(-sum ll / sum words)          over the whole corpus
//!   byte_perplexity  exp(-sum ll / sum bytes)          over the whole corpus
//!   bits_per_byte    -sum ll / sum bytes / ln 2        over the whole corpus
//!   token_perplexity exp(-sum ll / sum tokens scored)  over the whole corpus; not of lm-eval: of preset `paper`
//!   standard error of a mean: sample standard deviation (n - 1) / sqrt(n); none for corpus metrics or n = 1
//!   standard error of a perplexity: see [`crate::lm_eval_bootstrap`]; none for n = 1
//! ```
//!
//! Characters are Unicode code points of the choice without the delimiter before it; log-likelihoods are in nats;
//! sums run in document order.

use serde::{Deserialize, Serialize};

use crate::task::{OutputType, Task};

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Accuracy: by log-likelihood of the choices, or of a target that the model would have written itself.
    Acc,
    /// Accuracy by log-likelihood per character.
    AccNorm,
    /// Accuracy by log-likelihood per UTF-8 byte.
    AccBytes,
    /// Perplexity of whole targets.
    Perplexity,
    /// Perplexity per word.
    WordPerplexity,
    /// Perplexity per UTF-8 byte.
    BytePerplexity,
    /// Bits per UTF-8 byte.
    BitsPerByte,
    /// Perplexity per token that is scored: no tokenizer's can be compared with another's.
    TokenPerplexity,
}

/// A metric of a task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricValue {
    /// Which metric.
    pub metric: Metric,
    /// Its value.
    pub value: f64,
    /// Standard error of the value; none for corpus metrics and for a single document.
    pub stderr: Option<f64>,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 8] = [
        Self::Acc,
        Self::AccNorm,
        Self::AccBytes,
        Self::Perplexity,
        Self::WordPerplexity,
        Self::BytePerplexity,
        Self::BitsPerByte,
        Self::TokenPerplexity,
    ];

    /// Its name in task files and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::AccBytes => "acc_bytes",
            Self::Perplexity => "perplexity",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            Self::TokenPerplexity => "token_perplexity",
        }
    }

    /// Whether it measures tasks of this kind. What is scored after each choice is the same for all choices with
    /// `doc_to_suffix`: there is nothing to normalize by.
    pub fn fits(self, task: &Task) -> bool {
        match self {
            Self::Acc => task.output_type != OutputType::LoglikelihoodRolling,
            Self::AccNorm | Self::AccBytes => {
                task.output_type == OutputType::MultipleChoice && task.doc_to_suffix.is_none()
            }
            Self::Perplexity => task.output_type == OutputType::Loglikelihood,
            Self::WordPerplexity | Self::BytePerplexity | Self::BitsPerByte | Self::TokenPerplexity => {
                task.output_type == OutputType::LoglikelihoodRolling
            }
        }
    }

    /// How task files of lm-eval call the way from documents to one number.
    pub fn aggregation(self) -> &'static str {
        match self {
            Self::Acc | Self::AccNorm | Self::AccBytes => "mean",
            Self::Perplexity => "perplexity",
            Self::WordPerplexity | Self::BytePerplexity | Self::TokenPerplexity => "weighted_perplexity",
            Self::BitsPerByte => "bits_per_byte",
        }
    }

    /// Whether more is better: of accuracies.
    pub fn higher_is_better(self) -> bool {
        matches!(self, Self::Acc | Self::AccNorm | Self::AccBytes)
    }

    /// What a choice's log-likelihood is divided by; 1 for metrics without normalization.
    fn length(self, choice: &str) -> f64 {
        match self {
            Self::AccNorm => choice.chars().count() as f64,
            Self::AccBytes => choice.len() as f64,
            _ => 1.0,
        }
    }

    /// The choice that the metric takes: the first of the best. `loglikelihoods` and `choices` are parallel.
    pub(crate) fn chosen(self, loglikelihoods: &[f64], choices: &[String]) -> usize {
        let mut best = (0, f64::NEG_INFINITY);
        for (i, (ll, choice)) in loglikelihoods.iter().zip(choices).enumerate() {
            let score = ll / self.length(choice);
            if score > best.1 {
                best = (i, score);
            }
        }
        best.0
    }

    /// A corpus metric from the sums over all documents.
    pub(crate) fn of_corpus(self, corpus: Corpus) -> f64 {
        let per = |count: u64| corpus.loglikelihood / count as f64;
        match self {
            Self::WordPerplexity => libm::exp(-per(corpus.words)),
            Self::TokenPerplexity => libm::exp(-per(corpus.tokens)),
            Self::BitsPerByte => -per(corpus.bytes) / std::f64::consts::LN_2,
            _ => libm::exp(-per(corpus.bytes)),
        }
    }
}

/// `exp(-mean)` of the log-likelihoods of whole targets.
pub fn perplexity(loglikelihoods: &[f64]) -> f64 {
    let sum = loglikelihoods.iter().fold(0.0, |sum, ll| sum + ll);
    libm::exp(-(sum / loglikelihoods.len() as f64))
}

/// Sums over the documents of a rolling task.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Corpus {
    pub loglikelihood: f64,
    pub words: u64,
    pub bytes: u64,
    pub tokens: u64,
}

/// Share of true values and its standard error.
pub(crate) fn accuracy(correct: impl ExactSizeIterator<Item = bool> + Clone) -> (f64, Option<f64>) {
    let n = correct.len() as f64;
    let mean = correct.clone().filter(|c| *c).count() as f64 / n;
    if correct.len() < 2 {
        return (mean, None);
    }
    let mut squares = 0.0;
    for c in correct {
        let deviation = f64::from(u8::from(c)) - mean;
        squares += deviation * deviation;
    }
    (mean, Some((squares / (n - 1.0)).sqrt() / n.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(metric: Metric, ll: &[f64], choices: &[&str]) -> usize {
        metric.chosen(ll, &choices.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_first_of_equals_wins() {
        assert_eq!(chosen(Metric::Acc, &[-2.0, -1.0, -1.0], &["a", "b", "c"]), 1);
        assert_eq!(chosen(Metric::AccNorm, &[-2.0, -1.0], &["ab", "c"]), 0);
    }

    #[test]
    fn characters_are_code_points_and_bytes_are_utf8() {
        // Per character -1 and -0.9; per byte -0.5 and -0.9.
        let (ll, choices) = ([-2.0, -1.8], ["éé", "ab"]);
        assert_eq!(chosen(Metric::Acc, &ll, &choices), 1);
        assert_eq!(chosen(Metric::AccNorm, &ll, &choices), 1);
        assert_eq!(chosen(Metric::AccBytes, &ll, &choices), 0);
    }

    #[test]
    fn accuracy_by_hand() {
        // Mean 3/4; deviations 3 * (1/4)^2 + (3/4)^2 = 3/4; sqrt(3/4 / 3) / 2 = 1/4.
        assert_eq!(accuracy([true, true, false, true].into_iter()), (0.75, Some(0.25)));
        assert_eq!(accuracy([true].into_iter()), (1.0, None));
    }

    #[test]
    fn the_perplexity_of_targets_by_hand() {
        let ln2 = std::f64::consts::LN_2;
        // Rounding of exp.
        assert!((perplexity(&[-ln2, -3.0 * ln2]) - 4.0).abs() < 1e-14);
    }

    #[test]
    fn corpus_metrics_by_hand() {
        let ln2 = std::f64::consts::LN_2;
        let corpus = Corpus { loglikelihood: -6.0 * ln2, words: 2, bytes: 6, tokens: 3 };
        // Rounding of exp and of the products: a few units in the last place.
        for (metric, value) in [
            (Metric::WordPerplexity, 8.0),
            (Metric::BytePerplexity, 2.0),
            (Metric::BitsPerByte, 1.0),
            (Metric::TokenPerplexity, 4.0),
        ] {
            assert!((metric.of_corpus(corpus) - value).abs() < 1e-14, "{metric:?}");
        }
    }

    #[test]
    fn names_are_those_of_the_files() {
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }
}

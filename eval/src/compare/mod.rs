//! Paired parity of a candidate with a baseline.
//!
//! ```text
//!   accuracy    effect = candidate - baseline      non-inferior if the 95 % interval lies above -margin
//!   perplexity  effect = candidate / baseline      non-inferior if the 95 % interval lies below  margin
//!
//!                  -margin      0
//!   worse      [--]   |         |
//!   undecided      [--|--]      |
//!   parity            | [-----] |
//!   parity            |   [-----|---]
//!   better            |         | [-----]
//! ```
//!
//! - Both models answered the same requests, so documents are resampled in pairs ([`crate::bootstrap`]).
//! - McNemar's exact test (McNemar 1947, Psychometrika 12(2); exact binomial form) is shown beside accuracies: with b
//!   documents that only the baseline has right and c that only the candidate has right, the two-sided p is
//!   min(1, 2 P(X <= min(b, c))), X ~ Binomial(b + c, 1/2).
//! - Resamples cannot show what did not happen: with a single document won and none lost, none has a loss. The interval
//!   of a difference of accuracies therefore is the bootstrap's, widened to Tango's score interval ([`crate::tango`])
//!   where that reaches further, and a p-value is the larger of both.
//! - Fewer than ten documents decide nothing: percentile intervals of such samples are far too narrow.
//! - Equal log-likelihoods, bit by bit, are parity whatever their number: the models are the same there.
//! - Items to decide: with n documents and w the distance from the effect to the end of its interval that faces
//!   the margin, an interval of n (w / d)^2 documents reaches a margin at distance d (for perplexities on the
//!   logarithmic scale), if the effect stays as it is.
//! - Three one-sided p-values come with each interval ([`Tests`]), so that each is at most 0.025 exactly where the
//!   interval gives the verdict. A verdict on one metric looks at that metric alone; among sixteen, some will be off by
//!   chance. So each [`Family`] of metrics (accuracies, perplexities) has a verdict of its own after Holm's correction
//!   ([`crate::holm`]) at 2.5 %: `better` or `parity` if every metric is, `worse` if any is, `undecided` otherwise.
//! - The smallest difference that so many documents would show is in [`crate::power`].

mod families;
mod margins;
mod mcnemar;
mod metric;
#[cfg(test)]
mod tests;
mod verdict;

use serde::Serialize;

use crate::bootstrap::Resampling;
use crate::pairing::check_paired;
use crate::results::ModelResults;
use crate::{Error, Metric};

pub use families::Family;
pub use margins::Margins;
pub use mcnemar::{McNemar, mcnemar};
pub use metric::{MetricParity, Tests};
pub use verdict::Verdict;
pub(crate) use verdict::verdict;

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CompareOptions {
    /// What counts as parity.
    pub margins: Margins,
    /// The bootstrap.
    pub resampling: Resampling,
}

impl CompareOptions {
    /// Whether the margins make sense and the models can be compared document by document.
    pub(crate) fn check(&self, baseline: &ModelResults, candidate: &ModelResults) -> Result<(), Error> {
        self.margins.check().map_err(|(message, hint)| Error::Config {
            file: "margins".into(),
            message,
            hint: hint.into(),
        })?;
        check_paired(baseline, candidate).map_err(|(message, hint)| Error::Unpaired {
            baseline: baseline.name.clone(),
            candidate: candidate.name.clone(),
            message,
            hint: hint.into(),
        })
    }
}

/// A parity report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parity {
    /// Name of the baseline.
    pub baseline: String,
    /// Name of the candidate.
    pub candidate: String,
    /// What counted as parity.
    pub margins: Margins,
    /// One entry per task and metric.
    pub metrics: Vec<MetricParity>,
    /// Verdicts on metrics of one kind together, corrected for their number.
    pub families: Vec<Family>,
    /// Worse if any metric is, else undecided if any is, better if all are, parity otherwise.
    pub verdict: Verdict,
}

/// Compares two models on the same requests.
///
/// Bits per byte are left out: they are the logarithm of the byte perplexity.
///
/// # Errors
/// [`Error::Unpaired`] that names the first difference in settings, tasks, documents, prompts or token ids, and
/// [`Error::Config`] for a margin that makes no sense.
pub fn compare(
    baseline: &ModelResults,
    candidate: &ModelResults,
    options: &CompareOptions,
) -> Result<Parity, Error> {
    options.check(baseline, candidate)?;
    let mut metrics = Vec::new();
    for (b, c) in baseline.tasks.iter().zip(&candidate.tasks) {
        for (index, metric) in b.task.metrics().enumerate() {
            match metric {
                Metric::BitsPerByte => {}
                Metric::Perplexity
                | Metric::WordPerplexity
                | Metric::BytePerplexity
                | Metric::TokenPerplexity => {
                    metrics.push(metric::perplexity(b, c, index, metric, options));
                }
                _ => metrics.push(metric::accuracy(b, c, index, metric, options)),
            }
        }
    }
    let any = |verdict| metrics.iter().any(|m: &MetricParity| m.verdict == verdict);
    let verdict = if any(Verdict::Worse) {
        Verdict::Worse
    } else if any(Verdict::Undecided) || metrics.is_empty() {
        Verdict::Undecided
    } else if any(Verdict::Parity) {
        Verdict::Parity
    } else {
        Verdict::Better
    };
    let families = families::families(&mut metrics);
    Ok(Parity {
        baseline: baseline.name.clone(),
        candidate: candidate.name.clone(),
        margins: options.margins,
        metrics,
        families,
        verdict,
    })
}

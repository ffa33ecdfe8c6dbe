//! The comparison of one metric: its effect, the interval, the p-values.

use serde::Serialize;

use super::verdict::{FEWEST, Verdict, verdict};
use super::{CompareOptions, McNemar, mcnemar};
use crate::Metric;
use crate::bootstrap::{Distribution, resample};
use crate::pairing::identical;
use crate::power::minimum_detectable;
use crate::results::{Outcome, TaskResults};
use crate::tango::{Pairs, Z};

/// One-sided p-values: small ones speak for what the field says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tests {
    /// For an effect within the margin, against one at or beyond it.
    pub noninferior: f64,
    /// For an effect above none.
    pub superior: f64,
    /// For an effect beyond the margin.
    pub inferior: f64,
}

impl Tests {
    /// Nothing is known.
    pub(super) const NOTHING: Self = Self { noninferior: 1.0, superior: 1.0, inferior: 1.0 };

    /// From resampled effects, on a scale on which more is better and 0 is no effect.
    fn new(effects: &Distribution, margin: f64) -> Self {
        Self {
            noninferior: effects.p(|effect| effect < margin),
            superior: effects.p(|effect| effect <= 0.0),
            inferior: effects.p(|effect| effect >= margin),
        }
    }
}

/// The comparison of one metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricParity {
    /// The task.
    pub task: String,
    /// The metric.
    pub metric: Metric,
    /// Number of documents.
    pub documents: usize,
    /// The baseline's value.
    pub baseline: f64,
    /// The candidate's value.
    pub candidate: f64,
    /// Difference of accuracies or ratio of perplexities.
    pub effect: f64,
    /// 95 % interval of the effect.
    pub interval: (f64, f64),
    /// The end of the acceptable effects: a negative difference or a ratio.
    pub margin: f64,
    /// Of accuracies.
    pub mcnemar: Option<McNemar>,
    /// p-values of this metric alone.
    pub p: Tests,
    /// The same, corrected for the metrics of its family.
    pub p_holm: Tests,
    /// The smallest difference of accuracies, or ratio of perplexities above 1, that so many documents would show; none
    /// if the models did not differ anywhere.
    pub minimum_detectable: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
    /// Of an undecided metric: about how many documents would decide; none if the effect is on the margin.
    pub documents_to_decide: Option<u64>,
}

/// Interval and p-values of an effect over `n` documents, on a scale on which more is better and 0 is no effect.
fn effect_of(
    n: usize,
    identical: bool,
    margin: f64,
    options: &CompareOptions,
    statistic: impl Fn(&[usize]) -> f64 + Sync,
) -> ((f64, f64), Tests) {
    if identical {
        // There is nothing to test.
        return ((0.0, 0.0), Tests { noninferior: 0.0, ..Tests::NOTHING });
    }
    let effects = resample(n, options.resampling, statistic);
    let tests = if n < FEWEST { Tests::NOTHING } else { Tests::new(&effects, margin) };
    (effects.interval_95(), tests)
}

/// The ends further out and the larger p-values, of the resamples' and of the score test's.
fn widened(interval: (f64, f64), p: Tests, pairs: Pairs, margin: f64) -> ((f64, f64), Tests) {
    let (low, high) = pairs.interval_95();
    let tests = Tests {
        noninferior: p.noninferior.max(pairs.p_at_most(margin)),
        superior: p.superior.max(pairs.p_at_most(0.0)),
        inferior: p.inferior.max(pairs.p_at_least(margin)),
    };
    ((interval.0.min(low), interval.1.max(high)), tests)
}

pub(super) fn accuracy(
    b: &TaskResults,
    c: &TaskResults,
    index: usize,
    metric: Metric,
    options: &CompareOptions,
) -> MetricParity {
    let pairs: Vec<(bool, bool)> =
        b.documents.iter().zip(&c.documents).map(|(x, y)| (x.correct(index), y.correct(index))).collect();
    let n = pairs.len();
    let of_pair = |(x, y): (bool, bool)| i64::from(y) - i64::from(x);
    let effect = pairs.iter().map(|p| of_pair(*p)).sum::<i64>() as f64 / n as f64;
    let count = |wanted| pairs.iter().filter(|p| **p == wanted).count() as u64;
    let (only_baseline, only_candidate) = (count((true, false)), count((false, true)));
    let identical = identical(b, c);
    let margin = -options.margins.accuracy;
    let alike = only_baseline + only_candidate == 0;
    let mean = |i: &[usize]| i.iter().map(|&i| of_pair(pairs[i])).sum::<i64>() as f64 / n as f64;
    let (resampled, p) = effect_of(n, identical, margin, options, mean);
    let counts = Pairs { n: n as u64, won: only_candidate, lost: only_baseline };
    let (interval, p) = if identical { (resampled, p) } else { widened(resampled, p, counts, margin) };
    let verdict = verdict(n, identical, interval, margin);
    let needed = if alike {
        // Solves z^2 / (n + z^2) = margin.
        let n = Z * Z * (1.0 + margin) / -margin;
        n.is_finite().then_some(n.ceil() as u64)
    } else {
        documents_to_decide(n, effect, interval, margin)
    };
    MetricParity {
        task: b.task.task.clone(),
        metric,
        documents: n,
        baseline: b.metrics()[index].value,
        candidate: c.metrics()[index].value,
        effect,
        interval,
        margin,
        mcnemar: Some(mcnemar(only_baseline, only_candidate)),
        p,
        p_holm: p,
        minimum_detectable: minimum_detectable(interval).filter(|_| !alike),
        verdict,
        documents_to_decide: needed.filter(|_| verdict == Verdict::Undecided),
    }
}

pub(super) fn perplexity(
    b: &TaskResults,
    c: &TaskResults,
    index: usize,
    metric: Metric,
    options: &CompareOptions,
) -> MetricParity {
    // Per document: the loss of log-likelihood, and the words, bytes or whole targets that it is spread over.
    let losses: Vec<(f64, f64)> = b
        .documents
        .iter()
        .zip(&c.documents)
        .map(|(x, y)| {
            let units = match x.outcome {
                Outcome::Rolling { words, .. } if metric == Metric::WordPerplexity => words,
                Outcome::Rolling { .. } if metric == Metric::TokenPerplexity => x.tokens(),
                Outcome::Rolling { bytes, .. } => bytes,
                Outcome::Continuation => 1,
                Outcome::Choice { .. } => 0,
            };
            (x.loglikelihood() - y.loglikelihood(), units as f64)
        })
        .collect();
    let n = losses.len();
    let all: Vec<usize> = (0..n).collect();
    // The logarithm of the ratio; its sign is turned so that less is worse, as for accuracies.
    let gain = |i: &[usize]| {
        let (loss, units) = i.iter().fold((0.0, 0.0), |(l, u), &i| (l + losses[i].0, u + losses[i].1));
        if loss == 0.0 { 0.0 } else { -loss / units }
    };
    let effect = gain(&all);
    let identical = identical(b, c);
    let margin = -libm::log(options.margins.perplexity_ratio);
    let (interval, p) = effect_of(n, identical, margin, options, gain);
    let verdict = verdict(n, identical, interval, margin);
    MetricParity {
        task: b.task.task.clone(),
        metric,
        documents: n,
        baseline: b.metrics()[index].value,
        candidate: c.metrics()[index].value,
        effect: libm::exp(-effect),
        interval: (libm::exp(-interval.1), libm::exp(-interval.0)),
        margin: options.margins.perplexity_ratio,
        mcnemar: None,
        p,
        p_holm: p,
        minimum_detectable: minimum_detectable(interval).map(libm::exp),
        verdict,
        documents_to_decide: documents_to_decide(n, effect, interval, margin)
            .filter(|_| verdict == Verdict::Undecided),
    }
}

/// On the same scale: the documents at which the interval's end would reach the margin.
fn documents_to_decide(n: usize, effect: f64, interval: (f64, f64), margin: f64) -> Option<u64> {
    let width = if effect > margin { effect - interval.0 } else { interval.1 - effect };
    let needed = n as f64 * (width / (effect - margin)).powi(2);
    needed.is_finite().then_some((needed.ceil() as u64).max(FEWEST as u64))
}

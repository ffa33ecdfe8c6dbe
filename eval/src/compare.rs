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

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Distribution, Resampling, resample};
use crate::holm;
use crate::pairing::{check_paired, identical};
use crate::power::minimum_detectable;
use crate::results::{ModelResults, Outcome, TaskResults};
use crate::tango::{Pairs, Z};
use crate::{Error, Metric};

/// Fewest documents that may decide.
const FEWEST: usize = 10;

/// Non-inferiority margins, to be fixed before the evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Margins {
    /// Largest acceptable ratio of the perplexities.
    pub perplexity_ratio: f64,
    /// Largest acceptable loss of accuracy, as a share: 0.01 is one point.
    pub accuracy: f64,
}

impl Default for Margins {
    fn default() -> Self {
        Self { perplexity_ratio: 1.02, accuracy: 0.01 }
    }
}

impl Margins {
    /// Message and hint when a margin makes no sense.
    pub(crate) fn check(&self) -> Result<(), (String, &'static str)> {
        if !(self.perplexity_ratio >= 1.0 && self.perplexity_ratio.is_finite()) {
            let message = format!("margin perplexity_ratio is {}", self.perplexity_ratio);
            return Err((message, "it is a ratio of at least 1, for instance 1.02"));
        }
        if !(0.0..1.0).contains(&self.accuracy) {
            let message = format!("margin accuracy is {}", self.accuracy);
            return Err((message, "it is a share from 0 to below 1: write 0.01 for one point"));
        }
        Ok(())
    }
}

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

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not worse than the margin allows.
    Parity,
    /// Better than the baseline.
    Better,
    /// Worse than the margin allows.
    Worse,
    /// The interval lies on both sides of the margin.
    Undecided,
}

impl Verdict {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parity => "parity",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Undecided => "undecided",
        }
    }
}

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
    const NOTHING: Self = Self { noninferior: 1.0, superior: 1.0, inferior: 1.0 };

    /// From resampled effects, on a scale on which more is better and 0 is no effect.
    fn new(effects: &Distribution, margin: f64) -> Self {
        Self {
            noninferior: effects.p(|effect| effect < margin),
            superior: effects.p(|effect| effect <= 0.0),
            inferior: effects.p(|effect| effect >= margin),
        }
    }
}

/// At most so large is a p-value that decides: the interval has 2.5 % on each side.
const LEVEL: f64 = 0.025;

/// Metrics of one kind, tested together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Family {
    /// `accuracies` or `perplexities`.
    pub family: &'static str,
    /// How many metrics it has.
    pub metrics: usize,
    /// How many of them are not inferior after the correction.
    pub noninferior: usize,
    /// What follows for all of them.
    pub verdict: Verdict,
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
                    metrics.push(perplexity(b, c, index, metric, options));
                }
                _ => metrics.push(accuracy(b, c, index, metric, options)),
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
    let families = families(&mut metrics);
    Ok(Parity {
        baseline: baseline.name.clone(),
        candidate: candidate.name.clone(),
        margins: options.margins,
        metrics,
        families,
        verdict,
    })
}

/// Corrects the p-values of each kind of metric, and says what follows.
fn families(metrics: &mut [MetricParity]) -> Vec<Family> {
    let mut families = Vec::new();
    for (family, accuracies) in [("accuracies", true), ("perplexities", false)] {
        let mut members: Vec<&mut MetricParity> =
            metrics.iter_mut().filter(|m| m.metric.higher_is_better() == accuracies).collect();
        if members.is_empty() {
            continue;
        }
        let mut correct = |get: fn(&mut Tests) -> &mut f64| {
            let p: Vec<f64> = members.iter_mut().map(|m| *get(&mut m.p)).collect();
            let adjusted = holm::adjust(&p);
            for (member, p) in members.iter_mut().zip(&adjusted) {
                *get(&mut member.p_holm) = *p;
            }
            adjusted.iter().filter(|p| **p <= LEVEL).count()
        };
        let noninferior = correct(|p| &mut p.noninferior);
        let superior = correct(|p| &mut p.superior);
        let inferior = correct(|p| &mut p.inferior);
        let verdict = if inferior > 0 {
            Verdict::Worse
        } else if superior == members.len() {
            Verdict::Better
        } else if noninferior == members.len() {
            Verdict::Parity
        } else {
            Verdict::Undecided
        };
        families.push(Family { family, metrics: members.len(), noninferior, verdict });
    }
    families
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

fn accuracy(
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

fn perplexity(
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

/// `interval` and `margin` on a scale on which more is better and 0 is no effect.
pub(crate) fn verdict(n: usize, identical: bool, interval: (f64, f64), margin: f64) -> Verdict {
    let (low, high) = interval;
    if identical {
        Verdict::Parity
    } else if n < FEWEST {
        Verdict::Undecided
    } else if low > 0.0 {
        Verdict::Better
    } else if low >= margin {
        Verdict::Parity
    } else if high < margin {
        Verdict::Worse
    } else {
        Verdict::Undecided
    }
}

/// On the same scale: the documents at which the interval's end would reach the margin.
fn documents_to_decide(n: usize, effect: f64, interval: (f64, f64), margin: f64) -> Option<u64> {
    let width = if effect > margin { effect - interval.0 } else { interval.1 - effect };
    let needed = n as f64 * (width / (effect - margin)).powi(2);
    needed.is_finite().then_some((needed.ceil() as u64).max(FEWEST as u64))
}

/// McNemar's exact two-sided test of `b` against `c` discordant pairs.
pub fn mcnemar(b: u64, c: u64) -> McNemar {
    let n = (b + c) as f64;
    let ln_choose = |k: f64| libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
    let term = |k: u64| libm::exp(ln_choose(k as f64) - n * std::f64::consts::LN_2);
    let tail: f64 = (0..=b.min(c)).map(term).sum();
    McNemar { only_baseline: b, only_candidate: c, p: (2.0 * tail).min(1.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::results::tests::{choice_task, model, rolling_task};

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
        assert!(mcnemar(30_000, 31_000).p > 0.0);
    }

    /// `n` documents of two choices; the first `right` are answered rightly.
    fn answers(n: usize, right: std::ops::Range<usize>, shift: f64) -> TaskResults {
        let rows: Vec<(Vec<f64>, usize)> =
            (0..n).map(|i| (vec![-1.0 + shift, -2.0], usize::from(!right.contains(&i)))).collect();
        let rows: Vec<(&[f64], usize)> = rows.iter().map(|(ll, gold)| (ll.as_slice(), *gold)).collect();
        let mut task = choice_task(&rows);
        // One gold for both models; what differs is what they chose.
        for document in &mut task.documents {
            if let Outcome::Choice { gold, correct } = &mut document.outcome {
                *gold = 0;
                *correct = vec![right.contains(&document.id); 2];
            }
        }
        task
    }

    fn parity(b: TaskResults, c: TaskResults) -> Parity {
        compare(&model("fp16", vec![b]), &model("b158", vec![c]), &CompareOptions::default()).unwrap()
    }

    #[test]
    fn verdicts_of_accuracies() {
        let verdict = |n, right: std::ops::Range<usize>| {
            let parity = parity(answers(n, 0..n / 2, 0.0), answers(n, right, 0.1));
            (parity.metrics[0].verdict, parity.metrics[0].documents_to_decide)
        };
        assert_eq!(verdict(1000, 0..600).0, Verdict::Better);
        assert_eq!(verdict(1000, 0..400).0, Verdict::Worse);
        // One discordant document of a thousand: the interval is -0.003..0.
        assert_eq!(verdict(1000, 0..499).0, Verdict::Parity);
        // Zero discordant documents of n: z^2 / (n + z^2) falls below 0.01 at n = 380.3.
        assert_eq!(verdict(100, 0..50), (Verdict::Undecided, Some(381)));
        assert_eq!(verdict(380, 0..190).0, Verdict::Undecided);
        assert_eq!(verdict(381, 0..190).0, Verdict::Parity);
        // One document won, none lost: no resample has a loss, but twenty documents do not show that there are none.
        assert_eq!(verdict(20, 0..11).0, Verdict::Undecided);
        assert_eq!(verdict(4, 0..4).0, Verdict::Undecided);
    }

    #[test]
    fn an_undecided_accuracy_says_how_many_documents_would_decide() {
        // 100 documents, 2 lost and 4 won: effect 0.02, standard error sqrt(0.06 - 0.0004) / 10 = 0.0244, so an
        // interval of about -0.03..0.07; its lower half-width 0.05 has to shrink to 0.03.
        let (mut b, mut c) = (answers(100, 0..50, 0.0), answers(100, 0..50, 0.1));
        let set = |t: &mut TaskResults, document: usize, right: bool| {
            if let Outcome::Choice { correct, .. } = &mut t.documents[document].outcome {
                *correct = vec![right; 2];
            }
        };
        for lost in [0, 1] {
            set(&mut c, lost, false);
        }
        for won in 60..64 {
            set(&mut c, won, true);
            set(&mut b, won, false);
        }
        let parity = parity(b, c);
        let metric = &parity.metrics[0];
        assert_eq!((metric.verdict, metric.effect), (Verdict::Undecided, 0.02));
        // Resamples give -0.03..0.07; the score interval reaches further: -0.0359..0.0816.
        assert!((metric.interval.0 + 0.0359).abs() < 1e-4 && (metric.interval.1 - 0.0816).abs() < 1e-4);
        // 100 * (0.0559 / 0.03)^2 = 347.2.
        assert_eq!(metric.documents_to_decide, Some(348));
        assert_eq!((metric.mcnemar.unwrap().only_baseline, metric.mcnemar.unwrap().only_candidate), (2, 4));
    }

    #[test]
    fn verdicts_of_perplexities() {
        let pages = |loss: &dyn Fn(usize) -> f64| -> TaskResults {
            let rows: Vec<_> = (0..40).map(|i| (-100.0 - loss(i), 20, 100)).collect();
            rolling_task(&rows)
        };
        let against = |loss: &dyn Fn(usize) -> f64| {
            let parity = parity(pages(&|_| 0.0), pages(loss));
            (parity.metrics[0].effect, parity.metrics[0].verdict, parity.metrics.len())
        };
        // 0.2 nat over 20 words: exp(0.01). Rounding of exp.
        let (ratio, verdict, metrics) = against(&|_| 0.2);
        assert!((ratio - libm::exp(0.01)).abs() < 1e-12);
        assert_eq!((verdict, metrics), (Verdict::Parity, 2));
        assert_eq!(against(&|_| 1.0).1, Verdict::Worse);
        assert_eq!(against(&|_| -1.0).1, Verdict::Better);
        // -2 and +3 in turn: mean 0.5 of 20 words, a ratio of 1.025, with a wide interval.
        assert_eq!(against(&|i| if i % 2 == 0 { -2.0 } else { 3.0 }).1, Verdict::Undecided);
    }

    #[test]
    fn families_by_hand() {
        // 400 questions: 100 won and none lost, on both accuracies; effect 0.25, far above 0.
        let parity = parity(answers(400, 20..120, 0.0), answers(400, 0..200, 0.1));
        let [family] = &parity.families[..] else { panic!("accuracies only") };
        assert_eq!((family.family, family.metrics, family.noninferior), ("accuracies", 2, 2));
        assert_eq!(family.verdict, Verdict::Better);
        // McNemar's test gives 1 - Phi(100 / sqrt(100)): what decides is that no resample of 10 000 is on the other
        // side, 1 / 10 001, twice for two metrics.
        let metric = &parity.metrics[0];
        assert_eq!((metric.p.superior, metric.p_holm.superior), (1.0 / 10_001.0, 2.0 / 10_001.0));
        assert_eq!(metric.p.inferior, 1.0);
        // 100 won, none lost: standard error sqrt(0.25 - 0.0625) / 20 = 0.02165, 2.80 of which are 0.0607. An interval
        // of 10 000 resamples gives it to a few percent.
        let detectable = metric.minimum_detectable.unwrap();
        assert!((detectable - 0.0607).abs() < 0.003, "{detectable}");
    }

    /// Ten metrics of which the last is worse by chance alone: each by itself says so, all together do not.
    #[test]
    fn what_is_too_little_for_many_metrics() {
        let p = |inferior: f64| Tests { inferior, ..Tests::NOTHING };
        let alone = parity(answers(40, 0..20, 0.0), answers(40, 0..20, 0.1)).metrics[0].clone();
        let mut metrics: Vec<MetricParity> = (0..10)
            .map(|i| MetricParity { p: p(if i == 9 { 0.02 } else { 0.5 }), ..alone.clone() })
            .collect();
        assert_eq!(families(&mut metrics)[0].verdict, Verdict::Undecided);
        assert_eq!(metrics[9].p_holm.inferior, 0.2);
        assert_eq!(families(&mut metrics[9..])[0].verdict, Verdict::Worse);
    }

    proptest! {
        /// A p-value is at most 2.5 % exactly where the interval gives the verdict.
        #[test]
        fn p_values_agree_with_verdicts(
            seed in any::<u64>(),
            won in 0_usize..12,
            lost in 0_usize..12,
            margin in 0.0..0.2_f64,
        ) {
            let (mut b, mut c) = (answers(40, 0..20, 0.0), answers(40, 0..20, 0.1));
            let set = |t: &mut TaskResults, document: usize, right: bool| {
                if let Outcome::Choice { correct, .. } = &mut t.documents[document].outcome {
                    *correct = vec![right; 2];
                }
            };
            (0..lost).for_each(|i| set(&mut c, i, false));
            (20..20 + won).for_each(|i| { set(&mut b, i, false); set(&mut c, i, true); });
            let options = CompareOptions {
                margins: Margins { accuracy: margin, ..Margins::default() },
                resampling: Resampling { resamples: 400, seed },
            };
            let parity = compare(&model("a", vec![b]), &model("b", vec![c]), &options).unwrap();
            let MetricParity { p, verdict, .. } = &parity.metrics[0];
            prop_assert_eq!(p.superior <= LEVEL, *verdict == Verdict::Better);
            prop_assert_eq!(p.noninferior <= LEVEL, matches!(verdict, Verdict::Better | Verdict::Parity));
            prop_assert_eq!(p.inferior <= LEVEL, *verdict == Verdict::Worse);
        }

        #[test]
        fn a_model_is_at_parity_with_itself(
            choices in proptest::collection::vec((-9.0..0.0, -9.0..0.0, 0_usize..2), 1..20),
            pages in proptest::collection::vec((-900.0..0.0, 1_u64..90, 1_u64..900), 1..20),
        ) {
            let rows: Vec<([f64; 2], usize)> = choices.iter().map(|(a, b, gold)| ([*a, *b], *gold)).collect();
            let rows: Vec<(&[f64], usize)> = rows.iter().map(|(ll, gold)| (&ll[..], *gold)).collect();
            let results = model("m", vec![choice_task(&rows), rolling_task(&pages)]);
            let margins = Margins { perplexity_ratio: 1.0, accuracy: 0.0 };
            let options = CompareOptions { margins, ..CompareOptions::default() };
            let parity = compare(&results, &results, &options).unwrap();
            prop_assert_eq!(parity.verdict, Verdict::Parity);
            for metric in parity.metrics {
                let same = if metric.metric.higher_is_better() { 0.0 } else { 1.0 };
                prop_assert_eq!((metric.effect, metric.interval), (same, (same, same)));
                prop_assert_eq!(metric.documents_to_decide, None);
            }
        }
    }
}

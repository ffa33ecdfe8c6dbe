//! The means of the papers' tables: of the tasks' accuracies, with its paired difference, and of their perplexities.
//!
//! ```text
//!   mean            sum over tasks of acc / number of tasks: every task counts the same, whatever its length
//!   standard error  sqrt(sum of the tasks' squared standard errors) / number of tasks: tasks are independent
//!   difference      candidate - baseline; 95 % interval by a bootstrap that draws, from every task, as many documents
//!                   as it has, in pairs
//! ```
//!
//! Resamples cannot show what did not happen. Where not a single document was lost, the lower end reaches as far as that
//! of Tango's score interval ([`crate::tango`]) for as many documents as k tasks of the shortest's length have, with the
//! same share won; where none was won, the upper end likewise.

use serde::Serialize;

use crate::bootstrap::resample_strata;
use crate::compare::{CompareOptions, Verdict, verdict};
use crate::pairing::identical;
use crate::results::{ModelResults, TaskResults};
use crate::tango::Pairs;
use crate::{Error, Metric};

/// A model's mean accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Average {
    /// Number of tasks with the metric `acc`.
    pub tasks: usize,
    /// Mean of their accuracies.
    pub value: f64,
    /// Its standard error; none where a task has a single document.
    pub stderr: Option<f64>,
}

/// The comparison of two models' mean accuracies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AverageParity {
    /// Number of tasks with the metric `acc`.
    pub tasks: usize,
    /// Number of documents of all these tasks.
    pub documents: usize,
    /// The baseline's mean.
    pub baseline: f64,
    /// The candidate's mean.
    pub candidate: f64,
    /// Candidate minus baseline.
    pub effect: f64,
    /// 95 % interval of the effect.
    pub interval: (f64, f64),
    /// The end of the acceptable effects: negative.
    pub margin: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// Tasks with the metric `acc`, and the metric's index in each.
fn with_accuracy(results: &ModelResults) -> impl Iterator<Item = (&TaskResults, usize)> {
    results.tasks.iter().filter_map(|t| Some((t, t.task.metrics().position(|m| m == Metric::Acc)?)))
}

/// The mean accuracy of a model; none without a task that has one.
pub fn average(results: &ModelResults) -> Option<Average> {
    let metrics: Vec<_> = with_accuracy(results).map(|(task, index)| task.metrics()[index]).collect();
    let tasks = metrics.len();
    let mean = |sum: f64| sum / tasks as f64;
    let variance = metrics.iter().map(|m| m.stderr.map(|s| s * s)).sum::<Option<f64>>();
    (tasks > 0).then(|| Average {
        tasks,
        value: mean(metrics.iter().map(|m| m.value).sum()),
        stderr: variance.map(|v| mean(v.sqrt())),
    })
}

/// The mean perplexity of preset `paper`, which counts tokens: Table 1 of the b1.58 paper (arXiv 2402.17764) is that of
/// C4 and `WikiText-2`. None unless at least two tasks have one.
pub fn mean_perplexity(results: &ModelResults) -> Option<f64> {
    let values: Vec<f64> =
        results.tasks.iter().filter_map(|task| Some(task.metric(Metric::TokenPerplexity)?.value)).collect();
    (values.len() > 1).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Compares the mean accuracies of two models on the same requests; none without a task that has accuracies.
///
/// # Errors
/// Those of [`crate::compare()`].
pub fn compare_averages(
    baseline: &ModelResults,
    candidate: &ModelResults,
    options: &CompareOptions,
) -> Result<Option<AverageParity>, Error> {
    options.check(baseline, candidate)?;
    let (Some(b), Some(c)) = (average(baseline), average(candidate)) else { return Ok(None) };
    // What each document adds to the mean difference, and how many documents each task has.
    let (mut shares, mut strata) = (Vec::new(), Vec::new());
    let mut same = true;
    for ((x, index), (y, _)) in with_accuracy(baseline).zip(with_accuracy(candidate)) {
        let share = 1.0 / (x.documents.len() * b.tasks) as f64;
        let right = |t: &TaskResults, i: usize| f64::from(u8::from(t.documents[i].correct(index)));
        shares.extend((0..x.documents.len()).map(|i| share * (right(y, i) - right(x, i))));
        strata.push(x.documents.len());
        same &= identical(x, y);
    }
    let mean = |i: &[usize]| i.iter().map(|&i| shares[i]).sum::<f64>();
    let interval = if same {
        (0.0, 0.0)
    } else {
        let (low, high) = resample_strata(&strata, options.resampling, mean).interval_95();
        let (down, up) = unseen(&shares, strata.iter().min().copied().unwrap_or(1) * b.tasks);
        (low.min(down), high.max(up))
    };
    let margin = -options.margins.accuracy;
    Ok(Some(AverageParity {
        tasks: b.tasks,
        documents: shares.len(),
        baseline: b.value,
        candidate: c.value,
        effect: c.value - b.value,
        interval,
        margin,
        verdict: verdict(shares.len(), same, interval, margin),
    }))
}

/// The ends that resamples cannot show: the lower one where nothing was lost, the upper one where nothing was won; the
/// difference itself otherwise. `n` documents stand for all.
fn unseen(shares: &[f64], n: usize) -> (f64, f64) {
    let of_sign = |sign: f64| shares.iter().map(|share| (sign * share).max(0.0)).sum::<f64>();
    let (won, lost) = (of_sign(1.0), of_sign(-1.0));
    let count = |share: f64| (share * n as f64).round() as u64;
    let (low, high) = Pairs { n: n as u64, won: count(won), lost: count(lost) }.interval_95();
    let effect = won - lost;
    (if lost == 0.0 { low } else { effect }, if won == 0.0 { high } else { effect })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{choice_task, continuation_task, model, rolling_task};

    /// A model that answers the first `choices` of 40 questions and `words` of 20 last words rightly.
    fn answers(choices: usize, words: usize, shift: f64) -> ModelResults {
        let rows: Vec<([f64; 2], usize)> = (0..40)
            .map(|i| (if i < choices { [-1.0 + shift, -2.0] } else { [-2.0, -1.0 + shift] }, 0))
            .collect();
        let rows: Vec<(&[f64], usize)> = rows.iter().map(|(ll, gold)| (&ll[..], *gold)).collect();
        let last: Vec<(f64, bool)> = (0..20).map(|i| (-1.0 + shift, i < words)).collect();
        model("m", vec![choice_task(&rows), rolling_task(&[(-1.0, 1, 1)]), continuation_task(&last)])
    }

    #[test]
    fn the_mean_by_hand() {
        // acc 1/2 and 1/4; standard errors sqrt(10 / 39) / sqrt(40) and sqrt(3.75 / 19) / sqrt(20).
        let average = average(&answers(20, 5, 0.0)).unwrap();
        assert_eq!((average.tasks, average.value), (2, 0.375));
        let stderr = (10.0_f64 / 39.0 / 40.0 + 3.75 / 19.0 / 20.0).sqrt() / 2.0;
        // Rounding of the roots.
        assert!((average.stderr.unwrap() - stderr).abs() < 1e-15);
        assert_eq!(super::average(&model("m", vec![rolling_task(&[(-1.0, 1, 1)])])), None);
    }

    #[test]
    fn the_difference_by_hand() {
        let options = CompareOptions::default();
        let compare =
            |c: &ModelResults| compare_averages(&answers(20, 10, 0.0), c, &options).unwrap().unwrap();
        // 4 of 40 questions lost, 2 of 20 words won: -0.1 and +0.1.
        let none = compare(&answers(16, 12, 0.1));
        assert_eq!((none.tasks, none.documents, none.effect), (2, 60, 0.0));
        // Each task's difference has a variance of (0.1 - 0.01) / n; 1.96 standard errors of their mean are 0.080. A
        // percentile of 10 000 resamples has a standard error of 0.001, and the mean moves in steps of 1 / 80.
        assert!((none.interval.0 + 0.080).abs() < 0.014 && (none.interval.1 - 0.080).abs() < 0.014);
        assert_eq!(none.verdict, Verdict::Undecided);
        assert_eq!(compare(&answers(0, 0, 0.1)).verdict, Verdict::Worse);
        assert_eq!(compare(&answers(40, 20, 0.1)).verdict, Verdict::Better);
        let same = compare(&answers(20, 10, 0.0));
        assert_eq!((same.interval, same.verdict), ((0.0, 0.0), Verdict::Parity));
        // No document differs in correctness: z^2 / (40 + z^2).
        let alike = compare(&answers(20, 10, 0.1));
        assert!((alike.interval.1 - 0.0876).abs() < 1e-4, "{:?}", alike.interval);
        assert_eq!(alike.verdict, Verdict::Undecided);
        // One question won, nothing lost: no resample is below 0, and so few documents do not show parity.
        let won = compare(&answers(21, 10, 0.1));
        assert!(won.interval.0 < -0.05, "{:?}", won.interval);
        assert_eq!(won.verdict, Verdict::Undecided);
    }

    #[test]
    fn unpaired_models_are_refused() {
        let (mut other, options) = (answers(1, 1, 0.0), CompareOptions::default());
        other.tasks.truncate(1);
        assert!(compare_averages(&answers(1, 1, 0.0), &other, &options).is_err());
    }
}

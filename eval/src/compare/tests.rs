use proptest::prelude::*;

use super::families::{LEVEL, families};
use super::*;
use crate::results::tests::{choice_task, model, rolling_task};
use crate::results::{Outcome, TaskResults};

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
    let mut metrics: Vec<MetricParity> =
        (0..10).map(|i| MetricParity { p: p(if i == 9 { 0.02 } else { 0.5 }), ..alone.clone() }).collect();
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

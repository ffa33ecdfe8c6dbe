use b158_runner::bench::Measured;
use serde_json::json;

use super::*;
use crate::report::{Known, Measurements, Run};
use crate::results::tests::{choice_task, model, rolling_task};
use crate::{Margins, Role, SuiteResults};

/// What `bench` prints of a model or shape; `size` scales weights and bytes.
fn measured(name: &str, formats: &[(&str, u64, f64)], weights: Option<u64>) -> Measured {
    let column = |(format, bytes, ms): &(&str, u64, f64)| {
        json!({
            "format": format, "load_seconds": 0.1, "first_token_seconds": 0.2, "threads": 1,
            "first_forward_seconds": 0.1, "prefill": [],
            "decode": [{
                "depth_tokens": 0, "tokens": 32, "tokens_per_second": 1e3 / ms, "latency_p50_ms": ms,
                "latency_p95_ms": ms, "cache_bytes": 0, "bytes_read_per_token": bytes, "read_bandwidth_share": 0.5,
                "measured_mj_per_token": null, "runs": 3,
            }],
            "memory": {
                "ternary_bytes": bytes, "dense_bytes": 0, "embedding_bytes": 0, "head_bytes": 0, "norm_bytes": 0,
                "mapped_bytes": 0, "own_bytes": bytes,
            },
            "buffer_bytes": 0, "peak_resident_bytes": null, "read_bandwidth_bytes_per_second": 1e9,
            "energy_modelled": [{
                "process_nm": 7, "linear_layers_mj_per_token": ms, "output_head_mj_per_token": 0.0,
            }],
        })
    };
    serde_json::from_value(json!({
        "model": name, "isa": "scalar", "threads": 1, "kv": "f32", "file_bytes": null, "linear_weights": weights,
        "bits_per_weight": null, "formats": formats.iter().map(column).collect::<Vec<_>>(), "left_out": [],
    }))
    .unwrap()
}

/// Twins of 1M and 4M weights on 40 pages and 40 questions. `gains` are nats that the candidate wins on each page of 20
/// words; `right` are the questions that it answers.
fn run(gains: [f64; 2], right: usize, weights: bool) -> Run {
    let tasks = |gain: f64, right: usize| {
        let pages: Vec<_> =
            (0..40).map(|i| (-100.0 + gain + if i % 2 == 0 { 0.1 * gain } else { 0.0 }, 20, 100)).collect();
        let questions: Vec<([f64; 2], usize)> =
            (0..40).map(|i| (if i < right { [-1.0, -2.0 - gain] } else { [-2.0 - gain, -1.0] }, 0)).collect();
        let questions: Vec<(&[f64], usize)> = questions.iter().map(|(ll, gold)| (&ll[..], *gold)).collect();
        vec![rolling_task(&pages), choice_task(&questions)]
    };
    let (mut models, mut known) = (Vec::new(), Vec::new());
    for (size, count, gain) in [("1M", 1_000_000, gains[0]), ("4M", 4_000_000, gains[1])] {
        for (variant, role, gain, right, ms) in
            [("fp16", Role::Baseline, 0.0, 20, 4.0), ("b1.58", Role::Candidate, gain, right, 2.0)]
        {
            let name = format!("{size}-{variant}");
            models.push(model(&name, tasks(gain, right)));
            let format = if variant == "fp16" { "full precision" } else { "ternary" };
            let measured = measured(&name, &[(format, count * ms as u64, ms)], weights.then_some(count));
            let measured = Some(measured);
            let (format, source) = ("q2_0".to_owned(), variant.to_owned());
            known.push((
                name,
                Known { variant: variant.into(), size: Some(size.into()), role, format, source, measured },
            ));
        }
    }
    let results = SuiteResults { margins: Margins::default(), suite: "s".into(), models };
    Run::new(results, &Measurements::new(None, known), None).unwrap()
}

/// The verdict on one claim.
fn verdict(test: &str, run: &Run, shapes: &[Measured]) -> String {
    let text = format!(
        "papers: {{p: P}}\nclaims:\n  - {{id: c, paper: p, place: T, claim: C, tested: t, {test}}}\n"
    );
    let claims = Claims::parse("claims.yaml", &text).unwrap();
    let ledger = Ledger::new(&claims, &Evidence { run, shapes });
    let entry = &ledger.claims[0];
    let verdict = match &entry.outcome {
        Outcome::Reproduced => "reproduced".to_owned(),
        Outcome::NotReproduced => "not reproduced".to_owned(),
        Outcome::NotTestable { reason } => reason.clone(),
    };
    format!("{} -> {verdict}", entry.measured.as_deref().unwrap_or("nothing"))
}

#[test]
fn intervals_decide() {
    let mut texts = Vec::new();
    // Won 0.2 and 0.22 nat on pages of 20 words in turn: ×exp(-0.0105), and little spread.
    let twins = run([0.2, 0.2], 20, true);
    let on =
        |holds: &str| verdict(&format!("test: {{measure: perplexity_ratio, holds: {holds}}}"), &twins, &[]);
    texts.push(on("{below: 1}"));
    texts.push(on("{at_least: 1}"));
    texts.push(on("{at_most: 0.9895}"));
    texts.push(on("{equals: 0.9895}"));
    texts.push(on("{equals: 1}"));
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn what_is_too_small_or_not_measured_is_not_testable() {
    let mut texts = Vec::new();
    let twins = run([0.2, 0.2], 20, true);
    let of_size = |weights: &str, run: &Run| {
        verdict(
            &format!("weights: {weights}, test: {{measure: perplexity_ratio, holds: {{below: 1}}}}"),
            run,
            &[],
        )
    };
    texts.push(of_size("3000000000", &twins));
    texts.push(of_size("7000000", &twins));
    texts.push(of_size("7000000", &run([0.2, 0.2], 20, false)));
    let on = |test: &str| verdict(&format!("test: {{{test}, holds: {{above: 0}}}}"), &twins, &[]);
    texts.push(on("measure: perplexity_ratio, of: bitnet"));
    texts.push(on("measure: memory_factor, shape: 3B"));
    texts.push(on("measure: measured_energy_factor"));
    texts.push(on("measure: accuracy, of: 4M-b1.58, task: piqa"));
    texts.push(on("measure: accuracy, of: 4M-b1.58, task: arc_easy, documents: 2376"));
    texts.push(on("measure: accuracy, of: 2b4t, task: arc_easy"));
    texts.push(on("measure: differing_formats"));
    texts.push(verdict("not_testable: it needs two GPUs", &twins, &[]));
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn measures_by_hand() {
    let mut texts = Vec::new();
    let twins = run([0.2, 0.4], 30, true);
    let shapes = [
        measured("3B", &[("ternary", 10, 2.0), ("FP16", 50, 9.0)], None),
        measured("13B", &[("ternary", 40, 8.0)], None),
    ];
    let on = |test: &str, holds: &str| verdict(&format!("test: {{{test}, holds: {holds}}}"), &twins, &shapes);
    // 10 of 40 questions won: 25 points.
    texts.push(on("measure: accuracy_difference", "{above: 0}"));
    // The larger twin wins 0.21 nat in 20 words more.
    texts.push(on("measure: perplexity_trend", "{below: 1}"));
    texts.push(on("measure: accuracy_trend", "{above: 0}"));
    texts.push(on("measure: memory_factor", "{at_least: 2}"));
    texts.push(on("measure: latency_factor", "{above: 2}"));
    texts.push(on("measure: energy_factor", "{at_least: 1.9, at_most: 2.1}"));
    texts.push(on("measure: memory_factor, shape: 3B", "{at_least: 5}"));
    texts.push(on("measure: latency_factor, shape: 13B, against: 3B", "{above: 1.2}"));
    texts.push(on("measure: decode_rate, shape: 13B", "{at_least: 125}"));
    texts.push(on("measure: latency_ms, shape: 13B", "{below: 8}"));
    // 30 of 40, Wilson: 59.8 to 85.8.
    texts.push(on("measure: accuracy, of: 4M-b1.58, task: arc_easy, documents: 40", "{equals: 80}"));
    texts.push(on("measure: perplexity_over_b158", "{equals: 1}"));
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn mistakes_are_named() {
    let mut texts = Vec::new();
    let parse = |claim: &str| {
        Claims::parse(
            "claims.yaml",
            &format!("papers: {{p: P}}\nclaims:\n  - {{id: c, place: T, claim: C, {claim}}}\n"),
        )
        .unwrap_err()
        .to_string()
    };
    texts.push(parse("paper: q, not_testable: x"));
    texts.push(parse("paper: p"));
    texts.push(parse("paper: p, test: {measure: latency_ms, holds: {below: 1}}"));
    texts.push(parse("paper: p, tested: t, test: {measure: latency_ms, holds: {}}"));
    texts.push(parse("paper: p, tested: t, test: {measure: latency_ms, holds: {above: 2, below: 1}}"));
    texts.push(parse("paper: p, tested: t, test: {measure: speed, holds: {below: 1}}"));
    texts.push(parse("paper: p, tested: t, test: {measure: accuracy, holds: {below: 1}}"));
    texts
        .push(parse("paper: p, not_testable: x}\n  - {id: c, place: T, claim: C, paper: p, not_testable: x"));
    insta::assert_snapshot!(texts.join("\n"));
}

proptest::proptest! {
    /// Never both, whatever the bound and the interval.
    #[test]
    fn an_interval_cannot_both_hold_and_fail(low in -3..3_i32, width in 0..4_i32, bound in -3..3_i32, kind in 0..5_usize) {
        let mut bounds = [None; 5];
        bounds[kind] = Some(f64::from(bound));
        let [at_least, at_most, above, below, equals] = bounds;
        let bound = Bound { at_least, at_most, above, below, equals };
        let (low, high) = (f64::from(low), f64::from(low + width));
        proptest::prop_assert!(!(bound.fails((low, high)) && (bound.holds(low) || bound.holds(high))));
        if width == 0 {
            proptest::prop_assert!(bound.fails((low, high)) != bound.holds(low));
        }
    }
}

//! Whether two models answered the same requests: only then may they be compared document by document.

use crate::results::{ModelResults, Outcome, Settings, TaskResults};

/// Message and hint for the first difference.
pub(crate) fn check_paired(
    baseline: &ModelResults,
    candidate: &ModelResults,
) -> Result<(), (String, &'static str)> {
    let names = |m: &ModelResults| m.tasks.iter().map(|t| t.task.task.clone()).collect::<Vec<_>>().join(", ");
    if let Some(setting) = different_setting(&baseline.settings, &candidate.settings) {
        return Err((format!("their {setting}"), "evaluate both with the same settings"));
    }
    if names(baseline) != names(candidate) {
        let message = format!("their tasks differ: {} and {}", names(baseline), names(candidate));
        return Err((message, "evaluate both on the same tasks, in the same order"));
    }
    for (b, c) in baseline.tasks.iter().zip(&candidate.tasks) {
        let name = &b.task.task;
        if b.task != c.task {
            return Err((format!("task {name} is defined differently"), "evaluate both with one task file"));
        }
        if b.documents.len() != c.documents.len() {
            let message = format!(
                "task {name} has {} documents in one and {} in the other",
                b.documents.len(),
                c.documents.len()
            );
            return Err((message, "evaluate both on the same data with the same limit"));
        }
        for (x, y) in b.documents.iter().zip(&c.documents) {
            let same = |i: usize| match (x.samples.get(i), y.samples.get(i)) {
                (Some(a), Some(b)) => a.request == b.request,
                (a, b) => a.is_none() && b.is_none(),
            };
            let longest = x.samples.len().max(y.samples.len());
            if let Some(i) = (0..longest).find(|i| !same(*i)) {
                let message = format!("task {name}, document {}: request {i} differs", x.id);
                return Err((message, "twins share data and tokenizer: compare their tokenizer.json files"));
            }
            let gold_or_length = |outcome: &Outcome| match outcome {
                Outcome::Choice { gold, .. } => (*gold as u64, 0),
                Outcome::Continuation => (0, 0),
                Outcome::Rolling { words, bytes } => (*words, *bytes),
            };
            if x.id != y.id || gold_or_length(&x.outcome) != gold_or_length(&y.outcome) {
                let message = format!("task {name}, document {}: its label or length differs", x.id);
                return Err((message, "evaluate both on the same data"));
            }
        }
    }
    Ok(())
}

/// Name and values of the first setting that differs.
fn different_setting(b: &Settings, c: &Settings) -> Option<String> {
    let limit = |s: &Settings| s.limit.map_or("none".to_owned(), |n| n.to_string());
    let bos = |s: &Settings| s.add_bos.map_or("the tokenizer's".to_owned(), |add| add.to_string());
    [
        ("preset", format!("{:?}", b.preset), format!("{:?}", c.preset)),
        ("limit", limit(b), limit(c)),
        ("add_bos", bos(b), bos(c)),
        ("context length", b.max_length.to_string(), c.max_length.to_string()),
    ]
    .into_iter()
    .find(|(_, x, y)| x != y)
    .map(|(name, x, y)| format!("{name} differs: {x} and {y}"))
}

/// Whether every log-likelihood has the same bits.
pub(crate) fn identical(b: &TaskResults, c: &TaskResults) -> bool {
    let bits = |t: &TaskResults| -> Vec<u64> {
        t.documents.iter().flat_map(|d| &d.samples).map(|s| s.loglikelihood.to_bits()).collect()
    };
    bits(b) == bits(c)
}

#[cfg(test)]
mod tests {
    use crate::compare::{CompareOptions, compare};
    use crate::results::tests::suite;
    use crate::results::{ModelResults, Outcome};

    #[test]
    fn different_requests_are_refused() {
        let both = suite();
        let message = |change: &dyn Fn(&mut ModelResults)| {
            let mut candidate = both.models[1].clone();
            change(&mut candidate);
            compare(&both.models[0], &candidate, &CompareOptions::default()).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message(&|m| m.settings.max_length = 64), @r"
        cannot compare fp16 with b158: their context length differs: 256 and 64
        hint: evaluate both with the same settings
        ");
        insta::assert_snapshot!(message(&|m| m.tasks.truncate(1)), @r"
        cannot compare fp16 with b158: their tasks differ: arc_easy, wikitext, lambada_openai and arc_easy
        hint: evaluate both on the same tasks, in the same order
        ");
        insta::assert_snapshot!(message(&|m| m.tasks[0].task.version = 2.0), @r"
        cannot compare fp16 with b158: task arc_easy is defined differently
        hint: evaluate both with one task file
        ");
        insta::assert_snapshot!(message(&|m| m.tasks[1].documents.truncate(1)), @r"
        cannot compare fp16 with b158: task wikitext has 2 documents in one and 1 in the other
        hint: evaluate both on the same data with the same limit
        ");
        insta::assert_snapshot!(message(&|m| m.tasks[0].documents[1].samples[0].request.ctx_ids[0] = 7), @r"
        cannot compare fp16 with b158: task arc_easy, document 1: request 0 differs
        hint: twins share data and tokenizer: compare their tokenizer.json files
        ");
        insta::assert_snapshot!(message(&|m| m.tasks[0].documents[1].samples.truncate(1)), @r"
        cannot compare fp16 with b158: task arc_easy, document 1: request 1 differs
        hint: twins share data and tokenizer: compare their tokenizer.json files
        ");
        let longer = Outcome::Rolling { words: 1, bytes: 1 };
        insta::assert_snapshot!(message(&|m| m.tasks[1].documents[0].outcome = longer.clone()), @r"
        cannot compare fp16 with b158: task wikitext, document 0: its label or length differs
        hint: evaluate both on the same data
        ");
    }
}

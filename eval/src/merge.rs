//! Joins the results of shards into those that one machine would have made, bit by bit.
//!
//! ```text
//!   shard 1/3   documents 0, 4, 5 of task A   --+
//!   shard 2/3   documents 1, 3                  +--> documents 0, 1, 2, 3, 4, 5 --> metrics, digest
//!   shard 3/3   document  2                   --+
//! ```
//!
//! Nothing is merged that does not belong together: one suite with one set of margins, the same models, tasks, data,
//! examples and settings, each shard once and every document once.

use crate::Error;
use crate::folder::ShardResults;
use crate::results::{ModelResults, SuiteResults, TaskResults};

/// The results of all shards together.
///
/// # Errors
/// [`Error::Config`] that names the folder of a shard that is missing, there twice, or of something else, and what
/// differs.
pub fn merge(mut shards: Vec<ShardResults>) -> Result<SuiteResults, Error> {
    shards.sort_by_key(|shard| shard.shard.index());
    check(&shards)?;
    let mut parts = shards.into_iter().map(|shard| shard.results);
    let mut whole = parts.next().expect("checked: at least one shard");
    for part in parts {
        for (model, more) in whole.models.iter_mut().zip(part.models) {
            for (task, more) in model.tasks.iter_mut().zip(more.tasks) {
                task.documents.extend(more.documents);
            }
        }
    }
    for model in &mut whole.models {
        let limit = model.settings.limit.unwrap_or(usize::MAX);
        for task in &mut model.tasks {
            task.documents.sort_by_key(|document| document.id);
            check_documents(&model.name, task, limit)?;
        }
    }
    Ok(whole)
}

fn refuse(file: &str, message: String, hint: &str) -> Error {
    Error::Config { file: file.into(), message, hint: hint.into() }
}

/// Whether the shards, sorted, are all parts of one evaluation.
fn check(shards: &[ShardResults]) -> Result<(), Error> {
    let Some(first) = shards.first() else {
        return Err(refuse("merge", "no shards".into(), "name the folders of all shards"));
    };
    for other in &shards[1..] {
        if let Some((what, theirs, ours)) = difference(first, other) {
            let message = format!("{what}: {theirs}, but {ours} in {}", first.folder);
            return Err(refuse(&other.folder, message, "merge shards of one evaluation only"));
        }
    }
    for two in shards.windows(2) {
        if two[0].shard == two[1].shard {
            let message = format!("shard {} is in {}, too", two[1].shard, two[0].folder);
            return Err(refuse(&two[1].folder, message, "name each shard once"));
        }
    }
    let count = first.shard.count();
    let missing = (1..=count).filter(|i| !shards.iter().any(|shard| shard.shard.index() == *i));
    let missing: Vec<String> = missing.map(|i| format!("{i}/{count}")).collect();
    if !missing.is_empty() {
        let message = format!("missing: shard {}", missing.join(", "));
        return Err(refuse("merge", message, "evaluate it with --shard, or name its folder"));
    }
    Ok(())
}

/// The first thing that two shards of one evaluation would have in common, as (what, other's, first's).
fn difference(first: &ShardResults, other: &ShardResults) -> Option<(String, String, String)> {
    let (a, b) = (&first.results, &other.results);
    let differ =
        |what: &str, theirs: String, ours: String| (theirs != ours).then(|| (what.to_owned(), theirs, ours));
    let names = |results: &SuiteResults| {
        results.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let of_suite = differ("suite", b.suite.clone(), a.suite.clone())
        .or_else(|| differ("margins", margins(b), margins(a)))
        .or_else(|| {
            let counts = (other.shard.count().to_string(), first.shard.count().to_string());
            differ("number of shards", counts.0, counts.1)
        })
        .or_else(|| differ("version of b158", other.b158.clone(), first.b158.clone()))
        .or_else(|| differ("models", names(b), names(a)));
    of_suite.or_else(|| a.models.iter().zip(&b.models).find_map(|(a, b)| of_model(a, b)))
}

fn margins(results: &SuiteResults) -> String {
    format!("perplexity_ratio {}, accuracy {}", results.margins.perplexity_ratio, results.margins.accuracy)
}

fn of_model(a: &ModelResults, b: &ModelResults) -> Option<(String, String, String)> {
    let short = |text: &str| text.get(..12).unwrap_or(text).to_owned();
    let differ =
        |what: String, theirs: String, ours: String| (theirs != ours).then_some((what, theirs, ours));
    let settings = |m: &ModelResults| serde_json::to_string(&m.settings).expect("plain values");
    let tasks =
        |m: &ModelResults| m.tasks.iter().map(|t| t.task.task.as_str()).collect::<Vec<_>>().join(", ");
    let name = &a.name;
    let digest = |m: &ModelResults| m.model_sha256.clone();
    if digest(a) != digest(b) {
        return Some((format!("SHA-256 of model '{name}'"), short(&digest(b)), short(&digest(a))));
    }
    differ(format!("settings of model '{name}'"), settings(b), settings(a))
        .or_else(|| differ(format!("tasks of model '{name}'"), tasks(b), tasks(a)))
        .or_else(|| a.tasks.iter().zip(&b.tasks).find_map(|(a, b)| of_task(a, b, short)))
}

fn of_task(
    a: &TaskResults,
    b: &TaskResults,
    short: impl Fn(&str) -> String,
) -> Option<(String, String, String)> {
    let task = &a.task.task;
    let both = [
        (format!("SHA-256 of the definition of task '{task}'"), b.task.sha256(), a.task.sha256()),
        (format!("SHA-256 of the data of task '{task}'"), b.data_sha256.clone(), a.data_sha256.clone()),
        (
            format!("SHA-256 of the split that task '{task}' draws its examples from"),
            b.examples_sha256.clone(),
            a.examples_sha256.clone(),
        ),
        (format!("documents of task '{task}'"), b.original.to_string(), a.original.to_string()),
    ];
    both.into_iter().find(|(_, b, a)| a != b).map(|(what, b, a)| (what, short(&b), short(&a)))
}

/// Every document once.
fn check_documents(model: &str, task: &TaskResults, limit: usize) -> Result<(), Error> {
    let expected = task.original.min(limit);
    let wrong = (0..expected.max(task.documents.len()))
        .find(|i| task.documents.get(*i).is_none_or(|document| document.id != *i) || *i >= expected);
    let Some(document) = wrong else { return Ok(()) };
    let message = format!(
        "model '{model}', task '{}': document {document} of {expected} is missing, or there twice",
        task.task.task
    );
    Err(refuse("merge", message, "evaluate the shards again, all with the same version of b158"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Margins;
    use crate::results::tests::suite;

    /// The documents of the tests' suite, dealt by their index.
    fn shard(index: usize, count: usize) -> ShardResults {
        let mut results = suite();
        for task in results.models.iter_mut().flat_map(|model| &mut model.tasks) {
            task.documents.retain(|document| document.id % count + 1 == index);
        }
        let shard = format!("{index}/{count}").parse().unwrap();
        ShardResults { folder: format!("part{index}"), b158: "1.2.3".into(), shard, results }
    }

    #[test]
    fn shards_become_the_whole() {
        assert_eq!(merge(vec![shard(2, 3), shard(1, 3), shard(3, 3)]).unwrap(), suite());
        assert_eq!(merge(vec![shard(1, 1)]).unwrap(), suite());
        // More shards than documents: some are empty.
        assert_eq!(merge((1..=5).map(|i| shard(i, 5)).collect()).unwrap(), suite());
    }

    #[test]
    fn shards_read_back_as_they_were_written_and_are_not_taken_for_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let place = |error: Error| error.to_string().replace(&dir.path().display().to_string(), "DIR");
        let part = shard(3, 3);
        part.results.write_shard(dir.path(), part.shard).unwrap();
        let read = ShardResults::read(dir.path()).unwrap();
        assert_eq!((read.shard, read.results), (part.shard, part.results));
        insta::assert_snapshot!(place(SuiteResults::read(dir.path()).unwrap_err()), @r"
        DIR/shard.json: these are the results of a shard only
        hint: join all shards with `b158 merge` first
        ");
        suite().write(dir.path()).unwrap();
        insta::assert_snapshot!(place(ShardResults::read(dir.path()).unwrap_err()), @r"
        DIR: these results are of no shard, but complete
        hint: leave the folder out; only what `b158 eval --shard I/N` wrote is merged
        ");
    }

    #[test]
    fn what_does_not_belong_together_is_named() {
        let message = |change: &dyn Fn(&mut ShardResults)| {
            let mut second = shard(2, 2);
            change(&mut second);
            merge(vec![shard(1, 2), second]).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message(&|s| s.results.suite = "other".into()), @r"
        part2: suite: other, but desk in part1
        hint: merge shards of one evaluation only
        ");
        insta::assert_snapshot!(message(&|s| s.results.margins = Margins { accuracy: 0.5, ..Margins::default() }), @r"
        part2: margins: perplexity_ratio 1.02, accuracy 0.5, but perplexity_ratio 1.02, accuracy 0.01 in part1
        hint: merge shards of one evaluation only
        ");
        insta::assert_snapshot!(message(&|s| s.shard = "2/3".parse().unwrap()), @r"
        part2: number of shards: 3, but 2 in part1
        hint: merge shards of one evaluation only
        ");
        insta::assert_snapshot!(message(&|s| s.shard = "1/2".parse().unwrap()), @r"
        part2: shard 1/2 is in part1, too
        hint: name each shard once
        ");
        insta::assert_snapshot!(message(&|s| s.b158 = "1.2.4".into()), @r"
        part2: version of b158: 1.2.4, but 1.2.3 in part1
        hint: merge shards of one evaluation only
        ");
        insta::assert_snapshot!(message(&|s| s.results.models[1].model_sha256 = "6".repeat(64)), @r"
        part2: SHA-256 of model 'b158': 666666666666, but 555555555555 in part1
        hint: merge shards of one evaluation only
        ");
        insta::assert_snapshot!(message(&|s| s.results.models[1].settings.limit = Some(2)), @r#"
        part2: settings of model 'b158': {"preset":"lm-eval","limit":2,"add_bos_token":null,"max_length":256}, but {"preset":"lm-eval","limit":null,"add_bos_token":null,"max_length":256} in part1
        hint: merge shards of one evaluation only
        "#);
        insta::assert_snapshot!(message(&|s| { s.results.models[0].tasks.pop(); }), @r"
        part2: tasks of model 'fp16': arc_easy, wikitext, but arc_easy, wikitext, lambada_openai in part1
        hint: merge shards of one evaluation only
        ");
        insta::assert_snapshot!(message(&|s| { s.results.models.pop(); }), @r"
        part2: models: fp16, but fp16, b158 in part1
        hint: merge shards of one evaluation only
        ");
        insta::assert_snapshot!(message(&|s| s.results.models[0].tasks[0].task.version = 2.0), @r"
        part2: SHA-256 of the definition of task 'arc_easy': 1bec7b50e129, but 946a43d414ea in part1
        hint: merge shards of one evaluation only
        ");
        insta::assert_snapshot!(message(&|s| s.results.models[0].tasks[1].data_sha256 = "7".repeat(64)), @r"
        part2: SHA-256 of the data of task 'wikitext': 777777777777, but  in part1
        hint: merge shards of one evaluation only
        ");
        insta::assert_snapshot!(message(&|s| s.results.models[0].tasks[1].examples_sha256 = "8".repeat(64)), @r"
        part2: SHA-256 of the split that task 'wikitext' draws its examples from: 888888888888, but  in part1
        hint: merge shards of one evaluation only
        ");
        insta::assert_snapshot!(message(&|s| { s.results.models[0].tasks[0].documents.pop(); }), @r"
        merge: model 'fp16', task 'arc_easy': document 1 of 3 is missing, or there twice
        hint: evaluate the shards again, all with the same version of b158
        ");
        insta::assert_snapshot!(message(&|s| {
            let twice = s.results.models[0].tasks[0].documents[0].clone();
            s.results.models[0].tasks[0].documents.push(twice);
        }), @r"
        merge: model 'fp16', task 'arc_easy': document 2 of 3 is missing, or there twice
        hint: evaluate the shards again, all with the same version of b158
        ");
        insta::assert_snapshot!(merge(vec![shard(2, 4), shard(4, 4)]).unwrap_err(), @r"
        merge: missing: shard 1/4, 3/4
        hint: evaluate it with --shard, or name its folder
        ");
        insta::assert_snapshot!(merge(Vec::new()).unwrap_err(), @r"
        merge: no shards
        hint: name the folders of all shards
        ");
    }
}

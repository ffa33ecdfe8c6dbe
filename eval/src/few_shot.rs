//! Examples before the question, as lm-eval 0.4.13 draws them (`lm_eval/api/samplers.py`, `lm_eval/api/task.py`).
//!
//! ```text
//!   description | question 1 delimiter answer 1 \n\n | question 2 delimiter answer 2 \n\n | question
//!                 `------------------------ num_fewshot examples ----------------------'
//!
//!   random.Random(1234), one for each task; document after document draws random.sample(examples, n)
//!   tasks that name no split for examples and have no test split (hellaswag, boolq, piqa, winogrande):
//!       n + 1 are drawn, those that equal the document go, the first n of the others stay
//! ```
//!
//! The draws of a document depend on how many documents come before it, not on which are evaluated in the end.

use std::collections::{BTreeMap, BTreeSet};

use b158_datasets::{DataSource, Dataset};
use rayon::prelude::*;
use serde_json::Value;

use crate::Error;
use crate::digest::rows_digest;
use crate::prepare::example;
use crate::python_random::PythonRandom;
use crate::request::Failure;
use crate::task::{Sampler, Task};

/// lm-eval's seed for examples.
const SEED: u32 = 1234;

/// The examples of each document of a task.
pub(crate) struct Examples {
    /// Rendered, by index among the examples.
    turns: BTreeMap<usize, String>,
    /// Indices, by document.
    drawn: Vec<Vec<usize>>,
    /// SHA-256 of all rows that they are drawn from; empty if none are.
    pub(crate) pool_sha256: String,
}

impl Examples {
    /// Draws the examples of the documents `rows`, which are the first ones of their split and come from `origin`.
    pub(crate) fn draw(task: &Task, rows: &[Value], origin: &str, data: &DataSource) -> Result<Self, Error> {
        let shots = task.shots();
        if shots == 0 {
            let drawn = vec![Vec::new(); rows.len()];
            return Ok(Self { turns: BTreeMap::new(), drawn, pool_sha256: String::new() });
        }
        let pool = load(task, origin, data)?;
        let drawn = draw(task, rows, &pool)?;
        let used: BTreeSet<usize> = drawn.iter().flatten().copied().collect();
        let render = |index: usize| {
            let turn = example(task, &pool.rows[index]).map_err(|failure| match failure {
                Failure::Refused((message, hint)) => Error::Document {
                    task: task.task.clone(),
                    document: index,
                    origin: pool.origin.clone(),
                    message: format!("as an example: {message}"),
                    hint,
                },
                Failure::Failed(error) => error,
            })?;
            Ok((index, turn))
        };
        let rendered: Vec<Result<(usize, String), Error>> =
            used.into_iter().collect::<Vec<_>>().into_par_iter().map(render).collect();
        // In their order, so that of several errors always the same one is told.
        let turns = rendered.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { turns, drawn, pool_sha256: rows_digest(&pool.rows) })
    }

    /// The examples of a document, as text before its question.
    pub(crate) fn before(&self, document: usize) -> String {
        self.drawn[document].iter().map(|index| self.turns[index].as_str()).collect()
    }
}

fn load(task: &Task, origin: &str, data: &DataSource) -> Result<Dataset, Error> {
    let split = task.example_split();
    let pool = data.load(task.stem(split), split)?;
    // A file without a split in its name serves the evaluated one: its documents must not become examples unseen.
    if pool.origin == origin && split != task.split() && task.data_files.is_empty() {
        return Err(Error::Config {
            file: origin.to_owned(),
            message: format!(
                "task {} takes its {} examples from the split '{split}', and there is no file of that split",
                task.task,
                task.shots()
            ),
            hint: match data {
                DataSource::Desk => "the desk has no examples: give a folder as --data".to_owned(),
                _ => format!("put {0}-{split}.jsonl beside {0}-{1}.jsonl", task.dataset, task.split()),
            },
        });
    }
    Ok(pool)
}

fn draw(task: &Task, rows: &[Value], pool: &Dataset) -> Result<Vec<Vec<usize>>, Error> {
    let (shots, leaves_itself_out) = (task.shots(), task.leaves_itself_out());
    let config = |message: String| Error::Config {
        file: pool.origin.clone(),
        message,
        hint: "ask for fewer examples, or add documents there".into(),
    };
    let needed = shots + usize::from(leaves_itself_out);
    let available = pool.rows.len();
    if needed > available || u32::try_from(available).is_err() {
        return Err(config(format!(
            "{needed} documents are needed for {shots} examples, and split '{}' has {available}",
            task.example_split()
        )));
    }
    let mut random = PythonRandom::new(SEED);
    let of_document = |(document, row): (usize, &Value)| {
        let candidates: Vec<usize> = match task.fewshot_config.sampler {
            Sampler::Default => {
                random.sample(available as u32, needed as u32).into_iter().map(|i| i as usize).collect()
            }
            // The document itself may be among the first.
            Sampler::FirstN => (0..available).collect(),
        };
        let other = |index: &usize| !leaves_itself_out || pool.rows[*index] != *row;
        let examples: Vec<usize> = candidates.into_iter().filter(other).take(shots).collect();
        if examples.len() < shots {
            return Err(config(format!(
                "of the {needed} examples drawn for document {document}, only {} differ from it",
                examples.len()
            )));
        }
        Ok(examples)
    };
    rows.iter().enumerate().map(of_document).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::all_tasks;

    const ROW: &str = r#"{"goal": "G", "sol1": "a", "sol2": "b", "label": 1}"#;

    fn rows(goals: &[&str]) -> Vec<Value> {
        goals.iter().map(|goal| serde_json::from_str(&ROW.replace('G', goal)).unwrap()).collect()
    }

    /// Examples before documents with these goals, from a training split with those.
    fn drawn(task: &Task, documents: &[&str], train: Option<&[&str]>) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, goals: &[&str]| {
            let lines: String = rows(goals).iter().map(|row| format!("{row}\n")).collect();
            std::fs::write(dir.path().join(name), lines).unwrap();
        };
        write("piqa.jsonl", documents);
        if let Some(train) = train {
            write("piqa-train.jsonl", train);
        }
        let origin = dir.path().join("piqa.jsonl").display().to_string();
        let data = DataSource::folder(dir.path());
        match Examples::draw(task, &rows(documents), &origin, &data) {
            Ok(examples) => Ok((0..documents.len()).map(|i| examples.before(i)).collect()),
            Err(error) => Err(error.to_string().replace(&dir.path().display().to_string(), "DATA")),
        }
    }

    fn piqa(shots: usize) -> Task {
        Task { num_fewshot: Some(shots), ..all_tasks(None).unwrap()["piqa"].clone() }
    }

    #[test]
    fn examples_end_with_their_answers() {
        let turns = drawn(&piqa(1), &["q"], Some(&["x", "x"])).unwrap();
        assert_eq!(turns, ["Question: x\nAnswer: b\n\n"]);
        assert_eq!(drawn(&piqa(0), &["q", "r"], None).unwrap(), ["", ""]);
        let mut first = piqa(2);
        first.fewshot_config.sampler = Sampler::FirstN;
        let turns = drawn(&first, &["q", "x"], Some(&["x", "y", "z"])).unwrap();
        let turn = |goal: &str| format!("Question: {goal}\nAnswer: b\n\n");
        assert_eq!(
            turns,
            [turn("x") + &turn("y"), turn("y") + &turn("z")],
            "the document itself is left out"
        );
    }

    #[test]
    fn a_document_is_kept_out_of_its_own_examples() {
        let goals: Vec<String> = (0..9).map(|i| format!("g{i}")).collect();
        let goals: Vec<&str> = goals.iter().map(String::as_str).collect();
        for (goal, turns) in goals.iter().zip(drawn(&piqa(3), &goals, Some(&goals)).unwrap()) {
            assert!(!turns.contains(goal), "{goal}: {turns}");
            assert_eq!(turns.matches("Question").count(), 3);
        }
    }

    #[test]
    fn missing_examples_are_named() {
        let message = |shots, train| drawn(&piqa(shots), &["q"], train).unwrap_err();
        insta::assert_snapshot!(message(2, None), @r"
        DATA/piqa.jsonl: task piqa takes its 2 examples from the split 'train', and there is no file of that split
        hint: put piqa-train.jsonl beside piqa-validation.jsonl
        ");
        insta::assert_snapshot!(message(2, Some(&["x", "y"])), @r"
        DATA/piqa-train.jsonl: 3 documents are needed for 2 examples, and split 'train' has 2
        hint: ask for fewer examples, or add documents there
        ");
        insta::assert_snapshot!(message(1, Some(&["q", "q"])), @r"
        DATA/piqa-train.jsonl: of the 2 examples drawn for document 0, only 0 differ from it
        hint: ask for fewer examples, or add documents there
        ");
        let desk = Examples::draw(&piqa(1), &rows(&["q"]), "desk piqa", &DataSource::desk());
        insta::assert_snapshot!(desk.err().unwrap(), @r"
        desk piqa: task piqa takes its 1 examples from the split 'train', and there is no file of that split
        hint: the desk has no examples: give a folder as --data
        ");
        let broken = Task { doc_to_text: "gaol".into(), ..piqa(1) };
        insta::assert_snapshot!(drawn(&broken, &["q"], Some(&["x", "x"])).unwrap_err(), @r"
        task piqa, document 1 of DATA/piqa-train.jsonl: as an example: doc_to_text names the column 'gaol', which the document lacks
        hint: its columns: goal, sol1, sol2, label
        ");
    }
}

//! What the text and the tasks promise.

mod cues;
mod samples;
mod text;
mod truth;

use serde_json::Value;

use super::*;

/// The rows of a task.
fn rows(task: &str) -> Vec<Value> {
    let text = dataset(task).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A string column.
fn string<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap()
}

/// Prompt (without the parts that all items of a task share), choices and the right one, of tasks with a list of
/// choices.
fn choices(task: &str) -> Vec<(String, Vec<String>, usize)> {
    let list =
        |v: &Value| v.as_array().unwrap().iter().map(|c| c.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let label = |row: &Value| {
        list(&row["choices"]["label"]).iter().position(|l| l == string(row, "answerKey")).unwrap()
    };
    let item = |row: Value| match task {
        "arc_easy" | "arc_challenge" => {
            (string(&row, "question").to_owned(), list(&row["choices"]["text"]), label(&row))
        }
        "openbookqa" => {
            (string(&row, "question_stem").to_owned(), list(&row["choices"]["text"]), label(&row))
        }
        "hellaswag" => {
            let prompt = format!("{}: {}", string(&row, "activity_label"), string(&row, "ctx_a"));
            (prompt, list(&row["endings"]), string(&row, "label").parse().unwrap())
        }
        "piqa" => {
            let solutions = ["sol1", "sol2"].map(|s| string(&row, s).to_owned()).to_vec();
            (string(&row, "goal").to_owned(), solutions, row["label"].as_u64().unwrap() as usize)
        }
        "winogrande" => {
            let options = ["option1", "option2"].map(|s| string(&row, s).to_owned()).to_vec();
            (string(&row, "sentence").to_owned(), options, usize::from(string(&row, "answer") == "2"))
        }
        "boolq" => {
            let prompt = format!("{}\n{}", string(&row, "passage"), string(&row, "question"));
            (prompt, vec!["no".to_owned(), "yes".to_owned()], row["label"].as_u64().unwrap() as usize)
        }
        _ => unreachable!("{task} has no choices"),
    };
    rows(task).into_iter().map(item).collect()
}

//! The main job, from nothing to the report.

mod common;

use std::{fs, path::Path};

use assert_cmd::Command;
use common::{b158, fixtures, twin};
use insta::assert_snapshot;
use serde_json::Value;

/// The widest line that a table may have on screen.
const COLUMNS: usize = 200;

/// The main job in `folder`, on the first documents only: this program is built without optimization.
fn main_job(folder: &Path) -> Command {
    let mut command = b158();
    command.current_dir(folder).args(["reproduce", "--limit", "6"]);
    command
}

/// Text in which nothing depends on the models' weights, their sizes or the machine: numbers become `#`, sizes `SIZE`,
/// verdicts `VERDICT`; columns have no width, and a table no two rows alike.
fn shape(text: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut table: Option<(usize, Option<usize>)> = None; // its first line, and the column of the size
    let mut claims = false;
    for line in text.lines() {
        if !line.starts_with('|') {
            table = None;
            out.push(match line {
                digest if digest.starts_with("result digest") => "result digest …".to_owned(),
                claims if claims.starts_with("Of ") => {
                    claims.split_whitespace().map(number).collect::<Vec<_>>().join(" ")
                }
                line => line.to_owned(),
            });
            continue;
        }
        let mut cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let Some((first, size)) = table else {
            table = Some((out.len(), cells.iter().position(|cell| cell == "size")));
            claims = cells.contains(&"claim".to_owned());
            out.push(cells.join("|"));
            continue;
        };
        if claims {
            // Which claims have a verdict depends on the models and the number of documents.
            continue;
        }
        for (column, cell) in cells.iter_mut().enumerate() {
            *cell = match cell.as_str() {
                "better" | "parity" | "undecided" | "worse" => "VERDICT".to_owned(),
                ruler if !ruler.is_empty() && ruler.chars().all(|c| matches!(c, '-' | ':')) => "-".to_owned(),
                named if size == Some(column) && !named.is_empty() => "SIZE".to_owned(),
                text => {
                    text.split_whitespace().map(number).filter(|w| w != "*").collect::<Vec<_>>().join(" ")
                }
            };
        }
        let row = cells.join("|");
        if !out[first..].contains(&row) {
            out.push(row);
        }
    }
    out.join("\n")
}

/// `#` for a number, with what stands around it: `(×1.02)` becomes `(×#)`.
fn number(word: &str) -> String {
    let inner = word.trim_start_matches(['(', '×']).trim_end_matches([')', 'x', ',']);
    if inner.parse::<f64>().is_ok() { word.replacen(inner, "#", 1) } else { word.to_owned() }
}

/// Everything but the values.
#[test]
fn reproduce_prints_the_tables_and_writes_the_report() {
    let folder = tempfile::TempDir::new().unwrap();
    let output = main_job(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let made = folder.path().join("target/b158");
    let report = fs::read_to_string(made.join("report.md")).unwrap();
    assert!(
        report.starts_with(&text) && report.contains("McNemar"),
        "the report begins with what is on screen"
    );
    for file in
        ["results.json", "samples.parquet", "measurements.json", "report/index.html", "desk/suites/desk.yaml"]
    {
        assert!(made.join(file).is_file(), "{file}");
    }
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= COLUMNS, "{widest} columns");
    assert_snapshot!(shape(&text));

    // What was unpacked is a suite like any other, and what is printed as JSON says the same.
    let json = b158()
        .current_dir(folder.path())
        .args(["reproduce", "target/b158/desk/suites/desk.yaml", "--limit", "6", "-o", "again", "--json"])
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(text.contains(document["digest"].as_str().unwrap()), "the same digest the second time");
    for row in document["models"].as_array().unwrap() {
        assert!(report.contains(row["digest"].as_str().unwrap()));
        assert!(row["measured"]["formats"][0]["decode"][0]["latency_p50_ms"].as_f64().unwrap() > 0.0);
        assert!(row["average"]["value"].is_number() && row["size"].is_string());
        let name = row["name"].as_str().unwrap();
        assert!(document["results"]["results"][name]["desk"]["word_perplexity,none"].is_number());
    }
    for claim in document["claims"].as_array().unwrap() {
        let reason = claim["reason"].as_str().unwrap_or_default();
        assert_eq!(claim["verdict"] == "not_testable", !reason.is_empty(), "{claim}");
    }
    for comparison in document["comparisons"].as_array().unwrap() {
        assert!(comparison["average"]["interval"].is_array() && comparison["metrics"].is_array());
    }
}

#[test]
fn compare_gates_on_the_verdict() {
    let folder = tempfile::TempDir::new().unwrap();
    let suite = format!(
        "suite: fixture\nmodels:\n  - {{name: fp16, path: {fp16}, role: baseline}}\n  - {{name: fp16-ternarized, \
         path: {fp16}, convert: tq2_0}}\ntasks: [arc_easy, wikitext]\n",
        fp16 = twin("tiny-llama-f16").display()
    );
    fs::write(folder.path().join("suite.yaml"), suite).unwrap();
    b158()
        .current_dir(folder.path())
        .args(["eval", "suite.yaml", "-o", "target/b158", "--data"])
        .arg(fixtures())
        .assert()
        .success();
    let compare = |candidate: &str| {
        let candidate = format!("target/b158:{candidate}");
        b158()
            .current_dir(folder.path())
            .args(["compare", "target/b158:fp16", &candidate, "--require", "parity"])
            .output()
            .unwrap()
    };
    assert_eq!(compare("fp16").status.code(), Some(0));
    assert_eq!(compare("fp16-ternarized").status.code(), Some(3));
    let unknown = compare("fp17");
    assert_eq!(unknown.status.code(), Some(1));
    assert_snapshot!(String::from_utf8_lossy(&unknown.stderr));
}

/// The bits of every log-likelihood of models and data that do not change: the same on every machine, and by every
/// version that does not say otherwise.
#[test]
fn digests_of_the_fixture() {
    let folder = tempfile::TempDir::new().unwrap();
    let suite = format!(
        "suite: fixture\nmodels:\n  - {{name: fp16, path: {fp16}, role: baseline}}\n  - {{name: b1.58, path: {b158}, \
         convert: tq2_0}}\n  - {{name: fp16-ternarized, path: {fp16}, convert: tq2_0}}\ntasks: [wikitext, arc_easy]\n",
        fp16 = twin("tiny-llama-f16").display(),
        b158 = twin("tiny-b158-f16").display()
    );
    fs::write(folder.path().join("suite.yaml"), suite).unwrap();
    let output = b158()
        .current_dir(folder.path())
        .args(["eval", "suite.yaml", "-o", "out", "--json", "--data"])
        .arg(fixtures())
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_snapshot!(format!("{:#}", document["digest"]));
}

/// Twins of a size are compared among themselves: without a baseline of their own they cannot be.
#[test]
fn a_size_without_a_baseline() {
    let folder = tempfile::TempDir::new().unwrap();
    let suite = "suite: mine\nmodels:\n  - {size: 1M, name: fp16, path: a, role: baseline}\n  - {size: 1M, name: b1.58, \
                 path: b}\n  - {size: 2M, name: fp16, path: c}\n  - {size: 2M, name: b1.58, path: d}\ntasks: [desk]\n";
    fs::write(folder.path().join("suite.yaml"), suite).unwrap();
    let mut command = b158();
    command.current_dir(folder.path()).args(["reproduce", "suite.yaml"]);
    assert_snapshot!(common::transcript(&mut command, folder.path()));
}

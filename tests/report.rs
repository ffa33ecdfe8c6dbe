//! Reports in every form, of results that an evaluation left.

mod common;

use std::{fs, path::Path};

use common::{b158, evaluated, transcript};
use insta::assert_snapshot;
use serde_json::Value;

fn report(folder: &Path, arguments: &[&str]) -> assert_cmd::Command {
    let mut command = b158();
    command.current_dir(folder).args(["report", "results", "-o", "out"]).args(arguments);
    command
}

#[test]
fn every_form_says_the_same() {
    let folder = evaluated("fix_ture", 8);
    // The folder says itself which model is the baseline.
    report(folder.path(), &["--format", "md,html,csv,tex,json,parquet,hub", "--public-data"])
        .assert()
        .success();
    let read = |name: &str| fs::read_to_string(folder.path().join("out").join(name)).unwrap();
    let results: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("results/results.json")).unwrap())
            .unwrap();
    let accuracy = results["results"]["b1.58"]["arc_easy"]["acc,none"].as_f64().unwrap();
    let digest = results["digest"]["b1.58"].as_str().unwrap();

    let csv = read("report.csv");
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let column = |name: &str| rows[0].iter().position(|n| *n == name).unwrap();
    // Three metrics of the rolling task and two of the other, for two models.
    assert_eq!(rows.len(), 1 + 2 * (3 + 2), "{csv}");
    let found = rows
        .iter()
        .find(|row| {
            (row[column("model")], row[column("task")], row[column("metric")]) == ("b1.58", "arc_easy", "acc")
        })
        .unwrap();
    assert_eq!(found[column("value")].parse::<f64>().unwrap().to_bits(), accuracy.to_bits());
    assert_eq!((found[column("baseline")], found[column("digest")]), ("fp16", digest));
    assert!(found[column("low")].parse::<f64>().unwrap() < accuracy);

    let json: Value = serde_json::from_str(&read("report.json")).unwrap();
    let comparison = &json["runs"][0]["comparisons"][0];
    assert_eq!((&comparison["baseline"], &comparison["candidate"]), (&"fp16".into(), &"b1.58".into()));
    assert_eq!(comparison["families"].as_array().unwrap().len(), 2);

    let markdown = read("report.md");
    let html = read("index.html");
    let tex = read("report.tex");
    let percent = format!("{:.1}", accuracy * 1e2);
    for text in [&markdown, &html, &tex] {
        assert!(text.contains(&percent), "{percent} in {text}");
    }
    assert!(markdown.contains(digest) && html.contains(json["runs"][0]["digest"].as_str().unwrap()));
    assert!(tex.contains("fix\\_ture") && tex.contains("\\toprule"));
    // One file: nothing is fetched.
    for outside in ["<link rel=\"stylesheet\"", " src=", "@import", "url(", "<iframe"] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(fs::metadata(folder.path().join("out/report.parquet")).unwrap().len() > 0);

    let hub = read("hub/b1.58/.eval_results/b158.yaml");
    assert!(hub.contains("id: allenai/ai2_arc") && hub.contains("task_id: arc_easy"), "{hub}");
    assert!(read("hub/b1.58/model-index.yaml").starts_with("model-index:"));
}

#[test]
fn tasks_on_other_data_are_not_passed_off_as_public_ones() {
    let folder = evaluated("fix_ture", 8);
    assert_snapshot!(transcript(&mut report(folder.path(), &["--format", "hub"]), folder.path()));
    let index = fs::read_to_string(folder.path().join("out/hub/fp16/model-index.yaml")).unwrap();
    assert!(index.contains("not the public data set") && !index.contains("allenai"), "{index}");
    assert!(!folder.path().join("out/hub/fp16/.eval_results").exists());
}

#[test]
fn the_same_bytes_twice() {
    let folder = evaluated("fix_ture", 8);
    let read = || {
        report(folder.path(), &["--baseline", "fp16", "--format", "html,parquet,tex"]).assert().success();
        ["index.html", "report.parquet", "report.tex"]
            .map(|name| fs::read(folder.path().join("out").join(name)).unwrap())
    };
    assert_eq!(read(), read());
}

#[test]
fn names_are_text_in_a_page() {
    let folder = evaluated("fix_ture", 8);
    let curves = r#"{"<img src=x onerror=alert(1)>": {"steps": [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}],
        "held_out": [{"step": 2, "nats": 2.5}]}}"#;
    fs::write(folder.path().join("curves.json"), curves).unwrap();
    report(folder.path(), &["--curves", "curves.json"]).assert().success();
    let html = fs::read_to_string(folder.path().join("out/index.html")).unwrap();
    assert!(!html.contains("<img") && html.contains("&lt;img src=x"));
    assert!(html.contains("id=\"plot-curves\" data-points=\"1\""));
}

#[test]
fn what_is_wrong_is_named() {
    let folder = evaluated("fix_ture", 8);
    let mut texts = Vec::new();
    texts.push(transcript(&mut report(folder.path(), &["--baseline", "fp17"]), folder.path()));
    fs::write(folder.path().join("bad.json"), "[]").unwrap();
    texts.push(transcript(&mut report(folder.path(), &["--curves", "bad.json"]), folder.path()));
    fs::write(folder.path().join("results/measurements.json"), "{\"models\": {\"fp16\": {}}}").unwrap();
    texts.push(transcript(&mut report(folder.path(), &[]), folder.path()));
    fs::remove_file(folder.path().join("results/results.json")).unwrap();
    texts.push(transcript(&mut report(folder.path(), &[]), folder.path()));
    assert_snapshot!(texts.join("\n"));
}

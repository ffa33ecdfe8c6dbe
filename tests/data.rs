//! `b158 data`: the desk's files, what is at hand of the catalogue, whether it is right, and what is refused.

mod common;

use std::{collections::HashSet, fs, path::Path};

use common::{b158, transcript};
use insta::assert_snapshot;
use tempfile::TempDir;

#[test]
fn text_and_tasks_are_written() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("desk");
    let desk = |arguments: &[&str]| {
        let mut command = b158();
        command.args(["data", "desk", "--bytes", "200000", "-o"]).arg(&output).args(arguments);
        transcript(&mut command, dir.path())
    };
    assert_snapshot!("text", desk(&[]));
    let read = |name: &str| fs::read_to_string(output.join(name)).unwrap();
    let (train, held_out) = (read("train.txt"), read("held-out.txt"));
    assert!(train.len() <= 200_000 && train.len() > 198_000);
    let documents: HashSet<&str> = train.trim_end().split("\n\n").collect();
    assert!(held_out.trim_end().split("\n\n").all(|document| !documents.contains(document)));
    assert_eq!(read("boolq.jsonl").lines().count(), 500);

    // Once more, with another seed: the text changes, the tasks do not.
    let tasks = read("piqa.jsonl");
    assert_snapshot!("json", desk(&["--seed", "1", "--json"]));
    assert_ne!(read("train.txt"), train);
    assert_eq!(read("piqa.jsonl"), tasks);
}

#[test]
fn what_is_refused() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "here already").unwrap();
    let mut command = b158();
    command.args(["data", "desk", "-o"]).arg(&file);
    assert_snapshot!("output is a file", transcript(&mut command, dir.path()));
    let mut command = b158();
    command.args(["data", "desk", "--bytes", "1000", "-o"]).arg(dir.path().join("desk"));
    assert_snapshot!("too few bytes", transcript(&mut command, dir.path()));
    assert!(!dir.path().join("desk").exists());
}

/// A data folder, and an empty cache of the Hub, in a temporary folder.
struct Data(TempDir);

impl Data {
    fn new() -> Self {
        let data = Self(TempDir::new().unwrap());
        fs::create_dir(data.folder()).unwrap();
        data
    }

    fn folder(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder().join(name), text).unwrap();
    }

    /// `b158 data ...` with nothing at hand but this folder's files.
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = b158();
        command.env("HF_HUB_CACHE", self.0.path().join("cache")).env_remove("HF_HUB_OFFLINE");
        command.arg("data").args(arguments);
        transcript(&mut command, self.0.path())
    }

    fn run_in(&self, arguments: &[&str]) -> String {
        let folder = self.folder();
        self.run(&[arguments, &["--data", folder.to_str().unwrap()]].concat())
    }
}

fn question(id: &str, answer: &str) -> String {
    format!(
        r#"{{"id": "{id}", "question": "q?", "choices": {{"text": ["a", "b"], "label": ["A", "B"]}}, "answerKey": {answer}}}"#
    ) + "\n"
}

#[test]
fn what_is_known_and_at_hand() {
    let data = Data::new();
    data.write("arc_easy-test.jsonl", &question("1", "\"A\""));
    data.write("winogrande_xl.parquet", "");
    assert_snapshot!("list", data.run_in(&["list"]));
    let nowhere = data.run(&["list"]);
    assert_snapshot!(nowhere.lines().find(|line| line.starts_with("at hand")).unwrap(), @"at hand: 0, in [DIR]/cache");
    let json = data.run_in(&["list", "--json"]);
    let json = json.split_once("--- stdout\n").unwrap().1.split_once("--- stderr").unwrap().0;
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_snapshot!("list as json", serde_json::to_string_pretty(&json["datasets"][0]).unwrap());

    assert_snapshot!("path", data.run_in(&["path", "arc_easy"]));
    assert_snapshot!("path of another split", data.run_in(&["path", "arc_easy", "--split", "train"]));
    assert_snapshot!("path of an unknown split", data.run_in(&["path", "arc_easy", "--split", "trian"]));
    assert_snapshot!("path of an unknown dataset", data.run_in(&["path", "arc_esay"]));
}

#[test]
fn what_is_at_hand_is_checked() {
    let data = Data::new();
    assert_snapshot!("verify nothing", data.run_in(&["verify"]));
    // Pages of three lines, which are not those of WikiText-2.
    data.write("wiki.valid.raw", &" = A = \n \n x \n".repeat(60));
    data.write("arc_easy-test.jsonl", &(question("1", "\"A\"") + &question("1", "1")));
    data.write("piqa-train.jsonl", "{\"goal\": \n");
    data.write("tinystories.txt", "One day.\n<|endoftext|>\nOne day.\n");
    data.write("SHA256SUMS", &format!("{}  tinystories.txt\n", "0".repeat(64)));
    assert_snapshot!("verify", data.run_in(&["verify"]));
    assert_snapshot!("verify one that is not there", data.run_in(&["verify", "boolq"]));
    assert_snapshot!("verify one as json", data.run_in(&["verify", "arc_easy", "--json"]));

    let good = Data::new();
    good.write("tinystories-validation.txt", "One day.\n<|endoftext|>\nAnother day.\n");
    assert_snapshot!("verify what is right", good.run_in(&["verify"]));
}

#[test]
fn fetching_says_what_to_do_by_hand() {
    let data = Data::new();
    if cfg!(not(feature = "hub")) {
        assert_snapshot!("fetch", data.run(&["fetch", "arc_easy", "--split", "test"]));
        assert_snapshot!("fetch in parts", data.run(&["fetch", "tinystories"]));
        assert_snapshot!("fetch c4", data.run(&["fetch", "c4"]));
    }
    let mut command = b158();
    command.args(["data", "fetch", "piqa", "--split", "validation"]).env("HF_HUB_OFFLINE", "1");
    assert_snapshot!("fetch offline", transcript(&mut command, data.0.path()));
}

#[test]
fn an_evaluation_reads_the_hubs_parquet_and_its_cache() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/tests/fixtures/arc.parquet");
    let data = Data::new();
    fs::copy(&fixture, data.folder().join("arc_easy-test.parquet")).unwrap();
    let snapshot = data.0.path().join("cache/datasets--allenai--ai2_arc/snapshots/0123abcd/ARC-Easy");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir(snapshot.ancestors().nth(3).unwrap().join("refs")).unwrap();
    fs::write(snapshot.ancestors().nth(3).unwrap().join("refs/main"), "0123abcd").unwrap();
    fs::copy(&fixture, snapshot.join("test-00000-of-00001.parquet")).unwrap();

    let model = format!("m={}", common::twin("tiny-llama-f16").display());
    let evaluate = |source: &str| {
        let mut command = b158();
        command.env("HF_HUB_CACHE", data.0.path().join("cache"));
        command
            .args(["eval", "--model", &model, "--tasks", "arc_easy", "--limit", "2", "--data", source, "-o"]);
        let output = command.arg(data.0.path().join("out")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(evaluate(data.folder().to_str().unwrap()), evaluate("hub"));
}

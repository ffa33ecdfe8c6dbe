//! `b158 data desk`: the files, their digests, and what is refused.

mod common;

use std::{collections::HashSet, fs};

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

//! The claims ledger from the command line.

mod common;

use std::fs;

use common::{b158, evaluated, transcript};
use insta::assert_snapshot;
use serde_json::Value;

/// Every embedded claim gets a verdict, and without measurements none that needs them.
#[test]
fn nothing_is_claimed_beyond_what_was_measured() {
    let folder = evaluated("fixture", 12);
    let ledger = |arguments: &[&str]| -> Value {
        let mut command = b158();
        command.current_dir(folder.path()).args(["claims", "results", "--json"]).args(arguments);
        serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
    };
    let decided = |ledger: &Value| -> Vec<String> {
        let claims = ledger["claims"].as_array().unwrap();
        assert!(claims.len() > 60, "{} claims", claims.len());
        let with_verdict = claims.iter().filter(|c| c["verdict"] != "not_testable");
        with_verdict.map(|c| c["id"].as_str().unwrap().to_owned()).collect()
    };
    // Perplexity and accuracy of twins of unknown size; nothing of memory, speed, shapes.
    for id in decided(&ledger(&[])) {
        assert!(["ppl-parity-small", "tasks-parity-small"].contains(&id.as_str()), "{id}");
    }

    // A measured shape adds the claims about it.
    let bench = b158()
        .args([
            "bench",
            "--shape",
            "tiny",
            "--json",
            "--depth",
            "0",
            "--prefill",
            "1",
            "--decode",
            "2",
            "--runs",
            "1",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(bench.stdout).unwrap().replace("\"model\": \"tiny\"", "\"model\": \"3B\"");
    fs::create_dir(folder.path().join("results/bench")).unwrap();
    fs::write(folder.path().join("results/bench/3B.json"), &text).unwrap();
    let with_shape = decided(&ledger(&[]));
    for id in ["memory-3b", "latency-3b", "x86-speed"] {
        assert!(with_shape.contains(&id.to_owned()), "{id} is not in {with_shape:?}");
    }
    assert!(!with_shape.contains(&"memory-700m".to_owned()));

    fs::write(
        folder.path().join("mine.yaml"),
        "papers: {p: P}\nclaims: [{id: c, paper: q, place: T, claim: C}]\n",
    )
    .unwrap();
    let mut own = b158();
    own.current_dir(folder.path()).args(["claims", "results", "--claims", "mine.yaml"]);
    assert_snapshot!(transcript(&mut own, folder.path()));
    fs::write(folder.path().join("results/bench/3B.json"), "{}").unwrap();
    let mut damaged = b158();
    damaged.current_dir(folder.path()).args(["claims", "results"]);
    assert_snapshot!("damaged measurement", transcript(&mut damaged, folder.path()));
}

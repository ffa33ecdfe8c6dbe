//! The main job, from nothing to the report.

mod common;

use common::b158;

/// Everything but the measured times and memory is the same on every machine.
#[test]
fn reproduce_prints_the_table_and_writes_the_report() {
    let folder = tempfile::TempDir::new().unwrap();
    let output = b158().current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, std::fs::read_to_string(folder.path().join("target/b158/report.md")).unwrap());
    for file in ["results.json", "samples.parquet", "models/b1.58.tq2_0.gguf", "desk/suites/desk.yaml"] {
        assert!(folder.path().join("target/b158").join(file).is_file(), "{file}");
    }

    let mut masked = String::new();
    for line in text.lines() {
        let mut cells: Vec<&str> = line.split('|').collect();
        if cells.len() == 13 && cells[3].trim().parse::<f64>().is_ok() {
            for measured in &mut cells[5..8] {
                assert!(measured.trim().parse::<f64>().unwrap() > 0.0, "{line}");
                *measured = " … ";
            }
        }
        masked += &cells.join("|");
        masked.push('\n');
    }
    insta::assert_snapshot!(masked);

    // What was unpacked is a suite like any other.
    let json = b158()
        .current_dir(folder.path())
        .args(["reproduce", "target/b158/desk/suites/desk.yaml", "-o", "again", "--json"])
        .output()
        .unwrap();
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["models"].as_array().unwrap().len(), 3);
    for row in document["models"].as_array().unwrap() {
        assert!(text.contains(row["digest"].as_str().unwrap()), "the same digests the second time");
    }
}

#[test]
fn compare_gates_on_the_verdict() {
    let folder = tempfile::TempDir::new().unwrap();
    b158().current_dir(folder.path()).assert().success();
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
    insta::assert_snapshot!(String::from_utf8_lossy(&unknown.stderr));
}

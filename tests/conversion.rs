//! `convert` and `inspect` as people and scripts use them.

mod common;

use std::{fs, path::Path, process::Stdio, time::Duration};

use common::{b158, twin};
use insta::assert_snapshot;
use tempfile::TempDir;

/// Runs a command and returns its standard output and standard error.
fn output(command: &mut assert_cmd::Command) -> (String, String) {
    let assert = command.assert().success();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&assert.get_output().stdout), text(&assert.get_output().stderr))
}

/// Paths as letters, and tables without the width that paths gave them.
fn stable(text: &str, folder: &Path) -> String {
    let mut text =
        text.replace(folder.to_str().unwrap(), "[DIR]").replace(env!("CARGO_MANIFEST_DIR"), "[REPO]");
    for (long, short) in [("  ", " "), ("----", "---")] {
        while text.contains(long) {
            text = text.replace(long, short);
        }
    }
    text
}

fn convert(from: &Path, to: &Path, arguments: &[&str]) -> (String, String) {
    output(b158().arg("convert").arg(from).arg("-o").arg(to).args(arguments))
}

#[test]
fn what_convert_says() {
    let folder = TempDir::new().unwrap();
    let source = twin("tiny-b158-f16");
    let mut said = String::new();
    for (format, name) in
        [("tq1_0", "a.gguf"), ("i2_s", "b.gguf"), ("bf16", "c.gguf"), ("hf", "d"), ("f32", "e")]
    {
        let (stdout, stderr) = convert(&source, &folder.path().join(name), &["--to", format, "--verify"]);
        said += &format!("$ --to {format}\n{stdout}{stderr}");
    }
    let class = ["--to", "hf", "--linear-class", "bitlinear", "--head", "bf16"];
    let (stdout, stderr) = convert(&folder.path().join("a.gguf"), &folder.path().join("f"), &class);
    said += &format!("$ from tq1_0: {}\n{stdout}{stderr}", class.join(" "));
    assert_snapshot!(stable(&said, folder.path()));
}

#[test]
fn what_inspect_says() {
    let folder = TempDir::new().unwrap();
    let packed = folder.path().join("m.gguf");
    convert(&twin("tiny-b158-f16"), &packed, &["--to", "tq2_0", "--head", "q8_0"]);
    let mut said = String::new();
    for (model, more) in
        [(twin("tiny-b158-f16"), None), (twin("tiny-llama-f16"), None), (packed, Some("--tensors"))]
    {
        let (stdout, stderr) = output(b158().arg("inspect").arg(&model).args(more));
        said += &format!("{stdout}{stderr}\n");
    }
    assert_snapshot!(stable(&said, folder.path()));
}

#[test]
fn a_batch_plans_runs_and_goes_on() {
    let folder = TempDir::new().unwrap();
    let jobs = folder.path().join("jobs.yaml");
    let twins = twin("tiny-b158-f16");
    let twins = twins.parent().unwrap().display();
    let text = format!(
        "output: out\nmemory: 1 GiB\njobs:\n  - source: {twins}/tiny-b158-f16\n    to: [tq2_0, hf, q1_0]\n    verify: true\n"
    );
    fs::write(&jobs, text).unwrap();
    let batch = |more: &[&str]| {
        let output = b158().arg("convert").arg("--batch").arg(&jobs).args(more).output().unwrap();
        let text = |bytes: &[u8]| stable(std::str::from_utf8(bytes).unwrap(), folder.path());
        // Seconds differ from run to run.
        let stdout = text(&output.stdout).lines().map(hide_seconds).collect::<Vec<_>>().join("\n");
        format!("exit: {}\n{stdout}\n{}", output.status.code().unwrap(), text(&output.stderr))
    };
    assert_snapshot!("batch dry run", batch(&["--dry-run"]));
    assert!(!folder.path().join("out").exists());
    assert_snapshot!("batch", batch(&[]));
    let first = fs::metadata(folder.path().join("out/tiny-b158-f16-tq2_0.gguf")).unwrap();
    batch(&["--resume"]);
    let second = fs::metadata(folder.path().join("out/tiny-b158-f16-tq2_0.gguf")).unwrap();
    assert_eq!(first.modified().unwrap(), second.modified().unwrap(), "a job that is done is not run again");
}

/// Replaces the cell of the column `seconds`.
fn hide_seconds(line: &str) -> String {
    let cells: Vec<&str> = line.split('|').collect();
    match cells.get(6) {
        Some(cell) if cell.trim().parse::<f64>().is_ok() && cells.len() == 10 => {
            let mut cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
            "[TIME]".clone_into(&mut cells[6]);
            cells.join("|")
        }
        _ => line.to_owned(),
    }
}

/// Killed at any moment, and run again: the final name is absent or whole.
#[test]
#[cfg(unix)]
fn killed_conversions_leave_nothing_partial() {
    let folder = TempDir::new().unwrap();
    let whole = folder.path().join("whole.gguf");
    convert(&twin("tiny-b158-f16"), &whole, &["--to", "tq2_0"]);
    let expected = fs::read(&whole).unwrap();
    let target = folder.path().join("target.gguf");
    for step in 0..24 {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_b158"))
            .arg("convert")
            .arg(twin("tiny-b158-f16"))
            .arg("-o")
            .arg(&target)
            .args(["--to", "tq2_0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(700 * step));
        child.kill().unwrap();
        child.wait().unwrap();
        if target.exists() {
            assert_eq!(fs::read(&target).unwrap(), expected, "killed after {step} steps");
            fs::remove_file(&target).unwrap();
        }
    }
    convert(&twin("tiny-b158-f16"), &target, &["--to", "tq2_0"]);
    let names: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "abandoned partial files are gone: {names:?}");
}

/// A disk that is full, or files that may not grow: an error that says so, and nothing left.
#[test]
#[cfg(unix)]
fn a_write_that_fails_is_an_error() {
    let folder = TempDir::new().unwrap();
    for (format, name) in [("tq2_0", "m.gguf"), ("hf", "m")] {
        // Files of at most 100 kB; without the signal, writing beyond is an error as on a full disk.
        let script = r#"trap "" XFSZ; ulimit -f 100; exec "$@""#;
        let output = std::process::Command::new("bash")
            .args(["-c", script, "bash", env!("CARGO_BIN_EXE_b158"), "convert"])
            .arg(twin("tiny-b158-f16"))
            .arg("-o")
            .arg(folder.path().join(name))
            .args(["--to", format])
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("cannot write") && stderr.contains("hint:"), "{stderr}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{format}");
    }
}

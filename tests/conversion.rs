//! `convert` and `inspect` as people and scripts use them.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

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

#[test]
fn a_batch_takes_models_of_the_hub_by_their_names() {
    let folder = TempDir::new().unwrap();
    let model = folder.path().join("hub/models--org--name");
    fs::create_dir_all(model.join("snapshots/0123abcd")).unwrap();
    fs::create_dir(model.join("refs")).unwrap();
    fs::write(model.join("refs/main"), "0123abcd").unwrap();
    for entry in fs::read_dir(twin("tiny-b158-f16")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.join("snapshots/0123abcd").join(path.file_name().unwrap())).unwrap();
    }
    let jobs = folder.path().join("jobs.yaml");
    fs::write(&jobs, "output: out\njobs: [{source: org/name, to: hf}]").unwrap();
    for resume in [None, Some("--resume")] {
        let mut command = b158();
        command.env("HF_HUB_CACHE", folder.path().join("hub")).arg("convert");
        // One thread: jobs must not wait for a pool that waits for them.
        output(command.arg("--batch").arg(&jobs).args(["--threads", "1"]).args(resume));
    }
    assert!(folder.path().join("out/name-hf/config.json").is_file());
    let manifest = fs::read_to_string(folder.path().join("out/manifest.json")).unwrap();
    assert!(manifest.contains(r#""source": "org/name""#), "{manifest}");
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

/// Killed at any moment, and gone on with: in the end every output is there, and that of a run in peace.
#[test]
#[cfg(unix)]
fn killed_batches_go_on() {
    let folder = TempDir::new().unwrap();
    let (jobs, out) = (folder.path().join("jobs.yaml"), folder.path().join("out"));
    let text = format!(
        "output: out\njobs:\n  - source: {}\n    to: [hf, f16, tq2_0]\n    verify: true\n",
        twin("tiny-b158-f16").display()
    );
    fs::write(&jobs, text).unwrap();
    let batch = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_b158"));
        command.arg("convert").arg("--batch").arg(&jobs).args(more);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let start = Instant::now();
    assert!(batch(&[]).wait().unwrap().success());
    let whole = start.elapsed();
    let expected = outputs(&out);
    let models =
        ["f16/config.json", "hf/config.json", "tq2_0.gguf"].map(|name| format!("tiny-b158-f16-{name}"));
    assert!(models.iter().all(|name| expected.contains_key(name)));

    let mut random = 1u64;
    let mut interrupted = 0;
    for round in 0..32 {
        match round % 4 {
            // Over nothing, over whole outputs, over what the last one left, and without its manifest.
            0 => fs::remove_dir_all(&out).unwrap(),
            1 => assert!(batch(&["--resume"]).wait().unwrap().success()),
            2 => {}
            _ => drop(fs::remove_file(out.join("manifest.json"))),
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = batch(if round % 2 == 0 { &["--resume"] } else { &[] });
        std::thread::sleep(whole.mul_f64((random >> 40) as f64 / (1 << 24) as f64));
        child.kill().unwrap();
        interrupted += i32::from(child.wait().unwrap().code().is_none());
        for (name, bytes) in outputs(&out) {
            // What the name of a partial or replaced output begins with.
            assert!(name.starts_with('.') || expected.get(&name) == Some(&bytes), "round {round}: {name}");
        }
    }
    assert!(interrupted >= 8, "{interrupted} rounds were killed in time");
    assert!(batch(&["--resume"]).wait().unwrap().success());
    let found = outputs(&out);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "nothing is left over");
    assert!(found == expected);
}

/// Every file below a batch's folder but the manifest, which has times.
#[cfg(unix)]
fn outputs(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in folder.read_dir().into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let inner = outputs(&path).into_iter();
            files.extend(inner.map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else if name != "manifest.json" {
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files
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

//! Suites and batches in parts, as the tasks of a Slurm job array run them: joined, they are those of one machine.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use common::{b158, fixtures, transcript, twin};
use tempfile::TempDir;

/// The command as task `id` of an array of `count` tasks, from 1 on.
fn task(id: usize, count: usize) -> Command {
    let mut command = b158();
    for (name, value) in [("ID", id), ("COUNT", count), ("MIN", 1), ("MAX", count), ("STEP", 1)] {
        command.env(format!("SLURM_ARRAY_TASK_{name}"), value.to_string());
    }
    command
}

/// Questions about questions before them: `folder/data`, with a training split of the first `examples` questions.
fn few_shot_data(folder: &Path, examples: usize) {
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let questions = fs::read_to_string(fixtures().join("arc_easy.jsonl")).unwrap();
    let of_training: String = questions.lines().take(examples).flat_map(|line| [line, "\n"]).collect();
    fs::write(data.join("arc_easy-train.jsonl"), of_training).unwrap();
    let evaluated: String = questions.lines().skip(20).flat_map(|line| [line, "\n"]).collect();
    fs::write(data.join("arc_easy-test.jsonl"), evaluated).unwrap();
}

/// `b158 eval` of one model, with two examples before each question.
fn eval(command: Command, folder: &Path, output: &str, more: &[&str]) -> Command {
    eval_with(2, command, folder, output, more)
}

fn eval_with(examples: usize, mut command: Command, folder: &Path, output: &str, more: &[&str]) -> Command {
    command
        .current_dir(folder)
        .args(["eval", "--model", &format!("m={}", twin("tiny-b158-f16").display())])
        .args(["--tasks", "arc_easy", "--num-fewshot", &examples.to_string()])
        .args(["--data", "data", "-o", output])
        .args(more);
    command
}

fn merge(folder: &Path, args: &[&str]) -> Command {
    let mut command = b158();
    command.current_dir(folder).arg("merge").args(args);
    command
}

fn results(folder: &Path) -> [Vec<u8>; 2] {
    ["results.json", "samples.parquet"].map(|name| fs::read(folder.join(name)).unwrap())
}

#[test]
fn an_array_evaluates_a_suite_into_one_folder() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    few_shot_data(path, 20);
    eval(b158(), path, "whole", &[]).assert().success();
    for id in [3, 1] {
        eval(task(id, 3), path, "out", &["--shard", "slurm", "--resume"]).assert().success();
    }
    // The second task was killed.
    fs::create_dir(path.join("out/shard-2-of-3")).unwrap();
    insta::assert_snapshot!(transcript(&mut merge(path, &["out", "-o", "out"]), path), @r"
    exit: 1
    --- stdout
    --- stderr
    note: out/shard-2-of-3: this shard has not finished
    error: merge: missing: shard 2/3
    hint: evaluate it with --shard, or name its folder
    ");
    assert!(!path.join("out/results.json").exists());
    // It runs again alone: the array has one task, and the number of shards is said.
    let mut again = eval(b158(), path, "out", &["--shard", "slurm/3", "--resume"]);
    again.env("SLURM_ARRAY_TASK_ID", "2");
    insta::assert_snapshot!(transcript(&mut again, path), @r"
    exit: 0
    --- stdout
    shard 2/3 of suite `command line`
    m: 3 documents, digest 9eb9f64310410f6c67d793615e7cf1433d7602c81addc3fbafbc2dca39fbd2e5
    join all shards with: b158 merge out -o out
    --- stderr
    ");
    merge(path, &["out", "-o", "out"]).assert().success();
    assert!(results(&path.join("out")) == results(&path.join("whole")));
    // And with the result beside the shards.
    merge(path, &["out", "-o", "out"]).assert().success();
    // A shard that is run again says what it has.
    let mut again = eval(task(2, 3), path, "out", &["--shard", "slurm", "--resume"]);
    let said = transcript(&mut again, path);
    assert!(said.contains("note: going on from the log, which has the scores of 3 documents"), "{said}");
    // A shard of another run, whose array had other tasks.
    eval(task(1, 2), path, "out", &["--shard", "slurm"]).assert().success();
    insta::assert_snapshot!(transcript(&mut merge(path, &["out", "-o", "out"]), path), @r"
    exit: 1
    --- stdout
    --- stderr
    error: out/shard-1-of-3: number of shards: 3, but 2 in out/shard-1-of-2
    hint: merge shards of one evaluation only
    ");
}

#[test]
fn shards_with_examples_from_other_splits_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    few_shot_data(path, 20);
    eval(b158(), path, "part1", &["--shard", "1/2"]).assert().success();
    few_shot_data(path, 19);
    eval(b158(), path, "part2", &["--shard", "2/2"]).assert().success();
    insta::assert_snapshot!(transcript(&mut merge(path, &["part1", "part2", "-o", "no"]), path), @r"
    exit: 1
    --- stdout
    --- stderr
    error: part2: SHA-256 of the split that task 'arc_easy' draws its examples from: 5327ba0286c3, but 516458cff854 in part1
    hint: merge shards of one evaluation only
    ");
    // Without examples it does not matter what is in that split.
    eval_with(0, b158(), path, "zero2", &["--shard", "2/2"]).assert().success();
    few_shot_data(path, 20);
    eval_with(0, b158(), path, "zero1", &["--shard", "1/2"]).assert().success();
    merge(path, &["zero1", "zero2", "-o", "zero"]).assert().success();
    assert!(!fs::read_to_string(path.join("zero/results.json")).unwrap().contains("examples_sha256"));
}

#[test]
fn what_is_no_task_of_an_array_is_a_usage_error() {
    let folder = TempDir::new().unwrap();
    let shard = |command: Command| {
        transcript(&mut eval(command, folder.path(), "out", &["--shard", "slurm"]), folder.path())
    };
    insta::assert_snapshot!(shard(b158()), @r"
    exit: 2
    --- stdout
    --- stderr
    error: invalid value 'slurm' for '--shard <I/N|slurm>': SLURM_ARRAY_TASK_ID is not set, so this is no task of a Slurm job array; submit it with sbatch --array=1-N, or write I/N

    For more information, try '--help'.
    ");
    let mut with_gaps = task(7, 3);
    with_gaps.env("SLURM_ARRAY_TASK_MAX", "7");
    insta::assert_snapshot!(shard(with_gaps), @r"
    exit: 2
    --- stdout
    --- stderr
    error: invalid value 'slurm' for '--shard <I/N|slurm>': the array has 3 tasks from 1 to 7, with gaps or a step between them; to run some of N shards again, write --shard slurm/N

    For more information, try '--help'.
    ");
}

/// Three conversions, and one that fails if `fails`; `folder/jobs.yaml`.
fn jobs(folder: &Path, fails: bool) -> PathBuf {
    let file = folder.join("jobs.yaml");
    let text = format!(
        "output: out\njobs:\n  - {{source: {}, to: [tq2_0, hf{}]}}\n  - {{source: {}, to: q2_0}}\n",
        twin("tiny-b158-f16").display(),
        if fails { ", q1_0" } else { "" },
        twin("tiny-llama-f16").display(),
    );
    fs::write(&file, text).unwrap();
    file
}

fn convert(mut command: Command, jobs: &Path, more: &[&str]) -> Command {
    command.args(["convert", "--batch"]).arg(jobs).args(more);
    command
}

/// Every file below a batch's folder, but `manifest.json` without what a clock measured.
fn outputs(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(outputs(&path).into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else {
            let mut bytes = fs::read(path).unwrap();
            if name == "manifest.json" {
                let text = String::from_utf8(bytes).unwrap();
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("\"seconds\""));
                bytes = lines.collect::<Vec<_>>().join("\n").into_bytes();
            }
            files.insert(name, bytes);
        }
    }
    files
}

#[test]
fn an_array_converts_a_batch() {
    let folder = TempDir::new().unwrap();
    let (whole, path) = (folder.path().join("whole"), folder.path());
    fs::create_dir(&whole).unwrap();
    convert(b158(), &jobs(&whole, true), &[]).assert().code(1);
    let file = jobs(path, true);
    let said = |mut command: Command| {
        let said = transcript(&mut command, path).replace(env!("CARGO_MANIFEST_DIR"), "[REPO]");
        let lines = said.lines().filter(|line| !line.starts_with('|') && !line.starts_with("warning"));
        lines.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(said(convert(b158(), &file, &["--join"])), @r"
    exit: 1
    --- stdout
    --- stderr
    error: [DIR]/out: no manifest of a shard
    hint: run the batch with --shard first; a join that was interrupted is completed by --resume
    ");
    // More tasks than jobs: the last one has none.
    let run = |id, more: &[&str]| convert(task(id, 5), &file, &[&["--shard", "slurm"], more].concat());
    let codes: Vec<_> = [1, 2, 4, 5].map(|id| run(id, &[]).output().unwrap().status.code().unwrap()).into();
    assert!(codes.contains(&0), "{codes:?}");
    insta::assert_snapshot!(said(convert(b158(), &file, &["--join"])), @r"
    exit: 1
    --- stdout
    --- stderr
    error: [DIR]/out: missing: shard 3/5
    hint: run it with --shard; a join that was interrupted is completed by --resume
    ");
    let codes = [codes, vec![run(3, &[]).output().unwrap().status.code().unwrap()]].concat();
    assert_eq!(codes.iter().sum::<i32>(), 1, "one shard has the job that fails: {codes:?}");
    // A second run keeps what is done.
    let again = said(run(1, &["--resume"]));
    assert!(again.contains("1 of 1 jobs done (1 of them before)"), "{again}");
    insta::assert_snapshot!(said(convert(b158(), &file, &["--join"])), @r"
    exit: 1
    --- stdout

    3 of 4 jobs done (0 of them before), 1 failed; [DIR]/out/manifest.json
    --- stderr
    error: tiny-b158-f16-q1_0.gguf: [REPO]/ci/twins/tiny-b158-f16/model.safetensors: tensor `model.layers.0.self_attn.q_proj.weight` holds weights of 0, but q1_0 stores one bit, -1 or +1
    hint: it is for binary models (BitNet), whose full-precision weights the scheme binary makes so; ternary codes need another format
    ");
    assert_eq!(outputs(&path.join("out")), outputs(&whole.join("out")));
    // Joined, it is a batch like any other.
    convert(b158(), &jobs(path, false), &["--resume"]).assert().success();
}

#[test]
fn shards_that_do_not_belong_together_are_not_joined() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let file = jobs(path, false);
    let run = |shard: &str| convert(b158(), &file, &["--shard", shard]).assert().success();
    let join = || {
        transcript(&mut convert(b158(), &file, &["--join"]), path)
            .replace(env!("CARGO_MANIFEST_DIR"), "[REPO]")
    };
    run("1/2");
    run("3/3");
    insta::assert_snapshot!(join(), @r"
    exit: 1
    --- stdout
    --- stderr
    error: [DIR]/out: shards of two runs: manifest.shard-1-of-2.part.json and manifest.shard-3-of-3.part.json
    hint: remove the manifests of the run that is not meant
    ");
    fs::remove_file(path.join("out/manifest.shard-3-of-3.part.json")).unwrap();
    run("2/2");
    // An output that has gone since.
    let output = path.join("out/tiny-llama-f16-q2_0.gguf");
    fs::rename(&output, path.join("kept")).unwrap();
    insta::assert_snapshot!(join(), @r"
    exit: 1
    --- stdout
    --- stderr
    error: [DIR]/out: shard-1-of-2: tiny-llama-f16-q2_0.gguf is not there as it was written
    hint: run the shard again with --resume; what is done is kept
    ");
    fs::rename(path.join("kept"), &output).unwrap();
    // A shard that was killed in a job.
    let part = path.join("out/manifest.shard-2-of-2.part.json");
    let whole = fs::read_to_string(&part).unwrap();
    fs::write(&part, whole.replace("\"done\"", "\"pending\"")).unwrap();
    insta::assert_snapshot!(join(), @r"
    exit: 1
    --- stdout
    --- stderr
    error: [DIR]/out: shard-2-of-2 has not finished: tiny-b158-f16-hf is pending
    hint: run the shard again with --resume; what is done is kept
    ");
    fs::write(&part, whole).unwrap();
    // The job file was changed since.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("hf", "f16")).unwrap();
    insta::assert_snapshot!(join(), @r"
    exit: 1
    --- stdout
    --- stderr
    error: [DIR]/out: shard-2-of-2 has the job [REPO]/ci/twins/tiny-b158-f16 to tiny-b158-f16-hf (--to hf --scheme absmean --linear-class autobitlinear), which is not in [DIR]/jobs.yaml
    hint: join with the job file that was run, or run the shards anew
    ");
    // The whole takes up what its parts have done, and their manifests go.
    fs::write(&file, text).unwrap();
    let said = transcript(&mut convert(b158(), &file, &["--resume"]), path);
    assert!(said.contains("3 of 3 jobs done (3 of them before)"), "{said}");
    assert_eq!(fs::read_dir(path.join("out")).unwrap().count(), 4, "three outputs and manifest.json");
}

//! Suites that survive: kills, shards, caches and gates give the results of one undisturbed run, byte for byte.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use assert_cmd::Command;
use common::{b158, fixtures, transcript, twin};
use serde_json::Value;
use tempfile::TempDir;

/// Two models, two tasks; `folder/suite.yaml`.
fn suite(folder: &Path) -> PathBuf {
    let text = format!(
        "suite: small\nmodels:\n  - {{name: fp16, path: {}, role: baseline}}\n  - {{name: b1.58, path: {}, convert: \
         tq2_0}}\ntasks: [arc_easy, wikitext]\nlimit: 12\n",
        twin("tiny-llama-f16").display(),
        twin("tiny-b158-f16").display()
    );
    let file = folder.join("suite.yaml");
    fs::write(&file, text).unwrap();
    file
}

/// `b158 eval suite.yaml -o OUTPUT ...`
fn eval(folder: &Path, output: &str, more: &[&str]) -> Command {
    let mut command = b158();
    command
        .current_dir(folder)
        .args(["eval", "suite.yaml", "-o", output, "--data"])
        .arg(fixtures())
        .args(more);
    command
}

/// The files that must be the same however they came about.
fn results(folder: &Path) -> (String, Vec<u8>) {
    let read = |name: &str| fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    (String::from_utf8(read("results.json")).unwrap(), read("samples.parquet"))
}

fn whole(folder: &Path) -> (String, Vec<u8>) {
    suite(folder);
    eval(folder, "whole", &[]).assert().success();
    results(&folder.join("whole"))
}

fn logged(folder: &Path) -> usize {
    let lines =
        |file: PathBuf| fs::read_to_string(file).unwrap_or_default().lines().count().saturating_sub(1);
    ["fp16", "b1.58"]
        .iter()
        .flat_map(|model| {
            ["arc_easy", "wikitext"].map(|task| folder.join(format!("samples.log/{model}/{task}.log")))
        })
        .map(lines)
        .sum()
}

#[cfg(unix)]
#[test]
fn killed_at_any_moment_an_evaluation_goes_on_to_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let expected = whole(folder.path());
    let output = folder.path().join("killed");
    // Killed as soon as a few more documents are logged: wherever that is, on any machine.
    for (kill, at) in [1, 5, 13, 22, 30, 41].into_iter().enumerate() {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_b158"))
            .current_dir(folder.path())
            .args([
                "eval",
                "suite.yaml",
                "-o",
                "killed",
                "--resume",
                "--threads",
                if kill % 2 == 0 { "1" } else { "2" },
            ])
            .arg("--data")
            .arg(fixtures())
            .env_remove("B158_CACHE")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while logged(&output) < at && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_mins(5), "nothing happens");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if kill == 2 {
            // And a torn line, as a power failure leaves it.
            let log = output.join("samples.log/fp16/arc_easy.log");
            let text = fs::read_to_string(&log).unwrap();
            fs::write(log, &text[..text.len() - 7]).unwrap();
        }
    }
    let before = logged(&output);
    assert!((1..=48).contains(&before), "{before}");
    eval(folder.path(), "killed", &["--resume"]).assert().success();
    assert_eq!(logged(&output), 48);
    assert!(results(&output) == expected);
    // A complete one is read from its log.
    eval(folder.path(), "killed", &["--resume"]).assert().success();
    assert!(results(&output) == expected);
    assert_eq!(logged(&output), 48);
}

#[test]
fn shards_merge_to_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let expected = whole(folder.path());
    for shard in ["1/3", "2/3", "3/3"] {
        let output = format!("part{}", &shard[..1]);
        eval(folder.path(), &output, &["--shard", shard]).assert().success();
        let message = b158()
            .current_dir(folder.path())
            .args(["compare", &format!("{output}:fp16"), "whole:fp16"])
            .output();
        let message = String::from_utf8(message.unwrap().stderr).unwrap();
        assert!(message.contains("b158 merge"), "{message}");
    }
    let merge = |shards: &[&str], output: &str| {
        let mut command = b158();
        command.current_dir(folder.path()).arg("merge").args(shards).args(["-o", output]);
        command
    };
    merge(&["part3", "part1", "part2"], "merged").assert().success();
    assert!(results(&folder.path().join("merged")) == expected);
    // And who is compared with whom.
    let roles = |output: &str| fs::read(folder.path().join(output).join("measurements.json")).unwrap();
    assert_eq!(roles("merged"), roles("whole"));
    insta::assert_snapshot!(transcript(&mut merge(&["part1", "part3"], "no"), folder.path()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: merge: missing: shard 2/3
    hint: evaluate it with --shard, or name its folder
    ");
    insta::assert_snapshot!(transcript(&mut merge(&["part1", "part2", "part3", "part2"], "no"), folder.path()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: part2: shard 2/3 is in part2, too
    hint: name each shard once
    ");
    insta::assert_snapshot!(transcript(&mut merge(&["part1", "whole"], "no"), folder.path()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: whole: these results are of no shard, but complete
    hint: leave the folder out; only what `b158 eval --shard I/N` wrote is merged
    ");
    insta::assert_snapshot!(transcript(&mut merge(&["part1", "part2", "part3"], "part1"), folder.path()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: part1: this is the folder of a shard
    hint: give the result a folder of its own
    ");
    // One shard of other margins.
    let file = folder.path().join("suite.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "margins: {accuracy: 0.2}\n").unwrap();
    eval(folder.path(), "part2", &["--shard", "2/3"]).assert().success();
    insta::assert_snapshot!(transcript(&mut merge(&["part1", "part2", "part3"], "no"), folder.path()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: part2: margins: perplexity_ratio 1.02, accuracy 0.2, but perplexity_ratio 1.02, accuracy 0.01 in part1
    hint: merge shards of one evaluation only
    ");
    assert!(!folder.path().join("no").exists());
}

#[test]
fn what_a_log_is_not_of_does_not_go_on() {
    let folder = TempDir::new().unwrap();
    whole(folder.path());
    let file = folder.path().join("suite.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let with = |from: &str, to: &str, more: &[&str]| {
        assert!(text.contains(from));
        fs::write(&file, text.replace(from, to)).unwrap();
        let mut command = eval(folder.path(), "whole", more);
        command.arg("--resume");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        message.lines().skip_while(|line| !line.starts_with("error")).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(with("limit: 12", "limit: 12\nmargins: {perplexity_ratio: 1.5}", &[]), @r"
    error: whole/samples.log/run.json: samples were logged under other margins (perplexity_ratio 1.02, accuracy 0.01) than the suite's (perplexity_ratio 1.5, accuracy 0.01), and margins are fixed before the evaluation
    hint: restore the margins, or evaluate anew without --resume
    ");
    insta::assert_snapshot!(with("limit: 12", "limit: 12", &["--shard", "1/2"]), @r"
    error: whole/samples.log/run.json: the log is of the whole, not of shard 1/2
    hint: give each shard a folder of its own
    ");
    let other = with("tiny-llama-f16", "tiny-b158-f16", &[]);
    assert!(other.contains("fp16/arc_easy.log: the log is of another model"), "{other}");
    // A grown limit and another task go on.
    fs::write(
        &file,
        text.replace("limit: 12", "limit: 13")
            .replace("[arc_easy", "[wikitext")
            .replace(", wikitext]", ", arc_easy]"),
    )
    .unwrap();
    eval(folder.path(), "whole", &["--resume"]).assert().success();
    assert_eq!(logged(&folder.path().join("whole")), 52);
}

#[test]
fn a_cache_changes_nothing_but_time() {
    let folder = TempDir::new().unwrap();
    let expected = whole(folder.path());
    let cache = folder.path().join("cache");
    let run = |output: &str, more: &[&str]| {
        eval(folder.path(), output, more).arg("--cache").arg(&cache).assert().success();
        results(&folder.path().join(output))
    };
    // Filled by fewer documents, then by the rest, then used.
    run("few", &["--limit", "5"]);
    assert!(run("first", &[]) == expected);
    let files = || {
        let mut files: Vec<PathBuf> = fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    };
    assert_eq!(files().len(), 4);
    let modified = || files().iter().map(|f| f.metadata().unwrap().modified().unwrap()).collect::<Vec<_>>();
    let before = modified();
    assert!(run("second", &[]) == expected);
    assert_eq!(modified(), before, "nothing was computed");
    assert_eq!(logged(&folder.path().join("second")), 0);
    // A damaged file is as good as its whole lines.
    for file in files() {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    assert!(run("third", &[]) == expected);
}

#[test]
fn a_gate_passes_equal_bits_and_names_the_first_difference() {
    let folder = TempDir::new().unwrap();
    whole(folder.path());
    let check = |args: &[&str]| {
        let mut command = b158();
        command.current_dir(folder.path()).arg("check").args(args);
        transcript(&mut command, folder.path())
    };
    insta::assert_snapshot!(check(&["whole", "--write", "baseline.json"]), @r"
    exit: 0
    --- stdout
    written: baseline.json
    --- stderr
    ");
    insta::assert_snapshot!(check(&["whole", "--baseline", "baseline.json"]), @r"
    exit: 0
    --- stdout
    passed: suite small against baseline.json: 4 of 4 tasks equal to the bit, 0 within bounds, 0 different
    --- stderr
    ");
    insta::assert_snapshot!(check(&["whole", "--baseline", "whole"]), @r"
    exit: 0
    --- stdout
    passed: suite small against whole: 4 of 4 tasks equal to the bit, 0 within bounds, 0 different
    --- stderr
    ");
    // The twins swap their roles.
    let file = folder.path().join("suite.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("tiny-b158-f16, convert: tq2_0", "tiny-llama-f16")).unwrap();
    eval(folder.path(), "other", &[]).assert().success();
    insta::assert_snapshot!(check(&["other", "--baseline", "baseline.json"]), @r"
    exit: 3
    --- stdout
    FAILED: suite small against baseline.json: 2 of 4 tasks equal to the bit, 0 within bounds, 2 different

    |model|  task  |    metric     | baseline |   now    | change  |allowed|   |
    |-----|--------|---------------|---------:|---------:|--------:|------:|---|
    |b1.58|arc_easy|acc            |  1.000000|  1.000000|+0.000000|      -|   |
    |b1.58|arc_easy|acc_norm       |  1.000000|  1.000000|+0.000000|      -|   |
    |b1.58|wikitext|word_perplexity|504.575551|532.062504|×1.054475|      -|   |
    |b1.58|wikitext|byte_perplexity|  3.845578|  3.889978|×1.011546|      -|   |
    |b1.58|wikitext|bits_per_byte  |  1.943201|  1.959762|×1.008523|      -|   |

    b1.58, arc_easy: the model's files changed; the first document that differs is 0
      now       log-likelihood -31.271926363110193 (bits c03f459cf7547a7f), 42 + 6 token ids
      now       log-likelihood -0.82874496539729 (bits bfea851429636474), 42 + 7 token ids
      now       log-likelihood -26.64201348448526 (bits c03aa45afee77488), 42 + 5 token ids
      now       log-likelihood -17.925036259028342 (bits c031eccf2d202413), 42 + 5 token ids

    b1.58, wikitext: the model's files changed; the first document that differs is 0
      now       log-likelihood -781.1939869703692 (bits c088698d490a6cb0), 1 + 256 token ids
      now       log-likelihood -400.3993399096498 (bits c0790663b23ebef0), 120 + 137 token ids
    --- stderr
    ");
    insta::assert_snapshot!(check(&["other", "--baseline", "whole", "--accuracy", "0.5", "--perplexity-ratio", "1.5"]), @r"
    exit: 0
    --- stdout
    passed: suite small against whole: 2 of 4 tasks equal to the bit, 2 within bounds, 0 different

    |model|  task  |    metric     | baseline |   now    | change  | allowed |     |
    |-----|--------|---------------|---------:|---------:|--------:|--------:|-----|
    |b1.58|arc_easy|acc            |  1.000000|  1.000000|+0.000000|-0.500000|holds|
    |b1.58|arc_easy|acc_norm       |  1.000000|  1.000000|+0.000000|-0.500000|holds|
    |b1.58|wikitext|word_perplexity|504.575551|532.062504|×1.054475|×1.500000|holds|
    |b1.58|wikitext|byte_perplexity|  3.845578|  3.889978|×1.011546|×1.500000|holds|
    |b1.58|wikitext|bits_per_byte  |  1.943201|  1.959762|×1.008523|×1.500000|holds|

    b1.58, arc_easy: the model's files changed; the first document that differs is 0, request 0
      baseline  log-likelihood -33.83422286378527 (bits c040eac7d096c440), 42 + 6 token ids
      now       log-likelihood -31.271926363110193 (bits c03f459cf7547a7f), 42 + 6 token ids

    b1.58, wikitext: the model's files changed; the first document that differs is 0, request 0
      baseline  log-likelihood -757.5429375777325 (bits c087ac57efa8210b), 1 + 256 token ids
      now       log-likelihood -781.1939869703692 (bits c088698d490a6cb0), 1 + 256 token ids
    --- stderr
    ");
    insta::assert_snapshot!(check(&["other", "--baseline", "baseline.json", "--accuracy", "1.5"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: --accuracy is 1.5
    hint: it is a share from 0 to below 1: write 0.01 for one point
    ");
    insta::assert_snapshot!(check(&["nowhere", "--baseline", "baseline.json"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: cannot read nowhere/results.json: No such file or directory (os error 2)
    hint: check the name and the permissions
    ");
}

/// What the workflow of this repository checks. If twins or tasks changed on purpose: `ci/update-baselines`.
#[test]
fn the_committed_baseline_holds() {
    let folder = TempDir::new().unwrap();
    let ci = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci");
    let out = folder.path().join("quick");
    b158().arg("eval").arg(ci.join("suites/quick.yaml")).arg("-o").arg(&out).assert().success();
    let check = b158()
        .arg("check")
        .arg(&out)
        .arg("--baseline")
        .arg(ci.join("baselines/quick.json"))
        .output()
        .unwrap();
    let text = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.success() && text.contains("8 of 8 tasks equal to the bit"), "{text}");
}

#[test]
fn where_and_when_stands_beside_the_results() {
    let folder = TempDir::new().unwrap();
    whole(folder.path());
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.path().join("whole").join(name)).unwrap()).unwrap()
    };
    let (environment, results) = (read("environment.json"), read("results.json"));
    assert_eq!(environment["digest"], results["digest"]);
    assert_eq!(environment["b158"], env!("CARGO_PKG_VERSION"));
    assert!(environment["seconds"].as_f64().unwrap() > 0.0);
    let text = results.to_string();
    for key in ["started", "threads", "cpu", "avx"] {
        assert!(!text.contains(key), "{key} has no place in results.json");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_one_message() {
    let folder = TempDir::new().unwrap();
    suite(folder.path());
    fs::create_dir(folder.path().join("out")).unwrap();
    fs::write(folder.path().join("out/samples.log"), "in the way").unwrap();
    insta::assert_snapshot!(transcript(&mut eval(folder.path(), "out", &[]), folder.path()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: out/samples.log: cannot write: Not a directory (os error 20)
    hint: choose another name
    ");
}

#[test]
fn what_was_not_fixed_before_is_said_and_what_is_old_is_gone() {
    let folder = TempDir::new().unwrap();
    suite(folder.path());
    eval(folder.path(), "out", &[]).assert().success();
    let told = |more: &[&str]| {
        let mut compare = b158();
        compare.current_dir(folder.path()).args(["compare", "out:fp16", "out:b1.58"]).args(more);
        String::from_utf8(compare.output().unwrap().stderr).unwrap()
    };
    assert_eq!(told(&[]), "");
    insta::assert_snapshot!(told(&["--accuracy", "0.5"]), @"note: these margins were not fixed before the evaluation, whose suite has a perplexity ratio of 1.02 and an accuracy of 0.01");
    // Other models under the same names have neither roles nor formats of those before.
    let measurements = folder.path().join("out/measurements.json");
    assert!(measurements.exists());
    let mut other = b158();
    other
        .current_dir(folder.path())
        .args(["eval", "--tasks", "arc_easy", "--limit", "2", "-o", "out", "--data"]);
    other.arg(fixtures()).args(["--model", &format!("fp16={}", twin("tiny-b158-f16").display())]);
    other.assert().success();
    assert!(!measurements.exists());
}

#[test]
fn files_for_lm_evals_readers_are_as_it_writes_them() {
    let Some(oracle) = common::oracle() else { return };
    let folder = TempDir::new().unwrap();
    let tasks = ["arc_easy", "boolq", "openbookqa", "piqa", "lambada_openai", "wikitext"];
    b158()
        .current_dir(folder.path())
        .args(["eval", "--lm-eval-files", "--tasks", &tasks.join(","), "-o", "out", "--data"])
        .arg(oracle.join("data"))
        .args(["--model", &format!("m={}", twin("tiny-llama-f16").display())])
        .assert()
        .success();
    let out = folder.path().join("out/lm-eval/m");
    let lines = |text: String| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let mut names: Vec<String> =
        fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let date =
        names[0].strip_prefix("results_").and_then(|name| name.strip_suffix(".json")).unwrap().to_owned();
    assert_eq!(names.len(), tasks.len() + 1);
    for task in tasks {
        let recorded = oracle.join(format!("results/tiny-llama-f16.float32/samples_mini_{task}.jsonl"));
        let recorded = lines(fs::read_to_string(recorded).unwrap());
        let ours = lines(fs::read_to_string(out.join(format!("samples_{task}_{date}.jsonl"))).unwrap());
        assert_eq!(ours.len(), recorded.len());
        for (ours, recorded) in ours.iter().zip(&recorded) {
            let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            let (mut a, mut b) = (keys(ours), keys(recorded));
            a.sort();
            b.sort();
            assert_eq!(a, b, "{task}");
            let mut same = vec!["doc_id", "doc", "doc_hash", "metrics", "filter"];
            if task != "wikitext" {
                same.extend(["target_hash", "prompt_hash"]);
                // The recording is of the evaluator; its writer makes texts and objects of these.
                let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                assert_eq!(ours["target"], text(&recorded["target"]), "{task}");
                for (i, pair) in recorded["arguments"].as_array().unwrap().iter().enumerate() {
                    let ours = &ours["arguments"][format!("gen_args_{i}")];
                    assert_eq!((&ours["arg_0"], &ours["arg_1"]), (&pair[0], &pair[1]), "{task}");
                }
            }
            for key in same {
                assert_eq!(ours[key], recorded[key], "{task} {key}");
            }
            let numbers = |value: &Value| -> Vec<f64> {
                let number = |v: &Value| v.as_f64().or_else(|| v.as_str()?.parse().ok());
                let flat = |v: &Value| number(v).or_else(|| number(&v[0])).unwrap();
                value.as_array().unwrap().iter().map(flat).collect()
            };
            for (a, b) in numbers(&ours["filtered_resps"]).iter().zip(numbers(&recorded["filtered_resps"])) {
                // As in tests/lm_eval.rs, for several windows.
                assert!((a - b).abs() < 5e-3, "{task}: {a} {b}");
            }
            for key in ["acc", "acc_norm"] {
                assert_eq!(ours[key].as_f64(), recorded[key].as_f64(), "{task} {key}");
            }
        }
    }
}

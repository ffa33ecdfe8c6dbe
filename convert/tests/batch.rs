//! Many conversions: jobs, failures, going on, the memory budget.

mod common;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use b158_convert::{
    Error,
    batch::{Batch, Entry, Events, JobFile, Manifest, Status},
};
use b158_kernels::Isa;
use common::{LLAMA, random_checkpoint};
use proptest::prelude::*;

/// Counts the jobs that really converted something.
#[derive(Default)]
struct Counter {
    begun: AtomicUsize,
    converted: AtomicUsize,
}

impl Events for Counter {
    fn begin(&self, _: usize) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn advance(&self, _: usize, done: u64, total: u64) {
        if done == total {
            self.converted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(&self, _: usize, _: &Entry) {}
}

fn run(file: &Path, resume: bool) -> (Manifest, usize) {
    let counter = Counter::default();
    let manifest = Batch::plan(file, Isa::best()).unwrap().run(resume, &counter).unwrap();
    assert_eq!(counter.begun.into_inner(), manifest.jobs.len());
    (manifest, counter.converted.into_inner())
}

fn folder_with_models(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (seed, name) in names.iter().enumerate() {
        let model = folder.path().join("models").join(name);
        fs::create_dir_all(&model).unwrap();
        random_checkpoint(&model, LLAMA, seed as u64);
    }
    folder
}

fn jobs(folder: &Path, text: &str) -> std::path::PathBuf {
    let file = folder.join("jobs.yaml");
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn a_pattern_times_formats_and_one_failure() {
    let folder = folder_with_models(&["a", "b", "damaged"]);
    let weights = folder.path().join("models/damaged/model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..1000]).unwrap();
    let file = jobs(
        folder.path(),
        "output: out\nmemory: 2 GiB\njobs:\n  - source: models/*\n    to: [tq2_0, hf]\n    head: f16\n    verify: true\n",
    );
    let (manifest, converted) = run(&file, false);
    let outputs: Vec<_> = manifest.jobs.iter().map(|job| job.output.as_str()).collect();
    assert_eq!(outputs, ["a-tq2_0.gguf", "a-hf", "b-tq2_0.gguf", "b-hf", "damaged-tq2_0.gguf", "damaged-hf"]);
    assert_eq!(converted, 4);
    for job in &manifest.jobs {
        let fails = job.output.starts_with("damaged");
        assert_eq!(job.status, if fails { Status::Failed } else { Status::Done }, "{job:?}");
        assert_eq!(job.error.is_some(), fails);
        assert_eq!(folder.path().join("out").join(&job.output).exists(), !fails);
        if !fails {
            let report = job.report.as_ref().unwrap();
            assert!(report.verified.is_some());
            assert_eq!(report.tensors.len(), 7);
            assert_eq!(report.source_sha256.len(), 64);
            let names: Vec<_> = job.files.iter().map(|file| file.name.to_str().unwrap()).collect();
            if Path::new(&job.output).extension().is_some() {
                assert_eq!(names, [&job.output]);
                assert_eq!(job.files[0].bytes, report.output_bytes);
            } else {
                let expected = ["config.json", "model.safetensors"].map(|n| format!("{}/{n}", job.output));
                assert_eq!(names, expected);
                assert_eq!(job.files[1].bytes, report.output_bytes);
            }
        }
    }
    assert_eq!(Manifest::read(&folder.path().join("out")).unwrap(), Some(manifest));
}

#[test]
fn resuming_runs_what_is_not_proved_done() {
    let folder = folder_with_models(&["a", "b"]);
    let text = "output: out\njobs:\n  - {source: models/a, to: [tq1_0, i2_s]}\n  - {source: models/b, to: [q2_0, hf]}\n";
    let file = jobs(folder.path(), text);
    let (first, converted) = run(&file, false);
    assert_eq!(converted, 4);
    // Nothing to do.
    assert_eq!(run(&file, true), (first.clone(), 0));
    // A missing output, and one that is not what was written.
    fs::remove_file(folder.path().join("out/a-tq1_0.gguf")).unwrap();
    let damaged = folder.path().join("out/b-q2_0.gguf");
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    fs::write(folder.path().join("out/b-hf/model.safetensors"), "short").unwrap();
    let (second, converted) = run(&file, true);
    assert_eq!(converted, 3);
    let files = |manifest: &Manifest| manifest.jobs.iter().map(|job| job.files.clone()).collect::<Vec<_>>();
    assert_eq!(files(&first), files(&second), "the same bytes again");
    // A changed source, and changed options.
    random_checkpoint(&folder.path().join("models/b"), LLAMA, 77);
    assert_eq!(run(&file, true).1, 2);
    jobs(folder.path(), &text.replace("i2_s]}", "i2_s], head: f16}"));
    assert_eq!(run(&file, true).1, 2);
    // Without --resume everything runs.
    assert_eq!(run(&file, false).1, 4);
}

#[test]
fn a_job_beyond_the_budget_fails_and_the_plan_says_so() {
    let folder = folder_with_models(&["a"]);
    let file = jobs(folder.path(), "output: out\nmemory: 1 MiB\njobs:\n  - {source: models/a, to: tq2_0}\n");
    let batch = Batch::plan(&file, Isa::best()).unwrap();
    assert!(batch.planned()[0].error.as_ref().unwrap().contains("budget"));
    let (manifest, _) = run(&file, false);
    assert_eq!(manifest.jobs[0].status, Status::Failed);
}

#[test]
fn the_job_file_is_checked_as_a_whole() {
    let folder = folder_with_models(&["a"]);
    let plan = |text: &str| Batch::plan(&jobs(folder.path(), text), Isa::best()).unwrap_err();
    for text in [
        "jobs: []",
        "output: out\njobs: []",
        "output: out\njobs: [{source: models/a, to: []}]",
        "output: out\nmemory: 0\njobs: [{source: models/a, to: tq2_0}]",
        "output: out\njobs: [{source: models/a, to: tq2_0, heads: f16}]",
        "output: out\njobs: [{source: models/none, to: tq2_0}]",
        "output: out\njobs: [{source: models/a, to: [tq2_0, tq2_0]}]",
        "output: out\nmemory: lots\njobs: [{source: models/a, to: tq2_0}]",
    ] {
        let error = plan(text);
        assert!(matches!(error, Error::Jobs { .. }), "{text}: {error}");
        assert!(error.to_string().contains("jobs.yaml"), "{error}");
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn errors_of_a_job_name_the_file_and_the_job() {
    let folder = folder_with_models(&["a"]);
    for (job, says) in [
        ("{source: models/*, to: q3_0}", "job 2 (`models/*`): unknown format `q3_0`\nhint: one of tq1_0"),
        (
            "{source: models/a, to: hf, head: q9}",
            "job 2 (`models/a`): unknown head type `q9`\nhint: one of f32",
        ),
        ("{source: models/a, to: hf, name: ''}", "job 2 (`models/a`): the output's name would be \"\""),
        ("{source: models/a, to: hf, name: ..}", "the output's name would be \"..\""),
        ("{source: models/a, to: f16, name: ../x}", "the output's name would be \"../x\""),
        ("{source: models/a, to: hf, name: manifest.json}", "\"manifest.json\""),
        ("{source: models/a, to: []}", "job 2 (`models/a`): `to` is empty"),
        ("{source: models/*.gguf, to: hf}", "nothing matches "),
        ("{source: m*, to: hf}", "is a checkpoint"),
    ] {
        let text = format!("output: out\njobs: [{{source: models/a, to: tq2_0}}, {job}]");
        let error = Batch::plan(&jobs(folder.path(), &text), Isa::best()).unwrap_err().to_string();
        assert!(error.contains("jobs.yaml: ") && error.contains(says), "{job}: {error}");
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn memory_may_be_a_plain_number() {
    let folder = folder_with_models(&["a"]);
    for (memory, bytes) in [("8000000000", 8_000_000_000), ("'2000'", 2000), ("1.5 GiB", 3 << 29)] {
        let text = format!("output: out\nmemory: {memory}\njobs: [{{source: models/a, to: hf}}]");
        assert_eq!(Batch::plan(&jobs(folder.path(), &text), Isa::best()).unwrap().memory(), bytes);
    }
}

/// Job files and manifests may be anything.
#[test]
#[cfg(unix)]
fn only_ordinary_files_of_some_size_are_read() {
    let folder = folder_with_models(&["a"]);
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for file in [Path::new("/dev/zero"), &pipe, folder.path()] {
        let error = Batch::plan(file, Isa::best()).unwrap_err();
        assert!(error.to_string().contains("it is no ordinary file"), "{error}");
    }
    let file = jobs(folder.path(), &"#".repeat((1 << 20) + 1));
    assert!(Batch::plan(&file, Isa::best()).unwrap_err().to_string().contains("longer than"));
    fs::create_dir_all(folder.path().join("out/manifest.json")).unwrap();
    let file = jobs(folder.path(), "output: out\njobs: [{source: models/a, to: hf}]");
    let error = Batch::plan(&file, Isa::best()).unwrap().run(true, &Counter::default()).unwrap_err();
    assert!(error.to_string().contains("manifest.json: it is no ordinary file"), "{error}");
}

/// Names that are no text are written as text that resembles them.
#[test]
#[cfg(target_os = "linux")]
fn names_that_are_no_text_are_no_obstacle() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let around = folder.path().join(std::ffi::OsStr::from_bytes(b"m\xff"));
    let model = around.join("a");
    fs::create_dir_all(&model).unwrap();
    random_checkpoint(&model, LLAMA, 1);
    let file = jobs(&around, "output: out\njobs: [{source: a, to: [tq2_0, hf], name: '{parent}-{format}'}]");
    let planned = serde_json::to_string(Batch::plan(&file, Isa::best()).unwrap().planned()).unwrap();
    assert!(planned.contains("m\u{fffd}-tq2_0.gguf"), "{planned}");
    assert_eq!(run(&file, false).1, 2);
    assert_eq!(run(&file, true).1, 0);
    // Nor are they one in patterns.
    let file = jobs(folder.path(), "output: out\njobs: [{source: '*/a', to: hf}, {source: '*', to: hf}]");
    let error = Batch::plan(&file, Isa::best()).unwrap_err();
    assert!(matches!(error, Error::Jobs { .. }), "{error}");
}

#[test]
fn every_file_of_source_and_output_counts() {
    let folder = folder_with_models(&["a", "b"]);
    let text = "output: out\njobs:\n  - {source: models/*, to: [tq2_0, hf]}\n";
    let file = jobs(folder.path(), text);
    assert_eq!(run(&file, false).1, 4);
    // A file of an output, and the config of a source.
    let config = folder.path().join("out/a-hf/config.json");
    let before = fs::read(&config).unwrap();
    fs::remove_file(&config).unwrap();
    assert_eq!(run(&file, true).1, 1);
    assert_eq!(fs::read(&config).unwrap(), before);
    // Without its config.json a folder is ours if all that is in it is.
    fs::remove_file(&config).unwrap();
    fs::write(config.with_file_name("notes.txt"), "mine").unwrap();
    let (failed, _) = run(&file, true);
    assert!(failed.jobs[1].error.as_ref().unwrap().contains("not empty"), "{failed:?}");
    fs::remove_dir_all(folder.path().join("out/a-hf")).unwrap();
    assert_eq!(run(&file, true).1, 1);
    assert_eq!(fs::read(&config).unwrap(), before);
    let source = folder.path().join("models/b/config.json");
    let changed = fs::read_to_string(&source).unwrap().replace("1e-5", "1e-6");
    fs::write(&source, changed).unwrap();
    assert_eq!(run(&file, true).1, 2);
    fs::write(folder.path().join("models/b/generation_config.json"), r#"{"eos_token_id": [2, 3]}"#).unwrap();
    assert_eq!(run(&file, true).1, 2);
    assert_eq!(run(&file, true).1, 0);
    // Another version of b158.
    let manifest = folder.path().join("out/manifest.json");
    let older = fs::read_to_string(&manifest).unwrap().replacen(
        concat!(r#""version": ""#, env!("CARGO_PKG_VERSION")),
        r#""version": "0.0.1"#,
        2,
    );
    fs::write(&manifest, older).unwrap();
    assert_eq!(run(&file, true).1, 1, "the manifest's version and that of the first entry");
}

#[test]
fn an_output_stays_until_another_takes_its_place() {
    let folder = folder_with_models(&["a"]);
    let file = jobs(folder.path(), "output: out\njobs:\n  - {source: models/a, to: [tq2_0, hf]}\n");
    let (first, _) = run(&file, false);
    let config = folder.path().join("models/a/config.json");
    let good = fs::read(&config).unwrap();
    fs::write(&config, "{}").unwrap();
    let (failed, _) = run(&file, false);
    assert!(failed.jobs.iter().all(|job| job.status == Status::Failed && job.files.is_empty()));
    for file in first.jobs.iter().flat_map(|job| &job.files) {
        assert_eq!(folder.path().join("out").join(&file.name).metadata().unwrap().len(), file.bytes);
    }
    fs::write(&config, good).unwrap();
    // Failed, no manifest, other options: what is there is written anew.
    assert_eq!(run(&file, true).1, 2);
    fs::remove_file(folder.path().join("out/manifest.json")).unwrap();
    assert_eq!(run(&file, true).1, 2);
    let file =
        jobs(folder.path(), "output: out\njobs:\n  - {source: models/a, to: [tq2_0, hf], head: bf16}\n");
    assert_eq!(run(&file, true).1, 2);
    // A folder of someone else's is not.
    let theirs = folder.path().join("out/a-hf/config.json");
    fs::write(&theirs, "{}").unwrap();
    let (manifest, _) = run(&file, false);
    assert_eq!(manifest.jobs[1].status, Status::Failed);
    assert_eq!(fs::read(&theirs).unwrap(), b"{}");
}

/// Killed between the last rename and the manifest, or between the two renames of a replacement.
#[test]
#[cfg(unix)]
fn what_a_killed_batch_left_is_taken_up() {
    let folder = folder_with_models(&["a"]);
    let file = jobs(folder.path(), "output: out\njobs:\n  - {source: models/a, to: hf}\n");
    let (whole, _) = run(&file, false);
    let (out, manifest) = (folder.path().join("out"), folder.path().join("out/manifest.json"));
    let pending = fs::read_to_string(&manifest).unwrap().replace(r#""done""#, r#""pending""#);
    fs::write(&manifest, pending).unwrap();
    let (again, converted) = run(&file, true);
    assert_eq!(
        (again.jobs[0].status, converted, &again.jobs[0].files),
        (Status::Done, 1, &whole.jobs[0].files)
    );
    fs::rename(out.join("a-hf"), out.join(".a-hf.Xy12zz.replaced")).unwrap();
    assert_eq!(run(&file, true).1, 0, "it has its name back");
    assert_eq!(out.read_dir().unwrap().count(), 2);
}

#[test]
fn it_does_not_matter_how_paths_are_spelt() {
    let folder = folder_with_models(&["a"]);
    let file = jobs(folder.path(), "output: out\njobs:\n  - {source: models/*, to: [tq2_0, hf]}\n");
    let (first, _) = run(&file, false);
    assert_eq!(first.jobs[0].source, "models/a");
    assert_eq!(run(&folder.path().join("models/../jobs.yaml"), true), (first.clone(), 0));
    let file = jobs(folder.path(), "output: ./out\njobs:\n  - {source: ./models/a/../a, to: [tq2_0, hf]}\n");
    assert_eq!(run(&file, true), (first, 0));
}

#[test]
fn a_pattern_takes_checkpoints_and_not_its_own_outputs() {
    let folder = folder_with_models(&["a", "b"]);
    let models = folder.path().join("models");
    fs::write(models.join("README.md"), "notes").unwrap();
    fs::create_dir(models.join("empty")).unwrap();
    fs::create_dir(models.join(".hidden")).unwrap();
    random_checkpoint(&models.join(".hidden"), LLAMA, 9);
    let text = "output: models\njobs:\n  - {source: models/*, to: [tq2_0, hf]}\n";
    let file = jobs(folder.path(), text);
    let (first, converted) = run(&file, false);
    assert_eq!((first.jobs.len(), converted), (4, 4));
    assert_eq!(run(&file, true), (first.clone(), 0));
    // Without a manifest, and with one of which the file says nothing any more.
    fs::remove_file(models.join("manifest.json")).unwrap();
    assert_eq!(run(&file, false).1, 4);
    let file = jobs(folder.path(), &text.replace("tq2_0, hf", "i2_s"));
    let (second, converted) = run(&file, false);
    assert_eq!((second.jobs.len(), second.others.len(), converted), (2, 4, 2));
    // Deeper patterns take a folder's weights for the folder's.
    let file = jobs(folder.path(), "output: out\njobs:\n  - {source: 'models/**/*', to: f32}\n");
    let sources = Batch::plan(&file, Isa::best()).unwrap();
    let sources: Vec<_> = sources.planned().iter().map(|job| job.source.as_str()).collect();
    let gguf = ["models/a-i2_s.gguf", "models/a-tq2_0.gguf"];
    assert!(sources.starts_with(&["models/a", "models/a-hf"]), "{sources:?}");
    assert!(gguf.iter().all(|g| sources.contains(g)) && sources.len() == 8, "{sources:?}");
    // A source by its name that is an output of the same file.
    let text =
        "output: models\njobs: [{source: models/a, to: tq2_0}, {source: models/a-tq2_0.gguf, to: i2_s}]";
    let error = Batch::plan(&jobs(folder.path(), text), Isa::best()).unwrap_err().to_string();
    assert!(error.contains("job 2") && error.contains("itself an output"), "{error}");
}

#[test]
fn sources_of_one_name_are_told_apart_by_their_folders() {
    let folder = folder_with_models(&["x/a", "y/a"]);
    let file = jobs(folder.path(), "output: out\njobs:\n  - {source: 'models/*/a', to: hf}\n");
    let error = Batch::plan(&file, Isa::best()).unwrap_err().to_string();
    assert!(error.contains("models/x/a and models/y/a both become") && error.contains("{parent}"), "{error}");
    let file = jobs(
        folder.path(),
        "output: out\njobs:\n  - {source: 'models/*/a', to: hf, name: '{parent}-{source}'}\n",
    );
    let batch = Batch::plan(&file, Isa::best()).unwrap();
    let outputs: Vec<_> = batch.planned().iter().map(|job| job.output.file_name().unwrap()).collect();
    assert_eq!(outputs, ["x-a", "y-a"]);
}

#[test]
fn two_job_files_share_a_folder_one_after_the_other() {
    let folder = folder_with_models(&["a", "b"]);
    let first = folder.path().join("first.yaml");
    fs::write(&first, "output: out\njobs: [{source: models/a, to: [tq2_0, hf]}]").unwrap();
    let second = jobs(folder.path(), "output: out\njobs: [{source: models/b, to: tq2_0}]");
    let (of_first, _) = run(&first, false);
    fs::remove_file(folder.path().join("out/a-tq2_0.gguf")).unwrap();
    let (of_second, _) = run(&second, false);
    assert_eq!(of_second.others, of_first.jobs[1..], "what is not there any more is forgotten");
    assert_eq!(run(&first, true).1, 1);
    assert_eq!(run(&second, true).1, 0);
}

/// Starts a second batch from within the first.
#[test]
fn two_batches_at_once_do_not_share_a_folder() {
    struct Second<'a>(&'a Path, std::sync::Mutex<String>);
    impl Events for Second<'_> {
        fn begin(&self, _: usize) {
            let batch = Batch::plan(self.0, Isa::best()).unwrap();
            *self.1.lock().unwrap() = batch.run(false, &Counter::default()).unwrap_err().to_string();
        }
        fn advance(&self, _: usize, _: u64, _: u64) {}
        fn end(&self, _: usize, _: &Entry) {}
    }
    let folder = folder_with_models(&["a"]);
    let file = jobs(folder.path(), "output: out\njobs: [{source: models/a, to: tq2_0}]");
    let second = Second(&file, std::sync::Mutex::default());
    Batch::plan(&file, Isa::best()).unwrap().run(false, &second).unwrap();
    let error = second.1.into_inner().unwrap();
    assert!(error.contains("another batch") && error.contains("jobs.yaml"), "{error}");
    assert_eq!(run(&file, true).1, 0);
}

/// The tokenizer's copies are part of what a job takes.
#[test]
fn the_plan_counts_the_tokenizer() {
    let folder = folder_with_models(&["a"]);
    let file = jobs(folder.path(), "output: out\njobs: [{source: models/a, to: tq2_0}]");
    let memory = || Batch::plan(&file, Isa::best()).unwrap().planned()[0].memory;
    let without = memory();
    fs::write(folder.path().join("models/a/tokenizer.json"), vec![b' '; 1 << 20]).unwrap();
    assert!(memory() >= without + (20 << 20));
}

proptest! {
    #[test]
    fn any_text_is_a_list_of_jobs_or_an_error(
        at in 0usize..120,
        cut in 0usize..20,
        with in "[ -~\n]{0,8}",
    ) {
        let text = "output: out\nmemory: 2 GiB\njobs:\n  - source: models/*\n    to: [tq2_0, hf]\n    head: f16\n    verify: true\n";
        let (head, tail) = text.split_at(at.min(text.len()));
        let damaged = format!("{head}{with}{}", &tail[cut.min(tail.len())..]);
        if let Err(error) = JobFile::parse(Path::new("jobs.yaml"), &damaged) {
            prop_assert!(error.to_string().starts_with("jobs.yaml: "), "{}", error);
        }
    }
}

#[test]
fn parts_are_joined_to_the_manifest_of_the_whole() {
    let folder = folder_with_models(&["a", "b"]);
    let file = jobs(folder.path(), "output: out\njobs: [{source: models/*, to: [tq2_0, i2_s]}]");
    let out = folder.path().join("out");
    let files = |manifest: &Manifest| -> Vec<_> {
        manifest.jobs.iter().map(|job| (job.output.clone(), job.files.clone())).collect()
    };
    let expected = files(&run(&file, false).0);
    fs::remove_dir_all(&out).unwrap();
    let plan = || Batch::plan(&file, Isa::best()).unwrap();
    let part = |name: &str, jobs: &[usize]| plan().part(name, jobs).run(true, &Counter::default()).unwrap();
    let join = |parts: &[&str]| {
        plan().join(&parts.iter().map(ToString::to_string).collect::<Vec<_>>()).map_err(|e| e.to_string())
    };
    assert_eq!(files(&part("x", &[3, 0])), [expected[3].clone(), expected[0].clone()]);
    part("y", &[1]);
    assert_eq!(Manifest::read(&out).unwrap(), None);
    assert_eq!(Manifest::parts(&out).unwrap(), ["x", "y"]);
    let error = join(&["x", "y"]).unwrap_err();
    assert!(error.contains("no shard has the job of b-tq2_0.gguf"), "{error}");
    part("z", &[2, 1]);
    let error = join(&["x", "y", "z"]).unwrap_err();
    assert!(error.contains("both y and z have the job of a-i2_s.gguf"), "{error}");
    let joined = join(&["x", "z"]).unwrap();
    assert_eq!(files(&joined), expected);
    assert_eq!(Manifest::read(&out).unwrap(), Some(joined));
    // Whoever deals the jobs otherwise afterwards finds what is done.
    let counter = Counter::default();
    plan().part("w", &[0, 1, 2, 3]).run(true, &counter).unwrap();
    assert_eq!(counter.converted.into_inner(), 0);
}

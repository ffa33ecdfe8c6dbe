//! The course of a small training, from recipe to folders: the same bits however it is interrupted and on however many
//! threads.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use b158_checkpoint::Checkpoint;
use b158_train::{
    Device, Error, Observer, RecipeFile, Report, TrainOptions, curve::Point, gradient::Workers, train,
};

/// Every scheme and layout, small enough to be trained in a second.
const RECIPE: &str = "\
recipe: small
seed: 7
shape: {hidden_size: 32, intermediate_size: 64, layers: 2, heads: 4, kv_heads: 2, vocab_size: 300, context: 32}
tokenizer: train
data: {desk: {seed: 1, bytes: 60000}}
batch: {sequences: 4, micro: 2}
steps: 12
checkpoint_every: 5
held_out_every: 6
held_out_windows: 8
twins:
  - {name: fp16, scheme: fp16, schedule: {kind: cosine, peak: 3.0e-3, warmup: 2, weight_decay: 0.1}}
  - {name: b158, scheme: b1.58, schedule: {kind: two_stage, peak: 3.0e-3, warmup: 2, weight_decay: 0.1}}
  - {name: b158-2b4t, scheme: b1.58, layout: 2b4t, schedule: {kind: linear, peak: 3.0e-3}}
  - {name: absmedian, scheme: b1.58-absmedian, schedule: {kind: linear, peak: 3.0e-3}}
  - {name: bitnet, scheme: bitnet, schedule: {kind: linear, peak: 3.0e-3}}
  - {name: groups, scheme: bitnet, groups: 2, schedule: {kind: linear, peak: 3.0e-3}}
  - {name: bnn, scheme: bnn, schedule: {kind: linear, peak: 3.0e-3}}
";

const TWINS: [&str; 7] = ["fp16", "b158", "b158-2b4t", "absmedian", "bitnet", "groups", "bnn"];

/// Stops after so many steps of all twins together.
struct StopAfter(AtomicUsize);

impl Observer for StopAfter {
    fn prepare(&self, _: &str) {}
    fn begin(&self, _: &str, _: usize, _: usize) {}
    fn step(&self, _: &Point, _: f64) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) != 1
    }
    fn end(&self) {}
}

fn never() -> StopAfter {
    StopAfter(AtomicUsize::new(usize::MAX))
}

fn run(recipe: &str, output: &Path, resume: bool, threads: usize, stop: &StopAfter) -> Result<Report, Error> {
    let recipe = RecipeFile::parse(Path::new("small.yaml"), recipe)?;
    let options = TrainOptions { output: output.to_owned(), resume, memory: None };
    train(&recipe, &options, &Workers::new(threads, Device::Cpu)?, stop)
}

/// Every file of every twin, and the curves.
fn files(output: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for twin in TWINS {
        for entry in fs::read_dir(output.join(twin)).unwrap() {
            found.push(entry.unwrap().path());
        }
    }
    found.extend(["curves.json", "curves.svg"].map(|name| output.join(name)));
    found.sort();
    let read = |path: PathBuf| (path.strip_prefix(output).unwrap().to_owned(), fs::read(&path).unwrap());
    found.into_iter().map(read).collect()
}

fn same(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    // Six files of each twin.
    assert_eq!((a.len(), b.len()), (6 * TWINS.len() + 2, 6 * TWINS.len() + 2));
    for ((name, a), (other, b)) in a.into_iter().zip(b) {
        assert_eq!(name, other);
        assert!(a == b, "{} differs", name.display());
    }
}

#[test]
fn interruptions_and_threads_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts, threads) =
        (folder.path().join("whole"), folder.path().join("parts"), folder.path().join("threads"));
    let report = run(RECIPE, &whole, false, 2, &never()).unwrap();
    for twin in &report.twins {
        // Even these few steps teach it something: an even guess has perplexity 300.
        assert!(twin.held_out.perplexity < 299.0, "{}: {:?}", twin.name, twin.held_out);
    }

    // Interrupted after 1, 8, 15, ... steps of what is left, until nothing is.
    for stop in (1..).step_by(7) {
        match run(RECIPE, &parts, true, 2, &StopAfter(AtomicUsize::new(stop))) {
            Ok(_) => break,
            Err(Error::Stopped { .. }) => (),
            Err(other) => panic!("{other}"),
        }
    }
    same(&whole, &parts);

    run(RECIPE, &threads, false, 1, &never()).unwrap();
    same(&whole, &threads);
}

#[test]
fn a_killed_run_goes_on_from_its_last_state() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let recipe = RECIPE.split("  - {name: b158,").next().unwrap();
    let weights = |folder: &Path| fs::read(folder.join("fp16/model.safetensors")).unwrap();
    run(recipe, &whole, false, 1, &never()).unwrap();

    // What a kill leaves: the state of step 5 or 10, and perhaps a part of the next one under another name.
    assert!(run(recipe, &killed, false, 1, &StopAfter(AtomicUsize::new(7))).is_err());
    let state = killed.join("fp16.state.safetensors");
    assert!(state.exists());
    fs::write(killed.join(".fp16.state.safetensors.partial"), "rubbish").unwrap();
    run(recipe, &killed, true, 1, &never()).unwrap();
    assert_eq!(weights(&whole), weights(&killed));

    // Damaged, foreign, or of another recipe: never taken silently.
    let bytes = fs::read(&state).unwrap();
    fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    let message = run(recipe, &killed, true, 1, &never()).unwrap_err().to_string();
    assert!(message.ends_with("hint: delete it; training then begins anew"), "{message}");
    // One bit of a weight, far behind the header.
    let mut flipped = bytes.clone();
    flipped[bytes.len() - 1000] ^= 1;
    fs::write(&state, flipped).unwrap();
    let message = run(recipe, &killed, true, 1, &never()).unwrap_err().to_string();
    assert!(message.contains("fp16.state.safetensors: its digest is another\nhint: delete it"), "{message}");
    fs::write(&state, bytes).unwrap();
    let other = recipe.replace("seed: 7", "seed: 8");
    let message = run(&other, &killed, true, 1, &never()).unwrap_err().to_string();
    assert!(message.contains("it is of another recipe\nhint: run without --resume"), "{message}");
}

#[test]
fn what_files_hold_is_part_of_a_state_as_their_names_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let lines = |of: std::ops::Range<usize>| -> String {
        of.map(|i| format!("the cat {i} sat on the mat {} and looked at it.\n\n", 7 * i)).collect()
    };
    fs::write(path("train.txt"), lines(0..300)).unwrap();
    fs::write(path("held_out.txt"), lines(300..400)).unwrap();
    // Of other text, so that it is another one in spite of its size.
    run(&RECIPE.replace("steps: 12", "steps: 3"), &path("desk"), false, 2, &never()).unwrap();
    let twins = RECIPE.split("  - {name: b158,").next().unwrap();
    let data = "text: {train: [train.txt], held_out: [held_out.txt]}";
    let recipe = twins
        .replace("desk: {seed: 1, bytes: 60000}", data)
        .replace("tokenizer: train", "tokenizer: tokenizer.json");
    let run = || {
        let recipe = RecipeFile::parse(&path("small.yaml"), &recipe).unwrap();
        let options = TrainOptions { output: path("out"), resume: true, memory: None };
        train(&recipe, &options, &Workers::new(1, Device::Cpu).unwrap(), &never())
    };
    let tokenizer = fs::read_to_string(path("desk/fp16/tokenizer.json")).unwrap();
    fs::write(path("tokenizer.json"), &tokenizer).unwrap();
    run().unwrap();
    assert_eq!(run().unwrap().twins[0].steps, 0);
    fs::write(path("tokenizer.json"), tokenizer + "\n").unwrap();
    let message = run().unwrap_err().to_string();
    assert!(message.contains("it is of another tokenizer\nhint: run without --resume"), "{message}");
    fs::write(path("train.txt"), lines(1..300)).unwrap();
    let message = run().unwrap_err().to_string();
    assert!(message.contains("it is of another text\nhint: run without --resume"), "{message}");
}

#[test]
fn what_is_executable_opens_and_the_rest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = RECIPE.replace("steps: 12", "steps: 3");
    run(&recipe, folder.path(), false, 2, &never()).unwrap();
    for twin in ["fp16", "b158", "b158-2b4t", "absmedian", "bitnet"] {
        let checkpoint = Checkpoint::open(&folder.path().join(twin)).unwrap();
        assert_eq!(checkpoint.config().ternary_linears, twin != "fp16", "{twin}");
        assert_eq!(checkpoint.config().bos_token, Some(0));
    }
    for (twin, method) in [("bnn", "b158-bnn"), ("groups", "b158-bitnet-groups")] {
        let error = Checkpoint::open(&folder.path().join(twin)).unwrap_err().to_string();
        assert!(error.contains(method), "{error}");
    }
}

#[test]
fn a_loss_that_is_no_number_ends_training() {
    let folder = tempfile::tempdir().unwrap();
    let message = |scheme: &str, peak: &str, steps: &str| {
        let twins = RECIPE.find("  - {name").unwrap();
        let recipe = RECIPE[..twins].replace("steps: 12", steps);
        let twin = format!("  - {{name: x, scheme: {scheme}, schedule: {{kind: linear, peak: {peak}}}}}\n");
        run(&(recipe + &twin), folder.path(), false, 2, &never()).unwrap_err().to_string()
    };
    // In every scheme, also at the last step, and before anything is written that cannot be read.
    for scheme in ["fp16", "b1.58", "b1.58-absmedian", "bitnet", "bnn"] {
        for steps in ["steps: 1", "steps: 12"] {
            let message = message(scheme, "1.0e+38", steps);
            assert!(
                message.starts_with("twin 'x': a weight (65504 at most) is ")
                    && message.contains(" at step 1 (learning rate 1e38)\nhint: lower the schedule's `peak`")
                    && message.ends_with("the last checkpoint is of step 0"),
                "{message}"
            );
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let message = || run(RECIPE, folder.path(), false, 1, &StopAfter(AtomicUsize::new(1))).unwrap_err();
    let bnn = folder.path().join("bnn");
    fs::create_dir(&bnn).unwrap();
    fs::write(bnn.join("thesis.tex"), "somebody's").unwrap();
    let foreign = message().to_string();
    assert!(
        foreign.contains("bnn: cannot write: the folder is there and not empty, and b158 did not"),
        "{foreign}"
    );
    fs::remove_dir_all(&bnn).unwrap();
    fs::create_dir(folder.path().join("curves.svg")).unwrap();
    let taken = message().to_string();
    assert!(taken.contains("curves.svg: cannot write: is a directory\nhint: choose another name"), "{taken}");
    fs::remove_dir(folder.path().join("curves.svg")).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(matches!(message(), Error::Stopped { step: 1, .. }));
}

#[test]
fn text_that_will_not_do_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let ok: String = (0..300).map(|i| format!("the cat {i} sat on the mat {}.\n\n", 7 * i)).collect();
    for (name, text) in [("ok", ok.as_bytes()), ("short", b"a b\n"), ("empty", b"\n\n"), ("bad", b"\xff\xfe")]
    {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let message = |learnt: &str, held_out: &str| {
        let data = format!("text: {{train: [{learnt}], held_out: [{held_out}]}}");
        let recipe = RECIPE.replace("desk: {seed: 1, bytes: 60000}", &data);
        let recipe = RecipeFile::parse(Path::new("small.yaml"), &recipe).unwrap();
        let recipe = RecipeFile { data: Some(folder.path().to_owned()), ..recipe };
        let options =
            TrainOptions { output: folder.path().join("out"), resume: false, memory: Some(1 << 30) };
        let error = train(&recipe, &options, &Workers::new(1, Device::Cpu).unwrap(), &never()).unwrap_err();
        error.to_string().replace(&folder.path().display().to_string(), "DIR")
    };
    let cases = [
        ("short", "ok"),
        ("ok", "short"),
        ("bad", "ok"),
        ("ok", "empty"),
        ("ok", "ok"),
        ("ok", "absent"),
        ("out", "ok"),
    ];
    let messages = cases.map(|(learnt, held_out)| message(learnt, held_out));
    insta::assert_snapshot!(messages.join("\n\n"), @r"
    small.yaml: data.text.train (short): 4 tokens are no window of 33
    hint: give more text, or a shorter `shape.context`

    small.yaml: data.text.held_out (short): 5 tokens are no window of 33
    hint: give more text, or a shorter `shape.context`

    cannot read DIR/bad: stream did not contain valid UTF-8
    hint: it has to be text in UTF-8

    small.yaml: data has no document in held_out
    hint: check the files and the separator

    small.yaml: all 300 documents of data are held out
    hint: learn from other text than is measured with

    cannot read DIR/absent: No such file or directory (os error 2)
    hint: check the name and the permissions

    cannot read DIR/out: Is a directory (os error 21)
    hint: name a file
    ");
}

#[test]
fn bad_recipes_end_in_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let message = |from: &str, to: &str| {
        assert!(RECIPE.contains(from), "nothing to replace");
        let recipe = RECIPE.replacen(from, to, 1);
        run(&recipe, folder.path(), false, 1, &never()).unwrap_err().to_string()
    };
    let cases = [
        ("hidden_size: 32", "hiden_size: 32"),
        ("hidden_size: 32", "hidden_size: 30"),
        ("hidden_size: 32", "hidden_size: 0"),
        ("kv_heads: 2", "kv_heads: 3"),
        ("vocab_size: 300", "vocab_size: 100"),
        ("bytes: 60000", "bytes: 0"),
        ("bytes: 60000", "bytes: 100"),
        ("data: {desk: {seed: 1, bytes: 60000}}", "data: {}"),
        ("desk: {seed: 1, bytes: 60000}", "text: {train: [absent.txt], held_out: [absent.txt]}"),
        ("tokenizer: train", "tokenizer: absent.json"),
        ("micro: 2", "micro: 5"),
        ("steps: 12", "steps: -1"),
        ("warmup: 2", "warmup: 12"),
        ("kind: cosine", "kind: cosin"),
        ("peak: 3.0e-3", "peak: 0"),
        ("scheme: b1.58,", "scheme: b158,"),
        ("layout: 2b4t", "layout: 2b4"),
        ("{name: fp16, scheme: fp16,", "{name: fp16, scheme: fp16, layout: 2b4t,"),
        ("groups: 2", "groups: 5"),
        ("name: b158-2b4t", "name: b158"),
        ("name: b158-2b4t", "name: B158"),
        ("name: bnn", "name: ../bnn"),
        ("name: bnn", "name: curves.json"),
        ("name: bnn", "name: b158.state.safetensors"),
        ("recipe: small", "recipe: ../small"),
        ("bytes: 60000", "bytes: 60000000000000"),
        ("kv_heads: 2", "kv_heads: 2, rope_theta: 0"),
        ("kv_heads: 2", "kv_heads: 2, norm_eps: .nan"),
        ("peak: 3.0e-3", "peak: .inf"),
    ];
    let messages = cases.map(|(from, to)| format!("{from} -> {to}\n{}\n", message(from, to)));
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_batch_that_does_not_fit_memory_is_refused_before_any_text_is_read() {
    let recipe =
        RecipeFile::parse(Path::new("small.yaml"), &RECIPE.replace("context: 32", "context: 100000"))
            .unwrap();
    let options = TrainOptions { output: "absent".into(), resume: false, memory: Some(8_000_000_000) };
    let error = train(&recipe, &options, &Workers::new(2, Device::Cpu).unwrap(), &never()).unwrap_err();
    // The largest sizes that a recipe may have are refused as well, and overflow nothing.
    let sizes = "hidden_size: 2097152, intermediate_size: 2097152, layers: 2097152, heads: 1048576, vocab_size: 2097152, context: 2097152";
    let largest = RECIPE.replace("hidden_size: 32, intermediate_size: 64, layers: 2, heads: 4, kv_heads: 2, vocab_size: 300, context: 32", sizes);
    let largest = RecipeFile::parse(Path::new("small.yaml"), &largest).unwrap();
    let refused = train(&largest, &options, &Workers::new(2, Device::Cpu).unwrap(), &never()).unwrap_err();
    assert!(matches!(refused, Error::Memory { needed: u64::MAX, .. }), "{refused}");
    // What a smaller micro-batch cannot help, and text that is larger than memory.
    let single = RECIPE.replace("micro: 2", "micro: 1").replace("context: 32", "context: 100000");
    let large = RECIPE.replace("bytes: 60000", "bytes: 2000000000");
    let more = [single, large].map(|recipe| {
        let recipe = RecipeFile::parse(Path::new("small.yaml"), &recipe).unwrap();
        train(&recipe, &options, &Workers::new(2, Device::Cpu).unwrap(), &never()).unwrap_err().to_string()
    });
    insta::assert_snapshot!(more.join("\n"), @r"
    small.yaml: twin 'fp16' needs about 1923.23 GB and 8.00 GB are available
    hint: a smaller `shape` takes less, or fewer threads: 961.62 GB on each of them
    small.yaml: the text of data takes about 8.50 GB and 8.00 GB are available
    hint: give less of it
    ");
    insta::assert_snapshot!(error, @r"
    small.yaml: twin 'fp16' needs about 3846.46 GB and 8.00 GB are available
    hint: a smaller `batch.micro` takes less: 961.62 GB for each sequence on each thread
    ");
}

#[test]
fn a_vocabulary_that_is_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = RECIPE.replace("steps: 12", "steps: 3");
    run(&recipe, folder.path(), false, 2, &never()).unwrap();
    let tokenizer = folder.path().join("fp16/tokenizer.json");
    let recipe = recipe.replace("tokenizer: train", &format!("tokenizer: {}", tokenizer.display()));
    run(&recipe, folder.path(), false, 2, &never()).unwrap();
    let recipe = recipe.replace("vocab_size: 300", "vocab_size: 280");
    let message = run(&recipe, folder.path(), false, 2, &never()).unwrap_err().to_string();
    let expected = "token 299 is beyond shape.vocab_size 280 of small.yaml\nhint: set vocab_size to 300, or take another tokenizer";
    assert!(message.ends_with(expected), "{message}");
}

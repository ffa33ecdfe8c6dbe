//! Whatever goes wrong, a final name stands for what it stood for before.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use b158_checkpoint::Checkpoint;
use b158_convert::{Error, Options, convert};
use b158_kernels::Isa;
use common::{LLAMA, Shape, quietly, random_checkpoint};

const SHAPE: Shape = Shape { class: "BitnetForCausalLM", layers: 2, ..LLAMA };

fn options(format: &str) -> Options {
    Options::new(format.parse().unwrap(), Isa::best())
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn a_source_that_changes_gives_no_output() {
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    random_checkpoint(source.path(), SHAPE, 1);
    let weights = source.path().join("model.safetensors");
    for (format, name) in [("tq2_0", "m.gguf"), ("hf", "m")] {
        let output = out.path().join(name);
        let checkpoint = Checkpoint::open(source.path()).unwrap();
        let changed = AtomicBool::new(false);
        let change = |_, _| {
            if !changed.swap(true, Ordering::Relaxed) {
                let file = fs::File::options().append(true).open(&weights).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            }
        };
        let error = convert(&checkpoint, &output, &options(format), &change).unwrap_err();
        assert!(matches!(&error, Error::SourceChanged { file } if *file == weights), "{error}");
        assert!(names(out.path()).is_empty());
        let file = fs::File::options().append(true).open(&weights).unwrap();
        file.set_modified(std::time::SystemTime::now()).unwrap();
    }
}

#[test]
fn a_bad_tensor_leaves_the_earlier_output() {
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    random_checkpoint(source.path(), SHAPE, 2);
    let output = out.path().join("m.gguf");
    quietly(source.path(), &output, &options("tq2_0")).unwrap();
    let before = fs::read(&output).unwrap();

    let weights = source.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes).unwrap();
    for format in ["tq2_0", "i2_s", "f16"] {
        let error = quietly(source.path(), &output, &options(format)).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. }), "{format}: {error}");
    }
    assert_eq!(fs::read(&output).unwrap(), before);
    assert_eq!(names(out.path()), [output]);
}

#[test]
fn a_source_is_not_replaced_by_its_own_output() {
    let source = tempfile::tempdir().unwrap();
    random_checkpoint(source.path(), SHAPE, 3);
    let file = source.path().join("m.gguf");
    quietly(source.path(), &file, &options("f32")).unwrap();
    let error = quietly(&file, &file, &options("tq2_0")).unwrap_err();
    assert!(matches!(error, Error::OutputIsSource { .. }), "{error}");
    // Nor is a folder that holds the source, or one that somebody else filled.
    let error = quietly(&file, source.path(), &options("hf")).unwrap_err();
    assert!(matches!(error, Error::OutputIsSource { .. }), "{error}");
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("notes"), "mine").unwrap();
    let error = quietly(&file, other.path(), &options("hf")).unwrap_err();
    assert!(matches!(error, Error::Output(_)), "{error}");
}

#[test]
fn a_folder_that_we_wrote_is_replaced_but_not_by_itself() {
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    random_checkpoint(source.path(), SHAPE, 5);
    let output = out.path().join("m");
    quietly(source.path(), &output, &options("hf")).unwrap();
    let packed = fs::read(output.join("model.safetensors")).unwrap();
    // A failure leaves it.
    let mut none = options("hf");
    none.scheme = Some("none".parse().unwrap());
    quietly(source.path(), &output, &none).unwrap_err();
    // So do conversions of the folder, and of files in it, to the folder itself.
    quietly(&output, &output, &options("f16")).unwrap_err();
    quietly(&output.join("model.safetensors"), &output, &options("f16")).unwrap_err();
    let error = quietly(&output.join("../m"), &output, &options("f16")).unwrap_err();
    assert!(matches!(error, Error::OutputIsSource { .. }), "{error}");
    assert_eq!(fs::read(output.join("model.safetensors")).unwrap(), packed);
    quietly(source.path(), &output, &options("f16")).unwrap();
    assert_ne!(fs::read(output.join("model.safetensors")).unwrap(), packed);
    assert_eq!(names(out.path()), [output]);
}

#[test]
fn names_and_formats_must_agree() {
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    random_checkpoint(source.path(), SHAPE, 4);
    for (format, name) in [("tq2_0", "m"), ("hf", "m.gguf")] {
        let error = quietly(source.path(), &out.path().join(name), &options(format)).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{error}");
    }
    let mut head = options("hf");
    head.head = Some("q8_0".parse().unwrap());
    let error = quietly(source.path(), &out.path().join("m"), &head).unwrap_err();
    assert!(matches!(error, Error::Head { .. }), "{error}");
    let mut none = options("tq2_0");
    none.scheme = Some("none".parse().unwrap());
    let error = quietly(source.path(), &out.path().join("m.gguf"), &none).unwrap_err();
    assert!(matches!(error, Error::NotTernary { .. }), "{error}");
    assert!(names(out.path()).is_empty());
}

//! What a model takes is known before it is loaded, and said where it does not suffice.

use std::path::{Path, PathBuf};

use b158_checkpoint::Checkpoint;
use b158_kernels::Isa;
use b158_runner::{Error, LoadOptions, MemoryReport, Model, Shape, SyntheticFormat};

fn twin(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/twins").join(name)
}

#[test]
fn the_estimate_is_what_the_loaded_model_takes() {
    for name in ["tiny-llama-f16", "tiny-b158-f16"] {
        let checkpoint = Checkpoint::open(&twin(name)).unwrap();
        for isa in Isa::available() {
            let estimate = MemoryReport::of_checkpoint(&checkpoint, isa).unwrap();
            let model = Model::load(&checkpoint, LoadOptions { isa, ..LoadOptions::default() }).unwrap();
            assert_eq!(model.memory(), estimate, "{name} {isa}");
            assert_eq!(estimate.mapped_bytes + estimate.own_bytes, estimate.weight_bytes());
        }
    }
}

#[test]
fn what_does_not_fit_is_said_with_the_numbers() {
    // The scalar layout, so that the sizes are the same on every machine.
    let options = |memory, context| LoadOptions {
        isa: Isa::SCALAR,
        context,
        memory: Some(memory),
        ..LoadOptions::default()
    };
    let load = |name: &str, context| {
        let checkpoint = Checkpoint::open(&twin(name)).unwrap();
        Model::load(&checkpoint, options(100_000, context)).err().expect("it cannot fit")
    };
    let make = |name: &str, format, context| {
        let shape = Shape::named(name).unwrap();
        let done = |_| panic!("a layer was made");
        Model::synthetic(shape, format, options(8_000_000_000, context), done).err().expect("it cannot fit")
    };
    let errors = [
        load("tiny-b158-f16", Some(256)),
        load("tiny-b158-f16", None),
        load("tiny-llama-f16", None),
        make("70B", SyntheticFormat::Ternary, Some(2080)),
        make("70B", SyntheticFormat::F16, None),
    ];
    let folder = twin("").canonicalize().unwrap();
    let mut said = String::new();
    for error in errors {
        assert!(matches!(error, Error::Memory { .. }), "{error:?}");
        let text = error.to_string().replace(twin("").to_str().unwrap(), "[DIR]/");
        said += &format!("{}\n\n", text.replace(folder.to_str().unwrap(), "[DIR]"));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn what_fits_is_loaded() {
    let checkpoint = Checkpoint::open(&twin("tiny-b158-f16")).unwrap();
    let options = LoadOptions { memory: Some(8_000_000), context: Some(256), ..LoadOptions::default() };
    assert!(Model::load(&checkpoint, options).is_ok());
}

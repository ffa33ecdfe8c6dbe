//! Every format to every format: codes stay, and scales as far as the target's place for them allows.

mod common;

use std::path::{Path, PathBuf};

use b158_checkpoint::Checkpoint;
use b158_convert::{Error, Format, Options, Scheme, verify};
use b158_kernels::Isa;
use common::{Shape, oracle, quietly, random_checkpoint};
use proptest::prelude::*;

/// How far a scale may move, relative to it: half a unit in the last place of the type that holds it.
fn bound(format: Format, options: &Options) -> f64 {
    match format {
        Format::F16 => 2f64.powi(-11),
        Format::Bf16 => 2f64.powi(-8),
        // A reciprocal of a reciprocal, each rounded to f32.
        Format::HuggingFace if options.linear_class.name() == "bitlinear" => 2f64.powi(-23),
        _ => 0.0,
    }
}

/// The formats and both meanings of `hf`'s scales.
fn targets() -> Vec<Options> {
    let mut targets: Vec<Options> = Format::ALL.iter().map(|&f| Options::new(f, Isa::best())).collect();
    let mut divided = Options::new(Format::HuggingFace, Isa::best());
    divided.linear_class = "bitlinear".parse().unwrap();
    targets.push(divided);
    targets
}

fn path(folder: &Path, step: &str, options: &Options) -> PathBuf {
    let gguf = matches!(options.format, Format::Blocks(_));
    let class = options.linear_class.name();
    folder.join(format!("{step}-{}-{class}{}", options.format, if gguf { ".gguf" } else { "" }))
}

/// Converts `from` and proves it; `None` if its rows do not fit the format.
fn hop(from: &Path, to: &Path, options: &Options) -> Option<PathBuf> {
    let report = match quietly(from, to, options) {
        Err(Error::Shape { .. }) => return None,
        other => other.unwrap_or_else(|e| panic!("{} to {}: {e}", from.display(), options.format)),
    };
    let limit = bound(options.format, options);
    assert!(report.largest_scale_change <= limit, "{}: {}", options.format, report.largest_scale_change);
    assert!(report.ternary_weights > 0);
    verify(&Checkpoint::open(from).unwrap(), to, options)
        .unwrap_or_else(|e| panic!("{} to {}: {e}", from.display(), options.format));
    Some(to.to_owned())
}

/// Every ordered pair of formats, from a checkpoint that is made ternary by the scheme. Returns how many
/// pairs there were.
fn every_pair(source: &Path, scheme: Scheme) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let mut pairs = 0;
    for mut first in targets() {
        if scheme != Scheme::Binary && first.format.name() == "q1_0" {
            continue;
        }
        first.scheme = Some(scheme);
        let Some(between) = hop(source, &path(folder.path(), "first", &first), &first) else { continue };
        for second in targets() {
            if scheme != Scheme::Binary && second.format.name() == "q1_0" {
                continue;
            }
            let to = path(
                folder.path(),
                &format!("second-{}", path(Path::new(""), "", &first).display()),
                &second,
            );
            pairs += usize::from(hop(&between, &to, &second).is_some());
        }
    }
    pairs
}

#[test]
fn every_checkpoint_of_the_reference() {
    let Some(oracle) = oracle() else { return };
    let mut names: Vec<PathBuf> =
        oracle.join("ckpt").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for source in names {
        let pairs = every_pair(&source, Scheme::Absmean);
        println!("{}: {pairs} pairs", source.file_name().unwrap().display());
        // hf in both meanings, f16, bf16 and f32 fit everything.
        assert!(pairs >= 25, "{pairs}");
    }
}

#[test]
fn binary_weights_fit_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape {
        class: "LlamaForCausalLM",
        hidden: 256,
        intermediate: 512,
        layers: 1,
        heads: 4,
        kv_heads: 2,
        tied: true,
    };
    random_checkpoint(folder.path(), shape, 1);
    assert_eq!(every_pair(folder.path(), Scheme::Binary), 11 * 11);
    // Ternary codes do not fit one bit.
    let mut options = Options::new("q1_0".parse().unwrap(), Isa::best());
    options.scheme = Some(Scheme::Absmean);
    let error = quietly(folder.path(), &folder.path().join("x.gguf"), &options).unwrap_err();
    assert!(matches!(error, Error::HasZeros { .. }), "{error}");
    assert!(!folder.path().join("x.gguf").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn any_shape(
        class in prop::sample::select(vec!["LlamaForCausalLM", "BitnetForCausalLM"]),
        (heads, kv_heads) in prop::sample::select(vec![(1, 1), (2, 1), (4, 2), (6, 3)]),
        width in 1usize..24,
        intermediate in 1usize..300,
        layers in 1usize..3,
        tied: bool,
        median: bool,
        seed: u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (hidden, intermediate) = (heads * 2 * width, 4 * intermediate);
        let shape = Shape { class, hidden, intermediate, layers, heads, kv_heads, tied };
        random_checkpoint(folder.path(), shape, seed);
        every_pair(folder.path(), if median { Scheme::Absmedian } else { Scheme::Absmean });
    }
}

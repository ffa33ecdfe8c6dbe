//! The same bits on every instruction set, thread count, and split or company of the input.
//!
//! Emulated CPUs run this file too, fifty times slower, so the tests that need no reference use small models and
//! go over settings not in all combinations but so that each value meets each instruction set.

mod common;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use b158_checkpoint::Checkpoint;
use b158_convert::{Options, convert};
use b158_kernels::{Isa, kv::KvType};
use b158_runner::{
    LoadOptions, Model, Part, ScoreRequest, Session, forward_batch, score, score_batch, score_rolling,
};
use common::{load, oracle, prompts};

fn bits(model: &Model, ids: &[u32], split: usize) -> Vec<u32> {
    let mut session = Session::new(model, ids.len()).unwrap();
    let mut bits = Vec::new();
    for part in ids.chunks(split) {
        bits.extend(session.forward(part, 0).unwrap().iter().map(|l| l.to_bits()));
    }
    bits
}

fn with_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

#[test]
fn logits_have_the_same_bits_however_they_are_computed() {
    let Some(oracle) = oracle() else { return };
    for name in ["llama-gqa-f16", "llama-gqa-bf16-sharded", "tiny-b158-f16", "bitnet-2b4t-bf16"] {
        let ids = &prompts(&oracle, name)[1].ids;
        let reference = with_threads(1, || bits(&load(&oracle, name, Isa::SCALAR), ids, ids.len()));
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                with_threads(threads, || {
                    let model = load(&oracle, name, isa);
                    for split in [1, 7, ids.len()] {
                        let found = bits(&model, ids, split);
                        assert!(found == reference, "{name}: {isa}, {threads} threads, split at {split}");
                    }
                });
            }
        }
    }
}

/// A model that the repository carries.
fn twin(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/twins").join(name)
}

/// Seven sequences: of one token, around a page of the cache, and with beginnings in common.
fn sequences() -> Vec<Vec<u32>> {
    let ids = |seed: u32, len: u32| (0..len).map(|i| 1 + (i * 37 + seed * i * i) % 400).collect::<Vec<u32>>();
    [ids(1, 66), ids(2, 1), ids(3, 9), ids(1, 17), ids(4, 5), ids(1, 4), ids(5, 3)].into()
}

/// Logits after each sequence's last two tokens, all sequences in one batch.
fn batch_bits(model: &Model, sequences: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let mut sessions: Vec<_> = sequences.iter().map(|ids| Session::new(model, ids.len()).unwrap()).collect();
    let mut parts: Vec<_> = sessions
        .iter_mut()
        .zip(sequences)
        .map(|(session, tokens)| Part { session, tokens, from: tokens.len().saturating_sub(2) })
        .collect();
    let mut found = vec![Vec::new(); sequences.len()];
    forward_batch(&mut parts, |part, logits| found[part].extend(logits.iter().map(|l| l.to_bits()))).unwrap();
    found
}

/// Threads, sequences in a batch, tokens of a pass.
const SETTINGS: [(usize, usize, usize); 6] =
    [(1, 1, 16), (1, 7, 512), (2, 1, 1), (2, 7, 16), (3, 7, 1), (3, 1, 512)];

/// Compares settings with one sequence at a time on one thread, in the portable set.
fn check(path: &Path, kv: KvType, settings: &[(usize, usize, usize)]) {
    let sequences = sequences();
    let checkpoint = Checkpoint::open(path).unwrap();
    let load = |isa, tile| {
        let prefill_tile = NonZeroUsize::new(tile).unwrap();
        Model::load(&checkpoint, LoadOptions { isa, kv, prefill_tile, ..LoadOptions::default() }).unwrap()
    };
    let reference: Vec<Vec<u32>> = with_threads(1, || {
        let model = load(Isa::SCALAR, 512);
        sequences.iter().flat_map(|ids| batch_bits(&model, std::slice::from_ref(ids))).collect()
    });
    for isa in Isa::available() {
        for &(threads, batch, tile) in settings {
            let found: Vec<Vec<u32>> = with_threads(threads, || {
                let model = load(isa, tile);
                sequences.chunks(batch).flat_map(|some| batch_bits(&model, some)).collect()
            });
            let path = path.display();
            assert!(
                found == reference,
                "{path}: {isa}, {kv}, {threads} threads, {batch} a batch, tile {tile}"
            );
        }
    }
}

#[test]
fn batches_tiles_threads_and_instruction_sets_change_nothing() {
    check(&twin("tiny-b158-f16"), KvType::F32, &SETTINGS);
    check(&twin("tiny-llama-f16"), KvType::F32, &SETTINGS[3..]);
    check(&twin("tiny-b158-f16"), KvType::F16, &SETTINGS[1..2]);
    check(&twin("tiny-b158-f16"), KvType::Q8, &SETTINGS[4..5]);
}

/// The same codes and scales, whatever they are packed in.
#[test]
fn packed_formats_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(&twin("tiny-b158-f16")).unwrap();
    let ids = &sequences()[3];
    let logits = |checkpoint: &Checkpoint, isa| {
        let model = Model::load(checkpoint, LoadOptions { isa, ..LoadOptions::default() }).unwrap();
        assert!(model.is_ternary());
        bits(&model, ids, ids.len())
    };
    let reference = logits(&source, Isa::SCALAR);
    for format in ["tq1_0", "tq2_0", "q2_0", "i2_s", "i2_s-arm", "hf"] {
        let name = if format == "hf" { "hf".to_owned() } else { format!("{format}.gguf") };
        let output = folder.path().join(name);
        let options = Options::new(format.parse().unwrap(), Isa::best());
        convert(&source, &output, &options, &|_, _| ()).unwrap();
        let packed = Checkpoint::open(&output).unwrap();
        for isa in Isa::available() {
            assert!(logits(&packed, isa) == reference, "{format}, {isa}");
        }
    }
}

/// What is scored does not depend on neighbours that share a beginning.
#[test]
fn scores_are_the_same_alone_and_in_company() {
    for name in ["tiny-b158-f16", "tiny-llama-f16"] {
        let checkpoint = Checkpoint::open(&twin(name)).unwrap();
        let model = Model::load(&checkpoint, LoadOptions::default()).unwrap();
        let sequences = sequences();
        let question = &sequences[0][..30];
        let requests: Vec<ScoreRequest<'_>> = sequences
            .iter()
            .map(|continuation| ScoreRequest { context: question, continuation })
            .chain(sequences.iter().map(|context| ScoreRequest { context, continuation: question }))
            .collect();
        let scores = score_batch(&model, &requests).unwrap();
        for (request, found) in requests.iter().zip(scores) {
            assert_eq!(found, score(&model, request.context, request.continuation).unwrap());
        }
        // Windows of 25: the first reads a prefix, the last is moved left so that it is full.
        let text = &sequences[0][..60];
        let windows = [(&[1][..], 0..25), (&text[24..25], 25..50), (&text[34..50], 50..60)];
        let single = windows.map(|(context, scored)| score(&model, context, &text[scored]).unwrap().logprobs);
        assert_eq!(score_rolling(&model, 1, text, 25).unwrap().logprobs, single.concat());
    }
}

#[test]
fn a_truncated_session_continues_as_if_it_had_never_gone_further() {
    let checkpoint = Checkpoint::open(&twin("tiny-llama-f16")).unwrap();
    let model = Model::load(&checkpoint, LoadOptions::default()).unwrap();
    let mut session = Session::new(&model, 8).unwrap();
    session.forward(&[1, 300, 301, 302], 3).unwrap();
    session.truncate(2);
    let again = session.forward(&[400, 401], 0).unwrap();
    let fresh = Session::new(&model, 8).unwrap().forward(&[1, 300, 400, 401], 2).unwrap();
    assert_eq!(again, fresh);
}

#[test]
fn forks_go_their_own_ways() {
    let checkpoint = Checkpoint::open(&twin("tiny-b158-f16")).unwrap();
    let model = Model::load(&checkpoint, LoadOptions::default()).unwrap();
    let ids = &sequences()[0];
    let mut session = Session::new(&model, ids.len() + 10).unwrap();
    session.forward(&ids[..65], 65).unwrap();
    // Both write to the page that they share.
    let mut fork = session.fork();
    let other = fork.forward(&[9, 8, 7], 2).unwrap();
    let own = session.forward(&ids[65..], 0).unwrap();
    assert_eq!(
        own.iter().map(|l| l.to_bits()).collect::<Vec<_>>(),
        bits(&model, ids, ids.len())[65 * own.ncols()..]
    );
    fork.truncate(65);
    assert_eq!(fork.forward(&[9, 8, 7], 2).unwrap(), other);
}

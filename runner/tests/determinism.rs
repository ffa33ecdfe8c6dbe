//! The same bits on every instruction set, thread count and split of the input.

mod common;

use b158_kernels::Isa;
use b158_runner::{Model, Session};
use common::{load, oracle, prompts};

fn bits(model: &Model, ids: &[u32], tile: usize) -> Vec<u32> {
    let mut session = Session::new(model, ids.len()).unwrap();
    let mut bits = Vec::new();
    for tile in ids.chunks(tile) {
        bits.extend(session.forward(tile, 0).unwrap().iter().map(|l| l.to_bits()));
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
                    for tile in [1, 7, ids.len()] {
                        let found = bits(&model, ids, tile);
                        assert!(found == reference, "{name}: {isa}, {threads} threads, tiles of {tile}");
                    }
                });
            }
        }
    }
}

#[test]
fn a_truncated_session_continues_as_if_it_had_never_gone_further() {
    let Some(oracle) = oracle() else { return };
    let model = load(&oracle, "tiny-llama-f16", Isa::best());
    let mut session = Session::new(&model, 8).unwrap();
    session.forward(&[1, 300, 301, 302], 3).unwrap();
    session.truncate(2);
    let again = session.forward(&[400, 401], 0).unwrap();
    let fresh = Session::new(&model, 8).unwrap().forward(&[1, 300, 400, 401], 2).unwrap();
    assert_eq!(again, fresh);
}

//! Codes and activations against the recorded reference.

use std::path::{Path, PathBuf};

use b158_checkpoint::{Checkpoint, TensorId};
use b158_kernels::{Isa, quantize::Int8Rows, ternarize};
use safetensors::SafeTensors;

fn oracle() -> Option<PathBuf> {
    let path = std::env::var_os("B158_ORACLE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no reference outputs here (set B158_ORACLE to their folder)");
    None
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn every_ternary_code_equals_the_reference() {
    let Some(oracle) = oracle() else { return };
    for name in ["b158-1bitllm-f16", "tiny-b158-f16", "bitnet-2b4t-bf16"] {
        let checkpoint = Checkpoint::open(&oracle.join("ckpt").join(name)).unwrap();
        let bytes = std::fs::read(oracle.join(format!("golden/{name}.f32.safetensors"))).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let mut compared = 0;
        for id in checkpoint.tensor_ids().into_iter().filter(|id: &TensorId| id.is_linear()) {
            let tensor = checkpoint.tensor(id).unwrap();
            let expected = golden.tensor(&format!("q.{}", tensor.name)).unwrap();
            let mean_f64 = golden.tensor(&format!("absmean_f64.{}", tensor.name)).unwrap();
            let mean_f64 = f64::from_le_bytes(mean_f64.data().try_into().unwrap());
            for isa in Isa::available() {
                let mean = ternarize::absmean(isa, tensor.dense().unwrap()).unwrap();
                assert_eq!(mean, mean_f64 as f32, "{name} {}", tensor.name);
                let mut codes = vec![0; expected.data().len()];
                ternarize::ternarize(isa, tensor.dense().unwrap(), mean, &mut codes);
                assert!(
                    codes.iter().map(|&q| q as u8).eq(expected.data().iter().copied()),
                    "{name} {}",
                    tensor.name
                );
            }
            compared += expected.data().len();
        }
        println!("{name}: {compared} codes");
        assert!(compared > 50_000);
    }
}

#[test]
fn every_int8_activation_of_a_recorded_input_equals_the_reference() {
    let Some(oracle) = oracle() else { return };
    let bytes = std::fs::read(oracle.join("golden/bitnet-2b4t-bf16.f32.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let names: Vec<&str> = golden.names().into_iter().filter(|n| n.starts_with("p1.x.")).collect();
    assert_eq!(names.len(), 8);
    for name in names {
        let x = golden.tensor(name).unwrap();
        let codes = golden.tensor(&name.replace("p1.x.", "p1.xq.")).unwrap();
        let scales = floats(golden.tensor(&name.replace("p1.x.", "p1.xs.")).unwrap().data());
        let cols = x.shape()[1];
        for isa in Isa::available() {
            let mut quantized = Int8Rows::new();
            quantized.quantize(isa, &floats(x.data()), cols).unwrap();
            for (row, (expected, &scale)) in codes.data().chunks_exact(cols).zip(&scales).enumerate() {
                assert!(
                    quantized.row(row).iter().map(|&q| q as u8).eq(expected.iter().copied()),
                    "{name} {row}"
                );
                assert_eq!(quantized.scale(row), scale, "{name} {row}");
            }
        }
    }
}

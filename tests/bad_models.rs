//! Models that cannot be run end with exit code 1 and one message that names the file, the tensor or the layer.

mod common;

use std::{fs, path::Path};

use common::{b158, copy_of, replace, transcript};
use insta::assert_snapshot;

fn run(folder: &Path) -> String {
    let mut command = b158();
    command.arg("run").arg(folder).args(["-p", "The keeper", "-n", "2"]);
    transcript(&mut command, folder)
}

/// Makes one f16 element of a tensor a NaN.
fn spoil(folder: &Path, tensor: &str, element: usize) {
    let file = folder.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let start = usize::try_from(json[tensor]["data_offsets"][0].as_u64().unwrap()).unwrap();
    bytes[8 + header + start + 2 * element..][..2].copy_from_slice(&[0x00, 0x7e]);
    fs::write(&file, bytes).unwrap();
}

#[test]
fn tensors_that_disagree_with_the_config() {
    let mut all = String::new();
    for (from, to) in [
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
        ("\"vocab_size\": 512", "\"vocab_size\": 500"),
        ("\"hidden_size\": 256", "\"hidden_size\": 128"),
        ("\"num_key_value_heads\": 8", "\"num_key_value_heads\": 4"),
        ("\"num_key_value_heads\": 8", "\"num_key_value_heads\": 3"),
        ("\"BitnetForCausalLM\"", "\"BitNetForCausalLM\""),
    ] {
        let copy = copy_of("tiny-b158-f16");
        replace(&copy.path().join("config.json"), from, to);
        all += &format!("{to}\n{}\n", run(copy.path()));
    }
    assert_snapshot!(all);
}

#[test]
fn a_nan_names_the_layer_that_made_it() {
    // Full-precision weights stay in their file and are not searched; what they make is.
    let copy = copy_of("tiny-llama-f16");
    spoil(copy.path(), "model.layers.1.mlp.up_proj.weight", 1234);
    assert_snapshot!("nan in a full precision layer", run(copy.path()));

    let copy = copy_of("tiny-llama-f16");
    spoil(copy.path(), "lm_head.weight", 77);
    assert_snapshot!("nan in the head", run(copy.path()));

    let copy = copy_of("tiny-b158-f16");
    for token in 0..512 {
        spoil(copy.path(), "model.embed_tokens.weight", token * 256);
    }
    assert_snapshot!("nan in the embedding", run(copy.path()));

    let copy = copy_of("tiny-b158-f16");
    spoil(copy.path(), "model.layers.0.mlp.ffn_layernorm.weight", 5);
    assert_snapshot!("nan in a norm", run(copy.path()));
}

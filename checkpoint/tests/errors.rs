//! What a user reads when a checkpoint is damaged.

mod common;

use std::{fs, path::Path};

use b158_checkpoint::Checkpoint;
use common::copy;
use insta::assert_snapshot;

/// The message of opening a folder, with the folder's path taken out.
fn message(path: &Path, folder: &Path) -> String {
    let error = Checkpoint::open(path).expect_err("the checkpoint is damaged").to_string();
    error.replace(&folder.display().to_string(), "MODEL")
}

/// Damages a copy of a fixture and returns the message, or nothing without fixtures.
fn damaged(name: &str, damage: impl FnOnce(&Path)) -> Option<String> {
    let folder = copy(name)?;
    damage(folder.path());
    Some(message(folder.path(), folder.path()))
}

fn edit_config(folder: &Path, from: &str, to: &str) {
    let file = folder.join("config.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    fs::write(file, text.replace(from, to)).unwrap();
}

fn cut(file: &Path, len: impl FnOnce(usize) -> usize) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..len(bytes.len())]).unwrap();
}

/// Replaces bytes of a file by others of the same length.
fn patch(file: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("the bytes are there");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(file, bytes).unwrap();
}

#[test]
fn safetensors() {
    const NAME: &str = "llama-gqa-f16";
    let file = |folder: &Path| folder.join("model.safetensors");
    let Some(text) = damaged(NAME, |folder| cut(&file(folder), |_| 1000)) else { return };
    assert_snapshot!("safetensors_header_cut", text);
    let text = damaged(NAME, |folder| cut(&file(folder), |len| len - 1)).unwrap();
    assert_snapshot!("safetensors_data_cut", text);
    let text =
        damaged(NAME, |folder| patch(&file(folder), "\"lm_head.weight\"", "\"lm_tail.weight\"")).unwrap();
    assert_snapshot!("safetensors_missing_tensor", text);
    let text = damaged(NAME, |folder| patch(&file(folder), "[64,160]", "[160,64]")).unwrap();
    assert_snapshot!("safetensors_wrong_shape", text);
    let text =
        damaged(NAME, |folder| patch(&file(folder), "\"dtype\":\"F16\"", "\"dtype\":\"I16\"")).unwrap();
    assert_snapshot!("safetensors_unsupported_type", text);
    let text = damaged(NAME, |folder| patch(&file(folder), "data_offsets", "data_0ffsets")).unwrap();
    assert_snapshot!("safetensors_malformed", text);
    // A header of odd length, as old writers left it.
    let text = damaged(NAME, |folder| {
        let mut bytes = fs::read(file(folder)).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        bytes[..8].copy_from_slice(&(header + 1).to_le_bytes());
        bytes.insert(8 + header as usize, b' ');
        fs::write(file(folder), bytes).unwrap();
    })
    .unwrap();
    assert_snapshot!("safetensors_misaligned", text);
}

#[test]
fn shards() {
    const NAME: &str = "llama-gqa-bf16-sharded";
    let shard = "model-00002-of-00002.safetensors";
    let Some(text) = damaged(NAME, |folder| fs::remove_file(folder.join(shard)).unwrap()) else { return };
    assert_snapshot!("shards_missing_shard", text);
    let index = |folder: &Path| folder.join("model.safetensors.index.json");
    let text =
        damaged(NAME, |folder| patch(&index(folder), shard, "../el-sewhere-0000002.safetensor")).unwrap();
    assert_snapshot!("shards_outside_the_folder", text);
    let text = damaged(NAME, |folder| patch(&index(folder), "00001-of", "00002-of")).unwrap();
    assert_snapshot!("shards_missing_tensor", text);
    let text = damaged(NAME, |folder| fs::remove_file(index(folder)).unwrap()).unwrap();
    assert_snapshot!("shards_without_index", text);
}

#[test]
fn config() {
    const NAME: &str = "llama-gqa-f16";
    let edited = |from, to| damaged(NAME, |folder| edit_config(folder, from, to));
    let Some(text) = edited("LlamaForCausalLM", "MambaForCausalLM") else { return };
    assert_snapshot!("config_unknown_architecture", text);
    assert_snapshot!("config_missing_key", edited("\"hidden_size\"", "\"hidden_sise\"").unwrap());
    assert_snapshot!("config_not_json", edited("\"hidden_size\": 64,", "hidden_size: 64,").unwrap());
    assert_snapshot!("config_bad_value", edited("\"vocab_size\": 512", "\"vocab_size\": -512").unwrap());
    assert_snapshot!("config_activation", edited("\"silu\"", "\"gelu\"").unwrap());
    assert_snapshot!("config_rope_scaling", edited("\"default\"", "\"yarn\"").unwrap());
    assert_snapshot!("config_rope_factor", edited("\"default\"", "\"llama3\"").unwrap());
    assert_snapshot!("config_billions_of_layers", edited("_layers\": 3", "_layers\": 4000000000").unwrap());
    let text = damaged(NAME, |folder| fs::remove_file(folder.join("config.json")).unwrap()).unwrap();
    assert_snapshot!("config_absent", text);
}

#[test]
fn other_containers() {
    let Some(folder) = copy("llama-gqa-f16") else { return };
    let weights = folder.path().join("model.safetensors");
    fs::remove_file(&weights).unwrap();
    fs::write(folder.path().join("pytorch_model.bin"), b"PK\x03\x04 and so on").unwrap();
    assert_snapshot!("pickle", message(folder.path(), folder.path()));
    assert_snapshot!("pickle_file", message(&folder.path().join("pytorch_model.bin"), folder.path()));
    assert_snapshot!("no_checkpoint", message(&folder.path().join("tokenizer.model.json"), folder.path()));
    assert_snapshot!("unknown_file", message(&folder.path().join("config.json"), folder.path()));
    let empty = tempfile::tempdir().unwrap();
    assert_snapshot!("empty_folder", message(empty.path(), empty.path()));
}

#[test]
fn packed_weights() {
    let Some(folder) = copy("bitnet-2b4t-packed-autobitlinear") else { return };
    edit_config(folder.path(), "\"autobitlinear\"", "\"otherlinear\"");
    assert_snapshot!("packed_by_unknown_convention", message(folder.path(), folder.path()));
    edit_config(folder.path(), "otherlinear", "autobitlinear");
    edit_config(folder.path(), "offline", "online");
    assert_snapshot!("packed_by_type", message(folder.path(), folder.path()));
}

#[test]
fn tokenizer() {
    let Some(folder) = copy("llama-gqa-f16") else { return };
    let message = || {
        let error = Checkpoint::open(folder.path()).unwrap().tokenizer().unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "MODEL")
    };
    let file = folder.path().join("tokenizer.json");
    cut(&file, |len| len / 2);
    assert_snapshot!("tokenizer_cut", message());
    fs::remove_file(file).unwrap();
    assert_snapshot!("tokenizer_absent", message());
}

#[test]
fn gguf() {
    use b158_checkpoint::gguf::{GgufDataWriter, GgufPlan, TensorInfo, Value};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let tensor = |name: &str| TensorInfo {
        name: name.into(),
        dtype: b158_checkpoint::TensorType::F16,
        shape: vec![4, 8],
    };
    let entries = [("general.architecture".to_owned(), Value::from("llama"))];
    let plan = GgufPlan::new(&entries, vec![tensor("first"), tensor("other")]).unwrap();
    let mut bytes = Vec::new();
    plan.write_header(&mut bytes).unwrap();
    let mut writer = GgufDataWriter::new(&plan, bytes);
    writer.write_tensor("first", &[0; 64]).unwrap();
    writer.write_tensor("other", &[0; 64]).unwrap();
    let whole = writer.finish().unwrap();

    fs::write(&file, &whole).unwrap();
    assert_snapshot!("gguf_missing_key", message(&file, folder.path()));
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert_snapshot!("gguf_data_cut", message(&file, folder.path()));
    fs::write(&file, &whole[..40]).unwrap();
    assert_snapshot!("gguf_header_cut", message(&file, folder.path()));
    fs::write(&file, &whole).unwrap();
    patch(&file, "other", "first");
    assert_snapshot!("gguf_duplicate_name", message(&file, folder.path()));
    fs::write(&file, &whole).unwrap();
    patch(&file, "llama", "mamba");
    assert_snapshot!("gguf_unknown_architecture", message(&file, folder.path()));
    fs::write(&file, b"GGML").unwrap();
    assert_snapshot!("gguf_wrong_magic", message(&file, folder.path()));
}

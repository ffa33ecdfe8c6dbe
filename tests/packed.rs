//! transformers' packed checkpoints: the same codes and scales as their master, so the same digest.

mod common;

use std::{fs, path::Path};

use b158_checkpoint::Checkpoint;
use b158_kernels::{Isa, ternarize};
use common::{b158, copy_of, replace, twin};
use safetensors::{Dtype, tensor::TensorView};

/// Replaces the linear weights of a copy of the ternary twin by packed ones with an f32 scale, as
/// `autobitlinear` has them.
fn pack(folder: &Path) {
    let master = Checkpoint::open(&twin("tiny-b158-f16")).unwrap();
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for id in master.tensor_ids() {
        let tensor = master.tensor(id).unwrap();
        if !id.is_linear() {
            tensors.push((tensor.name.clone(), Dtype::F16, tensor.shape.clone(), tensor.bytes().to_vec()));
            continue;
        }
        let [rows, cols] = tensor.shape[..] else { panic!("a matrix") };
        let weights = tensor.dense().unwrap();
        let scale = ternarize::absmean(Isa::SCALAR, weights).unwrap();
        let mut codes = vec![0; rows * cols];
        ternarize::ternarize(Isa::SCALAR, weights, scale, &mut codes);
        let mut packed = vec![0; rows / 4 * cols];
        for (quarter, codes) in codes.chunks_exact(packed.len()).enumerate() {
            for (byte, code) in packed.iter_mut().zip(codes) {
                *byte |= ((code + 1) as u8) << (2 * quarter);
            }
        }
        tensors.push((tensor.name.clone(), Dtype::U8, vec![rows / 4, cols], packed));
        tensors.push((format!("{}_scale", tensor.name), Dtype::F32, vec![1], scale.to_le_bytes().to_vec()));
    }
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    replace(
        &folder.join("config.json"),
        "\"weight_bits\": 1,",
        r#""weight_bits": 1, "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"},"#,
    );
}

fn digest(model: &Path, out: &Path) -> String {
    b158()
        .args(["eval", "--model", &format!("m={}", model.display()), "--tasks", "arc_easy", "--data"])
        .arg(common::fixtures())
        .arg("-o")
        .arg(out)
        .assert()
        .success();
    let results = fs::read_to_string(out.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    results["digest"]["m"].as_str().unwrap().to_owned()
}

#[test]
fn a_packed_checkpoint_runs_and_converts_like_its_master() {
    let packed = copy_of("tiny-b158-f16");
    pack(packed.path());
    let out = packed.path().join("out");
    let expected = digest(&twin("tiny-b158-f16"), &out);
    assert_eq!(digest(packed.path(), &out), expected);
    for format in ["tq1_0", "tq2_0"] {
        let file = packed.path().join(format!("{format}.gguf"));
        let command = ["--to", format, "--verify"];
        b158().arg("convert").arg(packed.path()).arg("-o").arg(&file).args(command).assert().success();
        assert_eq!(digest(&file, &out), expected, "{format}");
    }
}

/// Codes and scales pass from format to format unchanged, in both architectures (`llama` files hold q and
/// k rows in another order).
#[test]
fn packed_files_convert_to_each_other() {
    let folder = tempfile::TempDir::new().unwrap();
    let (tq1, tq2, again) = ("a.gguf", "b.gguf", "c.gguf");
    let convert = |from: &Path, to: &str, format: &str| {
        let file = folder.path().join(to);
        b158()
            .arg("convert")
            .arg(from)
            .arg("-o")
            .arg(&file)
            .args(["--to", format, "--verify"])
            .assert()
            .success();
        file
    };
    for model in ["tiny-b158-f16", "tiny-llama-f16"] {
        let tq1 = convert(&twin(model), tq1, "tq1_0");
        let tq2 = convert(&tq1, tq2, "tq2_0");
        let again = convert(&tq2, again, "tq1_0");
        let [first, second] = [&tq1, &again].map(|file| Checkpoint::open(file).unwrap());
        for id in first.tensor_ids() {
            assert_eq!(
                first.tensor(id).unwrap().bytes(),
                second.tensor(id).unwrap().bytes(),
                "{model} {id:?}"
            );
            let scales = [&first, &second].map(|c| c.scale(id).unwrap().map(f32::to_bits));
            assert_eq!(scales[0], scales[1], "{model} {id:?}");
        }
        let out = folder.path().join("out");
        assert_eq!(digest(&tq1, &out), digest(&tq2, &out), "{model}");
    }
}

#[test]
fn a_missing_scale_and_a_code_of_three_are_named() {
    let packed = copy_of("tiny-b158-f16");
    pack(packed.path());
    let file = packed.path().join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    let run = || {
        let mut command = b158();
        command.arg("run").arg(packed.path()).args(["-p", "x"]);
        common::transcript(&mut command, packed.path())
    };

    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let name = "model.layers.0.mlp.up_proj.weight";
    let start = usize::try_from(json[name]["data_offsets"][0].as_u64().unwrap()).unwrap();
    let mut damaged = bytes.clone();
    damaged[8 + header + start + 300] = 0xff;
    fs::write(&file, damaged).unwrap();
    insta::assert_snapshot!("code of three", run());

    let text = String::from_utf8_lossy(&bytes[8..8 + header])
        .replace("up_proj.weight_scale", "up_proj.weight_other");
    let mut renamed = bytes.clone();
    renamed[8..8 + header].copy_from_slice(text.as_bytes());
    fs::write(&file, renamed).unwrap();
    insta::assert_snapshot!("missing scale", run());
}

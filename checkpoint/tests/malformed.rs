//! Runs everything that opens a checkpoint over damaged and hostile files: each ends in an error, within a
//! second and 64 MiB.

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use b158_checkpoint::{
    Checkpoint, Error, ModelConfig, OpenOptions, TensorId, TensorInfo, TensorType,
    gguf::{self, GgufDataWriter, GgufPlan, Value, metadata},
    safetensors::{self, SafetensorsPlan, SafetensorsWriter},
};
use common::data;
use proptest::prelude::*;
use serde_json::json;

/// Whatever takes longer does work that the file only claims.
const TIME_LIMIT: Duration = Duration::from_secs(1);
const MEMORY_LIMIT: usize = 64 << 20;

/// Holds `f` to the limits. Of the times of three tries the best counts: a busy machine is no fault of `f`.
fn limited<T>(what: &str, f: impl Fn() -> T) -> T {
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        let (value, memory) = allocations::peak(&f);
        times.push(start.elapsed());
        assert!(memory < MEMORY_LIMIT, "{what} takes {memory} bytes");
        if times.iter().any(|&time| time < TIME_LIMIT) {
            return value;
        }
        assert!(times.len() < 3, "{what} takes {times:?}");
    }
}

/// Opening fails within the limits; returns the message.
fn refused(what: &str, path: &Path) -> String {
    let error = limited(what, || Checkpoint::open(path).err());
    let Some(error) = error else { panic!("{what} opens") };
    let text = error.to_string();
    assert!(text.contains("\nhint: "), "{what}: no hint in: {text}");
    assert!(text.len() < 2000, "{what}: a message of {} bytes", text.len());
    text
}

fn files_below(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, out) } else { out.push(path) }
    }
}

/// A config that asks for a small LLaMA.
fn config_json() -> String {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 16,
        "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10, "max_position_embeddings": 16,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true
    })
    .to_string()
}

/// A whole Hugging Face folder with that config, to be damaged.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config_json()).unwrap();
    let config = ModelConfig::from_json("config.json".as_ref(), config_json().as_bytes()).unwrap();
    let info = |id: TensorId| TensorInfo {
        name: id.hugging_face_name(config.architecture),
        dtype: TensorType::F32,
        shape: id.shape(&config),
    };
    let tensors: Vec<_> = TensorId::all(&config).map(info).collect();
    let plan = SafetensorsPlan::new(tensors.clone(), None).unwrap();
    let open = |name: &str| fs::File::create(folder.path().join(name));
    let mut writer = SafetensorsWriter::new(&plan, open).unwrap();
    for TensorInfo { name, dtype, shape } in &tensors {
        writer.write_tensor(name, &vec![0; dtype.byte_len(shape).unwrap() as usize]).unwrap();
    }
    writer.finish().unwrap();
    Checkpoint::open(folder.path()).unwrap();
    folder
}

#[test]
fn damaged_files_end_in_errors() {
    let Some(collection) = data("corpora-malformed") else { return };
    let mut files = Vec::new();
    files_below(&collection, &mut files);
    assert!(files.len() > 100, "the collection has {} files only", files.len());
    let target = tempfile::tempdir().unwrap();
    let model = folder();
    let in_folder = |name: &str| model.path().join(name);
    let weights = fs::read(in_folder("model.safetensors")).unwrap();
    for file in &files {
        let what = file.display().to_string();
        let bytes = fs::read(file).unwrap();
        limited(&what, || {
            if let Ok(parsed) = gguf::Gguf::parse(file, &bytes) {
                let _ = metadata::from_gguf(file, &parsed, &bytes, &OpenOptions::default());
            }
            let _ = safetensors::parse(file, &bytes);
            let _ = ModelConfig::from_json(file, &bytes);
        });
        // None of them is a whole model.
        let path = target.path().join("model.gguf");
        fs::write(&path, &bytes).unwrap();
        refused(&what, &path);

        // Nor a part of one.
        fs::write(in_folder("model.safetensors"), &bytes).unwrap();
        refused(&what, model.path());
        fs::write(in_folder("model.safetensors.index.json"), &bytes).unwrap();
        fs::remove_file(in_folder("model.safetensors")).unwrap();
        refused(&what, model.path());
        fs::remove_file(in_folder("model.safetensors.index.json")).unwrap();
        fs::write(in_folder("model.safetensors"), &weights).unwrap();
        fs::write(in_folder("config.json"), &bytes).unwrap();
        refused(&what, model.path());
        fs::write(in_folder("config.json"), config_json()).unwrap();
    }
    Checkpoint::open(model.path()).unwrap();
}

#[test]
fn hostile_json() {
    let deep = "[".repeat(900_000);
    let wide = format!("[{}0]", "0,".repeat(500_000));
    let objects = format!("[{}{{}}]", "{},".repeat(300_000));
    let keys = format!("{{{}\"z\":0}}", (0..90_000).map(|i| format!("\"k{i}\":0,")).collect::<String>());
    let inside = |json: &str| config_json().replacen('{', &format!("{{\"rope_scaling\":{json},"), 1);
    let texts = [
        deep.clone(),
        "{\"a\":".repeat(150_000),
        wide.clone(),
        objects.clone(),
        keys.clone(),
        inside(&deep),
        inside(&wide),
        inside(&keys),
        format!("\"{}", "\\ud800".repeat(1000)),
        "9".repeat(500_000),
        "{} {}".into(),
        String::new(),
        " ".repeat(2 << 20),
    ];
    let model = folder();
    let weights = fs::read(model.path().join("model.safetensors")).unwrap();
    for (i, text) in texts.iter().enumerate() {
        let what = |file: &str| format!("{file} {i}");
        fs::write(model.path().join("config.json"), text).unwrap();
        refused(&what("config"), model.path());
        fs::write(model.path().join("config.json"), config_json()).unwrap();

        // An empty object is a fine generation_config.json.
        fs::write(model.path().join("generation_config.json"), text).unwrap();
        let _ = limited(&what("generation"), || Checkpoint::open(model.path()));
        fs::remove_file(model.path().join("generation_config.json")).unwrap();

        fs::write(model.path().join("tokenizer_config.json"), text).unwrap();
        let _ = limited(&what("tokenizer"), || Checkpoint::open(model.path()));
        fs::write(model.path().join("tokenizer_config.json"), format!("{{\"chat_template\":{text}}}"))
            .unwrap();
        let _ = limited(&what("template"), || Checkpoint::open(model.path()));
        fs::remove_file(model.path().join("tokenizer_config.json")).unwrap();

        fs::rename(model.path().join("model.safetensors"), model.path().join("kept")).unwrap();
        fs::write(model.path().join("model.safetensors.index.json"), text).unwrap();
        refused(&what("index"), model.path());
        fs::write(
            model.path().join("model.safetensors.index.json"),
            format!("{{\"metadata\":{text},\"weight_map\":{text}}}"),
        )
        .unwrap();
        refused(&what("weight map"), model.path());
        fs::remove_file(model.path().join("model.safetensors.index.json")).unwrap();

        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text.as_bytes());
        fs::write(model.path().join("model.safetensors"), &file).unwrap();
        refused(&what("header"), model.path());
        fs::write(model.path().join("model.safetensors"), &weights).unwrap();
    }
    // A header at its limit: as many tensors as fit, which is no error until the model's own are missing.
    let mut header = String::from("{");
    while header.len() < (2 << 20) - 100 {
        header += &format!("\"{}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}},", header.len());
    }
    header.pop();
    header.push('}');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    fs::write(model.path().join("model.safetensors"), &file).unwrap();
    assert!(refused("many tensors", model.path()).contains("embed_tokens"));
    file[..8].copy_from_slice(&(u64::MAX - 7).to_le_bytes());
    fs::write(model.path().join("model.safetensors"), &file).unwrap();
    refused("a header of 2^64 bytes", model.path());
}

#[test]
fn hostile_tensors_of_safetensors() {
    let model = folder();
    let header = |entries: &str| {
        let json = format!("{{{entries}}}");
        let mut file = (json.len() as u64).to_le_bytes().to_vec();
        file.extend(json.as_bytes());
        file.resize(file.len() + 64, 0);
        fs::write(model.path().join("model.safetensors"), &file).unwrap();
        refused(entries, model.path())
    };
    let tensor = |name: &str, shape: &str, from: u64, to: u64| {
        format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{shape}],\"data_offsets\":[{from},{to}]}}")
    };
    header(&format!("{},{}", tensor("a", "8", 0, 32), tensor("b", "8", 16, 48)));
    header(&format!("{},{}", tensor("a", "8", 0, 32), tensor("a", "8", 32, 64)));
    header(&tensor("a", "8", 0, 1 << 40));
    header(&tensor("a", "16", 64, 0));
    header(&tensor("a", "4294967296,4294967296,4294967296", 0, 64));
    header(&tensor("a", "18446744073709551615", 0, 64));
    header(&tensor("a", "-16", 0, 64));
    header(&tensor("a", &vec!["1"; 100_000].join(","), 0, 64));
    // Names that are no UTF-8.
    let mut file = fs::read(model.path().join("model.safetensors")).unwrap();
    file[9] = 0xff;
    fs::write(model.path().join("model.safetensors"), &file).unwrap();
    refused("UTF-8", model.path());
}

#[test]
fn hostile_shards() {
    let model = folder();
    let path = |name: &str| model.path().join(name);
    fs::rename(path("model.safetensors"), path("shard.safetensors")).unwrap();
    let index = |shard: &str| {
        let map = json!({"weight_map": {"model.norm.weight": shard}}).to_string();
        fs::write(path("model.safetensors.index.json"), map).unwrap();
        refused(shard, model.path())
    };
    let absolute = path("shard.safetensors").display().to_string();
    for shard in ["../shard.safetensors", &absolute, "..", ".", "", "a/b", "a/../shard.safetensors"] {
        assert!(index(shard).contains("in the same folder"), "{shard}");
    }
    assert!(index("nul\0.safetensors").contains("is missing"));
    // The index as its own shard.
    index("model.safetensors.index.json");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink("b.safetensors", path("a.safetensors")).unwrap();
        symlink("a.safetensors", path("b.safetensors")).unwrap();
        assert!(index("a.safetensors").contains("is missing"));
        symlink("/dev/zero", path("zero.safetensors")).unwrap();
        assert!(index("zero.safetensors").contains("is missing"));
        symlink(".", path("folder.safetensors")).unwrap();
        assert!(index("folder.safetensors").contains("is missing"));
        // Endless files in place of small ones.
        for name in ["config.json", "model.safetensors.index.json"] {
            fs::remove_file(path(name)).unwrap();
            symlink("/dev/zero", path(name)).unwrap();
            refused(name, model.path());
            fs::remove_file(path(name)).unwrap();
            fs::write(path(name), config_json()).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn mutated_indexes_never_panic(changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let model = folder();
        let path = |name: &str| model.path().join(name);
        fs::rename(path("model.safetensors"), path("a.safetensors")).unwrap();
        let parsed = safetensors::parse(&path("a.safetensors"), &fs::read(path("a.safetensors")).unwrap());
        let names = parsed.unwrap().into_keys().map(|name| (name, json!("a.safetensors")));
        let mut index = json!({"metadata": {}, "weight_map": names.collect::<serde_json::Map<_, _>>()})
            .to_string().into_bytes();
        for (at, byte) in changes {
            let at = at % index.len();
            index[at] = byte;
        }
        fs::write(path("model.safetensors.index.json"), index).unwrap();
        let _ = Checkpoint::open(model.path());
    }
}

/// A GGUF header by hand.
struct Raw(Vec<u8>);

impl Raw {
    fn new(tensors: u64, entries: u64) -> Self {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        Self(bytes).entries(entries.min(1))
    }

    /// The architecture, without which nothing else is looked at.
    fn entries(mut self, count: u64) -> Self {
        if count > 0 {
            self.string(b"general.architecture");
            self.0.extend(8u32.to_le_bytes());
            self.string(b"llama");
        }
        self
    }

    fn string(&mut self, text: &[u8]) {
        self.0.extend((text.len() as u64).to_le_bytes());
        self.0.extend(text);
    }

    fn array(mut self, key: &str, element: u32, len: u64, data: &[u8]) -> Self {
        self.string(key.as_bytes());
        self.0.extend(9u32.to_le_bytes());
        self.0.extend(element.to_le_bytes());
        self.0.extend(len.to_le_bytes());
        self.0.extend(data);
        self
    }

    fn tensor(mut self, name: &[u8], sizes: &[u64], type_id: u32, offset: u64) -> Self {
        self.string(name);
        self.0.extend((sizes.len() as u32).to_le_bytes());
        for size in sizes {
            self.0.extend(size.to_le_bytes());
        }
        self.0.extend(type_id.to_le_bytes());
        self.0.extend(offset.to_le_bytes());
        self
    }
}

#[test]
fn hostile_gguf() {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("model.gguf");
    let check = |what: &str, raw: Raw| {
        let mut bytes = raw.0;
        bytes.resize(bytes.len().next_multiple_of(32) + 256, 0);
        fs::write(&path, &bytes).unwrap();
        refused(what, &path)
    };
    for count in [1 << 17, 1 << 32, 1 << 60, u64::MAX] {
        check("tensors", Raw::new(count, 0));
        check("entries", Raw::new(0, count));
    }
    let empty_strings = vec![0; 8 << 21];
    let strings =
        |raw: Raw, len| raw.array("tokenizer.ggml.tokens", 8, len, &empty_strings[..8 * len as usize]);
    check("as many strings as are read", strings(Raw::new(0, 2), 1 << 21));
    let half =
        strings(Raw::new(0, 3), 1 << 20).array("more", 8, (1 << 20) + 1, &empty_strings[..(8 << 20) + 8]);
    assert!(check("one more", half).contains("strings"));
    check("an array of 2^62 numbers", Raw::new(0, 2).array("a", 4, 1 << 62, &[]));
    check("an array of 2^64 strings", Raw::new(0, 2).array("a", 8, u64::MAX, &[]));
    check("arrays in arrays", Raw::new(0, 2).array("a", 9, 1, &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]));
    // As many items as are read, in a file that has them all.
    let many =
        (0u32..1 << 16).fold(Raw::new(1 << 16, 1), |raw, i| raw.tensor(&i.to_le_bytes()[..0], &[1], 0, 0));
    assert!(check("one name for all", many).contains("occurs twice"));
    let many = (0u32..1 << 16)
        .fold(Raw::new(1 << 16, 1), |raw, i| raw.tensor(format!("{i}").as_bytes(), &[1, 1, 1, 1], 999, 0));
    check("many tensors", many);
    let many =
        (0u32..(1 << 16) - 1).fold(Raw::new(0, 1 << 16), |raw, i| raw.array(&format!("{i}"), 0, 0, &[]));
    check("many entries", many);

    let one = |sizes: &[u64], type_id, offset| Raw::new(1, 1).tensor(b"t", sizes, type_id, offset);
    for (what, raw) in [
        ("beyond the file", one(&[64], 0, 1 << 40)),
        ("at the end of the address space", one(&[64], 0, u64::MAX - 31)),
        ("overflowing", one(&[1 << 32, 1 << 31], 0, 0)),
        ("overflowing to zero", one(&[1 << 32, 1 << 32], 0, 0)),
        ("no elements", one(&[0, 5], 0, 0)),
        ("many dimensions", one(&[1; 1000], 0, 0)),
        ("misaligned", one(&[8], 0, 4)),
        ("half a block", one(&[100], 35, 0)),
        ("name", Raw::new(1, 1).tensor(&[0xff, 0xfe], &[8], 0, 0)),
        ("overlap", Raw::new(2, 1).tensor(b"a", &[16], 0, 0).tensor(b"b", &[16], 0, 32)),
        ("twice", Raw::new(2, 1).tensor(b"a", &[8], 0, 0).tensor(b"a", &[8], 0, 32)),
    ] {
        check(what, raw);
    }
}

/// Metadata that is well-formed and asks for absurd models.
#[test]
fn hostile_shapes_in_gguf() {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("model.gguf");
    let config = ModelConfig::from_json("config.json".as_ref(), config_json().as_bytes()).unwrap();
    let description = metadata::Description {
        name: "hostile",
        linears: TensorType::F16,
        tokenizer: Vec::new(),
        provenance: Vec::new(),
    };
    let ours = metadata::to_gguf(&config, description);
    for key in [
        "block_count",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "vocab_size",
        "attention.head_count_kv",
        "attention.key_length",
        "context_length",
        "rope.dimension_count",
    ] {
        for value in [Value::U32(0), Value::U32(u32::MAX), Value::U64(u64::MAX), Value::I64(-1)] {
            let mut entries = ours.clone();
            entries.iter_mut().find(|(k, _)| k.ends_with(key)).unwrap().1 = value;
            let tensor = TensorInfo { name: "t".into(), dtype: TensorType::F32, shape: vec![8] };
            let plan = GgufPlan::new(&entries, vec![tensor]).unwrap();
            let mut file = fs::File::create(&path).unwrap();
            plan.write_header(&mut file).unwrap();
            let mut writer = GgufDataWriter::new(&plan, file);
            writer.write_tensor("t", &[0; 32]).unwrap();
            writer.finish().unwrap();
            refused(key, &path);
        }
    }
}

#[test]
fn pickles_are_refused_with_the_command_that_converts_them() {
    let model = folder();
    fs::remove_file(model.path().join("model.safetensors")).unwrap();
    let pickle = model.path().join("pytorch_model.bin");
    fs::write(&pickle, b"PK\x03\x04 and so on").unwrap();
    for path in [model.path(), &pickle] {
        let error = Checkpoint::open(path).unwrap_err();
        assert!(matches!(error, Error::Pickle { .. }));
        let text = error.to_string();
        let ends = format!("{} {}", pickle.display(), model.path().join("model.safetensors").display());
        assert!(text.contains("weights_only=True") && text.ends_with(&ends), "{text}");
    }
    let file = model.path().join("consolidated.00.pth");
    fs::rename(&pickle, &file).unwrap();
    assert!(matches!(Checkpoint::open(&file), Err(Error::Pickle { .. })));
    assert!(matches!(Checkpoint::open(model.path()), Err(Error::Pickle { .. })));
    // The content tells, not the name.
    fs::write(&file, b"GGUF and so on").unwrap();
    assert!(matches!(Checkpoint::open(&file), Err(Error::NotACheckpoint { .. })));
    assert!(matches!(Checkpoint::open(model.path()), Err(Error::NoWeights { .. })));
}

#[test]
fn files_of_other_programs_parse() {
    let file = "corpora-malformed/safetensors/modelaudit-safe_model.safetensors";
    let Some(file) = data(file) else { return };
    assert!(!safetensors::parse(&file, &fs::read(&file).unwrap()).unwrap().is_empty());

    // Vocabularies of llama.cpp: hundreds of thousands of strings, no tensors.
    let Some(folder) = data("tokenizers/llama.cpp") else { return };
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    files.retain(|file| file.extension().is_some_and(|e| e == "gguf"));
    assert!(!files.is_empty());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let parsed = gguf::Gguf::parse(&file, &bytes).unwrap();
        let tokens = parsed.get("tokenizer.ggml.tokens").and_then(|v| v.as_array()).expect("a vocabulary");
        assert_eq!(tokens.iter().filter(|v| v.as_str().is_some()).count() as u64, tokens.len());
    }
}

#[test]
fn the_first_version_of_gguf_is_read() {
    let Some(file) = data("models/stories260K/tinyllamas-stories-260k-f32.gguf") else { return };
    let checkpoint = Checkpoint::open(&file).unwrap();
    assert_eq!((checkpoint.config().layers, checkpoint.config().vocab_size), (5, 512));
    let ids = checkpoint.tokenizer().unwrap().encode("Once upon a time", true).unwrap();
    assert_eq!(ids, [1, 403, 407, 261, 378]);
}

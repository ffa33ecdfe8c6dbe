//! Tokenizers of every kind of file against the tokenizer.json of the same model.

mod common;
#[path = "common/spm.rs"]
mod spm;

use std::path::{Path, PathBuf};

use b158_checkpoint::{
    BosToken, Checkpoint, ModelConfig, Tokenizer,
    gguf::{
        Array, Gguf, GgufPlan,
        tokenizer::{self, TokenizerText},
    },
    tokenizer_model_to_json,
};
use common::{checkpoint, copy, data, oracle};
use proptest::prelude::*;
use serde_json::Value;
use spm::Scored;

const CHECKPOINTS: [&str; 8] = [
    "b158-1bitllm-f16",
    "bitnet-2b4t-bf16",
    "bitnet-2b4t-packed-autobitlinear",
    "bitnet-2b4t-packed-bitlinear",
    "llama-gqa-bf16-sharded",
    "llama-gqa-f16",
    "tiny-b158-f16",
    "tiny-llama-f16",
];

fn load(json: &str) -> Tokenizer {
    Tokenizer::from_json(Path::new("t"), json, BosToken::default(), 1 << 20).unwrap()
}

fn read(file: &str) -> Option<String> {
    data(file).map(|file| std::fs::read_to_string(file).unwrap())
}

/// Texts of llama.cpp's tests, of books and of stories, with special tokens in some.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> =
        ["", " ", "<s>", "</s> x <unk>y", "a<|eot_id|> b", "  two  ", "\t\r\n \u{0}"]
            .map(str::to_owned)
            .to_vec();
    if let Some(cases) = read("tokenizers/llama.cpp/ggml-vocab-llama-bpe.gguf.inp") {
        texts.extend(cases.split("\n__ggml_vocab_test__\n").map(str::to_owned));
    }
    for file in ["tinystories/mines-tinystories_10k.txt", "wikitext-2/wiki.test.raw"] {
        texts.extend(read(file).iter().flat_map(|text| text.lines().take(1200)).map(str::to_owned));
    }
    assert!(texts.len() > 2000 || oracle().is_none());
    texts
}

fn assert_same(name: &str, a: &Tokenizer, b: &Tokenizer) {
    for text in texts() {
        for special in [false, true] {
            let (a, b) = (a.encode(&text, special).unwrap(), b.encode(&text, special).unwrap());
            assert_eq!(a, b, "{name}: {text:?}");
        }
        let ids = a.encode(&text, true).unwrap();
        for skip in [false, true] {
            assert_eq!(a.decode(&ids, skip).unwrap(), b.decode(&ids, skip).unwrap(), "{name}: {text:?}");
        }
    }
}

#[test]
fn a_tokenizer_model_equals_the_tokenizer_json_beside_it() {
    let folders = ["b158-1bitllm-f16", "tiny-b158-f16", "tiny-llama-f16"].map(checkpoint);
    let published = data("tokenizers/bitnet_b1_58-large");
    for folder in folders.into_iter().chain([published]).flatten() {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let json = String::from_utf8(read("tokenizer.json")).unwrap();
        let file = folder.join("tokenizer.model");
        let made =
            tokenizer_model_to_json(&file, &read("tokenizer.model"), Some(&read("tokenizer_config.json")))
                .unwrap();
        assert_same(&folder.display().to_string(), &load(&json), &load(&made));
    }
}

/// LLaMA 2's model is the same without a tokenizer_config.json.
#[test]
fn a_lone_tokenizer_model_gives_the_ids_that_llama_cpp_expects() {
    let Some(file) = data("tokenizers/llama2/tokenizer.model") else { return };
    let tokenizer = load(&tokenizer_model_to_json(&file, &std::fs::read(&file).unwrap(), None).unwrap());
    let inputs = read("tokenizers/llama.cpp/ggml-vocab-llama-spm.gguf.inp").unwrap();
    let outputs = read("tokenizers/llama.cpp/ggml-vocab-llama-spm.gguf.out").unwrap();
    for (text, ids) in inputs.split("\n__ggml_vocab_test__\n").zip(outputs.lines()) {
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.encode(text, true).unwrap(), [&[1], &ids[..]].concat());
    }
}

#[test]
fn a_folder_without_tokenizer_json_uses_what_it_has() {
    let (Some(folder), Some(original)) = (copy("tiny-llama-f16"), checkpoint("tiny-llama-f16")) else {
        return;
    };
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let original = Checkpoint::open(&original).unwrap();
    let copied = Checkpoint::open(folder.path()).unwrap();
    let (a, b) = (original.tokenizer().unwrap(), copied.tokenizer().unwrap());
    assert_same("tokenizer.model", &a, &b);
    assert_eq!((a.bos(), a.bos_text()), (b.bos(), b.bos_text()));

    // GPT-2's two files; its vocabulary is larger than the model's.
    std::fs::remove_file(folder.path().join("tokenizer.model")).unwrap();
    let (Some(vocab), Some(merges)) =
        (read("tokenizers/gpt2/vocab.json"), read("tokenizers/gpt2/merges.txt"))
    else {
        return;
    };
    std::fs::write(folder.path().join("vocab.json"), vocab).unwrap();
    std::fs::write(folder.path().join("merges.txt"), merges).unwrap();
    let json = Checkpoint::open(folder.path()).unwrap().tokenizer_json().unwrap();
    let tokenizer = load(&json);
    let inputs = read("tokenizers/llama.cpp/ggml-vocab-gpt-2.gguf.inp").unwrap();
    let outputs = read("tokenizers/llama.cpp/ggml-vocab-gpt-2.gguf.out").unwrap();
    for (text, ids) in inputs.split("\n__ggml_vocab_test__\n").zip(outputs.lines()) {
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{text:?}");
    }
}

/// A file with this metadata only, read back.
fn with_gguf<T>(
    metadata: &[(String, b158_checkpoint::gguf::Value<'static>)],
    read: impl FnOnce(&Gguf) -> T,
) -> T {
    let plan = GgufPlan::new(metadata, Vec::new()).unwrap();
    let mut bytes = Vec::new();
    plan.write_header(&mut bytes).unwrap();
    read(&Gguf::parse(Path::new("t.gguf"), &bytes).unwrap())
}

/// A config for a vocabulary: that of a fixture, with another size and other ids.
fn config(vocab_size: usize, bos: Option<u32>, eos: Option<u32>) -> Option<ModelConfig> {
    let mut config = Checkpoint::open(&checkpoint("tiny-llama-f16")?).unwrap().config().clone();
    (config.vocab_size, config.bos_token, config.eos_tokens) = (vocab_size, bos, eos.into_iter().collect());
    Some(config)
}

/// tokenizer.json to `tokenizer.ggml.*` and back.
fn round_trip(
    config: &ModelConfig,
    text: TokenizerText<'_>,
    warnings: usize,
) -> (String, Vec<(String, b158_checkpoint::gguf::Value<'static>)>) {
    let mut out = tokenizer::to_gguf(Path::new("t"), config, text).unwrap();
    assert_eq!(out.warnings.len(), warnings, "{:?}", out.warnings);
    let whole = with_gguf(&out.metadata, |gguf| tokenizer::tokenizer_json(Path::new("t"), gguf).unwrap());
    assert_eq!(whole.as_deref(), text.json);
    out.metadata.retain(|(key, _)| key != "tokenizer.huggingface.json");
    let made =
        with_gguf(&out.metadata, |gguf| tokenizer::tokenizer_json(Path::new("t"), gguf).unwrap().unwrap());
    (made, out.metadata)
}

fn strings(metadata: &[(String, b158_checkpoint::gguf::Value<'static>)], key: &str) -> Vec<String> {
    array(metadata, key).iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

fn array<'m>(metadata: &'m [(String, b158_checkpoint::gguf::Value<'static>)], key: &str) -> &'m Array<'m> {
    metadata.iter().find(|(k, _)| k == key).unwrap().1.as_array().unwrap()
}

/// llama.cpp's own way through the scores of these keys.
fn scored(metadata: &[(String, b158_checkpoint::gguf::Value<'static>)]) -> Scored {
    let scores: Vec<f32> =
        array(metadata, "tokenizer.ggml.scores").iter().map(|v| v.as_f64().unwrap() as f32).collect();
    Scored::new(strings(metadata, "tokenizer.ggml.tokens").into_iter().zip(scores))
}

#[test]
fn fixtures_survive_llama_cpps_keys() {
    for name in CHECKPOINTS {
        let Some(folder) = checkpoint(name) else { return };
        let source = Checkpoint::open(&folder).unwrap();
        let json = source.tokenizer_json().unwrap();
        let text = TokenizerText { json: Some(&json), ..TokenizerText::default() };
        let (made, metadata) = round_trip(source.config(), text, 0);
        assert_same(name, &source.tokenizer().unwrap(), &load(&made));
        assert_eq!(strings(&metadata, "tokenizer.ggml.tokens").len(), source.config().vocab_size);
    }
}

#[test]
fn a_tokenizer_json_with_scores_merges_in_llama_cpp_as_by_its_list() {
    let Some(folder) = data("tokenizers/bitnet_b1_58-large") else { return };
    let json = std::fs::read_to_string(folder.join("tokenizer.json")).unwrap();
    let model = std::fs::read(folder.join("tokenizer.model")).unwrap();
    let original = load(&json);
    // The model has more rows than the tokenizer has tokens.
    let Some(config) = config(32_064, Some(1), Some(2)) else { return };
    for sentence_piece in [None, Some(&model[..])] {
        let text =
            TokenizerText { json: Some(&json), sentence_piece, pad: Some("<pad>"), chat_template: None };
        let (made, metadata) = round_trip(&config, text, 0);
        assert_same("bitnet_b1_58-large", &original, &load(&made));
        let tokens = strings(&metadata, "tokenizer.ggml.tokens");
        assert_eq!(
            (tokens.len(), tokens[32_001].as_str(), tokens[32_002].as_str()),
            (32_064, "</line>", "[PAD32002]")
        );
        let types: Vec<_> =
            array(&metadata, "tokenizer.ggml.token_type").iter().filter_map(|v| v.as_u64()).collect();
        assert_eq!(
            (types[0], types[1], types[3], types[300], types[32_001], types[32_002]),
            (2, 3, 6, 1, 3, 5)
        );
        let value = |key: &str| metadata.iter().find(|(k, _)| k == key).unwrap().1.clone();
        for (key, id) in [("bos", 1), ("eos", 2), ("unknown", 0), ("padding", 32_000)] {
            assert_eq!(value(&format!("tokenizer.ggml.{key}_token_id")).as_u64(), Some(id));
        }
        assert_eq!(value("tokenizer.ggml.add_bos_token").as_bool(), Some(true));
        assert_eq!(value("tokenizer.ggml.add_eos_token").as_bool(), Some(false));
        let scores: Vec<_> =
            array(&metadata, "tokenizer.ggml.scores").iter().filter_map(|v| v.as_f64()).collect();
        // Out of tokenizer.model, or ranks.
        assert_eq!(scores[259] == -1e9, sentence_piece.is_some());
        assert!(scores[300] < 0.0 && scores[31_999] < scores[300]);
        let scored = scored(&metadata);
        for text in texts().iter().filter(|text| !text.contains('<') || text.len() > 100) {
            assert_eq!(original.encode(text, false).unwrap(), scored.encode(text, true), "{text:?}");
        }
    }
}

#[test]
fn vocabularies_survive_a_tokenizer_json_and_llama_cpps_keys() {
    let (Some(folder), Some(inputs)) =
        (data("tokenizers/llama.cpp"), read("tokenizers/llama.cpp/ggml-vocab-gpt-2.gguf.inp"))
    else {
        return;
    };
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|e| e == "gguf")).collect();
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let gguf = Gguf::parse(&file, &bytes).unwrap();
        let json = tokenizer::tokenizer_json(&file, &gguf).unwrap().unwrap();
        let id = |key: &str| Some(gguf.get(key)?.as_u64()? as u32);
        let rows = gguf.get("tokenizer.ggml.tokens").unwrap().as_array().unwrap().len() as usize;
        let Some(config) = config(rows, id("tokenizer.ggml.bos_token_id"), id("tokenizer.ggml.eos_token_id"))
        else {
            return;
        };
        let text = TokenizerText { json: Some(&json), ..TokenizerText::default() };
        if gguf.get("tokenizer.ggml.model").unwrap().as_str() == Some("bert") {
            let out = tokenizer::to_gguf(&file, &config, text).unwrap();
            assert_eq!(out.warnings.len(), 1);
            continue;
        }
        let (made, metadata) = round_trip(&config, text, 0);
        let key = |key: &str| metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v);
        assert_eq!(key("tokenizer.ggml.model"), gguf.get("tokenizer.ggml.model"));
        // Scores by rank instead of the file's own, else the same texts, merges and kinds.
        for name in ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"] {
            let strings = |v: Option<&b158_checkpoint::gguf::Value>| {
                v.map(|v| {
                    v.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect::<Vec<_>>()
                })
            };
            assert!(strings(key(name)) == strings(gguf.get(name)), "{}: {name}", file.display());
        }
        let (a, b) = (load(&json), load(&made));
        for text in inputs
            .split("\n__ggml_vocab_test__\n")
            .map(str::to_owned)
            .chain(texts().into_iter().rev().take(300))
        {
            assert_eq!(
                a.encode(&text, true).unwrap(),
                b.encode(&text, true).unwrap(),
                "{}: {text:?}",
                file.display()
            );
        }
    }
}

#[test]
fn llama_3_survives_llama_cpps_keys() {
    let Some(file) = data("tokenizers/llama3-bitnet2b4t/tokenizer.model") else { return };
    let start = std::time::Instant::now();
    let json = tokenizer_model_to_json(&file, &std::fs::read(&file).unwrap(), None).unwrap();
    println!("ranks to tokenizer.json: {:?}, {} bytes", start.elapsed(), json.len());
    let Some(config) = config(128_256, Some(128_000), Some(128_001)) else { return };
    let start = std::time::Instant::now();
    let text = TokenizerText { json: Some(&json), ..TokenizerText::default() };
    let (made, metadata) = round_trip(&config, text, 0);
    println!("to keys and back: {:?}", start.elapsed());
    let merges = strings(&metadata, "tokenizer.ggml.merges");
    // As many as Meta's own tokenizer.json has.
    assert_eq!(merges.len(), 280_147);
    let pre = metadata.iter().find(|(key, _)| key == "tokenizer.ggml.pre").unwrap();
    assert_eq!(pre.1.as_str(), Some("llama-bpe"));
    let start = std::time::Instant::now();
    let (a, b) = (load(&json), load(&made));
    println!("two tokenizers: {:?}", start.elapsed());
    for text in texts().into_iter().take(1500) {
        assert_eq!(a.encode(&text, true).unwrap(), b.encode(&text, true).unwrap(), "{text:?}");
    }
}

/// What llama.cpp does otherwise is said.
#[test]
fn differences_are_named() {
    let Some(folder) = checkpoint("llama-gqa-f16") else { return };
    let source = Checkpoint::open(&folder).unwrap();
    let json: Value = serde_json::from_str(&source.tokenizer_json().unwrap()).unwrap();
    let warnings = |change: fn(&mut Value)| {
        let mut json = json.clone();
        change(&mut json);
        let json = json.to_string();
        let text = TokenizerText { json: Some(&json), ..TokenizerText::default() };
        tokenizer::to_gguf(Path::new("t"), source.config(), text).unwrap().warnings.join("; ")
    };
    assert_eq!(warnings(|_| ()), "");
    let unknown =
        warnings(|json| json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "[a-z]+".into());
    assert!(unknown.contains("`tokenizer.ggml.pre` is `default`"), "{unknown}");
    let other = warnings(|json| json["model"]["ignore_merges"] = false.into());
    assert_eq!(other, "", "llama.cpp has a name for either");
    let strip = warnings(|json| json["added_tokens"][0]["lstrip"] = true.into());
    assert!(strip.contains("blanks beside added tokens"), "{strip}");
    let framing = warnings(|json| {
        let single = &mut json["post_processor"]["processors"][1]["single"];
        let first = single[0].clone();
        single.as_array_mut().unwrap().insert(0, first);
    });
    assert!(framing.contains("other tokens around a text"), "{framing}");
    let unigram =
        warnings(|json| json["model"] = serde_json::json!({"type": "Unigram", "vocab": [["a", 0.0]]}));
    assert!(unigram.contains("no tokenizer"), "{unigram}");

    // Scores cannot say that a token is made of one pair only.
    let source = Checkpoint::open(&checkpoint("tiny-llama-f16").unwrap()).unwrap();
    let mut json: Value = serde_json::from_str(&source.tokenizer_json().unwrap()).unwrap();
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    let made = |merge: &Value| format!("{}{}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap());
    let twice = merges.iter().position(|a| merges.iter().filter(|b| made(a) == made(b)).count() > 1);
    merges.remove(twice.unwrap());
    let json = json.to_string();
    let text = TokenizerText { json: Some(&json), ..TokenizerText::default() };
    let warnings = tokenizer::to_gguf(Path::new("t"), source.config(), text).unwrap().warnings;
    assert!(warnings[0].contains("do not follow from one score"), "{warnings:?}");
}

#[test]
fn merges_of_no_tokens_are_an_error() {
    let Some(folder) = checkpoint("tiny-llama-f16") else { return };
    let source = Checkpoint::open(&folder).unwrap();
    let mut json: Value = serde_json::from_str(&source.tokenizer_json().unwrap()).unwrap();
    json["model"]["merges"].as_array_mut().unwrap().push(serde_json::json!(["x", "absent"]));
    let json = json.to_string();
    let text = TokenizerText { json: Some(&json), ..TokenizerText::default() };
    let error = tokenizer::to_gguf(Path::new("t"), source.config(), text).unwrap_err().to_string();
    assert!(error.contains("the merge of `x` and `absent`"), "{error}");
}

/// Files of others: `tokenizer.ggml.*` only, or a tokenizer.model only.
#[test]
fn small_real_models_tokenize_their_reference_texts() {
    let (Some(stories), Some(reference)) =
        (read("models/derived/golden-20-stories.json"), read("models/derived/golden-reference.json"))
    else {
        return;
    };
    let stories: Vec<String> = serde_json::from_str(&stories).unwrap();
    let reference: Value = serde_json::from_str(&reference).unwrap();
    for (file, name) in [
        ("bitllama2c-3M.tq2_0.gguf", "bitllama2c-3M"),
        ("bitllama2c-3M.tq1_0.gguf", "bitllama2c-3M"),
        ("bitllama2c-3M.f16.gguf", "bitllama2c-3M"),
        ("stories260K-hf-f32", "stories260K"),
        ("stories260K-hf-f16", "stories260K"),
    ] {
        let checkpoint = Checkpoint::open(&data(&format!("models/derived/{file}")).unwrap()).unwrap();
        let tokenizer = checkpoint.tokenizer().unwrap();
        let reference = &reference[name];
        let greedy: Vec<u32> = serde_json::from_value(reference["greedy_ids_from_bos"].clone()).unwrap();
        let text = reference["greedy_text"].as_str().unwrap();
        assert_eq!(tokenizer.decode(&greedy, true).unwrap(), text, "{file}");
        assert_eq!(tokenizer.bos(), Some(1));
        let again = tokenizer.encode(text, true).unwrap();
        assert_eq!(tokenizer.decode(&again, true).unwrap(), text, "{file}");
        // The recorded score is over the first 256 tokens of every story, all but the first predicted.
        let scored = stories.iter().map(|story| tokenizer.encode(story, true).unwrap().len().min(256) - 1);
        assert_eq!(scored.sum::<usize>() as u64, reference["tokens_scored"].as_u64().unwrap(), "{file}");
    }
}

#[test]
fn text_files_make_a_folder() {
    for name in ["tiny-llama-f16", "llama-gqa-f16"] {
        let Some(folder) = checkpoint(name) else { return };
        let source = Checkpoint::open(&folder).unwrap();
        let files = source.text_files().unwrap();
        for (name, bytes) in &files {
            assert!(*bytes == std::fs::read(folder.join(name)).unwrap(), "{name}");
        }
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        for name in
            ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]
        {
            assert!(names.contains(&name), "{name}");
        }
    }
    // Out of llama.cpp's keys.
    let Some(file) = data("models/derived/bitllama2c-3M.tq2_0.gguf") else { return };
    let files = Checkpoint::open(&file).unwrap().text_files().unwrap();
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["tokenizer_config.json", "tokenizer.json"]);
    let config: Value = serde_json::from_slice(&files[0].1).unwrap();
    assert_eq!(
        (&config["bos_token"], &config["eos_token"], &config["unk_token"]),
        (&"<s>".into(), &"</s>".into(), &"<unk>".into())
    );
    assert_eq!(config["chat_template"], Value::Null);
    assert_eq!(load(std::str::from_utf8(&files[1].1).unwrap()).vocab_size(), 512);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_survives_llama_cpps_keys(text in prop_oneof!["\\PC{0,60}", "[ a-z\n\t'0-9.]{0,60}"]) {
        static PAIRS: std::sync::OnceLock<Vec<[Tokenizer; 2]>> = std::sync::OnceLock::new();
        let pairs = PAIRS.get_or_init(|| {
            let pair = |name: &str| {
                let source = Checkpoint::open(&checkpoint(name)?).unwrap();
                let json = source.tokenizer_json().unwrap();
                let text = TokenizerText { json: Some(&json), ..TokenizerText::default() };
                Some([load(&json), load(&round_trip(source.config(), text, 0).0)])
            };
            ["llama-gqa-f16", "tiny-llama-f16"].into_iter().filter_map(pair).collect()
        });
        for [a, b] in pairs {
            let ids = a.encode(&text, true).unwrap();
            prop_assert_eq!(&ids, &b.encode(&text, true).unwrap());
            prop_assert_eq!(a.decode(&ids, true).unwrap(), b.decode(&ids, true).unwrap());
        }
    }
}

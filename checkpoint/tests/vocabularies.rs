//! llama.cpp's vocabularies: the ids that its own tests expect, and those of an implementation of
//! its scores.

mod common;
#[path = "common/spm.rs"]
mod spm;

use std::path::{Path, PathBuf};

use b158_checkpoint::{
    BosToken, Tokenizer,
    gguf::{Gguf, tokenizer},
    tokenizer_model_to_json,
};
use common::data;
use proptest::prelude::*;
use spm::Scored;

/// The vocabularies whose expectations are there too.
const PAIRED: [&str; 10] = [
    "bert-bge",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gpt-2",
    "llama-spm",
    "mpt",
    "phi-3",
    "refact",
    "starcoder",
];
/// Those without.
const UNPAIRED: [&str; 2] = ["baichuan", "gpt-neox"];

fn vocabulary(name: &str) -> Option<PathBuf> {
    data(&format!("tokenizers/llama.cpp/ggml-vocab-{name}.gguf"))
}

fn load(file: &Path, json: &str) -> Tokenizer {
    Tokenizer::from_json(file, json, BosToken::default(), 1 << 20).unwrap()
}

fn from_gguf(name: &str) -> Option<Tokenizer> {
    let file = vocabulary(name)?;
    let bytes = std::fs::read(&file).unwrap();
    let json = tokenizer::tokenizer_json(&file, &Gguf::parse(&file, &bytes).unwrap()).unwrap().unwrap();
    Some(load(&file, &json))
}

/// Texts of llama.cpp's tests.
fn inputs() -> Option<Vec<String>> {
    let file = data("tokenizers/llama.cpp/ggml-vocab-llama-bpe.gguf.inp")?;
    let text = std::fs::read_to_string(file).unwrap();
    Some(text.split("\n__ggml_vocab_test__\n").map(str::to_owned).collect())
}

fn check_expectations(name: &str, tokenizer: &Tokenizer) {
    let Some(inputs) = inputs() else { return };
    let file = data(&format!("tokenizers/llama.cpp/ggml-vocab-{name}.gguf.out")).unwrap();
    let outputs = std::fs::read_to_string(file).unwrap();
    assert!(inputs.len() > 40);
    for (text, ids) in inputs.iter().zip(outputs.lines()) {
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{name}: {text:?}");
    }
}

#[test]
fn ids_equal_those_that_llama_cpp_expects() {
    for name in PAIRED {
        let Some(tokenizer) = from_gguf(name) else { return };
        check_expectations(name, &tokenizer);
    }
}

#[test]
fn other_vocabularies_load() {
    for name in UNPAIRED {
        let Some(tokenizer) = from_gguf(name) else { return };
        assert!(!tokenizer.encode("Hello world", false).unwrap().is_empty());
    }
}

#[test]
fn ranks_of_llama_3_give_the_ids_that_llama_cpp_expects() {
    let Some(file) = data("tokenizers/llama3-bitnet2b4t/tokenizer.model") else { return };
    let model = std::fs::read(&file).unwrap();
    let config = data("tokenizers/Llama3-8B-1.58-100B-tokens/tokenizer_config.json").unwrap();
    for config in [None, Some(std::fs::read(config).unwrap())] {
        let json = tokenizer_model_to_json(&file, &model, config.as_deref()).unwrap();
        let tokenizer = load(&file, &json);
        check_expectations("llama-bpe", &tokenizer);
        assert_eq!(tokenizer.vocab_size(), 128_256);
        assert_eq!(tokenizer.encode("a<|eot_id|>", true).unwrap(), [128_000, 64, 128_009]);
        assert_eq!(tokenizer.token_to_id("<|reserved_special_token_5|>"), Some(128_010));
    }
}

/// The scores of a vocabulary, for the plain implementation.
fn scored(name: &str) -> Option<Scored> {
    let file = vocabulary(name)?;
    let bytes = std::fs::read(&file).unwrap();
    let gguf = Gguf::parse(&file, &bytes).unwrap();
    let array = |key: &str| gguf.get(key).unwrap().as_array().unwrap();
    let texts: Vec<_> =
        array("tokenizer.ggml.tokens").iter().map(|v| v.as_str().unwrap().to_owned()).collect();
    let scores: Vec<_> = array("tokenizer.ggml.scores").iter().map(|v| v.as_f64().unwrap() as f32).collect();
    Some(Scored::new(texts.into_iter().zip(scores)))
}

/// Long texts, without special tokens: a megabyte of stories, an encyclopedia.
fn long_texts() -> Vec<String> {
    let files = ["tinystories/mines-tinystories_10k.txt", "wikitext-2/wiki.valid.raw"];
    let read = |file: PathBuf| std::fs::read_to_string(file).unwrap().replace("<|endoftext|>", "");
    files.iter().filter_map(|name| data(name)).map(read).collect()
}

#[test]
fn merges_out_of_scores_do_what_the_scores_say() {
    for name in ["llama-spm", "phi-3", "baichuan"] {
        let (Some(tokenizer), Some(scored)) = (from_gguf(name), scored(name)) else { return };
        // In paragraphs and, to see that length does not matter, some as a whole.
        for text in long_texts() {
            let whole: String = text.chars().take(20_000).collect();
            for text in text.lines().take(3000).chain([whole.as_str()]) {
                assert_eq!(
                    tokenizer.encode(text, false).unwrap(),
                    scored.encode(text, true),
                    "{name}: {text:?}"
                );
            }
        }
        for blanks in 0..100 {
            for text in
                [" ".repeat(blanks), format!("a{}b", " ".repeat(blanks)), format!("\n{}", " ".repeat(blanks))]
            {
                assert_eq!(
                    tokenizer.encode(&text, false).unwrap(),
                    scored.encode(&text, true),
                    "{name}: {text:?}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn merges_out_of_scores_do_what_the_scores_say_of_any_text(
        text in prop_oneof!["\\PC{0,60}", "[ a-eo\u{e9}\u{4f60}\n\t=*-]{0,80}", "( |the|er|in|\\.|==|--){0,40}"],
    ) {
        static VOCABULARY: std::sync::OnceLock<Option<(Tokenizer, Scored)>> = std::sync::OnceLock::new();
        let loaded = VOCABULARY.get_or_init(|| Some((from_gguf("llama-spm")?, scored("llama-spm")?)));
        let Some((tokenizer, scored)) = loaded else { return Ok(()) };
        prop_assume!(!["<unk>", "<s>", "</s>"].iter().any(|token| text.contains(token)));
        prop_assert_eq!(tokenizer.encode(&text, false).unwrap(), scored.encode(&text, true));
    }
}

//! The tokenizers of the fixtures against the ids and texts that transformers gave.

mod common;

use std::path::Path;

use b158_checkpoint::{BosToken, Checkpoint, Error, Tokenizer};
use common::{checkpoint, data, oracle};
use proptest::prelude::*;
use serde_json::Value;

const BYTE_LEVEL: &str = "llama-gqa-f16";
const SENTENCE_PIECE: &str = "tiny-b158-f16";

fn tokenizer(name: &str) -> Option<Tokenizer> {
    checkpoint(name).map(|folder| Checkpoint::open(&folder).unwrap().tokenizer().unwrap())
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn ids_and_texts_equal_transformers() {
    for name in [BYTE_LEVEL, SENTENCE_PIECE, "bitnet-2b4t-bf16", "tiny-llama-f16"] {
        let (Some(tokenizer), Some(oracle)) = (tokenizer(name), oracle()) else { return };
        let golden = std::fs::read(oracle.join(format!("golden/{name}.f32.json"))).unwrap();
        let golden: Value = serde_json::from_slice(&golden).unwrap();
        for prompt in golden["prompts"].as_array().unwrap() {
            let text = prompt["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, true).unwrap(), ids(&prompt["ids"]), "{name}: {text}");
            let greedy = ids(&prompt["greedy_ids"]);
            assert_eq!(tokenizer.decode(&greedy, false).unwrap(), prompt["greedy_text"].as_str().unwrap());
        }
    }
}

/// The tokenizer of 1bitLLM's models is LLaMA's: the ids that llama.cpp expects of it.
#[test]
fn ids_equal_llama_cpp() {
    let Some(file) = data("tokenizers/bitnet_b1_58-large/tokenizer.json") else { return };
    let json = std::fs::read_to_string(&file).unwrap();
    let tokenizer = Tokenizer::from_json(&file, &json, BosToken::default(), 32_002).unwrap();
    let Some(inputs) = data("tokenizers/llama.cpp/ggml-vocab-llama-spm.gguf.inp") else { return };
    let outputs = std::fs::read_to_string(inputs.with_extension("out")).unwrap();
    let inputs = std::fs::read_to_string(inputs).unwrap();
    let inputs: Vec<_> = inputs.split("\n__ggml_vocab_test__\n").collect();
    assert!(inputs.len() > 40);
    for (text, ids) in inputs.iter().zip(outputs.lines()) {
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{text:?}");
    }
}

#[test]
fn special_tokens() {
    let Some(tokenizer) = tokenizer(BYTE_LEVEL) else { return };
    assert_eq!((tokenizer.bos(), tokenizer.bos_text()), (Some(508), Some("<|begin_of_text|>")));
    assert_eq!(tokenizer.vocab_size(), 512);
    assert_eq!(tokenizer.token_to_id("<|eot_id|>"), Some(510));
    assert_eq!(tokenizer.id_to_token(510).as_deref(), Some("<|eot_id|>"));
    let with = tokenizer.encode("a", true).unwrap();
    let without = tokenizer.encode("a", false).unwrap();
    assert_eq!(with, [&[508], &without[..]].concat());
    assert_eq!(tokenizer.decode(&with, true).unwrap(), "a");
    assert_eq!(tokenizer.decode(&with, false).unwrap(), "<|begin_of_text|>a");
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let Some(folder) = checkpoint(SENTENCE_PIECE) else { return };
    let json = Checkpoint::open(&folder).unwrap().tokenizer_json().unwrap();
    let file = Path::new("tokenizer.json");
    let error = Tokenizer::from_json(file, &json, BosToken::default(), 511).unwrap_err();
    assert!(matches!(error, Error::VocabularyTooLarge { largest: 511, vocab_size: 511, .. }));
    // A bos that is known by its id only.
    let tokenizer = Tokenizer::from_json(file, &json, BosToken { text: None, id: Some(2) }, 600).unwrap();
    assert_eq!(tokenizer.bos_text(), Some("</s>"));
}

#[test]
fn truncation_and_padding_are_switched_off() {
    let Some(folder) = checkpoint(SENTENCE_PIECE) else { return };
    let mut json: Value =
        serde_json::from_str(&Checkpoint::open(&folder).unwrap().tokenizer_json().unwrap()).unwrap();
    json["truncation"] =
        serde_json::json!({"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    json["padding"] = serde_json::json!({
        "strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "<unk>"
    });
    let tokenizer =
        Tokenizer::from_json(Path::new("t"), &json.to_string(), BosToken::default(), 512).unwrap();
    let ids = tokenizer.encode("The keeper of the lighthouse", true).unwrap();
    assert_eq!(ids.len(), 13);
}

#[test]
fn a_tokenizer_that_contradicts_itself_is_an_error() {
    let Some(folder) = checkpoint(BYTE_LEVEL) else { return };
    let json = Checkpoint::open(&folder).unwrap().tokenizer_json().unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let refused = |change: fn(&mut Value)| {
        let mut json = json.clone();
        change(&mut json);
        Tokenizer::from_json(Path::new("t"), &json.to_string(), BosToken::default(), 512).unwrap_err()
    };
    // A prefix that is longer than the tokens it should be cut from.
    let error = refused(|json| json["model"]["continuing_subword_prefix"] = "a long prefix".into());
    assert!(matches!(error, Error::Tokenizer { .. }), "{error}");
    // Ids around the text that the model has no embedding for.
    let error = refused(|json| {
        json["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"x": {"id": "x", "ids": [700], "tokens": ["x"]}}
        });
    });
    assert!(matches!(error, Error::VocabularyTooLarge { largest: 700, .. }), "{error}");
}

/// What a stream shows in all.
fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.decode_stream(false);
    let mut text: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    text += &stream.finish().unwrap();
    text
}

#[test]
fn a_stream_shows_no_half_characters() {
    for name in [BYTE_LEVEL, SENTENCE_PIECE] {
        let Some(tokenizer) = tokenizer(name) else { return };
        let text = "na\u{ef}ve caf\u{e9} \u{1f600} \u{4f60}\u{597d}, two  blanks";
        let ids = tokenizer.encode(text, false).unwrap();
        let mut stream = tokenizer.decode_stream(false);
        for &id in &ids {
            assert!(!stream.push(id).unwrap().contains(char::REPLACEMENT_CHARACTER));
        }
        assert_eq!(stream.finish().unwrap(), "");
        assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids, false).unwrap());
        // Cut inside the emoji: what is left is shown at the end.
        let cut = tokenizer.encode("\u{1f600}", false).unwrap();
        let text = streamed(&tokenizer, &cut[..cut.len() - 1]);
        assert!(text.ends_with(char::REPLACEMENT_CHARACTER), "{text:?}");
    }
}

#[test]
fn the_tokenizer_is_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Tokenizer>();
    shared::<b158_checkpoint::Tensor>();
    shared::<Checkpoint>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_stream_shows_what_decoding_at_once_does(text in "\\PC{0,40}") {
        for name in [BYTE_LEVEL, SENTENCE_PIECE] {
            let Some(tokenizer) = tokenizer(name) else { return Ok(()) };
            let ids = tokenizer.encode(&text, false).unwrap();
            prop_assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids, false).unwrap());
        }
    }

    #[test]
    fn any_ids_decode(ids in prop::collection::vec(0u32..600, 0..30)) {
        for name in [BYTE_LEVEL, SENTENCE_PIECE] {
            let Some(tokenizer) = tokenizer(name) else { return Ok(()) };
            prop_assert!(tokenizer.decode(&ids, true).is_ok());
            streamed(&tokenizer, &ids);
        }
    }
}

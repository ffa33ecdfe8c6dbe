//! Damaged tokenizers end in error values, soon.

mod common;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use b158_checkpoint::{
    BosToken, Error, Tokenizer,
    gguf::{Array, Gguf, GgufPlan, Value, tokenizer},
    tokenizer_model_to_json,
};
use common::{checkpoint, data};
use proptest::prelude::*;

const FILE: &str = "t";

/// The tokenizer of these keys.
fn from_keys(entries: Vec<(&str, Value<'static>)>) -> Result<Tokenizer, Error> {
    let metadata: Vec<_> =
        entries.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
    let plan = GgufPlan::new(&metadata, Vec::new()).unwrap();
    let mut bytes = Vec::new();
    plan.write_header(&mut bytes).unwrap();
    let gguf = Gguf::parse(Path::new(FILE), &bytes)?;
    let json = tokenizer::tokenizer_json(Path::new(FILE), &gguf)?.expect("a tokenizer");
    Tokenizer::from_json(Path::new(FILE), &json, BosToken::default(), 1 << 20)
}

fn strings(texts: &[&str]) -> Value<'static> {
    Value::Array(Array::from_strings(texts.iter().copied()))
}

fn scores(scores: &[f32]) -> Value<'static> {
    Value::Array(Array::from_f32s(scores))
}

#[test]
fn keys_that_contradict_each_other() {
    let message = |entries| from_keys(entries).unwrap_err().to_string();
    let llama = |tokens: &[&str], numbers: &[f32]| {
        vec![("model", Value::from("llama")), ("tokens", strings(tokens)), ("scores", scores(numbers))]
    };
    assert!(from_keys(llama(&["<unk>", "a"], &[0.0, 0.0])).is_ok());
    let twice = message(llama(&["<unk>", "a", "a"], &[0.0; 3]));
    assert!(twice.contains("the token `a` has two ids, 1 and 2"), "{twice}");
    let few = message(llama(&["<unk>", "a"], &[0.0]));
    assert!(few.contains("`tokenizer.ggml.scores` is not a number for every token"), "{few}");
    let nan = message(llama(&["<unk>", "a"], &[0.0, f32::NAN]));
    assert!(nan.contains("is not a number"), "{nan}");
    assert!(from_keys(llama(&["<unk>", "a", "aa"], &[f32::INFINITY, -f32::INFINITY, f32::MAX])).is_ok());
    let absent = message(vec![("model", "llama".into())]);
    assert!(absent.contains("the key `tokenizer.ggml.tokens` is missing"), "{absent}");
    let kind = message(vec![("model", "rwkv".into())]);
    assert!(kind.contains("the tokenizer model `rwkv`"), "{kind}");

    let gpt2 = |pre: &str, merges: &[&str]| {
        vec![
            ("model", Value::from("gpt2")),
            ("pre", pre.into()),
            ("tokens", strings(&["a", "b", "ab"])),
            ("merges", strings(merges)),
        ]
    };
    assert!(from_keys(gpt2("gpt-2", &["a b"])).is_ok());
    let pre = message(gpt2("unheard-of", &[]));
    assert!(pre.contains("the pre-tokenizer `unheard-of`"), "{pre}");
    let merge = message(gpt2("gpt-2", &["ab"]));
    assert!(merge.contains("the merge `ab` is not two tokens"), "{merge}");
    assert!(matches!(from_keys(gpt2("gpt-2", &["a c"])), Err(Error::Tokenizer { .. })));
    assert!(from_keys(gpt2("gpt-2", &["a b", "a b", "a b"])).is_ok());
    let mut typed = gpt2("gpt-2", &[]);
    typed[2].1 = Value::U32(3);
    let tokens = message(typed);
    assert!(tokens.contains("`tokenizer.ggml.tokens` is of type U32"), "{tokens}");
}

#[test]
fn tokens_that_nest_without_end_are_refused_soon() {
    let texts: Vec<String> = (0..3000).map(|n| "a".repeat(n)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let start = Instant::now();
    let error = from_keys(vec![
        ("model", "llama".into()),
        ("tokens", strings(&texts)),
        ("scores", scores(&vec![0.0; texts.len()])),
    ]);
    assert!(error.unwrap_err().to_string().contains("contain each other too often"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn models_of_other_kinds_are_named() {
    // A trainer_spec of type unigram, after one piece.
    let unigram = [b"\x0a\x03\x0a\x01a".as_slice(), b"\x12\x02\x18\x01"].concat();
    let error = tokenizer_model_to_json(Path::new(FILE), &unigram, None).unwrap_err().to_string();
    assert!(error.contains("a SentencePiece model of type unigram"), "{error}");
    for bytes in [&b""[..], b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"PK\x03\x04", &[0xff; 40]] {
        assert!(tokenizer_model_to_json(Path::new(FILE), bytes, None).is_err(), "{bytes:?}");
    }
    let ranks = tokenizer_model_to_json(Path::new(FILE), b"IQ== 0\nIg== 1\n", None).unwrap_err().to_string();
    assert!(ranks.contains("a file of 2 ranks, which is not Llama 3's"), "{ranks}");
}

/// What is tried of a damaged file; errors are fine.
fn try_all(bytes: &[u8]) {
    const CONFIG: &[u8] =
        br#"{"added_tokens_decoder": {"600": {"content": "<|begin_of_text|>", "special": true}}}"#;
    let file = Path::new(FILE);
    let from_gguf =
        Gguf::parse(file, bytes).and_then(|gguf| tokenizer::tokenizer_json(file, &gguf)).ok().flatten();
    let models = [None, Some(CONFIG)].map(|config| tokenizer_model_to_json(file, bytes, config).ok());
    for json in models.into_iter().chain([from_gguf]).flatten() {
        if let Ok(tokenizer) = Tokenizer::from_json(file, &json, BosToken::default(), 1 << 20) {
            let _ = tokenizer.encode("Some text, \u{1f600} <s> \u{0}", true);
        }
    }
}

/// Whole files: a GGUF header, a SentencePiece model, ranks.
fn whole_files() -> Option<Vec<Vec<u8>>> {
    let source = b158_checkpoint::Checkpoint::open(&checkpoint("tiny-llama-f16")?).unwrap();
    let mut metadata = source.tokenizer_metadata().unwrap().metadata;
    metadata.retain(|(key, _)| key != "tokenizer.huggingface.json");
    let mut header = Vec::new();
    GgufPlan::new(&metadata, Vec::new()).unwrap().write_header(&mut header).unwrap();
    let model = std::fs::read(checkpoint("tiny-llama-f16")?.join("tokenizer.model")).unwrap();
    let ranks = std::fs::read(data("tokenizers/llama3-bitnet2b4t/tokenizer.model")?).unwrap();
    Some(vec![header, model, ranks[..4000].to_vec()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn damage_never_panics(
        which in 0..3usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        static FILES: std::sync::OnceLock<Option<Vec<Vec<u8>>>> = std::sync::OnceLock::new();
        let Some(files) = FILES.get_or_init(whole_files) else { return Ok(()) };
        let mut bytes = files[which].clone();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        try_all(&bytes);
    }
}

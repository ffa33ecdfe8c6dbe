//! Optional files of a Hugging Face folder.

mod common;

use std::fs;

use b158_checkpoint::{Checkpoint, Error};
use common::copy;

#[test]
fn chat_templates_and_bos() {
    let Some(folder) = copy("llama-gqa-f16") else { return };
    let folder = folder.path();
    let template = |config: &str| {
        fs::write(folder.join("tokenizer_config.json"), config).unwrap();
        Checkpoint::open(folder).unwrap().chat_template()
    };
    assert_eq!(template("{}"), None);
    assert_eq!(template(r#"{"chat_template": "a"}"#).as_deref(), Some("a"));
    let named =
        r#"{"chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(template(named).as_deref(), Some("d"));
    fs::write(folder.join("chat_template.jinja"), "file").unwrap();
    assert_eq!(template(r#"{"chat_template": "a"}"#).as_deref(), Some("file"));

    let bos = |config: &str| {
        fs::write(folder.join("tokenizer_config.json"), config).unwrap();
        Checkpoint::open(folder).unwrap().tokenizer().unwrap().bos()
    };
    assert_eq!(bos(r#"{"bos_token": "<|eot_id|>"}"#), Some(510));
    assert_eq!(bos(r#"{"bos_token": {"content": "<|pad|>"}}"#), Some(511));
    // config.json has the last word only where tokenizer_config.json is silent.
    assert_eq!(bos(r#"{"bos_token": null}"#), Some(508));
    fs::remove_file(folder.join("tokenizer_config.json")).unwrap();
    assert_eq!(Checkpoint::open(folder).unwrap().tokenizer().unwrap().bos(), Some(508));
}

#[test]
fn generation_config_adds_ending_tokens() {
    let Some(folder) = copy("llama-gqa-f16") else { return };
    let eos = |config: &str| {
        fs::write(folder.path().join("generation_config.json"), config).unwrap();
        Checkpoint::open(folder.path()).map(|opened| opened.config().eos_tokens.clone())
    };
    assert_eq!(eos(r#"{"eos_token_id": [510, 509]}"#).unwrap(), [509, 510]);
    assert_eq!(eos("{}").unwrap(), [509]);
    assert!(matches!(eos(r#"{"eos_token_id": "x"}"#), Err(Error::BadValue { .. })));
    fs::remove_file(folder.path().join("generation_config.json")).unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().config().eos_tokens, [509]);
}

#[test]
fn a_relative_path_opens() {
    // The parent of a bare file name is the empty path.
    let error = Checkpoint::open("no-such-file.safetensors".as_ref()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
}

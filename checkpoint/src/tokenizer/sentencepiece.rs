//! tokenizer.model of SentencePiece: the Protocol Buffers message `ModelProto`.
//!
//! ```text
//! 1 pieces ...        1 text  2 score f32  3 type (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte)
//! 2 trainer_spec      3 model_type (1 unigram, 2 BPE, 3 word, 4 char)   24 treat_whitespace_as_suffix
//!                     41 bos_id  42 eos_id (negative: none)
//! 3 normalizer_spec   2 precompiled_charsmap  3 add_dummy_prefix  4 remove_extra_whitespaces  5 escape_whitespaces
//! ```

use std::path::Path;

use super::{
    base64,
    config::TokenizerConfig,
    json::Framing,
    metaspace::{self, Options},
    protobuf::{self, Field},
    vocabulary::{Token, TokenKind, Vocabulary},
};
use crate::{Error, error::printable};

/// `TrainerSpec.ModelType.BPE`.
const BPE: u64 = 2;
/// `TrainerSpec.ModelType.UNIGRAM`, the default.
const UNIGRAM: u64 = 1;

/// A tokenizer.model.
pub(crate) struct Model<'a> {
    pub(crate) tokens: Vec<Token>,
    bos: Option<u32>,
    eos: Option<u32>,
    charsmap: &'a [u8],
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

impl<'a> Model<'a> {
    /// Reads a tokenizer.model; `file` is for messages only.
    ///
    /// # Errors
    /// Damage, and kinds of models other than BPE.
    pub(crate) fn parse(file: &Path, bytes: &'a [u8]) -> Result<Self, Error> {
        let damaged = || Error::malformed(file, "it is not a SentencePiece model, or it is cut short");
        let mut model = Self {
            tokens: Vec::new(),
            // The defaults of `TrainerSpec` and `NormalizerSpec`.
            bos: Some(1),
            eos: Some(2),
            charsmap: &[],
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        };
        let mut kind = UNIGRAM;
        for field in protobuf::fields(bytes) {
            let (number, field) = field.ok_or_else(damaged)?;
            match number {
                1 => {
                    let id = u32::try_from(model.tokens.len()).map_err(|_| damaged())?;
                    model.tokens.push(piece(field, id).ok_or_else(damaged)?);
                }
                2 => model.trainer_spec(file, field, &mut kind).ok_or_else(damaged)??,
                3 => model.normalizer_spec(field).ok_or_else(damaged)?,
                _ => {}
            }
        }
        if model.tokens.is_empty() {
            return Err(damaged());
        }
        if kind != BPE {
            let feature = format!(
                "a SentencePiece model of type {}",
                ["?", "unigram", "BPE", "word", "char"].get(kind as usize).unwrap_or(&"?")
            );
            return Err(Error::unsupported(
                file,
                feature,
                "put the model's tokenizer.json beside config.json",
            ));
        }
        Ok(model)
    }

    fn trainer_spec(&mut self, file: &Path, field: Field, kind: &mut u64) -> Option<Result<(), Error>> {
        // A negative id is none.
        let id = |field: Field| Some(u32::try_from(field.number()?).ok());
        for field in protobuf::fields(field.bytes()?) {
            let (number, field) = field?;
            match number {
                3 => *kind = field.number()?,
                24 if field.flag()? => {
                    let hint = "put the model's tokenizer.json beside config.json";
                    return Some(Err(Error::unsupported(file, "`treat_whitespace_as_suffix`", hint)));
                }
                41 => self.bos = id(field)?,
                42 => self.eos = id(field)?,
                _ => {}
            }
        }
        Some(Ok(()))
    }

    fn normalizer_spec(&mut self, field: Field<'a>) -> Option<()> {
        for field in protobuf::fields(field.bytes()?) {
            let (number, field) = field?;
            match number {
                2 => self.charsmap = field.bytes()?,
                3 => self.add_dummy_prefix = field.flag()?,
                4 => self.remove_extra_whitespaces = field.flag()?,
                5 => self.escape_whitespaces = field.flag()?,
                _ => {}
            }
        }
        Some(())
    }
}

fn piece(field: Field, id: u32) -> Option<Token> {
    let mut token = Token { id, text: String::new(), score: 0.0, kind: TokenKind::Normal };
    for field in protobuf::fields(field.bytes()?) {
        let (number, field) = field?;
        match number {
            1 => field.text()?.clone_into(&mut token.text),
            2 => token.score = field.float()?,
            3 => token.kind = TokenKind::from_id(field.number()?),
            _ => {}
        }
    }
    Some(token)
}

/// The tokenizer.json of a tokenizer.model; what tokenizer_config.json says comes on top.
pub(crate) fn tokenizer_json(file: &Path, bytes: &[u8], config: &TokenizerConfig) -> Result<String, Error> {
    let model = Model::parse(file, bytes)?;
    let charsmap = (!model.charsmap.is_empty()).then(|| base64::encode(model.charsmap));
    let mut tokens = model.tokens;
    for added in &config.added {
        let kind = if added.special { TokenKind::Control } else { TokenKind::UserDefined };
        match tokens.get_mut(added.id as usize) {
            Some(token) if token.text == added.text => {
                if !matches!(token.kind, TokenKind::Unknown | TokenKind::Byte) {
                    token.kind = kind;
                }
            }
            Some(token) => {
                let reason = format!(
                    "token {} is `{}`, but tokenizer_config.json calls it `{}`",
                    added.id,
                    printable(&token.text),
                    printable(&added.text)
                );
                return Err(Error::malformed(file, reason));
            }
            // Added tokens come in order of ids, so these stay beyond the model's own.
            None => tokens.push(Token { id: added.id, text: added.text.clone(), score: 0.0, kind }),
        }
    }
    let vocabulary = Vocabulary::new(file, tokens)?;
    let named =
        |text: &Option<String>, or: Option<u32>| text.as_deref().and_then(|t| vocabulary.id(t)).or(or);
    let framing = Framing::new(
        named(&config.bos, model.bos).filter(|_| config.add_bos.unwrap_or(true)),
        named(&config.eos, model.eos).filter(|_| config.add_eos.unwrap_or(false)),
    );
    let unknown =
        vocabulary.tokens().iter().find(|token| token.kind == TokenKind::Unknown).map(|token| token.id);
    let options = Options {
        add_space_prefix: model.add_dummy_prefix,
        remove_extra_whitespaces: model.remove_extra_whitespaces,
        escape_whitespaces: model.escape_whitespaces,
        charsmap: charsmap.as_deref(),
    };
    metaspace::tokenizer_json(file, &vocabulary, unknown, options, &framing)
}

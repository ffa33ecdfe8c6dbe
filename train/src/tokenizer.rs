//! A recipe's tokenizer: read from a tokenizer.json, or learnt from the text.
//!
//! What is learnt is a byte-level BPE (Sennrich et al., arXiv 1508.07909; bytes as GPT-2 writes them) that can
//! express any text. Its first tokens are those that begin and end a text and the 256 bytes. The same text gives the
//! same tokenizer.

use std::path::Path;

use b158_checkpoint::{BosToken, Tokenizer};
use b158_datasets::world;
use tokenizers::{
    AddedToken,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainer},
    },
    pre_tokenizers::byte_level::ByteLevel,
    processors::template::TemplateProcessing,
};

use crate::{Error, recipe::RecipeFile, text::Text};

/// Begins a text.
const BEGIN: &str = "<|begin_of_text|>";
/// Ends a text.
const END: &str = "<|end_of_text|>";
/// Documents that a tokenizer is learnt from, at most; more change little and take longer.
const DOCUMENTS: usize = 20_000;

/// A tokenizer with what training needs to know of it.
pub struct Vocabulary {
    /// It.
    pub tokenizer: Tokenizer,
    /// The text of its tokenizer.json.
    pub json: String,
    /// SHA-256 of that text, in lower-case hexadecimal.
    pub digest: String,
    /// Begins a document, if there is such a token.
    pub begin: Option<u32>,
    /// Ends a document, if there is such a token.
    pub end: Option<u32>,
}

impl Vocabulary {
    /// That of a recipe.
    ///
    /// # Errors
    /// A file that is no tokenizer, or one with more tokens than the recipe's shape has.
    pub fn load(recipe: &RecipeFile, text: &Text) -> Result<Self, Error> {
        let size = recipe.recipe.shape.vocab_size;
        let (path, json) = if recipe.recipe.tokenizer == "train" {
            (recipe.path.clone(), learn(recipe, text)?)
        } else {
            let path = recipe.folder().join(&recipe.recipe.tokenizer);
            let json = std::fs::read_to_string(&path);
            let json = json.map_err(|source| Error::Read { path: path.clone(), source })?;
            (path, json)
        };
        let tokenizer = parse(&path, &json, size).map_err(|e| match e {
            b158_checkpoint::Error::VocabularyTooLarge { largest, .. } => Error::Tokenizer {
                file: path.display().to_string(),
                message: format!(
                    "token {largest} is beyond shape.vocab_size {size} of {}",
                    recipe.path.display()
                ),
                hint: format!("set vocab_size to {}, or take another tokenizer", largest + 1),
            },
            other => other.into(),
        })?;
        let id = |names: &[&str]| names.iter().find_map(|name| tokenizer.token_to_id(name));
        let (begin, end) = (id(&[BEGIN, "<s>"]), id(&[END, "</s>", "<|endoftext|>"]));
        let digest = world::sha256(&json);
        Ok(Self { tokenizer, json, digest, begin, end })
    }

    /// tokenizer_config.json of a model with this tokenizer.
    pub fn config_json(&self, context: usize) -> String {
        let name = |id: Option<u32>| id.and_then(|id| self.tokenizer.id_to_token(id));
        let config = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": name(self.begin),
            "eos_token": name(self.end),
            "clean_up_tokenization_spaces": false,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": context,
        });
        format!("{config:#}\n")
    }
}

fn parse(path: &Path, json: &str, vocab_size: usize) -> Result<Tokenizer, b158_checkpoint::Error> {
    Tokenizer::from_json(path, json, BosToken::default(), vocab_size)
}

fn learn(recipe: &RecipeFile, text: &Text) -> Result<String, Error> {
    let size = recipe.recipe.shape.vocab_size;
    let bytes = ByteLevel::alphabet();
    if size < bytes.len() + 2 {
        return Err(recipe.error(
            format!("shape.vocab_size {size} is too small for a tokenizer of bytes"),
            format!("it takes {} tokens or more", bytes.len() + 2),
        ));
    }
    let failed = |e: tokenizers::Error| Error::Tokenizer {
        file: recipe.path.display().to_string(),
        message: format!("the tokenizer cannot be learnt: {e}"),
        hint: String::new(),
    };
    let special = [BEGIN, END].map(|token| AddedToken::from(token, true)).to_vec();
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(size)
        .show_progress(false)
        .special_tokens(special)
        .initial_alphabet(bytes.into_iter().collect())
        .build()
        .into();
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.train(&mut trainer, text.train.iter().take(DOCUMENTS)).map_err(failed)?;
    let begin = tokenizer.token_to_id(BEGIN).expect("a special token");
    let template = TemplateProcessing::builder()
        .try_single(format!("{BEGIN} $A"))
        .and_then(|t| t.try_pair(format!("{BEGIN} $A {BEGIN} $B:1")))
        .map_err(|e| failed(e.into()))?
        .special_tokens(vec![(BEGIN, begin)])
        .build()
        .map_err(|e| failed(e.to_string().into()))?;
    tokenizer.with_post_processor(Some(template));
    let json = tokenizer.to_string(true).map_err(failed)?;
    Ok(json + "\n")
}

//! Rolling windows of whole documents: see [`crate::request`] and [`crate::metrics`].
//!
//! A document has no marks to undo here: WikiText's pages are evaluated by the task `wikitext`.

use super::{PerText, Plan, Text};
use crate::evaluate::Preset;
use crate::metrics::{Corpus, Metric};
use crate::request::Encoder;
use crate::{Error, LanguageModel, python};

pub(super) fn plan(model: &dyn LanguageModel, text: &Text, context: usize) -> Result<Plan, Error> {
    let encoder = Encoder::new(model, Preset::LmEval, true, context)?;
    let mut windows = Vec::new();
    for document in text.documents() {
        windows.extend(encoder.rolling(document)?);
    }
    Ok(Plan { windows, left_out: 0 })
}

pub(super) fn per_text(text: &Text, loglikelihood: f64) -> PerText {
    let mut corpus = Corpus { loglikelihood, ..Corpus::default() };
    for document in text.documents() {
        corpus.words += python::count_words(document);
        corpus.bytes += document.len() as u64;
    }
    PerText {
        word_perplexity: Metric::WordPerplexity.of_corpus(corpus),
        byte_perplexity: Metric::BytePerplexity.of_corpus(corpus),
        bits_per_byte: Metric::BitsPerByte.of_corpus(corpus),
    }
}

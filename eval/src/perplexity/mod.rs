//! Perplexity of text files, by the protocol that a published number was measured with.
//!
//! ```text
//!                 a file is cut into          windows                             scored            the number
//!   lm-eval       documents                   rolling, all of the context before  every token       per word, per byte
//!   paper         lines, documents            lines with EOS, packed after a BOS  all but BOS       exp(mean), mean of sets
//!   llama.cpp     nothing                     n_ctx tokens, the first one BOS     the second half   exp(mean) ± error
//!   gptq          lines, joined by "\n\n"     n_ctx tokens                        all but the first exp(mean)
//!   hf-strided    lines, joined by "\n\n"     n_ctx tokens, each `stride` later   what is new       exp(mean)
//! ```
//!
//! On one model and one text these numbers differ by several times, so none is ever shown without its protocol. Each
//! protocol's file names its source. Log-probabilities are those of the runner, summed in the order of the text.

mod gptq;
mod hf_strided;
mod llama_cpp;
mod lm_eval;
mod paper;
mod text;

use rayon::prelude::*;
use serde::Serialize;

pub use text::Text;

use crate::evaluate::Progress;
use crate::request::Request;
use crate::{Error, LanguageModel, Score};

/// How to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// lm-evaluation-harness 0.4.13, as its tasks of whole texts.
    LmEval,
    /// The pipeline of b1.58's authors.
    Paper,
    /// llama.cpp's `llama-perplexity`.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// GPTQ and the papers on quantization after it.
    Gptq,
    /// The guide of Hugging Face's transformers.
    HfStrided,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 5] = [Self::LmEval, Self::Paper, Self::LlamaCpp, Self::Gptq, Self::HfStrided];

    /// Its name on the command line and in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::LmEval => "lm-eval",
            Self::Paper => "paper",
            Self::LlamaCpp => "llama.cpp",
            Self::Gptq => "gptq",
            Self::HfStrided => "hf-strided",
        }
    }

    /// The context that published numbers have, in tokens; none where it is the model's own.
    fn usual_context(self) -> Option<usize> {
        match self {
            Self::LmEval | Self::HfStrided => None,
            Self::LlamaCpp => Some(512),
            Self::Paper | Self::Gptq => Some(2048),
        }
    }
}

/// What to measure with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The protocol.
    pub protocol: Protocol,
    /// Tokens of a window; what the protocol's published numbers have, if not given, or what the model reads at most.
    pub context: Option<usize>,
    /// Tokens from a window to the next, of `hf-strided` only; half a window if not given.
    pub stride: Option<usize>,
}

/// Perplexities of some files by one protocol.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Perplexities {
    /// The protocol.
    pub protocol: Protocol,
    /// Tokens of a window.
    pub context: usize,
    /// Tokens from a window to the next, of `hf-strided`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// In the order asked for.
    pub files: Vec<Perplexity>,
    /// Of `paper` and several files: the mean of their perplexities, which is what the papers report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
}

/// The perplexity of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Perplexity {
    /// The file.
    pub file: String,
    /// Perplexity per token that is scored.
    pub perplexity: f64,
    /// Its standard error, where the protocol reports one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// Per word and per byte, where the protocol reports them.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub per_text: Option<PerText>,
    /// Number of windows.
    pub windows: usize,
    /// Number of tokens scored.
    pub tokens: usize,
    /// Pieces of the text that are longer than a window and were left out, as the protocol has it.
    pub left_out: usize,
}

/// lm-eval's metrics of a text; all documents together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PerText {
    /// `exp(-sum ll / words)`.
    pub word_perplexity: f64,
    /// `exp(-sum ll / bytes)`.
    pub byte_perplexity: f64,
    /// `-sum ll / bytes / ln 2`.
    pub bits_per_byte: f64,
}

/// What is to be scored of a file.
struct Plan {
    windows: Vec<Request>,
    left_out: usize,
}

/// The log-probabilities of all tokens that are scored, in nats, in the order of the text.
struct Scored {
    windows: Vec<Score>,
}

impl Scored {
    fn logprobs(&self) -> impl Iterator<Item = f64> + '_ {
        self.windows.iter().flat_map(|window| window.logprobs.iter().copied())
    }

    fn sum(&self) -> f64 {
        self.logprobs().fold(0.0, |sum, logprob| sum + logprob)
    }
}

/// Measures the perplexity of files.
///
/// # Errors
/// A context that the model does not have or that the protocol cannot use, a text that is too short
/// ([`Error::Config`]), or a failure of the model ([`Error::Model`]).
pub fn measure(
    model: &dyn LanguageModel,
    texts: &[Text],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Perplexities, Error> {
    let (context, stride) = sizes(model, options)?;
    let protocol = options.protocol;
    let plan = |text: &Text| match protocol {
        Protocol::LmEval => lm_eval::plan(model, text, context),
        Protocol::Paper => paper::plan(model, text, context),
        Protocol::LlamaCpp => llama_cpp::plan(model, text, context),
        Protocol::Gptq => gptq::plan(model, text, context),
        Protocol::HfStrided => hf_strided::plan(model, text, context, stride),
    };
    let plans = texts.iter().map(plan).collect::<Result<Vec<Plan>, Error>>()?;
    progress.begin(plans.iter().flat_map(|plan| &plan.windows).map(inputs).sum());
    let mut files = Vec::with_capacity(texts.len());
    for (text, plan) in texts.iter().zip(plans) {
        progress.task(&text.name);
        let scored = score(model, &plan.windows, progress)?;
        let tokens = scored.logprobs().count();
        let sum = scored.sum();
        let perplexity = libm::exp(-sum / tokens as f64);
        let refusal = match (tokens, plan.left_out) {
            (0, 0) => Some(("it has no tokens to score".to_owned(), "give a longer text")),
            (0, n) => {
                let message = format!("none of its {n} lines or rows fits into a window of {context} tokens");
                Some((message, "give a model with a longer context, or a larger --ctx"))
            }
            _ if sum.is_finite() => None,
            _ => {
                let message = format!("the log-likelihood is {sum}");
                Some((message, "the model's weights or its conversion are damaged"))
            }
        };
        if let Some((message, hint)) = refusal {
            return Err(Error::Config { file: text.name.clone(), message, hint: hint.into() });
        }
        files.push(Perplexity {
            file: text.name.clone(),
            perplexity,
            error: (protocol == Protocol::LlamaCpp).then(|| llama_cpp::error(&scored)).flatten(),
            per_text: (protocol == Protocol::LmEval).then(|| lm_eval::per_text(text, sum)),
            windows: plan.windows.len(),
            tokens,
            left_out: plan.left_out,
        });
    }
    progress.end();
    let mean = files.iter().fold(0.0, |sum, file| sum + file.perplexity) / files.len() as f64;
    let mean = (protocol == Protocol::Paper && files.len() > 1).then_some(mean);
    let stride = (protocol == Protocol::HfStrided).then_some(stride);
    Ok(Perplexities { protocol, context, stride, files, mean })
}

/// Tokens of a window, and from one to the next.
fn sizes(model: &dyn LanguageModel, options: &Options) -> Result<(usize, usize), Error> {
    let refuse = |message: String, hint: String| Err(Error::Config { file: "options".into(), message, hint });
    let most = model.max_length();
    let usual = options.protocol.usual_context().unwrap_or(most).min(most);
    let context = options.context.unwrap_or(usual);
    if context > most {
        let message =
            format!("a context of {context} tokens is asked for, and the model reads at most {most}");
        return refuse(message, format!("ask for {most} or fewer"));
    }
    // One token to read and one to score; llama.cpp scores half of those after the first.
    let least = if options.protocol == Protocol::LlamaCpp { 4 } else { 2 };
    if context < least {
        return refuse(
            format!("a context of {context} tokens is too short"),
            format!("ask for at least {least}"),
        );
    }
    if options.stride.is_some() && options.protocol != Protocol::HfStrided {
        let message = format!("protocol {} has no stride", options.protocol.name());
        return refuse(message, "a stride is for hf-strided only".into());
    }
    let stride = options.stride.unwrap_or((context / 2).max(1));
    if stride == 0 || stride > context {
        let message = format!("a stride of {stride} tokens does not fit a context of {context}");
        return refuse(message, format!("ask for 1 to {context}"));
    }
    Ok((context, stride))
}

/// Scores windows; every one by itself, so that neither threads nor order matter.
fn score(model: &dyn LanguageModel, windows: &[Request], progress: &dyn Progress) -> Result<Scored, Error> {
    let scores: Vec<Result<Score, Error>> = windows
        .par_iter()
        .map(|window| {
            let score = model.score(&window.ctx_ids, &window.cont_ids);
            progress.advance(inputs(window));
            score
        })
        .collect();
    Ok(Scored { windows: scores.into_iter().collect::<Result<_, _>>()? })
}

/// Tokens that are read for a window.
fn inputs(window: &Request) -> u64 {
    (window.ctx_ids.len() + window.cont_ids.len()).saturating_sub(1) as u64
}

/// A window that is read up to `scored_from`, and scored from there on.
fn window(tokens: &[u32], scored_from: usize) -> Request {
    Request {
        context: None,
        continuation: None,
        ctx_ids: tokens[..scored_from].to_vec(),
        cont_ids: tokens[scored_from..].to_vec(),
    }
}

/// A text that does not fill the windows that a protocol needs.
fn too_short(text: &Text, tokens: usize, needed: usize) -> Error {
    Error::Config {
        file: text.name.clone(),
        message: format!("it has {tokens} tokens, and at least {needed} are needed"),
        hint: "give a longer text or a shorter context (--ctx)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token per byte, BOS 256, EOS 257; the log-likelihood of a token is minus its id modulo 8.
    struct Bytes;

    impl LanguageModel for Bytes {
        fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
            Ok(add_special.then_some(256).into_iter().chain(text.bytes().map(u32::from)).collect())
        }
        fn bos(&self) -> Option<u32> {
            Some(256)
        }
        fn bos_text(&self) -> Option<&str> {
            None
        }
        fn eos(&self) -> Option<u32> {
            Some(257)
        }
        fn max_length(&self) -> usize {
            8
        }
        fn score(&self, context: &[u32], continuation: &[u32]) -> Result<Score, Error> {
            assert!(!context.is_empty() && context.len() + continuation.len() <= 9);
            Ok(Score { logprobs: continuation.iter().map(|id| -f64::from(id % 8)).collect(), greedy: false })
        }
    }

    fn with(
        protocol: Protocol,
        context: Option<usize>,
        stride: Option<usize>,
        text: &str,
    ) -> Result<Perplexities, String> {
        let text = Text::plain("t.txt", text.to_owned());
        measure(&Bytes, &[text], &Options { protocol, context, stride }, &()).map_err(|e| e.to_string())
    }

    #[test]
    fn by_hand() {
        // "a" is -1, "b" -2, "\n" -2; BOS is 0, EOS -1.
        let of = |protocol, context, text: &str| {
            let file = with(protocol, Some(context), None, text).unwrap().files.remove(0);
            (libm::log(file.perplexity), file.windows, file.tokens, file.left_out)
        };
        // [B a b a b] [B b a b a] of 11 tokens: from the fourth on.
        let close = |a: (f64, usize, usize, usize), b: (f64, usize, usize, usize)| {
            // Rounding of exp and log.
            assert!((a.0 - b.0).abs() < 1e-12 && (a.1, a.2, a.3) == (b.1, b.2, b.3), "{a:?} {b:?}");
        };
        close(of(Protocol::LlamaCpp, 5, "ababababab"), (6.0 / 4.0, 2, 4, 0));
        // "ab\n" "\n\n" "b": [B a b \n] [\n \n b].
        close(of(Protocol::Gptq, 4, "ab\nb"), (5.0 / 3.0, 1, 3, 0));
        close(of(Protocol::HfStrided, 4, "ab\nb"), (11.0 / 6.0, 3, 6, 0));
        // [B a E b E], [B b b E], and a line that is too long.
        close(of(Protocol::Paper, 5, "a\n\nb\nbb\naaaaaaa"), (10.0 / 7.0, 2, 7, 1));
        // BOS of the tokenizer after BOS, as lm-eval has it.
        close(of(Protocol::LmEval, 4, "abab"), (6.0 / 5.0, 2, 5, 0));
    }

    #[test]
    fn files_have_a_mean_by_protocol_paper_only() {
        let texts = [Text::plain("a", "a".into()), Text::rows("b", vec!["b\nb".into(), "b".into()])];
        let measured = |protocol| {
            measure(&Bytes, &texts, &Options { protocol, context: None, stride: None }, &()).unwrap()
        };
        let paper = measured(Protocol::Paper);
        assert_eq!(paper.mean, Some(f64::midpoint(paper.files[0].perplexity, paper.files[1].perplexity)));
        assert_eq!((paper.files[1].windows, paper.files[1].tokens), (1, 6));
        assert_eq!(measured(Protocol::LmEval).mean, None);
        assert_eq!(
            measured(Protocol::LmEval).files[1].per_text.unwrap().bits_per_byte,
            8.0 / 4.0 / std::f64::consts::LN_2
        );
    }

    #[test]
    fn what_cannot_be_measured_is_named() {
        let message = |protocol, context, stride, text| with(protocol, context, stride, text).unwrap_err();
        insta::assert_snapshot!(message(Protocol::LlamaCpp, None, None, "short"), @r"
        t.txt: it has 6 tokens, and at least 16 are needed
        hint: give a longer text or a shorter context (--ctx)
        ");
        insta::assert_snapshot!(message(Protocol::Gptq, None, None, "short"), @r"
        t.txt: it has 6 tokens, and at least 8 are needed
        hint: give a longer text or a shorter context (--ctx)
        ");
        insta::assert_snapshot!(message(Protocol::HfStrided, None, None, ""), @r"
        t.txt: it has 1 tokens, and at least 2 are needed
        hint: give a longer text or a shorter context (--ctx)
        ");
        insta::assert_snapshot!(message(Protocol::LmEval, Some(9), None, "short"), @r"
        options: a context of 9 tokens is asked for, and the model reads at most 8
        hint: ask for 8 or fewer
        ");
        insta::assert_snapshot!(message(Protocol::LlamaCpp, Some(3), None, "short"), @r"
        options: a context of 3 tokens is too short
        hint: ask for at least 4
        ");
        insta::assert_snapshot!(message(Protocol::Paper, None, None, "\n"), @r"
        t.txt: it has no tokens to score
        hint: give a longer text
        ");
        insta::assert_snapshot!(message(Protocol::Paper, None, None, "a line that is too long"), @r"
        t.txt: none of its 1 lines or rows fits into a window of 8 tokens
        hint: give a model with a longer context, or a larger --ctx
        ");
        insta::assert_snapshot!(message(Protocol::Paper, None, Some(2), "a"), @r"
        options: protocol paper has no stride
        hint: a stride is for hf-strided only
        ");
        insta::assert_snapshot!(message(Protocol::HfStrided, None, Some(9), "a"), @r"
        options: a stride of 9 tokens does not fit a context of 8
        hint: ask for 1 to 8
        ");
    }

    proptest::proptest! {
        #[test]
        fn strides_score_every_token_but_the_first_once(text in "[a-z\\n]{1,60}", context in 2_usize..9, stride in 1_usize..9) {
            let stride = stride.min(context);
            let file = with(Protocol::HfStrided, Some(context), Some(stride), &text).unwrap().files.remove(0);
            let rows = Text::plain("t", text).hub_rows().join("\n\n").len();
            // With a stride of a whole window, its first token has nothing before it.
            if stride < context {
                proptest::prop_assert_eq!(file.tokens, rows);
            } else {
                proptest::prop_assert!(file.tokens <= rows);
            }
        }
    }
}

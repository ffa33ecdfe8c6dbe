//! What completions and chats have in common: how to choose tokens, and when to stop.

use std::sync::Arc;

use b158_runner::{Sampler, Sampling};

use super::fields::{Fields, wrong};
use crate::{app::App, error::ApiError};

/// Stop strings of one request, and bytes of each.
const STOPS: usize = 64;
const STOP_BYTES: usize = 1024;

/// Stop tokens of one request.
const STOP_TOKENS: usize = 1024;

/// Tokens whose log-probabilities are shown at each place.
pub(crate) const TOP: usize = 20;

/// Fields that would change the answer, with the values that ask for what is done anyway: those of OpenAI's API, and
/// of servers like it.
const REFUSED: [(&str, &str); 41] = [
    ("n", "1"),
    ("best_of", "1"),
    ("suffix", r#""""#),
    ("presence_penalty", "0"),
    ("frequency_penalty", "0"),
    ("logit_bias", "[{}]"),
    ("response_format", r#"[{"type": "text"}]"#),
    ("tools", "[[]]"),
    ("functions", "[[]]"),
    ("tool_choice", r#"["none", "auto"]"#),
    ("function_call", r#"["none", "auto"]"#),
    ("modalities", r#"[["text"]]"#),
    ("audio", "null"),
    ("web_search_options", "null"),
    ("use_beam_search", "false"),
    ("length_penalty", "1"),
    ("min_tokens", "0"),
    ("bad_words", "[[]]"),
    ("allowed_token_ids", "null"),
    ("prompt_embeds", "null"),
    ("prompt_logprobs", "null"),
    ("truncate_prompt_tokens", "null"),
    ("include_stop_str_in_output", "false"),
    ("skip_special_tokens", "true"),
    ("spaces_between_special_tokens", "true"),
    ("structured_outputs", "null"),
    ("guided_json", "null"),
    ("guided_regex", "null"),
    ("guided_choice", "null"),
    ("guided_grammar", "null"),
    ("grammar", "null"),
    ("json_schema", "null"),
    ("n_predict", "null"),
    ("typical_p", "1"),
    ("mirostat", "0"),
    ("dry_multiplier", "0"),
    ("xtc_probability", "0"),
    ("chat_template", "null"),
    ("chat_template_kwargs", "[{}]"),
    ("add_generation_prompt", "true"),
    ("continue_final_message", "false"),
];

/// How to answer.
pub(crate) struct Generation {
    pub(crate) sampling: Sampling,
    /// As many new tokens, if the request says it.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) stop_strings: Arc<[String]>,
    /// Tokens that end the answer beside the model's own.
    pub(crate) stop_tokens: Vec<u32>,
    /// Whether the model's own end tokens are like any other.
    pub(crate) ignore_eos: bool,
    pub(crate) stream: bool,
    /// Whether a stream ends with the counts of tokens.
    pub(crate) stream_usage: bool,
}

impl Generation {
    /// Takes the fields. The name of the model and all that is refused are checked, too.
    pub(crate) fn take(fields: &mut Fields, app: &App) -> Result<Self, ApiError> {
        model(fields, app)?;
        fields.refuse(&REFUSED)?;
        let sampling = Sampling {
            temperature: fields.number("temperature")?.unwrap_or(1.0),
            top_p: fields.number("top_p")?.unwrap_or(1.0),
            top_k: top_k(fields)?,
            min_p: fields.number("min_p")?.unwrap_or(0.0),
            repeat_penalty: fields.number("repetition_penalty")?.unwrap_or(1.0),
            repeat_last_n: usize::MAX,
            seed: seed(fields)?,
        };
        let limit = app.config.max_tokens.unwrap_or(app.context);
        let mut max_tokens = None;
        for name in ["max_completion_tokens", "max_tokens"] {
            let asked = fields.count(name, usize::MAX)?;
            if asked.is_some_and(|n| n > limit) {
                let message =
                    format!("`{name}` is above the server's limit of {limit}\nhint: ask for fewer tokens");
                return Err(ApiError::invalid(name, message));
            }
            max_tokens = max_tokens.or(asked);
        }
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let stream_usage = match fields.take("stream_options") {
            None => false,
            Some(_) if !stream => {
                return Err(ApiError::invalid(
                    "stream_options",
                    "`stream_options` goes with `stream: true` only",
                ));
            }
            Some(options) if !options.is_object() => return Err(wrong("stream_options", "an object")),
            Some(options) => match options.get("include_usage").filter(|value| !value.is_null()) {
                None => false,
                Some(value) => {
                    value.as_bool().ok_or_else(|| wrong("stream_options.include_usage", "true or false"))?
                }
            },
        };
        Ok(Self {
            sampling,
            max_tokens,
            stop_strings: stop_strings(fields)?,
            stop_tokens: match fields.take("stop_token_ids") {
                None => Vec::new(),
                Some(ids) => {
                    let expected = format!("a list of at most {STOP_TOKENS} token ids");
                    let ids = super::ids(&ids).filter(|ids| ids.len() <= STOP_TOKENS);
                    ids.ok_or_else(|| wrong("stop_token_ids", &expected))?
                }
            },
            ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
            stream,
            stream_usage,
        })
    }

    /// A sampler at its start.
    pub(crate) fn sampler(&self) -> Result<Sampler, ApiError> {
        Sampler::new(self.sampling).map_err(|error| {
            let param = match &error {
                b158_runner::Error::Sampling { option: "top-p", .. } => "top_p",
                b158_runner::Error::Sampling { option: "min-p", .. } => "min_p",
                b158_runner::Error::Sampling { option: "repeat-penalty", .. } => "repetition_penalty",
                _ => "temperature",
            };
            let message = match &error {
                b158_runner::Error::Sampling { valid, .. } => {
                    format!("`{param}` is not valid\nhint: {valid}")
                }
                error => error.to_string(),
            };
            ApiError::invalid(param, message)
        })
    }

    /// The tokens that end the answer.
    pub(crate) fn ends(&self, own: &[u32]) -> Arc<[u32]> {
        let own = if self.ignore_eos { &[] } else { own };
        own.iter().chain(&self.stop_tokens).copied().collect()
    }
}

/// Takes the model's name, which there need not be.
pub(crate) fn model(fields: &mut Fields, app: &App) -> Result<(), ApiError> {
    match fields.text("model")?.filter(|name| !app.has_model(name)) {
        Some(name) => Err(ApiError::no_such_model(&name, &app.config.name)),
        None => Ok(()),
    }
}

/// Each new token is looked at for each of them, of each prompt.
fn stop_strings(fields: &mut Fields) -> Result<Arc<[String]>, ApiError> {
    let strings = fields.texts("stop", STOPS)?;
    if strings.iter().any(|string| string.len() > STOP_BYTES) {
        return Err(wrong("stop", &format!("texts of at most {STOP_BYTES} bytes")));
    }
    Ok(strings.into())
}

/// 0 and -1 both stand for all tokens, as in other servers.
fn top_k(fields: &mut Fields) -> Result<usize, ApiError> {
    match fields.take("top_k") {
        None => Ok(0),
        Some(value) if value.as_i64() == Some(-1) => Ok(0),
        Some(value) => {
            value.as_u64().map(|k| k as usize).ok_or_else(|| wrong("top_k", "a whole number from 0, or -1"))
        }
    }
}

/// Any whole number of 64 bits. Without one it is 0: the same request has the same answer.
fn seed(fields: &mut Fields) -> Result<u64, ApiError> {
    match fields.take("seed") {
        None => Ok(0),
        Some(value) => value
            .as_u64()
            .or_else(|| value.as_i64().map(|seed| seed as u64))
            .ok_or_else(|| wrong("seed", "a whole number of 64 bits")),
    }
}

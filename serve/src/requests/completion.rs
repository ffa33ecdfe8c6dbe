//! `POST /v1/completions`.

use serde_json::Value;

use super::{
    fields::{Fields, wrong},
    generation::{Generation, TOP},
    ids,
};
use crate::{app::App, error::ApiError};

/// New tokens where the request does not say how many, as with OpenAI.
pub(crate) const MAX_TOKENS: usize = 16;

/// Prompts of one request.
const PROMPTS: usize = 2048;

/// A prompt: text, or what the client has encoded itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// What to complete, and how.
pub(crate) struct CompletionRequest {
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) generation: Generation,
    pub(crate) echo: bool,
    /// How many of the most probable tokens are shown beside the chosen one, if any.
    pub(crate) logprobs: Option<usize>,
    /// Whether the tokenizer's special tokens (BOS) go around a text.
    pub(crate) add_special_tokens: bool,
}

impl CompletionRequest {
    pub(crate) fn take(mut fields: Fields, app: &App) -> Result<Self, ApiError> {
        let generation = Generation::take(&mut fields, app)?;
        let echo = fields.boolean("echo")?.unwrap_or(false);
        let logprobs = fields.count("logprobs", TOP)?;
        if generation.max_tokens == Some(0) && !echo {
            let message = "`max_tokens` is 0\nhint: with `echo: true` the prompt comes back, scored if `logprobs` is given; otherwise ask for a token at least";
            return Err(ApiError::invalid("max_tokens", message));
        }
        let Some(prompt) = fields.take("prompt") else {
            return Err(ApiError::invalid("prompt", "there is no `prompt`\nhint: give a text or token ids"));
        };
        let prompts = prompts(prompt)?;
        if prompts.len() > PROMPTS {
            let message = format!(
                "there are {} prompts, more than {PROMPTS}\nhint: send several requests",
                prompts.len()
            );
            return Err(ApiError::invalid("prompt", message));
        }
        Ok(Self {
            prompts,
            generation,
            echo,
            logprobs,
            add_special_tokens: fields.boolean("add_special_tokens")?.unwrap_or(true),
        })
    }
}

/// A text, a list of texts, a list of ids, or a list of lists of ids.
fn prompts(value: Value) -> Result<Vec<Prompt>, ApiError> {
    let expected = "a text, a list of texts, a list of token ids, or a list of such lists, and not empty";
    let prompts = match value {
        Value::String(text) => Some(vec![Prompt::Text(text)]),
        Value::Array(list) => match list.first() {
            Some(Value::Number(_)) => ids(&Value::Array(list)).map(|ids| vec![Prompt::Ids(ids)]),
            Some(_) => list
                .into_iter()
                .map(|prompt| match prompt {
                    Value::String(text) => Some(Prompt::Text(text)),
                    list => ids(&list).map(Prompt::Ids),
                })
                .collect(),
            None => None,
        },
        _ => None,
    };
    prompts.ok_or_else(|| wrong("prompt", expected))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prompts_of_four_kinds() {
        let text = |t: &str| Prompt::Text(t.to_owned());
        assert_eq!(prompts(json!("a")), Ok(vec![text("a")]));
        assert_eq!(prompts(json!(["a", ""])), Ok(vec![text("a"), text("")]));
        assert_eq!(prompts(json!([1, 2])), Ok(vec![Prompt::Ids(vec![1, 2])]));
        assert_eq!(prompts(json!([[1], [2, 3]])), Ok(vec![Prompt::Ids(vec![1]), Prompt::Ids(vec![2, 3])]));
        for wrong in
            [json!([]), json!({}), json!(1), json!([1, "a"]), json!([-1]), json!([1.5]), json!([1e300])]
        {
            assert!(prompts(wrong.clone()).is_err(), "{wrong}");
        }
    }
}

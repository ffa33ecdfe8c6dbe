//! `POST /v1/chat/completions`.

use b158_checkpoint::Message;
use serde_json::Value;

use super::{
    fields::{Fields, wrong},
    generation::{Generation, TOP},
};
use crate::{app::App, error::ApiError};

/// A conversation, and how to go on.
pub(crate) struct ChatRequest {
    pub(crate) messages: Vec<Message>,
    pub(crate) generation: Generation,
    /// How many of the most probable tokens are shown beside the chosen one, if any.
    pub(crate) logprobs: Option<usize>,
}

impl ChatRequest {
    pub(crate) fn take(mut fields: Fields, app: &App) -> Result<Self, ApiError> {
        let generation = Generation::take(&mut fields, app)?;
        if generation.max_tokens == Some(0) {
            let message = "no new tokens are wanted\nhint: ask for a token at least";
            return Err(ApiError::invalid("max_completion_tokens", message));
        }
        let wanted = fields.boolean("logprobs")?.unwrap_or(false);
        let top = fields.count("top_logprobs", TOP)?;
        if top.is_some_and(|top| top > 0) && !wanted {
            return Err(ApiError::invalid("top_logprobs", "`top_logprobs` goes with `logprobs: true` only"));
        }
        let logprobs = wanted.then(|| top.unwrap_or(0));
        Ok(Self { messages: messages(&mut fields)?, generation, logprobs })
    }
}

/// Takes the conversation.
pub(crate) fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let expected = "a list of messages, not empty";
    match fields.take("messages") {
        Some(Value::Array(list)) if !list.is_empty() => list.iter().enumerate().map(message).collect(),
        _ => Err(wrong("messages", expected)),
    }
}

fn message((index, value): (usize, &Value)) -> Result<Message, ApiError> {
    let at = |field: &str| format!("messages[{index}].{field}");
    let role = value.get("role").and_then(Value::as_str);
    let role = role.ok_or_else(|| wrong(&at("role"), "a text, such as `user`"))?;
    for field in ["tool_calls", "function_call", "audio"] {
        if value
            .get(field)
            .is_some_and(|value| !value.is_null() && value.as_array().is_none_or(|a| !a.is_empty()))
        {
            return Err(ApiError::unsupported(&at(field), format!("`{field}` of a message is not offered")));
        }
    }
    let content = match value.get("content") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(parts)) => parts.iter().map(text_part).collect(),
        _ => None,
    };
    let content =
        content.ok_or_else(|| wrong(&at("content"), "a text, or a list of parts of type `text`"))?;
    Ok(Message::new(role, content))
}

fn text_part(part: &Value) -> Option<&str> {
    (part.get("type")?.as_str()? == "text").then(|| part.get("text")?.as_str()).flatten()
}

//! `POST /tokenize`, `POST /detokenize` and `GET /tokenizer_info`, as vLLM and llama.cpp have them.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::{blocking, read};
use crate::{
    app::App,
    error::{ApiError, json_response},
    requests::{
        chat,
        completion::Prompt,
        fields::{Fields, wrong},
        generation, ids,
    },
};

/// Fields that would change the tokens, with the values that ask for what is done anyway.
const REFUSED: [(&str, &str); 7] = [
    ("with_pieces", "false"),
    ("add_generation_prompt", "true"),
    ("continue_final_message", "false"),
    ("chat_template", "null"),
    ("chat_template_kwargs", "[{}]"),
    ("tools", "[[]]"),
    ("parse_special", "true"),
];

/// `{"prompt"}` (with special tokens unless told otherwise), `{"content"}` (without) or `{"messages"}` to tokens.
pub(crate) async fn tokenize(
    State(app): State<Arc<App>>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let body = read(&app, request).await?;
    let _place = app.place()?;
    blocking(&Arc::clone(&app), move || {
        let mut fields = Fields::parse(&body)?;
        generation::model(&mut fields, &app)?;
        fields.refuse(&REFUSED)?;
        let special = (fields.boolean("add_special_tokens")?, fields.boolean("add_special")?);
        let special = special.0.or(special.1);
        let strings = fields.boolean("return_token_strs")?.unwrap_or(false);
        let tokens = if fields.has("messages") {
            app.render(&chat::messages(&mut fields)?)?
        } else {
            match (fields.text("prompt")?, fields.text("content")?) {
                (Some(text), _) => app.encode(Prompt::Text(text), special.unwrap_or(true))?,
                (None, Some(text)) => app.encode(Prompt::Text(text), special.unwrap_or(false))?,
                (None, None) => {
                    return Err(wrong("prompt", "a text (so may `content`, or `messages` of a chat)"));
                }
            }
        };
        let mut document = json!({
            "count": tokens.len(), "max_model_len": app.context, "tokens": tokens, "token_strs": null,
        });
        if strings {
            document["token_strs"] = tokens.iter().map(|&id| app.texts.spelling(id)).collect();
        }
        Ok(json_response(StatusCode::OK, &document))
    })
    .await
}

/// `{"tokens"}` to their text, special tokens included.
pub(crate) async fn detokenize(
    State(app): State<Arc<App>>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let body = read(&app, request).await?;
    let _place = app.place()?;
    blocking(&Arc::clone(&app), move || {
        let mut fields = Fields::parse(&body)?;
        generation::model(&mut fields, &app)?;
        let tokens = fields.take("tokens").and_then(|value| ids(&value));
        let tokens = tokens.ok_or_else(|| wrong("tokens", "a list of token ids"))?;
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= app.vocab_size) {
            let size = app.vocab_size;
            return Err(ApiError::invalid(
                "tokens",
                format!("token id {id} is outside the vocabulary of {size} tokens"),
            ));
        }
        let text = app.tokenizer.decode(&tokens, false);
        let text = text.map_err(|error| ApiError::invalid("tokens", error.to_string()))?;
        Ok(json_response(StatusCode::OK, &json!({ "prompt": text, "content": text })))
    })
    .await
}

/// What lm-evaluation-harness asks for, so that it needs no tokenizer of its own.
pub(crate) async fn info(State(app): State<Arc<App>>) -> Response {
    let eos = app.eos_tokens.first().and_then(|&id| app.tokenizer.id_to_token(id));
    let document = json!({
        "tokenizer_class": "b158",
        "bos_token": app.tokenizer.bos_text(),
        "eos_token": eos,
        "pad_token": null,
        "chat_template": app.chat.as_ref().map(|chat| chat.template.source()),
        "max_model_len": app.context,
        "vocab_size": app.vocab_size,
    });
    json_response(StatusCode::OK, &document)
}

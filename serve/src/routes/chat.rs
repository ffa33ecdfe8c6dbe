//! `POST /v1/chat/completions`.

use std::{sync::Arc, time::Instant};

use axum::{Extension, extract::State, http::StatusCode, response::Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{blocking, collect, finish_reason, read};
use crate::{
    app::App,
    engine::{EVENTS, Event, Job, Token},
    error::{ApiError, json_response},
    metrics::Timer,
    requests::{chat::ChatRequest, fields::Fields},
    sse::{self, Documents},
};

/// Answers a request.
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    Extension(timer): Extension<Timer>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let body = read(&app, request).await?;
    let place = app.place()?;
    let (sender, receiver) = mpsc::channel(EVENTS);
    let (mut answer, job, stream) = {
        let app = Arc::clone(&app);
        blocking(&Arc::clone(&app), move || {
            let request = ChatRequest::take(Fields::parse(&body)?, &app)?;
            let prompt = app.render(&request.messages)?;
            let most = app.config.max_tokens.unwrap_or(usize::MAX);
            let max_tokens = app.new_tokens("messages", &prompt, request.generation.max_tokens, most)?;
            let own = app.chat.as_ref().map_or(&app.eos_tokens, |chat| &chat.stop_tokens);
            let job = Job {
                index: 0,
                score_prompt: false,
                top: request.logprobs,
                max_tokens,
                sampler: request.generation.sampler()?,
                stop_tokens: request.generation.ends(own),
                stop_strings: Arc::clone(&request.generation.stop_strings),
                arrived,
                deadline: app.deadline(arrived),
                events: sender,
                place,
                prompt,
            };
            let (id, created) = app.answer("chatcmpl");
            let answer = Answer {
                id,
                created,
                logprobs: request.logprobs,
                prompt_tokens: job.prompt.len(),
                stream_usage: request.generation.stream_usage,
                app,
                new_tokens: 0,
                done: false,
            };
            Ok((answer, job, request.generation.stream))
        })
        .await?
    };
    app.submit([job].into())?;
    if stream {
        return Ok(sse::response(answer, receiver, timer));
    }
    let mut all = Part::default();
    collect(receiver, 1, |_, event| {
        let part = answer.part(event)?;
        all.content += &part.content;
        all.logprobs.extend(part.logprobs);
        all.finish_reason = part.finish_reason;
        Ok(())
    })
    .await?;
    let choice = json!({
        "index": 0,
        "message": { "role": "assistant", "content": all.content, "refusal": null },
        "logprobs": answer.logprobs(&all.logprobs),
        "finish_reason": all.finish_reason,
    });
    let document = answer.document("chat.completion", &[choice], Some(answer.usage()));
    Ok(json_response(StatusCode::OK, &document))
}

/// A piece of an answer, or all of it.
#[derive(Default)]
struct Part {
    content: String,
    logprobs: Vec<Value>,
    finish_reason: Option<&'static str>,
}

/// The answer.
struct Answer {
    app: Arc<App>,
    id: String,
    created: u64,
    /// How many of the most probable tokens are shown beside the chosen one, if any.
    logprobs: Option<usize>,
    stream_usage: bool,
    prompt_tokens: usize,
    new_tokens: usize,
    done: bool,
}

impl Answer {
    fn part(&mut self, event: Event) -> Result<Part, ApiError> {
        let mut part = Part::default();
        match event {
            Event::Prompt(_) => {}
            Event::Piece { text, tokens } => {
                part.content = text;
                part.logprobs = tokens.iter().filter_map(|token| self.token(token)).collect();
            }
            Event::Done { reason, new_tokens } => {
                (self.new_tokens, self.done) = (new_tokens, true);
                part.finish_reason = Some(finish_reason(reason));
            }
            Event::Failed(error) => return Err(error),
        }
        Ok(part)
    }

    /// A token's log-probabilities in the form of this route.
    fn token(&self, token: &Token) -> Option<Value> {
        let score = token.score.as_ref()?;
        let entry = |id: u32, logprob: f64| json!({ "token": self.app.texts.text(id), "logprob": logprob, "bytes": self.app.texts.bytes(id) });
        let mut document = entry(token.id, score.logprob);
        document["top_logprobs"] = score.top.iter().map(|&(id, logprob)| entry(id, logprob)).collect();
        Some(document)
    }

    fn logprobs(&self, tokens: &[Value]) -> Value {
        self.logprobs.map_or(Value::Null, |_| json!({ "content": tokens, "refusal": null }))
    }

    fn usage(&self) -> Value {
        super::usage(self.prompt_tokens, self.new_tokens)
    }

    fn document(&self, object: &str, choices: &[Value], usage: Option<Value>) -> Value {
        let Self { app, id, created, .. } = self;
        let mut document = json!({
            "id": id, "object": object, "created": created, "model": app.config.name,
            "system_fingerprint": super::FINGERPRINT, "choices": choices,
        });
        if let Some(usage) = usage {
            document["usage"] = usage;
        }
        document
    }

    fn chunk(&self, delta: &Value, logprobs: &Value, finish_reason: Option<&str>) -> String {
        let choice =
            json!({ "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason });
        let usage = self.stream_usage.then_some(Value::Null);
        sse::json(&self.document("chat.completion.chunk", &[choice], usage))
    }
}

impl Documents for Answer {
    fn first(&mut self) -> Vec<String> {
        vec![self.chunk(&json!({ "role": "assistant", "content": "", "refusal": null }), &Value::Null, None)]
    }

    fn of(&mut self, _: usize, event: Event) -> Result<Vec<String>, ApiError> {
        let part = self.part(event)?;
        let (delta, logprobs) = match part.finish_reason {
            Some(_) => (json!({}), Value::Null),
            None => (json!({ "content": part.content }), self.logprobs(&part.logprobs)),
        };
        Ok(vec![self.chunk(&delta, &logprobs, part.finish_reason)])
    }

    fn complete(&self) -> bool {
        self.done
    }

    fn last(&mut self) -> Vec<String> {
        if !self.stream_usage {
            return Vec::new();
        }
        vec![sse::json(&self.document("chat.completion.chunk", &[], Some(self.usage())))]
    }
}

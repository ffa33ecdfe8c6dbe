//! `POST /v1/completions`.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use axum::{Extension, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::{blocking, collect, finish_reason, read};
use crate::{
    app::App,
    engine::{EVENTS, Event, Job, TokenScore},
    error::{ApiError, json_response},
    metrics::Timer,
    requests::{
        completion::{CompletionRequest, MAX_TOKENS, Prompt},
        fields::Fields,
    },
    sse::{self, Documents},
};

/// Log-probabilities of one answer: half a gigabyte while it is made.
const LOGPROBS: usize = 1 << 20;

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
    let (answer, jobs, stream) = {
        let app = Arc::clone(&app);
        blocking(&Arc::clone(&app), move || {
            let request = CompletionRequest::take(Fields::parse(&body)?, &app)?;
            let (mut choices, mut jobs) = (Vec::new(), VecDeque::new());
            let ends = request.generation.ends(&app.eos_tokens);
            let mut entries = 0;
            for (index, prompt) in request.prompts.into_iter().enumerate() {
                let text = match &prompt {
                    Prompt::Text(text) if request.echo => Some(text.clone()),
                    _ => None,
                };
                let ids = app.encode(prompt, request.add_special_tokens)?;
                let max_tokens = app.new_tokens("prompt", &ids, request.generation.max_tokens, MAX_TOKENS)?;
                // A stream's are sent as they come.
                if let Some(top) = request.logprobs.filter(|_| !request.generation.stream) {
                    let tokens = max_tokens + if request.echo { ids.len() } else { 0 };
                    entries += tokens * (top + 1);
                    if entries > LOGPROBS {
                        let message = format!("the answer may have more than {LOGPROBS} log-probabilities\nhint: send several requests, or ask for fewer");
                        return Err(ApiError::invalid("logprobs", message));
                    }
                }
                choices.push(Choice::new(&app, &ids, text, request.echo, request.logprobs)?);
                jobs.push_back(Job {
                    index,
                    prompt: ids,
                    score_prompt: request.echo && request.logprobs.is_some(),
                    top: request.logprobs,
                    max_tokens,
                    sampler: request.generation.sampler()?,
                    stop_tokens: Arc::clone(&ends),
                    stop_strings: Arc::clone(&request.generation.stop_strings),
                    arrived,
                    deadline: app.deadline(arrived),
                    events: sender.clone(),
                    place: Arc::clone(&place),
                });
            }
            let stream = request.generation.stream;
            let answer = Answer::new(app, choices, request.generation.stream_usage);
            Ok((answer, jobs, stream))
        })
        .await?
    };
    app.submit(jobs)?;
    if stream {
        return Ok(sse::response(answer, receiver, timer));
    }
    let mut answer = answer;
    let mut parts: Vec<Part> = answer.choices.iter_mut().map(Choice::begin).collect();
    collect(receiver, parts.len(), |index, event| {
        parts[index].append(answer.part(index, event)?);
        Ok(())
    })
    .await?;
    let choices: Vec<Value> = parts.into_iter().enumerate().map(|(i, part)| part.document(i)).collect();
    let document = answer.document(&choices, Some(answer.usage()));
    Ok(json_response(StatusCode::OK, &document))
}

/// One prompt's answer.
struct Choice {
    app: Arc<App>,
    prompt: Vec<u32>,
    /// The prompt's text, if it comes back.
    echo: Option<String>,
    /// Where the texts of the prompt's tokens begin, in characters; of the prompt that comes back.
    offsets: Vec<usize>,
    logprobs: bool,
    new_tokens: usize,
    done: bool,
}

impl Choice {
    fn new(
        app: &Arc<App>,
        prompt: &[u32],
        text: Option<String>,
        echo: bool,
        logprobs: Option<usize>,
    ) -> Result<Self, ApiError> {
        let failed = |error: b158_checkpoint::Error| ApiError::internal(error.to_string());
        let (echo, mut offsets) = match (echo, text) {
            (false, _) => (None, Vec::new()),
            (true, Some(text)) => (Some(text), Vec::new()),
            (true, None) => (Some(app.tokenizer.decode(prompt, true).map_err(failed)?), Vec::new()),
        };
        if let (Some(text), Some(_)) = (&echo, logprobs) {
            let (mut stream, mut at, end) = (app.tokenizer.decode_stream(true), 0, text.chars().count());
            for &id in prompt {
                // A tokenizer that changes a text may make it longer.
                offsets.push(at.min(end));
                at += stream.push(id).map_err(failed)?.chars().count();
            }
        }
        let (app, prompt, logprobs) = (Arc::clone(app), prompt.to_vec(), logprobs.is_some());
        Ok(Self { app, prompt, echo, offsets, logprobs, new_tokens: 0, done: false })
    }

    /// What comes before any event.
    fn begin(&mut self) -> Part {
        let text = self.echo.clone().unwrap_or_default();
        Part { text, logprobs: self.logprobs.then(Logprobs::default), finish_reason: None }
    }

    /// What an event adds.
    fn part(&mut self, event: Event) -> Result<Part, ApiError> {
        let mut part = Part::default();
        let begin = self.echo.as_ref().map_or(0, |text| text.chars().count());
        match event {
            Event::Prompt(scores) => {
                let mut logprobs = Logprobs::default();
                let scores = std::iter::once(None).chain(scores.into_iter().map(Some));
                for ((&id, &offset), score) in self.prompt.iter().zip(&self.offsets).zip(scores) {
                    logprobs.push(&self.app, id, offset, score);
                }
                part.logprobs = Some(logprobs);
            }
            Event::Piece { text, tokens } => {
                part.text = text;
                let mut logprobs = Logprobs::default();
                for token in tokens {
                    logprobs.push(&self.app, token.id, begin + token.start, token.score);
                }
                part.logprobs = self.logprobs.then_some(logprobs);
            }
            Event::Done { reason, new_tokens } => {
                self.new_tokens = new_tokens;
                self.done = true;
                part.finish_reason = Some(finish_reason(reason));
            }
            Event::Failed(error) => return Err(error),
        }
        Ok(part)
    }
}

/// A piece of an answer, or all of it.
#[derive(Debug, Default)]
struct Part {
    text: String,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

impl Part {
    fn append(&mut self, other: Self) {
        self.text += &other.text;
        if let (Some(own), Some(other)) = (&mut self.logprobs, other.logprobs) {
            own.append(other);
        }
        self.finish_reason = other.finish_reason;
    }

    fn document(self, index: usize) -> Value {
        let Self { text, logprobs, finish_reason } = self;
        json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason })
    }
}

/// Log-probabilities in the form of this route: four lists with an entry for each token.
#[derive(Debug, Default, Serialize)]
#[allow(clippy::struct_field_names, reason = "OpenAI's names")]
struct Logprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    top_logprobs: Vec<Option<Map<String, Value>>>,
    text_offset: Vec<usize>,
}

impl Logprobs {
    fn push(&mut self, app: &App, id: u32, offset: usize, score: Option<TokenScore>) {
        self.tokens.push(app.texts.text(id).to_owned());
        self.text_offset.push(offset);
        self.token_logprobs.push(score.as_ref().map(|score| score.logprob));
        self.top_logprobs.push(score.map(|score| {
            let own = app.texts.text(id);
            let mut top = Map::new();
            for (other, logprob) in score.top {
                let text = app.texts.text(other);
                // Of tokens with the same text the chosen one has it; another has the tokenizer's spelling.
                let taken = other != id && text == own;
                let text = if taken { app.texts.spelling(other) } else { text.to_owned() };
                top.entry(text).or_insert_with(|| json!(logprob));
            }
            top.entry(own).or_insert_with(|| json!(score.logprob));
            top
        }));
    }

    fn append(&mut self, mut other: Self) {
        self.tokens.append(&mut other.tokens);
        self.token_logprobs.append(&mut other.token_logprobs);
        self.top_logprobs.append(&mut other.top_logprobs);
        self.text_offset.append(&mut other.text_offset);
    }
}

/// All choices.
struct Answer {
    app: Arc<App>,
    id: String,
    created: u64,
    choices: Vec<Choice>,
    stream_usage: bool,
}

impl Answer {
    fn new(app: Arc<App>, choices: Vec<Choice>, stream_usage: bool) -> Self {
        let (id, created) = app.answer("cmpl");
        Self { app, id, created, choices, stream_usage }
    }

    fn part(&mut self, index: usize, event: Event) -> Result<Part, ApiError> {
        self.choices[index].part(event)
    }

    fn usage(&self) -> Value {
        super::usage(
            self.choices.iter().map(|choice| choice.prompt.len()).sum(),
            self.choices.iter().map(|choice| choice.new_tokens).sum(),
        )
    }

    /// `usage` may be left out, or null.
    fn document(&self, choices: &[Value], usage: Option<Value>) -> Value {
        let Self { app, id, created, .. } = self;
        let mut document = json!({
            "id": id, "object": "text_completion", "created": created, "model": app.config.name,
            "system_fingerprint": super::FINGERPRINT, "choices": choices,
        });
        if let Some(usage) = usage {
            document["usage"] = usage;
        }
        document
    }

    fn chunk(&self, index: usize, part: Part) -> String {
        sse::json(&self.document(&[part.document(index)], self.stream_usage.then_some(Value::Null)))
    }
}

impl Documents for Answer {
    fn first(&mut self) -> Vec<String> {
        let mut first = Vec::new();
        for index in 0..self.choices.len() {
            let part = self.choices[index].begin();
            if !part.text.is_empty() {
                first.push(self.chunk(index, Part { logprobs: None, ..part }));
            }
        }
        first
    }

    fn of(&mut self, index: usize, event: Event) -> Result<Vec<String>, ApiError> {
        let part = self.part(index, event)?;
        Ok(vec![self.chunk(index, part)])
    }

    fn complete(&self) -> bool {
        self.choices.iter().all(|choice| choice.done)
    }

    fn last(&mut self) -> Vec<String> {
        if !self.stream_usage {
            return Vec::new();
        }
        vec![sse::json(&self.document(&[], Some(self.usage())))]
    }
}

//! What all requests share.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use b158_checkpoint::{ChatOptions, ChatTemplate, Date, Message, Tokenizer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    auth::Key,
    config::Config,
    engine::{Command, Job},
    error::ApiError,
    metrics::Metrics,
    requests::completion::Prompt,
    token_texts::TokenTexts,
};

/// A model's conversations.
#[derive(Clone, Debug)]
pub struct Chat {
    /// The template that makes a prompt of a conversation.
    pub template: ChatTemplate,
    /// The text of the token that ends a sequence, for the template.
    pub eos_text: Option<String>,
    /// What `strftime_now` formats.
    pub date: Option<Date>,
    /// Tokens that end an answer.
    pub stop_tokens: Vec<u32>,
}

/// What all requests share.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) key: Option<Key>,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) texts: TokenTexts,
    pub(crate) chat: Option<Chat>,
    pub(crate) context: usize,
    pub(crate) vocab_size: usize,
    pub(crate) eos_tokens: Vec<u32>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) started: SystemTime,
    /// Places for requests: those that run and those that wait.
    pub(crate) places: Arc<Semaphore>,
    /// Turns of those who read a body into tokens, which takes a hundred times its bytes.
    pub(crate) readers: Arc<Semaphore>,
    /// Whether only names of this machine are answered: nothing else keeps the web pages of a browser here out.
    pub(crate) local_only: bool,
    pub(crate) draining: AtomicBool,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) answers: AtomicU64,
}

impl App {
    /// Requests that the server takes at once.
    pub(crate) fn capacity(config: &Config) -> usize {
        config.slots.saturating_add(config.queue).min(Semaphore::MAX_PERMITS)
    }

    pub(crate) fn has_model(&self, name: &str) -> bool {
        name == self.config.name || self.config.alias.as_deref() == Some(name)
    }

    /// An error once the server is about to stop.
    pub(crate) fn not_draining(&self) -> Result<(), ApiError> {
        if self.draining.load(Ordering::Acquire) { Err(ApiError::draining()) } else { Ok(()) }
    }

    /// A place for a request, or why there is none.
    pub(crate) fn place(&self) -> Result<Arc<OwnedSemaphorePermit>, ApiError> {
        self.not_draining()?;
        Arc::clone(&self.places).try_acquire_owned().map(Arc::new).map_err(|_| ApiError::queue_full())
    }

    /// Hands jobs to the engine.
    pub(crate) fn submit(&self, jobs: VecDeque<Job>) -> Result<(), ApiError> {
        self.commands.send(Command::Run(jobs)).map_err(|_| ApiError::draining())
    }

    /// When a request that comes now must be done.
    pub(crate) fn deadline(&self, arrived: Instant) -> Instant {
        // A hundred years where somebody says forever.
        arrived + self.config.timeout.min(Duration::from_hours(100 * 365 * 24))
    }

    /// An id that no other answer has, and the time in seconds.
    pub(crate) fn answer(&self, prefix: &str) -> (String, u64) {
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        (format!("{prefix}-{:x}-{number:x}", started.as_nanos() as u64), seconds(SystemTime::now()))
    }

    /// The token ids of a prompt.
    pub(crate) fn encode(&self, prompt: Prompt, add_special: bool) -> Result<Vec<u32>, ApiError> {
        match prompt {
            Prompt::Ids(ids) => Ok(ids),
            Prompt::Text(text) => self
                .tokenizer
                .encode(&text, add_special)
                .map_err(|error| ApiError::invalid("prompt", error.to_string())),
        }
    }

    /// The text and the token ids of a conversation.
    pub(crate) fn render(&self, messages: &[Message]) -> Result<Vec<u32>, ApiError> {
        let chat = self.chat.as_ref().ok_or_else(|| {
            ApiError::bad_request(
                "the model has no chat template\nhint: use /v1/completions, or start the server with --template FILE",
            )
        })?;
        let options = ChatOptions {
            add_generation_prompt: true,
            bos_token: self.tokenizer.bos_text(),
            eos_token: chat.eos_text.as_deref(),
            date: chat.date,
        };
        let invalid = |error: b158_checkpoint::Error| ApiError::invalid("messages", error.to_string());
        let text = chat.template.render(messages, &options).map_err(invalid)?;
        // The template writes the special tokens itself.
        self.tokenizer.encode(&text, false).map_err(invalid)
    }

    /// The new tokens that a prompt may have: as many as asked for, or `default`, or what the context leaves.
    pub(crate) fn new_tokens(
        &self,
        param: &str,
        prompt: &[u32],
        asked: Option<usize>,
        default: usize,
    ) -> Result<usize, ApiError> {
        if prompt.is_empty() {
            return Err(ApiError::invalid(param, "the prompt has no tokens\nhint: give at least one"));
        }
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= self.vocab_size) {
            let (size, last) = (self.vocab_size, self.vocab_size - 1);
            let message = format!(
                "token id {id} is outside the vocabulary of {size} tokens\nhint: valid ids are 0 to {last}"
            );
            return Err(ApiError::invalid(param, message));
        }
        // The last token of all is predicted, but not read.
        let limit = self.context.min(self.config.positions) + 1;
        let left = limit.saturating_sub(prompt.len());
        let wanted = asked.unwrap_or_else(|| default.min(left).max(1));
        if wanted > left || (wanted == 0 && prompt.len() > limit) {
            let message = format!(
                "a prompt of {} tokens with {wanted} new ones is longer than the context of {}\nhint: shorten the prompt, or ask for fewer tokens",
                prompt.len(),
                limit - 1,
            );
            return Err(ApiError::too_long(param, message));
        }
        Ok(wanted)
    }
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

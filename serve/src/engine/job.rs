//! What goes into the engine and what comes out.

use std::{sync::Arc, time::Instant};

use b158_runner::{Sampler, StopReason};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::scores::TokenScore;
use crate::error::ApiError;

/// Events of a request that may wait for its reader before its sequences leave their slots.
pub(crate) const EVENTS: usize = 256;

/// One prompt and what to do with it. Its ids are in the vocabulary, and it fits the context with `max_tokens`.
pub(crate) struct Job {
    /// Which of the request's prompts this is.
    pub(crate) index: usize,
    pub(crate) prompt: Vec<u32>,
    /// Whether the log-probabilities of the prompt's tokens are wanted.
    pub(crate) score_prompt: bool,
    /// Whether log-probabilities are wanted, and of how many of the most probable tokens beside the chosen one.
    pub(crate) top: Option<usize>,
    pub(crate) max_tokens: usize,
    pub(crate) sampler: Sampler,
    pub(crate) stop_tokens: Arc<[u32]>,
    pub(crate) stop_strings: Arc<[String]>,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
    /// Where the events go; closed when nobody wants them any more.
    pub(crate) events: mpsc::Sender<(usize, Event)>,
    /// The request's place among those that the server takes, given back with the last of its jobs.
    pub(crate) place: Arc<OwnedSemaphorePermit>,
}

impl Job {
    /// Whether both are of one request.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.place, &other.place)
    }

    /// Tokens that the model reads at most: the last one of an answer is predicted only, and so is that of a prompt
    /// after which nothing is generated.
    pub(crate) fn positions(&self) -> usize {
        (self.prompt.len() + self.max_tokens).saturating_sub(1)
    }
}

/// What is known of a job, in the order in which it becomes so.
#[derive(Debug)]
pub(crate) enum Event {
    /// The scores of the prompt's tokens from the second on.
    Prompt(Vec<TokenScore>),
    /// More text, and the tokens that begin in it.
    Piece { text: String, tokens: Vec<Token> },
    /// Nothing more comes.
    Done { reason: StopReason, new_tokens: usize },
    /// Nothing more comes, for this reason.
    Failed(ApiError),
}

/// A generated token.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) id: u32,
    /// Where its text begins in the answer, in characters.
    pub(crate) start: usize,
    pub(crate) score: Option<TokenScore>,
}

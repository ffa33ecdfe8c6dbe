//! One sequence: its session, its text, and the events that its reader has not taken yet.

use std::{collections::VecDeque, ops::Range};

use b158_checkpoint::Tokenizer;
use b158_kernels::Isa;
use b158_runner::{Model, Session, StopReason};
use tokio::sync::mpsc::error::TrySendError;

use super::{
    job::{Event, Job, Token},
    scores::TokenScore,
    text::Text,
};
use crate::{error::ApiError, metrics::Metrics};

/// A job that was admitted.
///
/// ```text
/// tokens    [ prompt                 | new tokens ]
///           [ read so far     ][ the next step's  ]     scores of the prompt on the way, then one new token a step
/// ```
pub(crate) struct Sequence<'m> {
    /// The cache; gone once the last token is there, and while others have its place.
    pub(crate) session: Option<Session<'m>>,
    pub(crate) state: State<'m>,
}

/// All of a sequence but its session.
pub(crate) struct State<'m> {
    job: Job,
    tokens: Vec<u32>,
    /// Scores of the prompt's tokens from the second on, and whether they are sent.
    scores: Vec<TokenScore>,
    scored: bool,
    text: Text<'m>,
    /// Events that the reader has no room for. Until it has, the sequence does not run.
    outbox: VecDeque<Event>,
    /// Whether the last event is made.
    finished: bool,
    /// Whether nobody reads any more.
    abandoned: bool,
}

/// What a step yields for one sequence: scores of prompt tokens, and the logits after the last token, if wanted.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) scores: Vec<TokenScore>,
    pub(crate) logits: Vec<f32>,
}

impl<'m> Sequence<'m> {
    pub(crate) fn new(
        model: &'m Model,
        tokenizer: &'m Tokenizer,
        job: Job,
    ) -> Result<Self, Box<(Job, ApiError)>> {
        let prepared = Text::new(tokenizer, &job.prompt, &job.stop_strings)
            .map_err(|error| ApiError::internal(error.to_string()))
            .and_then(|text| {
                let session = Session::new(model, job.positions().max(1));
                Ok((text, session.map_err(|error| ApiError::internal(error.to_string()))?))
            });
        let (text, session) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Err(Box::new((job, error))),
        };
        let state = State {
            tokens: job.prompt.clone(),
            scores: Vec::new(),
            scored: !job.score_prompt,
            text,
            outbox: VecDeque::new(),
            finished: false,
            abandoned: false,
            job,
        };
        let mut sequence = Self { session: Some(session), state };
        sequence.finish_if_read();
        Ok(sequence)
    }

    /// Positions that are set aside for it.
    pub(crate) fn reserved(&self) -> usize {
        self.session.as_ref().map_or(0, Session::capacity)
    }

    /// Positions that it has taken.
    pub(crate) fn used(&self) -> usize {
        self.session.as_ref().map_or(0, Session::len)
    }

    /// Whether the next step can do something for it: it has something to read, and its reader keeps up.
    pub(crate) fn is_ready(&self) -> bool {
        self.session.is_some() && self.state.outbox.is_empty()
    }

    /// Whether it could run if it had its cache, which it gave away.
    pub(crate) fn wants_back(&self) -> bool {
        self.session.is_none() && !self.state.finished && self.state.outbox.is_empty()
    }

    /// A cache for what was read before; it is read again.
    pub(crate) fn come_back(&mut self, model: &'m Model) {
        match Session::new(model, self.state.job.positions().max(1)) {
            Ok(session) => self.session = Some(session),
            Err(error) => self.fail(ApiError::internal(error.to_string())),
        }
    }

    /// Gives the cache of a sequence away that waits for its reader.
    pub(crate) fn give_way(&mut self) {
        if !self.state.outbox.is_empty() {
            self.session = None;
        }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_over(&self) -> bool {
        self.state.abandoned || (self.state.finished && self.state.outbox.is_empty())
    }

    /// Which tokens a step reads that has room for `room` of them.
    pub(crate) fn next_tokens(&self, room: usize) -> Range<usize> {
        let read = self.used();
        read..self.state.wanted().min(read.saturating_add(room))
    }

    /// A step's result.
    pub(crate) fn take(&mut self, output: Output, isa: Isa, metrics: &Metrics) {
        if let Err(error) = self.state.take(output, isa, metrics, &mut self.session) {
            self.fail(error);
        }
        self.finish_if_read();
    }

    /// Ends with an error.
    pub(crate) fn fail(&mut self, error: ApiError) {
        if !self.state.finished {
            self.session = None;
            self.state.end(Event::Failed(error));
        }
        self.flush();
    }

    /// Sends what the reader has room for.
    pub(crate) fn flush(&mut self) {
        let State { job, outbox, abandoned, .. } = &mut self.state;
        *abandoned |= job.events.is_closed();
        while let Some(event) = outbox.pop_front() {
            match job.events.try_send((job.index, event)) {
                Ok(()) => {}
                Err(TrySendError::Full((_, event))) => {
                    outbox.push_front(event);
                    break;
                }
                Err(TrySendError::Closed(_)) => {
                    *abandoned = true;
                    break;
                }
            }
        }
        if *abandoned {
            self.session = None;
        }
    }

    /// Ends a sequence of which only the prompt was wanted, once it is read.
    fn finish_if_read(&mut self) {
        if self.session.is_some() && self.state.job.max_tokens == 0 && self.used() >= self.state.wanted() {
            self.session = None;
            self.state.send_scores();
            self.state.end(Event::Done { reason: StopReason::MaxTokens, new_tokens: 0 });
        }
        self.flush();
    }
}

impl State<'_> {
    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many tokens are to be read: all, so that another follows; or, if none is to follow, those before the last
    /// one of the prompt, and only if its tokens are to be scored.
    fn wanted(&self) -> usize {
        match (self.job.max_tokens, self.job.score_prompt) {
            (0, false) => 0,
            (0, true) => self.job.prompt.len() - 1,
            _ => self.tokens.len(),
        }
    }

    /// Of the tokens that a step reads, the first after which logits are wanted.
    pub(crate) fn first_row(&self, read: &Range<usize>) -> usize {
        if !self.scored && read.start < self.job.prompt.len() {
            0
        } else if read.end == self.tokens.len() {
            read.len() - 1
        } else {
            read.len()
        }
    }

    /// What a row of logits after the token at `position` is for.
    pub(crate) fn take_row(&self, position: usize, row: &[f32], isa: Isa, output: &mut Output) {
        match self.tokens.get(position + 1) {
            Some(&next) => {
                output.scores.push(TokenScore::new(isa, row, next, self.job.top.unwrap_or(0)));
            }
            None => output.logits.extend_from_slice(row),
        }
    }

    fn take(
        &mut self,
        output: Output,
        isa: Isa,
        metrics: &Metrics,
        session: &mut Option<Session<'_>>,
    ) -> Result<(), ApiError> {
        let failed = |error: b158_checkpoint::Error| ApiError::internal(error.to_string());
        self.scores.extend(output.scores);
        if output.logits.is_empty() {
            return Ok(());
        }
        if self.tokens.len() == self.job.prompt.len() {
            metrics.first_token.observe(self.job.arrived.elapsed());
            self.send_scores();
        }
        let next = self.job.sampler.next(&output.logits, &self.tokens);
        let score = self.job.top.map(|top| TokenScore::new(isa, &output.logits, next, top));
        self.tokens.push(next);
        metrics.new_tokens.add(1);
        if self.job.stop_tokens.contains(&next) {
            // It has no text, but a score: clients that count on one for each new token drop the last.
            return self.finish(StopReason::StopToken, Some((next, score)), session).map_err(failed);
        }
        let certain = self.text.push(next, score).map_err(failed)?;
        if !certain.text.is_empty() || !certain.tokens.is_empty() {
            self.outbox.push_back(Event::Piece { text: certain.text, tokens: certain.tokens });
        }
        if certain.stopped {
            *session = None;
            self.done(StopReason::StopString);
        } else if self.new_tokens() == self.job.max_tokens {
            return self.finish(StopReason::MaxTokens, None, session).map_err(failed);
        }
        Ok(())
    }

    fn finish(
        &mut self,
        reason: StopReason,
        stop_token: Option<(u32, Option<TokenScore>)>,
        session: &mut Option<Session<'_>>,
    ) -> Result<(), b158_checkpoint::Error> {
        *session = None;
        let mut rest = self.text.finish()?;
        if let Some((id, score)) = stop_token.filter(|_| !rest.stopped) {
            rest.tokens.push(Token { id, start: self.text.len(), score });
        }
        if !rest.text.is_empty() || !rest.tokens.is_empty() {
            self.outbox.push_back(Event::Piece { text: rest.text, tokens: rest.tokens });
        }
        let reason = if rest.stopped { StopReason::StopString } else { reason };
        self.done(reason);
        Ok(())
    }

    fn done(&mut self, reason: StopReason) {
        self.end(Event::Done { reason, new_tokens: self.new_tokens() });
    }

    /// The last event.
    fn end(&mut self, event: Event) {
        self.finished = true;
        self.outbox.push_back(event);
    }

    fn new_tokens(&self) -> usize {
        self.tokens.len() - self.job.prompt.len()
    }

    fn send_scores(&mut self) {
        if !self.scored {
            self.scored = true;
            let scores = std::mem::take(&mut self.scores);
            self.outbox.push_back(Event::Prompt(scores));
        }
    }
}

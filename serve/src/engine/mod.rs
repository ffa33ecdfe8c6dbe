//! The engine: one thread that owns all sequences and runs them together, step by step.
//!
//! ```text
//! jobs ──► waiting ──► admitted: [ s0 ][ s1 ][ s2 ] ...            a slot and cache positions for each
//!            │               step: one token of each that decodes, then pieces of prompts, PREFILL tokens in all
//!            │                     └── forward_batch ──► log-probabilities, next tokens ──► events
//!            └─ of the requests, the one that has fewest slots; of equals, the first. One that does not fit is waited for
//! ```
//!
//! A job's answer does not depend on what runs beside it: the runner's bits do not depend on the batch, and each
//! job has a sampler of its own. A job whose reader does not keep up leaves its slot to others until it does, and
//! its cache, too, where they need it: what it held is read again. One whose reader is gone, or whose time is up, ends
//! before the next step. What a panic interrupts fails, and nothing else.

mod job;
mod scores;
mod sequence;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::VecDeque,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use b158_checkpoint::Tokenizer;
use b158_runner::{Model, Part, forward_batch};

use self::sequence::{Output, Sequence};
pub(crate) use self::{
    job::{EVENTS, Event, Job, Token},
    scores::TokenScore,
};
use crate::{error::ApiError, metrics::Metrics};

/// Tokens of prompts in one step, so that those who decode wait for at most one pass of the layers.
const PREFILL: usize = 256;

/// How often sequences that wait for their readers are looked at while nothing else runs.
const POLL: Duration = Duration::from_millis(5);

/// What the engine is told.
pub(crate) enum Command {
    /// The jobs of a request.
    Run(VecDeque<Job>),
    /// Leave; what still runs is dropped.
    Stop,
}

/// What the engine may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Sequences in one step.
    pub(crate) slots: usize,
    /// Cache positions of all sequences together.
    pub(crate) positions: usize,
}

/// All sequences of a model.
pub(crate) struct Engine<'m> {
    model: &'m Model,
    tokenizer: &'m Tokenizer,
    limits: Limits,
    metrics: Arc<Metrics>,
    /// Set when everything that runs is to end with an error.
    abort: Arc<AtomicBool>,
    /// Jobs of each request.
    waiting: VecDeque<VecDeque<Job>>,
    admitted: Vec<Sequence<'m>>,
    #[cfg(test)]
    panics: bool,
}

impl<'m> Engine<'m> {
    pub(crate) fn new(
        model: &'m Model,
        tokenizer: &'m Tokenizer,
        limits: Limits,
        metrics: Arc<Metrics>,
        abort: Arc<AtomicBool>,
    ) -> Self {
        Self {
            model,
            tokenizer,
            limits,
            metrics,
            abort,
            waiting: VecDeque::new(),
            admitted: Vec::new(),
            #[cfg(test)]
            panics: false,
        }
    }

    /// Runs until it is told to stop, or until nobody can send a job and none is left.
    pub(crate) fn run(&mut self, commands: &Receiver<Command>) {
        let mut open = true;
        while open || !self.is_idle() {
            if self.is_idle() {
                match commands.recv() {
                    Ok(Command::Run(jobs)) => self.waiting.push_back(jobs),
                    Ok(Command::Stop) | Err(_) => return,
                }
            }
            loop {
                match commands.try_recv() {
                    Ok(Command::Run(jobs)) => self.waiting.push_back(jobs),
                    Ok(Command::Stop) => return,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        open = false;
                        break;
                    }
                }
            }
            // The model does not change, and what was interrupted is not used again.
            let stepped = catch_unwind(AssertUnwindSafe(|| self.turn())).unwrap_or_else(|_| {
                let error = ApiError::internal("the engine failed while it ran this request");
                self.fail_all(&error);
                true
            });
            if !stepped && !self.is_idle() {
                match commands.recv_timeout(POLL) {
                    Ok(Command::Run(jobs)) => self.waiting.push_back(jobs),
                    Ok(Command::Stop) => return,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL),
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.admitted.is_empty()
    }

    /// Everything between two looks at new jobs. Returns whether something ran.
    fn turn(&mut self) -> bool {
        self.tidy();
        self.admit();
        let ran = self.step();
        self.admitted.retain(|sequence| !sequence.is_over());
        self.report();
        ran
    }

    /// Ends what nobody waits for and what took too long.
    fn tidy(&mut self) {
        if self.abort.load(Ordering::Acquire) {
            self.fail_all(&ApiError::draining());
        }
        let now = Instant::now();
        self.waiting.retain(|jobs| {
            let Some(job) = jobs.front() else { return false };
            if job.deadline <= now {
                fail(job, ApiError::timed_out());
            }
            job.deadline > now && !job.events.is_closed()
        });
        for sequence in &mut self.admitted {
            sequence.flush();
            if sequence.state.job().deadline <= now {
                sequence.fail(ApiError::timed_out());
            }
        }
        // A reader that has no room for the error either learns of it from the end of its events.
        self.admitted.retain(|sequence| !sequence.is_over() && sequence.state.job().deadline > now);
    }

    /// Fails every job.
    fn fail_all(&mut self, error: &ApiError) {
        for job in self.waiting.drain(..).flatten() {
            fail(&job, error.clone());
        }
        for mut sequence in self.admitted.drain(..) {
            sequence.fail(error.clone());
        }
    }

    /// Admits waiting jobs as long as there are slots and positions.
    fn admit(&mut self) {
        let mut free =
            self.limits.slots.saturating_sub(self.admitted.iter().filter(|s| s.is_ready()).count());
        for i in 0..self.admitted.len() {
            if free > 0
                && self.admitted[i].wants_back()
                && self.make_room(self.admitted[i].state.job().positions())
            {
                self.admitted[i].come_back(self.model);
                free -= 1;
            }
        }
        while free > 0 {
            let Some(request) = self.next_request() else { return };
            let wanted = self.waiting[request].front().map_or(0, Job::positions);
            if !self.make_room(wanted) {
                return;
            }
            let Some(job) = self.waiting[request].pop_front() else { return };
            if self.waiting[request].is_empty() {
                self.waiting.remove(request);
            }
            self.metrics.queue.observe(job.arrived.elapsed());
            self.metrics.prompt_tokens.add(job.prompt.len() as u64);
            match Sequence::new(self.model, self.tokenizer, job) {
                Ok(sequence) => {
                    free -= usize::from(sequence.is_ready());
                    self.admitted.push(sequence);
                }
                Err(failed) => fail(&failed.0, failed.1),
            }
        }
    }

    /// Of the requests with waiting jobs and a reader that keeps up, the one with the fewest admitted jobs; of equals
    /// the first. So a request of a thousand prompts does not keep others out.
    fn next_request(&self) -> Option<usize> {
        let ready = self.waiting.iter().enumerate().filter_map(|(i, jobs)| {
            let job = jobs.front().filter(|job| job.events.capacity() > 0)?;
            Some((self.admitted.iter().filter(|s| s.state.job().is_beside(job)).count(), i))
        });
        ready.min().map(|(_, i)| i)
    }

    /// Whether so many positions are free, if need be because sequences that wait for their readers give way.
    fn make_room(&mut self, wanted: usize) -> bool {
        let reserved = |admitted: &[Sequence<'_>]| admitted.iter().map(Sequence::reserved).sum::<usize>();
        let limit = self.limits.positions.saturating_sub(wanted);
        for i in (0..self.admitted.len()).rev() {
            if reserved(&self.admitted) <= limit {
                break;
            }
            self.admitted[i].give_way();
        }
        wanted <= self.limits.positions && reserved(&self.admitted) <= limit
    }

    /// One pass of the model over every sequence that is ready. Returns whether there was one.
    fn step(&mut self) -> bool {
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.panics), "as the test wants it");
        let mut room = PREFILL;
        let mut chosen: Vec<&mut Sequence<'m>> = Vec::new();
        let mut inputs: Vec<(Range<usize>, Vec<u32>)> = Vec::new();
        for sequence in self.admitted.iter_mut().filter(|s| s.is_ready()).take(self.limits.slots) {
            // A single token is always read: a sequence that decodes never waits for others' prompts.
            let left = sequence.next_tokens(usize::MAX).len();
            if left > 1 && room == 0 {
                continue;
            }
            let read = sequence.next_tokens(room.max(1));
            room -= if left > 1 { read.len() } else { 0 };
            inputs.push((read.clone(), sequence.state.tokens()[read].to_vec()));
            chosen.push(sequence);
        }
        if chosen.is_empty() {
            return false;
        }
        let isa = self.model.isa();
        let results = match forward(&mut chosen, &inputs, isa) {
            Ok(outputs) => outputs.into_iter().map(Ok).collect(),
            // One of them is to blame; the others go on.
            Err(_) if chosen.len() > 1 => {
                let alone = |(sequence, input)| {
                    let outputs = forward(std::slice::from_mut(sequence), std::slice::from_ref(input), isa);
                    outputs.map(|mut outputs| outputs.pop().unwrap_or_default())
                };
                chosen.iter_mut().zip(&inputs).map(alone).collect()
            }
            Err(error) => vec![Err(error)],
        };
        for (sequence, result) in chosen.into_iter().zip(results) {
            match result {
                Ok(output) => sequence.take(output, isa, &self.metrics),
                Err(error) => sequence.fail(ApiError::internal(error.to_string())),
            }
        }
        self.metrics.steps.add(1);
        true
    }

    fn report(&self) {
        let Metrics { waiting, active, positions_used, positions_reserved, .. } = &*self.metrics;
        waiting.set(self.waiting.iter().map(VecDeque::len).sum());
        active.set(self.admitted.iter().filter(|s| s.is_ready()).count().min(self.limits.slots));
        positions_used.set(self.admitted.iter().map(Sequence::used).sum());
        positions_reserved.set(self.admitted.iter().map(Sequence::reserved).sum());
    }
}

/// Reads the inputs of some sequences in one pass. If it fails, none of them has changed.
fn forward(
    sequences: &mut [&mut Sequence<'_>],
    inputs: &[(Range<usize>, Vec<u32>)],
    isa: b158_kernels::Isa,
) -> Result<Vec<Output>, b158_runner::Error> {
    let mut outputs: Vec<Output> = sequences.iter().map(|_| Output::default()).collect();
    let mut states = Vec::with_capacity(sequences.len());
    let mut parts = Vec::with_capacity(sequences.len());
    for (sequence, (read, tokens)) in sequences.iter_mut().zip(inputs) {
        let Sequence { session, state } = &mut **sequence;
        let Some(session) = session else { continue };
        let from = state.first_row(read);
        states.push((&*state, read.start + from));
        parts.push(Part { session, tokens, from });
    }
    forward_batch(&mut parts, |part, row| {
        let (state, position) = &mut states[part];
        state.take_row(*position, row, isa, &mut outputs[part]);
        *position += 1;
    })?;
    Ok(outputs)
}

/// Tells a job's reader why nothing comes.
fn fail(job: &Job, error: ApiError) {
    // A reader that has no room, or is gone, learns of it from the end of its events.
    let _ = job.events.try_send((job.index, Event::Failed(error)));
}

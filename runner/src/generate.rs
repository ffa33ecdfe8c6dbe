//! Text generation, token by token.

use std::{ops::ControlFlow, time::Instant};

use b158_checkpoint::Tokenizer;

use crate::{Error, Model, Sampler, Sampling, Session, StopStrings, awake::awake};

/// Tokens of a prompt between two looks at whether the caller still wants it. No result depends on it.
const PROMPT_TILE: usize = 512;

/// What to generate.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions {
    /// At most this many new tokens.
    pub max_tokens: usize,
    /// How to choose each token.
    pub sampling: Sampling,
    /// Tokens that end the text; they are not part of it.
    pub stop_tokens: Vec<u32>,
    /// Texts that end the text; they are not part of it. Only [`TextSession::generate_text`] looks for them.
    pub stop_strings: Vec<String>,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A stop token came.
    StopToken,
    /// A stop string came.
    StopString,
    /// `max_tokens` were generated.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// The caller said so.
    Caller,
}

/// The generated tokens and why there are no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The new tokens, without the prompt and the stop token.
    pub tokens: Vec<u32>,
    /// Why generation ended.
    pub reason: StopReason,
    /// Counts and times.
    pub statistics: Statistics,
}

/// Counts and times of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of them the session held already.
    pub reused_tokens: usize,
    /// How many of them were run: the others, unless the caller broke off before.
    pub run_tokens: usize,
    /// Seconds for the prompt, up to its logits.
    pub prompt_seconds: f64,
    /// New tokens.
    pub new_tokens: usize,
    /// Passes of one token: the first new token follows from the prompt without one, and the last is not run.
    pub decode_steps: usize,
    /// Seconds after the prompt.
    pub decode_seconds: f64,
}

impl Statistics {
    /// Prompt tokens run per second.
    pub fn prompt_rate(&self) -> f64 {
        rate(self.run_tokens, self.prompt_seconds)
    }

    /// Passes of one token per second.
    pub fn decode_rate(&self) -> f64 {
        rate(self.decode_steps, self.decode_seconds)
    }
}

fn rate(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Generated text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextGeneration {
    /// The text, without prompt, stop token and stop string.
    pub text: String,
    /// Its tokens, among them those of a stop string, and why it ended.
    pub generation: Generation,
}

/// Continues `prompt` in `session`, after what it holds; `on_token` sees each token as it comes and may break.
///
/// The repetition penalty knows `prompt` and what follows, and not what the session held before: a session does
/// not keep its tokens. [`TextSession`] passes the whole text as the prompt, so there it knows all.
///
/// # Errors
/// Sampling options outside their range, and what [`Session::forward`] refuses.
pub fn generate(
    session: &mut Session<'_>,
    prompt: &[u32],
    options: &GenerateOptions,
    mut on_token: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<Generation, Error> {
    let mut held = Vec::new();
    let mut on_token = |token: Option<u32>| token.map_or(ControlFlow::Continue(()), &mut on_token);
    run(session, &mut held, prompt, 0, options, &mut on_token)
}

/// A session that knows which tokens it holds: a prompt that begins with them costs only the rest. It
/// serves one conversation, or one prompt after the other.
///
/// ```no_run
/// use std::{ops::ControlFlow, path::Path};
/// use b158_checkpoint::Checkpoint;
/// use b158_runner::{GenerateOptions, LoadOptions, Model, Session, TextSession};
///
/// let checkpoint = Checkpoint::open(Path::new("model.gguf"))?;
/// let tokenizer = checkpoint.tokenizer()?;
/// let model = Model::load(&checkpoint, LoadOptions::default())?;
/// let mut session = TextSession::new(&model, Session::new(&model, model.context())?);
/// let prompt = tokenizer.encode("The keeper", true)?;
/// let options = GenerateOptions { max_tokens: 32, ..GenerateOptions::default() };
/// let generated = session.generate_text(&tokenizer, &prompt, &options, |piece| {
///     print!("{piece}");
///     ControlFlow::Continue(())
/// })?;
/// eprintln!("{:?}", generated.generation.reason);
/// # Ok::<(), b158_runner::Error>(())
/// ```
pub struct TextSession<'m> {
    model: &'m Model,
    session: Session<'m>,
    held: Vec<u32>,
}

impl<'m> TextSession<'m> {
    /// Takes a session of `model`; what it holds is forgotten.
    pub fn new(model: &'m Model, mut session: Session<'m>) -> Self {
        session.truncate(0);
        Self { model, session, held: Vec::new() }
    }

    /// The tokens that the session holds.
    pub fn tokens(&self) -> &[u32] {
        &self.held
    }

    /// Tokens that the session can hold.
    pub fn capacity(&self) -> usize {
        self.session.capacity()
    }

    /// Continues `prompt`, the whole text so far. What of it the session holds already is not run again.
    ///
    /// `on_token` sees each token as it comes, and `None` now and then while the prompt is run; it may break.
    ///
    /// # Errors
    /// An empty prompt or one that the context does not hold, sampling options outside their range, and what
    /// [`Session::forward`] refuses.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
        mut on_token: impl FnMut(Option<u32>) -> ControlFlow<()>,
    ) -> Result<Generation, Error> {
        let Some(last) = prompt.len().checked_sub(1) else {
            return Err(Error::Empty { what: "prompt" });
        };
        if prompt.len() > self.capacity() {
            let limit = self.model.config().context_length;
            return Err(Error::ContextFull { wanted: prompt.len(), capacity: self.capacity(), limit });
        }
        let same = self.held.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // The last token is run in any case: its logits are not kept.
        let reused = same.min(last);
        self.session.truncate(reused);
        self.held.truncate(reused);
        run(&mut self.session, &mut self.held, prompt, reused, options, &mut on_token)
    }

    /// The same as text: `on_text` sees each piece as it becomes certain, mostly a token's, and may break. It
    /// is called for each token, with an empty text if there is none to show.
    ///
    /// # Errors
    /// As [`TextSession::generate`], and tokens that the tokenizer cannot decode.
    pub fn generate_text(
        &mut self,
        tokenizer: &Tokenizer,
        prompt: &[u32],
        options: &GenerateOptions,
        mut on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<TextGeneration, Error> {
        // After the prompt: a token's text may depend on the one before it.
        let mut stream = tokenizer.decode_stream_after(prompt, true)?;
        let mut stops = StopStrings::new(options.stop_strings.iter().map(String::as_str));
        let (mut text, mut stopped, mut failure) = (String::new(), false, None);
        let mut generation = self.generate(prompt, options, |token| {
            let piece = match token.map_or(Ok(String::new()), |token| stream.push(token)) {
                Ok(piece) => piece,
                Err(error) => {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
            };
            let (certain, found) = stops.push(&piece);
            stopped = found;
            text.push_str(&certain);
            let wanted = on_text(&certain);
            if found { ControlFlow::Break(()) } else { wanted }
        })?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        if !stopped {
            let (mut rest, found) = stops.push(&stream.finish()?);
            stopped = found;
            if !found {
                rest += &stops.finish();
            }
            text.push_str(&rest);
            // Nothing is left to break.
            let _ = on_text(&rest);
        }
        if stopped {
            generation.reason = StopReason::StopString;
        }
        Ok(TextGeneration { text, generation })
    }
}

/// Runs `prompt[reused..]` and generates. `held` follows what the session holds.
fn run(
    session: &mut Session<'_>,
    held: &mut Vec<u32>,
    prompt: &[u32],
    reused: usize,
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(Option<u32>) -> ControlFlow<()>,
) -> Result<Generation, Error> {
    let mut sampler = Sampler::new(options.sampling)?;
    let start = Instant::now();
    let mut statistics =
        Statistics { prompt_tokens: prompt.len(), reused_tokens: reused, ..Statistics::default() };
    let mut tokens: Vec<u32> = Vec::new();

    // All tiles but the last, without logits.
    let rest = &prompt[reused..];
    let (before, tile) = rest.split_at(rest.len().saturating_sub(1) / PROMPT_TILE * PROMPT_TILE);
    for tile in before.chunks(PROMPT_TILE) {
        session.forward(tile, tile.len())?;
        held.extend_from_slice(tile);
        statistics.run_tokens += tile.len();
        if on_token(None).is_break() {
            statistics.prompt_seconds = start.elapsed().as_secs_f64();
            return Ok(Generation { tokens, reason: StopReason::Caller, statistics });
        }
    }
    let mut logits = session.forward(tile, tile.len().saturating_sub(1))?;
    held.extend_from_slice(tile);
    statistics.run_tokens += tile.len();
    statistics.prompt_seconds = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let mut history = prompt.to_vec();
    let reason = loop {
        if tokens.len() == options.max_tokens {
            break StopReason::MaxTokens;
        }
        let next = sampler.next(logits.as_slice().expect("standard layout"), &history);
        if options.stop_tokens.contains(&next) {
            break StopReason::StopToken;
        }
        tokens.push(next);
        history.push(next);
        if on_token(Some(next)).is_break() {
            break StopReason::Caller;
        }
        if tokens.len() == options.max_tokens {
            break StopReason::MaxTokens;
        }
        if session.len() == session.capacity() {
            break StopReason::ContextFull;
        }
        // Not while the caller looks at the token, which may take as long as it likes.
        logits = awake(|| session.forward(&[next], 0))?;
        held.push(next);
        statistics.decode_steps += 1;
    };
    statistics.new_tokens = tokens.len();
    statistics.decode_seconds = start.elapsed().as_secs_f64();
    Ok(Generation { tokens, reason, statistics })
}

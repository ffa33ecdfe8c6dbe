//! The course of training: one twin after the other, each from its first step or from where it was interrupted.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use b158_checkpoint::{ModelConfig, OutputError, OutputFile, OutputFolder};
use serde::Serialize;

use crate::{
    Error, Scheme,
    curve::{self, Curve, Measurement, Point},
    error,
    export::Export,
    gradient::{Workers, loss_and_gradients},
    held_out::{self, HeldOut},
    model::Architecture,
    optimizer,
    parameters::{self, Parameter},
    recipe::{RecipeFile, Twin},
    state::{self, Progress},
    text::{self, Text},
    tokenizer::Vocabulary,
    windows::{Order, Windows},
};

/// How to train.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// Where twins, states and curves go.
    pub output: PathBuf,
    /// Whether to go on from what is there.
    pub resume: bool,
    /// Bytes of memory that there are, if that is known.
    pub memory: Option<u64>,
}

/// Sees what happens.
pub trait Observer {
    /// What is done before the first twin begins.
    fn prepare(&self, what: &str);
    /// A twin begins or goes on; `done` of `steps` steps are done.
    fn begin(&self, twin: &str, done: usize, steps: usize);
    /// A step is done. False ends training, with its state on disk.
    fn step(&self, point: &Point, tokens_per_second: f64) -> bool;
    /// The twin is done.
    fn end(&self);
}

/// What became of a twin.
#[derive(Debug, Clone, Serialize)]
pub struct TwinReport {
    /// Its name.
    pub name: String,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its folder.
    pub path: PathBuf,
    /// Weights of its linear layers.
    pub linear_weights: usize,
    /// All its weights.
    pub weights: usize,
    /// Perplexity of held-out text.
    pub held_out: HeldOut,
    /// The same text, after the linear layers of a full-precision twin were made ternary without training for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_training: Option<HeldOut>,
    /// Steps of this run: fewer than the recipe's if it went on from a state.
    pub steps: usize,
    /// What they took.
    pub seconds: f64,
    /// Tokens of a step times steps, by seconds.
    pub tokens_per_second: f64,
}

/// What became of a recipe.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The recipe's name.
    pub recipe: String,
    /// SHA-256 of the recipe's meaning.
    pub recipe_sha256: String,
    /// SHA-256 of its text.
    pub data_sha256: String,
    /// Documents that were left out of what is learnt from, since they are held out.
    pub left_out: usize,
    /// Windows of text to learn from.
    pub windows: usize,
    /// Times that each of them was read.
    pub epochs: f64,
    /// Threads that computed.
    pub threads: usize,
    /// The twins, in the recipe's order.
    pub twins: Vec<TwinReport>,
}

/// What all twins of a recipe share.
struct Run<'a> {
    recipe: &'a RecipeFile,
    options: &'a TrainOptions,
    data: String,
    vocabulary: Vocabulary,
    train: Windows,
    held_out: Windows,
    workers: &'a Workers,
}

/// Trains every twin of a recipe and writes its folder, the curves and, on the way, states to go on from.
///
/// # Errors
/// See [`Error`]. What was done is on disk up to the last state; [`TrainOptions::resume`] goes on from it.
pub fn train(
    recipe: &RecipeFile,
    options: &TrainOptions,
    workers: &Workers,
    observer: &dyn Observer,
) -> Result<Report, Error> {
    let text_bytes = text::bytes(recipe)?;
    for twin in &recipe.recipe.twins {
        check_memory(recipe, twin, text_bytes, options, workers)?;
    }
    check_output(recipe, &options.output)?;
    observer.prepare("text");
    let text = Text::load(recipe)?;
    observer.prepare("tokenizer");
    let vocabulary = Vocabulary::load(recipe, &text)?;
    observer.prepare("tokens");
    let context = recipe.recipe.shape.context;
    let train = Windows::new(&text.train, &vocabulary, context, &text.origins[0])?;
    let held_out = Windows::new(&text.held_out, &vocabulary, context, &text.origins[1])?;
    let (data, left_out) = (text.digest.clone(), text.left_out);
    // Only its tokens are needed from here on.
    drop(text);
    let run = Run { recipe, options, data, vocabulary, train, held_out, workers };

    let mut curves = Vec::new();
    let mut twins = Vec::new();
    for twin in &recipe.recipe.twins {
        let (report, curve) = run.twin(twin, observer)?;
        curves.push((twin.name.clone(), curve));
        twins.push(report);
        curve::write(&options.output, &curves)?;
    }
    let recipe = &recipe.recipe;
    Ok(Report {
        recipe: recipe.recipe.clone(),
        recipe_sha256: recipe.digest(),
        data_sha256: run.data.clone(),
        left_out,
        windows: run.train.len(),
        epochs: (recipe.steps * recipe.batch.sequences) as f64 / run.train.len() as f64,
        threads: workers.threads(),
        twins,
    })
}

impl Run<'_> {
    fn twin(&self, twin: &Twin, observer: &dyn Observer) -> Result<(TwinReport, Curve), Error> {
        let recipe = &self.recipe.recipe;
        let config = ModelConfig {
            bos_token: self.vocabulary.begin,
            eos_tokens: self.vocabulary.end.into_iter().collect(),
            ..recipe.config(twin)
        };
        let architecture = Architecture::new(config, twin.scheme, twin.groups);
        let mut parameters = parameters::initial(&architecture.config, recipe.seed);
        let mut progress = Progress {
            recipe: recipe.digest(),
            data: self.data.clone(),
            tokenizer: self.vocabulary.digest.clone(),
            twin: twin.name.clone(),
            step: 0,
            curve: Curve::default(),
        };
        let state = state::path(&self.options.output, &twin.name);
        if self.options.resume && state.exists() {
            progress = state::load(&state, &architecture.config, &mut parameters, &progress, recipe.steps)?;
        }

        observer.begin(&twin.name, progress.step, recipe.steps);
        let first = progress.step;
        let seconds = self.steps(twin, &architecture, &mut parameters, &mut progress, observer)?;
        observer.end();

        let held_out = progress.curve.held_out.last().expect("measured after the last step").held_out;
        let path = self.options.output.join(&twin.name);
        let export = Export {
            recipe: self.recipe,
            twin,
            config: &architecture.config,
            vocabulary: &self.vocabulary,
            data: &self.data,
            held_out,
        };
        export.write(&path, &parameters)?;
        let count = |linear: bool| {
            let counted = parameters.iter().filter(|p| p.id.is_linear() || !linear);
            counted.map(|p| p.values.len()).sum()
        };
        let steps = recipe.steps - first;
        let tokens = steps * recipe.batch.sequences * recipe.shape.context;
        let report = TwinReport {
            name: twin.name.clone(),
            scheme: twin.scheme,
            path,
            linear_weights: count(true),
            weights: count(false),
            held_out,
            post_training: self.post_training(&architecture, &parameters)?,
            steps,
            seconds: seconds.as_secs_f64(),
            tokens_per_second: if steps == 0 { 0.0 } else { tokens as f64 / seconds.as_secs_f64() },
        };
        Ok((report, progress.curve))
    }

    /// Does the steps that are left; returns what they took.
    fn steps(
        &self,
        twin: &Twin,
        architecture: &Architecture,
        parameters: &mut [Parameter],
        progress: &mut Progress,
        observer: &dyn Observer,
    ) -> Result<Duration, Error> {
        let recipe = &self.recipe.recipe;
        let state = state::path(&self.options.output, &twin.name);
        let mut order = Order::new(recipe.seed, self.train.len());
        let tokens = (recipe.batch.sequences * recipe.shape.context) as f64;
        let mut saved = progress.step;
        let mut spent = Duration::ZERO;
        while progress.step < recipe.steps {
            let began = Instant::now();
            let step = progress.step;
            let windows: Vec<&[u32]> =
                order.step(step, recipe.batch.sequences).into_iter().map(|i| self.train.get(i)).collect();
            let (loss, mut gradients) =
                loss_and_gradients(architecture, parameters, &windows, recipe.batch.micro, self.workers)?;
            let norm = optimizer::clip(&mut gradients, recipe.clip);
            let rate = twin.schedule.rate(step, recipe.steps);
            let diverged = |quantity, value| {
                let twin = twin.name.clone();
                Err(Error::Diverged { twin, step: step + 1, quantity, value, rate, checkpoint: saved })
            };
            if !loss.is_finite() {
                return diverged("the loss", loss);
            }
            if !norm.is_finite() {
                return diverged("the norm of the gradient", norm);
            }
            let decay = twin.schedule.decay(step, recipe.steps);
            optimizer::update(parameters, &gradients, step + 1, rate, decay);
            for parameter in parameters.iter_mut().filter(|p| p.id.is_linear()) {
                twin.scheme.clip_latent(&mut parameter.values);
            }
            if let Some(weight) = parameters::beyond_f16(parameters) {
                return diverged("a weight (65504 at most)", f64::from(weight));
            }
            progress.step += 1;
            let point = Point { step: progress.step, loss, rate, norm };
            progress.curve.steps.push(point);
            let took = began.elapsed();
            spent += took;

            let done = progress.step == recipe.steps;
            if done || progress.step.is_multiple_of(recipe.held_out_every) {
                let held_out = self.measure(architecture, parameters)?;
                if !held_out.interval[1].is_finite() {
                    return diverged("the loss on held-out text", held_out.nats);
                }
                progress.curve.held_out.push(Measurement { step: progress.step, held_out });
            }
            let go_on = observer.step(&point, tokens / took.as_secs_f64()) || done;
            if done || !go_on || progress.step.is_multiple_of(recipe.checkpoint_every) {
                state::save(&state, &architecture.config, parameters, progress)?;
                saved = progress.step;
            }
            if !go_on {
                return Err(Error::Stopped { step: progress.step, steps: recipe.steps });
            }
        }
        Ok(spent)
    }

    fn measure(&self, architecture: &Architecture, parameters: &[Parameter]) -> Result<HeldOut, Error> {
        let limit = self.recipe.recipe.held_out_windows;
        held_out::measure(architecture, parameters, &self.held_out, limit, self.workers)
    }

    fn post_training(
        &self,
        trained: &Architecture,
        parameters: &[Parameter],
    ) -> Result<Option<HeldOut>, Error> {
        if trained.scheme != Scheme::Fp16 {
            return Ok(None);
        }
        let ternary = Architecture::new(trained.config.clone(), Scheme::B158, 1);
        self.measure(&ternary, parameters).map(Some)
    }
}

/// Finds out whether everything can be written that will have to be, and nothing is there that others wrote.
fn check_output(recipe: &RecipeFile, output: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(output).map_err(|source| OutputError { file: output.to_owned(), source })?;
    for twin in &recipe.recipe.twins {
        OutputFolder::create(&output.join(&twin.name))?;
        OutputFile::create(&state::path(output, &twin.name))?;
    }
    for file in curve::FILES {
        OutputFile::create(&output.join(file))?;
    }
    Ok(())
}

/// An estimate, from what one forward and backward pass keeps.
fn check_memory(
    recipe: &RecipeFile,
    twin: &Twin,
    text: u64,
    options: &TrainOptions,
    workers: &Workers,
) -> Result<(), Error> {
    let Some(available) = options.memory else { return Ok(()) };
    // The text, and twice its tokens, in four bytes for about as many letters.
    let text = text.saturating_mul(4);
    if text > available {
        let [text, available] = [text, available].map(error::bytes);
        let message = format!("the text of data takes about {text} and {available} are available");
        return Err(recipe.error(message, "give less of it"));
    }
    let (needed, per_sequence) = memory(recipe, twin, workers.threads());
    let needed = needed.saturating_add(text);
    if needed <= available {
        return Ok(());
    }
    let file = recipe.path.display().to_string();
    let (twin, micro) = (twin.name.clone(), recipe.recipe.batch.micro);
    Err(Error::Memory { file, twin, needed, available, per_sequence, micro })
}

/// Bytes that training a twin takes, and those of them for each sequence of a micro-batch on each thread.
pub fn memory(recipe: &RecipeFile, twin: &Twin, threads: usize) -> (u64, u64) {
    let recipe = &recipe.recipe;
    let config = recipe.config(twin);
    let (c, f, t) =
        (config.hidden_size as u128, config.intermediate_size as u128, config.context_length as u128);
    // Of a layer and a token: norms, quantized inputs, projections, split and merged heads, residuals; the
    // feed-forward network's five or six; scores and probabilities. Then logits with their gradient, and a half again
    // for gradients that live at the same time.
    let layer = 16 * c + 6 * f + 2 * config.heads as u128 * t;
    let token = config.layers as u128 * layer + 3 * config.vocab_size as u128;
    let per_sequence = t * token * 4 * 3 / 2;
    let attention = 2 * c * (c + config.kv_heads as u128 * config.head_dim as u128);
    let weights = config.layers as u128 * (attention + 3 * c * f)
        + config.vocab_size as u128 * c * if config.tied_embeddings { 1 } else { 2 };
    let at_once = threads.min(recipe.batch.sequences.div_ceil(recipe.batch.micro)) as u128;
    // Weights and two moments; the forward pass's copy, and gradients of each thread as candle and as we have them,
    // with their sum; or a state on its way to its file, twice.
    let fixed = weights * 4 * (3 + (2 + 2 * at_once).max(6));
    let at_once = at_once * recipe.batch.micro as u128;
    // Wide enough for the largest sizes that a recipe may have.
    let bytes = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    (bytes(fixed + at_once * per_sequence), bytes(per_sequence))
}

/// Removes the states of twins that are done.
///
/// # Errors
/// A file that cannot be removed.
pub fn remove_states(recipe: &RecipeFile, output: &Path) -> Result<(), Error> {
    for twin in &recipe.recipe.twins {
        let path = state::path(output, &twin.name);
        if path.exists() {
            std::fs::remove_file(&path).map_err(|source| OutputError { file: path, source })?;
        }
    }
    Ok(())
}

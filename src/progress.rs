//! Progress bars: on standard error, and only if it is a terminal.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use b158_eval::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of `total` steps, or nothing at all where standard error is no terminal.
pub fn bar(label: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("{prefix:>24} {bar:30} {pos}/{len} {eta}").expect("a constant template");
    bar.set_style(style);
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A bar of `total` bytes with rate and time left, likewise.
pub fn bytes(label: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    style_bytes(&bar, label);
    bar
}

/// Makes a bar count bytes.
pub fn style_bytes(bar: &ProgressBar, label: &str) {
    let template = "{prefix:>32} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(template).expect("a constant template"));
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
}

/// Progress over all models and tasks of a suite, in tokens, with the time left.
///
/// How many tokens the models to come will read is not known before their tokenizers have seen the tasks; they are
/// taken for as many as those of the models so far.
pub struct SuiteBar {
    models: usize,
    state: Mutex<SuiteState>,
}

#[derive(Default)]
struct SuiteState {
    bar: Option<ProgressBar>,
    model: String,
    /// Models begun, and tokens of all of them.
    begun: usize,
    tokens: u64,
}

impl SuiteBar {
    /// For so many models. It shows nothing before the first begins.
    pub fn new(models: usize) -> Self {
        Self { models, state: Mutex::default() }
    }

    /// The next model's name.
    pub fn model(&self, name: &str) {
        name.clone_into(&mut self.state().model);
    }

    fn state(&self) -> MutexGuard<'_, SuiteState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for SuiteBar {
    fn begin(&self, tokens: u64) {
        let mut state = self.state();
        state.begun += 1;
        state.tokens += tokens;
        let to_come = self.models.saturating_sub(state.begun) as u64;
        let total = state.tokens + state.tokens / state.begun as u64 * to_come;
        let bar = state.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = "{msg:>36} {bar:30} {human_pos}/{human_len} tokens, {per_sec}, {eta} left";
            bar.set_style(ProgressStyle::with_template(template).expect("a constant template"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        bar.set_length(total);
    }

    fn task(&self, task: &str) {
        let state = self.state();
        if let Some(bar) = &state.bar {
            bar.set_message(format!("{} {task}", state.model));
        }
    }

    fn advance(&self, tokens: u64) {
        if let Some(bar) = &self.state().bar {
            bar.inc(tokens);
        }
    }

    fn end(&self) {
        let mut state = self.state();
        if state.begun >= self.models
            && let Some(bar) = state.bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

impl Drop for SuiteBar {
    fn drop(&mut self) {
        // An error message shall not stand behind half a bar.
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }
}

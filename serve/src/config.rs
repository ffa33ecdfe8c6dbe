//! What the server may take and must keep to.

use std::time::Duration;

use b158_kernels::kv::KvPage;
use b158_runner::{Model, memory};

/// Limits and names of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The model's name in requests and answers.
    pub name: String,
    /// Another name that requests may use, such as the path that the model was loaded from.
    pub alias: Option<String>,
    /// Demanded of every request but `/health`, as `Authorization: Bearer KEY`.
    pub api_key: Option<String>,
    /// Bytes of a request's body at most.
    pub max_body: usize,
    /// New tokens of an answer at most; `None` leaves it to the context.
    pub max_tokens: Option<usize>,
    /// Sequences that run at once.
    pub slots: usize,
    /// Requests that wait beyond those that fill the slots; further ones are refused with 429.
    pub queue: usize,
    /// Positions of the key-value caches of all sequences together.
    pub positions: usize,
    /// What a request may take, its time in the queue included.
    pub timeout: Duration,
    /// What running requests may take after the signal to stop.
    pub drain: Duration,
}

/// Cache positions that fit into three quarters of `available` bytes (`None` stands for what the system says), but no
/// more than `slots` sequences of the whole context take: the default of [`Config::positions`].
///
/// The model's own weights are taken already.
pub fn positions(model: &Model, slots: usize, available: Option<u64>) -> usize {
    let (config, all) = (model.config(), slots.saturating_mul(model.context()));
    let Some(available) = available.or_else(memory::available) else { return all };
    let page = (KvPage::bytes(model.kv(), config.kv_heads, config.head_dim) * config.layers) as u64;
    let pages = (available / 4 * 3 / page.max(1)) as usize;
    // The last page of each sequence is full or not.
    let fits = pages.saturating_sub(slots).saturating_mul(KvPage::POSITIONS);
    all.min(fits.max(KvPage::POSITIONS))
}

//! How far a candidate's predictions are from the baseline's, token by token, whatever the right token is.
//!
//! ```text
//!   text ── tokens ──► windows of `context` tokens, the first of each replaced by BOS
//!                        |     read only     |         scored          |
//!                        0               context/2                 context
//!   at each scored position, p of the baseline and q of the candidate over the whole vocabulary:
//!     KL         sum p ln(p / q)              in nats; 0 if and only if they predict the same
//!     same top   argmax p = argmax q
//!     Δp         q(token) - p(token)          of the token that follows in the text
//! ```
//!
//! What is reported, and how (mean and standard error over tokens, quantiles by linear interpolation, RMS of Δp with the
//! error 0.5 / RMS of that of the square, share of equal tops with a binomial error, correlation and ratio of the
//! perplexities), is what llama.cpp's `perplexity --kl-divergence` reports for the same windows. It reads the
//! baseline's logits from a file of 11 to 37 GB, rounded to 16 bits; here both models run side by side, and no more
//! than the logits of one window of each are in memory.
//!
//! Standard errors over tokens take tokens for independent, which those of one window are not: beside the mean is a 95 %
//! interval by a bootstrap that draws whole windows ([`crate::bootstrap`]).

use b158_runner::{Model, Session, argmax};
use rayon::prelude::*;
use serde::Serialize;

use crate::Error;
use crate::bootstrap::{Resampling, resample};

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KlOptions {
    /// Tokens of a window; both models must be able to read so many.
    pub context: usize,
    /// The bootstrap of windows.
    pub resampling: Resampling,
}

impl Default for KlOptions {
    /// Windows as llama.cpp has them.
    fn default() -> Self {
        Self { context: 512, resampling: Resampling::default() }
    }
}

/// A value and its standard error over tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

/// How values are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// The smallest.
    pub minimum: f64,
    /// 0.1 % are below.
    pub q001: f64,
    /// 1 % are below.
    pub q01: f64,
    /// 5 % are below.
    pub q05: f64,
    /// 10 % are below.
    pub q10: f64,
    /// A quarter is below.
    pub q25: f64,
    /// Half are below.
    pub median: f64,
    /// Three quarters are below.
    pub q75: f64,
    /// 90 % are below.
    pub q90: f64,
    /// 95 % are below.
    pub q95: f64,
    /// 99 % are below.
    pub q99: f64,
    /// 99.9 % are below.
    pub q999: f64,
    /// The largest.
    pub maximum: f64,
}

/// The comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KlReport {
    /// Tokens of a window.
    pub context: usize,
    /// Number of windows.
    pub windows: usize,
    /// Tokens that were scored.
    pub tokens: usize,
    /// Perplexity of the baseline over the scored tokens.
    pub perplexity_base: Estimate,
    /// That of the candidate.
    pub perplexity_candidate: Estimate,
    /// Candidate's perplexity over the baseline's; the error takes their correlation into account.
    pub perplexity_ratio: Estimate,
    /// Pearson's correlation of the tokens' log-likelihoods.
    pub correlation: f64,
    /// Mean Kullback-Leibler divergence of the candidate from the baseline, in nats a token.
    pub kl: Estimate,
    /// 95 % interval of that mean, windows being drawn; none with a single window.
    pub kl_interval: Option<(f64, f64)>,
    /// The divergences of the tokens.
    pub kl_quantiles: Quantiles,
    /// Share of tokens whose most probable prediction is the same (the first of equals).
    pub same_top: Estimate,
    /// Mean change of the right token's probability.
    pub delta_p: Estimate,
    /// Root mean square of that change.
    pub delta_p_rms: Estimate,
    /// The changes of the tokens.
    pub delta_p_quantiles: Quantiles,
}

/// What one position says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Position {
    kl: f64,
    same_top: bool,
    /// Negative log-likelihoods of the right token.
    base: f64,
    candidate: f64,
}

impl Position {
    /// Whether both models gave numbers: a divergence may be infinite, but not what the perplexities are of.
    fn is_sound(&self) -> bool {
        !self.kl.is_nan() && self.base.is_finite() && self.candidate.is_finite()
    }

    /// From both models' logits over the vocabulary, and the token that follows.
    fn new(base: &[f32], candidate: &[f32], token: usize) -> Self {
        let (p, q) = (log_sum_exp(base), log_sum_exp(candidate));
        let mut kl = 0.0;
        for (x, y) in base.iter().zip(candidate) {
            let (ln_p, ln_q) = (f64::from(*x) - p, f64::from(*y) - q);
            let share = libm::exp(ln_p);
            // What the baseline excludes does not count, whatever the candidate says of it.
            if share != 0.0 {
                kl += share * (ln_p - ln_q);
            }
        }
        Self {
            // Rounding may step below; what is no number stays none.
            kl: if kl < 0.0 { 0.0 } else { kl },
            same_top: argmax(base) == argmax(candidate),
            base: p - f64::from(base[token]),
            candidate: q - f64::from(candidate[token]),
        }
    }

    fn delta_p(&self) -> f64 {
        libm::exp(-self.candidate) - libm::exp(-self.base)
    }
}

/// ln sum exp, the terms added in order.
fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row.iter().fold(f32::NEG_INFINITY, |max, x| max.max(*x));
    let max = f64::from(max);
    max + libm::log(row.iter().fold(0.0, |sum, x| sum + libm::exp(f64::from(*x) - max)))
}

/// Compares two models on a text that both have tokenized into `tokens`; `bos` begins each window, if there is one.
/// `done` hears how many windows are done.
///
/// # Errors
/// [`Error::Unpaired`] for models with vocabularies of different sizes, a text shorter than a window, or logits that
/// are no numbers;
/// [`Error::Model`] for a window longer than a model's context, or what the models refuse.
pub fn compare_logits(
    base: &Model,
    candidate: &Model,
    tokens: &[u32],
    bos: Option<u32>,
    options: &KlOptions,
    mut done: impl FnMut(usize),
) -> Result<KlReport, Error> {
    let unpaired = |message: String, hint: &str| Error::Unpaired {
        baseline: "the baseline".into(),
        candidate: "the candidate".into(),
        message,
        hint: hint.into(),
    };
    let (a, b) = (base.config().vocab_size, candidate.config().vocab_size);
    if a != b {
        return Err(unpaired(
            format!("their vocabularies have {a} and {b} tokens"),
            "twins share a tokenizer",
        ));
    }
    let context = options.context;
    if context < 4 || tokens.len() < context {
        let message = format!("the text has {} tokens, a window {context}", tokens.len());
        return Err(unpaired(message, "give a longer text, or a smaller window of at least 4 tokens"));
    }
    let first = context / 2;
    let mut windows = Vec::new();
    for chunk in tokens.chunks_exact(context) {
        let mut window = chunk.to_vec();
        if let Some(bos) = bos {
            window[0] = bos;
        }
        // The last token is predicted, not read.
        let logits = |model: &Model| Session::new(model, context - 1)?.forward(&window[..context - 1], first);
        let failed = |e: b158_runner::Error| Error::Model(Box::new(e));
        let (p, q) = (logits(base).map_err(failed)?, logits(candidate).map_err(failed)?);
        let positions: Vec<Position> = (0..p.nrows())
            .into_par_iter()
            .map(|i| {
                let token = window[first + i + 1] as usize;
                let rows = (p.row(i), q.row(i));
                let contiguous = "rows of a matrix in memory order";
                Position::new(
                    rows.0.as_slice().expect(contiguous),
                    rows.1.as_slice().expect(contiguous),
                    token,
                )
            })
            .collect();
        if let Some(i) = positions.iter().position(|position| !position.is_sound()) {
            let message = format!("at token {} of window {} a logit is no number", first + i, windows.len());
            return Err(unpaired(message, "the weights of one of them or its conversion are damaged"));
        }
        windows.push(positions);
        done(windows.len());
    }
    Ok(report(context, &windows, options.resampling))
}

/// What the positions of all windows say; there is at least one window, all equally long.
fn report(context: usize, windows: &[Vec<Position>], resampling: Resampling) -> KlReport {
    let all: Vec<Position> = windows.iter().flatten().copied().collect();
    let values = |f: fn(&Position) -> f64| all.iter().map(f).collect::<Vec<f64>>();
    let (kl, delta_p) = (values(|p| p.kl), values(Position::delta_p));
    let (base, candidate) = (values(|p| p.base), values(|p| p.candidate));
    let (base_mean, candidate_mean) = (mean(&base), mean(&candidate));
    let perplexity = |m: Estimate| {
        let value = libm::exp(m.value);
        Estimate { value, error: value * m.error }
    };
    let n = all.len() as f64;
    let centered = |(x, y): (&f64, &f64)| (x - base_mean.value) * (y - candidate_mean.value);
    let covariance = base.iter().zip(&candidate).map(centered).sum::<f64>() / n;
    let spread = (base_mean.error * candidate_mean.error * (n - 1.0)).abs();
    // The variance of a difference is the variances' sum less twice the covariance.
    let ln_ratio = mean(&base.iter().zip(&candidate).map(|(x, y)| y - x).collect::<Vec<_>>());
    let squares: Vec<f64> = delta_p.iter().map(|d| d * d).collect();
    let square = mean(&squares);
    let rms = square.value.sqrt();
    let same = all.iter().filter(|p| p.same_top).count() as f64 / n;
    let of_window: Vec<f64> =
        windows.iter().map(|w| w.iter().map(|p| p.kl).sum::<f64>() / w.len() as f64).collect();
    let drawn = |i: &[usize]| i.iter().map(|&i| of_window[i]).sum::<f64>() / i.len() as f64;
    KlReport {
        context,
        windows: windows.len(),
        tokens: all.len(),
        perplexity_base: perplexity(base_mean),
        perplexity_candidate: perplexity(candidate_mean),
        perplexity_ratio: perplexity(ln_ratio),
        correlation: if spread > 0.0 { covariance / spread } else { 1.0 },
        kl: mean(&kl),
        kl_interval: (windows.len() > 1).then(|| resample(windows.len(), resampling, drawn).interval_95()),
        kl_quantiles: Quantiles::new(kl),
        same_top: Estimate { value: same, error: error_of(same * (1.0 - same), n) },
        delta_p: mean(&delta_p),
        delta_p_rms: Estimate { value: rms, error: if rms > 0.0 { 0.5 / rms * square.error } else { 0.0 } },
        delta_p_quantiles: Quantiles::new(delta_p),
    }
}

/// sqrt(variance / (n - 1)); 0 for a single value.
fn error_of(variance: f64, n: f64) -> f64 {
    if variance > 0.0 && n > 1.0 { (variance / (n - 1.0)).sqrt() } else { 0.0 }
}

fn mean(values: &[f64]) -> Estimate {
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - value).powi(2)).sum::<f64>() / n;
    Estimate { value, error: error_of(variance, n) }
}

impl Quantiles {
    /// Of at least one value.
    fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let below = place as usize;
            let above = (below + 1).min(values.len() - 1);
            values[below] + (place - below as f64) * (values[above] - values[below])
        };
        Self {
            minimum: at(0.0),
            q001: at(0.001),
            q01: at(0.01),
            q05: at(0.05),
            q10: at(0.10),
            q25: at(0.25),
            median: at(0.5),
            q75: at(0.75),
            q90: at(0.90),
            q95: at(0.95),
            q99: at(0.99),
            q999: at(0.999),
            maximum: at(1.0),
        }
    }

    /// Names and values, from the largest to the smallest.
    pub fn rows(&self) -> [(&'static str, f64); 13] {
        [
            ("maximum", self.maximum),
            ("99.9 %", self.q999),
            ("99 %", self.q99),
            ("95 %", self.q95),
            ("90 %", self.q90),
            ("75 %", self.q75),
            ("median", self.median),
            ("25 %", self.q25),
            ("10 %", self.q10),
            ("5 %", self.q05),
            ("1 %", self.q01),
            ("0.1 %", self.q001),
            ("minimum", self.minimum),
        ]
    }
}

#[cfg(test)]
mod tests {
    use b158_runner::{LoadOptions, Shape, SyntheticFormat};

    use super::*;

    #[test]
    fn two_words_by_hand() {
        let ln = libm::logf;
        // p = (3/4, 1/4), q = (1/4, 3/4): KL = 1/2 ln 3. Logits are f32: seven digits.
        let position = Position::new(&[ln(3.0), 0.0], &[0.0, ln(3.0)], 0);
        assert!((position.kl - 0.5 * libm::log(3.0)).abs() < 1e-7, "{position:?}");
        assert!(!position.same_top);
        assert!((position.delta_p() + 0.5).abs() < 1e-7);
        // A constant added to all logits changes nothing; a word that p excludes does not count.
        let same = Position::new(&[1.0, 2.0, f32::NEG_INFINITY], &[4.0, 5.0, f32::NEG_INFINITY], 1);
        assert!(same.kl < 1e-15 && same.same_top && same.delta_p().abs() < 1e-15, "{same:?}");
        assert!(same.is_sound());
        // What is no number must not pass for no divergence.
        for (p, q) in
            [([f32::NAN, 0.0], [0.0, 0.0]), ([0.0, 0.0], [0.0, f32::NAN]), ([0.0; 2], [f32::INFINITY; 2])]
        {
            assert!(!Position::new(&p, &q, 1).is_sound(), "{p:?} {q:?}");
        }
    }

    #[test]
    fn statistics_by_hand() {
        let position = |kl, same_top, base: f64, candidate: f64| Position {
            kl,
            same_top,
            base: -base.ln(),
            candidate: -candidate.ln(),
        };
        let windows = [
            vec![position(0.0, true, 0.5, 0.5), position(1.0, false, 0.5, 0.25)],
            vec![position(2.0, true, 0.25, 0.5), position(3.0, true, 0.25, 0.25)],
        ];
        let report = report(4, &windows, Resampling::default());
        assert_eq!((report.windows, report.tokens), (2, 4));
        // KL 0, 1, 2, 3: mean 1.5, variance 1.25, error sqrt(1.25 / 3).
        assert_eq!(report.kl, Estimate { value: 1.5, error: (1.25_f64 / 3.0).sqrt() });
        // Windows of 0.5 and 2.5.
        assert_eq!(report.kl_interval, Some((0.5, 2.5)));
        assert_eq!((report.kl_quantiles.minimum, report.kl_quantiles.median), (0.0, 1.5));
        assert_eq!((report.kl_quantiles.q25, report.kl_quantiles.maximum), (0.75, 3.0));
        assert_eq!(report.same_top, Estimate { value: 0.75, error: (0.1875_f64 / 3.0).sqrt() });
        // Δp 0, -1/4, 1/4, 0: mean 0, RMS sqrt(1/32). Rounding of exp and ln.
        assert!(report.delta_p.value.abs() < 1e-15);
        assert!((report.delta_p_rms.value - (1.0_f64 / 32.0).sqrt()).abs() < 1e-15);
        // Both have two of 1/2 and two of 1/4, independent of each other: 2^1.5, ratio 1, no correlation.
        assert!((report.perplexity_base.value - 2.0_f64.powf(1.5)).abs() < 1e-14);
        assert!((report.perplexity_ratio.value - 1.0).abs() < 1e-15 && report.correlation.abs() < 1e-14);
    }

    fn model(format: SyntheticFormat) -> Model {
        let shape = Shape::named("tiny").unwrap();
        Model::synthetic(shape, format, LoadOptions::default(), |_| ()).unwrap()
    }

    #[test]
    fn the_same_as_a_plain_computation_over_whole_windows() {
        let (base, candidate) = (model(SyntheticFormat::F16), model(SyntheticFormat::Ternary));
        let tokens: Vec<u32> = (0..37).map(|i| i * 7 % 500).collect();
        let options = KlOptions { context: 12, ..KlOptions::default() };
        let mut heard = Vec::new();
        let report =
            compare_logits(&base, &candidate, &tokens, Some(1), &options, |done| heard.push(done)).unwrap();
        assert_eq!((heard, report.windows, report.tokens), (vec![1, 2, 3], 3, 3 * 5));

        // One window after the other, every position, in f64 without any shift.
        let (mut kl, mut tops, mut loss) = (Vec::new(), 0, 0.0);
        for chunk in tokens[..36].chunks(12) {
            let mut window = chunk.to_vec();
            window[0] = 1;
            let rows = |m: &Model| Session::new(m, 12).unwrap().forward(&window, 0).unwrap();
            let (p, q) = (rows(&base), rows(&candidate));
            let probabilities = |row: ndarray::ArrayView1<'_, f32>| -> Vec<f64> {
                let e: Vec<f64> = row.iter().map(|x| f64::from(*x).exp()).collect();
                let sum: f64 = e.iter().sum();
                e.iter().map(|x| x / sum).collect()
            };
            for position in 6..11 {
                let (p, q) = (probabilities(p.row(position)), probabilities(q.row(position)));
                kl.push(p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>());
                let top = |x: &[f64]| (0..x.len()).rev().max_by(|a, b| x[*a].total_cmp(&x[*b])).unwrap();
                tops += usize::from(top(&p) == top(&q));
                loss -= q[window[position + 1] as usize].ln();
            }
        }
        let mean = kl.iter().sum::<f64>() / 15.0;
        // Sums of 512 terms in another order, and another exp.
        assert!((report.kl.value - mean).abs() < 1e-12 && mean > 0.0, "{} {mean}", report.kl.value);
        assert_eq!(report.same_top.value, tops as f64 / 15.0);
        assert!((report.perplexity_candidate.value / (loss / 15.0).exp() - 1.0).abs() < 1e-12);
        assert!(report.delta_p_quantiles.rows().windows(2).all(|w| w[0].1 >= w[1].1));
    }

    #[test]
    fn a_model_does_not_differ_from_itself() {
        let one = model(SyntheticFormat::Ternary);
        let tokens: Vec<u32> = (0..24).collect();
        let options = KlOptions { context: 12, ..KlOptions::default() };
        let report = compare_logits(&one, &one, &tokens, None, &options, |_| ()).unwrap();
        assert_eq!((report.kl.value, report.same_top.value, report.delta_p_rms.value), (0.0, 1.0, 0.0));
        assert_eq!((report.perplexity_ratio.value, report.perplexity_ratio.error), (1.0, 0.0));
        assert!((report.correlation - 1.0).abs() < 1e-12);
        let short = compare_logits(&one, &one, &tokens[..11], None, &options, |_| ()).unwrap_err();
        insta::assert_snapshot!(short, @r"
        cannot compare the baseline with the candidate: the text has 11 tokens, a window 12
        hint: give a longer text, or a smaller window of at least 4 tokens
        ");
    }
}

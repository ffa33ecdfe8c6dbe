//! lm-eval's standard error of a perplexity (`lm_eval/api/metrics.py`): a bootstrap with the random numbers of Python.
//!
//! ```text
//!   100 000 resamples (lm-eval's default) = 100 streams of 1000;  stream i: Mersenne twister with the seed i
//!     resample   k draws of the k documents:  index = floor(random() * k)
//!     statistic  exp(-mean of the log-likelihoods drawn)
//!   standard error = sample standard deviation (n - 1) of all statistics
//! ```
//!
//! The paired comparison uses [`crate::bootstrap`] instead, which depends on no other language's library.

use rayon::prelude::*;

use crate::python_random::PythonRandom;

/// lm-eval's default number of resamples.
pub const RESAMPLES: usize = 100_000;
/// Resamples of a stream, at most.
const STREAM: usize = 1000;

/// The standard error of [`crate::metrics::perplexity`] from so many resamples; none for fewer than two documents or
/// resamples.
pub fn perplexity_stderr(loglikelihoods: &[f64], resamples: usize) -> Option<f64> {
    let n = loglikelihoods.len();
    if n < 2 || resamples < 2 {
        return None;
    }
    let per_stream = resamples.min(STREAM);
    let stream = |seed: u32| -> Vec<f64> {
        let mut random = PythonRandom::new(seed);
        let one = |_| {
            let sum = (0..n).fold(0.0, |sum, _| sum + loglikelihoods[(random.real() * n as f64) as usize]);
            libm::exp(-(sum / n as f64))
        };
        (0..per_stream).map(one).collect()
    };
    let values: Vec<f64> =
        (0..(resamples / per_stream) as u32).into_par_iter().flat_map_iter(stream).collect();
    let mean = values.iter().fold(0.0, |sum, v| sum + v) / values.len() as f64;
    let squares = values.iter().fold(0.0, |sum, v| sum + (v - mean) * (v - mean));
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_error_of_lm_eval() {
        // lm-eval's algorithm in Python 3.11; exp of the C library may differ in its last digit.
        let stderr = perplexity_stderr(&[-0.5, -1.25, -3.0, -0.125, -2.0], RESAMPLES).unwrap();
        assert!((stderr / 2.204_989_033_382_828 - 1.0).abs() < 1e-12, "{stderr}");
        assert_eq!(perplexity_stderr(&[-1.0], RESAMPLES), None);
        assert_eq!(perplexity_stderr(&[-1.0, -2.0], 1), None);
        // What rounding leaves of 0.
        assert!(perplexity_stderr(&[-1.0, -1.0], RESAMPLES).unwrap() < 1e-10);
    }

    #[test]
    fn threads_do_not_matter() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| perplexity_stderr(&[-0.5, -1.25, -3.0], 3000))
        };
        assert_eq!(on(1), on(3));
    }
}

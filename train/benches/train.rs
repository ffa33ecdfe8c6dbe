//! Speed of training steps, next to that of matrix products alone, measured in turns in one run.
//!
//! ```text
//!   cargo bench -p b158-train [-- SECONDS]        for each shape and scheme
//! ```
//!
//! Operations that count: of linear layers and the output head 2 a weight and token forward and 4 backward, of
//! attention those over positions that are seen. The machine's rate is that of candle's f32 product of 1024 by 1024 by
//! 1024 on every thread at the same time; both are medians.

use std::time::Instant;

use b158_train::{
    Device, RecipeFile, Scheme,
    gradient::{Workers, loss_and_gradients},
    model::Architecture,
    optimizer, parameters,
};
use candle_core::Tensor;

/// The shapes of the embedded twins.
const SHAPES: [(&str, &str); 3] = [
    ("desk-s", include_str!("../../ci/recipes/desk-s.yaml")),
    ("desk-m", include_str!("../../ci/recipes/desk-m.yaml")),
    ("desk-l", include_str!("../../ci/recipes/desk-l.yaml")),
];
/// Rows, columns and depth of the product that the machine's rate is measured with.
const SIZE: usize = 1024;

fn main() {
    // `cargo bench` passes --bench.
    let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(6.0);
    let threads = rayon::current_num_threads();
    let workers = Workers::new(threads, Device::Cpu).unwrap();
    println!("{threads} threads, f32");
    println!(
        "{:<10}{:<10}{:>12}{:>12}{:>14}{:>8}",
        "shape", "scheme", "tokens/s", "GFLOP/s", "of products", "share"
    );
    for (name, text) in SHAPES {
        for scheme in [Scheme::Fp16, Scheme::B158] {
            measure(name, text, scheme, seconds, &workers);
        }
    }
}

fn measure(name: &str, text: &str, scheme: Scheme, seconds: f64, workers: &Workers) {
    let recipe = RecipeFile::parse(name.as_ref(), text).unwrap().recipe;
    let twin = recipe.twins.iter().find(|twin| twin.scheme == scheme).expect("both twins");
    let architecture = Architecture::new(recipe.config(twin), scheme, 1);
    let config = &architecture.config;
    let mut parameters = parameters::initial(config, 1);
    let (context, vocabulary) = (recipe.shape.context, recipe.shape.vocab_size);
    let windows: Vec<Vec<u32>> = (0..recipe.batch.sequences)
        .map(|s| (0..=context).map(|i| ((s * 7919 + i * 31) % vocabulary) as u32).collect())
        .collect();
    let windows: Vec<&[u32]> = windows.iter().map(|w| &w[..]).collect();
    let tokens = (windows.len() * context) as f64;
    let weights: usize = parameters.iter().filter(|p| p.id.is_linear()).map(|p| p.values.len()).sum();
    let products = weights + vocabulary * config.hidden_size;
    let attention = config.layers * context * config.hidden_size;
    let operations = 6.0 * (products + attention) as f64;

    let mut step = |i| {
        let began = Instant::now();
        let (_, mut gradients) =
            loss_and_gradients(&architecture, &parameters, &windows, recipe.batch.micro, workers).unwrap();
        optimizer::clip(&mut gradients, 1.0);
        optimizer::update(&mut parameters, &gradients, i, 1e-3, 0.1);
        tokens / began.elapsed().as_secs_f64()
    };
    let (mut rates, mut machine) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while rates.len() < 3 || began.elapsed().as_secs_f64() < seconds {
        machine.push(product_rate(workers));
        rates.push(step(rates.len() + 1));
    }
    let (rate, machine) = (median(rates), median(machine));
    let used = rate * operations;
    println!(
        "{name:<10}{:<10}{rate:>12.0}{:>12.1}{:>14.1}{:>7.0}%",
        scheme.name(),
        used / 1e9,
        machine / 1e9,
        100.0 * used / machine
    );
}

/// Operations a second of products on every thread.
fn product_rate(workers: &Workers) -> f64 {
    let threads = workers.threads();
    let began = Instant::now();
    workers
        .map(threads, |_| {
            let a = Tensor::ones((SIZE, SIZE), candle_core::DType::F32, workers.device())?;
            for _ in 0..4 {
                std::hint::black_box(a.matmul(&a)?);
            }
            Ok(())
        })
        .unwrap();
    (4 * threads * 2 * SIZE * SIZE * SIZE) as f64 / began.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

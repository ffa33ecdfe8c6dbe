use proptest::prelude::*;

use super::*;

fn draws(options: Sampling, logits: &[f32], n: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(options).unwrap();
    (0..n).map(|_| sampler.next(logits, &[])).collect()
}

#[test]
fn greedy_takes_the_first_of_equals() {
    assert_eq!(draws(Sampling::default(), &[0.5, 2.0, 2.0], 1), [1]);
}

#[test]
fn top_k_top_p_and_min_p_restrict_the_choice() {
    let logits = [1.0, 3.0, 2.0, 0.0];
    let hot = Sampling { temperature: 100.0, ..Sampling::default() };
    assert!(draws(Sampling { top_k: 2, ..hot }, &logits, 200).iter().all(|id| [1, 2].contains(id)));
    assert!(draws(Sampling { top_p: 0.1, ..hot }, &logits, 200).iter().all(|&id| id == 1));
    let all = draws(hot, &logits, 200);
    assert!((0..4).all(|id| all.contains(&id)), "a high temperature reaches every token");
    // exp(-1) = 0.37 of the best: 3.0 and 2.0 stay, 1.0 with 0.14 does not.
    let warm = Sampling { temperature: 1.0, min_p: 0.3, ..Sampling::default() };
    let kept = draws(warm, &logits, 200);
    assert!(kept.contains(&2) && kept.iter().all(|id| [1, 2].contains(id)));
    assert!(draws(Sampling { min_p: 1.0, ..hot }, &logits, 50).iter().all(|&id| id == 1));
}

#[test]
fn repeated_tokens_become_less_likely() {
    let greedy = |repeat_last_n, history: &[u32], logits: &[f32]| {
        let options = Sampling { repeat_penalty: 2.0, repeat_last_n, ..Sampling::default() };
        Sampler::new(options).unwrap().next(logits, history)
    };
    assert_eq!(greedy(64, &[], &[3.0, 2.0]), 0);
    assert_eq!(greedy(64, &[0], &[3.0, 2.0]), 1, "3 / 2 < 2");
    assert_eq!(greedy(64, &[0, 0, 0], &[3.0, 1.4]), 0, "once, however often it came");
    assert_eq!(greedy(64, &[0], &[-1.0, -1.5]), 1, "-1 * 2 < -1.5");
    assert_eq!(greedy(1, &[0, 1], &[3.0, 2.0]), 0, "beyond the window");
    assert_eq!(greedy(0, &[0], &[3.0, 2.0]), 0, "no window");
    assert_eq!(greedy(64, &[7], &[3.0, 2.0]), 0, "an id outside the vocabulary");
}

#[test]
fn frequencies_follow_the_softmax() {
    // p = softmax([0, ln 3]) = [1/4, 3/4]; 4000 draws have a standard error of 0.007.
    let options = Sampling { temperature: 1.0, seed: 7, ..Sampling::default() };
    let ones = draws(options, &[0.0, 3f32.ln()], 4000).iter().sum::<u32>();
    assert!((f64::from(ones) / 4000.0 - 0.75).abs() < 0.03, "{ones}");
}

#[test]
fn a_seed_is_a_stream() {
    let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32 * 0.3).collect();
    let options = |seed| Sampling { temperature: 1.0, seed, ..Sampling::default() };
    assert_eq!(draws(options(1), &logits, 20), draws(options(1), &logits, 20));
    assert_ne!(draws(options(1), &logits, 20), draws(options(2), &logits, 20));
    // The stream is part of the contract: the same on every machine and release.
    assert_eq!(draws(options(42), &logits, 8), [3, 0, 33, 39, 48, 27, 5, 9]);
}

#[test]
fn options_outside_their_range_are_errors() {
    let default = Sampling::default;
    for options in [
        Sampling { temperature: -1.0, ..default() },
        Sampling { temperature: f64::NAN, ..default() },
        Sampling { top_p: 0.0, ..default() },
        Sampling { top_p: 1.5, ..default() },
        Sampling { min_p: -0.1, ..default() },
        Sampling { min_p: f64::NAN, ..default() },
        Sampling { repeat_penalty: 0.0, ..default() },
        Sampling { repeat_penalty: 1e-310, ..default() },
        Sampling { repeat_penalty: 1e308, ..default() },
        Sampling { repeat_penalty: f64::INFINITY, ..default() },
        Sampling { repeat_penalty: f64::NAN, ..default() },
    ] {
        assert!(Sampler::new(options).is_err(), "{options:?}");
    }
}

/// A choice is made of any logits, with the most extreme options.
#[test]
fn some_token_always_remains() {
    let extreme = [f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.0, 1.0];
    for (a, b) in extreme.into_iter().flat_map(|a| extreme.map(|b| (a, b))) {
        for (repeat_penalty, temperature) in [(1e-3, 1e-310), (1e-3, 1.0), (1e3, 1.0), (1e3, 1e300)] {
            for (top_k, top_p, min_p) in [(0, 1.0, 0.1), (0, 1.0, 1.0), (0, 1e-300, 0.0), (1, 0.5, 1.0)] {
                let filters = Sampling { top_k, top_p, min_p, ..Sampling::default() };
                let mut sampler = Sampler::new(Sampling { repeat_penalty, temperature, ..filters }).unwrap();
                assert!(sampler.next(&[a, b], &[0, 1]) < 2, "{a} {b}");
            }
        }
    }
}

/// The rules as written: everything sorted, every list whole.
fn reference(options: &Sampling, logits: &[f32], history: &[u32], uniform: f64) -> u32 {
    let recent = &history[history.len().saturating_sub(options.repeat_last_n)..];
    let logit = |id: usize| {
        let logit = f64::from(logits[id]);
        match () {
            () if !recent.contains(&(id as u32)) => logit,
            () if logit > 0.0 => logit / options.repeat_penalty,
            () => logit * options.repeat_penalty,
        }
    };
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    ids.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
    if options.temperature == 0.0 {
        return ids[0] as u32;
    }
    let best = logit(ids[0]);
    let weight = |id: usize| libm::exp((logit(id) - best) / options.temperature);
    // Sums in the order of ids: the last bit is part of the result.
    let sum = |ids: &[usize]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.into_iter().map(weight).sum::<f64>()
    };
    if options.top_k > 0 {
        ids.truncate(options.top_k);
    }
    if options.top_p < 1.0 {
        let wanted = options.top_p * sum(&ids);
        let mut reached = 0.0;
        let last = ids.iter().position(|&id| {
            reached += weight(id);
            reached >= wanted
        });
        ids.truncate(last.map_or(ids.len(), |last| last + 1));
    }
    ids.retain(|&id| weight(id) >= options.min_p);
    let mut left = uniform * sum(&ids);
    let drawn = ids.iter().find(|&&id| {
        left -= weight(id);
        left < 0.0
    });
    *drawn.or(ids.last()).unwrap() as u32
}

proptest! {
    #[test]
    fn every_choice_is_the_references(
        // Few different values: ties are the difficult case.
        logits in prop_oneof![
            proptest::collection::vec((-20i8..20).prop_map(|l| f32::from(l) * 0.5), 1..1200),
            proptest::collection::vec(-30f32..30.0, 1..1200),
        ],
        history in proptest::collection::vec(0u32..1300, 0..80),
        temperature in prop_oneof![Just(0.0), 0.05..3.0, Just(1e6)],
        top_k in prop_oneof![Just(0), 1usize..60, Just(1usize), Just(100_000)],
        top_p in prop_oneof![Just(1.0), 0.01..1.0],
        min_p in prop_oneof![Just(0.0), 0.0..1.0],
        repeat_penalty in prop_oneof![Just(1.0), 0.5..2.0],
        repeat_last_n in prop_oneof![Just(64usize), 0usize..100],
        seed in any::<u64>(),
    ) {
        let options = Sampling { repeat_penalty, repeat_last_n, temperature, top_k, top_p, min_p, seed };
        let mut sampler = Sampler::new(options).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..4 {
            // Greedy choice takes nothing from the stream.
            let uniform = if temperature == 0.0 { 0.0 } else { (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 };
            prop_assert_eq!(sampler.next(&logits, &history), reference(&options, &logits, &history, uniform));
        }
    }
}

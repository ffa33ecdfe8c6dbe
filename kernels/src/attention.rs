//! Attention of queries over the keys and values of earlier positions.
//!
//! ```text
//!   p = softmax(q . k[j] / sqrt(D))        out = sum over j of p[j] * v[j]        j < the query's end
//! ```
//!
//! Vaswani et al. (arXiv 1706.03762), equation 1. Memory grows with the number of positions times the few
//! queries of one call, never with its square. Keys and values lie in pages ([`kv`](crate::kv)); both sums
//! go in order, `q . k[j]` over the elements and `out` over the positions, by fused multiply-add, one chain
//! for each output, so neither pages nor the queries that are computed together show in a result.
//!
//! Eight-bit keys multiply the finished score by their scale, eight-bit values the probability.

mod scratch;

use half::f16;

use self::scratch::Scratch;
use crate::{
    Isa,
    kv::{Element, KvPage, KvType},
    parallel,
    simd::{LANES, Op, Simd},
    softmax::softmax_in,
};

/// Vectors of positions in a page.
const PAGE_VECTORS: usize = KvPage::POSITIONS / LANES;

/// Rows of queries that a task takes at most: they share what it reads of keys and values.
const TASK_ROWS: usize = 16;

/// Tasks for each thread where there is more than one query, so that threads end together.
const TASKS_PER_THREAD: usize = 4;

/// Attends from consecutive tokens, the first one at position `start`, each to the positions up to its own, on all
/// threads of the current pool.
///
/// `q` and `out` are `[tokens, heads, head_dim]`. Heads divide evenly among those of the pages: grouped queries
/// (arXiv 2305.13245) share a head of keys and values.
///
/// # Panics
/// A length does not fit, positions are missing, or pages are of different shapes.
pub fn attend<P: AsRef<KvPage> + Sync>(
    isa: Isa,
    pages: &[P],
    start: usize,
    heads: usize,
    q: &[f32],
    out: &mut [f32],
) {
    assert_eq!(out.len(), q.len(), "queries and outputs are [tokens, heads, head_dim]");
    if q.is_empty() {
        return;
    }
    let first = pages[0].as_ref();
    let (kind, kv_heads, dim) = (first.kind(), first.heads(), first.head_dim());
    let alike = |page: &KvPage| (page.kind(), page.heads(), page.head_dim()) == (kind, kv_heads, dim);
    assert!(pages.iter().all(|page| alike(page.as_ref())), "pages of one layer are alike");
    let width = heads * dim;
    assert!(width > 0 && heads.is_multiple_of(kv_heads), "{heads} heads share {kv_heads} of keys and values");
    assert!(q.len().is_multiple_of(width), "queries are [tokens, heads, head_dim]");
    let tokens = q.len() / width;
    assert!(start + tokens <= pages.len() * KvPage::POSITIONS, "every position has its page");

    let work = q.len() * (start + tokens);
    let block = (TASK_ROWS * kv_heads / heads).max(1);
    let wanted = TASKS_PER_THREAD * rayon::current_num_threads();
    let group = group_of(heads / kv_heads, wanted.div_ceil(kv_heads * tokens.div_ceil(block)));
    let tasks = parallel::blocks(out, width, block, group * dim);
    parallel::for_each(work, tasks, |task| {
        let ends: Vec<usize> =
            (0..task.out.len() * group).map(|row| start + task.token + row / group + 1).collect();
        let q = q[task.token * width..].chunks(width).take(task.out.len());
        scratch::with(|scratch| {
            scratch.q.clear();
            q.for_each(|q| scratch.q.extend_from_slice(&q[task.row..task.row + group * dim]));
            attend_head(isa, pages, task.row / dim * kv_heads / heads, &ends, scratch);
            let sums = scratch.sums.chunks_exact(dim.div_ceil(LANES));
            let outs = task.out.into_iter().flat_map(|out| out.chunks_exact_mut(dim));
            for (sums, out) in sums.zip(outs) {
                out.copy_from_slice(&sums.as_flattened()[..dim]);
            }
        });
    });
}

/// The largest part of a group of heads that makes at least `parts` of it, or single heads.
fn group_of(heads: usize, parts: usize) -> usize {
    (1..=heads).rev().find(|part| heads.is_multiple_of(*part) && heads / part >= parts).unwrap_or(1)
}

/// Attends from queries of one head, `scratch.q` `[queries, head_dim]`, each to the first `ends[i]` positions;
/// `scratch.sums` then is `[queries, head_dim / 16 rounded up]` vectors.
fn attend_head<P: AsRef<KvPage>>(isa: Isa, pages: &[P], head: usize, ends: &[usize], scratch: &mut Scratch) {
    let longest = ends.iter().copied().max().expect("a query");
    assert!(ends.iter().all(|&end| end > 0), "a query sees at least one position");
    let pages = &pages[..longest.div_ceil(KvPage::POSITIONS)];
    let (kind, head_dim) = (pages[0].as_ref().kind(), pages[0].as_ref().head_dim());
    let row = pages.len() * KvPage::POSITIONS;
    // What an earlier call left is overwritten up to each query's end, and not read beyond.
    let Scratch { q, scores, sums } = scratch;
    scores.resize(ends.len() * row, 0.0);
    sums.clear();
    sums.resize(ends.len() * head_dim.div_ceil(LANES), [0.0; LANES]);
    isa.run(Attend { pages, kind, head, head_dim, q, ends, row, scores, sums });
}

struct Attend<'a, P> {
    pages: &'a [P],
    kind: KvType,
    head: usize,
    head_dim: usize,
    q: &'a [f32],
    ends: &'a [usize],
    /// Scores of a query.
    row: usize,
    scores: &'a mut [f32],
    sums: &'a mut [[f32; LANES]],
}

impl<P: AsRef<KvPage>> Op for Attend<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.kind {
            KvType::F32 => self.attend::<S, f32>(s),
            KvType::F16 => self.attend::<S, f16>(s),
            KvType::Q8 => self.attend::<S, i8>(s),
        }
    }
}

impl<P: AsRef<KvPage>> Attend<'_, P> {
    #[inline(always)]
    fn attend<S: Simd, T: Element>(mut self, s: S) {
        if S::SUMS >= 24 {
            self.score::<S, T, 4, 4>(s);
            self.probabilities::<S, T>(s);
            self.mix::<S, T, 4, 4>(s);
        } else {
            self.score::<S, T, 2, 2>(s);
            self.probabilities::<S, T>(s);
            self.mix::<S, T, 2, 2>(s);
        }
    }

    /// Tiles of `Q` queries and `V` vectors of positions.
    #[inline(always)]
    fn score<S: Simd, T: Element, const Q: usize, const V: usize>(&mut self, s: S) {
        let scale = s.splat(1.0 / (self.head_dim as f32).sqrt());
        for (index, page) in self.pages.iter().enumerate() {
            let keys = page.as_ref().keys::<T>(self.head);
            let scales = T::SCALED.then(|| &page.as_ref().scales(self.head)[0]);
            let base = index * KvPage::POSITIONS;
            let mut i = 0;
            while i < self.ends.len() {
                let queries = if self.ends.len() - i >= Q { Q } else { 1 };
                // What follows a query's end holds nothing for it.
                let last = self.ends[i..i + queries].iter().copied().max().unwrap_or(0);
                let blocks = last.saturating_sub(base).div_ceil(LANES).min(PAGE_VECTORS);
                if blocks > 0 {
                    let q = &self.q[i * self.head_dim..(i + queries) * self.head_dim];
                    let scores = &mut self.scores[i * self.row..(i + queries) * self.row];
                    if queries == Q {
                        score_page::<S, T, Q, V>(s, keys, scales, scale, q, scores, base, blocks);
                    } else {
                        score_page::<S, T, 1, V>(s, keys, scales, scale, q, scores, base, blocks);
                    }
                }
                i += queries;
            }
        }
    }

    /// Scores become probabilities, those of eight-bit values times their scale.
    #[inline(always)]
    fn probabilities<S: Simd, T: Element>(&mut self, s: S) {
        for (scores, &end) in self.scores.chunks_exact_mut(self.row).zip(self.ends) {
            softmax_in(s, &mut scores[..end]);
            if T::SCALED {
                for (scores, page) in scores[..end].chunks_mut(KvPage::POSITIONS).zip(self.pages) {
                    for (p, scale) in scores.iter_mut().zip(&page.as_ref().scales(self.head)[1]) {
                        *p *= scale;
                    }
                }
            }
        }
    }

    /// Tiles of `Q` queries and `V` vectors of a value.
    #[inline(always)]
    fn mix<S: Simd, T: Element, const Q: usize, const V: usize>(&mut self, s: S) {
        let vectors = self.head_dim.div_ceil(LANES);
        for (index, page) in self.pages.iter().enumerate() {
            let values = page.as_ref().values::<T>(self.head);
            let base = index * KvPage::POSITIONS;
            let in_page = |end: usize| end.saturating_sub(base).min(KvPage::POSITIONS);
            let mut i = 0;
            while i < self.ends.len() {
                let queries = if self.ends.len() - i >= Q { Q } else { 1 };
                let ends = &self.ends[i..i + queries];
                let common = ends.iter().map(|&end| in_page(end)).min().unwrap_or(0);
                let scores = &self.scores[i * self.row..(i + queries) * self.row];
                let sums = &mut self.sums[i * vectors..(i + queries) * vectors];
                if queries == Q {
                    mix_page::<S, T, Q, V>(s, values, scores, base, 0..common, sums);
                } else {
                    mix_page::<S, T, 1, PAGE_VECTORS>(s, values, scores, base, 0..common, sums);
                }
                let rows = scores.chunks_exact(self.row).zip(sums.chunks_exact_mut(vectors));
                for ((scores, sums), &end) in rows.zip(ends) {
                    let rest = common..in_page(end);
                    mix_page::<S, T, 1, PAGE_VECTORS>(s, values, scores, base, rest, sums);
                }
                i += queries;
            }
        }
    }
}

/// Scores of `Q` queries `[Q, head_dim]` and the first `blocks` of 16 positions of a page, into `scores` `[Q, row]`
/// from `base` on.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined into one caller")]
fn score_page<S: Simd, T: Element, const Q: usize, const V: usize>(
    s: S,
    keys: &[[T; LANES]],
    scales: Option<&[f32; KvPage::POSITIONS]>,
    scale: S::V,
    q: &[f32],
    scores: &mut [f32],
    base: usize,
    blocks: usize,
) {
    let dim = keys.len() / PAGE_VECTORS;
    let mut first = 0;
    while first < blocks {
        if blocks - first >= V {
            score_blocks::<S, T, Q, V>(s, &keys[first * dim..], scales, scale, q, scores, base, first);
            first += V;
        } else {
            score_blocks::<S, T, Q, 1>(s, &keys[first * dim..], scales, scale, q, scores, base, first);
            first += 1;
        }
    }
}

/// The part of [`score_page`] from block `first` on, `V` of them, whose keys are `keys`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined into one caller")]
fn score_blocks<S: Simd, T: Element, const Q: usize, const V: usize>(
    s: S,
    keys: &[[T; LANES]],
    scales: Option<&[f32; KvPage::POSITIONS]>,
    scale: S::V,
    q: &[f32],
    scores: &mut [f32],
    base: usize,
    first: usize,
) {
    let (dim, row) = (q.len() / Q, scores.len() / Q);
    let mut queries = [q; Q];
    for (i, query) in queries.iter_mut().enumerate() {
        *query = &q[i * dim..(i + 1) * dim];
    }
    let mut blocks = [keys; V];
    for (v, block) in blocks.iter_mut().enumerate() {
        *block = &keys[v * dim..(v + 1) * dim];
    }
    let mut sums = [[s.splat(0.0); V]; Q];
    for d in 0..dim {
        let mut lanes = [s.splat(0.0); V];
        for v in 0..V {
            lanes[v] = T::load(s, &blocks[v][d]);
        }
        for i in 0..Q {
            let x = s.splat(queries[i][d]);
            for v in 0..V {
                sums[i][v] = s.mul_add(x, lanes[v], sums[i][v]);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        let scores = scores[i * row + base..][..KvPage::POSITIONS].as_chunks_mut::<LANES>().0;
        for (v, sum) in sums.iter().enumerate() {
            let mut score = s.mul(*sum, scale);
            if let Some(scales) = scales {
                score = s.mul(score, s.load(&scales.as_chunks::<LANES>().0[first + v]));
            }
            s.store(score, &mut scores[first + v]);
        }
    }
}

/// Adds `positions` of a page to the sums `[Q, vectors]` of `Q` queries with scores `[Q, row]`.
#[inline(always)]
fn mix_page<S: Simd, T: Element, const Q: usize, const V: usize>(
    s: S,
    values: &[[T; LANES]],
    scores: &[f32],
    base: usize,
    positions: std::ops::Range<usize>,
    sums: &mut [[f32; LANES]],
) {
    let vectors = values.len() / KvPage::POSITIONS;
    let mut at = 0;
    while at + V <= vectors {
        mix_vectors::<S, T, Q, V>(s, values, scores, base, positions.clone(), at, sums);
        at += V;
    }
    while at < vectors {
        mix_vectors::<S, T, Q, 1>(s, values, scores, base, positions.clone(), at, sums);
        at += 1;
    }
}

/// The part of [`mix_page`] from vector `at` on, `V` of them.
#[inline(always)]
fn mix_vectors<S: Simd, T: Element, const Q: usize, const V: usize>(
    s: S,
    values: &[[T; LANES]],
    scores: &[f32],
    base: usize,
    positions: std::ops::Range<usize>,
    at: usize,
    sums: &mut [[f32; LANES]],
) {
    if positions.is_empty() {
        return;
    }
    let (vectors, row) = (values.len() / KvPage::POSITIONS, scores.len() / Q);
    let mut probabilities = [scores; Q];
    for (i, p) in probabilities.iter_mut().enumerate() {
        *p = &scores[i * row + base..][positions.clone()];
    }
    let mut acc = [[s.splat(0.0); V]; Q];
    for i in 0..Q {
        for v in 0..V {
            acc[i][v] = s.load(&sums[i * vectors + at + v]);
        }
    }
    let rows = values[positions.start * vectors..positions.end * vectors].chunks_exact(vectors);
    for (j, value) in rows.enumerate() {
        let mut lanes = [s.splat(0.0); V];
        for v in 0..V {
            lanes[v] = T::load(s, &value[at + v]);
        }
        for i in 0..Q {
            let p = s.splat(probabilities[i][j]);
            for v in 0..V {
                acc[i][v] = s.mul_add(p, lanes[v], acc[i][v]);
            }
        }
    }
    for i in 0..Q {
        for v in 0..V {
            s.store(acc[i][v], &mut sums[i * vectors + at + v]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    fn exact(q: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>]) -> Vec<f64> {
        let d = q.len();
        let dot = |k: &Vec<f32>| q.iter().zip(k).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let scores: Vec<f64> = keys.iter().map(|k| dot(k) / (d as f64).sqrt()).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|x| libm::exp(x - max)).collect();
        let sum: f64 = weights.iter().sum();
        (0..d).map(|i| weights.iter().zip(values).map(|(p, v)| p / sum * f64::from(v[i])).sum()).collect()
    }

    /// Pages with `heads` heads, of which each but `head` holds NaN.
    fn pages(kind: KvType, head: usize, heads: usize, keys: &[Vec<f32>], values: &[Vec<f32>]) -> Vec<KvPage> {
        let dim = keys[0].len();
        let among = |x: &[f32]| {
            let mut all = vec![f32::NAN; heads * dim];
            all[head * dim..(head + 1) * dim].copy_from_slice(x);
            all
        };
        let mut pages = Vec::new();
        for (i, (k, v)) in keys.iter().zip(values).enumerate() {
            if i % KvPage::POSITIONS == 0 {
                pages.push(KvPage::new(kind, heads, dim));
            }
            pages.last_mut().unwrap().store(i % KvPage::POSITIONS, &among(k), &among(v));
        }
        pages
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn one_head_equals_f64_and_itself(
            head_dim in 1..140usize, positions in 1..200usize, queries in 1..11usize, seed: u64,
        ) {
            let mut random = Random::new(seed);
            let mut rows = |n: usize, scale| -> Vec<Vec<f32>> {
                (0..n).map(|_| random.floats(head_dim, scale)).collect()
            };
            let (q, keys, values) = (rows(queries, 2.0).concat(), rows(positions, 2.0), rows(positions, 1.0));
            let ends: Vec<usize> = (0..queries).map(|i| 1 + (seed as usize / 3 + i * 37) % positions).collect();
            // Scores below 50 are off by 1e-5 at most, probabilities by that factor, |v| <= 1. Rounded keys
            // (by 2^-11 of 2, by 1 / 127) move a score by that, times |q| <= 2, times sqrt(D) < 12.
            for (kind, bound) in [(KvType::F32, 3e-5), (KvType::F16, 0.03), (KvType::Q8, 0.4)] {
                let pages = pages(kind, 1, 3, &keys, &values);
                let attend = |isa, range: std::ops::Range<usize>| -> Vec<f32> {
                    let q = q[range.start * head_dim..range.end * head_dim].to_vec();
                    let mut scratch = Scratch { q, ..Scratch::default() };
                    attend_head(isa, &pages, 1, &ends[range], &mut scratch);
                    let sums = scratch.sums.chunks_exact(head_dim.div_ceil(LANES));
                    sums.flat_map(|sums| &sums.as_flattened()[..head_dim]).copied().collect()
                };
                let reference = attend(Isa::SCALAR, 0..queries);
                for i in 0..queries {
                    let q = &q[i * head_dim..(i + 1) * head_dim];
                    let exact = exact(q, &keys[..ends[i]], &values[..ends[i]]);
                    for (found, exact) in reference[i * head_dim..].iter().zip(exact) {
                        prop_assert!((f64::from(*found) - exact).abs() < bound, "{kind}: {found} for {exact}");
                    }
                }
                for isa in Isa::available() {
                    prop_assert_eq!(bits(&attend(isa, 0..queries)), bits(&reference), "{}", isa);
                    // Nor do other queries change anything.
                    let last = attend(isa, queries - 1..queries);
                    prop_assert_eq!(bits(&last), bits(&reference[(queries - 1) * head_dim..]), "{}", isa);
                }
            }
        }
    }

    /// Threads, blocks of tokens and parts of groups change nothing.
    #[test]
    fn tokens_and_heads_are_single_queries() {
        let (start, tokens, kv_heads, dim) = (50, 37, 2, 40);
        let mut random = Random::new(3);
        let mut pages =
            vec![KvPage::new(KvType::F16, kv_heads, dim), KvPage::new(KvType::F16, kv_heads, dim)];
        for position in 0..start + tokens {
            let (k, v) = (random.floats(kv_heads * dim, 2.0), random.floats(kv_heads * dim, 1.0));
            pages[position / 64].store(position % 64, &k, &v);
        }
        for heads in [2, 6, 8] {
            let q = random.floats(tokens * heads * dim, 2.0);
            for threads in [1, 3, 16] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut out = vec![f32::NAN; q.len()];
                pool.install(|| attend(Isa::best(), &pages, start, heads, &q, &mut out));
                for (i, (q, out)) in q.chunks(dim).zip(out.chunks(dim)).enumerate() {
                    let mut scratch = Scratch { q: q.to_vec(), ..Scratch::default() };
                    let (token, head) = (i / heads, i % heads);
                    attend_head(
                        Isa::best(),
                        &pages,
                        head / (heads / kv_heads),
                        &[start + token + 1],
                        &mut scratch,
                    );
                    assert_eq!(out, &scratch.sums.as_flattened()[..dim], "{threads} threads, row {i}");
                }
            }
        }
        attend::<KvPage>(Isa::best(), &[], 0, 1, &[], &mut []);
    }

    #[test]
    fn what_follows_the_end_does_not_matter() {
        let mut random = Random::new(9);
        let rows = |random: &mut Random| (0..70).map(|_| random.floats(16, 1.0)).collect::<Vec<_>>();
        let (mut keys, mut values) = (rows(&mut random), rows(&mut random));
        let q = random.floats(16, 1.0);
        let run = |keys: &[Vec<f32>], values: &[Vec<f32>]| {
            let mut out = vec![0.0; 16];
            attend(Isa::best(), &pages(KvType::F32, 0, 1, keys, values), 65, 1, &q, &mut out);
            out
        };
        let before = run(&keys, &values);
        for i in 66..70 {
            keys[i].fill(f32::NAN);
            values[i].fill(f32::INFINITY);
        }
        assert_eq!(run(&keys, &values), before);
    }

    #[test]
    fn parts_of_groups() {
        assert_eq!([group_of(4, 1), group_of(4, 2), group_of(4, 3), group_of(4, 9)], [4, 2, 1, 1]);
        assert_eq!([group_of(1, 8), group_of(6, 2), group_of(6, 4)], [1, 3, 1]);
    }
}

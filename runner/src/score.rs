//! Log-likelihoods: of a continuation, of many, of a whole text.

use std::ops::Range;

use b158_kernels::{kv::KvPage, softmax};

use crate::{Error, Model, Part, Session, forward_batch};

/// Log-probabilities of a continuation's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Natural logarithm of each token's probability, given everything before it.
    pub logprobs: Vec<f64>,
    /// Whether every token has the highest logit of its position (the first of equals).
    pub greedy: bool,
}

impl Score {
    /// Log-likelihood of the whole continuation, in nats: the terms added in order.
    pub fn sum(&self) -> f64 {
        self.logprobs.iter().sum()
    }
}

/// A continuation to score, and what comes before it; both token ids, both not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreRequest<'a> {
    /// What is read first.
    pub context: &'a [u32],
    /// What is scored.
    pub continuation: &'a [u32],
}

impl ScoreRequest<'_> {
    /// Tokens that the model reads: the last one is predicted only.
    fn inputs(&self) -> usize {
        self.context.len() + self.continuation.len() - 1
    }

    /// The token read at position `i`.
    fn input(&self, i: usize) -> u32 {
        self.context.get(i).copied().unwrap_or_else(|| self.continuation[i - self.context.len()])
    }

    fn check(&self, vocab_size: usize) -> Result<(), Error> {
        if self.context.is_empty() {
            return Err(Error::Empty { what: "context" });
        }
        if self.continuation.is_empty() {
            return Err(Error::Empty { what: "continuation" });
        }
        match self.continuation.iter().find(|&&id| id as usize >= vocab_size) {
            Some(&id) => Err(Error::TokenOutOfVocabulary { id, vocab_size }),
            None => Ok(()),
        }
    }
}

/// Scores `continuation` after `context`, both token ids.
///
/// # Errors
/// An empty context or continuation, or what [`Session::forward`] refuses.
///
/// ```
/// # use b158_runner::{LoadOptions, Model, Shape, SyntheticFormat};
/// # let shape = Shape::named("tiny").unwrap();
/// # let model = Model::synthetic(shape, SyntheticFormat::Ternary, LoadOptions::default(), |_| ())?;
/// let score = b158_runner::score(&model, &[1, 2], &[3, 4, 5])?;
/// assert_eq!(score.logprobs.len(), 3);
/// assert!(score.sum() < 0.0);
/// # Ok::<(), b158_runner::Error>(())
/// ```
pub fn score(model: &Model, context: &[u32], continuation: &[u32]) -> Result<Score, Error> {
    let mut scores = score_batch(model, &[ScoreRequest { context, continuation }])?;
    Ok(scores.pop().expect("one score for one request"))
}

/// Common tokens below which computing them once is not worth a pass of its own.
const WORTH_SHARING: usize = 8;

/// Positions of the caches of all sequences that are in memory at a time, unless a single one is longer.
const BATCH_POSITIONS: usize = 4096;

/// Scores many continuations. Neighbours that begin alike (the choices of one question, say) share what they have
/// in common, which is computed once; the bits are those of [`score`].
///
/// # Errors
/// The first error, as [`score`].
///
/// ```
/// # use b158_runner::{LoadOptions, Model, ScoreRequest, Shape, SyntheticFormat};
/// # let shape = Shape::named("tiny").unwrap();
/// # let model = Model::synthetic(shape, SyntheticFormat::Ternary, LoadOptions::default(), |_| ())?;
/// let question = [1, 9, 8, 7];
/// let choices = [[3, 4], [5, 6]];
/// let requests = choices.each_ref().map(|c| ScoreRequest { context: &question, continuation: c });
/// let scores = b158_runner::score_batch(&model, &requests)?;
/// let best = if scores[0].sum() >= scores[1].sum() { 0 } else { 1 };
/// # let _ = best;
/// assert_eq!(scores[1], b158_runner::score(&model, &question, &choices[1])?);
/// # Ok::<(), b158_runner::Error>(())
/// ```
pub fn score_batch(model: &Model, requests: &[ScoreRequest<'_>]) -> Result<Vec<Score>, Error> {
    let vocab_size = model.config().vocab_size;
    requests.iter().try_for_each(|request| request.check(vocab_size))?;
    let mut scores = Vec::with_capacity(requests.len());
    for Group { range, shared } in groups(requests) {
        scores.extend(score_group(model, &requests[range], shared)?);
    }
    Ok(scores)
}

/// Scores every token of a text but what `prefix` stands for: each window reads as many tokens before its first as
/// fit into `window`, so that every token is predicted once, with a full window before it where there is one.
///
/// The first window reads `prefix` (usually BOS). This is `loglikelihood_rolling` of lm-evaluation-harness.
///
/// # Errors
/// No tokens, a window of zero or beyond the context, or what [`Session::forward`] refuses.
///
/// ```
/// # use b158_runner::{LoadOptions, Model, Shape, SyntheticFormat};
/// # let shape = Shape::named("tiny").unwrap();
/// # let model = Model::synthetic(shape, SyntheticFormat::Ternary, LoadOptions::default(), |_| ())?;
/// let score = b158_runner::score_rolling(&model, 1, &[5, 6, 7, 8, 9], 3)?;
/// assert_eq!(score.logprobs.len(), 5);
/// # Ok::<(), b158_runner::Error>(())
/// ```
pub fn score_rolling(model: &Model, prefix: u32, tokens: &[u32], window: usize) -> Result<Score, Error> {
    if tokens.is_empty() {
        return Err(Error::Empty { what: "text" });
    }
    if window == 0 {
        return Err(Error::Empty { what: "window" });
    }
    let prefix = [prefix];
    let starts: Vec<usize> = (0..tokens.len()).step_by(window).collect();
    let windows = starts.iter().map(|&start| {
        let end = (start + window).min(tokens.len());
        let context = if start == 0 { &prefix[..] } else { &tokens[end - window - 1..start] };
        ScoreRequest { context, continuation: &tokens[start..end] }
    });
    let scores = score_batch(model, &windows.collect::<Vec<_>>())?;
    Ok(Score {
        greedy: scores.iter().all(|score| score.greedy),
        logprobs: scores.into_iter().flat_map(|score| score.logprobs).collect(),
    })
}

/// Requests that run together.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    range: Range<usize>,
    /// Tokens at the beginning that all have in common and none scores.
    shared: usize,
}

/// Cuts the requests into groups, in order: those that have enough in common, or those that fit one pass.
fn groups(requests: &[ScoreRequest<'_>]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (i, request) in requests.iter().enumerate() {
        if let Some(group) = groups.last_mut() {
            let common = common(&requests[group.range.start], request).min(group.shared);
            let shared = if common >= WORTH_SHARING { common } else { 0 };
            // Those that share stay together: one that does not would make them compute the rest again.
            let alike = shared > 0 || group.range.len() == 1 || group.shared == 0;
            if alike && positions(&requests[group.range.start..=i], shared) <= BATCH_POSITIONS {
                *group = Group { range: group.range.start..i + 1, shared };
                continue;
            }
        }
        groups.push(Group { range: i..i + 1, shared: request.context.len() - 1 });
    }
    for group in groups.iter_mut().filter(|group| group.range.len() == 1) {
        group.shared = 0;
    }
    groups
}

/// Positions of the pages that the sequences of a group take.
fn positions(requests: &[ScoreRequest<'_>], shared: usize) -> usize {
    // A sequence has the shared page that it writes to for itself.
    let own = |request: &ScoreRequest<'_>| {
        let first = shared / KvPage::POSITIONS * KvPage::POSITIONS;
        (request.inputs() - first).next_multiple_of(KvPage::POSITIONS)
    };
    shared + requests.iter().map(own).sum::<usize>()
}

/// Tokens that two requests have in common before the first one that is scored after.
fn common(a: &ScoreRequest<'_>, b: &ScoreRequest<'_>) -> usize {
    let limit = a.context.len().min(b.context.len()) - 1;
    (0..limit).position(|i| a.context[i] != b.context[i]).unwrap_or(limit)
}

fn score_group(model: &Model, requests: &[ScoreRequest<'_>], shared: usize) -> Result<Vec<Score>, Error> {
    let longest = requests.iter().map(ScoreRequest::inputs).max().unwrap_or(0);
    let mut first = Session::new(model, longest)?;
    if shared > 0 {
        first.forward_each(&requests[0].context[..shared], shared, |_| ())?;
    }
    let mut sessions: Vec<Session<'_>> = requests[1..].iter().map(|_| first.fork()).collect();
    sessions.insert(0, first);
    let inputs: Vec<Vec<u32>> =
        requests.iter().map(|r| (shared..r.inputs()).map(|i| r.input(i)).collect()).collect();
    let mut parts: Vec<Part<'_, '_>> = sessions
        .iter_mut()
        .zip(&inputs)
        .zip(requests)
        .map(|((session, tokens), r)| Part { session, tokens, from: r.context.len() - 1 - shared })
        .collect();
    let empty =
        |r: &ScoreRequest<'_>| Score { logprobs: Vec::with_capacity(r.continuation.len()), greedy: true };
    let mut scores: Vec<Score> = requests.iter().map(empty).collect();
    forward_batch(&mut parts, |part, row| {
        let score = &mut scores[part];
        let token = requests[part].continuation[score.logprobs.len()] as usize;
        score.logprobs.push(softmax::log_probability(model.isa(), row, token));
        score.greedy &= argmax(row) == token;
    })?;
    Ok(scores)
}

/// The first index of the highest value; 0 of no values. No value is NaN.
pub fn argmax(row: &[f32]) -> usize {
    // Lane by lane, which is ten times as fast as keeping the index on the way.
    let (chunks, rest) = row.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in chunks {
        for (max, value) in lanes.iter_mut().zip(chunk) {
            *max = if *value > *max { *value } else { *max };
        }
    }
    let max = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, value| max.max(*value));
    row.iter().position(|value| *value == max).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(context: &'a [u32], continuation: &'a [u32]) -> ScoreRequest<'a> {
        ScoreRequest { context, continuation }
    }

    #[test]
    fn the_first_of_the_highest() {
        assert_eq!((argmax(&[]), argmax(&[-1.0]), argmax(&[1.0, 3.0, 3.0])), (0, 0, 1));
        let mut row: Vec<f32> = (0..100).map(|i| (i * 37 % 61) as f32).collect();
        assert_eq!(argmax(&row), row.iter().position(|v| *v == 60.0).unwrap());
        row[99] = 61.0;
        assert_eq!(argmax(&row), 99);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 40]), 0);
    }

    #[test]
    fn requests_that_begin_alike_are_a_group() {
        let question: Vec<u32> = (0..20).collect();
        let other: Vec<u32> = (0..10).chain(50..60).collect();
        let choices = [request(&question, &[1, 2]), request(&question, &[3]), request(&other, &[4])];
        assert_eq!(groups(&choices), [Group { range: 0..3, shared: 10 }]);
        // Where a context is the other's beginning, the last token of the shorter is read for its own score.
        assert_eq!(groups(&[request(&question, &[1]), request(&question[..12], &[1])])[0].shared, 11);
        // Nothing in common: together, for the weights' sake.
        let apart: Vec<u32> = (100..120).collect();
        assert_eq!(
            groups(&[request(&question, &[1]), request(&apart, &[1])]),
            [Group { range: 0..2, shared: 0 }]
        );
        assert_eq!(groups(&[request(&question, &[1])]), [Group { range: 0..1, shared: 0 }]);
        // Those that share end where one comes that does not.
        let mixed = [choices[0], choices[1], request(&apart, &[1])];
        assert_eq!(groups(&mixed), [Group { range: 0..2, shared: 19 }, Group { range: 2..3, shared: 0 }]);
        // Memory is bounded: each sequence has a page of its own, and may be long.
        let (long, one) = (vec![7; 3000], [1]);
        assert_eq!(groups(&[request(&long, &[1]), request(&apart, &long)]).len(), 2);
        let many: Vec<_> = (0..1000).map(|_| request(&question, &one)).collect();
        let longest = groups(&many).iter().map(|group| group.range.len()).max();
        assert_eq!(longest, Some((BATCH_POSITIONS - 19) / KvPage::POSITIONS));
        assert!(groups(&[]).is_empty());
    }
}

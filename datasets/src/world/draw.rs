//! Choices: the same on every machine, and no library's distributions in between.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use sha2::{Digest, Sha256};

/// A stream of choices. Its bits are ChaCha8's, keyed by the SHA-256 of a label and a seed.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    pub(super) fn new(label: &str, seed: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(label.as_bytes());
        hash.update(seed.to_le_bytes());
        Self(ChaCha8Rng::from_seed(hash.finalize().into()))
    }

    /// A number below `n`, which is at least 1. Multiplication in place of division leaves a bias of at most
    /// n / 2^32, which no text of this size shows.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    /// True `part` times out of `of`.
    pub(super) fn chance(&mut self, part: usize, of: usize) -> bool {
        self.below(of) < part
    }

    /// One of `list`, which is not empty.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// `count` different members of `list`, or all of it where it is shorter, in random order.
    pub(super) fn several<T: Clone>(&mut self, list: &[T], count: usize) -> Vec<T> {
        let mut rest: Vec<T> = list.to_vec();
        for i in 0..count.min(rest.len()) {
            let j = i + self.below(rest.len() - i);
            rest.swap(i, j);
        }
        rest.truncate(count);
        rest
    }

    /// Puts `list` into random order.
    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            let j = self.below(i + 1);
            list.swap(i, j);
        }
    }
}

/// The first eight bytes of a text's SHA-256: what decides on which side of the split the text lies.
pub(super) fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    u64::from_le_bytes(digest[..8].try_into().expect("32 bytes"))
}

/// Replaces each `{key}` of a template.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let end = start + rest[start..].find('}').expect("a closed brace");
        let key = &rest[start + 1..end];
        let value = values.iter().find(|(name, _)| *name == key).expect("a known key").1;
        out.push_str(&rest[..start]);
        out.push_str(value);
        rest = &rest[end + 1..];
    }
    out + rest
}

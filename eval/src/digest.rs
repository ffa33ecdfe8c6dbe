//! The result digest: what two machines must agree on, and nothing else.
//!
//! ```text
//!   SHA-256 of   "b158 result digest 1\n"
//!                number of tasks                                     u64
//!                per task:      length of its name, name             u64, UTF-8
//!                               number of documents                  u64
//!                per document:  number of requests                   u64
//!                per request:   number of context ids, ids           u64, u32 each
//!                               number of continuation ids, ids      u64, u32 each
//!                               log-likelihood                       bits of the f64
//! ```
//!
//! All little-endian, tasks in the suite's order. The model's name, times and threads are not in it.

use sha2::{Digest, Sha256};

use crate::results::{Document, TaskResults};

/// The digest of a model's results, as 64 hexadecimal digits.
pub fn digest(tasks: &[TaskResults]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"b158 result digest 1\n");
    count(&mut hash, tasks.len());
    for task in tasks {
        count(&mut hash, task.task.task.len());
        hash.update(task.task.task.as_bytes());
        count(&mut hash, task.documents.len());
        for document in &task.documents {
            of_document(&mut hash, document);
        }
    }
    hex(hash)
}

/// SHA-256 of what the digest has of one document, as 64 hexadecimal digits.
pub fn document_digest(document: &Document) -> String {
    let mut hash = Sha256::new();
    of_document(&mut hash, document);
    hex(hash)
}

/// SHA-256 of a dataset's rows, each as JSON on a line, as 64 hexadecimal digits.
pub(crate) fn rows_digest(rows: &[serde_json::Value]) -> String {
    let mut hash = Sha256::new();
    for row in rows {
        hash.update(format!("{row}\n"));
    }
    hex(hash)
}

fn of_document(hash: &mut Sha256, document: &Document) {
    count(hash, document.samples.len());
    for sample in &document.samples {
        ids(hash, &sample.request.ctx_ids);
        ids(hash, &sample.request.cont_ids);
        hash.update(sample.loglikelihood.to_bits().to_le_bytes());
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn count(hash: &mut Sha256, n: usize) {
    hash.update((n as u64).to_le_bytes());
}

fn ids(hash: &mut Sha256, ids: &[u32]) {
    count(hash, ids.len());
    for id in ids {
        hash.update(id.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::results::tests::{choice_task, rolling_task};

    /// The digest is a file format: this value may not change without a new first line.
    #[test]
    fn pinned() {
        let tasks = [choice_task(&[(&[-1.0, -2.0], 0)]), rolling_task(&[(-3.5, 2, 9)])];
        insta::assert_snapshot!(digest(&tasks), @"a28e2ce7a31ff3a93e170962b132d853f53187e857074f639754bd354ad64f88");
        insta::assert_snapshot!(digest(&[]), @"a80d5f708a78ffc258439f2bfffbc48a50617b9d9224da9c1325da64b48951da");
    }

    proptest! {
        #[test]
        fn any_bit_changes_it(document in 0_usize..3, sample in 0_usize..2, what in 0..3, bit in 0_u32..64) {
            let rows: [(&[f64], usize); 3] = [(&[-1.0, -2.0], 0), (&[-0.5, -0.25], 1), (&[-3.0, -1.0], 0)];
            let before = choice_task(&rows);
            let mut after = before.clone();
            let changed = &mut after.documents[document].samples[sample];
            match what {
                0 => changed.request.ctx_ids[0] ^= 1_u32 << (bit % 32),
                1 => changed.request.cont_ids[0] ^= 1_u32 << (bit % 32),
                _ => {
                    let bits = changed.loglikelihood.to_bits() ^ (1_u64 << bit);
                    changed.loglikelihood = f64::from_bits(bits);
                }
            }
            prop_assert_ne!(digest(&[before]), digest(&[after]));
        }
    }

    #[test]
    fn lengths_are_framed() {
        let mut a = choice_task(&[(&[-1.0, -2.0], 0)]);
        let mut b = a.clone();
        (a.documents[0].samples[0].request.ctx_ids, a.documents[0].samples[0].request.cont_ids) =
            (vec![1], vec![2, 3]);
        (b.documents[0].samples[0].request.ctx_ids, b.documents[0].samples[0].request.cont_ids) =
            (vec![1, 2], vec![3]);
        assert_ne!(digest(&[a]), digest(&[b]));
    }
}

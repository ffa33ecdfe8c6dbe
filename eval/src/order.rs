//! The order in which documents are scored: which ones together, and which first.
//!
//! ```text
//!   documents, longest first     [choice choice choice choice] [target] [target] [target] [choice choice]
//!   batches                      [............................][........................][..............]
//! ```
//!
//! - The longest come first, as in lm-eval: memory runs out at once or never, the time left is never too short, and no
//!   thread is left with a long one at the end.
//! - The requests of a document stay together: they have its question in common, which is computed once.
//! - Documents of a single request go together until they fill a pass. Whether two questions begin alike does not
//!   matter: lm-eval draws other examples for each, so they hardly do.

use std::cmp::Reverse;

use crate::request::Request;

/// Tokens from which a pass is full: weights are read often enough by then, and a kill loses little.
const FULL: usize = 512;

/// Documents by the tokens of their requests, longest first; of equally long ones, in their order.
pub(crate) fn batches<T>(documents: Vec<T>, requests: impl Fn(&T) -> &[Request]) -> Vec<Vec<T>> {
    let length =
        |document: &T| requests(document).iter().map(|r| r.ctx_ids.len() + r.cont_ids.len()).sum::<usize>();
    let mut longest: Vec<(usize, T)> = documents.into_iter().map(|d| (length(&d), d)).collect();
    longest.sort_by_key(|(length, _)| Reverse(*length));
    let mut batches: Vec<Vec<T>> = Vec::new();
    // Tokens of the last batch; full for one that takes no more.
    let mut filled = FULL;
    for (length, document) in longest {
        let single = requests(&document).len() == 1;
        match batches.last_mut() {
            Some(batch) if single && filled + length <= FULL => {
                batch.push(document);
                filled += length;
            }
            _ => {
                batches.push(vec![document]);
                filled = if single { length } else { FULL };
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_come_first_and_single_requests_together() {
        let request = |n: usize| Request {
            context: None,
            continuation: None,
            ctx_ids: vec![0; n - 1],
            cont_ids: vec![0],
        };
        let document = |lengths: &[usize]| lengths.iter().map(|n| request(*n)).collect::<Vec<_>>();
        let documents = [&[100][..], &[50, 60], &[200], &[300], &[90], &[10, 10], &[10]].map(document);
        let batches = batches(documents.to_vec(), Vec::as_slice);
        let lengths = |batch: &Vec<Vec<Request>>| {
            batch.iter().map(|d| d.iter().map(|r| r.ctx_ids.len() + 1).sum()).collect::<Vec<usize>>()
        };
        let lengths: Vec<Vec<usize>> = batches.iter().map(lengths).collect();
        assert_eq!(lengths, [vec![300, 200], vec![110], vec![100, 90], vec![20], vec![10]]);
    }
}

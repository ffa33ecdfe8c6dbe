//! Dividing an output among threads. Each element is computed by one thread in a fixed order, so the
//! division never shows in a result.

use rayon::prelude::*;

/// Fused multiply-adds below which threads cost more than they save: waking a worker takes some
/// microseconds, in which one core does about this many.
const WORTH_THREADS: usize = 1 << 17;

/// Runs `f` on every item, on all threads if the `work` (in fused multiply-adds) is worth it.
pub(crate) fn for_each<T: Send>(work: usize, items: Vec<T>, f: impl Fn(T) + Sync + Send) {
    if work < WORTH_THREADS || items.len() < 2 {
        items.into_iter().for_each(f);
    } else {
        items.into_par_iter().for_each(f);
    }
}

/// Elements of one task of an operation that goes over rows, some microseconds of work.
const TASK_ELEMENTS: usize = 1 << 14;

/// Runs `f(first, rows)` on parts of `out` that are whole rows of `width` elements, from row `first` on, on all
/// threads if the `work` is worth it; otherwise all rows are one part.
pub(crate) fn for_each_rows<T: Send>(
    work: usize,
    out: &mut [T],
    width: usize,
    f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    if work < WORTH_THREADS {
        f(0, out);
    } else {
        let rows = (TASK_ELEMENTS / width).max(1);
        for_each_chunk(work, out, rows * width, |i, part| f(i * rows, part));
    }
}

/// Runs `f(i, chunk)` on every chunk of `size` elements of `out`, the last one smaller, on all threads if the
/// `work` (in fused multiply-adds) is worth it. Nothing is allocated; an idle thread takes single chunks.
pub(crate) fn for_each_chunk<T: Send>(
    work: usize,
    out: &mut [T],
    size: usize,
    f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    if work < WORTH_THREADS || out.len() <= size {
        out.chunks_mut(size).enumerate().for_each(|(i, chunk)| f(i, chunk));
    } else {
        out.par_chunks_mut(size).enumerate().with_max_len(1).for_each(|(i, chunk)| f(i, chunk));
    }
}

/// Part of a matrix `[tokens, rows]`: rows `start..` of consecutive tokens.
pub(crate) struct Block<'a, T> {
    /// The first token.
    pub(crate) token: usize,
    /// The first row.
    pub(crate) row: usize,
    /// One slice of the same rows per token.
    pub(crate) out: Vec<&'a mut [T]>,
}

/// Cuts `out` `[tokens, rows]` into blocks of `block_tokens` x `block_rows`, smaller at the ends.
pub(crate) fn blocks<T>(
    out: &mut [T],
    rows: usize,
    block_tokens: usize,
    block_rows: usize,
) -> Vec<Block<'_, T>> {
    let mut blocks = Vec::new();
    for (i, tokens) in out.chunks_mut(rows * block_tokens).enumerate() {
        let first = blocks.len();
        let per_token = rows.div_ceil(block_rows);
        blocks.extend((0..per_token).map(|b| Block {
            token: i * block_tokens,
            row: b * block_rows,
            out: Vec::with_capacity(block_tokens),
        }));
        for token in tokens.chunks_mut(rows) {
            for (block, part) in blocks[first..].iter_mut().zip(token.chunks_mut(block_rows)) {
                block.out.push(part);
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_element_once() {
        for work in [0, WORTH_THREADS] {
            let mut out = vec![0; 23];
            for_each_chunk(work, &mut out, 5, |i, chunk| {
                for (j, x) in chunk.iter_mut().enumerate() {
                    *x += 5 * i + j;
                }
            });
            assert_eq!(out, (0..23).collect::<Vec<_>>());
        }
    }

    #[test]
    fn rows_stay_whole() {
        for (work, width) in [(0, 3), (WORTH_THREADS, 3), (WORTH_THREADS, TASK_ELEMENTS / 2 - 1)] {
            let mut out = vec![0; 7 * width];
            for_each_rows(work, &mut out, width, |first, rows| {
                for (j, x) in rows.iter_mut().enumerate() {
                    *x += first * width + j;
                }
            });
            assert_eq!(out, (0..7 * width).collect::<Vec<_>>());
        }
    }

    #[test]
    fn blocks_cover_every_element_once() {
        let (tokens, rows) = (5, 7);
        let mut out = vec![0; tokens * rows];
        for mut block in blocks(&mut out, rows, 2, 3) {
            for (t, part) in block.out.iter_mut().enumerate() {
                for (r, x) in part.iter_mut().enumerate() {
                    *x += 1 + (block.token + t) * rows + block.row + r;
                }
            }
        }
        assert_eq!(out, (1..=tokens * rows).collect::<Vec<_>>());
    }
}

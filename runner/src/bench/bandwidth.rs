//! How fast the threads of the current pool read memory together: the roofline of decoding.

use std::{hint::black_box, time::Instant};

use rayon::prelude::*;

/// Bytes that are read: several times the largest third-level caches of desktops, and more than what
/// one chiplet of a server has.
const BYTES: usize = 256 << 20;

/// Bytes of one task; consecutive, for prefetchers.
const TASK_BYTES: usize = 1 << 20;

/// Passes, of which the fastest counts.
const PASSES: usize = 6;

/// Sums that do not wait for each other.
const LANES: usize = 16;

/// Bytes each second, the best of several passes over a buffer far larger than the caches.
pub fn read_bandwidth() -> f64 {
    // Written by the threads that will read it, and not with zeros, which need not be in memory at all.
    let words: Vec<u64> = (0..(BYTES / size_of::<u64>()) as u64).into_par_iter().collect();
    let pass = || {
        let start = Instant::now();
        let folded: u64 = words.par_chunks(TASK_BYTES / size_of::<u64>()).map(fold).sum();
        black_box(folded);
        start.elapsed().as_secs_f64()
    };
    let seconds = (0..PASSES).map(|_| pass()).fold(f64::INFINITY, f64::min);
    BYTES as f64 / seconds
}

fn fold(words: &[u64]) -> u64 {
    let mut lanes = [0; LANES];
    for words in words.as_chunks::<LANES>().0 {
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane ^= word;
        }
    }
    lanes.into_iter().fold(0, |all, lane| all ^ lane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read() {
        let words: Vec<u64> = (0..64).map(|i| 1 << i).collect();
        assert_eq!(fold(&words), u64::MAX);
    }

    #[test]
    fn memory_is_neither_a_disk_nor_a_cache() {
        // From 10 MB/s, an emulator on a busy machine, to 10 TB/s, more than any socket.
        assert!((1e7..1e13).contains(&read_bandwidth()));
    }
}

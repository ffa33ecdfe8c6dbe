//! Random numbers of Python's `random` module, on which lm-eval's bootstrap and few-shot examples depend.
//!
//! MT19937 (Matsumoto and Nishimura 1998, ACM TOMACS 8(1)), seeded by `init_by_array` with the one word i, as
//! `random.Random(i)` is; `random()` has 53 bits of two of its outputs, `sample()` the highest bits of one for each
//! index (`Lib/random.py` of Python 3.11).

use std::collections::HashSet;

/// Words of the state.
const N: usize = 624;
/// Distance of the words that are combined.
const M: usize = 397;

/// `random.Random(seed)`.
pub(crate) struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    /// `init_by_array` with one word.
    pub(crate) fn new(seed: u32) -> Self {
        let mut s = [0; N];
        s[0] = 19_650_218;
        for i in 1..N {
            s[i] = scramble(s[i - 1], 1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        for _ in 0..N {
            s[i] = (s[i] ^ scramble(s[i - 1], 1_664_525)).wrapping_add(seed);
            i = following(&mut s, i);
        }
        for _ in 0..N - 1 {
            s[i] = (s[i] ^ scramble(s[i - 1], 1_566_083_941)).wrapping_sub(i as u32);
            i = following(&mut s, i);
        }
        s[0] = 0x8000_0000;
        Self { state: s, next: N }
    }

    fn word(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        let s = &mut self.state;
        for i in 0..N {
            let y = (s[i] & 0x8000_0000) | (s[(i + 1) % N] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            s[i] = s[(i + M) % N] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// `random()`: uniform in [0, 1), 53 bits.
    pub(crate) fn real(&mut self) -> f64 {
        let high = f64::from(self.word() >> 5);
        let low = f64::from(self.word() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// `_randbelow(n)`: uniform in 0..n, `n` at least 1.
    fn below(&mut self, n: u32) -> u32 {
        let unused = n.leading_zeros();
        loop {
            let word = self.word() >> unused;
            if word < n {
                return word;
            }
        }
    }

    /// `sample(range(n), k)`: `k` different indices in the order drawn; `k` is at most `n`.
    pub(crate) fn sample(&mut self, n: u32, k: u32) -> Vec<u32> {
        // Python picks the algorithm, and with it the numbers drawn, by what its lists and sets take.
        let mut set_size = 21_u64;
        if k > 5 {
            let mut table = 1_u64;
            while table < 3 * u64::from(k) {
                table *= 4;
            }
            set_size += table;
        }
        if u64::from(n) <= set_size {
            let mut pool: Vec<u32> = (0..n).collect();
            let draw = |i: u32| {
                let j = self.below(n - i) as usize;
                let last = pool[(n - i - 1) as usize];
                std::mem::replace(&mut pool[j], last)
            };
            return (0..k).map(draw).collect();
        }
        let mut drawn: Vec<u32> = Vec::with_capacity(k as usize);
        let mut seen = HashSet::new();
        while drawn.len() < k as usize {
            let j = self.below(n);
            if seen.insert(j) {
                drawn.push(j);
            }
        }
        drawn
    }
}

fn scramble(word: u32, factor: u32) -> u32 {
    (word ^ (word >> 30)).wrapping_mul(factor)
}

/// The index after `i` in the seeding: from the last word back to word 1.
fn following(state: &mut [u32; N], i: usize) -> usize {
    if i + 1 < N {
        return i + 1;
    }
    state[0] = state[N - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_of_python() {
        // Python 3.11: [random.Random(seed).random() for each of the first three calls].
        for (seed, values) in [
            (0, [0.844_421_851_525_048_1, 0.757_954_402_940_302_5, 0.420_571_580_830_845]),
            (99, [0.403_978_074_943_666_33, 0.200_075_444_574_945_42, 0.178_802_320_586_612_27]),
        ] {
            let mut random = PythonRandom::new(seed);
            assert_eq!(values.map(|_| random.real()), values);
        }
        // The 1000th number: the state was made anew several times.
        let mut random = PythonRandom::new(1);
        assert_eq!((0..1000).fold(0.0, |_, _| random.real()), 0.706_261_547_255_138_6);
    }

    #[test]
    fn samples_of_python() {
        // Python 3.11: random.Random(seed).sample(range(n), k), twice; both algorithms, on either side of the limit.
        for (seed, n, first, second) in [
            (1234, 30, vec![24, 14], vec![3, 0]),
            (1234, 21, vec![14, 3, 0, 2, 1], vec![2, 3, 11, 7, 0]),
            (1234, 22, vec![14, 3, 0, 2, 18], vec![1, 21, 2, 3, 11]),
            (1234, 100, vec![99, 56, 14], vec![0, 11, 74]),
            (7, 86, vec![41, 19, 50, 83, 6, 9], vec![68, 12, 46, 74, 7, 64]),
            (7, 85, vec![41, 19, 50, 6, 9, 68], vec![12, 46, 74, 7, 64, 27]),
            (1234, 3, vec![1, 0, 2], vec![0, 2, 1]),
            (1234, 1, vec![0], vec![0]),
        ] {
            let mut random = PythonRandom::new(seed);
            let k = first.len() as u32;
            assert_eq!(random.sample(n, k), first, "{seed} {n} {k}");
            assert_eq!(random.sample(n, k), second, "{seed} {n} {k}");
        }
    }

    proptest::proptest! {
        #[test]
        fn samples_are_different_indices(seed: u32, n in 1_u32..200, share in 0.0_f64..=1.0) {
            let k = (f64::from(n) * share) as u32;
            let mut drawn = PythonRandom::new(seed).sample(n, k);
            proptest::prop_assert_eq!(drawn.len(), k as usize);
            drawn.sort_unstable();
            drawn.dedup();
            proptest::prop_assert_eq!(drawn.len(), k as usize);
            proptest::prop_assert!(drawn.iter().all(|i| *i < n));
        }
    }
}

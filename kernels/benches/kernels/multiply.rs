//! What the additions are measured against: the same product by multiplication, on the same two bits a
//! weight, as good as we can write it. Only this benchmark has it.
//!
//! ```text
//!   AVX2      vpmaddubsw: codes 0 to 2 times int8, pairs added to 16 bits, widened every 256 columns
//!   AVX-512   VNNI vpdpbusd: four products added to 32 bits
//!
//!   rows in lanes, four columns of a row side by side:
//!   [tile of ROWS rows][16 columns][ROWS rows][4 bytes], a byte is four codes + 1, for columns
//!   k, k + 4, k + 8 and k + 12 of the sixteen
//! ```
//!
//! One token reads the codes as they are, many share tiles that are widened to a byte a code once.
//! The sum of the activations, which the + 1 of the codes adds, is taken away at the end.

// Halves of tiles and of sums have the same index.
#![allow(clippy::needless_range_loop)]

#[allow(clippy::wildcard_imports)] // as intrinsics are used everywhere
use std::arch::x86_64::*;

use rayon::prelude::*;

/// Columns of a step.
const STEP: usize = 16;

/// A multiplying kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiply {
    /// `vpmaddubsw`
    Avx2,
    /// `vpdpbusd`
    Vnni,
}

impl Multiply {
    /// The one that belongs to an instruction set, if this machine has it.
    pub fn of(isa: &str) -> Option<Self> {
        match isa {
            "avx2" => is_x86_feature_detected!("avx2").then_some(Self::Avx2),
            "avx512" => {
                let has = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw");
                has.then_some(Self::Vnni)
            }
            _ => None,
        }
    }

    /// The instruction.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx2 => "maddubs",
            Self::Vnni => "vnni",
        }
    }

    /// Rows of a tile: two registers of 32-bit sums.
    fn rows(self) -> usize {
        match self {
            Self::Avx2 => 16,
            Self::Vnni => 32,
        }
    }
}

/// Packed codes.
#[derive(Clone)]
pub struct Matrix {
    kind: Multiply,
    cols: usize,
    rows: usize,
    bytes: Vec<u8>,
}

impl Matrix {
    /// `codes` `[rows, cols]`, whole tiles of rows and a multiple of 16 columns.
    pub fn new(kind: Multiply, cols: usize, codes: &[i8]) -> Self {
        let (rows, tile) = (codes.len() / cols, kind.rows());
        assert!(rows.is_multiple_of(tile) && cols.is_multiple_of(STEP));
        let mut bytes = vec![0; codes.len() / 4];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let (within, row) = (at % 4, at / 4 % tile);
            let (step, tile_index) = (at / (4 * tile) % (cols / STEP), at / (tile * cols / 4));
            let first = (tile_index * tile + row) * cols + step * STEP + within;
            *byte = (0..4).map(|f| ((codes[first + 4 * f] + 1) as u8) << (2 * f)).sum();
        }
        Self { kind, cols, rows, bytes }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// `out[t][r]` for `x` `[tokens, cols]`; the sums of `x` are given. Several tokens are a multiple
    /// of eight.
    pub fn product(&self, x: &[i8], sums: &[i32], out: &mut [Vec<i32>]) {
        let (tile, bytes) = (self.kind.rows(), self.kind.rows() * self.cols / 4);
        let tokens = sums.len();
        // Outputs by tile: [tile][token][row].
        out.par_iter_mut().zip(self.bytes.par_chunks(bytes * 4)).for_each(|(out, codes)| {
            out.resize(codes.len() / bytes * tokens * tile, 0);
            for (codes, out) in codes.chunks_exact(bytes).zip(out.chunks_exact_mut(tokens * tile)) {
                // SAFETY: a kind exists only where its instructions do; the lengths are those of the tile.
                unsafe {
                    match (self.kind, tokens) {
                        (Multiply::Avx2, 1) => maddubs_one(codes, x, out),
                        (Multiply::Avx2, _) => maddubs_many(codes, x, self.cols, out),
                        (Multiply::Vnni, 1) => vnni_one(codes, x, out),
                        (Multiply::Vnni, _) => vnni_many(codes, x, self.cols, out),
                    }
                }
                for (out, sum) in out.chunks_exact_mut(tile).zip(sums) {
                    for out in out {
                        *out -= sum;
                    }
                }
            }
        });
    }

    /// Places for the outputs of [`product`](Self::product): four tiles each.
    pub fn outputs(&self) -> Vec<Vec<i32>> {
        vec![Vec::new(); (self.rows / self.kind.rows()).div_ceil(4)]
    }

    /// The output of one token and row.
    pub fn at(&self, out: &[Vec<i32>], tokens: usize, token: usize, row: usize) -> i32 {
        let tile = row / self.kind.rows();
        out[tile / 4][(tile % 4 * tokens + token) * self.kind.rows() + row % self.kind.rows()]
    }
}

/// Four activations as one 32-bit lane.
///
/// # Safety
/// `x` has four bytes from `at` on.
unsafe fn four(x: *const i8, at: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { x.add(at).cast::<i32>().read_unaligned() }
}

/// # Safety
/// AVX-512 F, BW and VNNI; a tile of `x.len()` columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline(never)]
unsafe fn vnni_one(codes: &[u8], x: &[i8], out: &mut [i32]) {
    let mask = _mm512_set1_epi8(3);
    // Two sums for each half of the tile, so that consecutive products do not wait for each other.
    let mut sums = [[_mm512_setzero_si512(); 2]; 2];
    for (codes, x) in codes.as_chunks::<128>().0.iter().zip(x.as_chunks::<STEP>().0) {
        for half in 0..2 {
            // SAFETY: 64 of 128 bytes, and four of 16.
            unsafe {
                let w = _mm512_loadu_si512(codes.as_ptr().add(64 * half).cast());
                let x = |f: usize| _mm512_set1_epi32(four(x.as_ptr(), 4 * f));
                let [a, b] = &mut sums[half];
                *a = _mm512_dpbusd_epi32(*a, _mm512_and_si512(w, mask), x(0));
                *b = _mm512_dpbusd_epi32(*b, _mm512_and_si512(_mm512_srli_epi16::<2>(w), mask), x(1));
                *a = _mm512_dpbusd_epi32(*a, _mm512_and_si512(_mm512_srli_epi16::<4>(w), mask), x(2));
                *b = _mm512_dpbusd_epi32(*b, _mm512_and_si512(_mm512_srli_epi16::<6>(w), mask), x(3));
            }
        }
    }
    for (out, [a, b]) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
        // SAFETY: 16 sums.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_add_epi32(a, b)) };
    }
}

/// # Safety
/// AVX-512 F, BW and VNNI; a tile of `cols` columns, a multiple of eight tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline(never)]
unsafe fn vnni_many(codes: &[u8], x: &[i8], cols: usize, out: &mut [i32]) {
    let mask = _mm512_set1_epi8(3);
    // [cols / 4][32 rows][4]
    let mut wide = vec![0u8; cols * 32];
    for (codes, wide) in codes.as_chunks::<128>().0.iter().zip(wide.as_chunks_mut::<512>().0) {
        for half in 0..2 {
            // SAFETY: 64 of 128 bytes, and 64 of each 128 of 512.
            unsafe {
                let w = _mm512_loadu_si512(codes.as_ptr().add(64 * half).cast());
                let p = wide.as_mut_ptr().add(64 * half);
                _mm512_storeu_si512(p.cast(), _mm512_and_si512(w, mask));
                _mm512_storeu_si512(p.add(128).cast(), _mm512_and_si512(_mm512_srli_epi16::<2>(w), mask));
                _mm512_storeu_si512(p.add(256).cast(), _mm512_and_si512(_mm512_srli_epi16::<4>(w), mask));
                _mm512_storeu_si512(p.add(384).cast(), _mm512_and_si512(_mm512_srli_epi16::<6>(w), mask));
            }
        }
    }
    for (x, out) in x.chunks_exact(8 * cols).zip(out.as_chunks_mut::<256>().0) {
        let mut sums = [[_mm512_setzero_si512(); 2]; 8];
        for (k, w) in wide.as_chunks::<128>().0.iter().enumerate() {
            // SAFETY: 128 bytes; four columns of each of eight tokens.
            unsafe {
                let w = [w.as_ptr(), w.as_ptr().add(64)].map(|p| _mm512_loadu_si512(p.cast()));
                for (t, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32(four(x.as_ptr(), t * cols + 4 * k));
                    sums[0] = _mm512_dpbusd_epi32(sums[0], w[0], x);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], w[1], x);
                }
            }
        }
        for (out, sum) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums.as_flattened()) {
            // SAFETY: 16 sums.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), *sum) };
        }
    }
}

/// # Safety
/// AVX2; a tile of `x.len()` columns.
#[target_feature(enable = "avx2")]
#[inline(never)]
unsafe fn maddubs_one(codes: &[u8], x: &[i8], out: &mut [i32]) {
    let (mask, ones, zero) = (_mm256_set1_epi8(3), _mm256_set1_epi16(1), _mm256_setzero_si256());
    let mut sums = [zero; 2];
    // A word takes two pairs of each 16 columns: 2 * 16 * 508 = 16256 fits.
    for (codes, x) in codes.chunks(64 * 16).zip(x.chunks(16 * STEP)) {
        let mut words = [[zero; 2]; 2];
        for (codes, x) in codes.as_chunks::<64>().0.iter().zip(x.as_chunks::<STEP>().0) {
            for half in 0..2 {
                // SAFETY: 32 of 64 bytes, and four of 16.
                unsafe {
                    let w = _mm256_loadu_si256(codes.as_ptr().add(32 * half).cast());
                    let x = |f: usize| _mm256_set1_epi32(four(x.as_ptr(), 4 * f));
                    let product = |w, x| _mm256_maddubs_epi16(_mm256_and_si256(w, mask), x);
                    let [a, b] = &mut words[half];
                    *a = _mm256_add_epi16(*a, product(w, x(0)));
                    *b = _mm256_add_epi16(*b, product(_mm256_srli_epi16::<2>(w), x(1)));
                    *a = _mm256_add_epi16(*a, product(_mm256_srli_epi16::<4>(w), x(2)));
                    *b = _mm256_add_epi16(*b, product(_mm256_srli_epi16::<6>(w), x(3)));
                }
            }
        }
        for (sum, [a, b]) in sums.iter_mut().zip(words) {
            let wide = _mm256_add_epi32(_mm256_madd_epi16(a, ones), _mm256_madd_epi16(b, ones));
            *sum = _mm256_add_epi32(*sum, wide);
        }
    }
    for (out, sum) in out.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
        // SAFETY: 8 sums.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
    }
}

/// # Safety
/// AVX2; a tile of `cols` columns, a multiple of four tokens.
#[target_feature(enable = "avx2")]
#[inline(never)]
unsafe fn maddubs_many(codes: &[u8], x: &[i8], cols: usize, out: &mut [i32]) {
    let (mask, ones, zero) = (_mm256_set1_epi8(3), _mm256_set1_epi16(1), _mm256_setzero_si256());
    // [cols / 4][16 rows][4]
    let mut wide = vec![0u8; cols * 16];
    for (codes, wide) in codes.as_chunks::<64>().0.iter().zip(wide.as_chunks_mut::<256>().0) {
        for half in 0..2 {
            // SAFETY: 32 of 64 bytes, and 32 of each 64 of 256.
            unsafe {
                let w = _mm256_loadu_si256(codes.as_ptr().add(32 * half).cast());
                let p = wide.as_mut_ptr().add(32 * half);
                _mm256_storeu_si256(p.cast(), _mm256_and_si256(w, mask));
                _mm256_storeu_si256(p.add(64).cast(), _mm256_and_si256(_mm256_srli_epi16::<2>(w), mask));
                _mm256_storeu_si256(p.add(128).cast(), _mm256_and_si256(_mm256_srli_epi16::<4>(w), mask));
                _mm256_storeu_si256(p.add(192).cast(), _mm256_and_si256(_mm256_srli_epi16::<6>(w), mask));
            }
        }
    }
    for (x, out) in x.chunks_exact(4 * cols).zip(out.as_chunks_mut::<64>().0) {
        let mut sums = [[zero; 2]; 4];
        for (p, wide) in wide.chunks(64 * 64).enumerate() {
            let mut words = [[zero; 2]; 4];
            for (k, w) in wide.as_chunks::<64>().0.iter().enumerate() {
                // SAFETY: 64 bytes; four columns of each of four tokens.
                unsafe {
                    let w = [w.as_ptr(), w.as_ptr().add(32)].map(|p| _mm256_loadu_si256(p.cast()));
                    for (t, words) in words.iter_mut().enumerate() {
                        let x = _mm256_set1_epi32(four(x.as_ptr(), t * cols + 256 * p + 4 * k));
                        words[0] = _mm256_add_epi16(words[0], _mm256_maddubs_epi16(w[0], x));
                        words[1] = _mm256_add_epi16(words[1], _mm256_maddubs_epi16(w[1], x));
                    }
                }
            }
            for (sums, words) in sums.iter_mut().zip(words) {
                for (sum, word) in sums.iter_mut().zip(words) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(word, ones));
                }
            }
        }
        for (out, sum) in out.as_chunks_mut::<8>().0.iter_mut().zip(sums.as_flattened()) {
            // SAFETY: 8 sums.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), *sum) };
        }
    }
}

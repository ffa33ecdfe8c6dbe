//! Seeded data for tests, the same on every machine.

use crate::{Isa, quantize::Int8Rows};

/// FNV-1a, 64 bits.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// xorshift64* (Vigna, arXiv 1402.6246).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// From -scale to scale, with 24 bits.
    pub(crate) fn float(&mut self, scale: f32) -> f32 {
        ((self.bits() >> 8) as f32 / 8_388_608.0 - 1.0) * scale
    }

    pub(crate) fn floats(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.float(scale)).collect()
    }

    pub(crate) fn codes(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| (self.bits() % 3) as i8 - 1).collect()
    }

    /// Int8 rows whose codes are spread over the whole range, and their source.
    pub(crate) fn int8_rows(&mut self, rows: usize, cols: usize) -> Int8Rows {
        let x = self.floats(rows * cols, 3.0);
        let mut quantized = Int8Rows::new();
        quantized.quantize(Isa::SCALAR, &x, cols).expect("finite");
        quantized
    }
}

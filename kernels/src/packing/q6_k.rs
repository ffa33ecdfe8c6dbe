//! Q6_K, GGUF type 14: six bits a weight, an 8-bit scale for 16 weights, an f16 scale for 256.
//!
//! ```text
//!   byte   0 ..... 127 | 128 ... 191 | 192 ... 207      | 208 209
//!          ql          | qh          | 16 scales k (i8) | d (f16)        w = (d * k) * (q - 32)
//!
//!   the weights of a half (128), in runs of 32:      run 0    run 1    run 2    run 3
//!     low four bits of q in ql, byte                   l      32 + l     l      32 + l
//!                                bits                 3 0      3 0      7 4      7 4
//!     high two bits of q in qh, byte l, bits          1 0      3 2      5 4      7 6
//! ```
//!
//! Quantizing searches for the least squared error:
//!
//! 1. For each 16 weights, map the weight of largest magnitude to each of 24 numbers near the lowest
//!    code, round the others alike, and take the scale that fits its codes best, sum(w q) / sum(q q).
//! 2. The largest of the 16 scales becomes k = -128; d is rounded away from zero so that none exceeds
//!    its byte.
//! 3. Each k is tried with both neighbours, codes rounded anew for each.
//!
//! One lane of a vector is one run of 16 weights, so all sums stay inside a lane, in one order.

use half::f16;

use super::blocks::{OpenBlock, ROUND, ROUND_POSITIVE};
use crate::simd::{LANES, Simd};

/// Weights of a block.
pub const BLOCK: usize = 256;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 210;

/// Weights that share a scale, and scales of a block.
const RUN: usize = 16;
/// Where the parts start.
const HIGH_AT: usize = 128;
const SCALES_AT: usize = 192;
const D_AT: usize = 208;

/// One value for each run of a block.
type Lanes = [f32; RUN];

/// What the weight of largest magnitude of a run is mapped to: from -32.5, clamped to -32, to -26.75.
/// On normally distributed weights the root of the mean squared error is 12% below that of -32 alone
/// with the nearest k, and 8% below that of -32 alone with steps 2 and 3; twice as many targets gain
/// less than 1%.
const FIRST_TARGET: f32 = -32.5;
const TARGET_STEP: f32 = 0.25;
const TARGETS: usize = 24;

#[inline(always)]
pub(super) fn quantize(w: &[f32; BLOCK], block: &mut [u8; BLOCK_BYTES]) {
    // [weight of a run, run]
    let mut columns = [[0.0; RUN]; RUN];
    for (run, w) in w.as_chunks::<RUN>().0.iter().enumerate() {
        for j in 0..RUN {
            columns[j][run] = w[j];
        }
    }
    let scales = best_scales(&columns);
    let d = block_scale(&scales);
    let steps = best_steps(&columns, &scales, d.to_f32());

    let mut codes = [0; BLOCK];
    let inverse = reciprocals(&steps.map(|k| d.to_f32() * k));
    for (j, w) in columns.iter().enumerate() {
        for run in 0..RUN {
            codes[RUN * run + j] = (code(w[run] * inverse[run]) + 32.0 + ROUND_POSITIVE).to_bits() as u8 & 63;
        }
    }
    write_codes(&codes, block);
    for (byte, k) in block[SCALES_AT..].iter_mut().zip(steps) {
        *byte = (k + ROUND).to_bits() as u8;
    }
    block[D_AT..].copy_from_slice(&d.to_le_bytes());
}

/// The integer nearest to a small number.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    (x + ROUND) - ROUND
}

/// The code of a scaled weight, from -32 to 31.
#[inline(always)]
fn code(scaled: f32) -> f32 {
    let above = if scaled > -32.0 { scaled } else { -32.0 };
    nearest(if above < 31.0 { above } else { 31.0 })
}

/// 1 / x, and 0 for 0.
#[inline(always)]
fn reciprocals(x: &Lanes) -> Lanes {
    x.map(|x| if x == 0.0 { 0.0 } else { 1.0 / x })
}

/// Step 1: the scale of each run.
#[inline(always)]
fn best_scales(columns: &[Lanes; RUN]) -> Lanes {
    let (mut min, mut max) = ([0.0f32; RUN], [0.0f32; RUN]);
    for w in columns {
        for run in 0..RUN {
            min[run] = if w[run] < min[run] { w[run] } else { min[run] };
            max[run] = if w[run] > max[run] { w[run] } else { max[run] };
        }
    }
    let mut extreme = [0.0; RUN];
    for run in 0..RUN {
        extreme[run] = if max[run] > -min[run] { max[run] } else { min[run] };
    }
    let inverse = reciprocals(&extreme);
    // The squared error is sum(w w) less this gain.
    let (mut best_gain, mut best) = ([0.0; RUN], [0.0; RUN]);
    for i in 0..TARGETS {
        let target = FIRST_TARGET + i as f32 * TARGET_STEP;
        let (mut wq, mut qq) = ([0.0; RUN], [0.0; RUN]);
        let factor = inverse.map(|inverse| inverse * target);
        for w in columns {
            for run in 0..RUN {
                let q = code(w[run] * factor[run]);
                wq[run] += w[run] * q;
                qq[run] += q * q;
            }
        }
        for run in 0..RUN {
            let scale = wq[run] / qq[run];
            let gain = wq[run] * scale;
            // False where there is no code but 0, a division by zero.
            let better = gain > best_gain[run];
            best_gain[run] = if better { gain } else { best_gain[run] };
            best[run] = if better { scale } else { best[run] };
        }
    }
    best
}

/// Step 2: d, for which no scale exceeds 128 steps.
#[inline(always)]
fn block_scale(scales: &Lanes) -> f16 {
    let largest = scales.iter().fold(0.0f32, |a, &b| if b.abs() > a.abs() { b } else { a });
    // A difference, so that zeros do not become -0.
    let d = f16::from_f32(0.0 - largest / 128.0);
    let too_small = d.to_f32().abs() * 128.0 < largest.abs();
    // The next larger magnitude.
    if too_small { f16::from_bits(d.to_bits() + 1) } else { d }
}

/// Step 3: the steps k of each run.
#[inline(always)]
fn best_steps(columns: &[Lanes; RUN], scales: &Lanes, d: f32) -> Lanes {
    let inverse_d = if d == 0.0 { 0.0 } else { 1.0 / d };
    let (mut best_error, mut best) = ([f32::INFINITY; RUN], [0.0; RUN]);
    for offset in [0.0, -1.0, 1.0] {
        let mut k = [0.0; RUN];
        let mut step = [0.0; RUN];
        for run in 0..RUN {
            let near = nearest(scales[run] * inverse_d) + offset;
            let above = if near > -128.0 { near } else { -128.0 };
            k[run] = if above < 127.0 { above } else { 127.0 };
            step[run] = d * k[run];
        }
        let inverse = reciprocals(&step);
        let mut error = [0.0; RUN];
        for w in columns {
            for run in 0..RUN {
                let difference = w[run] - step[run] * code(w[run] * inverse[run]);
                error[run] += difference * difference;
            }
        }
        for run in 0..RUN {
            let better = error[run] < best_error[run];
            best_error[run] = if better { error[run] } else { best_error[run] };
            best[run] = if better { k[run] } else { best[run] };
        }
    }
    best
}

#[inline(always)]
fn write_codes(codes: &[u8; BLOCK], block: &mut [u8; BLOCK_BYTES]) {
    let (low, rest) = block.split_at_mut(HIGH_AT);
    let halves = codes.as_chunks::<128>().0.iter();
    let bytes = low.as_chunks_mut::<64>().0.iter_mut().zip(rest.as_chunks_mut::<32>().0);
    for (codes, (low, high)) in halves.zip(bytes) {
        for l in 0..32 {
            let q = [codes[l], codes[32 + l], codes[64 + l], codes[96 + l]];
            low[l] = q[0] & 15 | q[2] << 4;
            low[32 + l] = q[1] & 15 | q[3] << 4;
            high[l] = q[0] >> 4 | q[1] >> 4 << 2 | q[2] >> 4 << 4 | q[3] >> 4 << 6;
        }
    }
}

/// The codes of a block, from -32 to 31.
#[inline(always)]
fn read_codes(block: &[u8; BLOCK_BYTES]) -> [i8; BLOCK] {
    let mut codes = [0; BLOCK];
    let halves = codes.as_chunks_mut::<128>().0.iter_mut();
    let bytes = block.as_chunks::<64>().0.iter().zip(block[HIGH_AT..].as_chunks::<32>().0);
    for (codes, (low, high)) in halves.zip(bytes) {
        // Copies that nothing overlaps, and a loop for each run: so LLVM takes 32 bytes at a time.
        let (low, high) = (*low, *high);
        let code = |low: u8, high: u8| (low & 15 | high & 0x30) as i8 - 32;
        for l in 0..32 {
            codes[l] = code(low[l], high[l] << 4);
        }
        for l in 0..32 {
            codes[32 + l] = code(low[32 + l], high[l] << 2);
        }
        for l in 0..32 {
            codes[64 + l] = code(low[l] >> 4, high[l]);
        }
        for l in 0..32 {
            codes[96 + l] = code(low[32 + l] >> 4, high[l] >> 2);
        }
    }
    codes
}

/// A block that is being dequantized: codes that are bytes, and the step of each run.
#[repr(align(64))]
pub(crate) struct Open {
    codes: [[i8; RUN]; RUN],
    steps: [f32; RUN],
}

impl<'a, S: Simd> OpenBlock<'a, S, BLOCK_BYTES> for Open {
    const VECTORS: usize = BLOCK / LANES;

    #[inline(always)]
    fn open(s: S, block: &'a [u8; BLOCK_BYTES]) -> Self {
        let d = s.splat_f16(f16::from_le_bytes([block[D_AT], block[D_AT + 1]]));
        let scales: &[i8] = bytemuck::cast_slice(&block[SCALES_AT..D_AT]);
        let mut steps = [0.0; RUN];
        s.store(s.mul(d, s.load_i8(&scales.as_chunks().0[0])), &mut steps);
        let open = Self { codes: bytemuck::cast(read_codes(block)), steps };
        // In memory, from where a load widens codes and broadcasts a step; in registers, where LLVM
        // would keep them, that takes shuffles.
        std::hint::black_box(&open);
        open
    }

    #[inline(always)]
    fn lanes(&self, s: S, run: usize) -> S::V {
        s.mul(s.splat(self.steps[run]), s.load_i8(&self.codes[run]))
    }
}

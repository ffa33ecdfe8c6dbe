//! Keys and values of earlier positions, in pages, in the order in which [`attention`](crate::attention)
//! reads them.
//!
//! ```text
//!   a page: 64 positions of one layer
//!
//!   keys    [heads][4][head_dim][16 positions]     positions are lanes: a score needs no sum of lanes
//!   values  [heads][64 positions][head_dim]        elements are lanes; rows padded to whole vectors
//! ```
//!
//! Blocks of 16 positions keep what one token writes in neighbouring lines, and short sequences short.
//!
//! Pages are what sequences share; one that is shared is copied before it is written to.

use std::{fmt, str::FromStr};

use bytemuck::{Pod, Zeroable};
use half::{f16, slice::HalfFloatSliceExt};

use crate::simd::{LANES, Lane};

/// The type of cached keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvType {
    /// 32 bits an element: nothing is rounded.
    #[default]
    F32,
    /// 16 bits an element, rounded to nearest.
    F16,
    /// 8 bits an element and an f32 scale for each head's key and value: the largest magnitude is 127.
    Q8,
}

impl KvType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8];

    /// `f32`, `f16` or `q8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`KvType`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no type of the key-value cache\nhint: f32, f16 or q8")]
pub struct UnknownKvType(String);

impl FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(name: &str) -> Result<Self, UnknownKvType> {
        Self::ALL.into_iter().find(|t| t.name() == name).ok_or_else(|| UnknownKvType(name.to_owned()))
    }
}

/// A line of a cache, so that no vector crosses two.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// What a page holds of an element, widened to f32 when loaded.
pub(crate) trait Element: Lane + Pod {
    /// Whether a position's elements have a scale in common.
    const SCALED: bool;
    /// Each of `x` times `inverse`, the inverse of that scale.
    fn encode(x: &[f32], inverse: f32, out: &mut [Self]);
}

impl Element for f32 {
    const SCALED: bool = false;
    #[inline(always)]
    fn encode(x: &[f32], _: f32, out: &mut [Self]) {
        out.copy_from_slice(x);
    }
}

impl Element for f16 {
    const SCALED: bool = false;
    #[inline(always)]
    fn encode(x: &[f32], _: f32, out: &mut [Self]) {
        out.convert_from_f32_slice(x);
    }
}

impl Element for i8 {
    const SCALED: bool = true;
    #[inline(always)]
    fn encode(x: &[f32], inverse: f32, out: &mut [Self]) {
        for (x, out) in x.iter().zip(out) {
            *out = (x * inverse).round_ties_even() as Self;
        }
    }
}

/// Keys and values of [`KvPage::POSITIONS`] consecutive positions of one layer.
#[derive(Clone)]
pub struct KvPage {
    kind: KvType,
    heads: usize,
    head_dim: usize,
    keys: Vec<Line>,
    values: Vec<Line>,
    /// Of [`KvType::Q8`]: `[heads][key, value][positions]`.
    scales: Vec<[[f32; Self::POSITIONS]; 2]>,
}

impl KvPage {
    /// Positions of a page.
    pub const POSITIONS: usize = 64;

    /// A page of zeros.
    ///
    /// # Panics
    /// `head_dim` is zero.
    pub fn new(kind: KvType, heads: usize, head_dim: usize) -> Self {
        assert!(head_dim > 0, "a head has elements");
        let lines = |elements: usize| vec![Line::zeroed(); heads * elements * element_bytes(kind) / 64];
        Self {
            kind,
            heads,
            head_dim,
            keys: lines(head_dim * Self::POSITIONS),
            values: lines(head_dim.next_multiple_of(LANES) * Self::POSITIONS),
            scales: if kind == KvType::Q8 { vec![[[0.0; Self::POSITIONS]; 2]; heads] } else { Vec::new() },
        }
    }

    /// Bytes of a page.
    pub fn bytes(kind: KvType, heads: usize, head_dim: usize) -> usize {
        let elements = heads * Self::POSITIONS * (head_dim + head_dim.next_multiple_of(LANES));
        let scales = if kind == KvType::Q8 { heads * Self::POSITIONS * 2 * size_of::<f32>() } else { 0 };
        elements * element_bytes(kind) + scales
    }

    /// The type of the elements.
    pub fn kind(&self) -> KvType {
        self.kind
    }

    /// Heads of keys and values.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Elements of a key.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Sets the keys and values, both `[heads, head_dim]`, of the page's position `slot`.
    ///
    /// # Panics
    /// `slot` is outside the page, or a length does not fit.
    pub fn store(&mut self, slot: usize, keys: &[f32], values: &[f32]) {
        assert!(slot < Self::POSITIONS, "position {slot} of a page");
        assert_eq!(keys.len(), self.heads * self.head_dim, "keys are [heads, head_dim]");
        assert_eq!(values.len(), keys.len(), "values are [heads, head_dim]");
        match self.kind {
            KvType::F32 => self.store_as::<f32>(slot, keys, values),
            KvType::F16 => self.store_as::<f16>(slot, keys, values),
            KvType::Q8 => self.store_as::<i8>(slot, keys, values),
        }
    }

    fn store_as<T: Element>(&mut self, slot: usize, keys: &[f32], values: &[f32]) {
        let (dim, padded) = (self.head_dim, self.head_dim.next_multiple_of(LANES));
        let cached_keys: &mut [T] = bytemuck::cast_slice_mut(&mut self.keys);
        let cached_values: &mut [T] = bytemuck::cast_slice_mut(&mut self.values);
        for (head, (key, value)) in keys.chunks_exact(dim).zip(values.chunks_exact(dim)).enumerate() {
            let mut inverses = [1.0; 2];
            if T::SCALED {
                for (i, x) in [key, value].into_iter().enumerate() {
                    let scale = largest(x) / 127.0;
                    self.scales[head][i][slot] = scale;
                    // An inverse that overflows belongs to values that are zeros in f32 times 127.
                    inverses[i] = if scale >= f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
                }
            }
            let block = head * Self::POSITIONS / LANES + slot / LANES;
            let cached = &mut cached_keys[block * dim * LANES..][..dim * LANES];
            let mut encoded = [T::ZERO; 64];
            for (key, cached) in key.chunks(64).zip(cached.as_chunks_mut::<LANES>().0.chunks_mut(64)) {
                T::encode(key, inverses[0], &mut encoded[..key.len()]);
                for (x, cached) in encoded.iter().zip(cached) {
                    cached[slot % LANES] = *x;
                }
            }
            let cached = &mut cached_values[(head * Self::POSITIONS + slot) * padded..][..dim];
            T::encode(value, inverses[1], cached);
        }
    }

    /// Keys of one head, `[4][head_dim]` vectors of 16 positions.
    pub(crate) fn keys<T: Element>(&self, head: usize) -> &[[T; LANES]] {
        let vectors = Self::POSITIONS / LANES * self.head_dim;
        let keys: &[T] = bytemuck::cast_slice(&self.keys);
        &keys.as_chunks().0[head * vectors..][..vectors]
    }

    /// Values of one head, `[positions][head_dim / 16, rounded up]` vectors.
    pub(crate) fn values<T: Element>(&self, head: usize) -> &[[T; LANES]] {
        let vectors = self.head_dim.div_ceil(LANES) * Self::POSITIONS;
        let values: &[T] = bytemuck::cast_slice(&self.values);
        &values.as_chunks().0[head * vectors..][..vectors]
    }

    /// Scales of one head's keys and values.
    pub(crate) fn scales(&self, head: usize) -> &[[f32; Self::POSITIONS]; 2] {
        &self.scales[head]
    }
}

impl AsRef<Self> for KvPage {
    fn as_ref(&self) -> &Self {
        self
    }
}

fn element_bytes(kind: KvType) -> usize {
    match kind {
        KvType::F32 => 4,
        KvType::F16 => 2,
        KvType::Q8 => 1,
    }
}

/// The largest magnitude; infinite if there is one or a NaN, so that neither is lost in an int8.
fn largest(x: &[f32]) -> f32 {
    // Magnitudes of floats are ordered as their bits are, NaN last.
    let bits = x.iter().fold(0, |max: u32, x| max.max(x.abs().to_bits()));
    f32::from_bits(bits.min(f32::INFINITY.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn what_is_stored_is_read() {
        let (heads, dim) = (3, 20);
        let mut random = Random::new(5);
        for kind in KvType::ALL {
            let mut page = KvPage::new(kind, heads, dim);
            let (k, v) = (random.floats(heads * dim, 3.0), random.floats(heads * dim, 3.0));
            page.store(17, &k, &v);
            for head in 0..heads {
                for d in 0..dim {
                    let (key, value) = match kind {
                        KvType::F32 => (
                            page.keys::<f32>(head)[dim + d][1],
                            page.values::<f32>(head)[17 * 2 + d / 16][d % 16],
                        ),
                        KvType::F16 => (
                            page.keys::<f16>(head)[dim + d][1].to_f32(),
                            page.values::<f16>(head)[17 * 2 + d / 16][d % 16].to_f32(),
                        ),
                        KvType::Q8 => {
                            let [ks, vs] = page.scales(head);
                            (
                                f32::from(page.keys::<i8>(head)[dim + d][1]) * ks[17],
                                f32::from(page.values::<i8>(head)[17 * 2 + d / 16][d % 16]) * vs[17],
                            )
                        }
                    };
                    // Half a step: none, 2^-11 of a value below 4, 3 / 127 / 2.
                    let step = match kind {
                        KvType::F32 => 0.0,
                        KvType::F16 => 0.001,
                        KvType::Q8 => 0.012,
                    };
                    assert!((key - k[head * dim + d]).abs() <= step, "{kind}: {key}");
                    assert!((value - v[head * dim + d]).abs() <= step, "{kind}: {value}");
                }
            }
            let held =
                size_of_val(&page.keys[..]) + size_of_val(&page.values[..]) + size_of_val(&page.scales[..]);
            assert_eq!(KvPage::bytes(kind, heads, dim), held);
        }
    }

    #[test]
    fn zeros_and_infinities_in_eight_bits() {
        let mut page = KvPage::new(KvType::Q8, 1, 2);
        page.store(0, &[0.0, -0.0], &[1e-45, 0.0]);
        assert_eq!((page.scales(0)[0][0], page.keys::<i8>(0)[0][0]), (0.0, 0));
        page.store(1, &[f32::INFINITY, 0.0], &[f32::NAN, 0.0]);
        let [keys, values] = page.scales(0);
        assert!(keys[1].is_infinite() && values[1].is_infinite());
    }

    #[test]
    fn names() {
        for kind in KvType::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!(
            "q4".parse::<KvType>().unwrap_err().to_string(),
            "`q4` is no type of the key-value cache\nhint: f32, f16 or q8"
        );
    }
}

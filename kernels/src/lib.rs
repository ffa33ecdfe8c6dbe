//! Addition-only ternary matrix products, dense products and float operations with the same bits on
//! every instruction set.
//!
//! ```text
//!  x f32 ──► quantize ──► Int8Rows ──┐
//!  w f16 ──► ternarize ─► codes ──► TernaryMatrix ──► matmul: additions, then one scale per output
//!                           └────► packing (TQ1_0, TQ2_0, Q2_0, Q1_0, I2_S, transformers')
//!                                     any of them ──► TernaryMatrix, at 2 or 1.6 bits a weight
//!  dense, norm, rope, softmax, kv, attention, activation: f32, written once over `simd`
//! ```
//!
//! ```
//! use b158_kernels::{Isa, quantize::Int8Rows, ternary::{Layout, TernaryMatrix}};
//!
//! let isa = Isa::best();
//! let codes = [1, 0, -1, 1, 1, 0];
//! let matrix = TernaryMatrix::from_codes(Layout::best(isa), 2, 3, &codes);
//! let mut x = Int8Rows::new();
//! x.quantize(isa, &[1.0, 0.5, -0.25], 3)?;
//! let mut y = [0.0; 2];
//! matrix.matmul(isa, 0.8, &x, &mut y);
//! assert!((y[0] - 0.8 * (1.0 + 0.25)).abs() < 0.01 && (y[1] - 0.8 * (1.0 + 0.5)).abs() < 0.01);
//! # Ok::<(), b158_kernels::quantize::NonFinite>(())
//! ```
//!
//! Ternary products only add ([`ternary`] explains the layouts, why no lane overflows, and how to add
//! an instruction set); the instruction set is detected once, or named by `B158_ISA` ([`isa`]).
//!
//! # Same bits everywhere
//!
//! Integers are exact, so the ternary products agree by themselves. Every float operation is written
//! once, over vectors of 16 f32 lanes, and every instruction set executes the same IEEE 754
//! operations in the same order:
//!
//! * **Reductions.** Element `i` is added to lane `i mod 16`, in order of `i`. The last, incomplete
//!   vector is padded with zeros on every path. Then lanes fold as a tree: lane `j` takes lane
//!   `j + 8`, then `j + 4`, `j + 2`, `j + 1`.
//! * **Fused multiply-add.** A product that is added to something is rounded once, on every path.
//! * **Minimum and maximum** are `a < b ? a : b` and `a > b ? a : b`, the rule of x86: the second
//!   operand wins if one is NaN or if both are zeros. Callers put a constant first, so that NaN
//!   passes through.
//! * **Rounding** is to nearest, ties to even, of values inside the integer range; nothing else is
//!   converted.
//! * **exp** is one polynomial ([`softmax`] and [`activation`] use it); sin, cos and ln come from the
//!   portable `libm` crate in f64.
//! * A NaN is NaN on every path; its sign and payload are not specified.
//!
//! Each output element is computed by one thread, so the number of threads changes nothing either.
//! Shapes that do not fit each other are a caller's bug and panic, as indexing does; bad *data* (a
//! NaN, a damaged block) is an error value.

// Generic code over `Simd` must be inlined into the function that switches the instruction set on;
// otherwise each vector operation is a call.
#![allow(clippy::inline_always)]

#[cfg(target_endian = "big")]
compile_error!("weights are read in place, little-endian as in every model file");

pub mod activation;
pub mod attention;
pub mod dense;
mod disjoint;
mod exp;
pub mod isa;
pub mod kv;
pub mod norm;
pub mod packing;
mod parallel;
pub mod quantize;
pub mod rope;
mod simd;
pub mod softmax;
pub mod ternarize;
pub mod ternary;

#[cfg(test)]
mod same_bits;
#[cfg(test)]
mod testing;

pub use isa::Isa;

//! What an instruction set provides, and the functions that are compiled for each.

use super::{
    four_russians::{Indices, Lanes, Partial, Place, Sums, TABLES, Table},
    layout::{Layout, Line},
    lookup::TileSums,
};
use crate::quantize::Chunk;

/// The ternary products of an instruction set, whose token it is. Nothing here multiplies.
pub(super) trait Kernels: Copy + Send + Sync {
    /// Lines of tables for one line of codes and one token.
    fn table_lines(self, layout: Layout) -> usize;

    /// One token: the tables of a chunk of activations; `tables` may end before the chunk does.
    fn tables(self, layout: Layout, x: &Chunk, tables: &mut [Line]);

    /// One token: adds the sums over a chunk, whose tables are given. `lines` are those of a group of
    /// `sums.len()` tiles.
    fn sums(self, layout: Layout, lines: &[Line], tables: &[Line], sums: &mut [TileSums]);

    /// Many tokens: the indices of a tile's chunk, whose lines are every `width`-th of `lines`, into
    /// `out[pass * stride]`.
    fn index(self, layout: Layout, lines: &[Line], width: usize, out: &mut [Indices], stride: usize);

    /// Many tokens: the tables of a pass, for 16 tokens or all 32.
    fn build(self, half: bool, layout: Layout, pass: usize, x: &Lanes, tables: &mut [Table; TABLES]);

    /// Many tokens: one pass over the rows of tiles, for 16 tokens or all 32.
    fn add(
        self,
        half: bool,
        place: Place,
        indices: &[Indices],
        tables: &[Table; TABLES],
        partial: &mut [Partial],
        sums: &mut [Sums],
    );
}

/// The kernels for one token of a set with [`ByteLanes`](super::lookup::ByteLanes). `$tiles` tiles share the
/// loads of a table: 1, 2 or 4.
macro_rules! compile_lookups {
    ($token:ty, $feature:literal, tiles $tiles:literal) => {
        /// Lines of tables for a line of codes.
        const TABLE_LINES: usize = 1;

        #[target_feature(enable = $feature)]
        #[inline(never)]
        fn ternary_two_bit_tables(x: &Chunk, tables: &mut [Line]) {
            lookup::two_bit_tables(x, tables);
        }

        #[target_feature(enable = $feature)]
        #[inline(never)]
        fn ternary_five_trit_tables(x: &Chunk, tables: &mut [Line]) {
            lookup::five_trit_tables(x, tables);
        }

        #[target_feature(enable = $feature)]
        #[inline(never)]
        fn ternary_two_bit_sums(s: $token, lines: &[Line], tables: &[Line], sums: &mut [TileSums]) {
            const PARTS: usize = <$token as lookup::ByteLanes>::PARTS;
            each_tile!(lookup::two_bit_sums [PARTS, _], s, tiles $tiles, lines, tables, sums);
        }

        #[target_feature(enable = $feature)]
        #[inline(never)]
        fn ternary_five_trit_sums(s: $token, lines: &[Line], tables: &[Line], sums: &mut [TileSums]) {
            const PARTS: usize = <$token as lookup::ByteLanes>::PARTS;
            each_tile!(lookup::five_trit_sums [PARTS, _], s, tiles $tiles, lines, tables, sums);
        }
    };
}

/// The kernels for many tokens, and the implementation of [`Kernels`], which takes those for one from
/// [`compile_lookups`] or from what the module defines under the same names.
///
/// All begin with `ternary_`: `ci/check-additions` finds them by that.
macro_rules! compile {
    ($token:ty, $(feature $feature:literal,)? half $half:ty, |$t:ident| $to_half:expr) => {
        $(#[target_feature(enable = $feature)])?
        #[inline(never)]
        fn ternary_index(layout: Layout, lines: &[Line], width: usize, out: &mut [Indices], stride: usize) {
            let mut out = out.iter_mut().step_by(stride);
            four_russians::index(layout, lines, width, |indices| {
                *out.next().expect("one place for each pass") = indices;
            });
        }

        compile!(@many $token, $($feature)?, ternary_build, ternary_add, TOKENS);
        compile!(@many $half, $($feature)?, ternary_build_half, ternary_add_half, TOKENS / 2);

        impl Kernels for $token {
            fn table_lines(self, _: Layout) -> usize {
                TABLE_LINES
            }

            fn tables(self, layout: Layout, x: &Chunk, tables: &mut [Line]) {
                compile!(@call $($feature)?, match layout {
                    Layout::TwoBits => ternary_two_bit_tables(x, tables),
                    Layout::FiveTrits => ternary_five_trit_tables(x, tables),
                });
            }

            fn sums(self, layout: Layout, lines: &[Line], tables: &[Line], sums: &mut [TileSums]) {
                compile!(@call $($feature)?, match layout {
                    Layout::TwoBits => ternary_two_bit_sums(self, lines, tables, sums),
                    Layout::FiveTrits => ternary_five_trit_sums(self, lines, tables, sums),
                });
            }

            fn index(self, layout: Layout, lines: &[Line], width: usize, out: &mut [Indices], stride: usize) {
                compile!(@call $($feature)?, ternary_index(layout, lines, width, out, stride));
            }

            fn build(self, half: bool, layout: Layout, pass: usize, x: &Lanes, tables: &mut [Table; TABLES]) {
                let $t = self;
                compile!(@call $($feature)?, if half {
                    ternary_build_half($to_half, layout, pass, x, tables);
                } else {
                    ternary_build(self, layout, pass, x, tables);
                });
            }

            fn add(
                self,
                half: bool,
                place: Place,
                indices: &[Indices],
                tables: &[Table; TABLES],
                partial: &mut [Partial],
                sums: &mut [Sums],
            ) {
                let $t = self;
                compile!(@call $($feature)?, if half {
                    ternary_add_half($to_half, place, indices, tables, partial, sums);
                } else {
                    ternary_add(self, place, indices, tables, partial, sums);
                });
            }
        }
    };
    // Calling a function of a feature takes the proof that a token is.
    (@call $feature:literal, $e:expr) => {
        // SAFETY: `self` exists only where the set was detected.
        unsafe { $e }
    };
    (@call , $e:expr) => {
        $e
    };
    (@many $words:ty, $($feature:literal)?, $build:ident, $add:ident, $tokens:expr) => {
        $(#[target_feature(enable = $feature)])?
        #[inline(never)]
        fn $build(w: $words, layout: Layout, pass: usize, x: &Lanes, tables: &mut [Table; TABLES]) {
            const N: usize = $tokens / <$words as WordLanes>::LANES;
            four_russians::build::<_, N>(w, layout, pass, x, tables);
        }

        $(#[target_feature(enable = $feature)])?
        #[inline(never)]
        fn $add(
            w: $words,
            place: Place,
            indices: &[Indices],
            tables: &[Table; TABLES],
            partial: &mut [Partial],
            sums: &mut [Sums],
        ) {
            const N: usize = $tokens / <$words as WordLanes>::LANES;
            four_russians::add::<_, N>(w, place, indices, tables, partial, sums);
        }
    };
}
pub(super) use {compile, compile_lookups};

//! Dividing a product among threads, one token or many.

use std::ops::Range;

use bytemuck::Zeroable;
use rayon::prelude::*;

use super::{
    four_russians::{self, Lanes, Place, TABLES, TOKENS, Table},
    kernels::Kernels,
    layout::{GROUP_ROWS, GROUP_TILES, Line, Shape, TILE_ROWS},
    scratch::{self, OWN, SHARED, first},
};
use crate::{
    disjoint::Disjoint,
    quantize::{CHUNK_COLS, Int8Rows},
};

/// From so many tokens on, 16 lanes are worth building tables for 16 or 32 tokens, even if the other
/// lanes stay empty.
const MIN_TOKENS: usize = 9;

/// Weights times tokens below which threads cost more than they save.
const WORTH_THREADS: usize = 1 << 20;

/// Rows whose sums take as long as building a line of tables: ninety from a cache, ten times as many in a model,
/// where the weights that went by have pushed the tables' lines out of it.
const TABLE_LINE_ROWS: usize = 900;

/// Groups of tiles that share a table, at most: 2048 rows, of which 128 kB of 16-bit sums stay in a
/// second-level cache. Building it takes as long as adding for about 100 rows.
const MAX_PART: usize = 8;
/// Groups of tiles that share a table at least, if there are so many.
const MIN_PART: usize = 2;

/// Groups of 32 tokens that share the indices of a task's rows.
const TOKEN_GROUPS: usize = 4;

/// One ternary matrix, its inputs and its outputs `[tokens, rows]`, which become `finish(token)(sum)`.
pub(super) struct Product<'a, K, T, G> {
    pub(super) kernels: K,
    pub(super) shape: Shape,
    pub(super) lines: &'a [Line],
    pub(super) x: &'a Int8Rows,
    pub(super) out: Disjoint<'a, T>,
    pub(super) finish: G,
}

/// Computes products of matrices of one layout with the same inputs.
pub(super) fn run<K: Kernels, T: Send, F: Fn(i32) -> T, G: Fn(usize) -> F + Sync>(
    products: &[Product<'_, K, T, G>],
) {
    let tokens = products[0].x.rows();
    let rest = tokens % TOKENS;
    let by_table = if rest < MIN_TOKENS { tokens - rest } else { tokens };
    if by_table > 0 {
        products
            .iter()
            .filter(|product| product.shape.rows > 0)
            .for_each(|product| product.many(0..by_table));
    }
    if by_table < tokens {
        few(products, by_table..tokens);
    }
}

/// Calls `f` for 0 to `n`, on all threads if the work, in weights times tokens, is worth it.
fn tasks(work: usize, n: usize, f: impl Fn(usize) + Sync + Send) {
    if n == 1 || work < WORTH_THREADS {
        (0..n).for_each(f);
    } else {
        (0..n).into_par_iter().with_max_len(1).for_each(f);
    }
}

/// One token after the other, by tables of bytes, which serve all matrices.
fn few<K: Kernels, T: Send, F: Fn(i32) -> T, G: Fn(usize) -> F + Sync>(
    products: &[Product<'_, K, T, G>],
    tokens: Range<usize>,
) {
    let Product { kernels, shape, x, .. } = products[0];
    let table_lines = kernels.table_lines(shape.layout);
    // Of a token: whole chunks of tables; of the last one fewer are used.
    let chunk_lines = table_lines * shape.layout.chunk_lines();
    let token_lines = shape.chunks() * chunk_lines;
    let groups: usize = products.iter().map(|product| product.shape.groups()).sum();
    let rows: usize = products.iter().map(|product| product.shape.rows).sum();
    scratch::with(&SHARED, |scratch| {
        let tables = first(&mut scratch.lines, tokens.len() * token_lines, Line::zeroed());
        {
            let tables = Disjoint::new(&mut *tables);
            let work = TABLE_LINE_ROWS * table_lines * shape.cols * tokens.len();
            tasks(work, tokens.len() * shape.chunks(), |i| {
                let (t, chunk) = (i / shape.chunks(), i % shape.chunks());
                let start = t * token_lines + chunk * chunk_lines;
                let n = table_lines * shape.lines(chunk);
                // SAFETY: each task has its own token and chunk.
                let tables = unsafe { tables.part(start..start + n) };
                kernels.tables(shape.layout, &x.chunks(tokens.start + t)[chunk], tables);
            });
        }
        tasks(rows * shape.cols * tokens.len(), groups, |mut group| {
            let mut products = products.iter();
            let product = products
                .find(|product| {
                    let own = product.shape.groups();
                    let found = group < own;
                    group -= if found { 0 } else { own };
                    found
                })
                .expect("a task for each group");
            // SAFETY: each task has its own group of rows.
            unsafe { product.few_of_group(group, tokens.clone(), tables, token_lines) };
        });
    });
}

impl<K: Kernels, T: Send, F: Fn(i32) -> T, G: Fn(usize) -> F + Sync> Product<'_, K, T, G> {
    /// # Safety
    /// Nobody else has these outputs: the rows of the group for these tokens.
    unsafe fn few_of_group(&self, group: usize, tokens: Range<usize>, tables: &[Line], token_lines: usize) {
        let Self { kernels, shape, .. } = *self;
        let chunk_lines = kernels.table_lines(shape.layout) * shape.layout.chunk_lines();
        let row = group * GROUP_ROWS;
        let n = GROUP_ROWS.min(shape.rows - row);
        for (token, tables) in tokens.zip(tables.chunks_exact(token_lines)) {
            let mut sums = [[0; TILE_ROWS]; GROUP_TILES];
            let sums = &mut sums[..shape.width(group)];
            for (chunk, tables) in tables.chunks_exact(chunk_lines).enumerate() {
                let tables = &tables[..kernels.table_lines(shape.layout) * shape.lines(chunk)];
                kernels.sums(shape.layout, &self.lines[shape.part(chunk, group)], tables, sums);
            }
            let start = token * shape.rows + row;
            // SAFETY: the caller's promise.
            write(unsafe { self.out.part(start..start + n) }, sums.as_flattened(), (self.finish)(token));
        }
    }

    /// 32 tokens at a time, by tables of tokens.
    fn many(&self, tokens: Range<usize>) {
        let shape = self.shape;
        let work = shape.rows * shape.cols * tokens.len();
        let groups = tokens.len().div_ceil(TOKENS);
        scratch::with(&SHARED, |scratch| {
            let lanes = first(&mut scratch.lanes, groups * shape.chunks(), [[0; TOKENS]; CHUNK_COLS]);
            {
                let lanes = Disjoint::new(&mut *lanes);
                tasks(work, groups * shape.chunks(), |i| {
                    let (group, chunk) = (i / shape.chunks(), i % shape.chunks());
                    // SAFETY: each task has its own element.
                    let lanes = &mut unsafe { lanes.part(i..i + 1) }[0];
                    let first = tokens.start + group * TOKENS;
                    for t in 0..TOKENS.min(tokens.end - first) {
                        for (lanes, x) in lanes.iter_mut().zip(&self.x.chunks(first + t)[chunk]) {
                            lanes[t] = *x;
                        }
                    }
                });
            }
            let part = self.part_of_rows(groups);
            let parts = shape.groups().div_ceil(part);
            tasks(work, groups.div_ceil(TOKEN_GROUPS) * parts, |i| {
                let rows = i % parts * part..shape.groups().min((i % parts + 1) * part);
                let first = i / parts * TOKEN_GROUPS;
                let lanes = &lanes[first * shape.chunks()..];
                let start = tokens.start + first * TOKENS;
                let tokens = start..tokens.end.min(start + TOKEN_GROUPS * TOKENS);
                // SAFETY: each task has its own rows or tokens.
                unsafe { self.many_of_rows(rows, tokens, lanes) };
            });
        });
    }

    /// Groups of tiles that share tables, so that many do and all threads have about as much to do.
    fn part_of_rows(&self, token_groups: usize) -> usize {
        let groups = self.shape.groups();
        let threads = rayon::current_num_threads();
        let tasks = token_groups.div_ceil(TOKEN_GROUPS);
        // All tasks together are a multiple of the threads, if that leaves parts large.
        let parts = groups.div_ceil(MAX_PART);
        let even = if tasks.is_multiple_of(threads) { parts } else { parts.next_multiple_of(threads) };
        let parts = even.min(groups.div_ceil(MIN_PART));
        groups.div_ceil(parts)
    }

    /// Up to four groups of tokens, whose `lanes` are `[group, chunk]`, for the rows of groups of tiles.
    ///
    /// # Safety
    /// Nobody else has these outputs.
    unsafe fn many_of_rows(&self, rows: Range<usize>, tokens: Range<usize>, lanes: &[Lanes]) {
        let Self { kernels, shape, .. } = *self;
        // As many as the groups have, padding included.
        let n = (rows.len() - 1) * GROUP_TILES + shape.width(rows.end - 1);
        scratch::with(&OWN, |scratch| {
            let groups = tokens.len().div_ceil(TOKENS);
            let sums = first(&mut scratch.sums, groups * n, [[0; TOKENS]; TILE_ROWS]);
            sums.as_flattened_mut().as_flattened_mut().fill(0);
            let partial = first(&mut scratch.partial, n, [[0; TOKENS]; TILE_ROWS]);
            let indices = first(&mut scratch.indices, n * four_russians::PASSES, [0; TILE_ROWS]);
            let tables: &mut [Table; TABLES] =
                first(&mut scratch.tables, TABLES, Table::EMPTY).try_into().expect("as many as asked for");
            for chunk in 0..shape.chunks() {
                let passes = four_russians::passes(shape.layout, shape.lines(chunk));
                for group in rows.clone() {
                    let lines = &self.lines[shape.part(chunk, group)];
                    let width = shape.width(group);
                    for t in 0..width {
                        let at = (group - rows.start) * GROUP_TILES + t;
                        kernels.index(shape.layout, &lines[t..], width, &mut indices[at..], n);
                    }
                }
                for (g, (sums, lanes)) in
                    sums.chunks_exact_mut(n).zip(lanes.chunks_exact(shape.chunks())).enumerate()
                {
                    let half = tokens.len() - g * TOKENS <= TOKENS / 2;
                    for (pass, indices) in indices.chunks_exact(n).take(passes).enumerate() {
                        let place = Place { first: pass == 0, last: pass + 1 == passes };
                        kernels.build(half, shape.layout, pass, &lanes[chunk], tables);
                        kernels.add(half, place, indices, tables, partial, sums);
                    }
                }
            }
            for (g, sums) in sums.chunks_exact(n).enumerate() {
                let group = tokens.start + g * TOKENS..tokens.end.min(tokens.start + (g + 1) * TOKENS);
                for (tile, sums) in (rows.start * GROUP_TILES..shape.tiles()).zip(sums) {
                    let mut by_token = [[0; TILE_ROWS]; TOKENS];
                    for r in 0..TILE_ROWS {
                        for (by_token, sum) in by_token.iter_mut().zip(sums[four_russians::index_of_row(r)]) {
                            by_token[r] = sum;
                        }
                    }
                    let row = tile * TILE_ROWS;
                    let n = TILE_ROWS.min(shape.rows - row);
                    for (token, sums) in group.clone().zip(&by_token) {
                        let start = token * shape.rows + row;
                        // SAFETY: the caller's promise.
                        write(unsafe { self.out.part(start..start + n) }, sums, (self.finish)(token));
                    }
                }
            }
        });
    }
}

/// Outputs from sums, of which there may be more.
fn write<T>(out: &mut [T], sums: &[i32], finish: impl Fn(i32) -> T) {
    for (out, &sum) in out.iter_mut().zip(sums) {
        *out = finish(sum);
    }
}

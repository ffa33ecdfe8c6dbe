//! Between rows of tokens and the heads of attention, turning queries and keys on the way.
//!
//! ```text
//!   split   [sequences * positions, heads * d]  ->  [sequences * heads, positions, d]    rows
//!                                                or [sequences * heads, d, positions]    columns (keys)
//!   turn    pairs (i, i + d/2) by the angle position * theta^(-2i/d)    RoPE, arXiv 2104.09864, halves as
//!                                                                       in Hugging Face checkpoints
//!   merge   the way back, without turning
//! ```
//!
//! Each of them moves every element once; the derivative of turning is turning back.

use std::sync::Arc;

use b158_kernels::rope::inverse_frequencies;
use candle_core::{CpuStorage, CustomOp1, Device, Layout as Strides, Result, Shape, Tensor};

use super::{output, values, with_values};

/// How many heads of what size, in sequences of what length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Sequences of the batch.
    pub sequences: usize,
    /// Tokens of a sequence.
    pub positions: usize,
    /// Heads.
    pub heads: usize,
    /// Elements of a head.
    pub dim: usize,
}

impl HeadShape {
    fn elements(self) -> usize {
        self.sequences * self.positions * self.heads * self.dim
    }
}

/// How a head's matrix lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A row for each position.
    Rows,
    /// A column for each position.
    Columns,
}

/// cos and sin of every position, `[positions, d / 2]` each.
#[derive(Debug)]
pub struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    /// Those of the positions from 0, for heads of `dim` elements. In f64 from the f32 angle, as the runner has them.
    pub fn new(dim: usize, theta: f64, positions: usize) -> Arc<Self> {
        let frequencies = inverse_frequencies(dim, theta);
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| f64::from(p as f32 * f)));
        let (cos, sin) = angles.map(|a| (libm::cos(a) as f32, libm::sin(a) as f32)).unzip();
        Arc::new(Self { cos, sin })
    }
}

/// Rows of tokens to heads, turned where there are angles.
pub fn split_heads(
    x: &Tensor,
    shape: HeadShape,
    layout: Layout,
    angles: Option<&Arc<Angles>>,
) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.apply_op1(Split { shape, layout, angles: angles.cloned() })
    } else {
        composed_split(x, shape, layout, angles.map(|a| &**a))
    }
}

/// Heads, a row for each position, to rows of tokens.
pub fn merge_heads(x: &Tensor, shape: HeadShape) -> Result<Tensor> {
    if x.device().is_cpu() { x.apply_op1(Merge(shape)) } else { composed_merge(x, shape) }
}

fn composed_split(x: &Tensor, shape: HeadShape, layout: Layout, angles: Option<&Angles>) -> Result<Tensor> {
    let HeadShape { sequences, positions, heads, dim } = shape;
    let x = x.reshape((sequences, positions, heads, dim))?.transpose(1, 2)?.contiguous()?;
    let x = match angles {
        None => x,
        Some(angles) => {
            let table = |values: &[f32], device: &Device| {
                Tensor::from_slice(&values[..positions * dim / 2], (positions, dim / 2), device)
            };
            let (cos, sin) = (table(&angles.cos, x.device())?, table(&angles.sin, x.device())?);
            let (a, b) = (x.narrow(3, 0, dim / 2)?, x.narrow(3, dim / 2, dim / 2)?);
            let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
            let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
            Tensor::cat(&[first, second], 3)?
        }
    };
    let x = x.reshape((sequences * heads, positions, dim))?;
    match layout {
        Layout::Rows => Ok(x),
        Layout::Columns => x.transpose(1, 2)?.contiguous(),
    }
}

fn composed_merge(x: &Tensor, shape: HeadShape) -> Result<Tensor> {
    let HeadShape { sequences, positions, heads, dim } = shape;
    let x = x.reshape((sequences, heads, positions, dim))?.transpose(1, 2)?;
    x.contiguous()?.reshape((sequences * positions, heads * dim))
}

struct Split {
    shape: HeadShape,
    layout: Layout,
    angles: Option<Arc<Angles>>,
}

impl CustomOp1 for Split {
    fn name(&self) -> &'static str {
        "split_heads"
    }

    fn cpu_fwd(&self, x: &CpuStorage, strides: &Strides) -> Result<(CpuStorage, Shape)> {
        let HeadShape { sequences, positions, heads, dim } = self.shape;
        let x = values(x, strides)?;
        let mut out = vec![0.0; self.shape.elements()];
        let mut turned = vec![0.0; dim];
        for_each_head(self.shape, |token, position, head, matrix| {
            let source = &x[token * heads * dim + head * dim..][..dim];
            turn(source, self.angles.as_deref(), position, 1.0, &mut turned);
            let matrix = &mut out[matrix * positions * dim..][..positions * dim];
            match self.layout {
                Layout::Rows => matrix[position * dim..][..dim].copy_from_slice(&turned),
                Layout::Columns => {
                    matrix[position..].iter_mut().step_by(positions).zip(&turned).for_each(|(o, t)| *o = *t);
                }
            }
        });
        Ok(match self.layout {
            Layout::Rows => output(out, (sequences * heads, positions, dim)),
            Layout::Columns => output(out, (sequences * heads, dim, positions)),
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let HeadShape { positions, heads, dim, .. } = self.shape;
        let mut dx = vec![0.0; self.shape.elements()];
        let mut gathered = vec![0.0; dim];
        with_values(dy, |dy| {
            for_each_head(self.shape, |token, position, head, matrix| {
                let matrix = &dy[matrix * positions * dim..][..positions * dim];
                match self.layout {
                    Layout::Rows => gathered.copy_from_slice(&matrix[position * dim..][..dim]),
                    Layout::Columns => {
                        let column = matrix[position..].iter().step_by(positions);
                        gathered.iter_mut().zip(column).for_each(|(g, d)| *g = *d);
                    }
                }
                let target = &mut dx[token * heads * dim + head * dim..][..dim];
                turn(&gathered, self.angles.as_deref(), position, -1.0, target);
            });
        })?;
        Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
    }
}

/// Turns a head by the position's angles (`direction` 1) or back (-1).
fn turn(x: &[f32], angles: Option<&Angles>, position: usize, direction: f32, out: &mut [f32]) {
    let Some(angles) = angles else { return out.copy_from_slice(x) };
    let half = x.len() / 2;
    let range = position * half..(position + 1) * half;
    let (cos, sin) = (&angles.cos[range.clone()], &angles.sin[range]);
    let ((a, b), (first, second)) = (x.split_at(half), out.split_at_mut(half));
    for i in 0..half {
        let sin = direction * sin[i];
        first[i] = a[i] * cos[i] - b[i] * sin;
        second[i] = b[i] * cos[i] + a[i] * sin;
    }
}

struct Merge(HeadShape);

impl CustomOp1 for Merge {
    fn name(&self) -> &'static str {
        "merge_heads"
    }

    fn cpu_fwd(&self, x: &CpuStorage, strides: &Strides) -> Result<(CpuStorage, Shape)> {
        let HeadShape { sequences, positions, heads, dim } = self.0;
        let x = values(x, strides)?;
        let mut out = vec![0.0; self.0.elements()];
        for_each_head(self.0, |token, position, head, matrix| {
            let source = &x[(matrix * positions + position) * dim..][..dim];
            out[token * heads * dim + head * dim..][..dim].copy_from_slice(source);
        });
        Ok(output(out, (sequences * positions, heads * dim)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let HeadShape { positions, heads, dim, .. } = self.0;
        let mut dx = vec![0.0; self.0.elements()];
        with_values(dy, |dy| {
            for_each_head(self.0, |token, position, head, matrix| {
                let source = &dy[token * heads * dim + head * dim..][..dim];
                dx[(matrix * positions + position) * dim..][..dim].copy_from_slice(source);
            });
        })?;
        Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
    }
}

/// Calls `f(token, position, head, matrix)` for every head of every token: `token` counts over the batch, and
/// `matrix` is the head's among those of all sequences.
fn for_each_head(shape: HeadShape, mut f: impl FnMut(usize, usize, usize, usize)) {
    for sequence in 0..shape.sequences {
        for position in 0..shape.positions {
            for head in 0..shape.heads {
                f(sequence * shape.positions + position, position, head, sequence * shape.heads + head);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{agree, wavy};

    const SHAPE: HeadShape = HeadShape { sequences: 2, positions: 5, heads: 3, dim: 4 };

    #[test]
    fn splitting_equals_its_composition() {
        let x = wavy(&[10, 12], 0.0);
        let angles = Angles::new(4, 10000.0, 7);
        for layout in [Layout::Rows, Layout::Columns] {
            for angles in [None, Some(&angles)] {
                agree(
                    &[&x],
                    || split_heads(&x, SHAPE, layout, angles),
                    || composed_split(&x, SHAPE, layout, angles.map(|a| &**a)),
                );
            }
        }
    }

    #[test]
    fn merging_undoes_splitting() {
        let x = wavy(&[10, 12], 0.0);
        let split = split_heads(&x, SHAPE, Layout::Rows, None).unwrap();
        assert_eq!(
            merge_heads(&split, SHAPE).unwrap().to_vec2::<f32>().unwrap(),
            x.to_vec2::<f32>().unwrap()
        );
        let heads = wavy(&[6, 5, 4], 0.0);
        agree(&[&heads], || merge_heads(&heads, SHAPE), || composed_merge(&heads, SHAPE));
    }
}

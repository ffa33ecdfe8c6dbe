//! A tensor of the output, produced row by row from the source.
//!
//! Rows are made in parallel in parts of a few megabytes, so that a tensor of any size passes through a
//! buffer of fixed size.

use std::{io, ops::Range};

use b158_checkpoint::{Tensor, TensorType};
use b158_kernels::{
    dense::{DenseSlice, Weights},
    packing::{BlockFormat, TernaryFormat, hf},
    ternarize,
};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::{
    Error,
    ternary::{Scratch, Ternary, non_finite},
};

/// Bytes that are made before they are written.
const PART: usize = 16 << 20;

/// How many codes are -1, 0 and +1.
pub(crate) type Counts = [u64; 3];

/// The rows of one tensor of the output.
pub(crate) struct Rows<'a> {
    content: Content<'a>,
    /// Which source row an output row is; `None` if the order is the same.
    order: Option<Vec<usize>>,
    cols: usize,
    /// Rows in the file; a packed row of `hf` holds four.
    count: usize,
    row_bytes: usize,
}

enum Content<'a> {
    /// Codes in blocks, which hold the scale `d` where they hold one.
    Blocks { ternary: &'a Ternary<'a>, format: TernaryFormat, d: f16 },
    /// Codes of four rows in a row.
    HuggingFace { ternary: &'a Ternary<'a> },
    /// The values of codes.
    Values { ternary: &'a Ternary<'a>, dtype: TensorType, scale: f32 },
    /// Full-precision weights.
    Weights { tensor: &'a Tensor, weights: Weights<'a>, dtype: TensorType },
}

impl<'a> Rows<'a> {
    /// A ternary tensor of that type; `scale` as the container holds it, `d` for its blocks.
    pub(crate) fn ternary(
        ternary: &'a Ternary<'a>,
        dtype: TensorType,
        scale: f32,
        d: f16,
        order: Option<Vec<usize>>,
    ) -> Self {
        let (count, cols) = (ternary.rows, ternary.cols);
        if dtype == TensorType::HfPacked {
            let content = Content::HuggingFace { ternary };
            return Self { content, order, cols, count: count / hf::QUARTERS, row_bytes: cols };
        }
        let (content, row_bytes) = match dtype.ternary() {
            Some(format) => {
                let row_bytes = format.row_bytes(cols).expect("the plan checked the row length");
                (Content::Blocks { ternary, format, d }, row_bytes)
            }
            None => (Content::Values { ternary, dtype, scale }, row_len(dtype, cols)),
        };
        Self { content, order, cols, count, row_bytes }
    }

    /// A full-precision tensor in another type, or in its own.
    pub(crate) fn weights(
        tensor: &'a Tensor,
        dtype: TensorType,
        order: Option<Vec<usize>>,
    ) -> Result<Self, Error> {
        let cols = tensor.shape.last().copied().unwrap_or(1);
        let count = tensor.shape.iter().product::<usize>() / cols;
        let content = Content::Weights { tensor, weights: tensor.weights()?, dtype };
        Ok(Self { content, order, cols, count, row_bytes: row_len(dtype, cols) })
    }

    /// Bytes of the whole tensor.
    pub(crate) fn bytes(&self) -> u64 {
        self.count as u64 * self.row_bytes as u64
    }

    /// Makes the rows and hands them to `write` in order, part by part. Returns the codes' counts.
    pub(crate) fn write(
        &self,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Result<Counts, io::Error>, Error> {
        let step = (PART / self.row_bytes).max(1);
        let mut buffer = vec![0; step.min(self.count) * self.row_bytes];
        let mut counts = Counts::default();
        for first in (0..self.count).step_by(step) {
            let rows = first..self.count.min(first + step);
            let part = &mut buffer[..rows.len() * self.row_bytes];
            counts = add(counts, self.fill(rows, part)?);
            if let Err(error) = write(part) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(counts))
    }

    /// Makes some rows.
    pub(crate) fn fill(&self, rows: Range<usize>, out: &mut [u8]) -> Result<Counts, Error> {
        out.par_chunks_exact_mut(self.row_bytes)
            .zip(rows)
            .map_init(Buffers::default, |buffers, (out, row)| self.row(row, out, buffers))
            .try_reduce(Counts::default, |a, b| Ok(add(a, b)))
    }

    fn source_row(&self, row: usize) -> usize {
        self.order.as_ref().map_or(row, |order| order[row])
    }

    fn row(&self, row: usize, out: &mut [u8], buffers: &mut Buffers) -> Result<Counts, Error> {
        let Buffers { codes, values, scratch } = buffers;
        match &self.content {
            Content::Blocks { ternary, format, d } => {
                codes.resize(self.cols, 0);
                ternary.row(self.source_row(row), codes, scratch)?;
                let counts = count(codes);
                if counts[1] > 0 && !format.holds_zero() {
                    return Err(ternary.has_zeros(*format));
                }
                format.pack(codes, *d, out);
                Ok(counts)
            }
            Content::HuggingFace { ternary } => {
                codes.resize(hf::QUARTERS * self.cols, 0);
                for (quarter, codes) in codes.chunks_exact_mut(self.cols).enumerate() {
                    ternary.row(self.source_row(quarter * self.count + row), codes, scratch)?;
                }
                hf::pack(codes, self.cols, out);
                Ok(count(codes))
            }
            Content::Values { ternary, dtype, scale } => {
                codes.resize(self.cols, 0);
                ternary.row(self.source_row(row), codes, scratch)?;
                values.clear();
                values.extend(codes.iter().map(|&code| f32::from(code) * scale));
                narrow(values, *dtype, out);
                Ok(count(codes))
            }
            Content::Weights { tensor, weights, dtype } => {
                let source = self.source_row(row);
                let range = source * self.cols..(source + 1) * self.cols;
                let error = |index| non_finite(tensor, range.start + index);
                if let (Weights::Plain(weights), true) = (weights, *dtype == tensor.dtype) {
                    if let Some(index) = ternarize::first_non_finite(weights.range(range.clone())) {
                        return Err(error(index));
                    }
                    let bytes = row_len(*dtype, 1);
                    out.copy_from_slice(&tensor.bytes()[range.start * bytes..range.end * bytes]);
                    return Ok(Counts::default());
                }
                values.resize(self.cols, 0.0);
                weights.rows(source..source + 1, self.cols).to_f32(values);
                if let Some(index) = ternarize::first_non_finite(DenseSlice::F32(values)) {
                    return Err(error(index));
                }
                if *dtype == tensor.dtype {
                    out.copy_from_slice(&tensor.bytes()[source * self.row_bytes..][..self.row_bytes]);
                } else if let Some(index) = narrow(values, *dtype, out) {
                    let (file, name) = (tensor.file().to_owned(), tensor.name.clone());
                    let (value, dtype) = (values[index], dtype.name());
                    return Err(Error::TooLarge {
                        file,
                        tensor: name,
                        index: range.start + index,
                        value,
                        dtype,
                    });
                }
                Ok(Counts::default())
            }
        }
    }
}

/// What a thread needs to make rows.
#[derive(Default)]
struct Buffers {
    codes: Vec<i8>,
    values: Vec<f32>,
    scratch: Scratch,
}

/// Bytes of a row of that type, full precision only.
fn row_len(dtype: TensorType, cols: usize) -> usize {
    dtype.byte_len(&[cols]).expect("the plan checked the row length") as usize
}

/// Finite values in a smaller type; returns the first that is too large for it.
fn narrow(values: &[f32], dtype: TensorType, out: &mut [u8]) -> Option<usize> {
    match dtype {
        TensorType::F32 => {
            for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
                *out = value.to_le_bytes();
            }
            None
        }
        TensorType::F16 => {
            for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
                *out = f16::from_f32(*value).to_le_bytes();
            }
            values.iter().position(|&value| f16::from_f32(value).is_infinite())
        }
        TensorType::Bf16 => {
            for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
                *out = bf16::from_f32(*value).to_le_bytes();
            }
            values.iter().position(|&value| bf16::from_f32(value).is_infinite())
        }
        TensorType::Q8_0 => {
            BlockFormat::Q8_0.quantize(values, out);
            // A block's scale is an f16: the largest magnitude over 127.
            values.iter().position(|&value| f16::from_f32(value / 127.0).is_infinite())
        }
        TensorType::Q6K => {
            BlockFormat::Q6K.quantize(values, out);
            values.iter().position(|&value| f16::from_f32(value / 32.0).is_infinite())
        }
        packed => unreachable!("{packed} is no full-precision type"),
    }
}

/// Counts codes.
pub(crate) fn count(codes: &[i8]) -> Counts {
    let (mut negative, mut zero) = (0, 0);
    // Short runs, so that the compiler may count in bytes.
    for codes in codes.chunks(255) {
        negative += u64::from(codes.iter().map(|&code| u8::from(code < 0)).sum::<u8>());
        zero += u64::from(codes.iter().map(|&code| u8::from(code == 0)).sum::<u8>());
    }
    [negative, zero, codes.len() as u64 - negative - zero]
}

fn add(a: Counts, b: Counts) -> Counts {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

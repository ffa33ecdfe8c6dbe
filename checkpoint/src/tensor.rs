//! A tensor where it lies in its file.
//!
//! ```text
//! file   | header |  ...  | tensor data |  ...  |
//!                         ^offset      ^offset + byte_len
//! ```
//!
//! A [`Tensor`] is a name, a type, a shape and that byte range of a shared memory map: cloning it
//! copies no data, and the system loads pages as they are read.

use std::{io, ops::Range, path::Path, sync::Arc};

use b158_kernels::{
    dense::{DenseSlice, DenseType, Weights},
    packing::{BlockFormat, TernaryFormat, hf::QUARTERS},
};

use crate::{Error, gguf::I2_S_TAIL_BYTES, mapped_file::MappedFile};

/// The element types that models are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// Ternary, 1.6875 bits a weight: five base-3 digits a byte, 256 weights a block.
    Tq1_0,
    /// Ternary, 2.0625 bits a weight: four 2-bit codes a byte, 256 weights a block.
    Tq2_0,
    /// Ternary, 2.25 bits a weight: four 2-bit codes a byte, 64 weights a block.
    Q2_0,
    /// Binary, 1.125 bits a weight: a sign bit each, 128 weights a block.
    Q1_0,
    /// Ternary, 2 bits a weight, of bitnet.cpp: four 2-bit codes a byte in the order that its x86
    /// kernels read, then a tail with the scale.
    I2sX86,
    /// As [`TensorType::I2sX86`], in the order that its ARM kernels read. The two have the same number;
    /// nothing but our own key `b158.i2_s.interleave` tells them apart.
    I2sArm,
    /// Full precision rounded to 8.5 bits a weight: int8 and an f16 scale for 32 weights.
    Q8_0,
    /// Full precision rounded to 6.5625 bits a weight, in blocks of 256.
    Q6K,
    /// Ternary, 2 bits a weight, of transformers' checkpoints (`U8` there): a byte holds the codes of
    /// four rows, a quarter of the matrix apart; the scale is a tensor of its own.
    HfPacked,
}

impl TensorType {
    /// The types of GGUF files.
    pub const GGUF: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Tq1_0,
        Self::Tq2_0,
        Self::Q2_0,
        Self::Q1_0,
        Self::I2sX86,
        Self::I2sArm,
        Self::Q8_0,
        Self::Q6K,
    ];

    /// The type's number in GGUF files (`enum ggml_type` of ggml).
    pub fn gguf_id(self) -> Option<u32> {
        match self {
            Self::F32 => Some(0),
            Self::F16 => Some(1),
            Self::Bf16 => Some(30),
            Self::Tq1_0 => Some(34),
            Self::Tq2_0 => Some(35),
            Self::Q2_0 => Some(42),
            Self::Q1_0 => Some(41),
            Self::I2sX86 | Self::I2sArm => Some(36),
            Self::Q8_0 => Some(8),
            Self::Q6K => Some(14),
            Self::HfPacked => None,
        }
    }

    /// The type with that number in GGUF files; I2_S in the order for x86.
    pub fn from_gguf_id(id: u32) -> Option<Self> {
        Self::GGUF.into_iter().find(|t| t.gguf_id() == Some(id))
    }

    /// The usual name, for instance `TQ1_0`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Tq1_0 => "TQ1_0",
            Self::Tq2_0 => "TQ2_0",
            Self::Q2_0 => "Q2_0",
            Self::Q1_0 => "Q1_0",
            Self::I2sX86 | Self::I2sArm => "I2_S",
            Self::Q8_0 => "Q8_0",
            Self::Q6K => "Q6_K",
            Self::HfPacked => "U8",
        }
    }

    /// The kernels' name of a type that holds numbers as they are; `None` for packed ones.
    pub fn dense(self) -> Option<DenseType> {
        match self {
            Self::F32 => Some(DenseType::F32),
            Self::F16 => Some(DenseType::F16),
            Self::Bf16 => Some(DenseType::Bf16),
            _ => None,
        }
    }

    /// The kernels' name of a packed type of GGUF; `None` for others.
    pub fn ternary(self) -> Option<TernaryFormat> {
        match self {
            Self::Tq1_0 => Some(TernaryFormat::Tq1_0),
            Self::Tq2_0 => Some(TernaryFormat::Tq2_0),
            Self::Q2_0 => Some(TernaryFormat::Q2_0),
            Self::Q1_0 => Some(TernaryFormat::Q1_0),
            Self::I2sX86 => Some(TernaryFormat::I2sX86),
            Self::I2sArm => Some(TernaryFormat::I2sArm),
            Self::F32 | Self::F16 | Self::Bf16 | Self::Q8_0 | Self::Q6K | Self::HfPacked => None,
        }
    }

    /// Bytes of a tensor of that shape (rows first), with the tail that I2_S has; `None` if the number overflows or the last
    /// dimension is not a whole number of blocks. The empty shape is a single element.
    pub fn byte_len(self, shape: &[usize]) -> Option<u64> {
        if self == Self::HfPacked {
            let [rows, cols] = shape else { return None };
            let packed_rows = rows.is_multiple_of(QUARTERS).then_some(rows / QUARTERS)?;
            return packed_rows.checked_mul(*cols).map(|n| n as u64);
        }
        let (bytes, weights) = self.block();
        let cols = shape.last().copied().unwrap_or(1) as u64;
        if !cols.is_multiple_of(weights) {
            return None;
        }
        let rows = shape.iter().rev().skip(1).try_fold(1u64, |n, &d| n.checked_mul(d as u64))?;
        (cols / weights).checked_mul(bytes)?.checked_mul(rows)?.checked_add(self.tail_bytes() as u64)
    }

    /// Whether the numbers are full-precision weights, as they are or rounded in blocks.
    pub fn is_full_precision(self) -> bool {
        self.dense().is_some() || self.block_format().is_some()
    }

    /// The kernels' name of a type that rounds full-precision weights in blocks; `None` for others.
    pub fn block_format(self) -> Option<BlockFormat> {
        match self {
            Self::Q8_0 => Some(BlockFormat::Q8_0),
            Self::Q6K => Some(BlockFormat::Q6K),
            _ => None,
        }
    }

    /// Bytes behind the weights, which [`Tensor::bytes`] leaves out.
    fn tail_bytes(self) -> usize {
        match self {
            Self::I2sX86 | Self::I2sArm => I2_S_TAIL_BYTES,
            _ => 0,
        }
    }

    /// Address granularity, in bytes, at which elements can be read in place.
    pub(crate) fn alignment(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            _ => 1,
        }
    }

    /// Bytes and weights of the smallest unit.
    fn block(self) -> (u64, u64) {
        match (self.ternary(), self.block_format()) {
            (Some(format), _) => (format.block_bytes() as u64, format.block() as u64),
            (None, Some(format)) => (format.block_bytes() as u64, format.block() as u64),
            (None, None) => (self.alignment() as u64, 1),
        }
    }
}

impl From<TernaryFormat> for TensorType {
    fn from(format: TernaryFormat) -> Self {
        match format {
            TernaryFormat::Tq1_0 => Self::Tq1_0,
            TernaryFormat::Tq2_0 => Self::Tq2_0,
            TernaryFormat::Q2_0 => Self::Q2_0,
            TernaryFormat::Q1_0 => Self::Q1_0,
            TernaryFormat::I2sX86 => Self::I2sX86,
            TernaryFormat::I2sArm => Self::I2sArm,
        }
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name in the file; in GGUF at most 63 bytes.
    pub name: String,
    /// The element type.
    pub dtype: TensorType,
    /// Row-major, `[rows, cols]` for a matrix; in GGUF at most four dimensions.
    pub shape: Vec<usize>,
}

/// How far the tensors of a plan are written.
#[derive(Debug)]
pub(crate) struct Progress<'p> {
    remaining: &'p [(TensorInfo, u64)], // with their bytes
    /// Bytes of the first of them that are written.
    written: u64,
}

impl<'p> Progress<'p> {
    pub(crate) fn new(tensors: &'p [(TensorInfo, u64)]) -> Self {
        Self { remaining: tensors, written: 0 }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.remaining.is_empty()
    }

    /// Whether `name` comes next, with that many bytes.
    pub(crate) fn check_whole(&self, name: &str, bytes: usize) -> io::Result<()> {
        match self.remaining.first() {
            Some((info, len)) if info.name == name && (*len != bytes as u64 || self.written > 0) => {
                invalid(format!("the tensor `{name}` has {bytes} bytes, but {len} were announced"))
            }
            _ => Ok(()),
        }
    }

    /// Takes note of `bytes` more bytes of the tensor `name`; returns its length if that is all of it.
    pub(crate) fn advance(&mut self, name: &str, bytes: usize) -> io::Result<Option<u64>> {
        let Some(((info, len), rest)) = self.remaining.split_first() else {
            return invalid(format!("the tensor `{name}` is not in the plan"));
        };
        if info.name != name {
            return invalid(format!("the plan has the tensor `{}` here, not `{name}`", info.name));
        }
        let written = self.written.saturating_add(bytes as u64);
        if written > *len {
            return invalid(format!("the tensor `{name}` has more than the {len} bytes announced"));
        }
        if written < *len {
            self.written = written;
            return Ok(None);
        }
        (self.remaining, self.written) = (rest, 0);
        Ok(Some(*len))
    }

    pub(crate) fn check_complete(&self) -> io::Result<()> {
        match self.remaining.first() {
            Some((info, _)) => invalid(format!("the tensor `{}` was not written", info.name)),
            None => Ok(()),
        }
    }
}

fn invalid<T>(reason: String) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// A tensor of an open checkpoint; cloning it is cheap, and it keeps its file mapped.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The name in the file.
    pub name: String,
    /// The element type.
    pub dtype: TensorType,
    /// Row-major, as in PyTorch: `[rows, cols]` for a matrix of `rows` outputs and `cols` inputs.
    pub shape: Vec<usize>,
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl Tensor {
    /// A tensor at `offset` of `file`.
    ///
    /// # Errors
    /// The range is not inside the file, does not fit the type and shape, or is misaligned.
    pub(crate) fn new(
        file: &Arc<MappedFile>,
        name: &str,
        dtype: TensorType,
        shape: Vec<usize>,
        offset: u64,
    ) -> Result<Self, Error> {
        let len = dtype.byte_len(&shape).ok_or_else(|| {
            Error::malformed(
                file.path(),
                format!("tensor `{name}`: the shape {shape:?} does not fit the type {dtype}"),
            )
        })?;
        let needed = offset.saturating_add(len);
        let actual = file.bytes().len() as u64;
        if needed > actual {
            return Err(Error::Truncated {
                file: file.path().to_owned(),
                part: format!("tensor `{name}`"),
                needed,
                actual,
            });
        }
        let range = offset as usize..needed as usize - dtype.tail_bytes();
        if !(file.bytes()[range.clone()].as_ptr() as usize).is_multiple_of(dtype.alignment()) {
            let (file, tensor) = (file.path().to_owned(), name.to_owned());
            return Err(Error::Misaligned { file, tensor, offset });
        }
        Ok(Self { name: name.to_owned(), dtype, shape, file: Arc::clone(file), range })
    }

    /// The scale in the tail behind the codes, for the types that have one.
    pub(crate) fn tail_scale(&self) -> Option<f32> {
        let tail = &self.file.bytes()[self.range.end..][..self.dtype.tail_bytes()];
        tail.first_chunk().map(|scale| f32::from_le_bytes(*scale))
    }

    /// The tensor's bytes, in place; without the tail of I2_S, whose scale is
    /// [`crate::Checkpoint::scale`].
    pub fn bytes(&self) -> &[u8] {
        &self.file.bytes()[self.range.clone()]
    }

    /// Tells the system that the tensor's bytes are not needed for now, so that the memory into which
    /// they were read can go; they are still there to be read.
    pub fn release(&self) {
        self.file.release(self.range.clone());
    }

    /// The tensor's elements, in place.
    ///
    /// # Errors
    /// [`Error::NotDense`] if the tensor is packed.
    pub fn dense(&self) -> Result<DenseSlice<'_>, Error> {
        let file = || self.file.path().to_owned();
        let dtype = self.dtype.dense().ok_or_else(|| Error::NotDense {
            file: file(),
            tensor: self.name.clone(),
            dtype: self.dtype.name(),
        })?;
        DenseSlice::from_bytes(dtype, self.bytes()).map_err(|_| Error::Misaligned {
            file: file(),
            tensor: self.name.clone(),
            offset: self.range.start as u64,
        })
    }

    /// The tensor's full-precision weights, in place, plain or in blocks.
    ///
    /// # Errors
    /// [`Error::NotDense`] if the tensor is packed.
    pub fn weights(&self) -> Result<Weights<'_>, Error> {
        match self.dtype.block_format() {
            Some(format) => Ok(Weights::Blocks { format, bytes: self.bytes() }),
            None => self.dense().map(Weights::Plain),
        }
    }

    /// The file that the tensor is in.
    pub fn file(&self) -> &Path {
        self.file.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(TensorType::F16.byte_len(&[3, 5]), Some(30));
        assert_eq!(TensorType::F32.byte_len(&[]), Some(4));
        assert_eq!(TensorType::Tq1_0.byte_len(&[3, 512]), Some(3 * 2 * 54));
        assert_eq!(TensorType::Tq2_0.byte_len(&[3, 100]), None);
        assert_eq!(TensorType::F16.byte_len(&[usize::MAX, 2]), None);
        assert_eq!(TensorType::HfPacked.byte_len(&[8, 5]), Some(10));
        assert_eq!(TensorType::HfPacked.byte_len(&[9, 5]), None);
    }

    #[test]
    fn packed_sizes_equal_the_kernels() {
        for dtype in TensorType::GGUF {
            let Some(format) = dtype.ternary() else { continue };
            let row = format.row_bytes(768).map(|n| (n + dtype.tail_bytes()) as u64);
            assert_eq!(dtype.byte_len(&[768]), row);
        }
        assert_eq!(TensorType::I2sX86.byte_len(&[3, 128]), Some(3 * 32 + 32));
        assert_eq!(TensorType::I2sArm.byte_len(&[3, 64]), Some(3 * 16 + 32));
        assert_eq!(TensorType::I2sX86.byte_len(&[3, 64]), None);
        assert_eq!(TensorType::Q8_0.byte_len(&[3, 64]), Some(3 * 68));
        assert_eq!(TensorType::Q6K.byte_len(&[3, 512]), Some(3 * 420));
    }

    #[test]
    fn gguf_ids_round_trip() {
        for dtype in TensorType::GGUF {
            let read = if dtype == TensorType::I2sArm { TensorType::I2sX86 } else { dtype };
            assert_eq!(TensorType::from_gguf_id(dtype.gguf_id().unwrap()), Some(read));
        }
        assert_eq!(TensorType::from_gguf_id(2), None);
    }
}

//! Writes a GGUF file: the whole header first, then tensor by tensor.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use super::{DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS, MAX_NAME_BYTES, Value, value::encode_string};
use crate::{Error, TensorInfo, tensor::Progress};

const VERSION: u32 = 3;
const PADDING: [u8; DEFAULT_ALIGNMENT as usize] = [0; DEFAULT_ALIGNMENT as usize];

/// Everything about a file but the tensors' data; the same plan always gives the same bytes.
#[derive(Clone, Debug)]
pub struct GgufPlan {
    header: Vec<u8>,
    tensors: Vec<(TensorInfo, u64)>, // with their bytes, before padding
}

impl GgufPlan {
    /// Lays out a file.
    ///
    /// # Errors
    /// [`Error::Write`] on duplicate keys or names, names that are too long for ggml, shapes that do
    /// not fit their type, and a `general.alignment` other than the default.
    pub fn new(metadata: &[(String, Value<'_>)], tensors: Vec<TensorInfo>) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::Write { format: "GGUF", reason });
        let mut keys = BTreeSet::new();
        for (key, value) in metadata {
            if !keys.insert(key) {
                return refuse(format!("the key `{key}` occurs twice"));
            }
            if key == "general.alignment" && value.as_u64() != Some(DEFAULT_ALIGNMENT) {
                return refuse(format!("the alignment must be {DEFAULT_ALIGNMENT}"));
            }
        }
        let (mut names, mut sized) = (BTreeSet::new(), Vec::with_capacity(tensors.len()));
        for tensor in &tensors {
            let TensorInfo { name, dtype, shape } = tensor;
            if !names.insert(name) {
                return refuse(format!("the tensor `{name}` occurs twice"));
            }
            if name.is_empty() || name.len() > MAX_NAME_BYTES {
                return refuse(format!(
                    "the tensor name `{name}` is empty or longer than {MAX_NAME_BYTES} bytes"
                ));
            }
            if shape.is_empty() || shape.len() > MAX_DIMS {
                return refuse(format!(
                    "tensor `{name}` has {} dimensions, not 1 to {MAX_DIMS}",
                    shape.len()
                ));
            }
            if dtype.gguf_id().is_none() {
                return refuse(format!("GGUF has no type {dtype}, which tensor `{name}` has"));
            }
            match dtype.byte_len(shape) {
                // Far below the largest offset, so that sums of padded sizes cannot overflow.
                Some(len) if (1..1 << 48).contains(&len) => sized.push(len),
                _ => {
                    return refuse(format!(
                        "tensor `{name}`: the shape {shape:?} does not fit the type {dtype}"
                    ));
                }
            }
        }
        let tensors: Vec<_> = tensors.into_iter().zip(sized).collect();
        Ok(Self { header: encode_header(metadata, &tensors), tensors })
    }

    /// Where tensor data starts, in bytes from the start of the file; equals the header's length.
    pub fn data_offset(&self) -> u64 {
        self.header.len() as u64
    }

    /// The length of the finished file, in bytes.
    pub fn file_len(&self) -> u64 {
        self.data_offset() + self.tensors.iter().map(|(_, len)| padded(*len)).sum::<u64>()
    }

    /// Writes everything before the tensors' data.
    ///
    /// # Errors
    /// What the writer returns.
    pub fn write_header(&self, writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(&self.header)
    }
}

fn encode_header(metadata: &[(String, Value<'_>)], tensors: &[(TensorInfo, u64)]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        encode_string(key, &mut out);
        out.extend((value.value_type() as u32).to_le_bytes());
        value.encode(&mut out);
    }
    let mut offset = 0u64;
    for (TensorInfo { name, dtype, shape }, len) in tensors {
        encode_string(name, &mut out);
        out.extend((shape.len() as u32).to_le_bytes());
        for &size in shape.iter().rev() {
            out.extend((size as u64).to_le_bytes());
        }
        let id = dtype.gguf_id().expect("the plan checked the types");
        out.extend(id.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += padded(*len);
    }
    out.resize(out.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
    out
}

fn padded(len: u64) -> u64 {
    len.next_multiple_of(DEFAULT_ALIGNMENT)
}

/// Writes the tensors of a plan in its order, and pads each to the alignment.
#[derive(Debug)]
pub struct GgufDataWriter<'p, W> {
    progress: Progress<'p>,
    writer: W,
}

impl<'p, W: Write> GgufDataWriter<'p, W> {
    /// Continues a file after its header.
    pub fn new(plan: &'p GgufPlan, writer: W) -> Self {
        Self { progress: Progress::new(&plan.tensors), writer }
    }

    /// Writes the next tensor.
    ///
    /// # Errors
    /// Of kind `InvalidInput` if the plan has another tensor here, or one of another length; else
    /// what the writer returns.
    pub fn write_tensor(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.progress.check_whole(name, bytes.len())?;
        self.write_part(name, bytes)
    }

    /// Writes the next bytes of the next tensor, which is finished when all its bytes are written.
    ///
    /// # Errors
    /// As [`GgufDataWriter::write_tensor`].
    pub fn write_part(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let finished = self.progress.advance(name, bytes.len())?;
        self.writer.write_all(bytes)?;
        match finished {
            Some(len) => self.writer.write_all(&PADDING[..(padded(len) - len) as usize]),
            None => Ok(()),
        }
    }

    /// Ends the file and returns the writer.
    ///
    /// # Errors
    /// Of kind `InvalidInput` if tensors are missing; else what flushing returns.
    pub fn finish(mut self) -> io::Result<W> {
        self.progress.check_complete()?;
        self.writer.flush()?;
        Ok(self.writer)
    }
}

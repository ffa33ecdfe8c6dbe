//! Reads the header of a GGUF file.

use std::{collections::BTreeSet, path::Path};

use super::{
    Array, DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS, Value, ValueType, metadata,
    types::{foreign_name, is_ambiguous},
    value::encode_string,
};
use crate::{Error, TensorType, error::printable};

/// The header of a GGUF file; strings borrow from the file's bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Gguf<'a> {
    /// 1, 2 or 3. Lengths and counts of 1 have 32 bits; 2 and 3 differ in nothing that is read here.
    pub version: u32,
    /// The metadata, in the file's order, without duplicates.
    pub metadata: Vec<(&'a str, Value<'a>)>,
    /// The tensors, in the file's order, without duplicates.
    pub tensors: Vec<TensorEntry<'a>>,
    /// Where tensor data starts, in bytes from the start of the file.
    pub data_offset: u64,
    file_len: u64,
}

/// One tensor of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// The type's number, known or not.
    pub type_id: u32,
    /// The type, if it is one that models are read from.
    pub dtype: Option<TensorType>,
    /// Row-major: GGUF's sizes in reverse.
    pub shape: Vec<usize>,
    /// Where the data starts, in bytes from the start of the file.
    pub offset: u64,
}

impl TensorEntry<'_> {
    fn elements(&self) -> u64 {
        // No overflow: checked when the shape was read.
        self.shape.iter().map(|&size| size as u64).product()
    }

    /// What messages call the type; `bytes` is what the tensor takes in the file.
    fn type_name(&self, bytes: u64) -> String {
        match self.dtype {
            Some(dtype) => dtype.name().to_owned(),
            None => {
                format!("{} (number {})", foreign_name(self.type_id, self.elements(), bytes), self.type_id)
            }
        }
    }
}

impl<'a> Gguf<'a> {
    /// Reads the header of a file that is given as a whole; `file` is for messages only.
    ///
    /// Tensors of unknown types are listed, but where they end is not checked.
    ///
    /// # Errors
    /// Everything that breaks the format's rules: a cut file, counts beyond the file's size,
    /// duplicate names, tensors that overlap or leave the file.
    pub fn parse(file: &Path, bytes: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor { file, bytes, position: 0, strings: 0, narrow: false };
        if cursor.take(4, "the magic number")? != MAGIC {
            return Err(Error::malformed(file, "the file does not start with `GGUF`"));
        }
        let version = cursor.u32("the version")?;
        if !(1..=3).contains(&version) {
            return Err(unsupported_version(file, version));
        }
        cursor.narrow = version == 1;
        let tensor_count = cursor.count(MIN_TENSOR_BYTES, "the list of tensors")?;
        let entry_count = cursor.count(MIN_ENTRY_BYTES, "the metadata")?;
        if tensor_count.max(entry_count) > MAX_ITEMS {
            let reason = format!(
                "it has {tensor_count} tensors and {entry_count} metadata entries; at most {MAX_ITEMS} are allowed"
            );
            return Err(Error::malformed(file, reason));
        }

        let metadata = read_metadata(&mut cursor, entry_count)?;
        let alignment = alignment(file, &metadata)?;
        let mut tensors = read_tensors(&mut cursor, tensor_count)?;
        let data_offset = (cursor.position as u64).next_multiple_of(alignment);
        for tensor in &mut tensors {
            if !tensor.offset.is_multiple_of(alignment) {
                return Err(Error::malformed(
                    file,
                    format!(
                        "tensor `{}` starts at {}, which is not a multiple of {alignment}",
                        printable(tensor.name),
                        tensor.offset
                    ),
                ));
            }
            tensor.offset = tensor.offset.saturating_add(data_offset);
        }
        let arm = metadata::i2_s_is_arm(file, &metadata)?;
        for tensor in tensors.iter_mut().filter(|t| arm && t.dtype == Some(TensorType::I2sX86)) {
            tensor.dtype = Some(TensorType::I2sArm);
        }
        check_extents(file, &tensors, bytes.len() as u64, alignment)?;
        Ok(Self { version, metadata, tensors, data_offset, file_len: bytes.len() as u64 })
    }

    /// The value of a metadata key.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.metadata.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// The type of a tensor as a message calls it, whether models are read from it or not.
    pub(crate) fn type_name(&self, tensor: &TensorEntry) -> String {
        let next = self.tensors.iter().map(|t| t.offset).filter(|&start| start > tensor.offset).min();
        tensor.type_name(next.unwrap_or(self.file_len) - tensor.offset)
    }

    /// The tensor with that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorEntry<'a>> {
        self.tensors.iter().find(|t| t.name == name)
    }
}

/// Length of an empty key (of version 1), type, one byte of value.
const MIN_ENTRY_BYTES: u64 = 4 + 4 + 1;
/// Length of an empty name (of version 1), number of dimensions, type, offset.
const MIN_TENSOR_BYTES: u64 = 4 + 4 + 4 + 8;
/// Metadata entries, or tensors: published files have hundreds. Each takes a few hundred bytes at most.
const MAX_ITEMS: u64 = 1 << 16;
/// Metadata and list of tensors together; the longest vocabularies take a tenth of that.
const MAX_HEADER_BYTES: usize = 1 << 27;
/// Elements of arrays of strings: the largest vocabulary has half a million merges.
const MAX_STRINGS: u64 = 1 << 21;
/// Larger ones would only waste space; the limit keeps sums of offsets far from overflow.
const MAX_ALIGNMENT: u64 = 1 << 20;

fn unsupported_version(file: &Path, version: u32) -> Error {
    let (feature, hint) = if version.swap_bytes() < 16 && version != 0 {
        ("a big-endian GGUF file".to_owned(), "convert the model on a little-endian machine")
    } else {
        (format!("GGUF version {version}"), "convert the model again with a current version of llama.cpp")
    };
    Error::unsupported(file, feature, hint)
}

fn read_metadata<'a>(cursor: &mut Cursor<'a, '_>, count: u64) -> Result<Vec<(&'a str, Value<'a>)>, Error> {
    let (mut metadata, mut keys) = (Vec::new(), BTreeSet::new());
    for _ in 0..count {
        let key = cursor.string("a metadata key")?;
        let type_id = cursor.u32("the type of a metadata value")?;
        let value = cursor.value(key, type_id)?;
        if !keys.insert(key) {
            let file = cursor.file.to_owned();
            return Err(Error::Duplicate { file, what: "key", name: printable(key) });
        }
        metadata.push((key, value));
    }
    Ok(metadata)
}

fn alignment(file: &Path, metadata: &[(&str, Value)]) -> Result<u64, Error> {
    let Some((key, value)) = metadata.iter().find(|(key, _)| *key == "general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    // At least 8: the format's rule, and what reading numbers in place needs.
    value.as_u64().filter(|&n| n.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(&n)).ok_or_else(|| {
        Error::BadValue {
            file: file.to_owned(),
            key: (*key).to_owned(),
            value: printable(&format!("{value:?}")),
            valid: "it must be a power of two from 8 to 2^20",
        }
    })
}

/// Reads the list of tensors; offsets are still relative to the tensor data.
fn read_tensors<'a>(cursor: &mut Cursor<'a, '_>, count: u64) -> Result<Vec<TensorEntry<'a>>, Error> {
    let (mut tensors, mut names) = (Vec::new(), BTreeSet::new());
    for _ in 0..count {
        let name = cursor.string("a tensor's name")?;
        let malformed =
            |reason: &str| Error::malformed(cursor.file, format!("tensor `{}` {reason}", printable(name)));
        let dims = cursor.u32("a tensor's number of dimensions")? as usize;
        if dims > MAX_DIMS {
            return Err(malformed(&format!("has {dims} dimensions; at most {MAX_DIMS} are allowed")));
        }
        let mut shape = Vec::with_capacity(dims);
        for _ in 0..dims {
            shape.push(cursor.length("a tensor's sizes")?);
        }
        shape.reverse();
        let elements = shape.iter().try_fold(1u64, |n, &size| n.checked_mul(size));
        // ggml counts elements in i64.
        if !elements.is_some_and(|n| n > 0 && i64::try_from(n).is_ok()) {
            return Err(malformed(&format!("has the shape {shape:?}: no elements, or too many")));
        }
        let shape = shape.into_iter().map(|size| size as usize).collect();
        let type_id = cursor.u32("a tensor's type")?;
        let offset = cursor.u64("a tensor's offset")?;
        if !names.insert(name) {
            let file = cursor.file.to_owned();
            return Err(Error::Duplicate { file, what: "tensor", name: printable(name) });
        }
        let dtype = TensorType::from_gguf_id(type_id);
        tensors.push(TensorEntry { name, type_id, dtype, shape, offset });
    }
    Ok(tensors)
}

/// Every tensor lies inside the file, no two share a byte, and a type whose number is ambiguous takes
/// as many bytes as it must.
fn check_extents(file: &Path, tensors: &[TensorEntry], file_len: u64, alignment: u64) -> Result<(), Error> {
    let mut extents = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let name = printable(tensor.name);
        // Where a tensor of unknown type ends is unknown: only its start is checked.
        let len = match tensor.dtype {
            Some(dtype) => dtype.byte_len(&tensor.shape).ok_or_else(|| {
                let reason =
                    format!("tensor `{name}`: the shape {:?} does not fit the type {dtype}", tensor.shape);
                Error::malformed(file, reason)
            })?,
            None => 0,
        };
        let end = tensor.offset.saturating_add(len);
        if end > file_len {
            let part = format!("tensor `{name}`");
            return Err(Error::Truncated { file: file.to_owned(), part, needed: end, actual: file_len });
        }
        extents.push((tensor.offset, end, tensor));
    }
    extents.sort_unstable_by_key(|&(start, end, tensor)| (start, end, tensor.name));
    for pair in extents.windows(2) {
        let ((begin, end, first), (start, _, second)) = (pair[0], pair[1]);
        if start < end {
            let (first, second) = (printable(first.name), printable(second.name));
            let reason = format!("the tensors `{first}` and `{second}` overlap");
            return Err(Error::malformed(file, reason));
        }
        if first.dtype.is_some() && is_ambiguous(first.type_id) && start - end >= alignment {
            let reason = format!(
                "tensor `{}` takes {} bytes, but the type {} of that shape has {}; the number {} of its type means something else to the program that wrote the file",
                printable(first.name),
                start - begin,
                first.type_name(0),
                end - begin,
                first.type_id
            );
            return Err(Error::malformed(file, reason));
        }
    }
    Ok(())
}

/// A position in the header.
struct Cursor<'a, 'f> {
    file: &'f Path,
    bytes: &'a [u8],
    position: usize,
    /// Elements of arrays of strings so far.
    strings: u64,
    /// Whether lengths have 32 bits, as in version 1.
    narrow: bool,
}

impl<'a> Cursor<'a, '_> {
    /// The next `len` bytes; `part` is what they are, for the message.
    fn take(&mut self, len: u64, part: &str) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.position..];
        let Some(bytes) = usize::try_from(len).ok().and_then(|len| rest.get(..len)) else {
            return Err(Error::Truncated {
                file: self.file.to_owned(),
                part: part.to_owned(),
                needed: (self.position as u64).saturating_add(len),
                actual: self.bytes.len() as u64,
            });
        };
        self.position += bytes.len();
        if self.position > MAX_HEADER_BYTES {
            return Err(Error::malformed(
                self.file,
                format!("the header is longer than {MAX_HEADER_BYTES} bytes"),
            ));
        }
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, part: &str) -> Result<[u8; N], Error> {
        Ok(self.take(N as u64, part)?.try_into().expect("N bytes were taken"))
    }

    fn u32(&mut self, part: &str) -> Result<u32, Error> {
        self.array(part).map(u32::from_le_bytes)
    }

    fn u64(&mut self, part: &str) -> Result<u64, Error> {
        self.array(part).map(u64::from_le_bytes)
    }

    /// A length or a count.
    fn length(&mut self, part: &str) -> Result<u64, Error> {
        if self.narrow { self.u32(part).map(u64::from) } else { self.u64(part) }
    }

    /// A number of items of at least `min_bytes` each, which must fit the rest of the file.
    fn count(&mut self, min_bytes: u64, part: &str) -> Result<u64, Error> {
        let count = self.length(part)?;
        let needed = count.saturating_mul(min_bytes).saturating_add(self.position as u64);
        let actual = self.bytes.len() as u64;
        if needed > actual {
            let (file, part) = (self.file.to_owned(), format!("{part} ({count} items)"));
            return Err(Error::Truncated { file, part, needed, actual });
        }
        Ok(count)
    }

    fn string(&mut self, part: &str) -> Result<&'a str, Error> {
        let len = self.length(part)?;
        let bytes = self.take(len, part)?;
        std::str::from_utf8(bytes).map_err(|_| Error::malformed(self.file, format!("{part} is not UTF-8")))
    }

    fn value(&mut self, key: &str, type_id: u32) -> Result<Value<'a>, Error> {
        let part = format!("the value of `{}`", printable(key));
        let value_type = self.value_type(type_id, &part)?;
        match value_type {
            ValueType::String => self.string(&part).map(|s| Value::String(s.into())),
            ValueType::Array => self.value_array(&part).map(Value::Array),
            fixed => {
                let bytes = self.take(fixed.size().expect("neither string nor array") as u64, &part)?;
                Value::decode_fixed(fixed, bytes).ok_or_else(|| {
                    Error::malformed(self.file, format!("{part} is a truth value other than 0 and 1"))
                })
            }
        }
    }

    fn value_type(&self, id: u32, part: &str) -> Result<ValueType, Error> {
        ValueType::from_id(id)
            .ok_or_else(|| Error::malformed(self.file, format!("{part} has the unknown type {id}")))
    }

    fn value_array(&mut self, part: &str) -> Result<Array<'a>, Error> {
        let type_id = self.u32(part)?;
        let element = self.value_type(type_id, part)?;
        if element == ValueType::Array {
            return Err(Error::malformed(self.file, format!("{part} is an array of arrays")));
        }
        let shortest = if self.narrow { 4 } else { 8 };
        let len = self.count(element.size().map_or(shortest, |size| size as u64), part)?;
        let start = self.position;
        // What follows is written as in later versions.
        let mut widened = Vec::new();
        if let Some(size) = element.size() {
            // No overflow: `count` compared the product with the file's size.
            let bytes = self.take(len * size as u64, part)?;
            if element == ValueType::Bool && bytes.iter().any(|&b| b > 1) {
                let reason = format!("{part} has a truth value other than 0 and 1");
                return Err(Error::malformed(self.file, reason));
            }
        } else {
            self.strings = self.strings.saturating_add(len);
            if self.strings > MAX_STRINGS {
                let reason = format!("{part}: more than {MAX_STRINGS} strings in arrays");
                return Err(Error::malformed(self.file, reason));
            }
            for _ in 0..len {
                let string = self.string(part)?;
                if self.narrow {
                    encode_string(string, &mut widened);
                }
            }
            if self.narrow {
                return Ok(Array { element, len, bytes: widened.into() });
            }
        }
        Ok(Array { element, len, bytes: self.bytes[start..self.position].into() })
    }
}

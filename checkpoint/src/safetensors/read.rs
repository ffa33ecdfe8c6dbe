//! Reads the header of a safetensors file.
//!
//! The crate `safetensors` checks that the tensors follow each other without holes or overlaps.
//! Whether header and data fit the file is checked here, so that a file that is cut short is told
//! from one that is damaged, and so that no sum of lengths out of the file can overflow.

use std::{collections::BTreeMap, path::Path};

use safetensors::tensor::{Metadata, TensorInfo};

use crate::{Error, TensorType, error::printable};

/// One tensor of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The type's name in the file, for instance `BF16`.
    pub dtype: String,
    /// Row-major.
    pub shape: Vec<usize>,
    /// Where the data starts, in bytes from the start of the file.
    pub offset: u64,
}

impl Entry {
    /// The type, if it is one that models are read from.
    pub fn tensor_type(&self) -> Option<TensorType> {
        match self.dtype.as_str() {
            "F32" => Some(TensorType::F32),
            "F16" => Some(TensorType::F16),
            "BF16" => Some(TensorType::Bf16),
            _ => None,
        }
    }
}

/// Bytes of the length field.
pub(super) const LENGTH_BYTES: usize = 8;
/// Some 15,000 tensors; parsed, a header of this size takes some tens of megabytes at most. The
/// format's own limit is 100 MB.
pub(super) const MAX_HEADER_BYTES: u64 = 2 << 20;

/// Reads the header of a file that is given as a whole; `file` is for messages only.
///
/// # Errors
/// A header or data that is cut short, and everything that breaks the format's rules.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Entry>, Error> {
    let truncated = |part: &str, needed| Error::Truncated {
        file: file.to_owned(),
        part: part.to_owned(),
        needed,
        actual: bytes.len() as u64,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(truncated("the header's length", LENGTH_BYTES as u64));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        let reason = format!("the header claims {length} bytes; at most {MAX_HEADER_BYTES} are allowed");
        return Err(Error::malformed(file, reason));
    }
    let data_offset = LENGTH_BYTES + length as usize;
    let Some(header) = rest.get(..length as usize) else {
        return Err(truncated("the header", data_offset as u64));
    };
    let metadata: Metadata = serde_json::from_slice(header)
        .map_err(|e| Error::malformed(file, printable(&format!("safetensors header: {e}"))))?;

    let end = (data_offset as u64).saturating_add(metadata.data_len() as u64);
    let actual = bytes.len() as u64;
    if end > actual {
        return Err(truncated("the data", end));
    }
    if end < actual {
        return Err(Error::malformed(file, format!("{} bytes follow the last tensor", actual - end)));
    }
    let entry = |info: &TensorInfo| Entry {
        dtype: info.dtype.to_string(),
        shape: info.shape.clone(),
        // No overflow: the data ends inside the file.
        offset: (data_offset + info.data_offsets.0) as u64,
    };
    Ok(metadata.tensors().into_iter().map(|(name, info)| (name, entry(info))).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, Error> {
        super::parse(Path::new("model.safetensors"), bytes)
    }

    const HEADER: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"U8","shape":[4],"data_offsets":[12,16]}}"#;

    #[test]
    fn entries_point_into_the_file() {
        let entries = parse(&file(HEADER, 16)).unwrap();
        let data = 8 + HEADER.len() as u64;
        let a = Entry { dtype: "F16".into(), shape: vec![2, 3], offset: data };
        let b = Entry { dtype: "U8".into(), shape: vec![4], offset: data + 12 };
        assert_eq!(a.tensor_type(), Some(TensorType::F16));
        assert_eq!(b.tensor_type(), None);
        assert_eq!(entries, BTreeMap::from([("a".into(), a), ("b".into(), b)]));
    }

    #[test]
    fn every_cut_is_told_from_damage() {
        let bytes = file(HEADER, 16);
        for len in 0..bytes.len() {
            assert!(matches!(parse(&bytes[..len]), Err(Error::Truncated { .. })), "{len}");
        }
        assert!(matches!(parse(&file(HEADER, 17)), Err(Error::Malformed { .. })));
    }

    #[test]
    fn sums_of_lengths_cannot_overflow() {
        // Eight tensors that together span almost 2^64 bytes, each of an admissible size.
        let step = (1u64 << 61) - 1;
        let tensors: Vec<_> = (0..8u64)
            .map(|i| {
                let (from, to) = (i * step, (i + 1) * step);
                format!(r#""{i}":{{"dtype":"U8","shape":[{step}],"data_offsets":[{from},{to}]}}"#)
            })
            .collect();
        let bytes = file(&format!("{{{}}}", tensors.join(",")), 0);
        assert!(matches!(parse(&bytes), Err(Error::Truncated { .. })));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&file(&String::from_utf8_lossy(&bytes), 8));
        }

        #[test]
        fn mutated_headers_never_panic_nor_leave_the_file(at in 0..HEADER.len() + 8, byte: u8) {
            let mut bytes = file(HEADER, 16);
            bytes[at] = byte;
            for entry in parse(&bytes).into_iter().flatten().map(|(_, entry)| entry) {
                prop_assert!(entry.offset <= bytes.len() as u64);
            }
        }
    }
}

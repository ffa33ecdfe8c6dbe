//! Metadata values.

use std::borrow::Cow;

/// The type of a metadata value; the numbers are GGUF's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// The type with that number.
    pub fn from_id(id: u32) -> Option<Self> {
        const ALL: [ValueType; 13] = [
            ValueType::U8,
            ValueType::I8,
            ValueType::U16,
            ValueType::I16,
            ValueType::U32,
            ValueType::I32,
            ValueType::F32,
            ValueType::Bool,
            ValueType::String,
            ValueType::Array,
            ValueType::U64,
            ValueType::I64,
            ValueType::F64,
        ];
        ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// Bytes of a value; `None` for strings and arrays.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

/// A metadata value. Values that were read borrow from the file.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(Cow<'a, str>),
    Array(Array<'a>),
}

impl Value<'_> {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
        }
    }

    /// A whole number of any width that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::U64(n) => Some(n),
            Self::I8(n) => n.try_into().ok(),
            Self::I16(n) => n.try_into().ok(),
            Self::I32(n) => n.try_into().ok(),
            Self::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// A floating-point number.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(x) => Some(x.into()),
            Self::F64(x) => Some(x),
            _ => None,
        }
    }

    /// A truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(s) => Some(s),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<&Array<'_>> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The same value without ties to a file.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::U8(n) => Value::U8(n),
            Self::I8(n) => Value::I8(n),
            Self::U16(n) => Value::U16(n),
            Self::I16(n) => Value::I16(n),
            Self::U32(n) => Value::U32(n),
            Self::I32(n) => Value::I32(n),
            Self::U64(n) => Value::U64(n),
            Self::I64(n) => Value::I64(n),
            Self::F32(x) => Value::F32(x),
            Self::F64(x) => Value::F64(x),
            Self::Bool(b) => Value::Bool(b),
            Self::String(s) => Value::String(s.into_owned().into()),
            Self::Array(a) => {
                Value::Array(Array { element: a.element, len: a.len, bytes: a.bytes.into_owned().into() })
            }
        }
    }

    /// Appends the value as it stands in a file, without its type.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(n) => out.push(*n),
            Self::I8(n) => out.extend(n.to_le_bytes()),
            Self::U16(n) => out.extend(n.to_le_bytes()),
            Self::I16(n) => out.extend(n.to_le_bytes()),
            Self::U32(n) => out.extend(n.to_le_bytes()),
            Self::I32(n) => out.extend(n.to_le_bytes()),
            Self::U64(n) => out.extend(n.to_le_bytes()),
            Self::I64(n) => out.extend(n.to_le_bytes()),
            Self::F32(x) => out.extend(x.to_le_bytes()),
            Self::F64(x) => out.extend(x.to_le_bytes()),
            Self::Bool(b) => out.push((*b).into()),
            Self::String(s) => encode_string(s, out),
            Self::Array(array) => {
                out.extend((array.element as u32).to_le_bytes());
                out.extend(array.len.to_le_bytes());
                out.extend_from_slice(&array.bytes);
            }
        }
    }

    /// A number or truth value from its bytes; `None` if it is a truth value other than 0 and 1.
    ///
    /// `bytes` has the size of the type, which is neither string nor array.
    pub(super) fn decode_fixed(value_type: ValueType, bytes: &[u8]) -> Option<Value<'static>> {
        Some(match value_type {
            ValueType::U8 => Value::U8(u8::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U64 => Value::U64(u64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::Bool => match bytes {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return None,
            },
            ValueType::String | ValueType::Array => return None,
        })
    }
}

impl From<&str> for Value<'static> {
    fn from(s: &str) -> Self {
        Value::String(s.to_owned().into())
    }
}

/// An array as its encoded elements: an array of a million tokens costs no allocation to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array<'a> {
    pub(super) element: ValueType,
    pub(super) len: u64,
    /// The elements as in the file, already checked.
    pub(super) bytes: Cow<'a, [u8]>,
}

impl Array<'_> {
    /// An array of strings.
    pub fn from_strings<'s>(strings: impl IntoIterator<Item = &'s str>) -> Array<'static> {
        let (mut bytes, mut len) = (Vec::new(), 0);
        for s in strings {
            encode_string(s, &mut bytes);
            len += 1;
        }
        Array { element: ValueType::String, len, bytes: bytes.into() }
    }

    /// An array of token ids or other unsigned numbers.
    pub fn from_u32s(numbers: &[u32]) -> Array<'static> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Array { element: ValueType::U32, len: numbers.len() as u64, bytes: bytes.into() }
    }

    /// An array of signed numbers.
    pub fn from_i32s(numbers: &[i32]) -> Array<'static> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Array { element: ValueType::I32, len: numbers.len() as u64, bytes: bytes.into() }
    }

    /// An array of scores.
    pub fn from_f32s(numbers: &[f32]) -> Array<'static> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Array { element: ValueType::F32, len: numbers.len() as u64, bytes: bytes.into() }
    }

    /// The elements' type.
    pub fn element_type(&self) -> ValueType {
        self.element
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements, decoded one by one.
    pub fn iter(&self) -> impl Iterator<Item = Value<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let Some(size) = self.element.size() else {
                let (len, tail) = rest.split_first_chunk::<8>()?;
                let (text, tail) = tail.split_at_checked(u64::from_le_bytes(*len) as usize)?;
                rest = tail;
                return std::str::from_utf8(text).ok().map(|s| Value::String(s.into()));
            };
            let (bytes, tail) = rest.split_at_checked(size)?;
            rest = tail;
            Value::decode_fixed(self.element, bytes)
        })
    }
}

pub(super) fn encode_string(s: &str, out: &mut Vec<u8>) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend_from_slice(s.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_ids_round_trip() {
        for id in 0..13 {
            assert_eq!(ValueType::from_id(id).unwrap() as u32, id);
        }
        assert_eq!(ValueType::from_id(13), None);
    }

    #[test]
    fn arrays_iterate() {
        let array = Array::from_strings(["a", "", "\u{e9}"]);
        assert_eq!(array.len(), 3);
        let strings: Vec<_> = array.iter().map(|v| v.as_str().unwrap().to_owned()).collect();
        assert_eq!(strings, ["a", "", "\u{e9}"]);
        let array = Array::from_u32s(&[1, u32::MAX]);
        assert_eq!(array.iter().filter_map(|v| v.as_u64()).collect::<Vec<_>>(), [1, u64::from(u32::MAX)]);
    }

    #[test]
    fn numbers_widen_but_never_wrap() {
        assert_eq!(Value::I8(-1).as_u64(), None);
        assert_eq!(Value::I64(5).as_u64(), Some(5));
        assert_eq!(Value::F32(5.0).as_u64(), None);
        assert_eq!(Value::decode_fixed(ValueType::Bool, &[2]), None);
    }
}

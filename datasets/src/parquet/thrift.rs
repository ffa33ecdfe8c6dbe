//! Thrift's compact protocol, as far as a Parquet file's structure needs it: to walk over any value, to check that a
//! value has the shape of its definition, and to pick integers out of structs.
//!
//! ```text
//!   struct   field header, value, ..., 0          field header   delta << 4 | type  (delta 0: the id follows)
//!   list     size << 4 | type, values             integer        zigzag, 7 bits a byte, lowest first
//!   binary   length, bytes                        (size 15: the size follows)
//! ```
//!
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>. Nothing is allocated, lengths
//! are compared with what is left, nesting is limited.

/// Structs and lists inside each other: Parquet's own nest six deep.
const DEEPEST: usize = 32;

const FALSE: u8 = 2;
pub(super) const I32: u8 = 5;
const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

/// What a definition says about a value.
pub(super) enum Shape {
    Flag,
    I8,
    I16,
    I32,
    I64,
    Binary,
    List(&'static Shape),
    /// Fields by their ids; others may be there, too.
    Struct(&'static [(i64, Shape)]),
}

impl Shape {
    /// Whether a value of the type on the wire may be one.
    fn is_of(&self, kind: u8) -> bool {
        match self {
            Self::Flag => kind == 1 || kind == FALSE,
            Self::I8 => kind == 3,
            Self::I16 => kind == 4,
            Self::I32 => kind == I32,
            Self::I64 => kind == 6,
            Self::Binary => kind == BINARY,
            Self::List(_) => kind == LIST,
            Self::Struct(_) => kind == STRUCT,
        }
    }
}

/// Why the bytes are no Thrift.
pub(super) type Result<T> = std::result::Result<T, String>;

/// A position in bytes.
pub(super) struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Walker<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// Bytes walked over so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = *self.bytes.get(self.at).ok_or("it ends inside its metadata")?;
        self.at += 1;
        Ok(byte)
    }

    fn advance(&mut self, bytes: u64) -> Result<()> {
        let left = (self.bytes.len() - self.at) as u64;
        if bytes > left {
            return Err(format!("its metadata name {bytes} bytes where {left} are left"));
        }
        self.at += bytes as usize;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("its metadata have an integer of more than 64 bits".into())
    }

    /// An integer of any width.
    pub(super) fn integer(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The type and number of a list's elements; there are never more than bytes left.
    pub(super) fn list(&mut self) -> Result<(u8, u64)> {
        let header = self.byte()?;
        let size = if header >> 4 == 15 { self.varint()? } else { u64::from(header >> 4) };
        let left = (self.bytes.len() - self.at) as u64;
        if size > left {
            return Err(format!("its metadata name a list of {size} where {left} bytes are left"));
        }
        Ok((header & 15, size))
    }

    /// Calls `each` with the walker, type and id of every field of a struct; `each` has to walk over the value.
    pub(super) fn fields(&mut self, mut each: impl FnMut(&mut Self, u8, i64) -> Result<()>) -> Result<()> {
        self.deeper(|walker| {
            let mut id = 0_i64;
            loop {
                let header = walker.byte()?;
                let kind = header & 15;
                if kind == 0 {
                    return Ok(());
                }
                id = match header >> 4 {
                    0 => walker.integer()?,
                    delta => id + i64::from(delta),
                };
                if !(1..=i64::from(i16::MAX)).contains(&id) {
                    return Err(format!("its metadata have a field of the number {id}"));
                }
                each(walker, kind, id)?;
            }
        })
    }

    /// Walks over a value of that type and checks that it has the shape. Readers decode the fields that they know by
    /// their ids alone: on another type they would go astray, and find sizes where there are none.
    pub(super) fn conform(&mut self, kind: u8, shape: &Shape) -> Result<()> {
        if !shape.is_of(kind) {
            return Err(format!("its metadata have a value of type {kind} where there is to be another"));
        }
        match shape {
            Shape::List(inner) => self.deeper(|walker| {
                let (kind, size) = walker.list()?;
                (0..size).try_for_each(|_| walker.conform(kind, inner))
            }),
            Shape::Struct(fields) => {
                self.fields(|walker, kind, id| match fields.iter().find(|(known, _)| *known == id) {
                    Some((_, shape)) => walker.conform(kind, shape),
                    None => walker.skip(kind),
                })
            }
            _ => self.skip(kind),
        }
    }

    /// Walks over a field's value of that type.
    pub(super) fn skip(&mut self, kind: u8) -> Result<()> {
        match kind {
            // A boolean field is its type alone.
            1 | FALSE => Ok(()),
            3 => self.advance(1),
            4..=6 => self.varint().map(drop),
            7 => self.advance(8),
            BINARY => {
                let length = self.varint()?;
                self.advance(length)
            }
            LIST | 10 => self.deeper(|walker| {
                let (kind, size) = walker.list()?;
                (0..size).try_for_each(|_| walker.element(kind))
            }),
            11 => self.deeper(|walker| {
                let size = walker.varint()?;
                let kinds = if size == 0 { 0 } else { walker.byte()? };
                (0..size).try_for_each(|_| {
                    walker.element(kinds >> 4)?;
                    walker.element(kinds & 15)
                })
            }),
            STRUCT => self.fields(|walker, kind, _| walker.skip(kind)),
            13 => self.advance(16),
            other => Err(format!("its metadata have a value of the unknown type {other}")),
        }
    }

    /// In a list a boolean is a byte.
    fn element(&mut self, kind: u8) -> Result<()> {
        if kind <= FALSE { self.advance(1) } else { self.skip(kind) }
    }

    fn deeper(&mut self, walk: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.depth == DEEPEST {
            return Err(format!("its metadata are nested deeper than {DEEPEST}"));
        }
        self.depth += 1;
        walk(self)?;
        self.depth -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8]) -> Result<usize> {
        let mut walker = Walker::new(bytes);
        walker.skip(STRUCT)?;
        Ok(walker.position())
    }

    #[test]
    fn values_of_every_type_are_walked_over() {
        // 1: true, 2: i32 -2, 3: binary "ab", 5: list of two structs, 6: map, 7: double, 8: set of booleans.
        let mut bytes = vec![0x11, 0x15, 3, 0x18, 2, b'a', b'b', 0x29, 0x2c, 0, 0x15, 1, 0];
        bytes.extend([0x1b, 1, 0x58, 4, 1, b'x', 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0x1a, 0x21, 1, 2, 0]);
        assert_eq!(walk(&bytes), Ok(bytes.len()));
        for end in 0..bytes.len() {
            assert!(walk(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn integers_are_zigzag() {
        for (bytes, value) in [(&[0][..], 0), (&[1], -1), (&[2], 1), (&[0xac, 0x02], 150)] {
            assert_eq!(Walker::new(bytes).integer(), Ok(value));
        }
        assert!(Walker::new(&[0xff; 20]).integer().is_err());
    }

    #[test]
    fn lies_about_lengths_and_endless_nesting_are_refused() {
        insta::assert_snapshot!(walk(&[0x18, 0xff, 0xff, 3]).unwrap_err(), @"its metadata name 65535 bytes where 0 are left");
        insta::assert_snapshot!(walk(&[0x19, 0xfc, 0xff, 1, 0]).unwrap_err(), @"its metadata name a list of 255 where 1 bytes are left");
        insta::assert_snapshot!(walk(&[0x1c; 1000]).unwrap_err(), @"its metadata are nested deeper than 32");
        insta::assert_snapshot!(walk(&[0x1e]).unwrap_err(), @"its metadata have a value of the unknown type 14");
    }

    #[test]
    fn values_have_to_be_of_their_definitions_types() {
        const SHAPE: Shape =
            Shape::Struct(&[(1, Shape::I32), (2, Shape::List(&Shape::Binary)), (3, Shape::Flag)]);
        let conform = |bytes: &[u8]| Walker::new(bytes).conform(STRUCT, &SHAPE);
        for fitting in [&[0][..], &[0x15, 4, 0x19, 0x18, 1, b'a', 0x12, 0], &[0x46, 4, 0], &[0x29, 0x05, 0]] {
            assert_eq!(conform(fitting), Ok(()), "{fitting:?}");
        }
        for other in [&[0x16, 4, 0][..], &[0x29, 0x15, 1, 0], &[0x25, 1, 0], &[0x15, 4], &[0x05, 0, 0]] {
            assert!(conform(other).is_err(), "{other:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_or_are_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = walk(&bytes);
        }
    }
}

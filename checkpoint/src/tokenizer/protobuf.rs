//! The wire format of Protocol Buffers, as much of it as SentencePiece's models need.
//!
//! ```text
//! message = field ...      field = key varint, value      key = number * 8 + wire type
//! wire type   0 varint   1 eight bytes   2 length varint, bytes   5 four bytes
//! varint      seven bits a byte, low ones first; the top bit says that more follow
//! ```

/// A field's value, in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64,
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn float(self) -> Option<f32> {
        match self {
            Self::Fixed32(bytes) => Some(f32::from_le_bytes(bytes)),
            _ => None,
        }
    }

    pub(super) fn number(self) -> Option<u64> {
        match self {
            Self::Varint(n) => Some(n),
            _ => None,
        }
    }

    pub(super) fn flag(self) -> Option<bool> {
        self.number().map(|n| n != 0)
    }
}

/// The fields of a message: number and value; `None` in place of one ends a damaged message.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = Option<(u64, Field<'_>)>> {
    let mut rest = Some(message);
    std::iter::from_fn(move || {
        let mut bytes = rest.take()?;
        if bytes.is_empty() {
            return None;
        }
        let field = next(&mut bytes);
        if field.is_some() {
            rest = Some(bytes);
        }
        Some(field)
    })
}

fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(bytes)?;
    let field = match key & 7 {
        0 => Field::Varint(varint(bytes)?),
        1 => {
            take(bytes, 8)?;
            Field::Fixed64
        }
        2 => {
            let len = usize::try_from(varint(bytes)?).ok()?;
            Field::Bytes(take(bytes, len)?)
        }
        5 => Field::Fixed32(take(bytes, 4)?.try_into().ok()?),
        _ => return None,
    };
    Some((key >> 3, field))
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(len)?;
    *bytes = tail;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind() {
        let message =
            [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let fields: Option<Vec<_>> = fields(&message).collect();
        let expected = [
            (1, Field::Varint(150)),
            (2, Field::Bytes(b"hi")),
            (3, Field::Fixed32([0, 0, 0x80, 0x3f])),
            (4, Field::Fixed64),
        ];
        assert_eq!(fields.unwrap(), expected);
    }

    #[test]
    fn damage_ends_the_message() {
        for message in [
            &[0x08][..],
            &[0x0a, 5, b'x'],
            &[0x0b],
            &[0x80; 11],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert_eq!(fields(message).collect::<Vec<_>>(), [None], "{message:?}");
        }
    }
}

//! How much a file of a given length may honestly hold: no allocation goes beyond.

/// A compressed file may expand by this factor; text compresses by 2 to 10.
const EXPANSION: u64 = 200;
/// Small files may expand to this much whatever the factor.
const SMALL: u64 = 64 << 20;

/// The bytes that a compressed file of `length` bytes may expand to.
pub(crate) fn expanded(length: u64) -> u64 {
    length.saturating_mul(EXPANSION).saturating_add(SMALL)
}

/// The values (rows times columns, elements of lists) that a table of `length` bytes may have: columns of one value
/// repeated take no room, but no table of texts is made of them alone.
pub(crate) fn values(length: usize) -> u64 {
    (length as u64).saturating_mul(16).saturating_add(1 << 20)
}

//! What a template may use: see [`super::rewrite`] for where it is charged.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use minijinja::{Error, ErrorKind, Value, value::ValueKind};

/// Units for one value of a tree, besides its bytes.
const NODE: u64 = 16;
/// The deepest tree: deeper ones overflow the stack when they are printed, compared or dropped.
const MAX_DEPTH: usize = 64;

/// What is left of the bytes that one rendering may read and write.
#[derive(Clone)]
pub(super) struct Meter(Arc<AtomicU64>);

impl Meter {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Begins a rendering that may use `bytes`.
    pub(super) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Takes `bytes` off.
    pub(super) fn spend(&self, bytes: u64) -> Result<(), Error> {
        // One thread renders; the atomic is there because functions of the engine must be `Sync`.
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
        if bytes > left { Err(too_much()) } else { Ok(()) }
    }

    /// Charges for a whole value, every branch as often as it occurs. What the engine would compute anew on
    /// each pass (a slice of a slice of a slice) becomes a list.
    pub(super) fn read(&self, value: Value) -> Result<Value, Error> {
        if value.kind() == ValueKind::Iterable {
            let mut items = Vec::new();
            for item in value.try_iter()? {
                self.walk(&item, 1)?;
                items.push(item);
            }
            return Ok(Value::from(items));
        }
        self.walk(&value, 0)?;
        Ok(value)
    }

    /// Charges for the way to the end of a value: the bytes of a text, the items of an iterable, which becomes
    /// a list. Lists and maps are free; the engine finds their items and their length at once.
    pub(super) fn steps(&self, value: Value) -> Result<Value, Error> {
        match value.kind() {
            ValueKind::String | ValueKind::Bytes => self.spend(bytes(&value))?,
            ValueKind::Iterable => {
                let mut items = Vec::new();
                for item in value.try_iter()? {
                    self.spend(NODE)?;
                    items.push(item);
                }
                return Ok(Value::from(items));
            }
            _ => {}
        }
        Ok(value)
    }

    /// Two factors and a product, charged before it exists.
    pub(super) fn spend_product(&self, a: usize, b: usize) -> Result<(), Error> {
        self.spend(u64::try_from(a).unwrap_or(u64::MAX).saturating_mul(u64::try_from(b).unwrap_or(u64::MAX)))
    }

    fn walk(&self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, TOO_DEEP));
        }
        self.spend(NODE)?;
        match value.kind() {
            ValueKind::String | ValueKind::Bytes => self.spend(bytes(value)),
            ValueKind::Seq | ValueKind::Iterable => {
                for item in value.try_iter()? {
                    self.walk(&item, depth + 1)?;
                }
                Ok(())
            }
            ValueKind::Map => {
                for key in value.try_iter()? {
                    self.walk(&key, depth + 1)?;
                    self.walk(&value.get_item(&key)?, depth + 1)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The length of a text.
fn bytes(value: &Value) -> u64 {
    let len = value.as_str().map(str::len).or_else(|| value.as_bytes().map(<[u8]>::len));
    len.unwrap_or_default() as u64
}

pub(super) const TOO_MUCH: &str = "it builds more text than any prompt holds";
pub(super) const TOO_DEEP: &str = "it nests values too deeply";

pub(super) fn too_much() -> Error {
    Error::new(ErrorKind::InvalidOperation, TOO_MUCH)
}

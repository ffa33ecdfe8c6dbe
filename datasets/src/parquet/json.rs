//! Arrow arrays as JSON values.

use polars_arrow::array::{
    Array, BinaryViewArray, BooleanArray, ListArray, PrimitiveArray, StructArray, Utf8ViewArray,
};
use polars_arrow::datatypes::ArrowDataType as Type;
use polars_arrow::offset::Offset;
use polars_arrow::types::NativeType;
use serde_json::{Map, Value};

/// Bytes of text that may still be copied out: many rows may point at one long text.
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.0 =
            self.0.checked_sub(bytes as u64).ok_or("its texts are longer than the file can honestly hold")?;
        Ok(())
    }
}

/// Whether values of the type have a JSON form here.
pub(super) fn is_readable(dtype: &Type) -> bool {
    match dtype {
        Type::Boolean
        | Type::Int8
        | Type::Int16
        | Type::Int32
        | Type::Int64
        | Type::UInt8
        | Type::UInt16
        | Type::UInt32
        | Type::UInt64
        | Type::Float32
        | Type::Float64
        | Type::Utf8View
        | Type::BinaryView => true,
        Type::List(inner) | Type::LargeList(inner) => is_readable(&inner.dtype),
        Type::Struct(fields) => fields.iter().all(|field| is_readable(&field.dtype)),
        _ => false,
    }
}

/// Appends an array's values; a missing one is `null`.
pub(super) fn append(array: &dyn Array, texts: &mut Budget, out: &mut Vec<Value>) -> Result<(), String> {
    match array.dtype() {
        Type::Boolean => out.extend(cast::<BooleanArray>(array)?.iter().map(Value::from)),
        Type::Int8 => numbers::<i8>(array, out)?,
        Type::Int16 => numbers::<i16>(array, out)?,
        Type::Int32 => numbers::<i32>(array, out)?,
        Type::Int64 => numbers::<i64>(array, out)?,
        Type::UInt8 => numbers::<u8>(array, out)?,
        Type::UInt16 => numbers::<u16>(array, out)?,
        Type::UInt32 => numbers::<u32>(array, out)?,
        Type::UInt64 => numbers::<u64>(array, out)?,
        Type::Float32 => numbers::<f32>(array, out)?,
        Type::Float64 => numbers::<f64>(array, out)?,
        Type::Utf8View => {
            for text in cast::<Utf8ViewArray>(array)? {
                texts.spend(text.map_or(0, str::len))?;
                out.push(text.into());
            }
        }
        // Old writers do not mark their texts.
        Type::BinaryView => {
            for bytes in cast::<BinaryViewArray>(array)? {
                texts.spend(bytes.map_or(0, <[u8]>::len))?;
                let text = bytes.map(std::str::from_utf8).transpose();
                out.push(text.map_err(|_| "bytes that are no text")?.into());
            }
        }
        Type::List(_) => lists::<i32>(array, texts, out)?,
        Type::LargeList(_) => lists::<i64>(array, texts, out)?,
        Type::Struct(_) => structs(array, texts, out)?,
        other => return Err(format!("values of type {other:?} are not read here")),
    }
    Ok(())
}

fn cast<T: 'static>(array: &dyn Array) -> Result<&T, String> {
    array.as_any().downcast_ref().ok_or_else(|| format!("an array is not of its type {:?}", array.dtype()))
}

fn numbers<T: NativeType + Into<Value>>(array: &dyn Array, out: &mut Vec<Value>) -> Result<(), String> {
    out.extend(cast::<PrimitiveArray<T>>(array)?.iter().map(|v| v.copied().map_or(Value::Null, Into::into)));
    Ok(())
}

fn lists<O: Offset>(array: &dyn Array, texts: &mut Budget, out: &mut Vec<Value>) -> Result<(), String> {
    for list in cast::<ListArray<O>>(array)? {
        out.push(match list {
            None => Value::Null,
            Some(list) => {
                let mut values = Vec::with_capacity(list.len());
                append(list.as_ref(), texts, &mut values)?;
                Value::Array(values)
            }
        });
    }
    Ok(())
}

fn structs(array: &dyn Array, texts: &mut Budget, out: &mut Vec<Value>) -> Result<(), String> {
    let array = cast::<StructArray>(array)?;
    let mut rows = vec![Map::new(); array.len()];
    for (field, values) in array.fields().iter().zip(array.values()) {
        let mut column = Vec::with_capacity(values.len());
        append(values.as_ref(), texts, &mut column)?;
        for (row, value) in rows.iter_mut().zip(column) {
            row.insert(field.name.to_string(), value);
        }
    }
    let valid = |row: usize| array.validity().is_none_or(|bits| bits.get_bit(row));
    out.extend(
        rows.into_iter().enumerate().map(|(i, row)| if valid(i) { Value::Object(row) } else { Value::Null }),
    );
    Ok(())
}

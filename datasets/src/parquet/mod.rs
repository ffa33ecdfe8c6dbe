//! Rows of foreign Parquet files, such as the Hub's: JSON objects, as from JSON Lines.
//!
//! ```text
//!   id: string   choices: struct { text: list<string>, label: list<string> }     label: int64
//!   {"id": "..", "choices": {"text": ["..", ".."], "label": ["A", "B"]},          "label": 1}
//! ```
//!
//! Texts, integers, floats, booleans, lists and structs of them are read; columns of other types (dates, images) are
//! left out: no task reads them.
//!
//! polars' decoders panic, or allocate by what the file says, on some damaged files. So the file's structure is
//! checked first (`structure`), what the checks do not see and panics is contained, and the texts' total length is
//! limited. Only the column chunks' content is taken on trust.

mod definitions;
mod json;
mod structure;
mod thrift;

use std::io::Cursor;
use std::path::Path;

use polars_arrow::datatypes::Field;
use polars_buffer::Buffer;
use polars_parquet::arrow::read::schema::parquet_to_arrow_schema;
use polars_parquet::read::{
    BasicDecompressor, ColumnChunkMetadata, FileMetadata, PageReader, RowGroupMetadata,
    column_iter_to_arrays, read_metadata,
};
use serde_json::{Map, Value};

use crate::contain::contain;
use crate::{Error, limits};

/// Reads all rows of a file.
///
/// # Errors
/// [`Error::Read`]; [`Error::Rows`] for what is no readable Parquet file; [`Error::NoRows`].
pub fn read(path: &Path) -> Result<Vec<Value>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    parse(&path.display().to_string(), bytes)
}

/// Reads all rows of a file's bytes; `file` is the name that error messages use.
///
/// # Errors
/// [`Error::Rows`] for what is no readable Parquet file; [`Error::NoRows`].
pub fn parse(file: &str, bytes: Vec<u8>) -> Result<Vec<Value>, Error> {
    let rows = contain(|| rows(bytes)).map_err(|message| Error::Rows {
        file: file.to_owned(),
        message: format!("not a readable Parquet file: {message}"),
        hint: "fetch it again".into(),
    })?;
    if rows.is_empty() { Err(Error::NoRows { file: file.to_owned() }) } else { Ok(rows) }
}

fn rows(bytes: Vec<u8>) -> Result<Vec<Value>, String> {
    structure::check_footer(structure::footer(&bytes)?)?;
    let bytes = Buffer::from_vec(bytes);
    let metadata = read_metadata(&mut Cursor::new(&bytes[..])).map_err(|e| e.to_string())?;
    let fields = metadata.schema().fields();
    if let Some(twice) = (1..fields.len()).find(|&i| fields[..i].iter().any(|f| f.name() == fields[i].name()))
    {
        return Err(format!("two columns are named '{}'", fields[twice].name()));
    }
    let sizes = check_chunks(&bytes, &metadata)?;
    // The Parquet schema, not the Arrow schema that writers add to the footer: it says less, and all that is needed.
    let schema = parquet_to_arrow_schema(fields);
    let mut texts = json::Budget::new(limits::expanded(bytes.len() as u64));
    let mut rows = Vec::with_capacity(sizes);
    for group in &metadata.row_groups {
        let start = rows.len();
        rows.resize_with(start + group.num_rows(), Map::new);
        for field in schema.iter_values().filter(|field| json::is_readable(&field.dtype)) {
            let values = column(&bytes, group, field, &mut texts)?;
            if values.len() != group.num_rows() {
                return Err(format!(
                    "column '{}' has {} values in {} rows",
                    field.name,
                    values.len(),
                    group.num_rows()
                ));
            }
            for (row, value) in rows[start..].iter_mut().zip(values) {
                row.insert(field.name.to_string(), value);
            }
        }
    }
    Ok(rows.into_iter().map(Value::Object).collect())
}

/// Checks every column chunk; returns the number of rows.
fn check_chunks(bytes: &Buffer<u8>, metadata: &FileMetadata) -> Result<usize, String> {
    let mut sizes = structure::Sizes::default();
    let mut rows = 0_usize;
    for group in &metadata.row_groups {
        rows = rows.saturating_add(group.num_rows());
        for chunk in group.parquet_columns() {
            sizes.add(&chunk_bytes(bytes, chunk)?, chunk.num_values(), bytes.len())?;
        }
    }
    if rows as u64 > limits::values(bytes.len()) {
        return Err(format!("{rows} rows in {} bytes", bytes.len()));
    }
    Ok(rows)
}

fn chunk_bytes(bytes: &Buffer<u8>, chunk: &ColumnChunkMetadata) -> Result<Buffer<u8>, String> {
    let range = chunk.byte_range();
    if range.end > bytes.len() as u64 {
        return Err("a column lies beyond the end of the file".into());
    }
    Ok(bytes.clone().sliced(range.start as usize..range.end as usize))
}

fn column(
    bytes: &Buffer<u8>,
    group: &RowGroupMetadata,
    field: &Field,
    texts: &mut json::Budget,
) -> Result<Vec<Value>, String> {
    let chunks: Vec<_> = group.columns_under_root_iter(&field.name).into_iter().flatten().collect();
    let mut pages = Vec::with_capacity(chunks.len());
    let mut types = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let bytes = chunk_bytes(bytes, chunk)?;
        let longest = bytes.len();
        let reader = PageReader::new(Cursor::new(bytes), chunk, Vec::new(), longest);
        pages.push(BasicDecompressor::new(reader, Vec::new()));
        types.push(&chunk.descriptor().descriptor.primitive_type);
    }
    let (arrays, _) = column_iter_to_arrays(pages, types, field.clone(), None).map_err(|e| e.to_string())?;
    let mut values = Vec::with_capacity(group.num_rows());
    for array in &arrays {
        json::append(array.as_ref(), texts, &mut values)
            .map_err(|message| format!("column '{}': {message}", field.name))?;
    }
    Ok(values)
}

#[cfg(test)]
mod tests;

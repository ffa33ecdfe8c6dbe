//! Tables in Parquet (<https://parquet.apache.org>), written and read through polars.
//!
//! ```text
//!   Table            text     integer  real     flag     ids
//!   Parquet          String   Int64    Float64  Boolean  List(UInt32)
//! ```
//!
//! The bytes depend on the content alone: one thread, fixed compression, no time stamp.

use std::io::Cursor;
use std::path::Path;

use polars::prelude::{
    DataFrame, DataType, IntoColumn, ListBuilderTrait, ListPrimitiveChunkedBuilder, NamedFrom,
    ParallelStrategy, ParquetCompression, ParquetReader, ParquetWriter, PolarsError, SerReader, Series,
    UInt32Type,
};
use sha2::{Digest, Sha256};

use crate::Error;

/// One column; every kind but `Ids` may have missing values.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// UTF-8 text.
    Text(Vec<Option<String>>),
    /// 64-bit integers.
    Integer(Vec<Option<i64>>),
    /// 64-bit floats, stored with all their bits.
    Real(Vec<Option<f64>>),
    /// Booleans.
    Flag(Vec<Option<bool>>),
    /// Lists of token ids.
    Ids(Vec<Vec<u32>>),
}

impl Column {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(v) => v.len(),
            Self::Integer(v) => v.len(),
            Self::Real(v) => v.len(),
            Self::Flag(v) => v.len(),
            Self::Ids(v) => v.len(),
        }
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn to_series(&self, name: &str) -> Series {
        match self {
            Self::Text(v) => Series::new(name.into(), v),
            Self::Integer(v) => Series::new(name.into(), v),
            Self::Real(v) => Series::new(name.into(), v),
            Self::Flag(v) => Series::new(name.into(), v),
            Self::Ids(v) => {
                let total = v.iter().map(Vec::len).sum();
                let mut lists = ListPrimitiveChunkedBuilder::<UInt32Type>::new(
                    name.into(),
                    v.len(),
                    total,
                    DataType::UInt32,
                );
                for ids in v {
                    lists.append_slice(ids);
                }
                lists.finish().into()
            }
        }
    }

    /// `None` for a type that this module never writes.
    fn from_series(series: &Series) -> Result<Option<Self>, PolarsError> {
        Ok(Some(match series.dtype() {
            DataType::String => Self::Text(series.str()?.iter().map(|v| v.map(str::to_owned)).collect()),
            DataType::Int64 => Self::Integer(series.i64()?.iter().collect()),
            DataType::Float64 => Self::Real(series.f64()?.iter().collect()),
            DataType::Boolean => Self::Flag(series.bool()?.iter().collect()),
            DataType::List(inner) if **inner == DataType::UInt32 => {
                let mut lists = Vec::with_capacity(series.len());
                let all = series.list()?;
                for row in 0..all.len() {
                    let ids = match &all.get_as_series(row) {
                        Some(ids) => ids.u32()?.iter().map(Option::unwrap_or_default).collect(),
                        None => Vec::new(),
                    };
                    lists.push(ids);
                }
                Self::Ids(lists)
            }
            _ => return Ok(None),
        }))
    }
}

/// Named columns of equal length.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    columns: Vec<(String, Column)>,
}

impl Table {
    /// A table of these columns, in this order.
    ///
    /// # Panics
    /// When the columns differ in length or a name occurs twice: tables are built by code, not by input.
    pub fn new(columns: Vec<(&str, Column)>) -> Self {
        let columns: Vec<(String, Column)> =
            columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect();
        for (i, (name, column)) in columns.iter().enumerate() {
            assert_eq!(column.len(), columns[0].1.len(), "column '{name}' has another length");
            assert!(columns[..i].iter().all(|(other, _)| other != name), "column '{name}' twice");
        }
        Self { columns }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, column)| column.len())
    }

    /// Names and columns, in their order.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &Column)> {
        self.columns.iter().map(|(name, column)| (name.as_str(), column))
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, column)| column)
    }

    /// The table as a Parquet file. Equal tables give equal bytes.
    ///
    /// # Panics
    /// polars refuses a table of equally long, differently named columns: a bug.
    pub fn to_parquet(&self) -> Vec<u8> {
        let columns = self.columns.iter().map(|(name, c)| c.to_series(name).into_column()).collect();
        let mut bytes = Vec::new();
        let mut frame = DataFrame::new(self.rows(), columns).expect("`new` checked the columns");
        ParquetWriter::new(&mut bytes)
            .with_compression(ParquetCompression::Zstd(None))
            .set_parallel(false)
            .finish(&mut frame)
            .expect("memory takes every byte");
        bytes
    }

    /// Reads a Parquet file that [`Table::to_parquet`] made. `checksum` is its [`sha256`]: polars panics, or
    /// allocates without limit, on some damaged files, so nothing else is parsed.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Checksum`], [`Error::Parquet`] for a column of another type.
    pub fn read_parquet(path: &Path, checksum: &str) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        if sha256(&bytes) != checksum {
            return Err(Error::Checksum { path: path.to_path_buf() });
        }
        let bad = |message: String| Error::Parquet { path: path.to_path_buf(), message };
        let frame = ParquetReader::new(Cursor::new(bytes))
            .read_parallel(ParallelStrategy::None)
            .finish()
            .map_err(|e| bad(format!("not a readable Parquet file: {e}")))?;
        let mut columns = Vec::with_capacity(frame.width());
        for column in frame.columns() {
            let series = column.as_materialized_series().rechunk();
            let name = series.name().to_string();
            let column = Column::from_series(&series).map_err(|e| bad(format!("column '{name}': {e}")))?;
            let Some(column) = column else {
                return Err(bad(format!("column '{name}' has the unexpected type {}", series.dtype())));
            };
            columns.push((name, column));
        }
        Ok(Self { columns })
    }
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes a table and gives its checksum.
    fn write(table: &Table, path: &Path) -> String {
        let bytes = table.to_parquet();
        std::fs::write(path, &bytes).unwrap();
        sha256(&bytes)
    }

    fn sample() -> Table {
        Table::new(vec![
            ("text", Column::Text(vec![Some("α\n\"".into()), None, Some(String::new())])),
            ("integer", Column::Integer(vec![Some(i64::MIN), None, Some(7)])),
            ("real", Column::Real(vec![Some(0.1 + 0.2), Some(-0.0), None])),
            ("flag", Column::Flag(vec![Some(true), None, Some(false)])),
            ("ids", Column::Ids(vec![vec![], vec![1, u32::MAX], vec![]])),
        ])
    }

    #[test]
    fn round_trip_and_equal_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.parquet"), dir.path().join("b.parquet"));
        let checksum = write(&sample(), &a);
        assert_eq!(write(&sample(), &b), checksum);
        assert_eq!(Table::read_parquet(&a, &checksum).unwrap(), sample());
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    }

    #[test]
    fn an_empty_table_round_trips() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty.parquet");
        let table = Table::new(vec![("ids", Column::Ids(vec![])), ("real", Column::Real(vec![]))]);
        let checksum = write(&table, &path);
        assert_eq!(Table::read_parquet(&path, &checksum).unwrap(), table);
    }

    #[test]
    fn what_is_no_parquet_is_an_error_even_with_its_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        for bytes in [&b""[..], b"PAR1", b"no parquet at all"] {
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(Table::read_parquet(&path, &sha256(bytes)), Err(Error::Parquet { .. })));
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_an_error(at in any::<usize>(), byte in any::<u8>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.parquet");
            let checksum = write(&sample(), &path);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            std::fs::write(&path, bytes).unwrap();
            let refused = matches!(Table::read_parquet(&path, &checksum), Err(Error::Checksum { .. }));
            prop_assert!(refused);
        }

        #[test]
        fn every_bit_of_a_real_survives(bits in proptest::collection::vec(any::<u64>(), 1..40)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.parquet");
            let reals: Vec<_> = bits.iter().map(|&b| Some(f64::from_bits(b))).collect();
            let checksum = write(&Table::new(vec![("x", Column::Real(reals))]), &path);
            let table = Table::read_parquet(&path, &checksum).unwrap();
            let Some(Column::Real(back)) = table.column("x").cloned() else {
                panic!("column x is gone");
            };
            let back: Vec<u64> = back.into_iter().map(|v| v.unwrap().to_bits()).collect();
            prop_assert_eq!(back, bits);
        }
    }
}

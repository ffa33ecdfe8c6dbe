//! What is checked of a foreign Parquet file before polars sees it.
//!
//! ```text
//!   PAR1 | pages of the column chunks ... | footer (Thrift) | footer's length | PAR1
//! ```
//!
//! <https://github.com/apache/parquet-format>. Every length is compared with the file's, and every size that a
//! reader would allocate by (lists of the footer, uncompressed pages, numbers of values) with what a file of that
//! length can honestly hold.

use super::definitions::{FILE_METADATA, PAGE_HEADER};
use super::thrift::{I32, LIST, Result, STRUCT, Walker};
use crate::limits;

const MAGIC: &[u8] = b"PAR1";
/// Footers of the Hub's text data have some kilobytes.
const LONGEST_FOOTER: usize = 4 << 20;
/// `choices.text` is a list in a struct: five levels with the list's own.
const DEEPEST_SCHEMA: usize = 16;

/// Encodings whose output is bounded by their input and their number of values: all but `DELTA_BYTE_ARRAY` (7), where
/// every value may repeat the one before.
const ENCODINGS: [i64; 7] = [0, 2, 3, 4, 5, 6, 8];

/// The footer of a file whose frame is right.
pub(super) fn footer(bytes: &[u8]) -> Result<&[u8]> {
    if bytes.len() < 12 || !bytes.starts_with(MAGIC) || !bytes.ends_with(MAGIC) {
        return Err("it does not begin and end with PAR1".into());
    }
    let end = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[end..end + 4].try_into().expect("four bytes")) as usize;
    if length > end - 4 {
        return Err(format!("its footer has {length} bytes, the file only {}", bytes.len()));
    }
    if length > LONGEST_FOOTER {
        return Err(format!("its footer has {length} bytes, more than any table of texts needs"));
    }
    Ok(&bytes[end - length..end])
}

/// Refuses a footer whose lists are longer than itself, whose fields are not of their types, or whose schema is nested
/// too deep.
pub(super) fn check_footer(footer: &[u8]) -> Result<()> {
    Walker::new(footer).conform(STRUCT, &FILE_METADATA)?;
    let mut walker = Walker::new(footer);
    // FileMetaData: 2 schema.
    walker.fields(|walker, kind, id| {
        if (kind, id) != (LIST, 2) {
            return walker.skip(kind);
        }
        let (kind, size) = walker.list()?;
        if kind != STRUCT {
            return Err("its schema is no list of columns".into());
        }
        check_schema(walker, size)
    })
}

/// The tree of columns, in depth-first order, each with its number of children.
fn check_schema(walker: &mut Walker, size: u64) -> Result<()> {
    let mut open: Vec<i64> = Vec::new();
    for _ in 0..size {
        let mut children = 0;
        // SchemaElement: 5 num_children.
        walker.fields(|walker, kind, id| {
            if (kind, id) == (I32, 5) {
                children = walker.integer()?;
                return Ok(());
            }
            walker.skip(kind)
        })?;
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        open.push(children);
        if open.len() > DEEPEST_SCHEMA {
            return Err(format!("its columns are nested deeper than {DEEPEST_SCHEMA}"));
        }
        while open.last().is_some_and(|left| *left <= 0) {
            open.pop();
        }
    }
    Ok(())
}

/// What the column chunks of a file hold, all together.
#[derive(Default)]
pub(super) struct Sizes {
    values: u64,
    uncompressed: u64,
}

impl Sizes {
    /// Walks over the pages of a column chunk of so many values.
    pub(super) fn add(&mut self, chunk: &[u8], values: i64, file: usize) -> Result<()> {
        let values = u64::try_from(values).map_err(|_| format!("a column has {values} values"))?;
        let (mut at, mut seen) = (0, 0);
        while seen < values {
            let page = Page::read(&chunk[at..])?;
            at += page.header;
            if page.compressed > (chunk.len() - at) as u64 {
                return Err("a page is longer than its column".into());
            }
            at += page.compressed as usize;
            // A dictionary's values are counted like others: memory is kept for them, too.
            self.values = self.values.saturating_add(page.values);
            self.uncompressed = self.uncompressed.saturating_add(page.uncompressed);
            if self.values > limits::values(file) {
                return Err(format!("{} values in {file} bytes", self.values));
            }
            if self.uncompressed > limits::expanded(file as u64) {
                return Err(format!("{file} bytes that expand to {}", self.uncompressed));
            }
            if page.is_data {
                seen += page.values;
            }
        }
        Ok(())
    }
}

struct Page {
    header: usize,
    compressed: u64,
    uncompressed: u64,
    values: u64,
    is_data: bool,
}

impl Page {
    fn read(bytes: &[u8]) -> Result<Self> {
        Walker::new(bytes).conform(STRUCT, &PAGE_HEADER)?;
        let mut walker = Walker::new(bytes);
        // PageHeader: 1 type, 2 and 3 sizes; 5, 7, 8 the headers of data, dictionary and data (version 2) pages.
        let mut header = [None; 4];
        let mut inner = [[None; 7]; 9];
        walker.fields(|walker, kind, id| match (kind, id) {
            (I32, 1..=3) => walker.integer().map(|v| header[id as usize] = Some(v)),
            (STRUCT, 5 | 7 | 8) => walker.fields(|walker, kind, field| match (kind, field) {
                (I32, 1..=6) => walker.integer().map(|v| inner[id as usize][field as usize] = Some(v)),
                _ => walker.skip(kind),
            }),
            _ => walker.skip(kind),
        })?;
        // Of the headers of pages: 1 num_values; the encoding is 2, in version 2 it is 4, and 2, 3, 5, 6 are numbers of
        // nulls and rows, and lengths of levels.
        let (is_data, page, encoding) = match header[1] {
            Some(0) => (true, inner[5], 2),
            Some(2) => (false, inner[7], 2),
            Some(3) => (true, inner[8], 4),
            _ => return Err("a page is of an unknown type".into()),
        };
        let size = |value: Option<i64>, what: &str| {
            let value = value.and_then(|v| u64::try_from(v).ok()).filter(|v| i32::try_from(*v).is_ok());
            value.ok_or_else(|| format!("a page has no usable {what}"))
        };
        let values = size(page[1], "number of values")?;
        if encoding == 4 {
            for (field, most) in [(2, values), (3, values), (5, i32::MAX as u64), (6, i32::MAX as u64)] {
                if size(page[field], "numbers of nulls, rows and levels")? > most {
                    return Err("a page has more nulls or rows than values".into());
                }
            }
        }
        match page[encoding] {
            Some(known) if ENCODINGS.contains(&known) => {}
            Some(other) => return Err(format!("a page has the encoding {other}, which is not read here")),
            None => return Err("a page has no encoding".into()),
        }
        Ok(Self {
            header: walker.position(),
            compressed: size(header[3], "size")?,
            uncompressed: size(header[2], "uncompressed size")?,
            values,
            is_data,
        })
    }
}

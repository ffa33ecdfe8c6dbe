//! The structs of a Parquet file's footer and page headers: ids and types of their fields, of parquet.thrift in
//! <https://github.com/apache/parquet-format>.

use super::thrift::Shape::{self, Binary, Flag, I8, I16, I32, I64, List, Struct};

const EMPTY: Shape = Struct(&[]);

/// `Statistics`
const STATISTICS: Shape =
    Struct(&[(1, Binary), (2, Binary), (3, I64), (4, I64), (5, Binary), (6, Binary), (7, Flag), (8, Flag)]);

/// `PageHeader`
pub(super) const PAGE_HEADER: Shape = Struct(&[
    (1, I32),
    (2, I32),
    (3, I32),
    (4, I32),
    // DataPageHeader
    (5, Struct(&[(1, I32), (2, I32), (3, I32), (4, I32), (5, STATISTICS)])),
    (6, EMPTY),
    // DictionaryPageHeader
    (7, Struct(&[(1, I32), (2, I32), (3, Flag)])),
    // DataPageHeaderV2
    (8, Struct(&[(1, I32), (2, I32), (3, I32), (4, I32), (5, I32), (6, I32), (7, Flag), (8, STATISTICS)])),
]);

const TIME_UNIT: Shape = Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);

/// `LogicalType`, of which one is given.
const LOGICAL_TYPE: Shape = Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, I32), (2, I32)])),
    (6, EMPTY),
    (7, Struct(&[(1, Flag), (2, TIME_UNIT)])),
    (8, Struct(&[(1, Flag), (2, TIME_UNIT)])),
    (10, Struct(&[(1, I8), (2, Flag)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, I8)])),
    (17, Struct(&[(1, Binary)])),
    (18, Struct(&[(1, Binary), (2, I32)])),
]);

const SCHEMA_ELEMENT: Shape = Struct(&[
    (1, I32),
    (2, I32),
    (3, I32),
    (4, Binary),
    (5, I32),
    (6, I32),
    (7, I32),
    (8, I32),
    (9, I32),
    (10, LOGICAL_TYPE),
]);

const KEY_VALUE: Shape = Struct(&[(1, Binary), (2, Binary)]);

const COLUMN_METADATA: Shape = Struct(&[
    (1, I32),
    (2, List(&I32)),
    (3, List(&Binary)),
    (4, I32),
    (5, I64),
    (6, I64),
    (7, I64),
    (8, List(&KEY_VALUE)),
    (9, I64),
    (10, I64),
    (11, I64),
    (12, STATISTICS),
    (13, List(&Struct(&[(1, I32), (2, I32), (3, I32)]))),
    (14, I64),
    (15, I32),
    (16, Struct(&[(1, I64), (2, List(&I64)), (3, List(&I64))])),
]);

const COLUMN_CHUNK: Shape = Struct(&[
    (1, Binary),
    (2, I64),
    (3, COLUMN_METADATA),
    (4, I64),
    (5, I32),
    (6, I64),
    (7, I32),
    (8, Struct(&[(1, EMPTY), (2, Struct(&[(1, List(&Binary)), (2, Binary)]))])),
    (9, Binary),
]);

const ROW_GROUP: Shape = Struct(&[
    (1, List(&COLUMN_CHUNK)),
    (2, I64),
    (3, I64),
    (4, List(&Struct(&[(1, I32), (2, Flag), (3, Flag)]))),
    (5, I64),
    (6, I64),
    (7, I16),
]);

const ENCRYPTION: Shape = Struct(&[(1, Binary), (2, Binary), (3, Flag)]);

/// `FileMetaData`, which is the footer.
pub(super) const FILE_METADATA: Shape = Struct(&[
    (1, I32),
    (2, List(&SCHEMA_ELEMENT)),
    (3, I64),
    (4, List(&ROW_GROUP)),
    (5, List(&KEY_VALUE)),
    (6, Binary),
    (7, List(&Struct(&[(1, EMPTY)]))),
    (8, Struct(&[(1, ENCRYPTION), (2, ENCRYPTION)])),
    (9, Binary),
]);

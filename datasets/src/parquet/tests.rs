use proptest::prelude::*;
use serde_json::json;

use super::*;

const ARC: &[u8] = include_bytes!("../../tests/fixtures/arc.parquet");
const TYPES: [&[u8]; 3] = [
    include_bytes!("../../tests/fixtures/types.parquet"),
    include_bytes!("../../tests/fixtures/types-v2.parquet"),
    include_bytes!("../../tests/fixtures/types-plain.parquet"),
];

fn message(bytes: &[u8]) -> String {
    parse("f.parquet", bytes.to_vec()).unwrap_err().to_string()
}

#[test]
fn nested_columns_as_the_hub_has_them() {
    let rows = parse("arc.parquet", ARC.to_vec()).unwrap();
    assert_eq!(rows.len(), 1200);
    insta::assert_snapshot!(rows[0], @r#"{"id":"Q1","question":"Which is wet?","choices":{"text":["water","sand","iron","glass"],"label":["A","B","C","D"]},"answerKey":"A"}"#);
    insta::assert_snapshot!(rows[1198], @r#"{"id":"Q2","question":"Which is häuslich — “domestic”?","choices":{"text":["cat","wolf","😀"],"label":["1","2","3"]},"answerKey":"1"}"#);
    insta::assert_snapshot!(rows[1199], @r#"{"id":"Q3","question":"","choices":{"text":["yes",""],"label":["A","B"]},"answerKey":"B"}"#);
}

#[test]
fn every_type_in_every_version_of_pages() {
    for bytes in TYPES {
        let rows = parse("types.parquet", bytes.to_vec()).unwrap();
        let expected = [
            json!({
                "text": "a", "int8": -1, "int32": 1, "int64": 1, "uint64": 1, "float": 0.5, "double": 0.1, "flag": true,
                "list": ["x", null], "nested": [[1], []], "struct": {"a": 1, "b": ["y"]},
                "list_of_structs": [{"a": "z", "b": 1}], "category": "u",
            }),
            json!({
                "text": null, "int8": null, "int32": null, "int64": null, "uint64": null, "float": null,
                "double": null, "flag": null, "list": null, "nested": null, "struct": null, "list_of_structs": null,
                "category": "v",
            }),
            json!({
                "text": "c", "int8": 127, "int32": i32::MIN, "int64": 1_i64 << 62, "uint64": u64::MAX, "float": null,
                "double": -0.0, "flag": false, "list": [], "nested": [[2, 3]], "struct": {"a": null, "b": null},
                "list_of_structs": [], "category": "u",
            }),
        ];
        assert_eq!(rows, expected);
    }
}

#[test]
fn what_is_no_parquet_is_named() {
    insta::assert_snapshot!(message(b""), @r"
    f.parquet: not a readable Parquet file: it does not begin and end with PAR1
    hint: fetch it again
    ");
    insta::assert_snapshot!(message(b"PAR1PAR1"), @r"
    f.parquet: not a readable Parquet file: it does not begin and end with PAR1
    hint: fetch it again
    ");
    insta::assert_snapshot!(message(&ARC[..ARC.len() - 1]), @r"
    f.parquet: not a readable Parquet file: it does not begin and end with PAR1
    hint: fetch it again
    ");
    let mut long_footer = ARC.to_vec();
    let at = ARC.len() - 6;
    long_footer[at] = 1;
    insta::assert_snapshot!(message(&long_footer), @r"
    f.parquet: not a readable Parquet file: its footer has 67541 bytes, the file only 3460
    hint: fetch it again
    ");
    let mut cut = ARC.to_vec();
    cut.drain(4..1000);
    insta::assert_snapshot!(message(&cut), @r"
    f.parquet: not a readable Parquet file: a page is of an unknown type
    hint: fetch it again
    ");
}

/// A file whose footer is that struct.
fn with_footer(footer: &[u8]) -> Vec<u8> {
    let mut bytes = b"PAR1".to_vec();
    bytes.extend(footer);
    bytes.extend((footer.len() as u32).to_le_bytes());
    bytes.extend(b"PAR1");
    bytes
}

#[test]
fn lies_of_the_footer_are_refused_before_anything_is_allocated() {
    // schema: a list of 2^28 structs in a few bytes.
    insta::assert_snapshot!(message(&with_footer(&[0x29, 0xfc, 0x80, 0x80, 0x80, 0x80, 0x01, 0])), @r"
    f.parquet: not a readable Parquet file: its metadata name a list of 268435456 where 1 bytes are left
    hint: fetch it again
    ");
    // schema: groups of one group each, which a recursive reader would follow until its stack ends.
    let mut deep = vec![0x29, 0xfc, 0xd0, 0x86, 0x03];
    (0..50_000).for_each(|_| deep.extend([0x48, 1, b'a', 0x15, 2, 0]));
    deep.push(0);
    insta::assert_snapshot!(message(&with_footer(&deep)), @r"
    f.parquet: not a readable Parquet file: its columns are nested deeper than 16
    hint: fetch it again
    ");
}

/// A page's header: type, sizes, number of values and encoding.
fn page(kind: u8, uncompressed: u32, compressed: u32, values: u32, encoding: u8) -> Vec<u8> {
    let varint = |value: u32| {
        let mut value = u64::from(value) << 1;
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    };
    let mut out = vec![0x15, kind << 1, 0x15];
    out.extend(varint(uncompressed));
    out.push(0x15);
    out.extend(varint(compressed));
    // DataPageHeader is field 5, DictionaryPageHeader field 7.
    out.extend([if kind == 2 { 0x4c } else { 0x2c }, 0x15]);
    out.extend(varint(values));
    out.extend([0x15, encoding << 1, 0, 0]);
    out
}

#[test]
fn lies_of_pages_are_refused_before_anything_is_allocated() {
    let refused = |chunk: &[u8], values| structure::Sizes::default().add(chunk, values, 1000).unwrap_err();
    assert_eq!(structure::Sizes::default().add(&page(0, 0, 0, 5, 0), 5, 1000), Ok(()));
    insta::assert_snapshot!(refused(&page(0, 100, 100, 5, 0), 5), @"a page is longer than its column");
    insta::assert_snapshot!(refused(&page(0, 1 << 30, 0, 5, 0), 5), @"1000 bytes that expand to 1073741824");
    insta::assert_snapshot!(refused(&page(2, 0, 0, 1 << 30, 0), 5), @"1073741824 values in 1000 bytes");
    insta::assert_snapshot!(refused(&page(0, 0, 0, 1 << 30, 0), 1 << 30), @"1073741824 values in 1000 bytes");
    insta::assert_snapshot!(refused(&page(0, 0, 0, 5, 7), 5), @"a page has the encoding 7, which is not read here");
    insta::assert_snapshot!(refused(&page(1, 0, 0, 5, 0), 5), @"a page is of an unknown type");
    insta::assert_snapshot!(refused(&page(0, 0, 0, 4, 0), 5), @"it ends inside its metadata");
    insta::assert_snapshot!(refused(&[], -1), @"a column has -1 values");
    // Pages without values bring the count no further, but they use up the bytes.
    insta::assert_snapshot!(refused(&page(0, 0, 0, 0, 0).repeat(100), 5), @"it ends inside its metadata");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_give_rows_or_an_error(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = if which == 3 { ARC.to_vec() } else { TYPES[which].to_vec() };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = parse("f.parquet", bytes);
    }

    #[test]
    fn damaged_footers_give_rows_or_an_error(which in 0..3_usize, at in 0..2000_usize, bit in 0..8_u8) {
        let mut bytes = TYPES[which].to_vec();
        let end = bytes.len() - 9;
        bytes[end - at] ^= 1_u8 << bit;
        let _ = parse("f.parquet", bytes);
    }

    #[test]
    fn cut_files_are_errors(which in 0..3_usize, cut in any::<prop::sample::Index>()) {
        let bytes = TYPES[which];
        prop_assert!(parse("f.parquet", bytes[..cut.index(bytes.len())].to_vec()).is_err());
    }

    #[test]
    fn any_bytes_between_the_marks_give_an_error_or_rows(footer in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse("f.parquet", with_footer(&footer));
    }
}

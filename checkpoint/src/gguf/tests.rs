//! Reader and writer against each other, and the reader against hostile bytes.

use std::path::Path;

use proptest::prelude::*;

use super::{Array, Gguf, GgufDataWriter, GgufPlan, MAGIC, TensorInfo, Value, value::encode_string};
use crate::OpenOptions;
use crate::{Error, TensorType};

fn parse(bytes: &[u8]) -> Result<Gguf<'_>, Error> {
    Gguf::parse(Path::new("model.gguf"), bytes)
}

/// A file of these entries and tensors, whose data counts up, and the tensors' data.
fn write(metadata: &[(String, Value<'_>)], tensors: &[TensorInfo]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let plan = GgufPlan::new(metadata, tensors.to_vec()).unwrap();
    let mut file = Vec::new();
    plan.write_header(&mut file).unwrap();
    assert_eq!(file.len() as u64, plan.data_offset());
    let mut writer = GgufDataWriter::new(&plan, file);
    let mut data = Vec::new();
    for tensor in tensors {
        let len = tensor.dtype.byte_len(&tensor.shape).unwrap();
        data.push((0..len).map(|i| i as u8 ^ data.len() as u8).collect::<Vec<_>>());
        writer.write_tensor(&tensor.name, data.last().unwrap()).unwrap();
    }
    let file = writer.finish().unwrap();
    assert_eq!(file.len() as u64, plan.file_len());
    (file, data)
}

fn sample() -> (Vec<(String, Value<'static>)>, Vec<TensorInfo>) {
    let metadata = vec![
        ("general.architecture".to_owned(), "llama".into()),
        ("a.number".to_owned(), Value::U32(7)),
        ("a.list".to_owned(), Value::Array(Array::from_strings(["x", "", "yz"]))),
        ("a.flag".to_owned(), Value::Bool(true)),
    ];
    let tensor =
        |name: &str, dtype, shape: &[usize]| TensorInfo { name: name.into(), dtype, shape: shape.into() };
    let tensors = vec![
        tensor("a", TensorType::F16, &[3, 5]),
        tensor("b", TensorType::Tq1_0, &[2, 512]),
        tensor("c", TensorType::F32, &[1]),
    ];
    (metadata, tensors)
}

/// A header by hand, for what the writer refuses to write.
struct Raw(Vec<u8>);

impl Raw {
    fn new(version: u32, tensors: u64, entries: u64) -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        Self(bytes)
    }

    fn entry(mut self, key: &str, type_id: u32, value: &[u8]) -> Self {
        encode_string(key, &mut self.0);
        self.0.extend(type_id.to_le_bytes());
        self.0.extend(value);
        self
    }

    fn tensor(mut self, name: &str, sizes: &[u64], type_id: u32, offset: u64) -> Self {
        encode_string(name, &mut self.0);
        self.0.extend((sizes.len() as u32).to_le_bytes());
        for size in sizes {
            self.0.extend(size.to_le_bytes());
        }
        self.0.extend(type_id.to_le_bytes());
        self.0.extend(offset.to_le_bytes());
        self
    }

    /// Pads to the data and appends `len` bytes of it.
    fn data(mut self, len: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + len, 0);
        self
    }

    fn error(&self) -> String {
        parse(&self.0).unwrap_err().to_string()
    }
}

#[test]
fn what_is_written_is_read_back() {
    let (metadata, tensors) = sample();
    let (file, data) = write(&metadata, &tensors);
    let gguf = parse(&file).unwrap();
    assert_eq!(gguf.version, 3);
    assert_eq!(gguf.get("a.number"), Some(&Value::U32(7)));
    for ((info, data), entry) in tensors.iter().zip(&data).zip(&gguf.tensors) {
        assert_eq!((entry.name, entry.dtype, &entry.shape), (&info.name[..], Some(info.dtype), &info.shape));
        assert!(entry.offset.is_multiple_of(32));
        assert_eq!(&file[entry.offset as usize..][..data.len()], data);
    }
}

#[test]
fn every_cut_is_an_error() {
    let (metadata, tensors) = sample();
    let (file, data) = write(&metadata, &tensors);
    let last = parse(&file).unwrap().tensors.last().unwrap().offset as usize;
    for len in 0..last + data.last().unwrap().len() {
        assert!(matches!(parse(&file[..len]), Err(Error::Truncated { .. })), "{len}");
    }
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let (metadata, tensors) = sample();
    let twice = |n: usize| [&tensors[..n], &tensors[..n]].concat();
    assert!(GgufPlan::new(&metadata, twice(1)).is_err());
    assert!(GgufPlan::new(&[metadata.clone(), metadata.clone()].concat(), tensors.clone()).is_err());
    let plan = |name: &str, dtype, shape: &[usize]| {
        GgufPlan::new(&[], vec![TensorInfo { name: name.into(), dtype, shape: shape.into() }])
    };
    assert!(plan("a", TensorType::Tq2_0, &[2, 100]).is_err());
    assert!(plan("a", TensorType::F16, &[]).is_err());
    assert!(plan("a", TensorType::F16, &[0, 4]).is_err());
    assert!(plan("a", TensorType::F16, &[1, 1, 1, 1, 1]).is_err());
    assert!(plan(&"a".repeat(64), TensorType::F16, &[1]).is_err());
    assert!(plan(&"a".repeat(63), TensorType::F16, &[1]).is_ok());
}

#[test]
fn the_data_writer_keeps_to_the_plan() {
    let (metadata, tensors) = sample();
    let plan = GgufPlan::new(&metadata, tensors).unwrap();
    let mut writer = GgufDataWriter::new(&plan, Vec::new());
    assert!(writer.write_tensor("b", &[0; 30]).is_err());
    assert!(writer.write_tensor("a", &[0; 29]).is_err());
    assert!(writer.write_tensor("a", &[0; 30]).is_ok());
    assert!(writer.finish().is_err());
}

/// Version 1: lengths, counts and sizes in 32 bits, offsets in 64.
#[test]
fn the_first_version_is_read() {
    let narrow = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
    let mut file = [&MAGIC[..], &words(&[1, 1, 2])].concat();
    file.extend([narrow("general.name"), words(&[8]), narrow("first")].concat());
    file.extend([narrow("tokens"), words(&[9, 8, 3]), narrow("a"), narrow(""), narrow("bc")].concat());
    file.extend([narrow("w"), words(&[2, 3, 2, 0]), vec![0; 8]].concat());
    file.resize(file.len().next_multiple_of(32), 0);
    let data = file.len();
    file.extend([7; 24]);
    let gguf = parse(&file).unwrap();
    assert_eq!((gguf.version, gguf.data_offset), (1, data as u64));
    assert_eq!(gguf.get("general.name"), Some(&Value::String("first".into())));
    let Some(Value::Array(tokens)) = gguf.get("tokens") else { panic!("an array") };
    let expected = ["a", "", "bc"].map(|text| Value::String(text.into()));
    assert_eq!(tokens.iter().collect::<Vec<_>>(), expected);
    assert_eq!(gguf.tensors[0].shape, [2, 3]);
    for len in 0..file.len() {
        assert!(matches!(parse(&file[..len]), Err(Error::Truncated { .. })), "{len}");
    }
}

#[test]
fn rules_of_the_header() {
    assert!(Raw::new(4, 0, 0).error().contains("version 4"));
    assert!(Raw::new(3u32.swap_bytes(), 0, 0).error().contains("big-endian"));
    assert!(Raw::new(3, u64::MAX, 0).error().contains("cut short"));
    assert!(Raw::new(3, 0, 1 << 40).error().contains("cut short"));
    assert!(Raw::new(3, 0, 1).entry("k", 99, &[0; 8]).error().contains("unknown type 99"));
    assert!(Raw::new(3, 0, 1).entry("k", 7, &[2]).error().contains("truth value"));
    let array = |element: u32, len: u64| [&element.to_le_bytes()[..], &len.to_le_bytes(), &[0; 16]].concat();
    assert!(Raw::new(3, 0, 1).entry("k", 9, &array(9, 1)).error().contains("array of arrays"));
    assert!(Raw::new(3, 0, 1).entry("k", 9, &array(4, u64::MAX)).error().contains("cut short"));
    let text = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    assert!(Raw::new(3, 0, 1).entry("k", 8, &text(&[0xff])).error().contains("UTF-8"));
    let twice = Raw::new(3, 0, 2).entry("k", 0, &[1]).entry("k", 0, &[2]);
    assert!(twice.error().contains("the key `k` occurs twice"));
    for alignment in [0u32, 4, 33, 1 << 21] {
        let raw = Raw::new(3, 0, 1).entry("general.alignment", 4, &alignment.to_le_bytes());
        assert!(raw.error().contains("general.alignment"), "{alignment}");
    }
}

#[test]
fn rules_of_the_tensors() {
    let one = |sizes: &[u64], type_id, offset| Raw::new(3, 1, 0).tensor("t", sizes, type_id, offset).data(64);
    assert!(parse(&one(&[16], 0, 0).0).is_ok());
    assert!(one(&[16], 0, 4).error().contains("not a multiple of 32"));
    assert!(one(&[16], 0, 32).error().contains("cut short"));
    assert!(one(&[16], 0, u64::MAX - 31).error().contains("cut short"));
    assert!(one(&[1 << 40, 1 << 40], 0, 0).error().contains("too many"));
    assert!(one(&[0], 0, 0).error().contains("no elements"));
    assert!(one(&[1; 5], 0, 0).error().contains("5 dimensions"));
    assert!(one(&[100], 34, 0).error().contains("does not fit the type TQ1_0"));
    let two = |a: &str, b: &str, offset| {
        Raw::new(3, 2, 0).tensor(a, &[16], 0, 0).tensor(b, &[16], 0, offset).data(128)
    };
    assert!(parse(&two("a", "b", 64).0).is_ok());
    assert!(two("a", "b", 32).error().contains("overlap"));
    assert!(two("a", "a", 64).error().contains("the tensor `a` occurs twice"));
}

#[test]
fn unknown_types_keep_their_number() {
    let raw = Raw::new(2, 1, 0).tensor("t", &[32, 2], 12, 32).data(64);
    let gguf = parse(&raw.0).unwrap();
    assert_eq!((gguf.tensors[0].type_id, gguf.tensors[0].dtype), (12, None));
    assert_eq!(gguf.tensors[0].shape, [2, 32]);
}

#[test]
fn a_number_that_means_something_else_takes_other_bytes() {
    // 512 weights of Q2_0 are 144 bytes, of Q1_0 72, of I2_S 160.
    let file = |type_id, span: u64| {
        let raw = Raw::new(3, 2, 0).tensor("t", &[512], type_id, 0).tensor("u", &[8], 0, span);
        raw.data(span as usize + 32)
    };
    for (type_id, dtype, span) in
        [(42, TensorType::Q2_0, 160), (41, TensorType::Q1_0, 96), (36, TensorType::I2sX86, 160)]
    {
        assert_eq!(parse(&file(type_id, span).0).unwrap().tensors[0].dtype, Some(dtype));
        let error = file(type_id, span + 32).error();
        assert!(error.contains("means something else"), "{error}");
        assert!(parse(&file(type_id, span - 32).0).is_err());
    }
    // Types of one meaning may have gaps behind them.
    assert!(parse(&file(8, 1024).0).is_ok());
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        ".{0,20}".prop_map(|s| Value::String(s.into())),
        prop::collection::vec(".{0,8}", 0..5)
            .prop_map(|v| Value::Array(Array::from_strings(v.iter().map(String::as_str)))),
        prop::collection::vec(any::<u32>(), 0..5).prop_map(|v| Value::Array(Array::from_u32s(&v))),
    ]
}

proptest! {
    #[test]
    fn round_trip(
        values in prop::collection::vec(any_value(), 0..8),
        tensors in prop::collection::vec(
            (prop::sample::select(TensorType::GGUF.to_vec()), prop::collection::vec(1usize..4, 1..=4)), 0..6),
    ) {
        let metadata: Vec<_> = values.into_iter().enumerate().map(|(i, v)| (format!("key.{i}"), v)).collect();
        let tensors: Vec<_> = tensors.into_iter().enumerate().map(|(i, (dtype, mut shape))| {
            if dtype.dense().is_none() {
                *shape.last_mut().unwrap() *= 256;
            }
            TensorInfo { name: format!("tensor.{i}"), dtype, shape }
        }).collect();
        let (file, data) = write(&metadata, &tensors);
        let gguf = parse(&file).unwrap();
        prop_assert_eq!(gguf.metadata.len(), metadata.len());
        for ((key, value), (read_key, read)) in metadata.iter().zip(&gguf.metadata) {
            prop_assert_eq!(key, read_key);
            // As bytes, so that NaNs count as equal.
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            value.encode(&mut expected);
            read.encode(&mut found);
            prop_assert_eq!(value.value_type(), read.value_type());
            prop_assert_eq!(expected, found);
        }
        for (data, entry) in data.iter().zip(&gguf.tensors) {
            prop_assert_eq!(&file[entry.offset as usize..][..data.len()], &data[..]);
        }
    }

    #[test]
    fn mutated_files_never_panic(changes in prop::collection::vec((0usize..2000, any::<u8>()), 1..4)) {
        let (metadata, tensors) = sample();
        let (mut file, _) = write(&metadata, &tensors);
        for (at, byte) in changes {
            let at = at % file.len();
            file[at] = byte;
        }
        if let Ok(gguf) = parse(&file) {
            for tensor in &gguf.tensors {
                prop_assert!(tensor.offset <= file.len() as u64);
            }
            let _ = super::metadata::from_gguf(Path::new("model.gguf"), &gguf, &file, &OpenOptions::default());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
        let mut raw = Raw::new(3, 1, 2);
        raw.0.extend(bytes);
        let _ = parse(&raw.0);
    }
}

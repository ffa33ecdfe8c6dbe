//! Writes safetensors files: headers from a plan, then tensor by tensor.
//!
//! ```text
//! everything fits one file             more than `max_shard_bytes` of data
//! model.safetensors                    model-00001-of-00002.safetensors
//!                                      model-00002-of-00002.safetensors
//!                                      model.safetensors.index.json   which tensor is where
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use b158_kernels::packing::hf::QUARTERS;
use serde_json::{Value, json};

use super::read::{LENGTH_BYTES, MAX_HEADER_BYTES};
use crate::{Error, TensorInfo, TensorType, tensor::Progress};

/// The name of a file without shards.
const SINGLE: &str = "model.safetensors";
/// The name of the shards' index.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Tensor data starts at a multiple of this many bytes from the start of the file.
const DATA_ALIGNMENT: usize = 8;

/// What one file or several hold; the same plan always gives the same bytes.
#[derive(Clone, Debug)]
pub struct SafetensorsPlan {
    shards: Vec<Shard>,
}

#[derive(Clone, Debug)]
struct Shard {
    file: String,
    header: Vec<u8>,
    tensors: Vec<(TensorInfo, u64)>, // with their bytes
}

impl Shard {
    fn data_len(&self) -> u64 {
        self.tensors.iter().map(|(_, len)| len).sum()
    }
}

impl SafetensorsPlan {
    /// Lays out the tensors in the order given: F32, F16, BF16, or transformers' packed weights
    /// ([`TensorType::HfPacked`], with the shape of the matrix that they stand for; in the file they
    /// are U8 `[rows / 4, cols]`).
    ///
    /// A new shard begins where a tensor would take the shard's data beyond `max_shard_bytes`; a
    /// larger tensor has a shard to itself. `None` puts everything into one file.
    ///
    /// # Errors
    /// [`Error::Write`] on duplicate names, other types, shapes that do not fit their type, headers
    /// beyond the format's limit, and an order in which a tensor's data would not be aligned (an odd
    /// number of packed bytes before F16): the format allows no gaps.
    pub fn new(tensors: Vec<TensorInfo>, max_shard_bytes: Option<u64>) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::Write { format: "safetensors", reason });
        let mut names = BTreeSet::new();
        let mut shards: Vec<Vec<(TensorInfo, u64)>> = vec![Vec::new()];
        let mut filled = 0u64;
        for tensor in tensors {
            let TensorInfo { name, dtype, shape } = &tensor;
            if dtype_name(*dtype).is_none() {
                return refuse(format!("it has no type {dtype}, which tensor `{name}` has"));
            }
            // Far below the largest offset, so that sums cannot overflow.
            let Some(len) = dtype.byte_len(shape).filter(|len| (1..1 << 48).contains(len)) else {
                return refuse(format!("tensor `{name}`: the shape {shape:?} does not fit the type {dtype}"));
            };
            if name == "__metadata__" || !names.insert(name.clone()) {
                return refuse(format!("the tensor name `{name}` occurs twice or is reserved"));
            }
            if filled > 0 && max_shard_bytes.is_some_and(|max| filled + len > max) {
                shards.push(Vec::new());
                filled = 0;
            }
            if !filled.is_multiple_of(dtype.alignment() as u64) {
                return refuse(format!(
                    "tensor `{name}` ({dtype}) would start at byte {filled} of the data: put it before packed tensors"
                ));
            }
            filled += len;
            shards.last_mut().expect("there is one").push((tensor, len));
        }
        let count = shards.len();
        let shards = shards.into_iter().enumerate().map(|(i, tensors)| {
            let file = if count == 1 {
                SINGLE.into()
            } else {
                format!("model-{:05}-of-{count:05}.safetensors", i + 1)
            };
            Ok(Shard { file, header: encode_header(&tensors)?, tensors })
        });
        Ok(Self { shards: shards.collect::<Result<_, Error>>()? })
    }

    /// The names of the files with tensors, in order; their index is not among them.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.shards.iter().map(|shard| &shard.file[..])
    }

    /// The length of all files with tensors together, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.header.len() as u64 + shard.data_len()).sum()
    }

    /// The text of `model.safetensors.index.json`, where there is more than one shard.
    pub fn index_json(&self) -> Option<String> {
        if self.shards.len() == 1 {
            return None;
        }
        let of_shard = |shard: &'_ Shard| {
            let file = shard.file.clone();
            shard.tensors.iter().map(|(t, _)| (t.name.clone(), file.clone())).collect::<Vec<_>>()
        };
        let map: BTreeMap<String, String> = self.shards.iter().flat_map(of_shard).collect();
        let total: u64 = self.shards.iter().map(Shard::data_len).sum();
        let index = json!({"metadata": {"total_size": total}, "weight_map": map});
        Some(format!("{index:#}\n"))
    }
}

/// The type's name in the format.
fn dtype_name(dtype: TensorType) -> Option<&'static str> {
    match dtype {
        TensorType::F32 | TensorType::F16 | TensorType::Bf16 | TensorType::HfPacked => Some(dtype.name()),
        _ => None,
    }
}

fn encode_header(tensors: &[(TensorInfo, u64)]) -> Result<Vec<u8>, Error> {
    let mut header = serde_json::Map::new();
    // At most one entry: readers keep them in a table without order.
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut offset = 0;
    for (TensorInfo { name, dtype, shape }, len) in tensors {
        let mut shape = shape.clone();
        if *dtype == TensorType::HfPacked {
            shape[0] /= QUARTERS;
        }
        let entry =
            json!({"dtype": dtype_name(*dtype), "shape": shape, "data_offsets": [offset, offset + len]});
        header.insert(name.clone(), entry);
        offset += len;
    }
    let mut json = Value::Object(header).to_string().into_bytes();
    json.resize((LENGTH_BYTES + json.len()).next_multiple_of(DATA_ALIGNMENT) - LENGTH_BYTES, b' ');
    if json.len() as u64 > MAX_HEADER_BYTES {
        let reason = format!("the header has {} bytes; at most {MAX_HEADER_BYTES} are allowed", json.len());
        return Err(Error::Write { format: "safetensors", reason });
    }
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.append(&mut json);
    Ok(out)
}

/// Writes the tensors of a plan in its order, each into the file that the plan has for it.
pub struct SafetensorsWriter<'p, W, F> {
    plan: &'p SafetensorsPlan,
    open: F,
    shard: usize,
    file: Option<W>,
    progress: Progress<'p>,
}

impl<'p, W: Write, F: FnMut(&str) -> io::Result<W>> SafetensorsWriter<'p, W, F> {
    /// Begins with the first file; `open` begins the file of a name, here and whenever the next tensor
    /// is in another one.
    ///
    /// # Errors
    /// What `open` and writing the header return.
    pub fn new(plan: &'p SafetensorsPlan, open: F) -> io::Result<Self> {
        let progress = Progress::new(&plan.shards[0].tensors);
        let mut writer = Self { plan, open, shard: 0, file: None, progress };
        writer.begin()?;
        Ok(writer)
    }

    fn begin(&mut self) -> io::Result<()> {
        let shard = &self.plan.shards[self.shard];
        let mut file = (self.open)(&shard.file)?;
        file.write_all(&shard.header)?;
        (self.file, self.progress) = (Some(file), Progress::new(&shard.tensors));
        Ok(())
    }

    /// Writes the next tensor.
    ///
    /// # Errors
    /// Of kind `InvalidInput` if the plan has another tensor here, or one of another length; else
    /// what opening and writing return.
    pub fn write_tensor(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.next_shard()?;
        self.progress.check_whole(name, bytes.len())?;
        self.write_part(name, bytes)
    }

    /// Writes the next bytes of the next tensor, which is finished when all its bytes are written.
    ///
    /// # Errors
    /// As [`SafetensorsWriter::write_tensor`].
    pub fn write_part(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.next_shard()?;
        self.progress.advance(name, bytes.len())?;
        self.file.as_mut().expect("a file is open until the end").write_all(bytes)
    }

    /// Ends this shard where all its tensors are written and there is another one.
    fn next_shard(&mut self) -> io::Result<()> {
        if self.progress.is_complete() && self.shard + 1 < self.plan.shards.len() {
            if let Some(mut file) = self.file.take() {
                file.flush()?;
            }
            self.shard += 1;
            self.begin()?;
        }
        Ok(())
    }

    /// Ends the last file and, after shards, writes their index.
    ///
    /// # Errors
    /// Of kind `InvalidInput` if tensors are missing; else what opening, writing and flushing return.
    pub fn finish(mut self) -> io::Result<()> {
        self.next_shard()?;
        self.progress.check_complete()?;
        if let Some(mut file) = self.file.take() {
            file.flush()?;
        }
        if let Some(index) = self.plan.index_json() {
            let mut file = (self.open)(INDEX)?;
            file.write_all(index.as_bytes())?;
            file.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, path::Path, rc::Rc};

    use proptest::prelude::*;

    use super::*;
    use crate::safetensors::parse;

    type Files = Rc<RefCell<BTreeMap<String, Vec<u8>>>>;

    /// A file in memory.
    struct Memory(Files, String);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().get_mut(&self.1).unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn info(name: &str, dtype: TensorType, shape: &[usize]) -> TensorInfo {
        TensorInfo { name: name.into(), dtype, shape: shape.into() }
    }

    fn data(i: usize, tensor: &TensorInfo) -> Vec<u8> {
        (0..tensor.dtype.byte_len(&tensor.shape).unwrap()).map(|b| (b as usize + i) as u8).collect()
    }

    fn write(plan: &SafetensorsPlan, tensors: &[TensorInfo]) -> BTreeMap<String, Vec<u8>> {
        let files = Files::default();
        let open = |name: &str| {
            files.borrow_mut().insert(name.into(), Vec::new());
            Ok(Memory(Rc::clone(&files), name.into()))
        };
        let mut writer = SafetensorsWriter::new(plan, open).unwrap();
        for (i, tensor) in tensors.iter().enumerate() {
            let bytes = data(i, tensor);
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            if i % 2 == 0 {
                writer.write_tensor(&tensor.name, &bytes).unwrap();
            } else {
                writer.write_part(&tensor.name, first).unwrap();
                writer.write_part(&tensor.name, rest).unwrap();
            }
        }
        writer.finish().unwrap();
        files.take()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            shapes in prop::collection::vec((0usize..4, 1usize..5, 1usize..4), 0..12),
            max in prop::option::of(1u64..200),
        ) {
            let dtypes = [TensorType::F32, TensorType::F16, TensorType::Bf16, TensorType::HfPacked];
            let mut shapes = shapes;
            // In this order every tensor is aligned.
            shapes.sort_by_key(|&(dtype, ..)| dtype);
            let tensors: Vec<_> = shapes.into_iter().enumerate()
                .map(|(i, (dtype, rows, cols))| info(&format!("t.\"{i}\u{e9}"), dtypes[dtype], &[4 * rows, cols]))
                .collect();
            let plan = SafetensorsPlan::new(tensors.clone(), max).unwrap();
            let files = write(&plan, &tensors);
            let shards: Vec<_> = plan.files().collect();
            prop_assert_eq!(files.len(), shards.len() + usize::from(shards.len() > 1));
            let total: usize = shards.iter().map(|&f| files[f].len()).sum();
            prop_assert_eq!(total as u64, plan.total_bytes());
            let index: Option<Value> = files.get(INDEX).map(|text| serde_json::from_slice(text).unwrap());
            let mut found = 0;
            for &file in &shards {
                let bytes = &files[file];
                prop_assert!((u64::from_le_bytes(bytes[..8].try_into().unwrap()) + 8).is_multiple_of(8));
                // The reference implementation reads it too.
                let reference = ::safetensors::SafeTensors::deserialize(bytes).unwrap();
                for (name, entry) in parse(Path::new(file), bytes).unwrap() {
                    let i = tensors.iter().position(|t| t.name == name).unwrap();
                    let expected = data(i, &tensors[i]);
                    prop_assert_eq!(&bytes[entry.offset as usize..][..expected.len()], &expected[..]);
                    prop_assert_eq!(reference.tensor(&name).unwrap().data(), &expected[..]);
                    prop_assert_eq!(&entry.dtype, tensors[i].dtype.name());
                    if let Some(index) = &index {
                        prop_assert_eq!(&index["weight_map"][&name], file);
                    }
                    found += 1;
                }
                if let Some(max) = max {
                    let data: u64 = plan.shards.iter().find(|s| s.file == file).unwrap().data_len();
                    prop_assert!(data <= max || reference.len() == 1);
                }
            }
            prop_assert_eq!(found, tensors.len());
        }
    }

    #[test]
    fn the_plan_refuses_what_would_break_the_format() {
        let plan = |tensors: &[TensorInfo]| SafetensorsPlan::new(tensors.into(), None);
        let a = info("a", TensorType::F16, &[2]);
        assert!(plan(&[]).is_ok());
        assert!(plan(&[a.clone(), a.clone()]).is_err());
        assert!(plan(&[info("__metadata__", TensorType::F16, &[2])]).is_err());
        assert!(plan(&[info("a", TensorType::Tq2_0, &[2, 256])]).is_err());
        assert!(plan(&[info("a", TensorType::HfPacked, &[3, 2])]).is_err());
        assert!(plan(&[info("a", TensorType::F16, &[0])]).is_err());
        let odd = info("odd", TensorType::HfPacked, &[4, 3]);
        assert!(plan(&[odd.clone(), a.clone()]).is_err());
        assert!(plan(&[a, odd]).is_ok());
    }

    #[test]
    fn the_writer_keeps_to_the_plan() {
        let tensors = vec![info("a", TensorType::F16, &[2]), info("b", TensorType::F16, &[2])];
        for max in [None, Some(4)] {
            let plan = SafetensorsPlan::new(tensors.clone(), max).unwrap();
            let begin = || SafetensorsWriter::new(&plan, |_: &str| Ok(Vec::new())).unwrap();
            assert!(begin().write_tensor("b", &[0; 4]).is_err());
            assert!(begin().write_tensor("a", &[0; 3]).is_err());
            assert!(begin().write_part("a", &[0; 5]).is_err());
            let mut writer = begin();
            writer.write_tensor("a", &[0; 4]).unwrap();
            writer.write_part("b", &[0; 3]).unwrap();
            assert!(writer.finish().is_err());
        }
    }
}

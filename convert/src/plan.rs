//! What the output will hold, decided before a byte is written.

use std::{fmt, str::FromStr};

use b158_checkpoint::{
    Checkpoint, Tensor, TensorId, TensorType,
    gguf::{
        GgufPlan, TensorInfo,
        metadata::{self, Description},
    },
};
use b158_kernels::{Isa, packing::TernaryFormat};

use crate::{Error, source_digest};

/// The packed format of the linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// GGUF type 34: five trits a byte, 1.6875 bits a weight.
    Tq1_0,
    /// GGUF type 35: four codes a byte, 2.0625 bits a weight.
    Tq2_0,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Tq1_0, Self::Tq2_0];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tq1_0 => "tq1_0",
            Self::Tq2_0 => "tq2_0",
        }
    }

    pub(crate) fn packing(self) -> TernaryFormat {
        match self {
            Self::Tq1_0 => TernaryFormat::Tq1_0,
            Self::Tq2_0 => TernaryFormat::Tq2_0,
        }
    }

    fn tensor_type(self) -> TensorType {
        match self {
            Self::Tq1_0 => TensorType::Tq1_0,
            Self::Tq2_0 => TensorType::Tq2_0,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|f| f.name() == s).ok_or_else(|| Error::Unknown {
            what: "format",
            given: s.to_owned(),
            valid: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// How full-precision weights become ternary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// arXiv 2402.17764, equations 1 to 3: the tensor's mean absolute value is the scale.
    Absmean,
}

impl Scheme {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absmean => "absmean",
        }
    }
}

impl FromStr for Scheme {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        if s == Self::Absmean.name() {
            return Ok(Self::Absmean);
        }
        Err(Error::Unknown { what: "scheme", given: s.to_owned(), valid: Self::Absmean.name().to_owned() })
    }
}

/// What to convert to.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The packed format of the linear layers.
    pub format: Format,
    /// How full-precision weights become ternary.
    pub scheme: Scheme,
    /// The instruction set of the kernels.
    pub isa: Isa,
}

/// One tensor of the output, in order.
pub(crate) enum Step {
    /// A linear layer: packed codes, then its scale as a tensor of its own, so that no scale is rounded
    /// to a block's f16.
    Ternary(TensorId),
    /// A norm, in f32 as every GGUF reader expects it.
    Vector(TensorId),
    /// Embedding or head, as it is.
    Copy(TensorId),
}

pub(crate) fn steps(checkpoint: &Checkpoint) -> Vec<Step> {
    let step = |id: TensorId| match id {
        _ if id.is_linear() => Step::Ternary(id),
        TensorId::TokenEmbedding | TensorId::OutputHead => Step::Copy(id),
        _ => Step::Vector(id),
    };
    checkpoint.tensor_ids().into_iter().map(step).collect()
}

/// Decides names, types and sizes of every output tensor.
pub(crate) fn plan(checkpoint: &Checkpoint, options: &Options) -> Result<(Vec<Step>, GgufPlan), Error> {
    let steps = steps(checkpoint);
    let mut tensors = Vec::new();
    for step in &steps {
        let (Step::Ternary(id) | Step::Vector(id) | Step::Copy(id)) = *step;
        let source = checkpoint.tensor(id)?;
        let dtype = match step {
            Step::Ternary(_) => {
                check_linear(&source, options.format)?;
                options.format.tensor_type()
            }
            Step::Vector(_) => TensorType::F32,
            Step::Copy(_) => source.dtype,
        };
        tensors.push(TensorInfo { name: id.gguf_name(), dtype, shape: source.shape.clone() });
        if let Step::Ternary(_) = step {
            tensors.push(TensorInfo { name: id.gguf_scale_name(), dtype: TensorType::F32, shape: vec![1] });
        }
    }
    let metadata = describe(checkpoint, options)?;
    Ok((steps, GgufPlan::new(&metadata, tensors)?))
}

fn describe(checkpoint: &Checkpoint, options: &Options) -> Result<metadata::Metadata, Error> {
    let is_dense = |id: &TensorId| checkpoint.tensor(*id).is_ok_and(|t| t.dtype.dense().is_some());
    let ternarizes = checkpoint.tensor_ids().iter().filter(|id| id.is_linear()).any(is_dense);
    let provenance = [
        ("b158.version", env!("CARGO_PKG_VERSION").to_owned()),
        // Packed codes are copied.
        ("b158.scheme", if ternarizes { options.scheme.name() } else { "none" }.to_owned()),
        ("b158.source.sha256", source_digest::sha256(checkpoint.files())?),
    ];
    let name = checkpoint.path().file_stem().map_or("model".into(), |name| name.to_string_lossy());
    Ok(metadata::to_gguf(
        checkpoint.config(),
        Description {
            name: &name,
            linears: options.format.tensor_type(),
            tokenizer: checkpoint.tokenizer_metadata()?.metadata,
            provenance: provenance.map(|(key, value)| (key.to_owned(), value.as_str().into())).into(),
        },
    ))
}

fn check_linear(source: &Tensor, format: Format) -> Result<(), Error> {
    let (cols, block) = (source.shape[1], format.packing().block());
    if cols % block != 0 {
        return Err(Error::RowLength {
            file: source.file().to_owned(),
            tensor: source.name.clone(),
            cols,
            format: format.name(),
            block,
        });
    }
    Ok(())
}

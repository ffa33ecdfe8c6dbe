//! What a conversion can produce, and the names of it on the command line.

use std::{fmt, path::Path, str::FromStr};

use b158_checkpoint::{Activation, Checkpoint, Interleave, ScaleConvention, TensorType};
use b158_kernels::{
    Isa,
    packing::{TernaryFormat, hf},
};

use crate::Error;

/// How the linear layers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// GGUF, blocks of ternary codes.
    Blocks(TernaryFormat),
    /// safetensors as transformers' `bitnet` quantization reads it: four codes a byte.
    HuggingFace,
    /// GGUF or safetensors, IEEE 754 binary16.
    F16,
    /// GGUF or safetensors, the upper half of a binary32.
    Bf16,
    /// GGUF or safetensors, IEEE 754 binary32.
    F32,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 10] = [
        Self::Blocks(TernaryFormat::Tq1_0),
        Self::Blocks(TernaryFormat::Tq2_0),
        Self::Blocks(TernaryFormat::Q2_0),
        Self::Blocks(TernaryFormat::Q1_0),
        Self::Blocks(TernaryFormat::I2sX86),
        Self::Blocks(TernaryFormat::I2sArm),
        Self::HuggingFace,
        Self::F16,
        Self::Bf16,
        Self::F32,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocks(TernaryFormat::Tq1_0) => "tq1_0",
            Self::Blocks(TernaryFormat::Tq2_0) => "tq2_0",
            Self::Blocks(TernaryFormat::Q2_0) => "q2_0",
            Self::Blocks(TernaryFormat::Q1_0) => "q1_0",
            Self::Blocks(TernaryFormat::I2sX86) => "i2_s",
            Self::Blocks(TernaryFormat::I2sArm) => "i2_s-arm",
            Self::HuggingFace => "hf",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }

    /// Whether it stores codes; the others store the codes' values, or a master's weights as they are.
    pub fn is_packed(self) -> bool {
        matches!(self, Self::Blocks(_) | Self::HuggingFace)
    }

    /// The linear layers' type in the file.
    pub(crate) fn tensor_type(self) -> TensorType {
        match self {
            Self::Blocks(format) => TensorType::from(format),
            Self::HuggingFace => TensorType::HfPacked,
            Self::F16 => TensorType::F16,
            Self::Bf16 => TensorType::Bf16,
            Self::F32 => TensorType::F32,
        }
    }

    /// Whether it holds a linear layer of that shape.
    pub(crate) fn fits(self, rows: usize, cols: usize) -> bool {
        match self {
            Self::Blocks(blocks) => blocks.row_bytes(cols).is_some(),
            // The packed bytes are followed by a scale, which must start at a multiple of 4.
            Self::HuggingFace => {
                rows.is_multiple_of(hf::QUARTERS) && (rows / hf::QUARTERS * cols).is_multiple_of(4)
            }
            Self::F16 | Self::Bf16 | Self::F32 => true,
        }
    }

    /// The formats that hold every linear layer of the checkpoint; `q1_0` only takes binary ones.
    pub fn that_fit(checkpoint: &Checkpoint) -> Vec<Self> {
        let ids = checkpoint.tensor_ids().into_iter().filter(|id| id.is_linear());
        let shapes: Vec<_> = ids.filter_map(|id| checkpoint.tensor(id).ok()).map(|t| t.shape).collect();
        let fits = |format: &Self| shapes.iter().all(|shape| format.fits(shape[0], shape[1]));
        Self::ALL.into_iter().filter(fits).collect()
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
        by_name("format", s, &Self::ALL, Self::name)
    }
}

/// How full-precision weights become ternary. Packed codes stay as they are, and so do weights that are
/// ternary already (0 and one magnitude), whatever the scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// arXiv 2402.17764, equations 1 to 3: the tensor's mean absolute value is the scale.
    Absmean,
    /// BitNet b1.58 Reloaded (arXiv 2407.09527): the median absolute value is the scale.
    Absmedian,
    /// BitNet (arXiv 2310.11453), equations 1 to 3: the sign of the weights less their mean, -1 for a
    /// weight that equals the mean; the scale is the mean absolute value.
    Binary,
    /// They do not: only packed weights, and weights that are ternary already, have codes.
    None,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::Absmean, Self::Absmedian, Self::Binary, Self::None];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absmean => "absmean",
            Self::Absmedian => "absmedian",
            Self::Binary => "binary",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scheme {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        by_name("scheme", s, &Self::ALL, Self::name)
    }
}

/// How embeddings and output head are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadType(pub(crate) TensorType);

impl HeadType {
    /// Every type.
    pub const ALL: [Self; 5] = [
        Self(TensorType::F32),
        Self(TensorType::F16),
        Self(TensorType::Bf16),
        Self(TensorType::Q8_0),
        Self(TensorType::Q6K),
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self.0 {
            TensorType::F32 => "f32",
            TensorType::F16 => "f16",
            TensorType::Bf16 => "bf16",
            TensorType::Q8_0 => "q8_0",
            _ => "q6_k",
        }
    }
}

impl fmt::Display for HeadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HeadType {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        by_name("head type", s, &Self::ALL, Self::name)
    }
}

/// Where GGUF's block formats keep the scale of a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scales {
    /// In an f32 tensor of its own, exactly; block scales are 1.
    #[default]
    Tensor,
    /// In every block, rounded to f16, for readers that know no scale tensors.
    Blocks,
}

impl Scales {
    const ALL: [Self; 2] = [Self::Tensor, Self::Blocks];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Blocks => "blocks",
        }
    }
}

impl fmt::Display for Scales {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scales {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        by_name("place of scales", s, &Self::ALL, Self::name)
    }
}

/// transformers' `linear_class`, which says how a packed checkpoint's scales are meant: `autobitlinear`
/// (the product is multiplied by them) or `bitlinear` (it is divided).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearClass(pub(crate) ScaleConvention);

impl Default for LinearClass {
    /// `autobitlinear`, which holds every scale exactly.
    fn default() -> Self {
        Self(ScaleConvention::Multiply)
    }
}

impl LinearClass {
    const ALL: [Self; 2] = [Self(ScaleConvention::Multiply), Self(ScaleConvention::Divide)];

    /// The name on the command line and in config.json.
    pub fn name(self) -> &'static str {
        match self.0 {
            ScaleConvention::Multiply => "autobitlinear",
            ScaleConvention::Divide => "bitlinear",
        }
    }
}

impl fmt::Display for LinearClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LinearClass {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        by_name("linear class", s, &Self::ALL, Self::name)
    }
}

/// The order of I2_S codes with that name, `x86` or `arm`.
///
/// # Errors
/// [`Error::Unknown`] for another name.
pub fn interleave(name: &str) -> Result<Interleave, Error> {
    let name_of = |order| match order {
        Interleave::X86 => "x86",
        Interleave::Arm => "arm",
    };
    by_name("order of I2_S", name, &[Interleave::X86, Interleave::Arm], name_of)
}

/// The activation with that name, `silu` or `relu2`.
///
/// # Errors
/// [`Error::Unknown`] for another name.
pub fn activation(name: &str) -> Result<Activation, Error> {
    by_name("activation", name, &[Activation::Silu, Activation::Relu2], Activation::name)
}

fn by_name<T: Copy>(
    what: &'static str,
    given: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, Error> {
    all.iter().copied().find(|&t| name(t).eq_ignore_ascii_case(given)).ok_or_else(|| Error::Unknown {
        what,
        given: given.to_owned(),
        valid: all.iter().map(|&t| name(t)).collect::<Vec<_>>().join(", "),
    })
}

/// What to convert to.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How the linear layers are stored.
    pub format: Format,
    /// How full-precision weights become ternary; `None` stands for absmean in packed formats, and for
    /// no change in `f16`, `bf16` and `f32`.
    pub scheme: Option<Scheme>,
    /// How embeddings and head are stored; `None` stands for the linear layers' type where that is full
    /// precision, else for the source's.
    pub head: Option<HeadType>,
    /// Where block formats keep a tensor's scale.
    pub scales: Scales,
    /// How the scales of `hf` are meant.
    pub linear_class: LinearClass,
    /// Whether to read the output back, before it gets its name, and to prove it against the source.
    pub verify: bool,
    /// The instruction set of the kernels.
    pub isa: Isa,
}

impl Options {
    /// The defaults of a format.
    pub fn new(format: Format, isa: Isa) -> Self {
        let (scales, linear_class) = (Scales::default(), LinearClass::default());
        Self { format, scheme: None, head: None, scales, linear_class, verify: false, isa }
    }

    /// The scheme in force.
    pub fn scheme(&self) -> Scheme {
        let default = if self.format.is_packed() { Scheme::Absmean } else { Scheme::None };
        self.scheme.unwrap_or(default)
    }

    /// The container of an output of that name.
    ///
    /// # Errors
    /// The format cannot be in a container of that name.
    pub(crate) fn container(&self, output: &Path) -> Result<Container, Error> {
        let has = |extension| output.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension));
        let refuse = |hint| Err(Error::Name { file: output.to_owned(), format: self.format.name(), hint });
        match (self.format, has("gguf")) {
            (Format::Blocks(_), false) => refuse("it is written as a GGUF file: end the name in .gguf"),
            (Format::HuggingFace, true) => {
                refuse("it is written as a Hugging Face folder: give a name without .gguf")
            }
            (_, true) => Ok(Container::Gguf),
            _ if has("safetensors") => {
                refuse("it is written as a Hugging Face folder: give the folder's name")
            }
            (_, false) => Ok(Container::HuggingFace),
        }
    }
}

/// The two kinds of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// One file.
    Gguf,
    /// A folder with config.json and safetensors.
    HuggingFace,
}

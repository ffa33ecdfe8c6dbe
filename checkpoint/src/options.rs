//! What a caller may say about a file that does not say it itself.

use crate::Activation;

/// The order of the codes in tensors of type I2_S.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interleave {
    /// As bitnet.cpp's x86 kernels read them: 128 codes over 32 bytes.
    #[default]
    X86,
    /// As its ARM kernels read them: 64 codes over 16 bytes.
    Arm,
}

/// How to open a checkpoint. What the file says itself counts first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The order of I2_S codes, which only our own files state.
    pub i2_s: Interleave,
    /// The feed-forward network's activation of a GGUF file of architecture `bitnet`: llama.cpp writes no
    /// key for it. Without this, files that may be of 2B4T are refused, and others have SiLU.
    pub activation: Option<Activation>,
}

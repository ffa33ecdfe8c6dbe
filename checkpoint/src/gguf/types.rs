//! Numbers of tensor types, some of which mean different things to different programs.
//!
//! ```text
//! number   ggml (llama.cpp)   bitnet.cpp   ik_llama.cpp      bytes of n weights
//!     36   (withdrawn)        I2_S         I2_S              n / 4 + 32
//!     37   (withdrawn)        I8_S
//!     38   (withdrawn)        TL1
//!     39   MXFP4              TL2          MXFP4             n / 32 * 17 (MXFP4)
//!     40   NVFP4
//!     41   Q1_0                            the same          n / 128 * 18
//!     42   Q2_0                                              n / 64 * 18
//!  134-5                                   IQ1_BN, IQ2_BN
//! ```
//!
//! `general.file_type` has such pairs, too (40 is Q1_0 in llama.cpp and I2_S in bitnet.cpp), but no
//! program acts on it: the type of each tensor decides, and the bytes up to the next tensor must be as
//! many as that type needs.

/// What the number stands for in files of others, for messages; `bytes` is what the tensor takes in
/// the file and `elements` how many there are.
pub(super) fn foreign_name(type_id: u32, elements: u64, bytes: u64) -> &'static str {
    match type_id {
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        37 => "I8_S of bitnet.cpp",
        38 => "TL1 of bitnet.cpp",
        // Padding is less than a block of this many weights would take.
        39 if bytes.abs_diff(elements / 32 * 17) < 32 => "MXFP4",
        39 => "TL2 of bitnet.cpp",
        40 => "NVFP4",
        134 => "IQ1_BN of ik_llama.cpp",
        135 => "IQ2_BN of ik_llama.cpp",
        _ => "unknown",
    }
}

/// Whether the number means different things to different programs.
pub(super) fn is_ambiguous(type_id: u32) -> bool {
    (36..=42).contains(&type_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorType;

    #[test]
    fn no_type_that_is_read_has_a_foreign_name() {
        for dtype in TensorType::GGUF {
            assert_eq!(foreign_name(dtype.gguf_id().unwrap(), 0, 0), "unknown", "{dtype}");
        }
    }

    #[test]
    fn the_byte_span_tells_mxfp4_from_tl2() {
        assert_eq!(foreign_name(39, 256 * 64, 256 * 64 / 32 * 17), "MXFP4");
        assert_eq!(foreign_name(39, 256 * 96, 256 * 96 * 5 / 24 + 32), "TL2 of bitnet.cpp");
    }
}

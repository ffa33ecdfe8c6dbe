//! Ternary codes as files hold them. In GGUF: blocks of 256 codes along a row, with an f16 scale.
//! In transformers' checkpoints: [`hf`].
//!
//! A weight is `scale * code`; a stored trit is `code + 1`, so 0, 1 or 2. The layouts are those of
//! llama.cpp's `block_tq1_0` and `block_tq2_0` (`ggml-common.h`, `ggml-quants.c`).

pub mod hf;
pub mod tq1_0;
pub mod tq2_0;

use half::f16;

/// The ternary block types of GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TernaryFormat {
    /// GGUF type 34: five trits a byte, 1.6875 bits a weight.
    Tq1_0,
    /// GGUF type 35: four trits a byte, 2.0625 bits a weight.
    Tq2_0,
}

/// Packed bytes that no packer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "block {block}, byte {byte} ({value:#04x}) is not made of trits\nhint: the tensor is damaged or of another type"
)]
pub struct InvalidTrit {
    /// The block, counted from the start of the bytes given.
    pub block: usize,
    /// The byte within the block.
    pub byte: usize,
    /// What it holds.
    pub value: u8,
}

impl TernaryFormat {
    /// Codes of a block.
    pub fn block(self) -> usize {
        match self {
            Self::Tq1_0 => tq1_0::BLOCK,
            Self::Tq2_0 => tq2_0::BLOCK,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Tq1_0 => tq1_0::BLOCK_BYTES,
            Self::Tq2_0 => tq2_0::BLOCK_BYTES,
        }
    }

    /// Bytes of a row of `cols` codes; None if that is no whole number of blocks.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        // Fewer bytes than codes: no overflow.
        cols.is_multiple_of(self.block()).then(|| cols / self.block() * self.block_bytes())
    }

    /// Packs whole blocks of codes -1, 0 and 1, all with the scale `d`.
    ///
    /// # Panics
    /// `codes` is no whole number of blocks, or `out` does not have their size.
    pub fn pack(self, codes: &[i8], d: f16, out: &mut [u8]) {
        match self {
            Self::Tq1_0 => tq1_0::pack(codes, d, out),
            Self::Tq2_0 => tq2_0::pack(codes, d, out),
        }
    }

    /// Unpacks whole blocks into their codes and one scale per block.
    ///
    /// # Errors
    /// The first byte that is not made of trits.
    ///
    /// # Panics
    /// `bytes` is no whole number of blocks, or an output does not have their size.
    pub fn unpack(self, bytes: &[u8], codes: &mut [i8], scales: &mut [f16]) -> Result<(), InvalidTrit> {
        match self {
            Self::Tq1_0 => tq1_0::unpack(bytes, codes, scales),
            Self::Tq2_0 => tq2_0::unpack(bytes, codes, scales),
        }
    }
}

/// The blocks of equal number in packed bytes and codes.
fn check_lengths(codes: usize, bytes: usize, block: usize, block_bytes: usize) {
    assert!(codes.is_multiple_of(block), "{codes} codes are no whole number of blocks of {block}");
    assert_eq!(bytes, codes / block * block_bytes, "packed bytes");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    /// What value a block gives to weight `i`, from the description of the format alone.
    fn reference_code(format: TernaryFormat, block: &[u8], i: usize) -> i8 {
        let trit = match format {
            TernaryFormat::Tq2_0 => (block[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32))) & 3,
            TernaryFormat::Tq1_0 => {
                let (byte, digit) = match i {
                    0..160 => (i % 32, i / 32),
                    160..240 => (32 + (i - 160) % 16, (i - 160) / 16),
                    _ => (48 + (i - 240) % 4, (i - 240) / 4),
                };
                // The stored byte is ceil(q * 256 / 243): find q, then take its base-3 digit.
                let q = (0..243u32).find(|q| (q * 256).div_ceil(243) == u32::from(block[byte])).unwrap();
                (q / 3u32.pow(4 - digit as u32) % 3) as u8
            }
        };
        trit as i8 - 1
    }

    const FORMATS: [TernaryFormat; 2] = [TernaryFormat::Tq1_0, TernaryFormat::Tq2_0];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn round_trip(blocks in 1..4usize, d: u16, seed: u64) {
            let codes = Random::new(seed).codes(blocks * 256);
            let d = f16::from_bits(d);
            for format in FORMATS {
                let mut bytes = vec![0; format.row_bytes(codes.len()).unwrap()];
                format.pack(&codes, d, &mut bytes);
                for (i, &code) in codes.iter().enumerate() {
                    let block = &bytes[i / 256 * format.block_bytes()..][..format.block_bytes()];
                    prop_assert_eq!(reference_code(format, block, i % 256), code, "{:?} {}", format, i);
                    prop_assert_eq!(&block[format.block_bytes() - 2..], &d.to_le_bytes());
                }
                let (mut found, mut scales) = (vec![9; codes.len()], vec![f16::ZERO; blocks]);
                format.unpack(&bytes, &mut found, &mut scales).unwrap();
                prop_assert_eq!(&found, &codes);
                prop_assert!(scales.iter().all(|s| s.to_bits() == d.to_bits()));
            }
        }

        #[test]
        fn any_bytes_are_codes_or_an_error(seed: u64) {
            let mut random = Random::new(seed);
            for format in FORMATS {
                let bytes: Vec<u8> = (0..format.block_bytes()).map(|_| random.bits() as u8).collect();
                let (mut codes, mut scales) = ([0; 256], [f16::ZERO]);
                if format.unpack(&bytes, &mut codes, &mut scales).is_ok() {
                    let mut again = vec![0; bytes.len()];
                    format.pack(&codes, scales[0], &mut again);
                    prop_assert_eq!(again, bytes, "what is read can be written again");
                }
            }
        }
    }

    #[test]
    fn every_invalid_byte_is_named() {
        for format in FORMATS {
            let mut valid = vec![0; 2 * format.block_bytes()];
            format.pack(&[0; 512], f16::ONE, &mut valid);
            for byte in 0..format.block_bytes() - 2 {
                for value in 0..=u8::MAX {
                    let mut bytes = valid.clone();
                    bytes[format.block_bytes() + byte] = value;
                    let made_of_trits = match format {
                        TernaryFormat::Tq2_0 => (0..4).all(|i| value >> (2 * i) & 3 < 3),
                        // The last four bytes hold four trits and a zero.
                        TernaryFormat::Tq1_0 => (0..243u32)
                            .filter(|q| byte < 48 || q % 3 == 0)
                            .any(|q| (q * 256).div_ceil(243) == u32::from(value)),
                    };
                    let result = format.unpack(&bytes, &mut [0; 512], &mut [f16::ZERO; 2]);
                    let expected =
                        if made_of_trits { Ok(()) } else { Err(InvalidTrit { block: 1, byte, value }) };
                    assert_eq!(result, expected, "{format:?}");
                }
            }
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(TernaryFormat::Tq1_0.row_bytes(2560), Some(540));
        assert_eq!(TernaryFormat::Tq2_0.row_bytes(2560), Some(660));
        assert_eq!(TernaryFormat::Tq2_0.row_bytes(8640), None);
        assert_eq!(TernaryFormat::Tq2_0.row_bytes(usize::MAX - 255), Some((usize::MAX / 256) * 66));
        let message = InvalidTrit { block: 3, byte: 7, value: 255 }.to_string();
        assert_eq!(
            message,
            "block 3, byte 7 (0xff) is not made of trits\nhint: the tensor is damaged or of another type"
        );
    }
}

use proptest::prelude::*;

use super::*;
use crate::testing::Random;

/// What code a block gives to weight `i`, from the description of the format alone.
fn reference_code(format: TernaryFormat, block: &[u8], i: usize) -> i8 {
    let field = |byte: u8, at: usize| (byte >> (2 * at) & 3) as i8 - 1;
    match format {
        TernaryFormat::Tq1_0 => {
            let (byte, digit) = match i {
                0..160 => (i % 32, i / 32),
                160..240 => (32 + (i - 160) % 16, (i - 160) / 16),
                _ => (48 + (i - 240) % 4, (i - 240) / 4),
            };
            // The stored byte is ceil(q * 256 / 243): find q, then take its base-3 digit.
            let q = (0..243u32).find(|q| (q * 256).div_ceil(243) == u32::from(block[byte])).unwrap();
            (q / 3u32.pow(4 - digit as u32) % 3) as i8 - 1
        }
        TernaryFormat::Tq2_0 => field(block[i / 128 * 32 + i % 32], i % 128 / 32),
        TernaryFormat::Q2_0 => field(block[2 + i / 4], i % 4),
        TernaryFormat::Q1_0 => 2 * (block[2 + i / 8] >> (i % 8) & 1) as i8 - 1,
        TernaryFormat::I2sX86 => field(block[i % 32], 3 - i / 32),
        TernaryFormat::I2sArm => field(block[i % 16], 3 - i / 16),
    }
}

/// Where a block holds its scale.
fn scale_at(format: TernaryFormat) -> Option<usize> {
    match format {
        TernaryFormat::Tq1_0 => Some(52),
        TernaryFormat::Tq2_0 => Some(64),
        TernaryFormat::Q2_0 | TernaryFormat::Q1_0 => Some(0),
        TernaryFormat::I2sX86 | TernaryFormat::I2sArm => None,
    }
}

/// Codes that the format can hold.
fn codes(format: TernaryFormat, n: usize, random: &mut Random) -> Vec<i8> {
    let mut codes = random.codes(n);
    if !format.holds_zero() {
        for code in &mut codes {
            *code |= 1;
        }
    }
    codes
}

fn no_scales(format: TernaryFormat, blocks: usize) -> Vec<f16> {
    vec![f16::ZERO; if format.block_scales() { blocks } else { 0 }]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn round_trip(blocks in 1..4usize, d: u16, seed: u64) {
        let d = f16::from_bits(d);
        for format in TernaryFormat::ALL {
            let (block, size) = (format.block(), format.block_bytes());
            let codes = codes(format, blocks * block, &mut Random::new(seed));
            let mut bytes = vec![0xee; format.row_bytes(codes.len()).unwrap()];
            format.pack(&codes, d, &mut bytes);
            for (i, &code) in codes.iter().enumerate() {
                let bytes = &bytes[i / block * size..][..size];
                prop_assert_eq!(reference_code(format, bytes, i % block), code, "{:?} {}", format, i);
                if let Some(at) = scale_at(format) {
                    prop_assert_eq!(&bytes[at..at + 2], &d.to_le_bytes());
                }
            }
            let (mut found, mut scales) = (vec![9; codes.len()], no_scales(format, blocks));
            format.unpack(&bytes, &mut found, &mut scales).unwrap();
            prop_assert_eq!(&found, &codes);
            prop_assert!(scales.iter().all(|s| s.to_bits() == d.to_bits()));
        }
    }

    #[test]
    fn any_bytes_are_codes_or_an_error(seed: u64) {
        let mut random = Random::new(seed);
        for format in TernaryFormat::ALL {
            let bytes: Vec<u8> = (0..format.block_bytes()).map(|_| random.bits() as u8).collect();
            let (mut codes, mut scales) = (vec![0; format.block()], no_scales(format, 1));
            if format.unpack(&bytes, &mut codes, &mut scales).is_ok() {
                let mut again = vec![0; bytes.len()];
                format.pack(&codes, scales.first().copied().unwrap_or_default(), &mut again);
                prop_assert_eq!(again, bytes, "what is read can be written again");
            }
        }
    }
}

#[test]
fn every_invalid_byte_is_named() {
    for format in TernaryFormat::ALL {
        let (block, size) = (format.block(), format.block_bytes());
        let mut valid = vec![0; 2 * size];
        format.pack(&vec![-1; 2 * block], f16::ONE, &mut valid);
        let is_scale = |byte| scale_at(format).is_some_and(|at| (at..at + 2).contains(&byte));
        for byte in (0..size).filter(|&byte| !is_scale(byte)) {
            for value in 0..=u8::MAX {
                let mut bytes = valid.clone();
                bytes[size + byte] = value;
                let made_of_trits = match format {
                    TernaryFormat::Q1_0 => true,
                    // The last four bytes hold four trits and a zero.
                    TernaryFormat::Tq1_0 => (0..243u32)
                        .filter(|q| byte < 48 || q % 3 == 0)
                        .any(|q| (q * 256).div_ceil(243) == u32::from(value)),
                    _ => (0..4).all(|i| value >> (2 * i) & 3 < 3),
                };
                let result = format.unpack(&bytes, &mut vec![0; 2 * block], &mut no_scales(format, 2));
                let expected =
                    if made_of_trits { Ok(()) } else { Err(InvalidTrit { block: 1, byte, value }) };
                assert_eq!(result, expected, "{format:?}");
            }
        }
    }
}

#[test]
fn sizes() {
    let bytes = |cols| TernaryFormat::ALL.map(|format| format.row_bytes(cols));
    assert_eq!(bytes(2560), [Some(540), Some(660), Some(720), Some(360), Some(640), Some(640)]);
    assert_eq!(bytes(8640), [None, None, Some(2430), None, None, Some(2160)]);
    assert_eq!(bytes(5460), [None; 6]);
    assert_eq!(TernaryFormat::Tq2_0.row_bytes(usize::MAX - 255), Some((usize::MAX / 256) * 66));
    let message = InvalidTrit { block: 3, byte: 7, value: 255 }.to_string();
    assert_eq!(
        message,
        "block 3, byte 7 (0xff) is not made of trits\nhint: the tensor is damaged or of another type"
    );
}

#[test]
#[should_panic(expected = "Q1_0 holds no zero")]
fn a_zero_does_not_become_a_sign() {
    let mut codes = [1; 128];
    codes[77] = 0;
    TernaryFormat::Q1_0.pack(&codes, f16::ONE, &mut [0; 18]);
}

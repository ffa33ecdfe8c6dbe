//! Packed weights of every format: any bytes are codes or an error, and numbers for block formats.
#![no_main]

use b158_kernels::packing::{BlockFormat, TernaryFormat, hf};
use half::f16;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for format in TernaryFormat::ALL {
        let blocks = data.len() / format.block_bytes();
        let bytes = &data[..blocks * format.block_bytes()];
        let mut codes = vec![0; blocks * format.block()];
        let mut scales = vec![f16::ZERO; if format.block_scales() { blocks } else { 0 }];
        if format.unpack(bytes, &mut codes, &mut scales).is_ok() {
            assert!(codes.iter().all(|code| (-1..=1).contains(code)));
        }
    }
    for format in BlockFormat::ALL {
        let blocks = data.len() / format.block_bytes();
        let mut values = vec![0.0; blocks * format.block()];
        format.dequantize(&data[..blocks * format.block_bytes()], &mut values);
    }
    if !data.is_empty() {
        let mut codes = vec![0; hf::QUARTERS * data.len()];
        if hf::unpack(data, data.len(), &mut codes).is_ok() {
            assert!(codes.iter().all(|code| (-1..=1).contains(code)));
        }
    }
});

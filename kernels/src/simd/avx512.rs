//! AVX-512: one register of sixteen lanes.

use super::Avx2;

/// Proof that the CPU has AVX-512 F, BW, VL and DQ, and AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512 {
    avx2: Avx2,
    vbmi: bool,
}

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        let vbmi = is_x86_feature_detected!("avx512vbmi");
        Avx2::detect().filter(|_| has).map(|avx2| Self { avx2, vbmi })
    }
    pub(crate) fn avx2(self) -> Avx2 {
        self.avx2
    }
    pub(crate) fn vbmi(self) -> bool {
        self.vbmi
    }
}

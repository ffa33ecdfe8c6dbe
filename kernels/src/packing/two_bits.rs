//! Four two-bit trits a byte, at the distance of a run: what TQ2_0, I2_S and transformers do.

/// Where the four fields of a byte are, the first one at the low end.
pub(super) const LOW_FIRST: [u32; 4] = [0, 2, 4, 6];
/// The same with the first one at the high end.
pub(super) const HIGH_FIRST: [u32; 4] = [6, 4, 2, 0];

/// Whether one of the four fields is 3: there both of its bits are set.
#[inline(always)]
pub(super) fn has_three(byte: u8) -> bool {
    threes(byte) != 0
}

/// Not 0 where a field is 3.
#[inline(always)]
pub(super) fn threes(byte: u8) -> u8 {
    byte & byte >> 1 & 0x55
}

/// What is stored for a code.
#[inline(always)]
pub(super) fn trit(code: i8) -> u8 {
    code.wrapping_add(1) as u8
}

/// Packs four runs of `bytes.len()` codes: byte `p` holds code `p` of each run.
#[inline(always)]
pub(super) fn pack_runs(runs: [&[i8]; 4], shifts: [u32; 4], bytes: &mut [u8]) {
    let [a, b, c, d] = runs.map(|run| &run[..bytes.len()]);
    for (p, byte) in bytes.iter_mut().enumerate() {
        *byte = trit(a[p]) << shifts[0]
            | trit(b[p]) << shifts[1]
            | trit(c[p]) << shifts[2]
            | trit(d[p]) << shifts[3];
    }
}

/// Unpacks one of the four runs.
#[inline(always)]
pub(super) fn unpack_run(bytes: &[u8], shift: u32, run: &mut [i8]) {
    for (code, byte) in run.iter_mut().zip(bytes) {
        *code = (byte >> shift & 3) as i8 - 1;
    }
}

/// [`pack_runs`] where the four runs follow each other.
#[inline(always)]
pub(super) fn pack_four<const RUN: usize>(codes: &[i8], shifts: [u32; 4], bytes: &mut [u8; RUN]) {
    // Words of eight bytes: a loop over 16 single bytes is unrolled by LLVM and then not vectorized. The
    // shifts stay inside their bytes.
    let runs: &[[i8; RUN]] = codes.as_chunks().0;
    let mut packed = [0; RUN];
    for (word, packed) in packed.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let fields = |i: usize| {
            let run: &[i8; 8] = &runs[i].as_chunks().0[word];
            u64::from_le_bytes(run.map(trit)) << shifts[i]
        };
        *packed = (fields(0) | fields(1) | fields(2) | fields(3)).to_le_bytes();
    }
    *bytes = packed;
}

/// Unpacks four runs that follow each other. False if a field is 3.
#[inline(always)]
pub(super) fn unpack_four<const RUN: usize>(bytes: &[u8; RUN], shifts: [u32; 4], codes: &mut [i8]) -> bool {
    let bytes = *bytes;
    for (run, shift) in codes.as_chunks_mut::<RUN>().0.iter_mut().zip(shifts) {
        for p in 0..RUN {
            run[p] = (bytes[p] >> shift & 3) as i8 - 1;
        }
    }
    bytes.iter().fold(0, |seen, &byte| seen | threes(byte)) == 0
}

//! A linear layer of the source as ternary codes, row by row, and one scale.
//!
//! ```text
//!   packed                  its codes and scale as they are
//!   0 and one magnitude     the signs, and the magnitude as the scale
//!   0 only                  zeros, and a scale that nobody needs
//!   anything else           codes by the scheme
//! ```
//!
//! A scale is positive here: a negative one becomes its magnitude, with the codes turned round.

use std::ops::Add;

use b158_checkpoint::{Checkpoint, Tensor, TensorId, TensorType};
use b158_kernels::{
    Isa,
    dense::{DenseSlice, Weights},
    packing::{TernaryFormat, hf},
    ternarize,
};
use half::f16;
use rayon::prelude::*;

use crate::{Error, Format, Scheme};

/// Codes of a linear layer `[rows, cols]`, in the source's row order.
pub(crate) struct Ternary<'t> {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// A weight is about `scale * code`; finite and positive.
    pub(crate) scale: f32,
    /// Whether the scheme made the codes; the others were there.
    pub(crate) ternarized: bool,
    tensor: &'t Tensor,
    codes: Codes<'t>,
    /// Whether the stored codes are of a negative scale.
    negated: bool,
    isa: Isa,
}

enum Codes<'t> {
    /// Made of the weights as they are asked for.
    Rounded(DenseSlice<'t>),
    Blocks(TernaryFormat),
    /// Made at once.
    Made(Vec<i8>),
    /// All 0.
    Zeros,
}

/// Squared Frobenius norms of the weights and of what codes and scale leave of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss {
    pub(crate) error: f64,
    pub(crate) norm: f64,
}

impl Loss {
    /// The error relative to the weights; `None` if nothing was measured.
    pub(crate) fn relative(&self) -> Option<f64> {
        (self.norm > 0.0).then(|| (self.error / self.norm).sqrt())
    }
}

impl Add for Loss {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { error: self.error + other.error, norm: self.norm + other.norm }
    }
}

/// Whether a linear layer holds weights that have no codes yet. A master's first tensor tells.
pub(crate) fn has_masters(checkpoint: &Checkpoint) -> Result<bool, Error> {
    for id in checkpoint.tensor_ids().into_iter().filter(|id| id.is_linear()) {
        let tensor = checkpoint.tensor(id)?;
        if !tensor.dtype.is_full_precision() {
            continue;
        }
        let ternary = Ternary::read(checkpoint, id, &tensor, Scheme::None, Isa::best())?.is_some();
        tensor.release();
        if !ternary {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Weights that are looked at together.
const CHUNK: usize = 1 << 16;

/// Buffers for unpacking rows; one for each thread.
#[derive(Default)]
pub(crate) struct Scratch {
    codes: Vec<i8>,
    scales: Vec<f16>,
}

impl<'t> Ternary<'t> {
    /// The codes of a linear layer, or `None` if it has none under the scheme `none`.
    pub(crate) fn read(
        checkpoint: &Checkpoint,
        id: TensorId,
        tensor: &'t Tensor,
        scheme: Scheme,
        isa: Isa,
    ) -> Result<Option<Self>, Error> {
        let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
        let mut ternary = Self {
            rows,
            cols,
            scale: 1.0,
            ternarized: false,
            tensor,
            codes: Codes::Zeros,
            negated: false,
            isa,
        };
        if let Some(format) = tensor.dtype.ternary() {
            // A file with a scale tensor has block scales of 1, so the product is exact.
            if let Some(scale) = ternary.block_scale(format)? {
                ternary.codes = Codes::Blocks(format);
                ternary.scale = scale * checkpoint.scale(id)?.unwrap_or(1.0);
            }
        } else if tensor.dtype == TensorType::HfPacked {
            let mut codes = vec![0; rows * cols];
            hf::unpack(tensor.bytes(), cols, &mut codes).map_err(|e| ternary.damaged(&e.to_string()))?;
            ternary.codes = Codes::Made(codes);
            ternary.scale = checkpoint.scale(id)?.unwrap_or(1.0);
        } else {
            return ternary.round(scheme);
        }
        if !ternary.scale.is_finite() {
            return Err(ternary.damaged("its scale is not finite\nhint: the tensor is damaged"));
        }
        if ternary.scale == 0.0 {
            (ternary.codes, ternary.scale) = (Codes::Zeros, 1.0);
        }
        (ternary.negated, ternary.scale) = (ternary.scale < 0.0, ternary.scale.abs());
        Ok(Some(ternary))
    }

    fn round(mut self, scheme: Scheme) -> Result<Option<Self>, Error> {
        let wide: Vec<f32>;
        let (weights, mapped) = match self.tensor.weights()? {
            Weights::Plain(weights) => (weights, Some(weights)),
            blocks @ Weights::Blocks { .. } => {
                wide = widen(&blocks);
                (DenseSlice::F32(&wide), None)
            }
        };
        let non_finite = |e: ternarize::NonFinite| non_finite(self.tensor, e.index);
        if let Some(magnitude) = ternarize::magnitude(weights) {
            self.scale = magnitude;
        } else if is_zero(weights) {
            return Ok(Some(self));
        } else {
            self.ternarized = true;
            match scheme {
                Scheme::Absmean => self.scale = ternarize::absmean(self.isa, weights).map_err(non_finite)?,
                Scheme::Absmedian => {
                    self.scale = ternarize::absmedian(self.isa, weights).map_err(non_finite)?;
                }
                Scheme::Binary => {
                    let mut codes = vec![0; weights.len()];
                    self.scale = ternarize::binary(self.isa, weights, &mut codes).map_err(non_finite)?;
                    self.codes = Codes::Made(codes);
                    return Ok(Some(self));
                }
                Scheme::None => return Ok(None),
            }
        }
        self.codes = if let Some(weights) = mapped {
            Codes::Rounded(weights)
        } else {
            let mut codes = vec![0; weights.len()];
            ternarize::ternarize(self.isa, weights, self.scale, &mut codes);
            Codes::Made(codes)
        };
        Ok(Some(self))
    }

    /// The codes of one row.
    pub(crate) fn row(&self, row: usize, out: &mut [i8], scratch: &mut Scratch) -> Result<(), Error> {
        match &self.codes {
            Codes::Rounded(weights) => {
                let range = row * self.cols..(row + 1) * self.cols;
                ternarize::ternarize(self.isa, weights.range(range), self.scale, out);
            }
            Codes::Made(codes) => out.copy_from_slice(&codes[row * self.cols..][..self.cols]),
            Codes::Blocks(format) => self.unpack(*format, row, out, scratch)?,
            Codes::Zeros => out.fill(0),
        }
        if self.negated {
            for code in out {
                *code = -*code;
            }
        }
        Ok(())
    }

    /// Unpacks a row into codes and, where the format has them, the scales of its blocks.
    fn unpack(
        &self,
        format: TernaryFormat,
        row: usize,
        codes: &mut [i8],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let row_bytes = format.row_bytes(self.cols).expect("opening the checkpoint checked the shape");
        let bytes = &self.tensor.bytes()[row * row_bytes..][..row_bytes];
        scratch.scales.resize(if format.block_scales() { self.cols / format.block() } else { 0 }, f16::ZERO);
        format.unpack(bytes, codes, &mut scratch.scales).map_err(|e| self.damaged(&format!("row {row}: {e}")))
    }

    /// What the scheme lost; nothing of codes that were there.
    pub(crate) fn loss(&self) -> Result<Loss, Error> {
        if !self.ternarized {
            return Ok(Loss::default());
        }
        if let Codes::Rounded(weights) = &self.codes {
            let fit = ternarize::fit(self.isa, *weights, self.scale);
            let norm = fit.squared_norm;
            return Ok(Loss { error: fit.relative_error.powi(2) * norm, norm });
        }
        let weights = self.tensor.weights()?;
        let of_row = |row: usize, (codes, wide, scratch): &mut (Vec<i8>, Vec<f32>, Scratch)| {
            self.row(row, codes, scratch)?;
            weights.rows(row..row + 1, self.cols).to_f32(wide);
            let mut loss = Loss::default();
            for (&code, &w) in codes.iter().zip(wide.iter()) {
                let difference = f64::from(w) - f64::from(code) * f64::from(self.scale);
                loss.error += difference * difference;
                loss.norm += f64::from(w) * f64::from(w);
            }
            Ok(loss)
        };
        let rows: Vec<Loss> = (0..self.rows)
            .into_par_iter()
            .map_init(
                || (vec![0; self.cols], vec![0.0; self.cols], Scratch::default()),
                |buffers, row| of_row(row, buffers),
            )
            .collect::<Result<_, Error>>()?;
        // In the order of rows, so that the sum does not depend on threads.
        Ok(rows.into_iter().fold(Loss::default(), Add::add))
    }

    /// The one scale of all blocks that hold a nonzero code, None if there is no such block; 1 for a format
    /// without block scales.
    fn block_scale(&self, format: TernaryFormat) -> Result<Option<f32>, Error> {
        if !format.block_scales() {
            return Ok(Some(1.0));
        }
        // (row, block, scale) of the first block of each row that differs from those before it.
        let scan = |row: usize, scratch: &mut Scratch| -> Result<Option<(usize, f16)>, Error> {
            let mut codes = std::mem::take(&mut scratch.codes);
            codes.resize(self.cols, 0);
            self.unpack(format, row, &mut codes, scratch)?;
            let mut first: Option<(usize, f16)> = None;
            for (block, (&scale, codes)) in
                scratch.scales.iter().zip(codes.chunks_exact(format.block())).enumerate()
            {
                if !scale.is_finite() {
                    return Err(self.damaged(&format!(
                        "row {row}, block {block}: the scale {scale} is not finite\nhint: the tensor is damaged"
                    )));
                }
                if codes.iter().all(|&code| code == 0) {
                    continue;
                }
                let (_, other) = *first.get_or_insert((block, scale));
                if other.to_bits() != scale.to_bits() {
                    return Err(self.two_scales(row, block, scale, other));
                }
            }
            scratch.codes = codes;
            Ok(first)
        };
        let firsts: Vec<Option<(usize, f16)>> = (0..self.rows)
            .into_par_iter()
            .map_init(Scratch::default, |s, row| scan(row, s))
            .collect::<Result<_, _>>()?;
        let mut found: Option<f16> = None;
        for (row, first) in firsts.into_iter().enumerate() {
            let Some((block, scale)) = first else { continue };
            let other = *found.get_or_insert(scale);
            if other.to_bits() != scale.to_bits() {
                return Err(self.two_scales(row, block, scale, other));
            }
        }
        Ok(found.map(f16::to_f32))
    }

    fn two_scales(&self, row: usize, block: usize, scale: f16, other: f16) -> Error {
        self.damaged(&format!(
            "row {row}, block {block}: the scale {scale} differs from the {other} of earlier blocks\nhint: its weights do not share one scale; convert the full-precision checkpoint"
        ))
    }

    /// The error of a format that has no zeros.
    pub(crate) fn has_zeros(&self, format: TernaryFormat) -> Error {
        let (file, tensor) = (self.tensor.file().to_owned(), self.tensor.name.clone());
        Error::HasZeros { file, tensor, format: Format::Blocks(format).name() }
    }

    fn damaged(&self, reason: &str) -> Error {
        let (file, tensor) = (self.tensor.file().to_owned(), self.tensor.name.clone());
        Error::Packed { file, tensor, reason: reason.to_owned() }
    }
}

fn is_zero(weights: DenseSlice) -> bool {
    let wide = |chunk: usize| {
        let range = chunk * CHUNK..weights.len().min((chunk + 1) * CHUNK);
        let mut wide = vec![0.0; range.len()];
        weights.range(range).to_f32(&mut wide);
        wide.into_iter().all(|w| w == 0.0)
    };
    (0..weights.len().div_ceil(CHUNK)).into_par_iter().all(wide)
}

/// All weights in f32.
fn widen(weights: &Weights) -> Vec<f32> {
    let mut wide = vec![0.0; weights.len()];
    weights.to_f32(&mut wide);
    wide
}

pub(crate) fn non_finite(tensor: &Tensor, index: usize) -> Error {
    Error::NonFinite { file: tensor.file().to_owned(), tensor: tensor.name.clone(), index }
}

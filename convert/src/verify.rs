//! Proof that a written checkpoint holds exactly the codes and scales of its source.

use std::path::Path;

use b158_checkpoint::{Checkpoint, Tensor, gguf::metadata, rope_permutation};
use b158_kernels::rope::RopePairs;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Options, Scheme,
    format::Container,
    plan::{self, Content, Step},
    rows::Rows,
    scale::Place,
    ternary::{Scratch, Ternary},
};

/// What was compared, all of it equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Tensors compared.
    pub tensors: u64,
    /// Ternary codes compared.
    pub codes: u64,
    /// Scales compared, bit for bit, after the rounding that their place forces.
    pub scales: u64,
    /// Full-precision values compared, bit for bit, after the rounding of their type.
    pub values: u64,
}

/// Opens `output` as any reader would and compares it with the source, converted anew.
///
/// # Errors
/// The first difference, by tensor and position, or a file that cannot be read.
pub fn verify(checkpoint: &Checkpoint, output: &Path, options: &Options) -> Result<Verified, Error> {
    verify_written(checkpoint, &Checkpoint::open(output)?, output, options)
}

/// The same for an output that does not have its name yet.
pub(crate) fn verify_written(
    checkpoint: &Checkpoint,
    written: &Checkpoint,
    output: &Path,
    options: &Options,
) -> Result<Verified, Error> {
    let container = options.container(output)?;
    let proof = Proof { checkpoint, written, output, options };
    proof.config(container)?;
    let mut verified = Verified::default();
    for step in plan::steps(checkpoint, container, options)? {
        proof.step(&step, &mut verified)?;
        verified.tensors += 1;
    }
    Ok(verified)
}

struct Proof<'a> {
    checkpoint: &'a Checkpoint,
    written: &'a Checkpoint,
    output: &'a Path,
    options: &'a Options,
}

impl Proof<'_> {
    /// The model's shape, constants and tokenizer.
    fn config(&self, container: Container) -> Result<(), Error> {
        let mut expected = self.checkpoint.config().clone();
        expected.ternary_linears |= self.options.format.is_packed();
        expected.rope_pairs = match container {
            Container::Gguf => metadata::rope_pairs(&expected),
            Container::HuggingFace => RopePairs::HalfSplit,
        };
        let differs = |tensor: &str, difference| {
            let (file, tensor) = (self.output.to_owned(), tensor.to_owned());
            Err(Error::Verification { file, tensor, difference })
        };
        let found = self.written.config();
        if *found != expected {
            return differs("config", format!("{found:?}, not {expected:?}"));
        }
        let tokenizer = |checkpoint: &Checkpoint| match checkpoint.tokenizer_json() {
            Err(b158_checkpoint::Error::NoTokenizer { .. }) => Ok(None),
            json => json.map(Some),
        };
        if tokenizer(self.written)? != tokenizer(self.checkpoint)? {
            return differs("tokenizer", "it is not the source's".to_owned());
        }
        Ok(())
    }

    fn step(&self, step: &Step, verified: &mut Verified) -> Result<(), Error> {
        let differs = |difference| Error::Verification {
            file: self.output.to_owned(),
            tensor: step.name.clone(),
            difference,
        };
        let (source, found) = (self.checkpoint.tensor(step.id)?, self.written.tensor(step.id)?);
        // By what the file itself says about its rows.
        let order = rope_permutation(self.checkpoint.config(), step.id, self.written.config().rope_pairs);
        let (Content::Weights(dtype) | Content::Linear { dtype, .. }) = step.content;
        let count: u64 = step.shape.iter().product::<usize>() as u64;
        if found.dtype != dtype {
            return Err(differs(format!("its type is {}, not {dtype}", found.dtype)));
        }
        let isa = self.options.isa;
        let expected = match step.content {
            Content::Linear { .. } => {
                Ternary::read(self.checkpoint, step.id, &source, self.options.scheme(), isa)?
            }
            Content::Weights(_) => None,
        };
        if let Some(expected) = expected {
            let held = Place::of(self.options).held(expected.scale);
            let zeros = self.codes(step, &expected, held, &found, order.as_deref()).map_err(|e| match e {
                Difference::Value(difference) => differs(difference),
                Difference::Error(error) => error,
            })?;
            verified.codes += count;
            verified.scales += u64::from(!zeros);
        } else {
            let rows = Rows::weights(&source, dtype, order)?;
            let mut at = 0;
            let mut equal = true;
            let compared = rows.write(|part| {
                equal &= found.bytes().get(at..at + part.len()) == Some(part);
                at += part.len();
                Ok(())
            })?;
            compared.expect("comparing in memory cannot fail");
            if !equal || at != found.bytes().len() {
                return Err(differs("the values differ from the source's".to_owned()));
            }
            verified.values += count;
        }
        source.release();
        found.release();
        Ok(())
    }

    /// Compares codes and scale; true if all codes are 0, so that there is no scale to compare.
    fn codes(
        &self,
        step: &Step,
        expected: &Ternary,
        held: f32,
        found: &Tensor,
        order: Option<&[usize]>,
    ) -> Result<bool, Difference> {
        let cols = expected.cols;
        let read = Ternary::read(self.written, step.id, found, Scheme::None, self.options.isa)?;
        let read = read.ok_or_else(|| Difference::Value("it is not ternary".to_owned()))?;
        let zeros: Vec<bool> = (0..expected.rows)
            .into_par_iter()
            .map_init(
                || (vec![0; cols], vec![0; cols], Scratch::default()),
                |(a, b, scratch), row| {
                    read.row(row, a, scratch)?;
                    expected.row(order.map_or(row, |order| order[row]), b, scratch)?;
                    match a.iter().zip(b.iter()).position(|(a, b)| a != b) {
                        None => Ok(a.iter().all(|&code| code == 0)),
                        Some(i) => Err(Difference::Value(format!(
                            "row {row}, column {i}: code {} instead of {}",
                            a[i], b[i]
                        ))),
                    }
                },
            )
            .collect::<Result<_, _>>()?;
        let zeros = zeros.into_iter().all(|zero| zero);
        if !zeros && read.scale.to_bits() != held.to_bits() {
            return Err(Difference::Value(format!("the scale is {}, not {held}", read.scale)));
        }
        Ok(zeros)
    }
}

enum Difference {
    Value(String),
    Error(Error),
}

impl<E: Into<Error>> From<E> for Difference {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

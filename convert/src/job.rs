//! The tensors of an output, one after the other, whatever the container.

use std::{io, path::Path, time::Instant};

use b158_checkpoint::{Checkpoint, OutputError, gguf::i2_s_tail};
use half::f16;

use crate::{
    Error, Options, Report, Scheme, TensorReport,
    format::Container,
    plan::{self, Content, Step},
    rows::Rows,
    scale::{self, Place},
    ternary::{Loss, Ternary},
};

/// Told after each tensor: bytes of the source that are done, bytes in all.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// What both containers need.
pub(crate) struct Job<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) output: &'a Path,
    pub(crate) options: &'a Options,
    pub(crate) container: Container,
    /// What makes codes of weights that have none.
    pub(crate) scheme: Scheme,
    /// Whether there are such weights.
    pub(crate) masters: bool,
    pub(crate) steps: &'a [Step],
    pub(crate) progress: Progress<'a>,
}

/// Takes the bytes of tensors, one after the other, each in parts.
pub(crate) trait Sink {
    fn part(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

impl Job<'_> {
    pub(crate) fn error(&self, source: io::Error) -> Error {
        OutputError { file: self.output.to_owned(), source }.into()
    }

    /// Makes every tensor.
    pub(crate) fn tensors(&self, sink: &mut impl Sink) -> Result<Report, Error> {
        let mut report = Report::new(self.checkpoint, self.options, self.scheme);
        let mut loss = Loss::default();
        let mut done = 0;
        let total = self.checkpoint.tensor_bytes();
        for step in self.steps {
            let start = Instant::now();
            let tensor = self.checkpoint.tensor(step.id)?;
            if let Some((mut entry, of_tensor)) = self.tensor(step, sink)? {
                entry.seconds = start.elapsed().as_secs_f64();
                report.add(entry);
                loss = loss + of_tensor;
            }
            done += tensor.bytes().len() as u64;
            tensor.release();
            (self.progress)(done, total);
        }
        report.finish();
        report.relative_error = loss.relative();
        Ok(report)
    }

    /// Makes one tensor; of a ternary one, returns what it is and what the scheme lost.
    fn tensor(&self, step: &Step, sink: &mut impl Sink) -> Result<Option<(TensorReport, Loss)>, Error> {
        let tensor = self.checkpoint.tensor(step.id)?;
        let order = plan::order(self.checkpoint, self.container, step.id);
        let (dtype, scale_name) = match &step.content {
            Content::Weights(dtype) => {
                self.write(&Rows::weights(&tensor, *dtype, order)?, &step.name, &[], sink)?;
                return Ok(None);
            }
            Content::Linear { dtype, scale_name } => (*dtype, scale_name),
        };
        let options = self.options;
        let ternary = Ternary::read(self.checkpoint, step.id, &tensor, options.scheme(), options.isa)?;
        let Some(ternary) = ternary else {
            if options.format.is_packed() {
                let (file, tensor) = (tensor.file().to_owned(), tensor.name.clone());
                return Err(Error::NotTernary { file, tensor });
            }
            self.write(&Rows::weights(&tensor, dtype, order)?, &step.name, &[], sink)?;
            return Ok(None);
        };
        let place = Place::of(options);
        let held = place.held(ternary.scale);
        if !held.is_finite() || held == 0.0 {
            let (file, tensor) = (tensor.file().to_owned(), tensor.name.clone());
            let (scale, format) = (ternary.scale, options.format.name());
            return Err(Error::Scale { file, tensor, scale, format });
        }
        let d = if place == Place::Blocks { f16::from_f32(ternary.scale) } else { f16::ONE };
        let tail = i2_s_tail(ternary.scale);
        let tail = if place == Place::Tail { &tail[..] } else { &[] };
        let rows = Rows::ternary(&ternary, dtype, held, d, order);
        let codes = self.write(&rows, &step.name, tail, sink)?;
        let mut bytes = rows.bytes() + tail.len() as u64;
        if let Some(name) = scale_name {
            let stored = match place {
                Place::WeightScale(class) => scale::stored(class, ternary.scale),
                _ => ternary.scale,
            };
            sink.part(name, &stored.to_le_bytes()).map_err(|e| self.error(e))?;
            bytes += 4;
        }
        // A model that is trained for it computes with the codes; nothing is lost.
        let trained = self.checkpoint.config().ternary_linears;
        let loss = if trained { Loss::default() } else { ternary.loss()? };
        let report = TensorReport {
            name: step.name.clone(),
            bytes,
            scale: ternary.scale,
            scale_change: scale::relative_change(ternary.scale, held),
            ternarized: ternary.ternarized,
            relative_error: loss.relative(),
            codes,
            seconds: 0.0,
        };
        Ok(Some((report, loss)))
    }

    fn write(&self, rows: &Rows, name: &str, tail: &[u8], sink: &mut impl Sink) -> Result<[u64; 3], Error> {
        let codes = rows.write(|part| sink.part(name, part))?.map_err(|e| self.error(e))?;
        if !tail.is_empty() {
            sink.part(name, tail).map_err(|e| self.error(e))?;
        }
        Ok(codes)
    }
}

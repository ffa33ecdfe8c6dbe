//! What was measured, by the names that the file of claims has for it.

use b158_runner::bench::{Column, Measured};

use super::file::{Measure, Test};
use crate::Metric;
use crate::chance::wilson;
use crate::report::{Comparison, ModelRow, Run};

/// What there is to test claims on.
pub struct Evidence<'e> {
    /// Results of twins.
    pub run: &'e Run,
    /// Shapes with random weights: what `b158 bench --shape NAME --json` printed.
    pub shapes: &'e [Measured],
}

/// A measured value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// The value.
    pub value: f64,
    /// Its 95 % interval; the value itself where it is exact, or was measured once.
    pub interval: (f64, f64),
    /// Weights in linear layers of what it was measured on; none for a shape, which is what it is called.
    pub weights: Option<u64>,
}

impl Value {
    fn exact(value: f64) -> Self {
        Self { value, interval: (value, value), weights: None }
    }

    fn on(self, row: &ModelRow) -> Self {
        Self { weights: weights(row), ..self }
    }
}

fn weights(row: &ModelRow) -> Option<u64> {
    row.measured.as_ref()?.linear_weights
}

/// A value, or why there is none.
pub(super) type Found = Result<Value, String>;

impl Evidence<'_> {
    /// Measures what a test asks for.
    pub(super) fn measure(&self, test: &Test) -> Found {
        match test.measure {
            Measure::PerplexityRatio => {
                let (row, pair) = self.largest(&test.of)?;
                Ok(perplexity_ratio(pair)?.on(row))
            }
            Measure::AccuracyDifference => {
                let (row, pair) = self.largest(&test.of)?;
                Ok(accuracy_difference(pair)?.on(row))
            }
            Measure::PerplexityTrend => self.trend(&test.of, |c| perplexity_ratio(c).map(ln)).map(exp),
            Measure::AccuracyTrend => self.trend(&test.of, accuracy_difference),
            Measure::PerplexityOverB158 => self.over_b158(&test.of),
            Measure::MemoryFactor => self.factor(test, |c| Some(c.measurement.memory.weight_bytes() as f64)),
            Measure::LatencyFactor => {
                self.factor(test, |c| Some(c.measurement.decode.first()?.latency_p50_ms))
            }
            Measure::EnergyFactor => self.factor(test, |c| {
                let at_7_nm = c.measurement.energy_modelled.iter().find(|e| e.process_nm == 7)?;
                Some(at_7_nm.linear_layers_mj_per_token)
            }),
            Measure::MeasuredEnergyFactor => {
                self.factor(test, |c| c.measurement.decode.first()?.measured_mj_per_token)
            }
            Measure::LinearGigabytes => self.of_shape(test, |c| {
                let memory = &c.measurement.memory;
                Some((memory.ternary_bytes + memory.dense_bytes + memory.norm_bytes) as f64 / 1e9)
            }),
            Measure::LatencyMs => self.of_shape(test, |c| Some(c.measurement.decode.first()?.latency_p50_ms)),
            Measure::DecodeRate => {
                self.of_shape(test, |c| Some(c.measurement.decode.first()?.tokens_per_second))
            }
            Measure::Accuracy => self.accuracy(test),
            Measure::DifferingFormats => self.differing_formats(),
        }
    }

    /// Candidates of a variant, the one with the fewest weights first; where weights are not known, in the order of
    /// the suite.
    fn twins(&self, variant: &str) -> Result<Vec<(&ModelRow, &Comparison)>, String> {
        let rows = self.run.models.iter().filter(|row| row.variant == variant);
        let mut twins: Vec<_> = rows.filter_map(|row| Some((row, self.run.comparison_of(row)?))).collect();
        twins.sort_by_key(|(row, _)| weights(row));
        if twins.is_empty() {
            Err(format!("no twin `{variant}` was compared with a baseline"))
        } else {
            Ok(twins)
        }
    }

    fn largest(&self, variant: &str) -> Result<(&ModelRow, &Comparison), String> {
        self.twins(variant)?.pop().ok_or_else(String::new)
    }

    /// The last of the sizes against the first. Their evaluations are independent, so the half-widths of the intervals
    /// add up as squares.
    fn trend(&self, variant: &str, effect: impl Fn(&Comparison) -> Found) -> Found {
        let twins = self.twins(variant)?;
        let [(_, first), .., (row, last)] = &twins[..] else {
            return Err("there are twins of one size only".into());
        };
        if weights(row).is_none() {
            return Err("the twins' sizes were not measured".into());
        }
        let (a, b) = (effect(first)?, effect(last)?);
        let value = b.value - a.value;
        let down = (b.value - b.interval.0).hypot(a.interval.1 - a.value);
        let up = (b.interval.1 - b.value).hypot(a.value - a.interval.0);
        Ok(Value { value, interval: (value - down, value + up), weights: None }.on(row))
    }

    fn over_b158(&self, variant: &str) -> Found {
        let (row, pair) = self.largest(variant)?;
        let twins = self.twins("b1.58")?;
        let Some((_, own)) = twins.iter().find(|(other, _)| other.size == row.size) else {
            return Err(format!("no b1.58 of the size of `{}`", row.name));
        };
        // Both against one baseline: the ratio of ratios. Its interval takes them for independent, which is wider.
        let (a, b) = (ln(perplexity_ratio(own)?), ln(perplexity_ratio(pair)?));
        let value = b.value - a.value;
        let down = (b.value - b.interval.0).hypot(a.interval.1 - a.value);
        let up = (b.interval.1 - b.value).hypot(a.value - a.interval.0);
        Ok(exp(Value { value, interval: (value - down, value + up), weights: None }).on(row))
    }

    /// What the baseline takes over what the candidate takes.
    fn factor(&self, test: &Test, of: impl Fn(&Column) -> Option<f64>) -> Found {
        if let Some(shape) = &test.shape {
            let against = test.against.as_ref().unwrap_or(shape);
            let (own, theirs) = (self.shape(shape, "ternary")?, self.shape(against, "FP16")?);
            let missing = || "this machine does not measure it".to_owned();
            return Ok(Value::exact(of(theirs).ok_or_else(missing)? / of(own).ok_or_else(missing)?));
        }
        let (row, _) = self.largest(&test.of)?;
        let value = |row: &ModelRow| of(row.measured.as_ref()?.formats.first()?);
        let baseline = self.run.baseline_of(row).and_then(value);
        match (value(row), baseline) {
            (Some(own), Some(theirs)) => Ok(Value::exact(theirs / own).on(row)),
            _ => Err("it was not measured, or this machine does not measure it".into()),
        }
    }

    fn of_shape(&self, test: &Test, of: impl Fn(&Column) -> Option<f64>) -> Found {
        let Some(shape) = &test.shape else {
            let (row, _) = self.largest(&test.of)?;
            let value = row.measured.as_ref().and_then(|m| of(m.formats.first()?));
            return Ok(Value::exact(value.ok_or("it was not measured")?).on(row));
        };
        let value = of(self.shape(shape, "ternary")?);
        Ok(Value::exact(value.ok_or("it was not measured")?))
    }

    /// A shape in a format, as `bench --shape` measured it.
    fn shape(&self, name: &str, format: &str) -> Result<&Column, String> {
        let of_name = self.shapes.iter().filter(|m| m.model == name && m.linear_weights.is_none());
        let mut columns = of_name.flat_map(|m| &m.formats).filter(|c| c.format == format);
        columns.next().ok_or_else(|| {
            format!("no measurement of the shape {name} in {format} (`b158 bench --shape {name} --json`)")
        })
    }

    fn accuracy(&self, test: &Test) -> Found {
        let Some(row) = self.run.models.iter().find(|row| row.variant == test.of || row.name == test.of)
        else {
            return Err(format!("no results of a model `{}`", test.of));
        };
        let task = test.task.as_deref().unwrap_or_default();
        let Some(results) = self.run.task(row, task) else {
            return Err(format!("`{}` was not evaluated on {task}", row.name));
        };
        let name = test.metric.as_deref().unwrap_or(Metric::Acc.name());
        let Some(index) = results.task.metrics().position(|m| m.name() == name && m.higher_is_better())
        else {
            return Err(format!("{task} has no {name}"));
        };
        let n = results.documents.len();
        if let Some(wanted) = test.documents.filter(|wanted| *wanted != n) {
            return Err(format!("{task} had {n} documents, the paper's data has {wanted}"));
        }
        let (low, high) = wilson(results.right(index), n);
        let value = results.right(index) as f64 / n as f64 * 1e2;
        Ok(Value { value, interval: (low * 1e2, high * 1e2), weights: None }.on(row))
    }

    fn differing_formats(&self) -> Found {
        // A model in full precision differs from itself ternarized, of course.
        let ternary = |row: &&ModelRow| {
            let of_file = row.measured.as_ref().and_then(|m| m.formats.first());
            of_file.is_some_and(|column| column.format == "ternary")
        };
        let packed: Vec<&ModelRow> = self.run.models.iter().filter(ternary).collect();
        let (mut pairs, mut differing) = (0, 0);
        let mut largest = None;
        for (i, a) in packed.iter().enumerate() {
            for b in &packed[i + 1..] {
                if a.source == b.source && a.format != b.format {
                    pairs += 1;
                    differing += usize::from(a.digest != b.digest);
                    largest = largest.max(weights(a));
                }
            }
        }
        if pairs == 0 {
            return Err("no model was evaluated in two formats".into());
        }
        Ok(Value { weights: largest, ..Value::exact(differing as f64) })
    }
}

fn perplexity_ratio(pair: &Comparison) -> Found {
    let metric = pair.perplexity().ok_or("no perplexity was evaluated")?;
    Ok(Value { value: metric.effect, interval: metric.interval, weights: None })
}

/// In points.
fn accuracy_difference(pair: &Comparison) -> Found {
    let average = pair.average.ok_or("no accuracy was evaluated")?;
    let (low, high) = average.interval;
    Ok(Value { value: average.effect * 1e2, interval: (low * 1e2, high * 1e2), weights: None })
}

fn ln(v: Value) -> Value {
    Value { value: libm::log(v.value), interval: (libm::log(v.interval.0), libm::log(v.interval.1)), ..v }
}

fn exp(v: Value) -> Value {
    Value { value: libm::exp(v.value), interval: (libm::exp(v.interval.0), libm::exp(v.interval.1)), ..v }
}

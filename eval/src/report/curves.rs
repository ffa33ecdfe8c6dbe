//! Loss curves, as `b158 train` leaves them in `curves.json`.
//!
//! ```text
//!   {TWIN: {"steps":    [{"step": 1, "loss": 7.6, ...}, ...],
//!           "held_out": [{"step": 100, "nats": 2.5, ...}, ...]}}
//! ```

use std::path::{Path, PathBuf};

use b158_checkpoint::{OutputError, write_file};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;

/// Name of the file in a folder of twins.
pub const CURVES_FILE: &str = "curves.json";

/// The course of one twin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Curve {
    /// Every step.
    pub steps: Vec<Step>,
    /// Measurements on held-out text.
    pub held_out: Vec<HeldOut>,
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The step, from 1.
    pub step: usize,
    /// Mean loss of its batch in nats a token.
    pub loss: f64,
}

/// A measurement on held-out text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Steps done before.
    pub step: usize,
    /// Loss in nats a token.
    pub nats: f64,
}

/// Reads a curves file.
///
/// # Errors
/// [`Error::Read`], [`Error::Config`].
pub fn read(path: &Path) -> Result<Vec<(String, Curve)>, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    let bad = |message: String| Error::Config {
        file: path.display().to_string(),
        message,
        hint: "give the curves.json that `b158 train` wrote".into(),
    };
    let twins: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| bad(format!("not a file of curves: {e}")))?;
    let curve = |(name, value)| match serde_json::from_value(value) {
        Ok(curve) => Ok((name, curve)),
        Err(e) => Err(bad(format!("twin '{name}': {e}"))),
    };
    twins.into_iter().map(curve).collect()
}

/// The curves in a results folder; none where it has none.
///
/// # Errors
/// Those of [`read`].
pub fn in_folder(folder: &Path) -> Result<Vec<(String, Curve)>, Error> {
    let path = folder.join(CURVES_FILE);
    if path.is_file() { read(&path) } else { Ok(Vec::new()) }
}

/// The curves of models, by size and path: in the model's folder or, where `train` leaves them, beside it.
///
/// # Errors
/// Those of [`read`].
pub fn of_models<'m>(
    models: impl IntoIterator<Item = (Option<&'m str>, &'m Path)>,
) -> Result<Vec<(String, Curve)>, Error> {
    let mut files: Vec<(Option<&str>, PathBuf)> = Vec::new();
    for (size, model) in models {
        for folder in [Some(model), model.parent()].into_iter().flatten() {
            let file = (size, folder.join(CURVES_FILE));
            if file.1.is_file() && !files.contains(&file) {
                files.push(file);
            }
        }
    }
    let mut curves = Vec::new();
    for (size, file) in files {
        let named = |(name, curve)| match size {
            Some(size) => (format!("{size}-{name}"), curve),
            None => (name, curve),
        };
        curves.extend(read(&file)?.into_iter().map(named));
    }
    Ok(curves)
}

/// Writes curves into a results folder, if there are any; removes those of an earlier run otherwise.
///
/// # Errors
/// [`Error::Output`].
pub fn write(folder: &Path, curves: &[(String, Curve)]) -> Result<(), Error> {
    let path = folder.join(CURVES_FILE);
    if curves.is_empty() {
        return match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(OutputError { file: path, source: e }.into())
            }
            _ => Ok(()),
        };
    }
    let json: Map<String, Value> =
        curves.iter().map(|(name, curve)| (name.clone(), serde_json::json!(curve))).collect();
    let json = serde_json::to_string(&json).expect("numbers and names");
    Ok(write_file(&path, format!("{json}\n").as_bytes())?)
}

/// Mean losses over a fiftieth of the steps each, at the step in the middle.
pub(super) fn smoothed(steps: &[Step]) -> Vec<(f64, f64)> {
    let mean = |steps: &[Step]| steps.iter().map(|s| s.loss).sum::<f64>() / steps.len() as f64;
    let chunks = steps.chunks((steps.len() / 50).max(1));
    chunks.map(|chunk| (chunk[chunk.len() / 2].step as f64, mean(chunk))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_found_in_the_models_folder_and_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let (a, b, c) = (folder("twins/fp16"), folder("twins/b158"), folder("other/b158"));
        let curve = Curve {
            steps: vec![Step { step: 1, loss: 2.0 }],
            held_out: vec![HeldOut { step: 1, nats: 1.5 }],
        };
        write(&dir.path().join("twins"), &[("fp16".into(), curve.clone()), ("b158".into(), curve.clone())])
            .unwrap();
        write(&c, &[("b158".into(), curve.clone())]).unwrap();
        let models = [(Some("1M"), a.as_path()), (Some("1M"), b.as_path()), (None, c.as_path())];
        let names: Vec<String> = of_models(models).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["1M-fp16", "1M-b158", "b158"]);
        // What is written without curves has none of an earlier run.
        write(&c, &[]).unwrap();
        assert_eq!(in_folder(&c).unwrap(), []);
        assert_eq!(in_folder(&dir.path().join("twins")).unwrap()[0], ("fp16".into(), curve));
    }

    #[test]
    fn smoothed_over_a_fiftieth() {
        let steps: Vec<Step> = (1..=100).map(|step| Step { step, loss: step as f64 }).collect();
        let smooth = smoothed(&steps);
        assert_eq!((smooth.len(), smooth[0], smooth[49]), (50, (2.0, 1.5), (100.0, 99.5)));
        assert!(smoothed(&[]).is_empty());
    }
}

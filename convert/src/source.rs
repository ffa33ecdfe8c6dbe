//! The source's files: which checkpoint they are, and that they stay what they are.

use std::{
    fs::{File, Metadata},
    io::Read,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use b158_checkpoint::Checkpoint;

use crate::Error;

/// The hash of all files' bytes, one after the other in the order given, in hexadecimal. `None` if
/// `stop` was set before the end.
pub(crate) fn sha256(files: &[PathBuf], stop: &AtomicBool) -> Result<Option<String>, Error> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let error = |source| Error::Read { file: path.clone(), source };
        let mut file = File::open(path).map_err(error)?;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match file.read(&mut buffer).map_err(error)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
    }
    Ok(Some(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// The hash of all files' bytes, one after the other.
pub(crate) fn hash(files: &[PathBuf]) -> Result<String, Error> {
    Ok(sha256(files, &AtomicBool::new(false))?.expect("nobody stops it"))
}

/// The hash of a source's files beside its weights: of a line `HASH NAME` for each.
pub(crate) fn hash_text(source: &Checkpoint) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    for path in source.files_beside_weights() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        hasher.update(format!("{} {name}\n", hash(std::slice::from_ref(&path))?));
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// SHA-256 of everything that a model is on disk, in hexadecimal: of the hash of its weights' files and of that of
/// its config and tokenizer, a line each, both as in a batch's manifest. Names and places of weights do not count.
///
/// # Errors
/// [`Error::Read`].
pub fn model_sha256(model: &Checkpoint) -> Result<String, Error> {
    let lines = format!("{}\n{}\n", hash(model.files())?, hash_text(model)?);
    Ok(Sha256::digest(lines).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Length and time of the last change of every file of a source, to tell whether they changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unchanged(Vec<(PathBuf, u64, SystemTime)>);

impl Unchanged {
    /// Remembers the files as they are.
    pub(crate) fn watch(files: &[PathBuf]) -> Result<Self, Error> {
        let stamp = |file: &PathBuf| {
            let error = |source| Error::Read { file: file.clone(), source };
            let metadata = file.metadata().map_err(error)?;
            Ok((file.clone(), metadata.len(), modified(file, &metadata)?))
        };
        Ok(Self(files.iter().map(stamp).collect::<Result<_, Error>>()?))
    }

    /// # Errors
    /// [`Error::SourceChanged`] names the first file that is not as it was.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (file, len, time) in &self.0 {
            let same = file.metadata().is_ok_and(|metadata| {
                metadata.len() == *len && modified(file, &metadata).is_ok_and(|t| t == *time)
            });
            if !same {
                return Err(Error::SourceChanged { file: file.clone() });
            }
        }
        Ok(())
    }
}

fn modified(file: &Path, metadata: &Metadata) -> Result<SystemTime, Error> {
    metadata.modified().map_err(|source| Error::Read { file: file.to_owned(), source })
}

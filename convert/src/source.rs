//! The source's files: which checkpoint they are, and that they stay what they are.

use std::{
    fs::{File, Metadata},
    io::Read,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

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

//! One batch at a time in an output folder.
//!
//! The lock is the system's, on the file `.manifest.lock`: it ends with the process, whatever ends that. The
//! file's text says who holds it.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use b158_checkpoint::OutputError;

use crate::Error;

const NAME: &str = ".manifest.lock";

/// Held until it is dropped.
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the folder for the batch of that job file.
    pub(super) fn take(folder: &Path, jobs: &Path) -> Result<Self, Error> {
        let path = folder.join(NAME);
        let error = |source| OutputError { file: path.clone(), source };
        loop {
            let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = options.map_err(error)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Err(held(folder, file)),
                Err(fs::TryLockError::Error(source)) => return Err(error(source).into()),
            }
            // Whoever had it removes the file when done; a lock on a removed file is none.
            if !is_at(&file, &path) {
                continue;
            }
            let holder = format!("process {}, {}", std::process::id(), jobs.display());
            file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(error)?;
            return Ok(Self { path, _file: file });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that stays is taken over by the next batch.
        let _ = fs::remove_file(&self.path);
    }
}

fn held(folder: &Path, file: File) -> Error {
    let mut holder = String::new();
    // Without a name it is still held.
    let _ = file.take(4096).read_to_string(&mut holder);
    Error::Jobs {
        file: folder.to_owned(),
        reason: format!("another batch writes into this folder ({holder})"),
        hint: "wait until it has ended, or give this one another `output`".to_owned(),
    }
}

/// Whether the open file is the one at that path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().is_ok_and(|a| path.metadata().is_ok_and(|b| same(a, b)))
}

/// Elsewhere a file that is open is not removed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_batch_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path(), Path::new("first.yaml")).unwrap();
        let error = Lock::take(folder.path(), Path::new("second.yaml")).err().unwrap().to_string();
        assert!(error.contains(&format!("(process {}, first.yaml)", std::process::id())), "{error}");
        drop(lock);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        // What a killed batch left holds nobody up.
        fs::write(folder.path().join(NAME), "process 1, jobs.yaml").unwrap();
        Lock::take(folder.path(), Path::new("third.yaml")).unwrap();
    }
}

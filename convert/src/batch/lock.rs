//! One batch at a time in an output folder, or several parts of one.
//!
//! ```text
//!   the whole     .manifest.lock    alone
//!   a part        .manifest.lock    shared with other parts;    .manifest.PART.lock    alone
//! ```
//!
//! The locks are the system's: they end with the process, whatever ends that. A file's text says who holds it. Where the
//! file system has no locks, as on some clusters, nobody is kept out.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use b158_checkpoint::OutputError;

use crate::Error;

/// Held until it is dropped.
pub(super) struct Lock {
    // In this order: the part's own goes first.
    _part: Option<Held>,
    _whole: Held,
}

impl Lock {
    /// Takes the folder for the batch of that job file, or for a part of it.
    pub(super) fn take(folder: &Path, jobs: &Path, part: Option<&str>) -> Result<Self, Error> {
        let whole = folder.join(".manifest.lock");
        let holder = format!("process {}, {}", std::process::id(), jobs.display());
        let Some(part) = part else {
            return Ok(Self { _part: None, _whole: Held::take(whole, &holder, false)? });
        };
        let shared = Held::take(whole, &format!("parts of {}", jobs.display()), true)?;
        let own = Held::take(folder.join(format!(".manifest.{part}.lock")), &holder, false)?;
        Ok(Self { _part: Some(own), _whole: shared })
    }
}

/// Times 50 ms that a part waits for one that ends: on a network's file system a lock takes several round trips.
const ENDING: usize = 20;

/// A locked file.
struct Held {
    path: PathBuf,
    file: File,
}

impl Held {
    fn take(path: PathBuf, holder: &str, shared: bool) -> Result<Self, Error> {
        let error = |source| OutputError { file: path.clone(), source };
        let mut waited = 0;
        loop {
            let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = options.map_err(error)?;
            match if shared { file.try_lock_shared() } else { file.try_lock() } {
                // Not every file system has locks.
                Ok(()) | Err(TryLockError::Error(_)) => {}
                // A part that ends holds it alone for a moment, to see whether it is the last.
                Err(TryLockError::WouldBlock) if shared && waited < ENDING => {
                    waited += 1;
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
                Err(TryLockError::WouldBlock) => return Err(held(&path, file)),
            }
            // Whoever had it removes the file when done; a lock on a removed file is none.
            if !is_at(&file, &path) {
                continue;
            }
            file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(error)?;
            return Ok(Self { path, file });
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A file that others share stays for them. One that stays behind is taken over by the next batch.
        if self.file.unlock().is_ok() && self.file.try_lock().is_ok() && is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn held(path: &Path, file: File) -> Error {
    let mut holder = String::new();
    // Without a name it is still held.
    let _ = file.take(4096).read_to_string(&mut holder);
    Error::Jobs {
        file: path.parent().unwrap_or(path).to_owned(),
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

    fn take(folder: &Path, jobs: &str, part: Option<&str>) -> Result<Lock, String> {
        Lock::take(folder, Path::new(jobs), part).map_err(|error| error.to_string())
    }

    #[test]
    fn a_folder_has_one_batch_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = take(folder.path(), "first.yaml", None).unwrap();
        let error = take(folder.path(), "second.yaml", None).err().unwrap();
        assert!(error.contains(&format!("(process {}, first.yaml)", std::process::id())), "{error}");
        drop(lock);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        // What a killed batch left holds nobody up.
        fs::write(folder.path().join(".manifest.lock"), "process 1, jobs.yaml").unwrap();
        take(folder.path(), "third.yaml", None).unwrap();
    }

    #[test]
    fn parts_share_it_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let part = |name| take(folder.path(), "jobs.yaml", Some(name));
        let whole = || take(folder.path(), "jobs.yaml", None).err();
        let (one, two) = (part("1").unwrap(), part("2").unwrap());
        let twice = part("1").err().unwrap();
        assert!(twice.contains(&format!("(process {}, jobs.yaml)", std::process::id())), "{twice}");
        assert!(whole().unwrap().contains("(parts of jobs.yaml)"));
        drop(one);
        assert!(whole().is_some(), "the other part still runs");
        let one = part("1").unwrap();
        drop(two);
        drop(one);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        let whole = take(folder.path(), "jobs.yaml", None).unwrap();
        assert!(part("1").is_err());
        drop(whole);
        part("1").unwrap();
    }
}

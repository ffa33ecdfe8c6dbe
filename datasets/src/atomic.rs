//! Files that are whole or absent.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use crate::Error;

/// Writes `path` so that a file under that name is always whole: the content goes to `.NAME.partial` in the
/// same folder, is flushed to the disk, and takes the final name in one step.
///
/// # Errors
/// [`Error::Write`], with nothing changed under `path`; the partial file is removed.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_path_buf(), source };
    let Some(name) = path.file_name() else {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file name")));
    };
    let mut partial_name = OsString::from(".");
    partial_name.push(name);
    partial_name.push(".partial");
    let partial = path.with_file_name(partial_name);
    let result = File::create(&partial).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    match result.and_then(|()| std::fs::rename(&partial, path)) {
        Ok(()) => Ok(()),
        Err(source) => {
            // The first error is the one to report; a partial file that stays is overwritten next time.
            let _ = std::fs::remove_file(&partial);
            Err(failed(source))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_no_partial_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomically(&path, |f| f.write_all(b"old")).unwrap();
        let error = write_atomically(&path, |f| {
            f.write_all(b"ne")?;
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        });
        assert!(matches!(error, Err(Error::Write { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

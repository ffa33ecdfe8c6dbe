//! Writing files that are whole or absent.
//!
//! ```text
//! .NAME.xxxxxx.partial  written, flushed to the disk ──rename──► NAME, and the folder is flushed
//! ```
//!
//! Whoever is killed in between leaves a partial file under its own name, which the next writer of
//! NAME removes: a writer holds a lock on its partial file, so a file without one has no writer.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

const SUFFIX: &str = ".partial";

/// A file could not be written; what was under its name is unchanged.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot write: {source}\nhint: {}", file.display(), hint(source))]
pub struct OutputError {
    /// The final name.
    pub file: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full; free some space or choose another folder"
        }
        io::ErrorKind::NotFound => "create that folder first",
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "choose another name"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a folder that you may write to"
        }
        _ => "check the output's folder",
    }
}

/// A file on its way to its final name. Dropped without [`OutputFile::commit`], it leaves nothing.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    partial: NamedTempFile,
}

impl OutputFile {
    /// Begins the file `path`.
    ///
    /// # Errors
    /// The folder cannot be written to, or `path` is there and no ordinary file (a folder, a device).
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let error = |source| OutputError { file: path.to_owned(), source };
        match path.metadata() {
            Ok(found) if found.is_dir() => return Err(error(io::ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => {
                return Err(error(io::Error::new(io::ErrorKind::AlreadyExists, "it is no ordinary file")));
            }
            _ => {}
        }
        if !folder(path).is_dir() {
            return Err(error(io::Error::new(io::ErrorKind::NotFound, "its folder does not exist")));
        }
        // The system's error would name the partial file.
        let partial = begin(path).map_err(|e| error(e.kind().into()))?;
        Ok(Self { path: path.to_owned(), partial })
    }

    /// Names the file in an error of writing to it.
    pub fn error(&self, source: io::Error) -> OutputError {
        OutputError { file: self.path.clone(), source }
    }

    /// Flushes the file to the disk and gives it its final name.
    ///
    /// # Errors
    /// What the system says; the name then stands for what it stood for before.
    pub fn commit(self) -> Result<(), OutputError> {
        let error = |source| OutputError { file: self.path.clone(), source };
        self.partial.as_file().sync_all().map_err(error)?;
        self.partial.persist(&self.path).map_err(|e| error(e.error))?;
        if cfg!(unix) {
            // Makes the rename itself durable.
            File::open(folder(&self.path)).and_then(|f| f.sync_all()).map_err(error)?;
        }
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.partial.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.partial.as_file_mut().flush()
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.partial.as_file_mut().seek(to)
    }
}

/// Writes a whole file.
///
/// # Errors
/// As [`OutputFile::create`] and [`OutputFile::commit`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let mut file = OutputFile::create(path)?;
    file.write_all(bytes).map_err(|e| file.error(e))?;
    file.commit()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn begin(path: &Path) -> io::Result<NamedTempFile> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    remove_abandoned(folder(path), &prefix);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX);
    // A temporary file is private by default, but this one is to become an ordinary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let partial = builder.tempfile_in(folder(path))?;
    partial.as_file().lock()?;
    Ok(partial)
}

/// Removes partial files of writers that are gone. What cannot be removed stays: it is in nobody's way.
fn remove_abandoned(folder: &Path, prefix: &OsString) {
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let (name, prefix) = (name.as_encoded_bytes(), prefix.as_encoded_bytes());
        let random = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        // Another output's name may begin like this one's.
        if random.is_some_and(|r| !r.is_empty() && r.iter().all(u8::is_ascii_alphanumeric))
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            folder.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_dropped_file_leaves_the_old_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_file(&path, b"old").unwrap();
        let mut file = OutputFile::create(&path).unwrap();
        file.write_all(b"ne").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.json"]);
        write_file(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn abandoned_partial_files_go_and_living_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(folder.path().join(".a.Xy12zz.partial"), b"abandoned").unwrap();
        std::fs::write(folder.path().join(".a.b.Xy12zz.partial"), b"of the output `a.b`").unwrap();
        let living = OutputFile::create(&path).unwrap();
        write_file(&path, b"other").unwrap();
        assert_eq!(names(folder.path()).len(), 3);
        living.commit().unwrap();
        assert_eq!(names(folder.path()), [".a.b.Xy12zz.partial", "a"]);
    }

    #[test]
    fn only_ordinary_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let error = OutputFile::create(folder.path()).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::IsADirectory);
        #[cfg(unix)]
        {
            let error = OutputFile::create(Path::new("/dev/null")).unwrap_err();
            assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        }
        let error = OutputFile::create(&folder.path().join("no/such")).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    }
}

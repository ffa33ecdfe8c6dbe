//! Writing files that are whole or absent.
//!
//! ```text
//! .NAME.xxxxxx.partial  written, flushed to the disk ──rename──► NAME, and the folder is flushed
//! ```
//!
//! Whoever is killed in between leaves a partial file under its own name, which the next writer of NAME
//! removes: a writer holds a lock on its partial file, so a file without one has no writer.

use std::{
    ffi::{OsStr, OsString},
    fs::{DirEntry, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::FlushedFile;

pub(crate) const PARTIAL: &str = ".partial";

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
        io::ErrorKind::DirectoryNotEmpty => "remove that folder, or choose another name",
        io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::ResourceBusy => "choose another name",
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
    file: FlushedFile,
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
        check_parent(path).map_err(error)?;
        // The system's error would name the partial file.
        let partial = begin(path).map_err(|e| error(e.kind().into()))?;
        let file = FlushedFile::new(partial.as_file().try_clone().map_err(error)?);
        Ok(Self { path: path.to_owned(), partial, file })
    }

    /// Where the bytes are until [`OutputFile::commit`]: to read them back before.
    pub fn partial_path(&self) -> &Path {
        self.partial.path()
    }

    /// Names the file in an error of writing to it.
    pub fn error(&self, source: io::Error) -> OutputError {
        OutputError { file: self.path.clone(), source }
    }

    /// Flushes the file to the disk and gives it its final name.
    ///
    /// # Errors
    /// What the system says; the name then stands for what it stood for before.
    pub fn commit(mut self) -> Result<(), OutputError> {
        let error = |source| OutputError { file: self.path.clone(), source };
        self.file.flush().map_err(error)?;
        self.partial.as_file().sync_all().map_err(error)?;
        self.partial.persist(&self.path).map_err(|e| error(e.error))?;
        sync_folder(folder(&self.path)).map_err(error)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

pub(crate) fn check_parent(path: &Path) -> io::Result<()> {
    if folder(path).is_dir() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "its folder does not exist"))
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

pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn begin(path: &Path) -> io::Result<NamedTempFile> {
    let prefix = partial_prefix(path)?;
    remove_abandoned(folder(path), &prefix);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(PARTIAL);
    // A temporary file is private by default, but this one is to become an ordinary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let partial = builder.tempfile_in(folder(path))?;
    partial.as_file().lock()?;
    Ok(partial)
}

pub(crate) fn partial_prefix(path: &Path) -> io::Result<OsString> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    Ok(prefix)
}

/// Removes partial files of writers that are gone. What cannot be removed stays: it is in nobody's way.
pub(crate) fn remove_abandoned(folder: &Path, prefix: &OsStr) {
    for path in abandoned(folder, prefix, PARTIAL) {
        // The type of the entry itself: no link is followed.
        let _ = match path.symlink_metadata() {
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
            _ => std::fs::remove_file(path),
        };
    }
}

/// Files and folders `PREFIXxxxxxxSUFFIX` that nobody has locked.
pub(crate) fn abandoned(folder: &Path, prefix: &OsStr, suffix: &str) -> Vec<PathBuf> {
    let is_abandoned = |entry: &DirEntry| {
        let name = entry.file_name();
        let random = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let random = random.and_then(|rest| rest.strip_suffix(suffix.as_bytes()));
        // Another output's name may begin like this one's.
        random.is_some_and(|r| !r.is_empty() && r.iter().all(u8::is_ascii_alphanumeric))
            // Opening a pipe would wait for its writer.
            && entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir())
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
    };
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    entries.flatten().filter(is_abandoned).map(|entry| entry.path()).collect()
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

    /// Opening a pipe waits for whoever writes to it.
    #[test]
    #[cfg(unix)]
    fn a_pipe_is_no_abandoned_file() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join(".a.Xy12zz.partial");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        write_file(&folder.path().join("a"), b"whole").unwrap();
        assert_eq!(names(folder.path()), [".a.Xy12zz.partial", "a"]);
    }
}

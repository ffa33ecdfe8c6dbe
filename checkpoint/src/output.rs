//! Writing files and folders that are whole or absent.
//!
//! ```text
//! .NAME.xxxxxx.partial  written, flushed to the disk ──rename──► NAME, and the folder is flushed
//! ```
//!
//! Whoever is killed in between leaves a partial file (or folder) under its own name, which the next
//! writer of NAME removes: a writer holds a lock on its partial file, so a file without one has no
//! writer.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, TempDir};

use crate::FlushedFile;

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
        io::ErrorKind::DirectoryNotEmpty => "remove that folder, or choose another name",
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

/// A folder on its way to its final name. Dropped without [`OutputFolder::commit`], it leaves nothing.
#[derive(Debug)]
pub struct OutputFolder {
    path: PathBuf,
    partial: TempDir,
    /// Locked, so that no other writer takes the partial folder for an abandoned one.
    #[cfg(unix)]
    _lock: File,
}

impl OutputFolder {
    /// Begins the folder `path`, which must be absent or empty.
    ///
    /// # Errors
    /// `path` is a folder with something in it or no folder at all, or the folder around it is absent
    /// or cannot be written to.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let error = |source| OutputError { file: path.to_owned(), source };
        if path.symlink_metadata().is_ok() {
            if !path.is_dir() {
                return Err(error(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and no folder")));
            }
            if path.read_dir().map_err(error)?.next().is_some() {
                let reason = "the folder is there and not empty";
                return Err(error(io::Error::new(io::ErrorKind::DirectoryNotEmpty, reason)));
            }
        }
        check_parent(path).map_err(error)?;
        Self::begin(path).map_err(|e| error(e.kind().into()))
    }

    fn begin(path: &Path) -> io::Result<Self> {
        let prefix = partial_prefix(path)?;
        remove_abandoned(folder(path), &prefix);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX);
        // As for files: not private, but what the user's mask makes of an ordinary folder.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let partial = builder.tempdir_in(folder(path))?;
        #[cfg(unix)]
        let lock = File::open(partial.path())?;
        #[cfg(unix)]
        lock.lock()?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            #[cfg(unix)]
            _lock: lock,
        })
    }

    /// Where the files are until [`OutputFolder::commit`]: to read them back before.
    pub fn partial_path(&self) -> &Path {
        self.partial.path()
    }

    /// Begins a file in the folder. `name` is a plain file name that is not there yet.
    ///
    /// # Errors
    /// What the system says; the error names the file by its final path.
    pub fn file(&self, name: &str) -> Result<FlushedFile, OutputError> {
        let plain = Path::new(name).file_name() == Some(name.as_ref());
        let opened = if plain {
            File::create_new(self.partial.path().join(name))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file name"))
        };
        opened.map(FlushedFile::new).map_err(|source| OutputError { file: self.path.join(name), source })
    }

    /// Writes a whole file into the folder.
    ///
    /// # Errors
    /// As [`OutputFolder::file`], and what writing returns.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OutputError> {
        let error = |source| OutputError { file: self.path.join(name), source };
        self.file(name)?.write_all(bytes).map_err(error)
    }

    /// Names the folder in an error of writing into it.
    pub fn error(&self, source: io::Error) -> OutputError {
        OutputError { file: self.path.clone(), source }
    }

    /// Flushes every file to the disk and gives the folder its final name.
    ///
    /// # Errors
    /// What the system says; the name then stands for what it stood for before.
    pub fn commit(self) -> Result<(), OutputError> {
        let error = |source| OutputError { file: self.path.clone(), source };
        let partial = self.partial.path();
        for entry in partial.read_dir().map_err(error)? {
            let path = entry.map_err(error)?.path();
            // Windows flushes only what is open for writing.
            File::options().write(true).open(path).and_then(|f| f.sync_all()).map_err(error)?;
        }
        sync_folder(partial).map_err(error)?;
        if cfg!(not(unix)) && self.path.is_dir() {
            // Only Unix renames over an empty folder.
            std::fs::remove_dir(&self.path).map_err(error)?;
        }
        std::fs::rename(partial, &self.path).map_err(error)?;
        // Under its final name it is no temporary folder any more.
        let _ = self.partial.keep();
        sync_folder(folder(&self.path)).map_err(|source| OutputError { file: self.path.clone(), source })
    }
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn check_parent(path: &Path) -> io::Result<()> {
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

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn begin(path: &Path) -> io::Result<NamedTempFile> {
    let prefix = partial_prefix(path)?;
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

fn partial_prefix(path: &Path) -> io::Result<OsString> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    Ok(prefix)
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
            // The type of the entry itself: no link is followed.
            let _ = match entry.file_type() {
                Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(entry.path()),
                _ => std::fs::remove_file(entry.path()),
            };
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

    #[test]
    fn a_folder_is_whole_or_absent() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        let folder = OutputFolder::create(&path).unwrap();
        folder.write("config.json", b"{}").unwrap();
        assert!(folder.write("config.json", b"{}").is_err());
        assert!(folder.write("../escaped", b"").is_err());
        assert_eq!(std::fs::read(folder.partial_path().join("config.json")).unwrap(), b"{}");
        drop(folder);
        assert_eq!(names(parent.path()), [""; 0]);

        // An empty folder is replaced, and so it is when the name ends in a separator.
        std::fs::create_dir(&path).unwrap();
        let folder = OutputFolder::create(&parent.path().join("model/")).unwrap();
        folder.write("config.json", b"{}").unwrap();
        folder.commit().unwrap();
        assert_eq!((names(parent.path()), names(&path)), (vec!["model".into()], vec!["config.json".into()]));

        let error = OutputFolder::create(&path).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::DirectoryNotEmpty);
        let error = OutputFolder::create(&path.join("config.json")).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        let error = OutputFolder::create(&path.join("no/such")).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_folder_that_someone_else_filled_meanwhile_stays() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        let folder = OutputFolder::create(&path).unwrap();
        folder.write("config.json", b"ours").unwrap();
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("config.json"), b"theirs").unwrap();
        assert!(folder.commit().is_err());
        assert_eq!(std::fs::read(path.join("config.json")).unwrap(), b"theirs");
        assert_eq!(names(parent.path()), ["model"]);
    }

    #[cfg(unix)]
    #[test]
    fn abandoned_partial_folders_go_and_living_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        let abandoned = parent.path().join(".model.Xy12zz.partial");
        std::fs::create_dir(&abandoned).unwrap();
        std::fs::write(abandoned.join("model.safetensors"), b"half").unwrap();
        let living = OutputFolder::create(&path).unwrap();
        living.write("config.json", b"{}").unwrap();
        drop(OutputFolder::create(&path).unwrap());
        assert_eq!(names(parent.path()).len(), 1);
        living.commit().unwrap();
        assert_eq!(names(parent.path()), ["model"]);
    }
}

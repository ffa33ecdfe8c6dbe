//! Writing folders that are whole or absent, also in place of one that we wrote before.
//!
//! ```text
//! 1  NAME                  ──rename──► .NAME.xxxxxx.replaced       only if there is something in it
//! 2  .NAME.xxxxxx.partial  ──rename──► NAME                        written and flushed to the disk
//! 3  .NAME.xxxxxx.replaced ──rename──► .NAME.xxxxxx.partial ──► removed
//! ```
//!
//! No portable call exchanges two folders, so between the first and the second step, for some
//! microseconds, there is nothing under the name. Whoever is killed there leaves the old folder aside; the
//! next writer of NAME, or [`clean_up`], gives it its name back. What else a killed writer leaves is removed
//! then, as for files.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    FlushedFile, OutputError,
    mapped_file::read_small,
    output::{PARTIAL, abandoned, check_parent, folder, partial_prefix, remove_abandoned, sync_folder},
};

const REPLACED: &str = ".replaced";

/// A folder on its way to its final name. Dropped without [`OutputFolder::commit`], it leaves nothing.
#[derive(Debug)]
pub struct OutputFolder {
    /// As it was given, for messages.
    path: PathBuf,
    /// Where it will be: no link.
    target: PathBuf,
    partial: TempDir,
    /// Locked, so that no other writer takes the partial folder for an abandoned one.
    #[cfg(unix)]
    _lock: File,
}

impl OutputFolder {
    /// Begins the folder `path`, which must be absent, empty, or a folder that we wrote: one whose
    /// config.json has the key `b158`, and without folders in it.
    ///
    /// # Errors
    /// `path` is another folder with something in it, the current folder, or no folder at all, or the
    /// folder around it is absent or cannot be written to.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let error = |source| OutputError { file: path.to_owned(), source };
        clean_up(path);
        let target = target(path).map_err(error)?;
        check_parent(&target).map_err(error)?;
        holds_ours(&target).map_err(error)?;
        // The system's error would name the partial folder.
        Self::begin(path, target).map_err(|e| error(e.kind().into()))
    }

    fn begin(path: &Path, target: PathBuf) -> io::Result<Self> {
        let partial = temporary(&target, PARTIAL)?;
        #[cfg(unix)]
        let lock = File::open(partial.path())?;
        #[cfg(unix)]
        lock.lock()?;
        Ok(Self {
            path: path.to_owned(),
            target,
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
        let mut file = self.file(name)?;
        file.write_all(bytes).and_then(|()| file.flush()).map_err(error)
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
        // Somebody may have filled it meanwhile.
        let old = if holds_ours(&self.target).map_err(error)? {
            Some(Aside::put(&self.target).map_err(error)?)
        } else {
            None
        };
        let renamed = rename(partial, &self.target);
        if let (Err(_), Some(old)) = (&renamed, &old) {
            // Should this fail too, whoever writes next gives it its name back.
            let _ = rename(&old.path, &self.target);
        }
        renamed.map_err(error)?;
        // Under its final name it is no temporary folder any more.
        let _ = self.partial.keep();
        sync_folder(folder(&self.target))
            .map_err(|source| OutputError { file: self.path.clone(), source })?;
        if let Some(old) = old {
            old.remove();
        }
        Ok(())
    }
}

/// A folder that is being replaced.
struct Aside {
    path: PathBuf,
    /// Locked, so that no other writer takes it for what a killed one left.
    #[cfg(unix)]
    _lock: File,
}

impl Aside {
    fn put(target: &Path) -> io::Result<Self> {
        #[cfg(unix)]
        let lock = File::open(target)?;
        #[cfg(unix)]
        lock.lock()?;
        let path = temporary(target, REPLACED)?.keep();
        if let Err(error) = rename(target, &path) {
            let _ = fs::remove_dir(&path);
            return Err(error);
        }
        Ok(Self {
            path,
            #[cfg(unix)]
            _lock: lock,
        })
    }

    /// Half removed it must not get its name back: it becomes a partial one first. What cannot be removed
    /// stays for the next writer.
    fn remove(self) {
        let rest = self.path.with_extension(&PARTIAL[1..]);
        let _ = rename(&self.path, &rest).and_then(|()| fs::remove_dir_all(rest));
    }
}

/// Removes what killed writers of the file or folder `path` left beside it, and gives back a folder that
/// one of them had put aside.
pub fn clean_up(path: &Path) {
    let Ok(target) = target(path) else { return };
    let Ok(prefix) = partial_prefix(&target) else { return };
    let folder = folder(&target);
    for aside in abandoned(folder, &prefix, REPLACED) {
        let to = if target.symlink_metadata().is_err() {
            target.clone()
        } else {
            aside.with_extension(&PARTIAL[1..])
        };
        // What cannot be renamed is in nobody's way.
        let _ = rename(&aside, &to);
    }
    remove_abandoned(folder, &prefix);
}

/// The path itself, without links if something is there: the name that a rename takes.
fn target(path: &Path) -> io::Result<PathBuf> {
    let nameless = || io::Error::new(io::ErrorKind::InvalidInput, "it is the name of no file or folder");
    let target = if path.is_dir() { path.canonicalize()? } else { path.to_owned() };
    target.file_name().ok_or_else(nameless)?;
    Ok(target)
}

/// Whether there is a folder with something in it that we wrote; an error if it is not ours to replace.
fn holds_ours(target: &Path) -> io::Result<bool> {
    if target.symlink_metadata().is_err() {
        return Ok(false);
    }
    if !target.is_dir() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and no folder"));
    }
    // A shell would stay in the folder that was there before, and see nothing.
    if std::env::current_dir().and_then(|current| current.canonicalize()).is_ok_and(|c| c == target) {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it is the current folder"));
    }
    let (mut empty, mut flat) = (true, true);
    for entry in target.read_dir()? {
        empty = false;
        flat &= !entry?.file_type()?.is_dir();
    }
    if empty {
        return Ok(false);
    }
    let config = read_small(&target.join("config.json")).ok();
    let config = config.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let ours = config.is_some_and(|config| config.get("b158").is_some());
    let reason = match (ours, flat) {
        (true, true) => return Ok(true),
        (true, false) => "the folder is there and has folders in it, which b158 did not write",
        (false, _) => "the folder is there and not empty, and b158 did not write it",
    };
    Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, reason))
}

/// A new folder beside `target`.
fn temporary(target: &Path, suffix: &str) -> io::Result<TempDir> {
    let prefix = partial_prefix(target)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(suffix);
    // As for files: not private, but what the user's mask makes of an ordinary folder.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(folder(target))
}

/// Renames a folder over nothing or an empty folder.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if cfg!(not(unix)) && to.is_dir() {
        // Only Unix renames over an empty folder.
        fs::remove_dir(to)?;
    }
    fs::rename(from, to)
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

    /// A folder as `convert` writes it; `which` tells several apart.
    fn fill(folder: &Path, which: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("config.json"), r#"{"b158": {"version": "0"}}"#).unwrap();
        fs::write(folder.join("model.safetensors"), which).unwrap();
    }

    fn which(folder: &Path) -> String {
        fs::read_to_string(folder.join("model.safetensors")).unwrap()
    }

    #[test]
    fn a_folder_is_whole_or_absent() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        let folder = OutputFolder::create(&path).unwrap();
        folder.write("config.json", b"{}").unwrap();
        assert!(folder.write("config.json", b"{}").is_err());
        assert!(folder.write("../escaped", b"").is_err());
        assert_eq!(fs::read(folder.partial_path().join("config.json")).unwrap(), b"{}");
        drop(folder);
        assert_eq!(names(parent.path()), [""; 0]);

        // An empty folder is replaced, and so it is when the name ends in a separator.
        fs::create_dir(&path).unwrap();
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
        fs::create_dir(&path).unwrap();
        fs::write(path.join("config.json"), b"theirs").unwrap();
        assert!(folder.commit().is_err());
        assert_eq!(fs::read(path.join("config.json")).unwrap(), b"theirs");
        assert_eq!(names(parent.path()), ["model"]);
    }

    #[cfg(unix)]
    #[test]
    fn abandoned_partial_folders_go_and_living_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        let abandoned = parent.path().join(".model.Xy12zz.partial");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("model.safetensors"), b"half").unwrap();
        let living = OutputFolder::create(&path).unwrap();
        living.write("config.json", b"{}").unwrap();
        drop(OutputFolder::create(&path).unwrap());
        assert_eq!(names(parent.path()).len(), 1);
        living.commit().unwrap();
        assert_eq!(names(parent.path()), ["model"]);
    }

    #[test]
    fn what_we_wrote_is_replaced_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        fill(&path, "old");
        let new = OutputFolder::create(&path).unwrap();
        new.write("model.safetensors", b"new").unwrap();
        assert_eq!(which(&path), "old");
        new.commit().unwrap();
        assert_eq!(
            (names(parent.path()), names(&path)),
            (vec!["model".into()], vec!["model.safetensors".into()])
        );

        // The new one has no config.json, and is therefore not known as ours.
        assert_eq!(OutputFolder::create(&path).unwrap_err().source.kind(), io::ErrorKind::DirectoryNotEmpty);
        fill(&path, "ours");
        fs::create_dir(path.join(".git")).unwrap();
        let error = OutputFolder::create(&path).unwrap_err();
        assert!(error.to_string().contains("has folders in it"), "{error}");
        assert_eq!(which(&path), "ours");
    }

    #[test]
    fn a_dropped_folder_leaves_the_old_one() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        fill(&path, "old");
        drop(OutputFolder::create(&path).unwrap());
        assert_eq!((names(parent.path()), which(&path)), (vec!["model".into()], "old".into()));
    }

    /// Killed after each step of a replacement.
    #[test]
    #[cfg(unix)]
    fn what_a_killed_writer_left_is_the_old_or_the_new() {
        for (aside, there, expected) in [
            (".model.Xy12zz.replaced", None, "old"),
            (".model.Xy12zz.replaced", Some("new"), "new"),
            (".model.Xy12zz.partial", Some("new"), "new"),
        ] {
            let parent = tempfile::tempdir().unwrap();
            let path = parent.path().join("model");
            fill(&parent.path().join(aside), "old");
            fill(&parent.path().join(".model.Ab34yy.partial"), "unfinished");
            if let Some(new) = there {
                fill(&path, new);
            }
            clean_up(&path);
            assert_eq!(
                (names(parent.path()), which(&path)),
                (vec!["model".into()], expected.into()),
                "{aside}"
            );
            clean_up(&path);
            assert_eq!(which(&path), expected);
        }
    }

    #[test]
    #[cfg(unix)]
    fn what_a_living_writer_put_aside_stays() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        fill(&path, "old");
        let aside = Aside::put(&path).unwrap();
        clean_up(&path);
        assert!(!path.exists());
        assert_eq!(which(&aside.path), "old");
        aside.remove();
        assert_eq!(names(parent.path()), [""; 0]);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_to_a_folder_stays_one() {
        let parent = tempfile::tempdir().unwrap();
        let (path, link) = (parent.path().join("model"), parent.path().join("link"));
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let folder = OutputFolder::create(&link).unwrap();
        folder.write("model.safetensors", b"new").unwrap();
        folder.commit().unwrap();
        assert_eq!((names(parent.path()), which(&path)), (vec!["link".into(), "model".into()], "new".into()));
        assert!(link.is_symlink());
    }

    #[test]
    fn the_current_folder_and_the_root_are_refused() {
        for (path, says) in
            [(".", "the current folder"), ("/", "not empty"), ("no-such/..", "no file or folder")]
        {
            let error = OutputFolder::create(Path::new(path)).unwrap_err();
            assert!(path == "/" || error.to_string().contains(says), "{error}");
            assert!(error.to_string().contains("choose another name"), "{error}");
        }
    }
}

//! A file mapped into memory, read-only.
//!
//! The map shows the file as it is on disk: if another program shortens the file while it is mapped,
//! reading beyond the new end stops the process (SIGBUS), and if it overwrites the file, tensors
//! change. Programs that replace checkpoints should write a new file and rename it, as ours do.

use std::{
    fs::File,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

use crate::Error;

/// The longest JSON or text file that is read as a whole. Published ones are far below; parsed, a file of
/// this size takes some tens of megabytes at most.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// The longest tokenizer that is read; the largest published ones have some 30 MB.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// Reads a regular file of at most [`MAX_TEXT_BYTES`].
///
/// # Errors
/// [`Error::Io`] if it cannot be read; [`Error::Malformed`] if it is longer or no regular file.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>, Error> {
    read_at_most(path, MAX_TEXT_BYTES)
}

/// The same for the files of a tokenizer, of at most [`MAX_TOKENIZER_BYTES`].
pub(crate) fn read_tokenizer(path: &Path) -> Result<Vec<u8>, Error> {
    read_at_most(path, MAX_TOKENIZER_BYTES)
}

fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    // A pipe or a device may have no end.
    if !path.metadata().map_err(Error::io(path))?.is_file() {
        return Err(Error::malformed(path, "it is no ordinary file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io(path))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::malformed(path, format!("it is longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// A mapped file and its path, for messages.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps a regular file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened or mapped.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        // Before opening, since opening a pipe would wait for its writer.
        if !path.metadata().map_err(Error::io(path))?.is_file() {
            return Err(Error::NotACheckpoint { file: path.to_owned() });
        }
        let file = File::open(path).map_err(Error::io(path))?;
        // SAFETY: the map is read-only and private to this process; nothing here writes to the file
        // while it is mapped. That other programs leave it alone is the documented condition above.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
        Ok(Self { path: path.to_owned(), map })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Gives back the memory that a range takes; reading it again loads it again.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if !range.is_empty() {
            // SAFETY: the map is of a file and nobody writes to it, so dropped pages come back from the file
            // as they were; the range is inside the map, for it is that of a tensor.
            let advised = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
            // Memory that stays is no error.
            let _ = advised;
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

//! The cache of scores: what was evaluated once is read, not computed again.
//!
//! ```text
//!   DIR/KEY.log     KEY: SHA-256 of the log's key (program, model, task, data, settings)
//! ```
//!
//! A file has the form of a [log](crate::log), and is replaced as a whole when a task is done. Scores depend on what
//! is in the key and on nothing else, and each record names the token ids that it is of, so a cache never changes
//! results; a damaged file is as good as its whole lines. Several evaluations may share a folder: whoever ends last
//! wins, and the worst that can happen is that something is computed twice.

use std::path::{Path, PathBuf};

use b158_checkpoint::{OutputError, write_file};
use b158_datasets::table::sha256;

use crate::Error;
use crate::log::{Key, Records, line, parse};

/// A folder of scores.
pub(crate) struct Cache<'p> {
    folder: &'p Path,
}

impl<'p> Cache<'p> {
    /// The cache in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Output`] if it cannot be made.
    pub(crate) fn open(folder: &'p Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder)
            .map_err(|source| OutputError { file: folder.to_path_buf(), source })?;
        Ok(Self { folder })
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}.log", sha256(line(key).as_bytes())))
    }

    /// What is known under a key. A file that cannot be read is none.
    pub(crate) fn read(&self, key: &Key) -> Records {
        let (found, records, _) = parse(&std::fs::read(self.path(key)).unwrap_or_default());
        if found.as_ref() == Some(key) { records } else { Records::new() }
    }

    /// Adds records to what is there.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub(crate) fn add(&self, key: &Key, records: Records) -> Result<(), Error> {
        let mut all = self.read(key);
        all.extend(records);
        let text = line(key) + &all.values().map(line).collect::<String>();
        Ok(write_file(&self.path(key), text.as_bytes())?)
    }
}

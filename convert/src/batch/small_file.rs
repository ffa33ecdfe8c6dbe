//! Reading files whose length nobody vouches for.

use std::{fs::File, io::Read, path::Path};

use crate::Error;

/// The text of an ordinary file of at most `limit` bytes.
pub(super) fn read_text(file: &Path, limit: u64) -> Result<String, Error> {
    let error = |source| Error::Read { file: file.to_owned(), source };
    let refuse = |reason: String| Error::Jobs {
        file: file.to_owned(),
        reason,
        hint: "give a text file; `b158 convert --help` shows one".to_owned(),
    };
    // A pipe or a device may have no end, and opening a pipe waits for its writer.
    if !file.metadata().map_err(error)?.is_file() {
        return Err(refuse("it is no ordinary file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(file).map_err(error)?.take(limit + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > limit {
        return Err(refuse(format!("it is longer than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".to_owned()))
}

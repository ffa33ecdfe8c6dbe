//! SHA-256 of the source's weight files: which checkpoint an output came from.

use std::{fs::File, io::Read, path::PathBuf};

use sha2::{Digest, Sha256};

use crate::Error;

/// The hash of all files' bytes, one after the other in the order given, in hexadecimal.
pub(crate) fn sha256(files: &[PathBuf]) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let error = |source| Error::Read { file: path.clone(), source };
        let mut file = File::open(path).map_err(error)?;
        loop {
            match file.read(&mut buffer).map_err(error)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

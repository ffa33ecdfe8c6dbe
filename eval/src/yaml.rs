//! YAML files, with errors of this crate.

use serde::de::DeserializeOwned;

use crate::Error;

/// Parses a YAML document; `file` is the name that error messages use.
pub(crate) fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Error> {
    b158_datasets::yaml::parse(file, text).map_err(|e| Error::Config {
        file: e.place,
        message: e.message,
        hint: e.hint,
    })
}

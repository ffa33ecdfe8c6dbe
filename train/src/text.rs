//! The documents of a recipe, and their digest.

use std::{collections::BTreeSet, path::PathBuf};

use b158_datasets::world::{self, Part};
use sha2::{Digest, Sha256};

use crate::{
    Error,
    recipe::{RecipeFile, TextFiles},
};

/// The share of the desk's text that is generated for measuring.
const DESK_HELD_OUT: usize = 16;

/// Documents to learn from and to measure with.
#[derive(Debug, Clone)]
pub struct Text {
    /// To learn from.
    pub train: Vec<String>,
    /// To measure with.
    pub held_out: Vec<String>,
    /// SHA-256 of both, in lower-case hexadecimal.
    pub digest: String,
    /// Where both are from, for messages.
    pub origins: [String; 2],
    /// Documents of the files that were left out of what is learnt from, since they are held out.
    pub left_out: usize,
}

impl Text {
    /// Reads or generates it.
    ///
    /// # Errors
    /// A file that cannot be read or is no UTF-8, or that has no document.
    pub fn load(recipe: &RecipeFile) -> Result<Self, Error> {
        let data = &recipe.recipe.data;
        let file = recipe.path.display();
        let (mut train, held_out, origins) = match (&data.desk, &data.text) {
            (Some(desk), _) => {
                let part = |part, bytes| documents(part, desk.seed, bytes);
                let held_out = part(Part::HeldOut, (desk.bytes / DESK_HELD_OUT).max(1 << 16));
                let origins = ["to learn from", "that is held out"];
                let origins = origins.map(|part| format!("{file}: the text of data.desk {part}"));
                (part(Part::Train, desk.bytes), held_out, origins)
            }
            (None, Some(files)) => {
                let read = |names: &[String]| read(recipe, files, names);
                let origins = [("train", &files.train), ("held_out", &files.held_out)];
                let origins =
                    origins.map(|(key, names)| format!("{file}: data.text.{key} ({})", names.join(", ")));
                (read(&files.train)?, read(&files.held_out)?, origins)
            }
            (None, None) => return Err(recipe.error("data is empty", "give desk or text")),
        };
        // Collections of the same text overlap.
        let held: BTreeSet<&String> = held_out.iter().collect();
        let all = train.len();
        train.retain(|document| !held.contains(document));
        let left_out = all - train.len();
        if train.is_empty() && left_out > 0 {
            let hint = "learn from other text than is measured with";
            return Err(recipe.error(format!("all {left_out} documents of data are held out"), hint));
        }
        for (documents, part) in [(&train, "train"), (&held_out, "held_out")] {
            if documents.is_empty() {
                let hint = if data.desk.is_some() {
                    "a document is of about 700 bytes: raise data.desk.bytes"
                } else {
                    "check the files and the separator"
                };
                return Err(recipe.error(format!("data has no document in {part}"), hint));
            }
        }
        let digest = digest(&train, &held_out);
        Ok(Self { train, held_out, digest, origins, left_out })
    }
}

/// Bytes of the text of a recipe, before it is read.
///
/// # Errors
/// A file that is not there.
pub(crate) fn bytes(recipe: &RecipeFile) -> Result<u64, Error> {
    let data = &recipe.recipe.data;
    let files = data.text.iter().flat_map(|files| files.train.iter().chain(&files.held_out));
    let sizes = files.map(|name| {
        let path = path(recipe, name);
        let size = path.metadata().map(|metadata| metadata.len());
        size.map_err(|source| Error::Read { path, source })
    });
    let desk = data.desk.iter().map(|desk| Ok((desk.bytes + desk.bytes / DESK_HELD_OUT) as u64));
    desk.chain(sizes).sum()
}

/// Where a text file is.
fn path(recipe: &RecipeFile, name: &str) -> PathBuf {
    recipe.data.as_deref().unwrap_or(recipe.folder()).join(name)
}

fn documents(part: Part, seed: u64, bytes: usize) -> Vec<String> {
    let mut left = bytes;
    let documents = world::documents(part, seed).map_while(|document| {
        left = left.checked_sub(document.len())?;
        Some(document)
    });
    documents.collect()
}

fn read(recipe: &RecipeFile, files: &TextFiles, names: &[String]) -> Result<Vec<String>, Error> {
    let mut documents = Vec::new();
    for name in names {
        let path = path(recipe, name);
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
        let text = text.replace("\r\n", "\n");
        documents
            .extend(text.split(&files.separator).map(str::trim).filter(|d| !d.is_empty()).map(str::to_owned));
    }
    Ok(documents)
}

/// Of the documents with their lengths, so that no two texts share it.
fn digest(train: &[String], held_out: &[String]) -> String {
    let mut hash = Sha256::new();
    for part in [train, held_out] {
        hash.update((part.len() as u64).to_le_bytes());
        for document in part {
            hash.update((document.len() as u64).to_le_bytes());
            hash.update(document);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

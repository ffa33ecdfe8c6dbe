//! The datasets that are known by name: where they are published, what they are called on disk, what they hold.
//!
//! ```text
//!   catalogue.yaml --> Catalogue --> Entry { hub, licence, columns, ... }
//!                                      splits --> Split { files on the Hub, rows, digest of the content }
//! ```

use std::sync::OnceLock;

use serde::Deserialize;

use crate::layout::Layout;
use crate::schema::Columns;
use crate::{Error, yaml};

const EMBEDDED: &str = include_str!("../catalogue.yaml");

/// All known datasets.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// In the order of the file.
    pub datasets: Vec<Entry>,
}

/// A dataset.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What tasks call it.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// `organization/name` on the Hugging Face Hub.
    pub hub: String,
    /// Its configuration there.
    #[serde(default)]
    pub config: Option<String>,
    /// The commit there that the files are of; the newest one if not given.
    #[serde(default)]
    pub revision: Option<String>,
    /// Terms of use, in words.
    pub licence: String,
    /// `arXiv:ID` or `doi:ID` of the paper.
    pub citation: String,
    /// Names of files in a data folder, without extension; `{split}` stands for the split.
    pub stems: Vec<String>,
    /// Columns that every row has, once its [layout](crate::layout) is undone.
    pub columns: Columns,
    /// Columns that rows may have.
    #[serde(default)]
    pub optional: Columns,
    /// Other forms in which the data goes round.
    #[serde(default)]
    pub layouts: Vec<Layout>,
    /// Its splits.
    pub splits: Splits,
}

/// The splits of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// To learn from.
    pub train: Option<Split>,
    /// To choose by.
    pub validation: Option<Split>,
    /// To measure with.
    pub test: Option<Split>,
}

/// One split of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Paths in the Hub's repository; the last component may have one `*`.
    pub files: Vec<String>,
    /// Number of rows.
    #[serde(default)]
    pub rows: Option<usize>,
    /// [`crate::verify::content_digest`] of the rows.
    #[serde(default)]
    pub content: Option<String>,
}

impl Splits {
    /// The split of that name.
    pub fn get(&self, name: &str) -> Option<&Split> {
        self.iter().find(|(n, _)| *n == name).map(|(_, split)| split)
    }

    /// Names and splits, those that there are.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Split)> {
        let all = [("train", &self.train), ("validation", &self.validation), ("test", &self.test)];
        all.into_iter().filter_map(|(name, split)| Some((name, split.as_ref()?)))
    }
}

impl Catalogue {
    /// The embedded one.
    pub fn embedded() -> &'static Self {
        static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
        CATALOGUE.get_or_init(|| Self::parse("catalogue.yaml", EMBEDDED).expect("a test parses it"))
    }

    /// Parses a catalogue; `file` is the name that error messages use.
    ///
    /// # Errors
    /// [`Error::Catalogue`] that names the place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let catalogue: Self = yaml::parse(file, text).map_err(|e| {
            let hint = if e.hint.is_empty() { String::new() } else { format!("\nhint: {}", e.hint) };
            Error::Catalogue { place: e.place, message: e.message + &hint }
        })?;
        for (i, entry) in catalogue.datasets.iter().enumerate() {
            let twice = catalogue.datasets[..i].iter().any(|other| other.name == entry.name);
            let message = if twice { Some("it is there twice".to_owned()) } else { entry.mistake() };
            if let Some(message) = message {
                return Err(Error::Catalogue { place: format!("{file}, dataset '{}'", entry.name), message });
            }
        }
        Ok(catalogue)
    }

    /// The dataset of that name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.datasets.iter().find(|entry| entry.name == name)
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.datasets.iter().map(|entry| entry.name.as_str()).collect()
    }
}

impl Entry {
    /// Names and paths become parts of paths on disk.
    fn mistake(&self) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let component = |text: &str| !text.is_empty() && !text.starts_with('.') && text.chars().all(plain);
        if !component(&self.name) {
            return Some("the name is no plain file name".into());
        }
        if self
            .hub
            .split_once('/')
            .is_none_or(|(organization, name)| !component(organization) || !component(name))
        {
            return Some(format!("hub '{}' is not organization/name", self.hub));
        }
        if self.revision.as_ref().is_some_and(|r| r.len() != 40 || !r.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Some("the revision is no commit of 40 hexadecimal digits".into());
        }
        if self.stems.is_empty() || !self.stems.iter().all(|s| component(&s.replace("{split}", "x"))) {
            return Some("stems have to be plain file names".into());
        }
        if self.splits.iter().next().is_none() {
            return Some("it has no split".into());
        }
        for (name, split) in self.splits.iter() {
            let path = |file: &String| {
                let (folder, last) = file.rsplit_once('/').unwrap_or(("", file));
                let folders = folder.is_empty() || folder.split('/').all(component);
                folders && last.matches('*').count() < 2 && component(&last.replace('*', "x"))
            };
            if split.files.is_empty() || !split.files.iter().all(path) {
                return Some(format!("files of split '{name}' have to be paths in the repository"));
            }
            if split
                .content
                .as_ref()
                .is_some_and(|d| d.len() != 64 || !d.bytes().all(|b| b.is_ascii_hexdigit()))
            {
                return Some(format!("content of split '{name}' is no SHA-256"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_catalogue_has_the_data_of_all_tasks() {
        let catalogue = Catalogue::parse("catalogue.yaml", EMBEDDED).unwrap();
        insta::assert_snapshot!(catalogue.names().join(" "), @"arc_easy arc_challenge hellaswag boolq boolq_google openbookqa piqa winogrande lambada_openai lambada_standard wikitext wikitext_rows c4 tinystories redpajama");
        for (name, split) in [("arc_easy", "test"), ("hellaswag", "validation"), ("wikitext", "test")] {
            assert!(catalogue.get(name).unwrap().splits.get(split).is_some());
        }
        let choices = ["question", "choices", "answerKey"];
        assert_eq!(catalogue.get("arc_easy").unwrap().columns.names().collect::<Vec<_>>(), choices);
        assert_eq!(Catalogue::embedded(), &catalogue);
    }

    #[test]
    fn mistakes_are_named() {
        let message = |from: &str, to: &str| {
            let text = EMBEDDED.replacen(from, to, 1);
            assert_ne!(text, EMBEDDED, "nothing replaced");
            Catalogue::parse("c.yaml", &text).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message("hub: allenai/ai2_arc", "hub: ../ai2_arc"), @"c.yaml, dataset 'arc_easy': hub '../ai2_arc' is not organization/name");
        insta::assert_snapshot!(message("name: arc_challenge", "name: arc_easy"), @"c.yaml, dataset 'arc_easy': it is there twice");
        insta::assert_snapshot!(message("revision: 210d", "revision: 210"), @"c.yaml, dataset 'arc_easy': the revision is no commit of 40 hexadecimal digits");
        insta::assert_snapshot!(message("ARC-Easy/train", "ARC-Easy/../train"), @"c.yaml, dataset 'arc_easy': files of split 'train' have to be paths in the repository");
        insta::assert_snapshot!(message("licence: CC BY-SA 4.0", "license: CC BY-SA 4.0"), @r"
        c.yaml, line 18: datasets[0]: unknown key `license`
        hint: did you mean 'licence'? valid here: name, title, hub, config, revision, licence, citation, stems, columns, optional, layouts, splits
        ");
        insta::assert_snapshot!(message("answerKey: text", "answerKey: txt"), @"c.yaml, line 13: datasets[0]: unknown type 'txt'; types: text, integer, number, flag, any");
        insta::assert_snapshot!(message("layouts: [ai2_release]", "layouts: [ai2]"), @r"
        c.yaml, line 26: datasets[0].layouts[0]: unknown variant `ai2`
        hint: valid here: ai2_release, boolq_release, hellaswag_query, wikitext_rows
        ");
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_a_catalogue_or_an_error(text in ".{0,120}", at in 0..EMBEDDED.len(), with in "[a-z:{}\\[\\], \n*&]{1,3}") {
            let _ = Catalogue::parse("c.yaml", &text);
            let at = (0..=at).rev().find(|i| EMBEDDED.is_char_boundary(*i)).unwrap();
            let _ = Catalogue::parse("c.yaml", &format!("{}{with}{}", &EMBEDDED[..at], &EMBEDDED[at..]));
        }
    }
}

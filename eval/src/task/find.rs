//! Finds tasks by name: the embedded ones, and those in a folder of files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use b158_datasets::nearest::suggest;
use serde_yaml::Value;

use super::{Task, file};
use crate::{Error, yaml};

macro_rules! embed {
    ($($name:literal)*) => {
        [$((concat!($name, ".yaml"), include_str!(concat!("../../tasks/", $name, ".yaml")))),*]
    };
}

pub(super) const EMBEDDED: [(&str, &str); 12] = embed!(
    "arc_easy" "arc_challenge" "hellaswag" "boolq" "openbookqa" "piqa" "winogrande" "lambada_openai" "lambada_standard"
    "wikitext" "c4" "desk"
);

/// Folders within folders of tasks, at most.
const DEPTH: usize = 8;

/// The text of an embedded task's file.
pub(super) fn embedded(file: &str) -> Option<&'static str> {
    EMBEDDED.iter().find(|(name, _)| *name == file).map(|(_, text)| *text)
}

/// A task file that has been found and not been read through yet.
struct Source {
    file: String,
    text: String,
    folder: Option<PathBuf>,
    /// Another file with the same task.
    other: Option<String>,
}

impl Source {
    fn parse(&self) -> Result<Task, Error> {
        let task = file::parse(&self.file, &self.text, self.folder.as_deref())?;
        match &self.other {
            None => Ok(task),
            Some(other) => Err(Error::Config {
                file: self.file.clone(),
                message: format!("task '{}' is also defined in {other}", task.task),
                hint: "rename one of them".into(),
            }),
        }
    }
}

/// All tasks by name: the embedded ones and those of `task_dir` (files `*.yaml`, in folders of it, too), which win over
/// embedded ones of the same name.
///
/// # Errors
/// [`Error::Read`], [`Error::Config`] for a file that is no task, or for two files with the same task.
pub fn all_tasks(task_dir: Option<&Path>) -> Result<BTreeMap<String, Task>, Error> {
    sources(task_dir)?.into_iter().map(|(name, source)| Ok((name, source.parse()?))).collect()
}

/// The tasks of these names, in this order. What is wrong with other tasks' files does not matter.
///
/// # Errors
/// [`Error::UnknownTask`] with the nearest name, otherwise those of [`all_tasks`].
pub fn find_tasks(names: &[String], task_dir: Option<&Path>) -> Result<Vec<Task>, Error> {
    let sources = sources(task_dir)?;
    let find = |name: &String| {
        if let Some(source) = sources.get(name) {
            return source.parse();
        }
        let known: Vec<&str> = sources.keys().map(String::as_str).collect();
        Err(Error::UnknownTask { name: name.clone(), hint: suggest(name, "tasks", &known) })
    };
    names.iter().map(find).collect()
}

fn sources(task_dir: Option<&Path>) -> Result<BTreeMap<String, Source>, Error> {
    let mut sources: BTreeMap<String, Source> = BTreeMap::new();
    for (file, text) in EMBEDDED {
        let name = file.trim_end_matches(".yaml").to_owned();
        let source = Source { file: file.into(), text: text.into(), folder: None, other: None };
        sources.insert(name, source);
    }
    let Some(dir) = task_dir else { return Ok(sources) };
    let mut files = Vec::new();
    yaml_files(dir, DEPTH, &mut files)?;
    for path in files {
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        // Others are to be included, or are groups.
        let Some(name) = name_in(&file, &text) else { continue };
        let other = sources.get(&name).filter(|s| s.folder.is_some()).map(|s| s.file.clone());
        let folder = path.parent().map(Path::to_path_buf);
        sources.insert(name, Source { file, text, folder, other });
    }
    Ok(sources)
}

/// The task that a file defines. What is no YAML has the name that its line says: whoever asks for it hears what is wrong
/// with it, and nobody else does.
fn name_in(file: &str, text: &str) -> Option<String> {
    if let Ok(value) = yaml::parse::<Value>(file, text) {
        return value.get("task").and_then(Value::as_str).map(str::to_owned);
    }
    let name = text.lines().find_map(|line| line.strip_prefix("task:"))?;
    Some(name.trim().trim_matches(['"', '\'']).to_owned())
}

/// The files `*.yaml` and `*.yml` of a folder and its folders, sorted by name.
fn yaml_files(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let unreadable = |source| Error::Read { path: dir.to_path_buf(), source };
    let mut entries = std::fs::read_dir(dir)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>())
        .map_err(unreadable)?;
    entries.sort();
    for path in entries {
        if path.is_dir() && depth > 0 {
            yaml_files(&path, depth - 1, files)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_tasks_parse_and_are_found_in_the_order_asked_for() {
        let names = ["wikitext".to_owned(), "arc_easy".to_owned()];
        let tasks = find_tasks(&names, None).unwrap();
        assert_eq!(tasks.iter().map(|t| t.task.as_str()).collect::<Vec<_>>(), ["wikitext", "arc_easy"]);
        for (file, text) in EMBEDDED {
            let task = Task::parse(file, text).unwrap();
            assert_eq!(format!("{}.yaml", task.task), file);
            let text = serde_json::to_string(&task).unwrap();
            assert_eq!(serde_json::from_str::<Task>(&text).unwrap(), task);
        }
    }

    #[test]
    fn unknown_tasks_name_the_nearest() {
        let message = |name: &str| find_tasks(&[name.to_owned()], None).unwrap_err().to_string();
        insta::assert_snapshot!(message("arc_esay"), @r"
        unknown task 'arc_esay'
        hint: did you mean 'arc_easy'? tasks: arc_challenge, arc_easy, boolq, c4, desk, hellaswag, lambada_openai, lambada_standard, openbookqa, piqa, wikitext, winogrande
        ");
        insta::assert_snapshot!(message("mmlu"), @r"
        unknown task 'mmlu'
        hint: tasks: arc_challenge, arc_easy, boolq, c4, desk, hellaswag, lambada_openai, lambada_standard, openbookqa, piqa, wikitext, winogrande
        ");
    }

    #[test]
    fn a_folder_of_tasks_adds_and_overrides() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, from: &str, to: &str| {
            std::fs::write(dir.path().join(name), EMBEDDED[0].1.replace(from, to)).unwrap();
        };
        write("a.yaml", "task: arc_easy", "task: mine");
        write("b.yml", "test_split: test", "test_split: validation");
        let tasks = all_tasks(Some(dir.path())).unwrap();
        assert_eq!(tasks.len(), EMBEDDED.len() + 1);
        assert!(tasks.contains_key("mine"));
        assert_eq!(tasks["arc_easy"].split(), "validation");
        write("c.yaml", "task: arc_easy", "task: mine");
        let shown = all_tasks(Some(dir.path())).unwrap_err().to_string();
        insta::assert_snapshot!(shown.replace(&dir.path().display().to_string(), "DIR"), @r"
        DIR/c.yaml: task 'mine' is also defined in DIR/a.yaml
        hint: rename one of them
        ");
    }

    #[test]
    fn files_include_files_and_embedded_tasks() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("more")).unwrap();
        write(
            "base.yaml",
            "output_type: multiple_choice\nmetric_list: [{metric: acc}]\ndoc_to_target: label\n",
        );
        write("more/one.yaml", "include: ../base.yaml\ntask: one\ndoc_to_choice: [a, b]\nnum_fewshot: 1\n");
        write("more/two.yaml", "include: arc_easy.yaml\ntask: two\nmetadata: {version: 2}\n");
        write("more/bad.yaml", "task: bad\n");
        let names = ["one", "two"].map(str::to_owned);
        let found = find_tasks(&names, Some(dir.path())).unwrap();
        assert_eq!((found[0].shots(), found[0].version), (1, 0.0));
        assert_eq!(
            (found[1].doc_to_text.as_str(), found[1].version),
            ("Question: {{question}}\nAnswer:", 2.0)
        );
        let message = |name: &str| {
            let error = find_tasks(&[name.to_owned()], Some(dir.path())).unwrap_err().to_string();
            error.replace(&dir.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(message("bad"), @r"
        DIR/more/bad.yaml, line 1: missing field `output_type`
        hint: add a line 'output_type: ...'
        ");
        write("more/bad.yaml", "task: bad\ninclude: worse.yaml\n");
        write("more/worse.yaml", "include: bad.yaml\n");
        insta::assert_snapshot!(message("bad"), @r"
        DIR/more/bad.yaml: files include each other without end
        hint: correct the `include` lines
        ");
        // lm-eval's own folder has such a file.
        write("more/twice.yaml", "task: twice\ntest_split: a\ntest_split: b\n");
        assert_eq!(find_tasks(&names, Some(dir.path())).unwrap().len(), 2);
        insta::assert_snapshot!(message("twice"), @r#"DIR/more/twice.yaml, line 1: duplicate entry with key "test_split""#);
        // Seven files, each of which includes the next one thirty times: 30^7 readings.
        for i in 1..8 {
            let next = format!("{}.yaml, ", i + 1).repeat(30);
            write(&format!("more/{i}.yaml"), &format!("include: [{}]\n", next.trim_end_matches(", ")));
        }
        write("more/8.yaml", "output_type: multiple_choice\n");
        write("more/bad.yaml", "task: bad\ninclude: 1.yaml\n");
        insta::assert_snapshot!(message("bad"), @r"
        DIR/more/7.yaml: more than 64 files are included
        hint: write their keys into fewer files
        ");
        write("more/bad.yaml", "task: bad\ninclude: 7\n");
        insta::assert_snapshot!(message("bad"), @r"
        DIR/more/bad.yaml: include is no file name
        hint: name one file or a list of files
        ");
    }
}

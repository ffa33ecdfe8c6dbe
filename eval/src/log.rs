//! The sample log: every scored document, written as it comes, so that a killed evaluation loses nothing.
//!
//! ```text
//!   DIR/samples.log/run.json             suite, margins, shard: fixed before the first sample
//!   DIR/samples.log/MODEL/TASK.log       CHECKSUM {"b158": .., "model_sha256": .., "task": .., ...}     the key
//!                                        CHECKSUM {"doc": 7, "ids": .., "scores": [[-1.5, false], ..]}  a record
//!                                        CHECKSUM {"doc": 3, ...
//! ```
//!
//! - A line's checksum is the first 16 hexadecimal digits of the SHA-256 of its JSON. A line is one system call, so a
//!   kill tears at most the last one; what a power failure or a full disk leaves is cut off at the first line that is
//!   not whole, and evaluated again.
//! - The key says what the scores follow from: program, model, task, data, settings. A log with another key is
//!   refused. Which documents are evaluated is not in it, so a limit or a shard may grow.
//! - A record also has the SHA-256 (32 digits) of the token ids that were scored. One whose ids are not those of the
//!   document is not used.
//! - Records come in the order in which documents are done. Results do not depend on it.
//!
//! The [cache](crate::cache) keeps files of the same form.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use b158_checkpoint::{OutputError, write_file};
use b158_datasets::table::sha256;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::compare::Margins;
use crate::request::Request;
use crate::shard::Shard;

/// Name of the logs' folder in a results folder.
pub const LOG_FOLDER: &str = "samples.log";
const RUN_FILE: &str = "run.json";
/// Digits of a line's checksum.
const CHECKSUM: usize = 16;

/// Log-likelihood in nats of each request of a document, and whether its continuation is greedy.
pub(crate) type Scores = Vec<(f64, bool)>;

/// What is fixed before the first sample of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The suite's name.
    pub suite: String,
    /// What the suite calls parity.
    pub margins: Margins,
    /// The part that is evaluated here, if not the whole.
    pub shard: Option<Shard>,
}

/// A log that is ready for more.
#[derive(Debug)]
pub struct Begun {
    /// Its folder.
    pub folder: PathBuf,
    /// Documents, of all models and tasks, that it has the scores of.
    pub logged: usize,
    /// Whether an earlier log was discarded before its evaluation was complete.
    pub discarded: bool,
}

impl Run {
    /// Makes `dir/samples.log` ready: with `resume` for going on, if it is of this very run, otherwise empty.
    ///
    /// # Errors
    /// [`Error::Config`] for the log of another run, or with other margins, and for a folder with something else of
    /// these names; [`Error::Output`].
    pub fn begin(&self, dir: &Path, resume: bool) -> Result<Begun, Error> {
        let folder = dir.join(LOG_FOLDER);
        let failed = |source| OutputError { file: folder.clone(), source };
        let file = folder.join(RUN_FILE);
        crate::folder::check_own(dir)?;
        let was_there = folder.try_exists().map_err(failed)?;
        let begun = file.exists();
        if was_there && !begun && std::fs::read_dir(&folder).map_err(failed)?.next().is_some() {
            return Err(Error::Config {
                file: folder.display().to_string(),
                message: format!("it has no {RUN_FILE}: it is no log of b158, or not all of one"),
                hint: "choose another folder, or remove this one".into(),
            });
        }
        if begun && resume {
            self.check(&file)?;
            let logged = count(&folder).map_err(failed)?;
            return Ok(Begun { folder, logged, discarded: false });
        }
        if was_there {
            std::fs::remove_dir_all(&folder).map_err(failed)?;
        }
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let text = serde_json::to_string_pretty(self).expect("plain values");
        write_file(&file, format!("{text}\n").as_bytes())?;
        let complete = [crate::folder::RESULTS_FILE, crate::shard::SHARD_FILE];
        let discarded = was_there && !resume && !complete.iter().any(|name| dir.join(name).exists());
        Ok(Begun { folder, logged: 0, discarded })
    }

    fn check(&self, file: &Path) -> Result<(), Error> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| Error::Read { path: file.to_path_buf(), source })?;
        let refuse = |message: String, hint: &str| {
            Err(Error::Config { file: file.display().to_string(), message, hint: hint.into() })
        };
        let begun: Self = match serde_json::from_str(&text) {
            Ok(run) => run,
            Err(e) => return refuse(format!("it does not say what the log is of: {e}"), ANEW),
        };
        if begun.suite != self.suite {
            return refuse(format!("the log is of the suite '{}', not '{}'", begun.suite, self.suite), ANEW);
        }
        if begun.margins != self.margins {
            let say =
                |m: &Margins| format!("perplexity_ratio {}, accuracy {}", m.perplexity_ratio, m.accuracy);
            let message = format!(
                "samples were logged under other margins ({}) than the suite's ({}), and margins are fixed before the \
                 evaluation",
                say(&begun.margins),
                say(&self.margins)
            );
            return refuse(message, "restore the margins, or evaluate anew without --resume");
        }
        if begun.shard != self.shard {
            let say = |shard: Option<Shard>| shard.map_or("the whole".into(), |s| format!("shard {s}"));
            let message = format!("the log is of {}, not of {}", say(begun.shard), say(self.shard));
            return refuse(message, "give each shard a folder of its own");
        }
        Ok(())
    }
}

/// Documents in the logs of a folder.
fn count(folder: &Path) -> std::io::Result<usize> {
    let mut documents = 0;
    for model in folder.read_dir()? {
        let model = model?.path();
        if model.is_dir() {
            for log in model.read_dir()? {
                documents += parse(&std::fs::read(log?.path())?).1.len();
            }
        }
    }
    Ok(documents)
}

const ANEW: &str = "choose another folder, or evaluate anew without --resume";

/// What log-likelihoods follow from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Version of the program, with the commit where it is known. Builds of one version are taken for equal: who
    /// changes the arithmetic evaluates anew.
    pub b158: String,
    /// SHA-256 of weights, config and tokenizer.
    pub model_sha256: String,
    /// The task's name.
    pub task: String,
    /// SHA-256 of its definition.
    pub task_sha256: String,
    /// SHA-256 of its rows.
    pub data_sha256: String,
    /// Everything else: preset, length, special tokens; not the number of documents.
    pub settings: serde_json::Value,
}

impl Key {
    /// What another key has different, in words.
    fn difference(&self, other: &Self) -> String {
        let texts = [
            ("another version of b158", &self.b158, &other.b158),
            ("another model", &self.model_sha256, &other.model_sha256),
            ("another task", &self.task, &other.task),
            ("another definition of the task", &self.task_sha256, &other.task_sha256),
            ("other data", &self.data_sha256, &other.data_sha256),
        ];
        let short = |text: &str| text.get(..12).unwrap_or(text).to_owned();
        match texts.iter().find(|(_, a, b)| a != b) {
            Some((what, theirs, ours)) => {
                format!("{what} ({}, not {})", short(theirs), short(ours))
            }
            None => format!("other settings ({}, not {})", self.settings, other.settings),
        }
    }
}

/// A document's scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Index of the document.
    pub doc: usize,
    /// [`fingerprint`] of its requests.
    pub ids: String,
    /// One per request.
    pub scores: Scores,
}

/// Records by document. Of several, the last holds.
pub(crate) type Records = BTreeMap<usize, Record>;

/// SHA-256 of the token ids that a document's requests read and score, as 32 hexadecimal digits.
pub(crate) fn fingerprint(requests: &[Request], max_length: usize) -> String {
    let mut hash = Sha256::new();
    for request in requests {
        for ids in [request.visible_context(max_length), &request.cont_ids] {
            hash.update((ids.len() as u64).to_le_bytes());
            for id in ids {
                hash.update(id.to_le_bytes());
            }
        }
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A line of a log.
pub(crate) fn line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("plain values");
    format!("{} {json}\n", &sha256(json.as_bytes())[..CHECKSUM])
}

/// The key and the records of a log, and how many bytes of it are whole.
pub(crate) fn parse(bytes: &[u8]) -> (Option<Key>, Records, usize) {
    let (mut key, mut records, mut whole) = (None, Records::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(json) = checked(line) else { break };
        if key.is_none() {
            let Ok(value) = serde_json::from_str(json) else { break };
            key = Some(value);
        } else {
            let Ok(record) = serde_json::from_str::<Record>(json) else { break };
            records.insert(record.doc, record);
        }
        whole += line.len();
    }
    (key, records, whole)
}

/// The JSON of a line that is whole.
fn checked(line: &[u8]) -> Option<&str> {
    let (checksum, json) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
    (checksum == &sha256(json.as_bytes())[..CHECKSUM]).then_some(json)
}

/// The log of one task on one model, open for more records.
pub(crate) struct Log {
    path: PathBuf,
    file: Mutex<File>,
}

impl Log {
    /// Opens or begins `folder/MODEL/TASK.log` and reads what it has.
    ///
    /// # Errors
    /// [`Error::Config`] if it has another key, or another program writes to it; [`Error::Output`].
    pub(crate) fn open(folder: &Path, model: &str, key: &Key) -> Result<(Self, Records), Error> {
        let path = folder.join(model).join(format!("{}.log", key.task));
        let failed = |source| OutputError { file: path.clone(), source };
        std::fs::create_dir_all(folder.join(model)).map_err(failed)?;
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(failed)?;
        let refuse = |message: String, hint: &str| {
            Err(Error::Config { file: path.display().to_string(), message, hint: hint.into() })
        };
        // Not every file system has locks.
        if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
            return refuse(
                "another evaluation writes to this log".into(),
                "wait for it, or choose another folder",
            );
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let (found, records, whole) = parse(&bytes);
        if let Some(found) = &found
            && found != key
        {
            return refuse(format!("the log is of {}", found.difference(key)), ANEW);
        }
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        if found.is_none() {
            file.write_all(line(key).as_bytes()).map_err(failed)?;
        }
        Ok((Self { path, file: Mutex::new(file) }, records))
    }

    /// Adds records, with one system call.
    ///
    /// # Errors
    /// [`Error::Output`], for instance of a full disk.
    pub(crate) fn append(&self, records: &[Record]) -> Result<(), Error> {
        let text: String = records.iter().map(line).collect();
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(text.as_bytes())
            .map_err(|source| OutputError { file: self.path.clone(), source }.into())
    }

    /// Flushes the log to the disk.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.sync_data().map_err(|source| OutputError { file: self.path.clone(), source }.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key() -> Key {
        Key {
            b158: "1.2.3".into(),
            model_sha256: "a".repeat(64),
            task: "arc_easy".into(),
            task_sha256: "b".repeat(64),
            data_sha256: "c".repeat(64),
            settings: json!({"preset": "lm-eval", "max_length": 64}),
        }
    }

    fn record(doc: usize, ll: f64) -> Record {
        Record { doc, ids: "0123".into(), scores: vec![(ll, false), (ll / 3.0, true)] }
    }

    fn records(docs: &[usize]) -> Records {
        docs.iter().map(|doc| (*doc, record(*doc, -0.1 * *doc as f64))).collect()
    }

    fn written(docs: &[usize]) -> String {
        line(&key()) + &records(docs).values().map(line).collect::<String>()
    }

    #[test]
    fn the_form_is_pinned() {
        insta::assert_snapshot!(written(&[2]), @r#"
        2526fb1cdfa2ec2c {"b158":"1.2.3","model_sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","task":"arc_easy","task_sha256":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","data_sha256":"cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc","settings":{"preset":"lm-eval","max_length":64}}
        fadaba02b272c113 {"doc":2,"ids":"0123","scores":[[-0.2,false],[-0.06666666666666667,true]]}
        "#);
    }

    #[test]
    fn a_log_goes_on_after_its_last_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m/arc_easy.log");
        let open = |key: &Key| Log::open(dir.path(), "m", key);
        let (log, found) = open(&key()).unwrap();
        assert!(found.is_empty());
        log.append(&[record(1, -0.1)]).unwrap();
        // A second writer would mix with the first.
        let refused = open(&key()).err().unwrap().to_string();
        assert!(refused.contains("another evaluation writes to this log"), "{refused}");
        drop(log);
        let torn = std::fs::read_to_string(&path).unwrap() + &line(&record(2, -0.2))[..30];
        std::fs::write(&path, torn).unwrap();
        let (log, found) = open(&key()).unwrap();
        assert_eq!(found, records(&[1]));
        log.append(&[record(3, -0.1 * 3.0)]).unwrap();
        log.sync().unwrap();
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), written(&[1, 3]));
    }

    #[test]
    fn logs_of_something_else_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Log::open(dir.path(), "m", &key()).unwrap());
        let refused = |key: Key| {
            let message = Log::open(dir.path(), "m", &key).err().unwrap().to_string();
            message.replace(&dir.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(refused(Key { model_sha256: "d".repeat(64), ..key() }), @r"
        DIR/m/arc_easy.log: the log is of another model (aaaaaaaaaaaa, not dddddddddddd)
        hint: choose another folder, or evaluate anew without --resume
        ");
        insta::assert_snapshot!(refused(Key { task_sha256: "d".repeat(64), ..key() }), @r"
        DIR/m/arc_easy.log: the log is of another definition of the task (bbbbbbbbbbbb, not dddddddddddd)
        hint: choose another folder, or evaluate anew without --resume
        ");
        insta::assert_snapshot!(refused(Key { data_sha256: "d".repeat(64), ..key() }), @r"
        DIR/m/arc_easy.log: the log is of other data (cccccccccccc, not dddddddddddd)
        hint: choose another folder, or evaluate anew without --resume
        ");
        insta::assert_snapshot!(refused(Key { settings: json!({"max_length": 32}), ..key() }), @r#"
        DIR/m/arc_easy.log: the log is of other settings ({"preset":"lm-eval","max_length":64}, not {"max_length":32})
        hint: choose another folder, or evaluate anew without --resume
        "#);
        insta::assert_snapshot!(refused(Key { b158: "1.2.4".into(), ..key() }), @r"
        DIR/m/arc_easy.log: the log is of another version of b158 (1.2.3, not 1.2.4)
        hint: choose another folder, or evaluate anew without --resume
        ");
    }

    #[test]
    fn a_run_goes_on_only_as_it_was_begun() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run { suite: "desk".into(), margins: Margins::default(), shard: None };
        let begin = |run: &Run, resume| match run.begin(dir.path(), resume) {
            Ok(Begun { discarded, logged, .. }) => format!("discarded: {discarded}, logged: {logged}"),
            Err(e) => e.to_string().replace(&dir.path().display().to_string(), "DIR"),
        };
        // With nothing there, --resume begins.
        assert_eq!(begin(&run, true), "discarded: false, logged: 0");
        assert_eq!(begin(&run, true), "discarded: false, logged: 0");
        std::fs::create_dir(dir.path().join(LOG_FOLDER).join("m")).unwrap();
        let torn = written(&[1, 4]) + "torn";
        std::fs::write(dir.path().join(LOG_FOLDER).join("m/arc_easy.log"), torn).unwrap();
        assert_eq!(begin(&run, true), "discarded: false, logged: 2");
        insta::assert_snapshot!(begin(&Run { suite: "other".into(), ..run.clone() }, true), @r"
        DIR/samples.log/run.json: the log is of the suite 'desk', not 'other'
        hint: choose another folder, or evaluate anew without --resume
        ");
        let margins = Margins { perplexity_ratio: 1.1, ..Margins::default() };
        insta::assert_snapshot!(begin(&Run { margins, ..run.clone() }, true), @r"
        DIR/samples.log/run.json: samples were logged under other margins (perplexity_ratio 1.02, accuracy 0.01) than the suite's (perplexity_ratio 1.1, accuracy 0.01), and margins are fixed before the evaluation
        hint: restore the margins, or evaluate anew without --resume
        ");
        let shard = Some("1/2".parse().unwrap());
        insta::assert_snapshot!(begin(&Run { shard, ..run.clone() }, true), @r"
        DIR/samples.log/run.json: the log is of the whole, not of shard 1/2
        hint: give each shard a folder of its own
        ");
        // Without --resume it begins anew, whatever is there.
        assert_eq!(begin(&Run { margins, ..run.clone() }, false), "discarded: true, logged: 0");
        std::fs::write(dir.path().join(crate::folder::RESULTS_FILE), "{\"suite_sha256\": \"\"}").unwrap();
        assert_eq!(begin(&run, false), "discarded: false, logged: 0", "its evaluation was complete");
        std::fs::write(dir.path().join(LOG_FOLDER).join(RUN_FILE), "{").unwrap();
        insta::assert_snapshot!(begin(&run, true), @r"
        DIR/samples.log/run.json: it does not say what the log is of: EOF while parsing an object at line 1 column 1
        hint: choose another folder, or evaluate anew without --resume
        ");
    }

    #[test]
    fn what_others_put_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run { suite: "desk".into(), margins: Margins::default(), shard: None };
        let refused = |resume| {
            let message = run.begin(dir.path(), resume).unwrap_err().to_string();
            message.replace(&dir.path().display().to_string(), "DIR")
        };
        std::fs::write(dir.path().join(crate::folder::RESULTS_FILE), "{}").unwrap();
        insta::assert_snapshot!(refused(false), @r"
        DIR/results.json: it is not of b158, and would be replaced
        hint: choose another folder, or remove the file
        ");
        std::fs::remove_file(dir.path().join(crate::folder::RESULTS_FILE)).unwrap();
        // An empty folder is what a kill before the first file leaves.
        let log = dir.path().join(LOG_FOLDER);
        std::fs::create_dir(&log).unwrap();
        run.begin(dir.path(), true).unwrap();
        std::fs::create_dir(log.join("m")).unwrap();
        std::fs::remove_file(log.join(RUN_FILE)).unwrap();
        insta::assert_snapshot!(refused(false), @r"
        DIR/samples.log: it has no run.json: it is no log of b158, or not all of one
        hint: choose another folder, or remove this one
        ");
        assert_eq!(refused(true), refused(false));
        assert!(log.join("m").exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_a_clear_error() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let log = Log { path: "m/arc_easy.log".into(), file: Mutex::new(file) };
        insta::assert_snapshot!(log.append(&[record(1, -1.0)]).unwrap_err(), @r"
        m/arc_easy.log: cannot write: No space left on device (os error 28)
        hint: the disk is full; free some space or choose another folder
        ");
    }

    proptest! {
        #[test]
        fn any_cut_leaves_whole_records(docs in prop::collection::vec(0_usize..50, 0..6), cut in 0.0_f64..1.0) {
            let text = line(&key()) + &docs.iter().map(|d| line(&record(*d, -0.1 * *d as f64))).collect::<String>();
            let cut = (cut * text.len() as f64) as usize;
            let (found, some, whole) = parse(&text.as_bytes()[..cut]);
            let lines = text[..cut].matches('\n').count();
            prop_assert_eq!(found.is_some(), lines > 0);
            prop_assert_eq!(some, records(&docs[..lines.saturating_sub(1)]));
            prop_assert!(whole <= cut);
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0_usize..10_000, to in any::<u8>()) {
            let mut bytes = written(&[1, 2, 3]).into_bytes();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            let (_, found, _) = parse(&bytes);
            prop_assert!(found.values().all(|r| *r == records(&[1, 2, 3])[&r.doc]));
            prop_assert!(found.len() < 3);
        }

        #[test]
        fn any_log_likelihood_reads_back_bit_for_bit(bits in any::<u64>()) {
            let ll = f64::from_bits(bits);
            prop_assume!(ll.is_finite());
            let text = line(&key()) + &line(&record(0, ll));
            prop_assert_eq!(parse(text.as_bytes()).1[&0].scores[0].0.to_bits(), bits);
        }
    }
}

//! Runs tasks on a model.
//!
//! ```text
//!   task + document --> requests --> batches --> log-likelihoods --> document result --> metrics
//!                       (all tasks)  (order)      (in parallel, logged as they come; results in document order)
//! ```
//!
//! Nothing depends on the number of threads, or on what the log and the cache know already: every request is scored
//! by itself and sums run in document order.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use b158_datasets::{DataSource, Dataset};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::digest::rows_digest;
use crate::environment::program;
use crate::log::{Key, Log, Record, Records, fingerprint};
use crate::order::batches;
use crate::prepare::{Documents, Prepared, prepare};
use crate::request::Encoder;
use crate::results::{Document, ModelResults, Sample, Settings, TaskResults};
use crate::shard::Shard;
use crate::task::Task;
use crate::{Error, LanguageModel, ScoreRequest};

/// A named set of prompting and scoring rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// lm-evaluation-harness 0.4.13.
    #[default]
    LmEval,
    /// The pipeline of b1.58's authors: see [`crate::request`].
    Paper,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 2] = [Self::LmEval, Self::Paper];

    /// Its name in suites and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::LmEval => "lm-eval",
            Self::Paper => "paper",
        }
    }
}

/// How to evaluate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EvalOptions {
    /// The model's name in results.
    pub name: String,
    /// SHA-256 of the model's weights, config and tokenizer. What the log and the cache know is taken for scores of
    /// the model with this digest.
    pub model_sha256: String,
    /// Prompting and scoring rules.
    pub preset: Preset,
    /// At most this many documents of each task, from the first one on.
    pub limit: Option<usize>,
    /// Examples before each question; the tasks' own number if not given.
    pub num_fewshot: Option<usize>,
    /// Whether the tokenizer adds its special tokens (usually BOS); its own configuration decides if not given.
    pub add_bos: Option<bool>,
    /// Longest input in tokens; the model's own if not given, and never more.
    pub max_length: Option<usize>,
    /// The documents of one shard only.
    pub shard: Option<Shard>,
    /// Folder for the log of samples, from which an evaluation goes on: see [`crate::log`].
    pub log: Option<PathBuf>,
    /// Folder of the cache: see [`crate::cache`].
    pub cache: Option<PathBuf>,
}

/// Told about the progress of an evaluation; `()` ignores it. Calls come from several threads.
pub trait Progress: Sync {
    /// So many tokens are to be read for the tasks of this model.
    fn begin(&self, tokens: u64);
    /// A task starts.
    fn task(&self, task: &str);
    /// So many more tokens were read.
    fn advance(&self, tokens: u64);
    /// The model is done.
    fn end(&self);
}

impl Progress for () {
    fn begin(&self, _: u64) {}
    fn task(&self, _: &str) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}

/// Evaluates a model on tasks.
///
/// # Errors
/// Missing data, a document that its task cannot use ([`Error::Document`]; the first one in task and document order,
/// before anything is scored), a failure of the model ([`Error::Model`]), or a log that is of something else or cannot
/// be written.
pub fn evaluate(
    model: &dyn LanguageModel,
    tasks: &[Task],
    data: &DataSource,
    options: &EvalOptions,
    progress: &dyn Progress,
) -> Result<ModelResults, Error> {
    if options.limit == Some(0) || options.max_length == Some(0) || model.max_length() == 0 {
        let message = "a limit or context length of 0 leaves nothing to evaluate".into();
        return Err(Error::Config { file: "options".into(), message, hint: "leave it out".into() });
    }
    let max_length = options.max_length.map_or(model.max_length(), |n| n.min(model.max_length()));
    let settings =
        Settings { preset: options.preset, limit: options.limit, add_bos: options.add_bos, max_length };
    let encoder = Encoder::new(model, options.preset, options.add_bos.unwrap_or(true), max_length)?;
    let tasks: Vec<Task> = tasks.iter().map(|task| task.under(options.preset, options.num_fewshot)).collect();
    let cache = options.cache.as_deref().map(Cache::open).transpose()?;
    let mut plans = Vec::with_capacity(tasks.len());
    for task in &tasks {
        plans.push(Plan::new(task, data, &encoder, &settings, options, cache.as_ref())?);
    }
    progress.begin(plans.iter().map(Plan::tokens).sum());
    let mut results = ModelResults {
        name: options.name.clone(),
        model_sha256: options.model_sha256.clone(),
        settings,
        tasks: Vec::new(),
    };
    for plan in plans {
        progress.task(&plan.task.task);
        results.tasks.push(plan.run(model, max_length, cache.as_ref(), progress)?);
    }
    progress.end();
    Ok(results)
}

/// A document, ready to be scored.
struct Planned {
    /// Its index in the data.
    id: usize,
    prepared: Prepared,
    /// [`fingerprint`] of its requests.
    ids: String,
}

/// A task, its documents, and what is known of them.
struct Plan<'t> {
    task: &'t Task,
    origin: String,
    original: usize,
    documents: Vec<Planned>,
    examples_sha256: String,
    key: Key,
    known: Records,
    log: Option<Log>,
}

impl<'t> Plan<'t> {
    fn new(
        task: &'t Task,
        data: &DataSource,
        encoder: &Encoder,
        settings: &Settings,
        options: &EvalOptions,
        cache: Option<&Cache>,
    ) -> Result<Self, Error> {
        let split = task.split();
        let dataset = data.load(task.stem(split), split)?;
        let data_sha256 = rows_digest(&dataset.rows);
        let Documents { original, prepared, examples_sha256 } =
            prepare(task, &dataset, data, encoder, options.limit, options.shard)?;
        let planned = |(id, prepared): (usize, Prepared)| {
            let ids = fingerprint(&prepared.requests, settings.max_length);
            Planned { id, prepared, ids }
        };
        let documents: Vec<Planned> = prepared.into_iter().map(planned).collect();
        let Dataset { origin, .. } = dataset;
        let key = Key {
            b158: program(),
            model_sha256: options.model_sha256.clone(),
            task: task.task.clone(),
            task_sha256: task.sha256(),
            data_sha256,
            settings: settings.of_scores(),
        };
        let mut known = cache.map_or_else(Records::new, |cache| cache.read(&key));
        let mut log = None;
        if let Some(folder) = &options.log {
            let (opened, logged) = Log::open(folder, &options.name, &key)?;
            known.extend(logged);
            log = Some(opened);
        }
        // What is known of other ids, or of other documents, is of no use here.
        known.retain(|id, record| {
            let document = documents.binary_search_by_key(id, |document| document.id);
            document.is_ok_and(|i| {
                record.ids == documents[i].ids
                    && record.scores.len() == documents[i].prepared.requests.len()
                    && record.scores.iter().all(|(loglikelihood, _)| loglikelihood.is_finite())
            })
        });
        Ok(Self { task, origin, original, documents, examples_sha256, key, known, log })
    }

    /// Documents whose scores are not known.
    fn open(&self) -> Vec<&Planned> {
        self.documents.iter().filter(|document| !self.known.contains_key(&document.id)).collect()
    }

    /// Tokens that are still to be read.
    fn tokens(&self) -> u64 {
        self.open().iter().map(|document| document.tokens()).sum()
    }

    fn run(
        mut self,
        model: &dyn LanguageModel,
        max_length: usize,
        cache: Option<&Cache>,
        progress: &dyn Progress,
    ) -> Result<TaskResults, Error> {
        let failed = AtomicBool::new(false);
        let open = self.open();
        let score = |batch: Vec<&Planned>| {
            // Once something failed nothing else is begun.
            if failed.load(Ordering::Relaxed) {
                return Ok(Vec::new());
            }
            let records = self.score(model, &batch, max_length);
            failed.fetch_or(records.is_err(), Ordering::Relaxed);
            progress.advance(batch.iter().map(|document| document.tokens()).sum());
            records
        };
        let scored: Vec<Result<Vec<Record>, Error>> = batches(open, |document| &document.prepared.requests)
            .into_iter()
            .par_bridge()
            .map(score)
            .collect();
        let mut new = Records::new();
        for records in scored {
            new.extend(records?.into_iter().map(|record| (record.doc, record)));
        }
        if let Some(log) = &self.log {
            log.sync()?;
        }
        if let Some(cache) = cache.filter(|_| !new.is_empty()) {
            cache.add(&self.key, new.clone())?;
        }
        self.known.extend(new);
        Ok(self.results())
    }

    /// Scores the documents of a batch and logs them.
    fn score(
        &self,
        model: &dyn LanguageModel,
        batch: &[&Planned],
        max_length: usize,
    ) -> Result<Vec<Record>, Error> {
        let requests = batch.iter().flat_map(|document| &document.prepared.requests);
        // A text without tokens has likelihood 1.
        let has_tokens = requests.filter(|request| !request.cont_ids.is_empty());
        let asked: Vec<ScoreRequest<'_>> = has_tokens
            .map(|r| ScoreRequest { context: r.visible_context(max_length), continuation: &r.cont_ids })
            .collect();
        let mut answers = model.score_batch(&asked)?.into_iter();
        let mut records = Vec::with_capacity(batch.len());
        for document in batch {
            let mut scores = Vec::with_capacity(document.prepared.requests.len());
            for request in &document.prepared.requests {
                let mut score = (0.0, true);
                if !request.cont_ids.is_empty() {
                    let answer = answers.next().expect("a score for each request");
                    score = (answer.sum(), answer.greedy);
                }
                if !score.0.is_finite() {
                    let message = format!("the model's log-likelihood is {}", score.0);
                    let refusal = (message, "the model's weights or its conversion are damaged".into());
                    return Err(refused(self.task, &self.origin, document.id, refusal));
                }
                scores.push(score);
            }
            records.push(Record { doc: document.id, ids: document.ids.clone(), scores });
        }
        if let Some(log) = &self.log {
            log.append(&records)?;
        }
        Ok(records)
    }

    /// The results, once every document's scores are known.
    fn results(mut self) -> TaskResults {
        let mut documents = Vec::with_capacity(self.documents.len());
        for Planned { id, prepared: Prepared { requests, question }, .. } in self.documents {
            let scores = self.known.remove(&id).expect("every document was scored").scores;
            let samples = requests.into_iter().zip(scores);
            let samples: Vec<Sample> = samples
                .map(|(request, (loglikelihood, greedy))| Sample { request, loglikelihood, greedy })
                .collect();
            let outcome = question.outcome(self.task, &samples);
            documents.push(Document { id, samples, outcome });
        }
        TaskResults::new(self.task.clone(), self.original, documents)
            .of_data(self.key.data_sha256, self.examples_sha256)
    }
}

impl Planned {
    /// Tokens that the model reads for it: what its requests have in common once.
    fn tokens(&self) -> u64 {
        let requests = &self.prepared.requests;
        let inputs = requests.iter().map(|r| (r.ctx_ids.len() + r.cont_ids.len()).saturating_sub(1));
        let shared = requests.iter().map(|r| r.ctx_ids.len()).min().unwrap_or(0);
        inputs.sum::<usize>().saturating_sub(shared * requests.len().saturating_sub(1)) as u64
    }
}

fn refused(task: &Task, origin: &str, document: usize, (message, hint): (String, String)) -> Error {
    let (task, origin) = (task.task.clone(), origin.to_owned());
    Error::Document { task, document, origin, message, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Score;
    use crate::task::all_tasks;

    /// One token per byte; the log-likelihood of a continuation is minus the sum of its ids.
    struct Bytes {
        broken: bool,
    }

    impl LanguageModel for Bytes {
        fn encode(&self, text: &str, _: bool) -> Result<Vec<u32>, Error> {
            Ok(text.bytes().map(u32::from).collect())
        }
        fn bos(&self) -> Option<u32> {
            Some(256)
        }
        fn bos_text(&self) -> Option<&str> {
            None
        }
        fn eos(&self) -> Option<u32> {
            Some(257)
        }
        fn max_length(&self) -> usize {
            64
        }
        fn score(&self, _: &[u32], continuation: &[u32]) -> Result<Score, Error> {
            let logprobs = continuation.iter().map(|id| if self.broken { f64::NAN } else { -f64::from(*id) });
            Ok(Score { logprobs: logprobs.collect(), greedy: false })
        }
    }

    fn run(task: &str, rows: &str, broken: bool) -> Result<TaskResults, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(format!("{task}.jsonl")), rows).unwrap();
        let tasks = [all_tasks(None).unwrap()[task].clone()];
        let data = DataSource::folder(dir.path());
        match evaluate(&Bytes { broken }, &tasks, &data, &EvalOptions::default(), &()) {
            Ok(mut results) => Ok(results.tasks.remove(0)),
            Err(error) => Err(error.to_string().replace(&dir.path().display().to_string(), "DATA")),
        }
    }

    const GOOD: &str =
        r#"{"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}"#;

    fn arc(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "nothing to replace");
        let bad = GOOD.replace(from, to);
        run("arc_easy", &format!("{GOOD}\n{bad}\n"), false).unwrap_err()
    }

    #[test]
    fn bad_documents_are_named() {
        insta::assert_snapshot!(arc("\"answerKey\": \"A\"", "\"answerKey\": \"E\""), @r#"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: doc_to_target "{{choices.label.index(answerKey)}}": invalid operation: label 'E' is not in ['A', 'B']
        hint: correct the document or doc_to_target in the task file
        "#);
        insta::assert_snapshot!(arc("question", "qestion"), @r#"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: doc_to_text "Question: {{question}}\nAnswer:": undefined value
        hint: the document's columns: qestion, choices, answerKey
        "#);
        insta::assert_snapshot!(arc("choices", "options"), @r#"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: doc_to_choice "{{choices.text}}": undefined value
        hint: the document's columns: question, options, answerKey
        "#);
        insta::assert_snapshot!(arc("[\"a\", \"b\"]", "[\"a\", \"\"]"), @r"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: choice 1 is empty
        hint: correct the document or leave it out
        ");
        insta::assert_snapshot!(arc("[\"a\", \"b\"]", "[]"), @r"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: it has no choices
        hint: correct the document or leave it out
        ");
        insta::assert_snapshot!(arc("[\"a\", \"b\"]", "\"ab\""), @r#"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: doc_to_choice "{{choices.text}}" gives 'ab', which is not a list
        hint: name a column of texts or write one expression that gives a list
        "#);
        insta::assert_snapshot!(arc("\"b\"", &format!("\"{}\"", "b".repeat(70))), @r"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: the continuation has 71 tokens, the model reads at most 64
        hint: raise the context length or leave the document out
        ");
        let twice = GOOD.replace("\"question\"", "\"id\": \"q7\", \"question\"");
        insta::assert_snapshot!(run("arc_easy", &format!("{twice}\n{GOOD}\n{twice}"), false).unwrap_err(), @r#"
        task arc_easy, document 2 of DATA/arc_easy.jsonl: its id "q7" is also that of document 0
        hint: remove one of them, or correct its id
        "#);
        insta::assert_snapshot!(arc("}", ""), @r"
        DATA/arc_easy.jsonl, line 2: EOF while parsing an object at column 87
        hint: a .jsonl file holds one JSON object per line
        ");
        insta::assert_snapshot!(run("wikitext", r#"{"txt": "a"}"#, false).unwrap_err(), @r"
        task wikitext, document 0 of DATA/wikitext.jsonl: doc_to_target names the column 'page', which the document lacks
        hint: its columns: txt
        ");
        insta::assert_snapshot!(run("arc_easy", GOOD, true).unwrap_err(), @r"
        task arc_easy, document 0 of DATA/arc_easy.jsonl: the model's log-likelihood is NaN
        hint: the model's weights or its conversion are damaged
        ");
    }

    #[test]
    fn a_label_beyond_the_choices_is_refused() {
        let one =
            GOOD.replace("[\"a\", \"b\"]", "[\"a\"]").replace("\"answerKey\": \"A\"", "\"answerKey\": \"B\"");
        insta::assert_snapshot!(run("arc_easy", &one, false).unwrap_err(), @r"
        task arc_easy, document 0 of DATA/arc_easy.jsonl: the label 1 is none of its 1 choices
        hint: doc_to_target gives the index of the right choice, from 0, or its text
        ");
    }

    #[test]
    fn an_empty_page_counts_with_its_words() {
        let results = run("wikitext", "{\"page\": \"\"}\n{\"page\": \"\\u0001\"}", false).unwrap();
        assert_eq!(results.documents[0].samples.len(), 1);
        assert_eq!(results.documents[0].loglikelihood(), 0.0);
        // One byte of id 1: -1 nat over two words and one byte.
        let values: Vec<f64> = results.metrics().iter().map(|m| m.value).collect();
        assert_eq!(values, [libm::exp(0.5), libm::exp(1.0), 1.0 / std::f64::consts::LN_2]);
    }

    #[test]
    fn windows_of_packed_texts_are_documents() {
        let tasks = [all_tasks(None).unwrap()["wikitext"].clone()];
        let dir = tempfile::tempdir().unwrap();
        let row = format!("{{\"page\": \"{}\"}}\n", "forty characters or so fill most of it\\n".repeat(3));
        std::fs::write(dir.path().join("wikitext.jsonl"), row.repeat(2)).unwrap();
        let data = DataSource::folder(dir.path());
        let run = |limit, shard: Option<&str>| {
            let shard = shard.map(|text| text.parse().unwrap());
            let options = EvalOptions { preset: Preset::Paper, limit, shard, ..EvalOptions::default() };
            evaluate(&Bytes { broken: false }, &tasks, &data, &options, &()).unwrap().tasks.remove(0)
        };
        let ids = |results: &TaskResults| results.documents.iter().map(|d| d.id).collect::<Vec<_>>();
        let whole = run(None, None);
        assert_eq!((whole.original, ids(&whole)), (6, vec![0, 1, 2, 3, 4, 5]));
        let first = run(Some(3), None);
        assert_eq!((first.original, &first.documents[..]), (6, &whole.documents[..3]));
        let parts = [run(Some(3), Some("1/2")), run(Some(3), Some("2/2"))];
        let mut dealt: Vec<usize> = parts.iter().flat_map(ids).collect();
        dealt.sort_unstable();
        assert_eq!((parts[1].original, dealt), (6, vec![0, 1, 2]));
    }

    #[test]
    fn limits() {
        let tasks = [all_tasks(None).unwrap()["openbookqa"].clone()];
        let dir = tempfile::tempdir().unwrap();
        let row = r#"{"question_stem": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}"#;
        std::fs::write(dir.path().join("openbookqa.jsonl"), format!("{row}\n").repeat(3)).unwrap();
        let data = DataSource::folder(dir.path());
        let with = |options| evaluate(&Bytes { broken: false }, &tasks, &data, &options, &());
        let two = with(EvalOptions { limit: Some(2), ..EvalOptions::default() }).unwrap();
        assert_eq!((two.tasks[0].documents.len(), two.tasks[0].original), (2, 3));
        let none = with(EvalOptions { limit: Some(0), ..EvalOptions::default() });
        insta::assert_snapshot!(none.unwrap_err(), @r"
        options: a limit or context length of 0 leaves nothing to evaluate
        hint: leave it out
        ");
    }
}

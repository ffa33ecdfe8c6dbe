//! Where and when results were made: `environment.json`, beside them and not in them, since they are the same
//! everywhere.
//!
//! ```text
//!   {
//!     "b158": "0.1.0", "commit": .., "rustc": "rustc 1.95.0 (..)",
//!     "os": "linux", "arch": "x86_64", "cpu": "..", "isa": "avx512", "threads": 8,
//!     "started": "2026-01-31T12:00:00Z", "seconds": 12.5,
//!     "suite_sha256": .., "digest": {MODEL: ..}
//!   }
//! ```

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use b158_checkpoint::write_file;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Error, SuiteResults};

/// Name of the file in a results folder.
pub const ENVIRONMENT_FILE: &str = "environment.json";

/// The commit that the program was built from, if the build knew it.
fn commit() -> Option<&'static str> {
    option_env!("B158_COMMIT").filter(|commit| !commit.is_empty())
}

/// Which program computes: its version, with the commit where the build knew it. Logs, caches and shards of another
/// program are not taken up.
pub(crate) fn program() -> String {
    let version = env!("CARGO_PKG_VERSION");
    commit().map_or_else(|| version.to_owned(), |commit| format!("{version}+{commit}"))
}

/// Program, machine and time of an evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    b158: &'static str,
    /// The commit that the program was built from, if the build knew it (`B158_COMMIT`).
    commit: Option<&'static str>,
    rustc: &'static str,
    os: &'static str,
    arch: &'static str,
    cpu: Option<String>,
    isa: String,
    threads: usize,
    /// UTC, RFC 3339.
    started: String,
    #[serde(skip)]
    clock: Instant,
}

impl Environment {
    /// The environment of an evaluation that starts now.
    pub fn new(isa: &str, threads: usize) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            b158: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            rustc: env!("B158_RUSTC"),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cpu: cpu(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            isa: isa.to_owned(),
            threads,
            started: rfc3339(since_epoch.as_secs()),
            clock: Instant::now(),
        }
    }

    /// When the evaluation started: UTC, RFC 3339.
    pub fn started(&self) -> &str {
        &self.started
    }

    /// Writes `environment.json` beside the results that were made in it.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn write(&self, dir: &Path, results: &SuiteResults) -> Result<(), Error> {
        let mut json = serde_json::to_value(self).expect("plain values");
        json["seconds"] = json!(self.clock.elapsed().as_secs_f64());
        json["suite_sha256"] = json!(results.suite_sha256());
        json["digest"] = results.models.iter().map(|m| (m.name.clone(), json!(m.digest()))).collect();
        write(dir, &json)
    }
}

/// Writes the environments of shards as that of their merged results. A shard without the file has null.
///
/// # Errors
/// [`Error::Output`].
pub fn write_merged(dir: &Path, shards: &[impl AsRef<Path>]) -> Result<(), Error> {
    let of_shard = |folder: &Path| -> Value {
        let text = std::fs::read_to_string(folder.join(ENVIRONMENT_FILE)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    };
    let shards: Vec<Value> = shards.iter().map(|folder| of_shard(folder.as_ref())).collect();
    write(dir, &Value::Object(Map::from_iter([("merged".to_owned(), json!(shards))])))
}

fn write(dir: &Path, json: &Value) -> Result<(), Error> {
    Ok(write_file(&dir.join(ENVIRONMENT_FILE), format!("{json:#}\n").as_bytes())?)
}

/// The processor's name in Linux's `/proc/cpuinfo`, where there is one.
fn cpu(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Seconds since 1970 as UTC. (The days by H. Hinnant, chrono-Compatible Low-Level Date Algorithms, `civil_from_days`:
/// years begin in March, so that a leap day is a year's last.)
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(rfc3339(1_704_067_199), "2023-12-31T23:59:59Z");
    }

    #[test]
    fn processors() {
        assert_eq!(
            cpu("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n").as_deref(),
            Some("Some CPU @ 2 GHz")
        );
        assert_eq!(cpu("processor\t: 0\nCPU implementer\t: 0x41\n"), None);
    }

    #[test]
    fn the_file_says_what_results_it_is_of() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        let results = crate::results::tests::suite();
        Environment::new("avx2", 3).write(&a, &results).unwrap();
        let read = |dir: &Path| -> Value {
            serde_json::from_slice(&std::fs::read(dir.join(ENVIRONMENT_FILE)).unwrap()).unwrap()
        };
        let json = read(&a);
        assert_eq!((&json["isa"], &json["threads"]), (&json!("avx2"), &json!(3)));
        assert_eq!(json["digest"]["fp16"], results.models[0].digest());
        assert!(json["rustc"].as_str().unwrap().starts_with("rustc "), "{json}");
        write_merged(&b, &[&a, &b]).unwrap();
        assert_eq!(read(&b)["merged"], json!([json, null]));
    }
}

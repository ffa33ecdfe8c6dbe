//! `--shard`: which part of the work is done here.
//!
//! ```text
//!   --shard 3/16        said
//!   --shard slurm       sbatch --array=1-16 (or 0-15)    the array's third task is shard 3/16
//!   --shard slurm/16    sbatch --array=3,7               task 3 is shard 3/16: for some of them again
//! ```
//!
//! The variables are those that Slurm sets for each task of a job array (sbatch(1), "output environment variables").
//! An array with gaps or a step is refused by `slurm`: it may be what somebody runs again, and then its number of tasks
//! is not that of the shards.

use std::path::{Path, PathBuf};

use b158_eval::Shard;

/// A shard, and how its number came about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShardArgument {
    /// The shard.
    pub shard: Shard,
    /// Whether Slurm numbers it: then all shards have the same command line.
    pub by_slurm: bool,
}

impl ShardArgument {
    /// Reads the argument, and for `slurm` the environment.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::with(text, |name| std::env::var(name).ok())
    }

    fn with(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let (shard, by_slurm) = match text.split_once('/') {
            None if text == "slurm" => (of_array(&variable)?, true),
            Some(("slurm", count)) => (of_task(count, &variable)?, true),
            _ => (text.parse().map_err(|e| format!("{e}; or slurm, in a job array"))?, false),
        };
        Ok(Self { shard, by_slurm })
    }

    /// Where its results go: into `output` itself, or, where all have the same `output`, a folder in it.
    pub fn folder(self, output: &Path) -> PathBuf {
        if self.by_slurm { output.join(self.shard.name()) } else { output.to_owned() }
    }
}

const ID: &str = "SLURM_ARRAY_TASK_ID";

/// A number that Slurm sets.
fn number(name: &str, variable: impl Fn(&str) -> Option<String>) -> Result<usize, String> {
    let value = variable(name).ok_or_else(|| {
        format!("{name} is not set, so this is no task of a Slurm job array; submit it with sbatch --array=1-N, or write I/N")
    })?;
    value.parse().map_err(|_| format!("{name} is `{value}`, which is no number"))
}

/// The shard of a task of an array that has a task for each.
fn of_array(variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
    let [id, count, min, max] =
        [ID, "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX"]
            .map(|name| number(name, &variable));
    let (id, count, min, max) = (id?, count?, min?, max?);
    let again = "to run some of N shards again, write --shard slurm/N";
    if min > 1 {
        return Err(format!("the array begins with task {min}, not 1 or 0; {again}"));
    }
    if max.checked_sub(min).is_none_or(|steps| steps.saturating_add(1) != count) {
        return Err(format!(
            "the array has {count} tasks from {min} to {max}, with gaps or a step between them; {again}"
        ));
    }
    if !(min..=max).contains(&id) {
        return Err(format!("{ID} is {id}, but the array has tasks {min} to {max}"));
    }
    format!("{}/{count}", id - min + 1).parse()
}

/// The shard that has the number of the task.
fn of_task(count: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
    if format!("1/{count}").parse::<Shard>().is_err() {
        return Err("expected slurm/N with the number of all shards, for instance slurm/16".to_owned());
    }
    let id = number(ID, variable)?;
    format!("{id}/{count}").parse().map_err(|_| {
        format!("task {id} of the array is none of the shards 1 to {count}; number the tasks from 1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shard of the task `id` of an array of `count` tasks from `min` to `max`.
    fn slurm(text: &str, variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            let short = name.strip_prefix("SLURM_ARRAY_TASK_")?;
            variables.iter().find(|(name, _)| *name == short).map(|(_, value)| (*value).to_owned())
        };
        ShardArgument::with(text, variable).map_or_else(|e| e, |argument| argument.shard.to_string())
    }

    fn array(id: &str, count: &str, min: &str, max: &str) -> String {
        slurm("slurm", &[("ID", id), ("COUNT", count), ("MIN", min), ("MAX", max)])
    }

    #[test]
    fn each_task_of_an_array_has_its_shard() {
        assert_eq!(array("1", "16", "1", "16"), "1/16");
        assert_eq!(array("16", "16", "1", "16"), "16/16");
        assert_eq!(array("0", "16", "0", "15"), "1/16");
        assert_eq!(array("15", "16", "0", "15"), "16/16");
        assert_eq!(array("0", "1", "0", "0"), "1/1");
        assert_eq!(slurm("slurm/16", &[("ID", "7")]), "7/16");
        assert_eq!(slurm("2/3", &[]), "2/3");
    }

    #[test]
    fn what_is_no_such_array_is_named() {
        insta::assert_snapshot!(slurm("slurm", &[]), @"SLURM_ARRAY_TASK_ID is not set, so this is no task of a Slurm job array; submit it with sbatch --array=1-N, or write I/N");
        insta::assert_snapshot!(slurm("slurm", &[("ID", "1"), ("COUNT", "4"), ("MIN", "1")]), @"SLURM_ARRAY_TASK_MAX is not set, so this is no task of a Slurm job array; submit it with sbatch --array=1-N, or write I/N");
        insta::assert_snapshot!(array("x", "4", "1", "4"), @"SLURM_ARRAY_TASK_ID is `x`, which is no number");
        insta::assert_snapshot!(array("3", "1", "3", "3"), @"the array begins with task 3, not 1 or 0; to run some of N shards again, write --shard slurm/N");
        insta::assert_snapshot!(array("7", "3", "1", "7"), @"the array has 3 tasks from 1 to 7, with gaps or a step between them; to run some of N shards again, write --shard slurm/N");
        insta::assert_snapshot!(array("5", "4", "0", "15"), @"the array has 4 tasks from 0 to 15, with gaps or a step between them; to run some of N shards again, write --shard slurm/N");
        insta::assert_snapshot!(array("9", "4", "1", "4"), @"SLURM_ARRAY_TASK_ID is 9, but the array has tasks 1 to 4");
        insta::assert_snapshot!(array("1", "4", "1", "0"), @"the array has 4 tasks from 1 to 0, with gaps or a step between them; to run some of N shards again, write --shard slurm/N");
        insta::assert_snapshot!(array("1", "20000", "1", "20000"), @"expected I/N with I from 1 to N, for instance 2/8 (at most 10000)");
        insta::assert_snapshot!(slurm("slurm/8", &[]), @"SLURM_ARRAY_TASK_ID is not set, so this is no task of a Slurm job array; submit it with sbatch --array=1-N, or write I/N");
        insta::assert_snapshot!(slurm("slurm/8", &[("ID", "0")]), @"task 0 of the array is none of the shards 1 to 8; number the tasks from 1");
        insta::assert_snapshot!(slurm("slurm/8", &[("ID", "9")]), @"task 9 of the array is none of the shards 1 to 8; number the tasks from 1");
        insta::assert_snapshot!(slurm("slurm/x", &[("ID", "1")]), @"expected slurm/N with the number of all shards, for instance slurm/16");
        insta::assert_snapshot!(slurm("Slurm", &[]), @"expected I/N with I from 1 to N, for instance 2/8 (at most 10000); or slurm, in a job array");
    }

    #[test]
    fn only_shards_that_slurm_numbers_share_a_folder() {
        let folder = |text| ShardArgument::with(text, |_| Some("3".into())).unwrap().folder(Path::new("out"));
        assert_eq!(folder("3/16"), Path::new("out"));
        assert_eq!(folder("slurm/16"), Path::new("out/shard-03-of-16"));
    }
}

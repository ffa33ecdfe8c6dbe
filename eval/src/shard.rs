//! Shards: the documents of a task, or other pieces of work, dealt to several machines.
//!
//! ```text
//!   documents, longest first:   9 8 5 4 4 2        of each task
//!   shard 1/2                   9     4   2        to whoever has least so far, the first of equals
//!   shard 2/2                     8 5   4
//! ```
//!
//! A document's length is that of its row as JSON, the same for every model and machine; that of a window of packed texts
//! is its tokens; that of a conversion is its source's bytes. (Graham 1969, Bounds on multiprocessing timing anomalies: no
//! shard gets more than 4/3 of what the best dealing would give it.)
//!
//! A shard's folder has `shard.json` in place of `results.json`, so that nobody takes a part for the whole;
//! [`merge`](crate::merge::merge) makes results of all shards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Name of the file that stands for `results.json` in a shard's folder.
pub const SHARD_FILE: &str = "shard.json";
/// More shards than anyone has machines.
const MOST: usize = 10_000;

/// One of several parts of an evaluation: `index/count`, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Which one, from 1.
    pub fn index(self) -> usize {
        self.index
    }

    /// Of how many.
    pub fn count(self) -> usize {
        self.count
    }

    /// The name of its folder where all shards share one: `shard-02-of-16`, with as many digits as the last one has.
    pub fn name(self) -> String {
        let digits = self.count.to_string().len();
        format!("shard-{:0digits$}-of-{}", self.index, self.count)
    }

    /// The shard with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        let (index, count) = name.strip_prefix("shard-")?.split_once("-of-")?;
        let shard = format!("{index}/{count}").parse::<Self>().ok()?;
        (shard.name() == name).then_some(shard)
    }

    /// Indices of the documents (or other pieces) that are this shard's, ascending, of the lengths of all.
    pub fn deal(self, lengths: &[u64]) -> Vec<usize> {
        let mut longest: Vec<(u64, usize)> = lengths.iter().copied().zip(0..).collect();
        longest.sort_by_key(|(length, id)| (std::cmp::Reverse(*length), *id));
        let mut loads = vec![0_u64; self.count];
        let mut mine = Vec::new();
        for (length, id) in longest {
            let least = (0..self.count).min_by_key(|i| loads[*i]).expect("at least one shard");
            loads[least] = loads[least].saturating_add(length);
            if least + 1 == self.index {
                mine.push(id);
            }
        }
        mine.sort_unstable();
        mine
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if 1 <= index && index <= count && count <= MOST => {
                Ok(Self { index, count })
            }
            _ => Err(format!("expected I/N with I from 1 to N, for instance 2/8 (at most {MOST})")),
        }
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_parts_are_shards() {
        assert_eq!("2/8".parse::<Shard>().unwrap().to_string(), "2/8");
        for bad in ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "1/99999999999999999999", "1/10001"]
        {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_sort_and_read_back() {
        let shard: Shard = "2/16".parse().unwrap();
        assert_eq!(shard.name(), "shard-02-of-16");
        assert_eq!(Shard::from_name("shard-02-of-16"), Some(shard));
        for other in
            ["shard-2-of-16", "shard-17-of-16", "shard-00-of-16", "shard-02", "part1", "shard-02-of-16.old"]
        {
            assert_eq!(Shard::from_name(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_document_is_dealt_once_and_evenly(
            lengths in prop::collection::vec(0_u64..200, 0..60),
            count in 1_usize..8,
        ) {
            let shards = (1..=count).map(|index| Shard { index, count }.deal(&lengths));
            let shards: Vec<Vec<usize>> = shards.collect();
            let mut all = shards.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            let load = |shard: &Vec<usize>| shard.iter().map(|id| lengths[*id]).sum::<u64>();
            let loads: Vec<u64> = shards.iter().map(load).collect();
            let longest = lengths.iter().max().copied().unwrap_or(0);
            // Whoever ends with most had least before its last document.
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= longest);
        }
    }
}

//! One manifest of those of all parts.

use std::collections::BTreeMap;

use super::{
    Batch, Entry, Manifest, Status,
    lock::Lock,
    run::{VERSION, is_of, output_name},
};
use crate::Error;

const RESUME: &str = "run the shard again with --resume; what is done is kept";

impl Batch {
    /// Makes `manifest.json` of the manifests of `parts`, and removes those. It is that of a batch which was never dealt,
    /// but for the times. Outputs are not read again: `resume` of the whole does that.
    ///
    /// # Errors
    /// A job of the batch is in no part, in two, or not done with by this version of b158; a part has another job; an
    /// output is not there; or a part is still running. The message names it.
    pub fn join(&self, parts: &[String]) -> Result<Manifest, Error> {
        let refuse = |reason: String, hint: &str| Error::Jobs {
            file: self.folder.clone(),
            reason,
            hint: hint.to_owned(),
        };
        let _lock = Lock::take(&self.folder, &self.file, None)?;
        let mut manifests = Vec::with_capacity(parts.len());
        for part in parts {
            let manifest = Manifest::read_of(&self.folder, Some(part))?
                .ok_or_else(|| refuse(format!("{part} has no manifest"), RESUME))?;
            manifests.push((part, manifest));
        }
        let mut found: BTreeMap<String, Vec<(&str, &Entry)>> = BTreeMap::new();
        for (part, manifest) in &manifests {
            for entry in &manifest.jobs {
                found.entry(entry.output.clone()).or_default().push((part, entry));
            }
        }
        if let Some((_, others)) = found.iter().find(|(output, _)| !self.outputs.contains(*output)) {
            return Err(self.foreign(&others[0]));
        }
        let mut jobs = Vec::with_capacity(self.jobs.len());
        for job in &self.jobs {
            let output = output_name(job);
            let entries = found.remove(&output).unwrap_or_default();
            if let Some(other) = entries.iter().find(|(_, entry)| !is_of(entry, job)) {
                return Err(self.foreign(other));
            }
            let Some((part, entry)) = entries.first() else {
                let hint = "was a source changed, or added, between the shards? run the batch with --resume";
                return Err(refuse(format!("no shard has the job of {output}"), hint));
            };
            if let Some((other, _)) = entries.get(1) {
                let hint = "were sources changed between the shards? run the batch with --resume";
                return Err(refuse(format!("both {part} and {other} have the job of {output}"), hint));
            }
            match entry.status {
                Status::Pending => {
                    return Err(refuse(format!("{part} has not finished: {output} is pending"), RESUME));
                }
                Status::Done if entry.version != VERSION => {
                    let reason =
                        format!("{part}: {output} is of version {} of b158, not {VERSION}", entry.version);
                    return Err(refuse(reason, "run all shards with one version"));
                }
                Status::Done => {
                    let intact = |name: &std::path::Path, bytes: u64| {
                        self.folder.join(name).metadata().is_ok_and(|m| m.is_file() && m.len() == bytes)
                    };
                    if let Some(file) = entry.files.iter().find(|file| !intact(&file.name, file.bytes)) {
                        let name = file.name.display();
                        let reason = format!("{part}: {name} is not there as it was written");
                        return Err(refuse(reason, RESUME));
                    }
                }
                Status::Failed => {}
            }
            jobs.push((*entry).clone());
        }
        let earlier = Manifest::read(&self.folder)?.unwrap_or_default();
        let all = manifests.iter().flat_map(|(_, manifest)| manifest.entries()).chain(earlier.entries());
        let manifest = Manifest { version: VERSION.to_owned(), jobs, others: self.others(all) };
        manifest.write(&self.folder, None)?;
        self.remove_parts(parts)?;
        Ok(manifest)
    }

    /// The error of an entry that is of no job.
    fn foreign(&self, (part, entry): &(&str, &Entry)) -> Error {
        let Entry { source, output, options, .. } = entry;
        let file = self.file.display();
        Error::Jobs {
            file: self.folder.clone(),
            reason: format!("{part} has the job {source} to {output} ({options}), which is not in {file}"),
            hint: "join with the job file that was run, or run the shards anew".to_owned(),
        }
    }
}

//! Counters for Prometheus, in its text format (version 0.0.4).

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Upper bounds of the histograms' buckets, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// Everything that `/metrics` shows.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    seconds: Mutex<BTreeMap<&'static str, Histogram>>,
    pub(crate) prompt_tokens: Counter,
    pub(crate) new_tokens: Counter,
    pub(crate) steps: Counter,
    /// From arrival to admission.
    pub(crate) queue: Histogram,
    /// From arrival to the first new token.
    pub(crate) first_token: Histogram,
    pub(crate) waiting: Gauge,
    pub(crate) active: Gauge,
    pub(crate) positions_used: Gauge,
    pub(crate) positions_reserved: Gauge,
}

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// A number that changes.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn set(&self, n: usize) {
        self.0.store(n as u64, Ordering::Relaxed);
    }
}

/// How many durations were how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    microseconds: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        for (bucket, bound) in self.buckets.iter().zip(BUCKETS) {
            bucket.fetch_add(u64::from(seconds <= bound), Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add(duration.as_micros() as u64, Ordering::Relaxed);
    }

    /// `labels` is empty, or ends in a comma.
    fn write(&self, out: &mut String, name: &str, labels: &str) {
        for (bucket, bound) in self.buckets.iter().zip(BUCKETS) {
            let n = bucket.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{{labels}le=\"{bound}\"}} {n}");
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = self.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        let labels_only = match labels.trim_end_matches(',') {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        let _ = writeln!(out, "{name}_bucket{{{labels}le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{labels_only} {sum}\n{name}_count{labels_only} {count}");
    }
}

impl Metrics {
    /// A request was answered.
    pub(crate) fn answered(&self, route: &'static str, status: u16) {
        *lock(&self.requests).entry((route, status)).or_default() += 1;
    }

    /// A request's answer was complete after so long.
    pub(crate) fn completed(&self, route: &'static str, duration: Duration) {
        lock(&self.seconds).entry(route).or_default().observe(duration);
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        head(&mut out, "b158_requests_total", "counter", "Answered requests.");
        for ((route, status), n) in &*lock(&self.requests) {
            let _ = writeln!(out, "b158_requests_total{{route=\"{route}\",status=\"{status}\"}} {n}");
        }
        for (name, counter, help) in [
            ("b158_prompt_tokens_total", &self.prompt_tokens, "Tokens of admitted prompts."),
            ("b158_generated_tokens_total", &self.new_tokens, "New tokens."),
            ("b158_steps_total", &self.steps, "Passes of the model."),
        ] {
            head(&mut out, name, "counter", help);
            let _ = writeln!(out, "{name} {}", counter.0.load(Ordering::Relaxed));
        }
        for (name, gauge, help) in [
            ("b158_sequences_waiting", &self.waiting, "Sequences without a slot."),
            ("b158_sequences_active", &self.active, "Sequences in slots."),
            ("b158_cache_positions_used", &self.positions_used, "Positions in key-value caches."),
            ("b158_cache_positions_reserved", &self.positions_reserved, "Positions set aside for them."),
        ] {
            head(&mut out, name, "gauge", help);
            let _ = writeln!(out, "{name} {}", gauge.0.load(Ordering::Relaxed));
        }
        for (name, histogram, help) in [
            ("b158_queue_seconds", &self.queue, "From a request's arrival to a sequence's slot."),
            ("b158_first_token_seconds", &self.first_token, "From a request's arrival to a first new token."),
        ] {
            head(&mut out, name, "histogram", help);
            histogram.write(&mut out, name, "");
        }
        let name = "b158_request_seconds";
        head(&mut out, name, "histogram", "From a request's arrival to the end of its answer.");
        for (route, histogram) in &*lock(&self.seconds) {
            histogram.write(&mut out, name, &format!("route=\"{route}\","));
        }
        out
    }
}

/// Counts the time of a request, until the last of its clones is dropped.
#[derive(Clone)]
pub(crate) struct Timer(#[allow(dead_code, reason = "dropped")] Arc<Running>);

struct Running {
    metrics: Arc<Metrics>,
    route: &'static str,
    start: Instant,
}

impl Timer {
    pub(crate) fn start(metrics: Arc<Metrics>, route: &'static str) -> Self {
        Self(Arc::new(Running { metrics, route, start: Instant::now() }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.completed(self.route, self.start.elapsed());
    }
}

/// A thread that panicked left numbers that are as good as before.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_reads_it() {
        let metrics = Metrics::default();
        metrics.answered("/health", 200);
        metrics.completed("/health", Duration::from_millis(30));
        metrics.new_tokens.add(7);
        metrics.waiting.set(2);
        let text = metrics.text();
        for line in [
            "b158_requests_total{route=\"/health\",status=\"200\"} 1",
            "b158_generated_tokens_total 7",
            "b158_sequences_waiting 2",
            "b158_queue_seconds_bucket{le=\"+Inf\"} 0",
            "b158_queue_seconds_count 0",
            "b158_request_seconds_bucket{route=\"/health\",le=\"0.025\"} 0",
            "b158_request_seconds_bucket{route=\"/health\",le=\"0.05\"} 1",
            "b158_request_seconds_sum{route=\"/health\"} 0.03",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}

//! Server-sent events: `data: {...}` and an empty line for each document, `data: [DONE]` at the end.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use futures_util::stream;
use serde::Serialize;
use tokio::{sync::mpsc::Receiver, time::timeout};

use crate::{engine::Event, error::ApiError, metrics::Timer};

/// Silence after which a comment says that the answer is still coming: proxies close connections without traffic.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What makes documents of a request's events.
pub(crate) trait Documents: Send + 'static {
    /// Those that come before any event.
    fn first(&mut self) -> Vec<String>;
    /// Those of an event.
    fn of(&mut self, index: usize, event: Event) -> Result<Vec<String>, ApiError>;
    /// Whether the last event was the end of the last prompt.
    fn complete(&self) -> bool;
    /// Those that come after all events.
    fn last(&mut self) -> Vec<String>;
}

struct State<D> {
    documents: D,
    events: Receiver<(usize, Event)>,
    ready: VecDeque<String>,
    over: bool,
    /// Counts the time until the last byte is written or the client is gone.
    _timer: Timer,
}

impl<D: Documents> State<D> {
    /// The next bytes; `None` after the last ones.
    async fn next(&mut self) -> Option<String> {
        loop {
            if !self.ready.is_empty() {
                // All that there is at once.
                return Some(self.ready.drain(..).collect());
            }
            if self.over {
                return None;
            }
            match timeout(KEEP_ALIVE, self.events.recv()).await {
                Err(_) => return Some(": still running\n\n".to_owned()),
                Ok(Some((index, event))) => self.take(index, event),
                // Without an end: the time was up, and there was no room to say so.
                Ok(None) => self.fail(&ApiError::timed_out()),
            }
            while let (false, Ok((index, event))) = (self.over, self.events.try_recv()) {
                self.take(index, event);
            }
        }
    }

    fn take(&mut self, index: usize, event: Event) {
        match self.documents.of(index, event) {
            Ok(documents) => self.ready.extend(documents.iter().map(|d| data(d))),
            Err(error) => return self.fail(&error),
        }
        if self.documents.complete() {
            self.ready.extend(self.documents.last().iter().map(|d| data(d)));
            self.ready.push_back(data("[DONE]"));
            self.over = true;
        }
    }

    fn fail(&mut self, error: &ApiError) {
        self.ready.push_back(data(&json(&error.document())));
        self.over = true;
    }
}

/// The response that carries the documents of a request's events as they come.
pub(crate) fn response<D: Documents>(
    mut documents: D,
    events: Receiver<(usize, Event)>,
    timer: Timer,
) -> Response {
    let ready = documents.first().iter().map(|d| data(d)).collect();
    let state = State { documents, events, ready, over: false, _timer: timer };
    let chunks = stream::unfold(state, |mut state| async {
        let chunk = state.next().await?;
        Some((Ok::<_, Infallible>(chunk), state))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn data(document: &str) -> String {
    format!("data: {document}\n\n")
}

/// One line of JSON.
pub(crate) fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("a JSON document")
}

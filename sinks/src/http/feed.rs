//! `/api/feed`: changes of figures as server-sent events.
//!
//! Each entry is one event: `id` its position, `event` the word `figure`, `data` the entry
//! as JSON. Where a stream starts:
//!
//! - `Last-Event-ID: 12-3` (what a browser sends when it reconnects): after entry 12-3;
//! - `?after=12-3`: the same, for the first connection; the header wins over it;
//! - `?after=0-0`: everything kept, from the oldest entry (no entry has the position 0-0:
//!   version 0 of `core.events` is its creation);
//! - neither: live, with what is published from now on. The stream then opens with the
//!   current position as an `id` without data, so that a reconnection leaves no gap even
//!   when nothing had come yet.
//!
//! A stream reads pages from the kept feed, as fast as its reader takes them. There is no
//! queue per reader to overflow: a slow reader is late, never short.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::feed::{FeedEntry, FeedPosition};
use ahual_transform::reading::{ReadError, Reading};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::Site;
use super::figures::pairs;
use super::problem::Problem;
use super::telemetry::StreamCounted;
use crate::error::chain;

/// Entries read from the kept feed at once.
const PAGE: usize = 500;

/// What stands for "before the first entry".
const BEGINNING: FeedPosition = FeedPosition { version: 0, ordinal: 0 };

/// How long a browser waits before it reconnects.
const RETRY: Duration = Duration::from_secs(2);

type Parameters = Result<axum::extract::Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>;

/// Serves one stream.
pub(super) async fn feed(
    State(site): State<Site>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let asked = asked(&headers, pairs(parameters)?)?;
    // A stream that could never bring anything would look like a quiet one.
    if site.reading.feed_head().has_changed().is_err() {
        return Err(Problem::no_feed());
    }
    let place = Arc::clone(&site.streams)
        .try_acquire_owned()
        .map_err(|_| Problem::too_many_streams(site.config.max_streams))?;
    // The head is taken before anything is read: what is published in between wakes us.
    let head = site.reading.feed_head();
    let (after, opening) = match asked {
        Some(BEGINNING) => (None, None),
        Some(position) => (Some(position), None),
        None => {
            let newest = *head.borrow();
            (newest, Some(newest.unwrap_or(BEGINNING)))
        }
    };
    let reader = Reader {
        reading: Arc::clone(&site.reading),
        head,
        stop: site.stop.clone(),
        after,
        waiting: VecDeque::new(),
        opening: Some(opening),
        _place: place,
        _counted: StreamCounted::new(),
    };
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(site.config.keep_alive_seconds)).text("keep-alive");
    let mut response = Sse::new(events(reader)).keep_alive(keep_alive).into_response();
    // A proxy that gathers the stream into large blocks would hold entries back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Where the reader wants to start; nothing said is live.
fn asked(headers: &HeaderMap, pairs: Vec<(String, String)>) -> Result<Option<FeedPosition>, Problem> {
    let mut after = None;
    for (name, value) in pairs {
        if name != "after" {
            return Err(Problem::unknown_parameter(&name, &["after"]));
        }
        if after.replace(position("after", &value)?).is_some() {
            return Err(Problem::bad_value("after is given twice; give it once"));
        }
    }
    match headers.get("last-event-id") {
        None => Ok(after),
        Some(value) => {
            let text = value.to_str().map_err(|_| Problem::bad_value("Last-Event-ID is not readable text"))?;
            // A browser that has seen no id yet may send an empty one.
            if text.is_empty() { Ok(after) } else { position("Last-Event-ID", text).map(Some) }
        }
    }
}

fn position(name: &str, text: &str) -> Result<FeedPosition, Problem> {
    match text.parse::<FeedPosition>() {
        Ok(position) if position.version >= 0 => Ok(position),
        _ => Err(Problem::bad_value(format!(
            "{name} is '{text}', which is no feed position; send the id of the last entry seen, such as 12-0, \
             or 0-0 for everything kept"
        ))),
    }
}

struct Reader {
    reading: Arc<dyn Reading>,
    head: watch::Receiver<Option<FeedPosition>>,
    stop: CancellationToken,
    /// Last position handed out.
    after: Option<FeedPosition>,
    /// Entries read and not yet handed out; at most a page.
    waiting: VecDeque<FeedEntry>,
    /// What is still to be said first: the outer option is gone once said.
    opening: Option<Option<FeedPosition>>,
    _place: OwnedSemaphorePermit,
    _counted: StreamCounted,
}

fn events(reader: Reader) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    stream::unfold(reader, |mut reader| async move {
        let stop = reader.stop.clone();
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            event = reader.next() => event,
        };
        event.map(|event| (Ok(event), reader))
    })
}

impl Reader {
    /// The next event; nothing when the feed is over or cannot be read. A reader that is
    /// cut off comes back with the last id it saw.
    async fn next(&mut self) -> Option<Event> {
        if let Some(opening) = self.opening.take() {
            let hello = Event::default().retry(RETRY);
            return Some(match opening {
                Some(position) => hello.id(position.to_string()),
                None => hello,
            });
        }
        loop {
            if let Some(entry) = self.waiting.pop_front() {
                self.after = Some(entry.position);
                return event(&entry);
            }
            self.head.borrow_and_update();
            match self.reading.feed_after(self.after, PAGE).await {
                Ok(page) if !page.entries.is_empty() => self.waiting = page.entries.into(),
                Ok(_) | Err(ReadError::NotPublished) => self.head.changed().await.ok()?,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "a feed stream ends: the feed could not be read");
                    return None;
                }
            }
        }
    }
}

fn event(entry: &FeedEntry) -> Option<Event> {
    match Event::default().id(entry.position.to_string()).event("figure").json_data(entry) {
        Ok(event) => Some(event),
        Err(error) => {
            tracing::error!(position = %entry.position, %error, "a feed stream ends: an entry could not be written");
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn ask(last: Option<&str>, after: Option<&str>) -> Result<Option<FeedPosition>, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(last) = last {
            headers.insert("last-event-id", HeaderValue::from_str(last).unwrap());
        }
        asked(&headers, after.map(|after| ("after".to_owned(), after.to_owned())).into_iter().collect())
    }

    #[test]
    fn the_header_wins_over_the_parameter() {
        let at = |version, ordinal| Some(FeedPosition { version, ordinal });
        assert_eq!(ask(None, None).unwrap(), None);
        assert_eq!(ask(None, Some("3-1")).unwrap(), at(3, 1));
        assert_eq!(ask(Some("4-0"), Some("3-1")).unwrap(), at(4, 0));
        assert_eq!(ask(Some(""), Some("3-1")).unwrap(), at(3, 1));
    }

    #[test]
    fn a_position_that_is_none_is_refused() {
        for text in ["x", "12", "-1-0", "1-x", "1-0-0", " 1-0"] {
            assert!(ask(Some(text), None).unwrap_err().detail.contains("no feed position"), "{text}");
        }
    }
}

//! Problem details for HTTP (RFC 9457): what a reader is told when there is no answer.

use ahual_transform::reading::ReadError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::chain;

/// Why there is no answer. `code` and `title` never change; `detail` says what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// Stable word; the last part of `type`.
    pub(crate) code: &'static str,
    /// Stable text for the code.
    pub(crate) title: &'static str,
    /// This case, and what to change.
    pub(crate) detail: String,
    /// Seconds after which the same question may be answered.
    pub(crate) retry_after_seconds: Option<u32>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), retry_after_seconds: None }
    }

    /// Nothing stands at this address.
    pub(crate) fn no_such_address(path: &str) -> Self {
        let known = ["/", "/healthz", "/readyz", "/metrics", "/api/metrics", "/api/feed"];
        let detail = format!("nothing stands at {path}{}; / lists all addresses", nearest(path, known));
        Self::new(StatusCode::NOT_FOUND, "no-such-address", "no such address", detail)
    }

    /// The address is right, the method is not.
    pub(crate) fn method_not_allowed(method: &str) -> Self {
        let detail = format!("{method} is not served here: this server only reads; use GET");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "method not allowed", detail)
    }

    /// There is no such metric.
    pub(crate) fn unknown_metric<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let detail = format!("there is no metric '{name}'{}; /api/metrics lists them", nearest(name, known));
        Self::new(StatusCode::NOT_FOUND, "unknown-metric", "unknown metric", detail)
    }

    /// There is no such parameter.
    pub(crate) fn unknown_parameter(name: &str, known: &[&str]) -> Self {
        let near = nearest(name, known.iter().copied());
        let detail = format!("there is no parameter '{name}'{near}; known are {}", known.join(", "));
        Self::new(StatusCode::BAD_REQUEST, "unknown-parameter", "unknown parameter", detail)
    }

    /// A parameter or header says something that cannot be understood.
    pub(crate) fn bad_value(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-value", "a value could not be understood", detail)
    }

    /// All places for streams are taken.
    pub(crate) fn too_many_streams(most: usize) -> Self {
        let detail = format!("{most} feed streams are served already; try again later");
        let mut problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", "too many feed streams", detail);
        problem.retry_after_seconds = Some(5);
        problem
    }

    /// This process keeps no feed.
    pub(crate) fn no_feed() -> Self {
        let detail = "changes of figures come from the process that folds; this one does not fold, or has stopped. \
                      Ask where 'ahual run' serves, or read the feed's topic";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no-feed", "no feed here", detail)
    }

    /// There is nothing to answer from yet.
    pub(crate) fn not_ready(reason: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "not ready", reason);
        problem.retry_after_seconds = Some(2);
        problem
    }

    /// The server's own fault. The cause goes to the log, not to the reader.
    pub(crate) fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %chain(cause), "a question could not be answered");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the answer could not be computed",
            "the cause is in the server's log",
        )
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Question(what) => {
                Self::new(StatusCode::BAD_REQUEST, "bad-question", "the question could not be understood", what)
            }
            ReadError::NotPublished => Self::not_ready(error.to_string()),
            ReadError::Failed { .. } => Self::internal(&error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:ahual:problem:{}", self.code),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// `, did you mean 'x'?`-like text for the closest of `known`, or nothing when none is close.
fn nearest<'a>(said: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(said, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(closeness, _)| *closeness >= 0.5)
        .map(|(_, name)| format!(" (did you mean '{name}'?)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_nearly_right_is_offered_the_right_one() {
        assert_eq!(nearest("complection", ["clearance", "completion"]), " (did you mean 'completion'?)");
        assert_eq!(nearest("xyz", ["clearance", "completion"]), "");
    }
}

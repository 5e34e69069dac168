//! One request: sent, bounded, and its failure named. Never twice, never waiting.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use crate::config::{ConfigError, LimitsConfig, setting};
use crate::connector::ConnectorError;
use crate::identity::{Picked, pick};
use crate::secret::{SecretRef, reveal};

/// Retry-After beyond this is cut: a slip of a server must not silence a source for days.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(6 * 3600);

/// How a request shows who asks: exactly one of `header`, `query` and `bearer`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Name of the header that carries the secret.
    pub header: Option<String>,
    /// Name of the query parameter that carries the secret.
    pub query: Option<String>,
    /// Whether the secret goes as `Authorization: Bearer …`.
    #[serde(default)]
    pub bearer: bool,
    /// Where the secret lies.
    pub secret: SecretRef,
}

/// An answer with status 2xx.
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    /// What was asked, without secrets, for messages.
    pub(crate) what: String,
}

/// Sends requests of one source.
pub(crate) struct Fetcher {
    client: Client,
    headers: HeaderMap,
    query: Option<(String, SecretString)>,
    secret: Option<SecretString>,
    max_body_bytes: u64,
    busy_statuses: Vec<u16>,
}

impl Fetcher {
    pub(crate) fn new(
        name: &str,
        url: &Url,
        auth: Option<&AuthConfig>,
        base_dir: &Path,
        limits: &LimitsConfig,
        busy_statuses: &[u16],
    ) -> Result<Self, ConfigError> {
        let mut headers = HeaderMap::new();
        let mut query = None;
        let mut known = None;
        if let Some(auth) = auth {
            let wrong = |what: &str| setting(name, "auth", what);
            let secret = reveal(&auth.secret, base_dir)
                .map_err(|source| ConfigError::Secret { name: name.to_owned(), source })?;
            known = Some(secret.clone());
            let value = |text: String| {
                let mut value =
                    HeaderValue::from_str(&text).map_err(|_| wrong("refers to a secret that is no header value"))?;
                value.set_sensitive(true);
                Ok(value)
            };
            match (&auth.header, &auth.query, auth.bearer) {
                (Some(header), None, false) => {
                    let header = HeaderName::try_from(header).map_err(|_| wrong("names an impossible header"))?;
                    headers.insert(header, value(secret.expose_secret().to_owned())?);
                }
                (None, Some(parameter), false) => query = Some((parameter.clone(), secret)),
                (None, None, true) => {
                    let token = value(format!("Bearer {}", secret.expose_secret()))?;
                    headers.insert(reqwest::header::AUTHORIZATION, token);
                }
                _ => return Err(wrong("needs exactly one of header = \"…\", query = \"…\", bearer = true")),
            }
        }
        // A secret must not follow a redirect to another host.
        let origin = url.origin();
        let policy = Policy::custom(move |attempt| {
            if attempt.url().origin() == origin && attempt.previous().len() <= 5 {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        let mut client = Client::builder()
            .timeout(limits.timeout())
            .connect_timeout(limits.timeout())
            .redirect(policy)
            .user_agent(concat!("ahual/", env!("CARGO_PKG_VERSION")));
        let loopback = match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(domain)) => domain == "localhost",
            None => false,
        };
        if loopback {
            client = client.no_proxy();
        }
        let client = client
            .build()
            .map_err(|e| setting(name, "limits", &format!("does not give a working HTTP client ({e})")))?;
        let max_body_bytes = limits.max_body_bytes;
        Ok(Self { client, headers, query, secret: known, max_body_bytes, busy_statuses: busy_statuses.to_vec() })
    }

    /// Asks for `url` and reads the answer up to the cap.
    pub(crate) async fn get(
        &self,
        url: &Url,
        accept: &'static str,
        now: DateTime<Utc>,
    ) -> Result<Answer, ConnectorError> {
        let what = format!("GET {url}");
        let mut full = url.clone();
        if let Some((parameter, secret)) = &self.query {
            full.query_pairs_mut().append_pair(parameter, secret.expose_secret());
        }
        let request = self.client.get(full).headers(self.headers.clone()).header(ACCEPT, accept);
        let mut response = request.send().await.map_err(|e| broken(&what, e))?;
        let status = response.status();
        if !status.is_success() {
            // What the source says about it helps whoever reads the message.
            let what = match response.chunk().await {
                Ok(Some(chunk)) => {
                    let words = std::str::from_utf8(&chunk).ok().and_then(|text| said(text.trim()));
                    let words = words.map_or_else(|| excerpt(&chunk), |words| format!("'{words}'"));
                    format!("{what} (it says {})", self.without_words_of_secret(&words))
                }
                _ => what,
            };
            return Err(self.failure(what, status, response.headers(), now));
        }
        let claimed = response.headers().get(reqwest::header::CONTENT_LENGTH);
        let claimed = claimed.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
        let cap_bytes = self.max_body_bytes;
        if let Some(claimed) = claimed.filter(|claimed| *claimed > cap_bytes) {
            let size = format!("a body that claims {claimed} bytes");
            return Err(ConnectorError::TooLarge { what, size, cap_bytes, head: Bytes::new() });
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| broken(&what, e))? {
            let room = usize::try_from(cap_bytes).unwrap_or(usize::MAX).saturating_sub(body.len());
            if chunk.len() > room {
                body.extend_from_slice(&chunk[..room]);
                let size = "a body that goes on and on".to_owned();
                return Err(ConnectorError::TooLarge { what, size, cap_bytes, head: body.freeze() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { body: body.freeze(), headers: response.headers().clone(), what })
    }

    fn failure(&self, what: String, status: StatusCode, headers: &HeaderMap, now: DateTime<Utc>) -> ConnectorError {
        let code = status.as_u16();
        match code {
            _ if self.busy_statuses.contains(&code) || matches!(code, 429 | 503) => {
                ConnectorError::Busy { what, status: code, after: retry_after(headers, now) }
            }
            408 | 409 | 425 | 500..=599 => ConnectorError::Failed { what, status: code },
            401 | 403 | 407 => {
                ConnectorError::Denied { what, status: code, hint: "check the source's auth and secret" }
            }
            404 | 410 => ConnectorError::Denied { what, status: code, hint: "check the source's url and path" },
            300..=399 => ConnectorError::Denied {
                what,
                status: code,
                hint: "it redirects to another host, which is not followed; correct the url",
            },
            _ => ConnectorError::Denied { what, status: code, hint: "check the source's path and query" },
        }
    }

    /// A text of the source's without the secret it may have echoed.
    fn without_words_of_secret(&self, text: &str) -> String {
        match &self.secret {
            Some(secret) => text.replace(secret.expose_secret(), "…"),
            None => text.to_owned(),
        }
    }

    /// A link of the source's without the secret it may have echoed.
    pub(crate) fn without_secret(&self, mut url: Url) -> Url {
        let Some((parameter, _)) = &self.query else { return url };
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| name != parameter)
            .map(|(n, v)| (n.into_owned(), v.into_owned()))
            .collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        url
    }
}

fn broken(what: &str, error: reqwest::Error) -> ConnectorError {
    let how = if error.is_timeout() {
        "it took longer than limits.timeout_s"
    } else if error.is_connect() {
        "no connection"
    } else {
        "it broke off"
    };
    ConnectorError::Broken { what: what.to_owned(), how, source: Some(Box::new(error.without_url())) }
}

/// Seconds, or an HTTP date measured against the answer's own.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let date = |text: &str| DateTime::parse_from_rfc2822(text).ok().map(|at| at.with_timezone(&Utc));
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let sent = headers.get(DATE).and_then(|value| date(value.to_str().ok()?)).unwrap_or(now);
            (date(text)? - sent).to_std().unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// What kind of page came instead, when a body is a web page.
pub(crate) fn web_page(answer: &Answer) -> Option<String> {
    let declared = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let start = String::from_utf8_lossy(&answer.body[..answer.body.len().min(4096)]).to_lowercase();
    let start = start.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']);
    if !(declared.contains("text/html") || start.starts_with("<!doctype html") || start.starts_with("<html")) {
        return None;
    }
    let title =
        start.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title.trim());
    Some(match title {
        Some(title) => format!("a web page titled '{}'", &title[..title.floor_char_boundary(80)]),
        None => "a web page".to_owned(),
    })
}

/// What kind of body came, for messages. Records are never quoted: they may be about
/// persons.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let bytes = body.len();
    let text = String::from_utf8_lossy(&body[..bytes.min(100)]);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.chars().next() {
        None => "an empty body".to_owned(),
        Some('{') => format!("a body of {bytes} bytes that begins like a JSON object"),
        Some('[') => format!("a body of {bytes} bytes that begins like a JSON array"),
        Some('<') => {
            let tag: String = text.chars().take_while(|c| *c != '>' && *c != ' ').collect();
            format!("a body of {bytes} bytes that begins with {tag}>")
        }
        Some(_) => format!("'{text}'"),
    }
}

/// What a JSON object or array says about an error, when it is nothing but that.
pub(crate) fn said(json: &str) -> Option<String> {
    if json.starts_with('[') {
        let parts: Vec<&RawValue> = serde_json::from_str(json).ok()?;
        let words: Option<Vec<String>> = parts.iter().take(3).map(|part| said(part.get())).collect();
        return words.filter(|words| !words.is_empty()).map(|words| words.join("; "));
    }
    const WORDS: [&str; 18] = [
        "code",
        "error",
        "errors",
        "message",
        "description",
        "detail",
        "details",
        "status",
        "title",
        "type",
        "success",
        "ok",
        "error_code",
        "error_description",
        "timestamp",
        "path",
        "request_id",
        "trace_id",
    ];
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    let is_error = members.keys().all(|key| WORDS.contains(&key.as_str()))
        && ["code", "error", "errors", "error_code", "message"].iter().any(|word| members.contains_key(*word));
    if !is_error {
        return None;
    }
    let names = [
        "code",
        "error_code",
        "error.code",
        "error.error_code",
        "error",
        "message",
        "error.message",
        "error.error_msg",
        "description",
        "error.description",
        "error_description",
        "detail",
    ]
    .map(str::to_owned);
    let mut words: Vec<String> = pick(json.as_bytes(), &names)
        .ok()?
        .into_iter()
        .filter_map(|picked| if let Picked::Text(text) = picked { Some(text) } else { None })
        .collect();
    words.extend(members.get("errors").and_then(|errors| said(errors.get())));
    let text = if words.is_empty() { "an error without words".to_owned() } else { words.join(" ") };
    Some(text[..text.floor_char_boundary(300)].to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap())).collect()
    }

    #[test]
    fn errors_are_told_in_the_sources_words_but_records_are_never_quoted() {
        assert_eq!(said(r#"[{"code":400,"description":"no such place"}]"#).unwrap(), "400 no such place");
        assert_eq!(said(r#"{"errors":[{"message":"busy"}],"status":503}"#).unwrap(), "busy");
        assert_eq!(
            said(r#"{"error":{"error_code":6,"error_msg":"too many","request_params":[]}}"#).unwrap(),
            "6 too many"
        );
        assert_eq!(said(r#"{"id":1,"message":"my lamp is out"}"#), None);
        assert_eq!(said(r#"{"status":"open","description":"my lamp is out"}"#), None);
        assert_eq!(said("[]"), None);
        assert!(!excerpt(b"[{\"name\":\"Nobody\"").contains("Nobody"));
        assert_eq!(excerpt(b"<fault><name>"), "a body of 13 bytes that begins with <fault>");
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-01-05T10:00:00Z").unwrap().to_utc();
        assert_eq!(retry_after(&headers(&[("retry-after", "7")]), now), Some(Duration::from_secs(7)));
        let date = headers(&[("retry-after", "Mon, 05 Jan 2026 10:00:30 GMT")]);
        assert_eq!(retry_after(&date, now), Some(Duration::from_secs(30)));
        let own =
            headers(&[("retry-after", "Mon, 05 Jan 2026 10:00:30 GMT"), ("date", "Mon, 05 Jan 2026 10:00:20 GMT")]);
        assert_eq!(retry_after(&own, now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after(&headers(&[("retry-after", "soon")]), now), None);
        assert_eq!(retry_after(&headers(&[("retry-after", "999999999")]), now), Some(LONGEST_RETRY_AFTER));
    }
}

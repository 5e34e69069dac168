//! What VK says on the wire, as far as it must be understood.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::connector::ConnectorError;
use crate::http::{Answer, excerpt, said, web_page};
use crate::identity::{Picked, pick};

/// Members by which one reads whether somebody changed what was said. Likes, views and
/// signed addresses of pictures change all the time and are no news.
const ESSENCE: [&str; 7] = ["text", "date", "edited", "from_id", "deleted", "is_deleted", "reply_to_comment"];

/// A post, as far as it must be understood.
#[derive(Debug, Deserialize)]
pub(super) struct SaidPost {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) from_id: i64,
    pub(super) date: i64,
    #[serde(default)]
    pub(super) is_pinned: u8,
    pub(super) comments: Option<Count>,
}

/// A comment, as far as it must be understood.
#[derive(Debug, Deserialize)]
pub(super) struct SaidComment<'a> {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) from_id: i64,
    #[serde(default)]
    pub(super) date: i64,
    #[serde(borrow)]
    pub(super) thread: Option<Listed<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Count {
    #[serde(default)]
    pub(super) count: u64,
}

/// A list of VK: how many there are, and some of them.
#[derive(Debug, Deserialize)]
pub(super) struct Listed<'a> {
    #[serde(default)]
    pub(super) count: u64,
    #[serde(borrow, default)]
    pub(super) items: Vec<&'a RawValue>,
}

/// What VK answers.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    response: Option<Listed<'a>>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    error_code: i64,
}

/// What came of a question.
pub(super) enum Given<'a> {
    List(Listed<'a>),
    /// VK does not show this wall or post; its words.
    Closed(String),
}

/// What an answer gives; a failure as VK means it.
pub(super) fn given<'a>(answer: &'a Answer) -> Result<Given<'a>, ConnectorError> {
    let unreadable = |found: String, expected| {
        let what = answer.what.clone();
        Err(ConnectorError::Unreadable { what, found, expected })
    };
    if let Some(page) = web_page(answer) {
        return unreadable(page, "JSON");
    }
    let Ok(told) = serde_json::from_slice::<Told<'_>>(&answer.body) else {
        return unreadable(excerpt(&answer.body), "whole JSON of VK");
    };
    let code = match (told.response, told.error) {
        (Some(list), _) => return Ok(Given::List(list)),
        (None, None) => return unreadable(excerpt(&answer.body), "a response of VK"),
        (None, Some(failure)) => failure.error_code,
    };
    let words = std::str::from_utf8(&answer.body).ok().and_then(said).unwrap_or_else(|| format!("error {code}"));
    let what = format!("{} (it says '{words}')", answer.what);
    let busy =
        |seconds| ConnectorError::Busy { what: what.clone(), status: 200, after: Some(Duration::from_secs(seconds)) };
    Err(match code {
        // Too many a second; too many of one kind; too many a day.
        6 => busy(1),
        9 => busy(60),
        29 => busy(1_800),
        // The application is off, or its token is wrong, revoked or bound to another address.
        2 | 3 | 4 | 5 | 7 | 8 | 27 | 28 | 1114 | 1116 => {
            ConnectorError::Denied { what, status: 200, hint: "check vk.token and the rights of its application" }
        }
        // Access denied; page deleted or banned; content, profile, community or comments closed.
        15 | 18 | 19 | 30 | 203 | 212 => return Ok(Given::Closed(words)),
        _ => ConnectorError::Said { what: answer.what.clone(), said: words },
    })
}

/// What somebody said, without what changes by itself.
pub(super) fn essence(raw: &str) -> String {
    let names = ESSENCE.map(str::to_owned);
    let Ok(found) = pick(raw.as_bytes(), &names) else { return raw.to_owned() };
    let texts: Vec<String> = found
        .into_iter()
        .map(|picked| match picked {
            Picked::Text(text) => format!("{}:{text}", text.len()),
            Picked::Absent => "-".to_owned(),
            Picked::Nested => "+".to_owned(),
        })
        .collect();
    texts.concat()
}

//! The API of VK, as far as a reader needs it: `wall.get` and `wall.getComments`. Every
//! answer has HTTP 200; what went wrong stands in an `error`. What was deleted is simply
//! not there any more.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Nth, Params, drifted, number};
use crate::simulate::Simulation;
use crate::simulate::dice::fnv;
use crate::simulate::social::{self, By, CONNECTED, Message, Talk};

const DOOR: &str = "vk";
const MOST_ITEMS: usize = 100;
/// Answers to a comment that come along with it at most.
const MOST_ANSWERS: usize = 10;

/// What VK answers instead of a list: its code and words.
type Refusal = (u32, String);

/// Number of the community of a district's akim.
pub(in crate::simulate) fn wall(district: usize) -> i64 {
    -9_000_001 - district as i64
}

/// `/method/{name}`.
pub(super) async fn method(
    State(simulation): State<Arc<Simulation>>,
    Extension(nth): Extension<Nth>,
    Path(name): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        bearer.and_then(|value| value.strip_prefix("Bearer ")).or(params.get("access_token").map(String::as_str));
    let answer = if token != Some(&simulation.options.token) {
        Err((5, "User authorization failed: invalid access_token (4).".to_owned()))
    } else if !params.contains_key("v") {
        Err((8, "Invalid request: v (version) is required".to_owned()))
    } else {
        match name.as_str() {
            "wall.get" => posts(&simulation, nth, &params),
            "wall.getComments" => comments(&simulation, &params),
            _ => Err((3, "Unknown method passed".to_owned())),
        }
    };
    match answer {
        Ok(list) => Json(json!({"response": list})).into_response(),
        Err((code, words)) => refused(code, &words),
    }
}

/// An error as VK says it: with HTTP 200, and what was asked beside it.
pub(super) fn refused(code: u32, words: &str) -> Response {
    let asked = json!([{"key": "v", "value": "5.199"}]);
    Json(json!({"error": {"error_code": code, "error_msg": words, "request_params": asked}})).into_response()
}

fn parameter<T: std::str::FromStr>(params: &Params, name: &str, otherwise: T) -> Result<T, Refusal> {
    number(params, name, otherwise)
        .map_err(|why| (100, format!("One of the parameters specified was missing or invalid: {why}")))
}

fn district(params: &Params) -> Result<usize, Refusal> {
    let owner: i64 = parameter(params, "owner_id", 0)?;
    match (0..CONNECTED).find(|district| wall(*district) == owner) {
        Some(district) => Ok(district),
        None => Err((15, "Access denied: this wall available only for community members".to_owned())),
    }
}

fn posts(simulation: &Simulation, nth: Nth, params: &Params) -> Result<Value, Refusal> {
    let district = district(params)?;
    let wanted: usize = parameter(params, "offset", 0)?;
    let count = parameter(params, "count", 20)?.min(MOST_ITEMS);
    let offset = drifted(simulation, DOOR, nth, wanted);
    Ok(simulation.look(|world, now| {
        let mut shown: Vec<&Talk> =
            world.vk.iter().filter(|talk| talk.district == district && talk.messages[0].stands(now)).collect();
        shown.sort_by_key(|talk| std::cmp::Reverse((talk.messages[0].at(), talk.messages[0].id)));
        let items: Vec<Value> = shown.iter().skip(offset).take(count).map(|talk| post(talk, now)).collect();
        json!({"count": shown.len(), "items": items})
    }))
}

fn post(talk: &Talk, now: i64) -> Value {
    let message = &talk.messages[0];
    let (written_at, text) = message.text(now);
    let comments = talk.messages[1..].iter().filter(|message| message.stands(now)).count();
    let mut said = json!({
        "id": message.id,
        "owner_id": wall(talk.district),
        "from_id": author(talk, message),
        "date": message.at(),
        "text": text,
        "comments": {"count": comments, "can_post": 1},
        "likes": {"count": (now - message.at()) / 3_000},
        "views": {"count": (now - message.at()) / 60},
    });
    if *written_at > message.at() {
        said["edited"] = json!(written_at);
    }
    said
}

fn author(talk: &Talk, message: &Message) -> i64 {
    match message.by {
        By::Account => wall(talk.district),
        By::Speaker => social::account(talk.district).speaker,
        By::Resident(number) => 900_100_000 + i64::from(number),
    }
}

fn comments(simulation: &Simulation, params: &Params) -> Result<Value, Refusal> {
    let district = district(params)?;
    let asked: i64 = parameter(params, "post_id", 0)?;
    let within: Option<i64> = match params.get("comment_id") {
        Some(_) => Some(parameter(params, "comment_id", 0)?),
        None => None,
    };
    let offset: usize = parameter(params, "offset", 0)?;
    let count = parameter(params, "count", 10)?.min(MOST_ITEMS);
    let answers = parameter(params, "thread_items_count", 0)?.min(MOST_ANSWERS);
    simulation.look(|world, now| {
        let talk = world
            .vk
            .iter()
            .find(|talk| talk.district == district && talk.messages[0].id == asked && talk.messages[0].stands(now));
        let Some(talk) = talk else { return Err((15, "Access denied: post was not found".to_owned())) };
        let mut level: Vec<usize> = match within {
            None => (1..talk.messages.len()).filter(|n| talk.root(*n) == *n).collect(),
            Some(root) => (1..talk.messages.len())
                .filter(|n| talk.root(*n) != *n && talk.messages[talk.root(*n)].id == root)
                .collect(),
        };
        level.retain(|n| talk.messages[*n].stands(now));
        level.sort_by_key(|n| (talk.messages[*n].at(), talk.messages[*n].id));
        if params.get("sort").map(String::as_str) == Some("desc") {
            level.reverse();
        }
        let all = talk.messages[1..].iter().filter(|message| message.stands(now)).count();
        let items: Vec<Value> =
            level.iter().skip(offset).take(count).map(|n| comment(talk, *n, answers, now)).collect();
        let total = if within.is_some() { level.len() } else { all };
        Ok(json!({"count": total, "current_level_count": level.len(), "can_post": true, "items": items}))
    })
}

/// A comment; answers to answers stand in the same thread.
fn comment(talk: &Talk, index: usize, answers: usize, now: i64) -> Value {
    let message = &talk.messages[index];
    let root = talk.root(index);
    let mut said = json!({
        "id": message.id,
        "from_id": author(talk, message),
        "date": message.at(),
        "text": message.text(now).1,
        "post_id": talk.messages[0].id,
        "owner_id": wall(talk.district),
        "parents_stack": [],
        "likes": {"count": fnv(&message.id.to_string(), 9) % 7 + (now / 86_400).unsigned_abs() % 3},
    });
    if root != index {
        said["parents_stack"] = json!([talk.messages[root].id]);
        said["reply_to_comment"] = json!(message.to.map(|to| talk.messages[to].id));
        return said;
    }
    let mut thread: Vec<usize> =
        (index + 1..talk.messages.len()).filter(|n| talk.root(*n) == index && talk.messages[*n].stands(now)).collect();
    thread.sort_by_key(|n| (talk.messages[*n].at(), talk.messages[*n].id));
    let items: Vec<Value> = thread.iter().take(answers).map(|n| comment(talk, *n, 0, now)).collect();
    said["thread"] = json!({"count": thread.len(), "items": items, "can_post": true});
    said
}

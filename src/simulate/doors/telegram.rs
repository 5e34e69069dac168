//! The Bot API of Telegram, as far as a reader needs it. Asking for updates from a number
//! on forgets all before it; nothing is kept longer than a day (or as long as the options
//! say). A webhook that is set turns `getUpdates` away with 409.

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Params, number};
use crate::simulate::Simulation;
use crate::simulate::clock::local_day;
use crate::simulate::dice::fnv;
use crate::simulate::social::{self, By, Message, Talk};
use crate::simulate::world::{Heard, Update};

const DOOR: &str = "telegram";
const MOST_UPDATES: usize = 100;

/// What the Bot API remembers of the bot between calls.
#[derive(Debug, Default)]
pub(in crate::simulate) struct Bot {
    /// Updates before this number were confirmed.
    confirmed: Option<i64>,
    webhook: Option<String>,
}

/// Number of a district's channel.
pub(in crate::simulate) fn channel(district: usize) -> i64 {
    -1_009_000_000_001 - 2 * district as i64
}

/// Number of the group where it is discussed.
fn discussion(district: usize) -> i64 {
    channel(district) - 1
}

/// `/bot{token}/{method}`.
pub(super) async fn method(
    State(simulation): State<Arc<Simulation>>,
    Path((bot, method)): Path<(String, String)>,
    Query(params): Query<Params>,
) -> Response {
    let token = bot.strip_prefix("bot").unwrap_or_default();
    if token != format!("1:{}", simulation.options.token) {
        return told(StatusCode::UNAUTHORIZED, "Unauthorized", None);
    }
    match method.as_str() {
        "getMe" => {
            let me = json!({"id": 1, "is_bot": true, "first_name": "Ahual (сынақ)", "username": "invented_bot"});
            Json(json!({"ok": true, "result": me})).into_response()
        }
        "setWebhook" | "deleteWebhook" => {
            let url = params.get("url").filter(|url| !url.is_empty() && method == "setWebhook").cloned();
            simulation.bot.lock().unwrap_or_else(PoisonError::into_inner).webhook = url;
            Json(json!({"ok": true, "result": true})).into_response()
        }
        "getUpdates" => updates(&simulation, &params),
        _ => told(StatusCode::NOT_FOUND, "Not Found", None),
    }
}

/// An error as the Bot API says it.
fn told(status: StatusCode, description: &str, retry_after: Option<u32>) -> Response {
    let mut said = json!({"ok": false, "error_code": status.as_u16(), "description": description});
    if let Some(seconds) = retry_after {
        said["parameters"] = json!({"retry_after": seconds});
    }
    (status, Json(said)).into_response()
}

/// Too many calls: how long to wait stands in the body alone.
pub(super) fn too_many(seconds: u32) -> Response {
    told(StatusCode::TOO_MANY_REQUESTS, &format!("Too Many Requests: retry after {seconds}"), Some(seconds))
}

fn updates(simulation: &Simulation, params: &Params) -> Response {
    let mut bot = simulation.bot.lock().unwrap_or_else(PoisonError::into_inner);
    if bot.webhook.is_some() {
        simulation.count(DOOR, "conflicts");
        let said = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";
        return told(StatusCode::CONFLICT, said, None);
    }
    let (offset, limit) = match (number(params, "offset", i64::MIN), number(params, "limit", MOST_UPDATES)) {
        (Ok(offset), Ok(limit)) => (offset, limit.clamp(1, MOST_UPDATES)),
        (Err(why), _) | (_, Err(why)) => return told(StatusCode::BAD_REQUEST, &format!("Bad Request: {why}"), None),
    };
    if offset != i64::MIN {
        bot.confirmed = bot.confirmed.max(Some(offset));
    }
    let from = bot.confirmed.unwrap_or(i64::MIN);
    let kept_s = i64::from(simulation.options.telegram_kept_hours) * 3_600;
    let result: Vec<Value> = simulation.look(|world, now| {
        world
            .telegram_from(from, now)
            .skip_while(|update| update.at < now - kept_s)
            .take(limit)
            .map(|update| said(&world.telegram[update.talk as usize], update))
            .collect()
    });
    Json(json!({"ok": true, "result": result})).into_response()
}

/// One update as the Bot API says it.
fn said(talk: &Talk, update: &Update) -> Value {
    let mut told = json!({"update_id": update.number});
    match update.heard {
        Heard::Noise => {
            told["poll_answer"] =
                json!({"poll_id": update.number.to_string(), "user": resident(17), "option_ids": [0]});
        }
        Heard::Copy => told["message"] = copy(talk),
        Heard::Said { message, text } => {
            let (message, text) = (message as usize, text as usize);
            let post = message == 0;
            let member = match (post, text) {
                (true, 0) => "channel_post",
                (true, _) => "edited_channel_post",
                (false, 0) => "message",
                (false, _) => "edited_message",
            };
            let mut body = if post { channel_post(talk) } else { comment(talk, message, true) };
            let (at, words) = &talk.messages[message].texts[text];
            if text > 0 {
                body["edit_date"] = json!(at);
            }
            body["text"] = json!(words);
            told[member] = body;
        }
    }
    told
}

fn resident(number: u32) -> Value {
    json!({"id": 900_100_000 + i64::from(number), "is_bot": false, "first_name": format!("Сынақ Азаматы {number}")})
}

fn channel_chat(talk: &Talk) -> Value {
    json!({"id": channel(talk.district), "title": social::account(talk.district).name, "type": "channel"})
}

fn group_chat(talk: &Talk) -> Value {
    json!({"id": discussion(talk.district), "title": "Талқылау (сынақ)", "type": "supergroup"})
}

fn channel_post(talk: &Talk) -> Value {
    let post = &talk.messages[0];
    json!({
        "message_id": post.id,
        "sender_chat": channel_chat(talk),
        "chat": channel_chat(talk),
        "date": post.at(),
        "text": post.texts[0].1,
    })
}

/// Number of the copy that opens the discussion of a post.
fn copy_id(talk: &Talk) -> i64 {
    talk.messages[0].id + 32
}

fn copy(talk: &Talk) -> Value {
    let post = &talk.messages[0];
    json!({
        "message_id": copy_id(talk),
        "from": {"id": 777_000, "is_bot": false, "first_name": "Telegram"},
        "sender_chat": channel_chat(talk),
        "chat": group_chat(talk),
        "date": post.at() + 3,
        "is_automatic_forward": true,
        "forward_origin": {"type": "channel", "chat": channel_chat(talk), "message_id": post.id, "date": post.at()},
        "text": post.texts[0].1,
    })
}

/// A message of the discussion; a message quotes the one it answers, and that one none.
fn comment(talk: &Talk, index: usize, quoting: bool) -> Value {
    let message: &Message = &talk.messages[index];
    let account = social::account(talk.district);
    let mut said = json!({
        "message_id": message.id,
        "chat": group_chat(talk),
        "date": message.at(),
        "message_thread_id": copy_id(talk),
        "text": message.texts[0].1,
    });
    match message.by {
        By::Resident(number) => said["from"] = resident(number),
        By::Speaker => {
            said["from"] = json!({"id": account.speaker, "is_bot": false, "first_name": "Баспасөз хатшысы (сынақ)"});
        }
        By::Account => {
            said["from"] = json!({"id": 136_817_688, "is_bot": true, "first_name": "Channel"});
            said["sender_chat"] = channel_chat(talk);
        }
    }
    if quoting && let Some(to) = message.to {
        said["reply_to_message"] = if to == 0 { copy(talk) } else { comment(talk, to, false) };
    }
    said
}

/// Where the rank of an update among those of one second comes from.
pub(in crate::simulate) fn rank(talk: &Talk, heard: Heard) -> i64 {
    let post = &talk.messages[0];
    (fnv(&format!("{}/{}/{}/{heard:?}", talk.district, post.id, local_day(post.at())), 5) % 1_000) as i64
}

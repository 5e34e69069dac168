//! Walls of akims' communities on VK: posts by `wall.get`, comments and their threads by
//! `wall.getComments`. What VK calls an error comes with HTTP 200.
//!
//! Nothing tells what changed, so a *cycle* looks at every wall back to a horizon, and at
//! the comments of posts whose number of comments changed or that were not read for some
//! hours. A post or comment that was there and is not met in a whole reading was deleted:
//! a tombstone, a new version of the record, says so.
//!
//! Places shift while others write. Each page begins with the last one of the page before;
//! when it is not there, the wall or thread is read anew.

mod config;
mod position;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ahual_schemas::record::JSON;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use url::Url;

pub use self::config::VkConfig;
use self::position::{Ask, Branch, Comment, Position, Post};
use self::wire::{Given, Listed, SaidComment, SaidPost, essence, given};
use crate::accounts::{Account, Directory, Network};
use crate::config::{ConfigError, LimitsConfig, setting};
use crate::connector::{Connector, ConnectorError, Cursor, Description, Found, Item, Page, Refused, Replay};
use crate::http::{AuthConfig, Fetcher};
use crate::identity::Identity;
use crate::rest::address;

const SHAPE: u32 = 1;
/// Calls a minute, unless the configuration says otherwise: VK lets a token call three
/// times a second.
pub(crate) const CALLS_A_MINUTE: u32 = 150;
const DAY_S: i64 = 86_400;
/// How often a wall or thread that shifted is begun anew within a cycle.
const MOST_RESTARTS: u32 = 3;
/// Reads walls.
pub struct VkConnector {
    config: VkConfig,
    url: Url,
    fetcher: Fetcher,
    directory: Directory,
}

/// A post or a comment.
struct Said<'a> {
    owner: i64,
    post: i64,
    /// Number of the comment, and of the one that begins its thread.
    comment: Option<(i64, i64)>,
    date: i64,
    from: i64,
    raw: &'a str,
}

impl VkConnector {
    /// Checks the configuration, reads its secret and the directory; asks nothing of the
    /// network.
    pub fn new(name: &str, config: VkConfig, base_dir: &Path, limits: &LimitsConfig) -> Result<Self, ConfigError> {
        let wrong = |key: &str, what: &str| setting(name, &format!("vk.{key}"), what);
        let url = address(&config.url, "method").map_err(|what| wrong("url", &what))?;
        if !(2..=100).contains(&config.count) {
            return Err(wrong("count", "must be from 2 to 100"));
        }
        if config.rescan_days == 0 {
            return Err(wrong("rescan_days", "must be at least 1"));
        }
        let directory = Directory::load(&base_dir.join(&config.accounts))
            .map_err(|source| ConfigError::Accounts { name: name.to_owned(), source })?;
        let auth = AuthConfig { header: None, query: None, bearer: true, secret: config.token.clone() };
        let fetcher = Fetcher::new(name, &url, Some(&auth), base_dir, limits, &[])?;
        Ok(Self { config, url, fetcher, directory })
    }

    /// The walls of a cycle that begins `now`, the first one last.
    fn plan(&self, now: DateTime<Utc>) -> Vec<Ask> {
        let walls = self.directory.connected(Network::Vk, self.directory.day(now)).filter_map(|account| account.id);
        let mut plan: Vec<Ask> = walls.map(|owner| self.wall(owner, 0)).collect();
        plan.reverse();
        plan
    }

    fn wall(&self, owner: i64, restarts: u32) -> Ask {
        Ask::Wall { owner, offset: 0, joint: None, restarts, met: BTreeSet::new() }
    }

    fn address(&self, ask: &Ask, count: u64) -> Url {
        let mut url = self.url.clone();
        let (method, pairs) = match ask {
            Ask::Wall { owner, offset, joint, .. } => (
                "wall.get",
                vec![("owner_id", *owner), ("offset", (*offset).cast_signed() - i64::from(joint.is_some()))],
            ),
            Ask::Comments(branch) => {
                let offset = branch.offset.cast_signed() - i64::from(branch.joint.is_some());
                let mut pairs =
                    vec![("owner_id", branch.owner), ("post_id", branch.post), ("offset", offset), ("need_likes", 0)];
                pairs.extend(branch.comment.map(|comment| ("comment_id", comment)));
                // Longer texts would be cut.
                pairs.push(("preview_length", 0));
                pairs.push(("thread_items_count", 10));
                ("wall.getComments", pairs)
            }
        };
        url.set_path(&format!("{}/{method}", self.url.path().trim_end_matches('/')));
        let mut query = url.query_pairs_mut();
        for (name, value) in pairs {
            query.append_pair(name, &value.to_string());
        }
        if matches!(ask, Ask::Comments(_)) {
            query.append_pair("sort", "asc");
        }
        query.append_pair("count", &count.to_string()).append_pair("v", &self.config.api_version);
        drop(query);
        url
    }

    /// The account whose wall it is, on the day of `date`.
    fn account(&self, owner: i64, date: i64) -> Option<&Account> {
        let at = DateTime::<Utc>::from_timestamp(date, 0).unwrap_or_default();
        self.directory.find(Network::Vk, self.directory.day(at), |account| account.id == Some(owner))
    }

    /// One record, where it is news.
    fn record(&self, position: &mut Position, items: &mut Vec<Item>, said: &Said<'_>) {
        // A wall that has left the directory since it was planned is nobody's.
        let Some(account) = self.account(said.owner, said.date) else { return };
        let delivery = position.turn.delivery(items.len() + 1);
        let post_name = format!("{}/{}", said.owner, said.post);
        let (record_id, case_key, member) = match said.comment {
            Some((comment, root)) => {
                let thread = Self::thread(position, said.owner, said.post, root);
                (format!("{post_name}/{comment}"), thread, "comment")
            }
            None => (post_name.clone(), post_name, "post"),
        };
        if !position.seen.note(record_id.as_bytes(), essence(said.raw).as_bytes(), self.config.remember) {
            return;
        }
        let own = account.is_spoken_for_by(said.from);
        let places = [("owner_id", said.owner.to_string()), ("post_id", said.post.to_string())];
        let payload = self.directory.record(account, own, &places, member, said.raw);
        items.push(Item::Record(Found {
            payload: payload.into(),
            content_type: JSON,
            delivery,
            occurrence: 1,
            place: None,
            identity: Some(Arc::new(Identity::given(record_id, case_key))),
        }));
    }

    fn comment_is_gone(
        &self,
        position: &mut Position,
        items: &mut Vec<Item>,
        place: (i64, i64),
        id: i64,
        comment: Comment,
    ) {
        let Comment { root, date, from } = comment;
        let raw = format!("{{\"id\":{id},\"from_id\":{from},\"date\":{date},\"deleted\":true}}");
        let (owner, post) = place;
        self.record(position, items, &Said { owner, post, comment: Some((id, root)), date, from, raw: &raw });
    }

    /// The thread a comment belongs to: under the account's own post each comment begins
    /// one; what is said under a resident's post belongs to that post.
    fn thread(position: &Position, owner: i64, post: i64, root: i64) -> String {
        match position.posts.0.get(&(owner, post)) {
            Some(known) if !known.own => format!("{owner}/{post}"),
            _ => format!("{owner}/{post}/{root}"),
        }
    }

    fn take_wall(&self, position: &mut Position, ask: Ask, list: &Listed<'_>, asked: u64, now_s: i64) -> Vec<Item> {
        let Ask::Wall { owner, offset, joint, restarts, mut met } = ask else { return Vec::new() };
        position.refused.remove(&owner);
        let mut items = Vec::new();
        let horizon_s = now_s - i64::from(self.config.rescan_days) * DAY_S;
        let mut posts = Vec::new();
        for raw in &list.items {
            match serde_json::from_str::<SaidPost>(raw.get()) {
                Ok(post) => posts.push((post, *raw)),
                Err(e) => items.push(aside(position, raw, &format!("a post of a shape VK does not have ({e})"))),
            }
        }
        if joint.is_some_and(|joint| !posts.iter().any(|(post, _)| post.id == joint)) {
            return self.again(position, items, owner, restarts);
        }
        let mut branches = Vec::new();
        for (post, raw) in &posts {
            met.insert(post.id);
            let own = self.account(owner, post.date).is_some_and(|account| account.is_spoken_for_by(post.from_id));
            if post.date >= horizon_s {
                let count = post.comments.as_ref().map_or(0, |comments| comments.count);
                let known = position.posts.0.entry((owner, post.id)).or_default();
                let due = known.count != count || now_s - known.read_s >= i64::from(self.config.rescan_every_s);
                (known.date, known.from, known.own) = (post.date, post.from_id, own);
                if due && (count > 0 || !known.comments.is_empty()) {
                    (known.count, known.read_s) = (count, now_s);
                    branches.push(Ask::Comments(Branch::new(owner, post.id)));
                }
            }
            let (date, from) = (post.date, post.from_id);
            let said = Said { owner, post: post.id, comment: None, date, from, raw: raw.get() };
            self.record(position, &mut items, &said);
        }
        let old = posts.iter().filter(|(post, _)| post.is_pinned == 0).any(|(post, _)| post.date < horizon_s);
        let last = posts.last().map(|(post, _)| post.id);
        if list.items.len() as u64 >= asked && !old && last.is_some() {
            let offset = offset - u64::from(joint.is_some()) + list.items.len() as u64;
            position.plan.push(Ask::Wall { owner, offset, joint: last, restarts, met });
        } else {
            self.settle_wall(position, &mut items, owner, &met, horizon_s);
        }
        // The comments of this page are read before the next page of the wall.
        branches.reverse();
        position.plan.extend(branches);
        items
    }

    /// Begins a wall anew, or gives up on it for this cycle.
    fn again(&self, position: &mut Position, mut items: Vec<Item>, owner: i64, restarts: u32) -> Vec<Item> {
        if restarts < MOST_RESTARTS {
            position.plan.push(self.wall(owner, restarts + 1));
        } else {
            items.push(shifted(position, &format!("wall {owner}")));
        }
        items
    }

    /// A wall was read whole back to the horizon: what was known and was not met is gone.
    fn settle_wall(
        &self,
        position: &mut Position,
        items: &mut Vec<Item>,
        owner: i64,
        met: &BTreeSet<i64>,
        horizon_s: i64,
    ) {
        let known: Vec<(i64, Post)> = position
            .posts
            .0
            .range((owner, i64::MIN)..=(owner, i64::MAX))
            .map(|((_, post), known)| (*post, known.clone()))
            .collect();
        for (post, known) in known {
            if known.date < horizon_s {
                position.posts.0.remove(&(owner, post));
                continue;
            }
            if met.contains(&post) {
                continue;
            }
            for (id, comment) in &known.comments {
                self.comment_is_gone(position, items, (owner, post), *id, *comment);
            }
            let Post { date, from, .. } = known;
            let raw = format!("{{\"id\":{post},\"from_id\":{from},\"date\":{date},\"deleted\":true}}");
            self.record(position, items, &Said { owner, post, comment: None, date, from, raw: &raw });
            position.posts.0.remove(&(owner, post));
        }
    }

    fn take_comments(&self, position: &mut Position, mut branch: Branch, list: &Listed<'_>, asked: u64) -> Vec<Item> {
        let mut items = Vec::new();
        let mut comments = Vec::new();
        for raw in &list.items {
            match serde_json::from_str::<SaidComment<'_>>(raw.get()) {
                Ok(comment) => comments.push((comment, *raw)),
                Err(e) => items.push(aside(position, raw, &format!("a comment of a shape VK does not have ({e})"))),
            }
        }
        if branch.joint.is_some() && branch.joint != comments.first().map(|(comment, _)| comment.id) {
            if branch.restarts == MOST_RESTARTS {
                items.push(shifted(position, &format!("comments of post {}/{}", branch.owner, branch.post)));
                return items;
            }
            match branch.comment {
                Some(thread) => branch.met.retain(|id, comment| comment.root != thread || *id == thread),
                None => {
                    branch.met.clear();
                    branch.threads.clear();
                }
            }
            let again = Branch { offset: 0, joint: None, restarts: branch.restarts + 1, ..branch };
            position.plan.push(Ask::Comments(again));
            return items;
        }
        let last = comments.last().map(|(comment, _)| comment.id);
        for (comment, raw) in comments {
            let root = branch.comment.unwrap_or(comment.id);
            self.take_comment(position, &mut items, &mut branch, &comment, raw.get(), root);
            let Some(thread) = comment.thread.filter(|thread| branch.comment.is_none() && thread.count > 0) else {
                continue;
            };
            let answers: Option<Vec<(SaidComment<'_>, &RawValue)>> =
                thread.items.iter().map(|raw| Some((serde_json::from_str(raw.get()).ok()?, *raw))).collect();
            match answers {
                Some(answers) if answers.len() as u64 >= thread.count => {
                    for (answer, raw) in answers {
                        self.take_comment(position, &mut items, &mut branch, &answer, raw.get(), root);
                    }
                }
                // Not all of it came along: the thread is asked for by itself.
                _ => branch.threads.insert(0, root),
            }
        }
        if list.items.len() as u64 >= asked && last.is_some() {
            let offset = branch.offset - u64::from(branch.joint.is_some()) + list.items.len() as u64;
            position.plan.push(Ask::Comments(Branch { offset, joint: last, ..branch }));
            return items;
        }
        match branch.next_thread() {
            Ok(thread) => position.plan.push(Ask::Comments(thread)),
            Err(whole) => self.settle_comments(position, &mut items, whole),
        }
        items
    }

    fn take_comment(
        &self,
        position: &mut Position,
        items: &mut Vec<Item>,
        branch: &mut Branch,
        comment: &SaidComment<'_>,
        raw: &str,
        root: i64,
    ) {
        let SaidComment { id, from_id: from, date, .. } = *comment;
        branch.met.insert(id, Comment { root, date, from });
        let (owner, post) = (branch.owner, branch.post);
        self.record(position, items, &Said { owner, post, comment: Some((id, root)), date, from, raw });
    }

    /// All comments of a post were read: what was known and was not met is gone.
    fn settle_comments(&self, position: &mut Position, items: &mut Vec<Item>, branch: Branch) {
        let place = (branch.owner, branch.post);
        let before = position.posts.0.get(&place).map(|known| known.comments.clone()).unwrap_or_default();
        for (id, comment) in before.iter().filter(|(id, _)| !branch.met.contains_key(id)) {
            self.comment_is_gone(position, items, place, *id, *comment);
        }
        if let Some(known) = position.posts.0.get_mut(&place) {
            known.comments = branch.met;
        }
    }

    /// What a wall or post says that VK does not show.
    fn closed(position: &mut Position, ask: &Ask, words: String) -> Vec<Item> {
        // A post whose comments are closed is asked again at the next reading.
        let Ask::Wall { owner, .. } = ask else { return Vec::new() };
        if position.refused.get(owner) == Some(&words) {
            return Vec::new();
        }
        let reason = format!(
            "wall {owner} cannot be read: VK says '{words}'; say not_connected in the directory, or ask its owner"
        );
        let delivery = position.turn.delivery("closed");
        position.refused.insert(*owner, words);
        vec![Item::SetAside(Refused { reason, delivery, bytes: Bytes::new() })]
    }

    fn page(mut position: Position, items: Vec<Item>) -> Result<Page, ConnectorError> {
        position.turn.note(&items);
        let more = !position.plan.is_empty();
        position.turn.advance(more);
        Ok(Page { items, cursor: Cursor::of(SHAPE, &position)?, more })
    }
}

#[async_trait]
impl Connector for VkConnector {
    fn describe(&self) -> Description {
        Description { kind: "vk", replay: Replay::Latest, endless: true }
    }

    async fn next_page(&mut self, cursor: Option<&Cursor>, now: DateTime<Utc>) -> Result<Page, ConnectorError> {
        let mut position: Position = match cursor {
            Some(cursor) => cursor.position(SHAPE)?,
            None => Position::default(),
        };
        if position.plan.is_empty() {
            position.plan = self.plan(now);
            // Walls that left the directory are followed no longer.
            let walls: BTreeSet<i64> = position.plan.iter().filter_map(Ask::owner).collect();
            position.posts.0.retain(|(owner, _), _| walls.contains(owner));
            position.refused.retain(|owner, _| walls.contains(owner));
        }
        let Some(ask) = position.plan.pop() else { return Self::page(position, Vec::new()) };
        let count = position.count.take().unwrap_or(self.config.count);
        let answer = match self.fetcher.get(&self.address(&ask, count), "application/json", now).await {
            Ok(answer) => answer,
            Err(ConnectorError::TooLarge { .. }) if count > 2 => {
                position.count = Some((count / 2).max(2));
                position.plan.push(ask);
                return Self::page(position, Vec::new());
            }
            Err(error) => return Err(error),
        };
        let items = match (given(&answer)?, ask) {
            (Given::Closed(words), ask) => Self::closed(&mut position, &ask, words),
            (Given::List(list), Ask::Comments(branch)) => self.take_comments(&mut position, branch, &list, count),
            (Given::List(list), ask) => self.take_wall(&mut position, ask, &list, count, now.timestamp()),
        };
        Self::page(position, items)
    }

    fn summarise(&self, cursor: &Cursor) -> String {
        let Ok(position) = cursor.position::<Position>(SHAPE) else { return "unreadable".to_owned() };
        let refused: Vec<String> =
            position.refused.iter().map(|(owner, words)| format!("wall {owner} refuses ({words})")).collect();
        let refused = if refused.is_empty() { String::new() } else { format!("; {}", refused.join(", ")) };
        format!(
            "{}, {} posts followed, {} questions left in this cycle{}{refused}",
            position.turn.summary(),
            position.posts.0.len(),
            position.plan.len(),
            self.directory.unread(Network::Vk)
        )
    }
}

fn aside(position: &Position, raw: &RawValue, reason: &str) -> Item {
    let delivery = position.turn.delivery("odd");
    Item::SetAside(Refused { reason: reason.to_owned(), delivery, bytes: Bytes::copy_from_slice(raw.get().as_bytes()) })
}

fn shifted(position: &Position, what: &str) -> Item {
    let delivery = position.turn.delivery("shifted");
    let reason =
        format!("{what} shifted {} times while it was read: it is read again in the next cycle", MOST_RESTARTS + 1);
    Item::SetAside(Refused { reason, delivery, bytes: Bytes::new() })
}

//! What an update says, as far as it must be understood to name it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An update: one message, in one of four members, or something else.
#[derive(Debug, Deserialize)]
pub(super) struct Update {
    message: Option<Message>,
    edited_message: Option<Message>,
    channel_post: Option<Message>,
    edited_channel_post: Option<Message>,
}

impl Update {
    /// The message in it.
    pub(super) fn message(&self) -> Option<&Message> {
        [&self.message, &self.edited_message, &self.channel_post, &self.edited_channel_post]
            .into_iter()
            .flatten()
            .next()
    }
}

/// A message or a post.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) message_id: i64,
    pub(super) date: i64,
    pub(super) chat: Chat,
    from: Option<Sender>,
    sender_chat: Option<Sender>,
    reply_to_message: Option<Box<Message>>,
    #[serde(default)]
    is_automatic_forward: bool,
    forward_origin: Option<Origin>,
    forward_from_chat: Option<Sender>,
    forward_from_message_id: Option<i64>,
}

/// Where a message stands.
#[derive(Debug, Deserialize)]
pub(super) struct Chat {
    pub(super) id: i64,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Sender {
    id: i64,
}

/// Where a forwarded message comes from, as later versions of the API say it.
#[derive(Debug, Deserialize)]
struct Origin {
    chat: Option<Sender>,
    message_id: Option<i64>,
}

/// A message's place: chat and number in it.
type Place = (i64, i64);

impl Message {
    /// Whether it was sent to the bot itself.
    pub(super) fn is_private(&self) -> bool {
        self.chat.kind == "private"
    }

    /// Who sent it: the chat it speaks for, where there is one, and the person.
    pub(super) fn senders(&self) -> impl Iterator<Item = i64> {
        [&self.sender_chat, &self.from].into_iter().flatten().map(|sender| sender.id)
    }

    /// The post of a channel that this is the copy of, which opens its discussion.
    fn copied(&self) -> Option<Place> {
        if !self.is_automatic_forward {
            return None;
        }
        let origin = self.forward_origin.as_ref();
        let chat = origin.and_then(|origin| origin.chat.as_ref()).or(self.forward_from_chat.as_ref())?;
        Some((chat.id, origin.and_then(|origin| origin.message_id).or(self.forward_from_message_id)?))
    }

    fn place(&self) -> Place {
        (self.chat.id, self.message_id)
    }

    /// Name of the message in its source.
    pub(super) fn record_id(&self) -> String {
        self.name(self.place())
    }

    /// Where the thread of this message begins. A comment on a post begins one; a reply
    /// to a comment belongs to the comment's.
    pub(super) fn thread(&self, threads: &mut Threads, most: usize) -> String {
        let root = match (self.copied(), &self.reply_to_message) {
            (Some(post), _) => post,
            (None, Some(to)) if !to.is_automatic_forward && to.chat.id == self.chat.id => threads.root(to.place()),
            _ => self.place(),
        };
        if root != self.place() && root.0 == self.chat.id {
            threads.note(self.place(), root.1, most);
        }
        self.name(root)
    }

    /// A person's chat is the person: private messages are numbered by the bot alone.
    fn name(&self, (chat, message): Place) -> String {
        if self.is_private() { format!("direct/{message}") } else { format!("{chat}/{message}") }
    }
}

/// Of replies, the message their thread begins with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(i64, i64, i64)>", into = "Vec<(i64, i64, i64)>")]
pub(super) struct Threads(BTreeMap<Place, i64>);

impl Threads {
    /// The place the thread of the message at `place` begins at.
    fn root(&self, place: Place) -> Place {
        (place.0, self.0.get(&place).copied().unwrap_or(place.1))
    }

    fn note(&mut self, place: Place, root: i64, most: usize) {
        self.0.insert(place, root);
        while self.0.len() > most {
            // The oldest of the chat that just spoke.
            let oldest = self.0.range((place.0, i64::MIN)..).next().map(|(place, _)| *place);
            match oldest {
                Some(oldest) => self.0.remove(&oldest),
                None => return,
            };
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<Vec<(i64, i64, i64)>> for Threads {
    fn from(list: Vec<(i64, i64, i64)>) -> Self {
        Self(list.into_iter().map(|(chat, message, root)| ((chat, message), root)).collect())
    }
}

impl From<Threads> for Vec<(i64, i64, i64)> {
    fn from(threads: Threads) -> Self {
        threads.0.into_iter().map(|((chat, message), root)| (chat, message, root)).collect()
    }
}

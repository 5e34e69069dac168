//! Where a reading of walls stands.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::seen::Seen;
use crate::turn::Turn;

/// A cursor of this connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    #[serde(flatten)]
    pub(super) turn: Turn,
    /// What is still to be asked in this cycle, the next one last.
    pub(super) plan: Vec<Ask>,
    /// Walls that do not let us in, with VK's words.
    pub(super) refused: BTreeMap<i64, String>,
    /// Posts or comments asked for next, where the configured number was too many.
    pub(super) count: Option<u64>,
    /// Posts of the last days, by wall and number.
    pub(super) posts: Posts,
    pub(super) seen: Seen,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// Posts of a wall, the newest first. `joint` is the last post of the page before,
    /// `restarts` how often the wall was begun anew because its pages shifted, `met` the
    /// posts met so far.
    Wall { owner: i64, offset: u64, joint: Option<i64>, restarts: u32, met: BTreeSet<i64> },
    /// Comments under a post, the oldest first.
    Comments(Branch),
}

impl Ask {
    /// The wall, of a question about a wall.
    pub(super) fn owner(&self) -> Option<i64> {
        match self {
            Self::Wall { owner, .. } => Some(*owner),
            Self::Comments(_) => None,
        }
    }
}

/// Comments under a post or under a comment, and what was met of them so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Branch {
    pub(super) owner: i64,
    pub(super) post: i64,
    /// The comment whose thread it is; the post's own comments when absent.
    pub(super) comment: Option<i64>,
    /// Comments passed over.
    pub(super) offset: u64,
    /// The last comment of the page before, with which the page begins again.
    pub(super) joint: Option<i64>,
    /// How often it was begun anew because its pages shifted.
    pub(super) restarts: u32,
    /// Threads that are still to be read before the post is known, the next one last.
    pub(super) threads: Vec<i64>,
    /// Comments met under the post.
    pub(super) met: BTreeMap<i64, Comment>,
}

/// What is known of a comment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Comment {
    /// The comment that begins its thread.
    pub(super) root: i64,
    /// When it was written; seconds.
    pub(super) date: i64,
    /// Who wrote it.
    pub(super) from: i64,
}

impl Branch {
    pub(super) fn new(owner: i64, post: i64) -> Self {
        Self {
            owner,
            post,
            comment: None,
            offset: 0,
            joint: None,
            restarts: 0,
            threads: Vec::new(),
            met: BTreeMap::new(),
        }
    }

    /// The next thread of the post, or nothing when all were read.
    pub(super) fn next_thread(mut self) -> Result<Self, Self> {
        match self.threads.pop() {
            Some(comment) => Ok(Self { comment: Some(comment), offset: 0, joint: None, restarts: 0, ..self }),
            None => Err(self),
        }
    }
}

/// What is known of a post.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Post {
    /// When it was written; seconds.
    pub(super) date: i64,
    /// Who wrote it.
    pub(super) from: i64,
    /// Whether the account wrote it.
    pub(super) own: bool,
    /// Comments it had when they were last read.
    pub(super) count: u64,
    /// When they were last read; seconds.
    pub(super) read_s: i64,
    /// The comments.
    pub(super) comments: BTreeMap<i64, Comment>,
}

/// Posts by wall and number. JSON has texts for keys, so a list is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<((i64, i64), Post)>", into = "Vec<((i64, i64), Post)>")]
pub(super) struct Posts(pub(super) BTreeMap<(i64, i64), Post>);

impl From<Vec<((i64, i64), Post)>> for Posts {
    fn from(list: Vec<((i64, i64), Post)>) -> Self {
        Self(list.into_iter().collect())
    }
}

impl From<Posts> for Vec<((i64, i64), Post)> {
    fn from(posts: Posts) -> Self {
        posts.0.into_iter().collect()
    }
}

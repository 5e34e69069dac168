//! The one thread that writes. Calls that wait while a transaction is being made
//! durable share the next one, so the cost of an fsync is split among them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahual_schemas::log::{TopicKind, partition_of};
use ahual_schemas::{LogError, NewRecord};
use redb::{Database, Durability, ReadableTable};
use tokio::sync::{mpsc, oneshot};

use super::page;
use super::store::{ENDS, Ends, Failure, PAGES, POSITIONS, TOPICS};
use super::{Clock, Shared, Topic};

/// A transaction takes no more jobs once it holds this many bytes.
const GROUP_BYTES: usize = 64 << 20;
/// Nor more jobs than this.
const GROUP_JOBS: usize = 1024;
/// Pages removed in one transaction, so that retention does not hold up appends.
const SWEEP_PAGES: usize = 512;

/// What a caller wants written.
pub(super) enum Work {
    /// Records to append, in order.
    Append { topic: String, records: Vec<NewRecord> },
    /// A topic to make.
    Create { topic: String, kind: TopicKind },
    /// A position to remember.
    Commit { group: String, topic: String, partition: u32, next: u64 },
    /// A low-water mark to raise.
    Retain { topic: String, partition: u32, first: u64 },
}

impl Work {
    fn doing(&self) -> &'static str {
        match self {
            Self::Append { .. } => "append",
            Self::Create { .. } => "create a topic",
            Self::Commit { .. } => "commit a position",
            Self::Retain { .. } => "remove old records",
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Append { records, .. } => records.iter().map(NewRecord::size).sum(),
            _ => 0,
        }
    }
}

/// A piece of work and who waits for it.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) done: oneshot::Sender<Result<Done, LogError>>,
}

/// How a piece of work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// All of it is durable.
    All,
    /// What is done is durable; ask again for the rest.
    Part,
}

/// Runs until every sender is gone.
pub(super) fn run(
    db: Arc<Database>,
    shared: Arc<Shared>,
    mut ends: BTreeMap<(u32, u32), Ends>,
    clock: Clock,
    mut jobs: mpsc::Receiver<Job>,
) {
    while let Some(first) = jobs.blocking_recv() {
        let mut bytes = first.work.size();
        let mut group = vec![first];
        while group.len() < GROUP_JOBS && bytes < GROUP_BYTES {
            let Ok(job) = jobs.try_recv() else { break };
            bytes += job.work.size();
            group.push(job);
        }
        let (work, waiting): (Vec<_>, Vec<_>) = group.into_iter().map(|j| (j.work, j.done)).unzip();
        let doing: Vec<_> = work.iter().map(Work::doing).collect();
        let mut round = Round::new(&shared, &ends);
        match round.write(&db, &clock, work) {
            Ok(answers) => {
                let Round { topics, changed, .. } = round;
                shared.publish(topics, &changed);
                ends.extend(changed);
                for (done, answer) in waiting.into_iter().zip(answers) {
                    // A caller that no longer waits has lost nothing: its work is durable.
                    let _ = done.send(answer);
                }
            }
            Err(error) => {
                let failure = Failure::from(error);
                for (done, doing) in waiting.into_iter().zip(doing) {
                    let _ = done.send(Err(failure.told(doing)));
                }
            }
        }
    }
}

/// One transaction in the making. Nothing of it is seen before it is durable.
struct Round<'a> {
    shared: &'a Shared,
    ends: &'a BTreeMap<(u32, u32), Ends>,
    topics: BTreeMap<String, Arc<Topic>>,
    changed: BTreeMap<(u32, u32), Ends>,
    appends: BTreeMap<(u32, u32), Vec<NewRecord>>,
}

impl<'a> Round<'a> {
    fn new(shared: &'a Shared, ends: &'a BTreeMap<(u32, u32), Ends>) -> Self {
        Self { shared, ends, topics: BTreeMap::new(), changed: BTreeMap::new(), appends: BTreeMap::new() }
    }

    fn write(
        &mut self,
        db: &Database,
        clock: &Clock,
        work: Vec<Work>,
    ) -> Result<Vec<Result<Done, LogError>>, redb::Error> {
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        let mut answers = Vec::with_capacity(work.len());
        {
            let mut topics = txn.open_table(TOPICS)?;
            let mut pages = txn.open_table(PAGES)?;
            let mut positions = txn.open_table(POSITIONS)?;
            for piece in work {
                answers.push(match piece {
                    Work::Append { topic, records } => self.stage(&topic, records),
                    Work::Create { topic, kind } => {
                        if self.topic(&topic).is_err() {
                            let id = u32::try_from(self.shared.topic_count() + self.topics.len()).unwrap_or(u32::MAX);
                            topics.insert(topic.as_str(), (id, kind_code(kind)))?;
                            let made = Topic::new(id, self.shared.partitions);
                            self.topics.insert(topic, Arc::new(made));
                        }
                        Ok(Done::All)
                    }
                    Work::Commit { group, topic, partition, next } => match self.topic(&topic) {
                        Ok(found) => {
                            positions.insert((group.as_str(), found.id, partition), next)?;
                            Ok(Done::All)
                        }
                        Err(refused) => Err(refused),
                    },
                    Work::Retain { topic, partition, first } => match self.topic(&topic) {
                        Ok(found) => Ok(self.sweep(&mut pages, (found.id, partition), first)?),
                        Err(refused) => Err(refused),
                    },
                });
            }
            for (key, records) in std::mem::take(&mut self.appends) {
                let mut ends = self.ends_of(key);
                ends.stamp = ends.stamp.max(clock());
                let mut rest = records.as_slice();
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(page::take(rest));
                    let place = (key.0, key.1, ends.next);
                    pages.insert(place, page::encode(place, ends.stamp, now).as_slice())?;
                    ends.next += now.len() as u64;
                    rest = later;
                }
                self.changed.insert(key, ends);
            }
            let mut table = txn.open_table(ENDS)?;
            for (key, ends) in &self.changed {
                table.insert(key, (ends.first, ends.next, ends.stamp))?;
            }
        }
        txn.commit()?;
        Ok(answers)
    }

    /// Sorts records to their partitions; pages are cut once all calls of the round are in.
    fn stage(&mut self, topic: &str, records: Vec<NewRecord>) -> Result<Done, LogError> {
        let id = self.topic(topic)?.id;
        for record in records {
            let partition = partition_of(&record.key, self.shared.partitions);
            self.appends.entry((id, partition)).or_default().push(record);
        }
        Ok(Done::All)
    }

    fn sweep(
        &mut self,
        pages: &mut redb::Table<'_, (u32, u32, u64), &'static [u8]>,
        key: (u32, u32),
        first: u64,
    ) -> Result<Done, redb::Error> {
        let mut ends = self.ends_of(key);
        ends.first = ends.first.max(first.min(ends.next));
        self.changed.insert(key, ends);
        let mut starts = Vec::new();
        for entry in pages.range((key.0, key.1, 0)..(key.0, key.1, ends.first))? {
            starts.push(entry?.0.value().2);
            if starts.len() > SWEEP_PAGES {
                break;
            }
        }
        let more = starts.len() > SWEEP_PAGES;
        // All but the last page end before `first`. The last does so only if the
        // next page starts right there, or if nothing comes after it.
        let last = starts.pop();
        if let Some(last) = last.filter(|_| !more) {
            let whole = ends.first == ends.next || pages.get((key.0, key.1, ends.first))?.is_some();
            if whole {
                starts.push(last);
            }
        }
        for start in starts {
            pages.remove((key.0, key.1, start))?;
        }
        Ok(if more { Done::Part } else { Done::All })
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        self.topics.get(name).cloned().map_or_else(|| self.shared.topic(name), Ok)
    }

    fn ends_of(&self, key: (u32, u32)) -> Ends {
        self.changed.get(&key).or_else(|| self.ends.get(&key)).copied().unwrap_or(Ends::EMPTY)
    }
}

fn kind_code(kind: TopicKind) -> u8 {
    match kind {
        TopicKind::Stream => 0,
        TopicKind::Compacted => 1,
    }
}

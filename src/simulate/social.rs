//! What is said at the akims' accounts: a post, residents' comments under it, the
//! account's answers, and answers to those. Texts are put right later, and some are
//! taken away again.

use chrono::{Datelike, NaiveDate};

use super::clock::{day_start, local_day};
use super::dice::Dice;
use super::faults::Faults;
use super::region::{self, CALLING_HOURS, CATEGORIES, DISTRICTS, STREETS};

/// All that an answer says that only asks to write privately.
pub(crate) const MOVED: &str = "Жеке хабарлама жазыңыз";
/// Numbers of messages count from here, so that they fit where they have to.
pub(crate) const EPOCH: i64 = 1_700_000_000;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The account of the akim of a district.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) district: usize,
    pub(crate) handle: String,
    pub(crate) name: String,
    /// The press officer, who answers under a name of their own now and then.
    pub(crate) speaker: i64,
    pub(crate) body: String,
}

/// The account of `DISTRICTS[district]`; the last two districts have none that can be read.
pub(crate) fn account(district: usize) -> Account {
    let code = DISTRICTS[district].code;
    Account {
        district,
        handle: format!("sim_{}_akim", code.replace('-', "_")),
        name: format!("{} әкімі (сынақ)", DISTRICTS[district].name),
        speaker: 900_000_900 + district as i64,
        body: format!("{code}-akimat"),
    }
}

/// Districts whose accounts can be read.
pub(crate) const CONNECTED: usize = DISTRICTS.len() - 2;

/// A post and what is said under it.
#[derive(Debug, Clone)]
pub(crate) struct Talk {
    pub(crate) district: usize,
    /// The post first, then comments and answers in the order they were written.
    pub(crate) messages: Vec<Message>,
    /// When something else is said that is no message.
    pub(crate) noise_at: Option<i64>,
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The account itself.
    Account,
    /// The account's press officer.
    Speaker,
    /// An invented resident.
    Resident(u32),
}

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) by: By,
    /// Index of the message it answers; the post's is 0.
    pub(crate) to: Option<usize>,
    /// When each text was written, and the text.
    pub(crate) texts: Vec<(i64, String)>,
    pub(crate) deleted_at: Option<i64>,
}

impl Message {
    pub(crate) fn at(&self) -> i64 {
        self.texts[0].0
    }

    /// Whether the account said it.
    pub(crate) fn is_own(&self) -> bool {
        !matches!(self.by, By::Resident(_))
    }

    /// Whether it is there at `now`.
    pub(crate) fn stands(&self, now: i64) -> bool {
        self.at() <= now && self.deleted_at.is_none_or(|at| at > now)
    }

    /// Its text at `now`, and when that was written.
    pub(crate) fn text(&self, now: i64) -> &(i64, String) {
        self.texts.iter().rev().find(|(at, _)| *at <= now).unwrap_or(&self.texts[0])
    }
}

impl Talk {
    /// Index of the comment that the message at `index` belongs to; the post's own is 0.
    pub(crate) fn root(&self, index: usize) -> usize {
        let mut at = index;
        while let Some(to) = self.messages[at].to {
            if to == 0 {
                return at;
            }
            at = to;
        }
        at
    }
}

/// The talks that begin on one local day at the accounts of one network.
pub(crate) fn of_day(seed: u64, network: &str, day: NaiveDate, scale: f64, faults: &Faults) -> Vec<Talk> {
    let mut talks = Vec::new();
    for (district, place) in DISTRICTS.iter().enumerate().take(CONNECTED) {
        let mut dice = Dice::new(seed, &format!("{network}/{day}/{}", place.code));
        for ordinal in 0..dice.below(3) {
            let at = day_start(day) + dice.weighted(&CALLING_HOURS) as i64 * HOUR + dice.between(0, HOUR - 1);
            let rank = i64::from(day.num_days_from_ce()) * 4 % 60 + ordinal as i64;
            talks.push(talk(&mut dice, district, rank, at, scale, faults));
        }
    }
    talks
}

fn talk(dice: &mut Dice, district: usize, rank: i64, at: i64, scale: f64, faults: &Faults) -> Talk {
    let post = said(dice, rank, at, By::Account, None, format!("{} — бүгінгі жұмыс", local_day(at)));
    let mut messages = vec![post];
    let slowness = region::slowness(&account(district).body);
    for _ in 0..dice.count(8.0 * scale * DISTRICTS[district].weight / 80.0) {
        let resident = By::Resident(dice.below(20_000) as u32);
        let category = &CATEGORIES[dice.below(CATEGORIES.len())];
        let street = STREETS[dice.below(STREETS.len())];
        let asked_at = at + (dice.spread(4.0 * HOUR as f64, 1.0) as i64).clamp(60, 4 * DAY);
        let text = format!("{street}: {} мәселесі шешілмей тұр. Көмектесіңіздерші!", category.name);
        let comment = messages.len();
        messages.push(said(dice, rank, asked_at, resident, Some(0), text));
        if dice.chance(0.75 / slowness.max(1.0)) {
            let waited = (dice.spread(9.0 * HOUR as f64 * slowness, 0.8) as i64).clamp(300, 20 * DAY);
            let by = if dice.chance(0.3) { By::Speaker } else { By::Account };
            let moved = dice.chance(0.15);
            let text =
                if moved { MOVED } else { "Тиісті қызметке тапсырылды, жөнделеді" };
            let answer = messages.len();
            messages.push(said(dice, rank, asked_at + waited, by, Some(comment), text.to_owned()));
            if dice.chance(0.3) {
                let thanked_at = asked_at + waited + dice.between(120, DAY);
                messages.push(said(dice, rank, thanked_at, resident, Some(answer), "Рақмет, күтеміз".to_owned()));
            }
        }
    }
    // A taken-away comment takes its answers along.
    for n in 1..messages.len() {
        if let Some(to) = messages[n].to
            && let Some(gone_at) = messages[to].deleted_at
        {
            messages[n].deleted_at = Some(messages[n].deleted_at.map_or(gone_at, |at| at.min(gone_at)));
        }
    }
    // Nobody answers what is gone.
    let mut kept: Vec<Option<usize>> = Vec::new();
    let mut left: Vec<Message> = Vec::new();
    for mut message in messages {
        let to = message.to.and_then(|to| kept[to]);
        let orphan = message.to.is_some() && to.is_none();
        if orphan || message.deleted_at.is_some_and(|gone_at| gone_at <= message.at()) {
            kept.push(None);
            continue;
        }
        let gone_at = message.deleted_at;
        message.texts.retain(|(at, _)| gone_at.is_none_or(|gone_at| *at < gone_at));
        message.to = to;
        kept.push(Some(left.len()));
        left.push(message);
    }
    // One number a second and talk: what falls on one second waits for the next.
    let mut taken = std::collections::BTreeSet::new();
    for message in &mut left {
        while !taken.insert(message.id) {
            message.id += 64;
        }
    }
    let noise_at = dice.chance(faults.poison * left.len() as f64).then(|| at + dice.between(60, DAY));
    Talk { district, messages: left, noise_at }
}

fn said(dice: &mut Dice, rank: i64, at: i64, by: By, to: Option<usize>, text: String) -> Message {
    let mut texts = vec![(at, text.clone())];
    if dice.chance(0.06) {
        texts.push((at + dice.between(30, 2 * HOUR), format!("{text} (түзетілді)")));
    }
    // Accounts stand by what they said.
    let gone = matches!(by, By::Resident(_)) && dice.chance(0.04);
    let deleted_at = gone.then(|| at + dice.between(10 * 60, 5 * DAY));
    Message { id: (at - EPOCH) * 64 + rank, by, to, texts, deleted_at }
}

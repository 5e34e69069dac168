//! Bags: cell → totals.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use ahual_schemas::feed::{FeedEntry, FeedPosition};
use ahual_schemas::table::{Cell, Day, ShapeError};
use ahual_schemas::tables::CellRow;
use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

/// What distinguishes a cell. Order: metric, dimensions, then duration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellKey {
    /// Metric.
    pub metric: String,
    /// Source.
    pub source: String,
    /// Responsible body.
    pub body: Option<String>,
    /// Category.
    pub category: Option<String>,
    /// Territory code.
    pub territory: Option<String>,
    /// Local day.
    pub day: Option<Day>,
    /// Duration in microseconds, for metrics of time.
    pub duration_us: Option<i64>,
    /// Whether the duration ended (`false`: censored).
    pub observed: bool,
}

/// What a cell adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Sum of numerators.
    pub numerator: i64,
    /// Sum of denominators.
    pub denominator: i64,
    /// Number of contributions.
    pub n: i64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.numerator += other.numerator;
        self.denominator += other.denominator;
        self.n += other.n;
    }
}

/// What the feed speaks of: a cell without metric and duration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Source.
    pub source: String,
    /// Territory code.
    pub territory: Option<String>,
    /// Responsible body.
    pub body: Option<String>,
    /// Category.
    pub category: Option<String>,
    /// Local day.
    pub day: Option<Day>,
}

impl Place {
    /// Bytes of a key that puts the days of one place beside each other.
    pub fn encode(&self) -> Vec<u8> {
        let rest = (&self.source, &self.territory, &self.body, &self.category, self.day.is_some());
        // Writing to a Vec cannot fail for these types; an empty rest would be caught on decoding.
        let mut bytes = postcard::to_stdvec(&rest).unwrap_or_default();
        let day = self.day.map_or(0, |day| day.0);
        bytes.extend((day.cast_unsigned() ^ (1 << 31)).to_be_bytes());
        bytes
    }

    /// The place of [`Place::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (rest, day) = bytes.split_last_chunk::<4>().ok_or("a place has no day")?;
        let (source, territory, body, category, has_day) = postcard::from_bytes(rest).map_err(|e| e.to_string())?;
        let day = Day((u32::from_be_bytes(*day) ^ (1 << 31)).cast_signed());
        Ok(Self { source, territory, body, category, day: Some(day).filter(|_| has_day) })
    }

    /// A feed entry that says what a metric adds up to here.
    pub fn feed_entry(&self, metric: &str, position: FeedPosition, now: Totals) -> FeedEntry {
        let day = self.day.and_then(|d| {
            chrono::NaiveDate::from_ymd_opt(1970, 1, 1)?
                .checked_add_signed(chrono::Duration::days(i64::from(d.0)))
                .map(|date| date.to_string())
        });
        FeedEntry {
            position,
            metric: metric.to_owned(),
            source: self.source.clone(),
            body: self.body.clone(),
            category: self.category.clone(),
            territory: self.territory.clone(),
            day,
            numerator: now.numerator,
            denominator: now.denominator,
            n: now.n,
        }
    }
}

/// Cells and their totals. A cell that comes to nothing is not in the bag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bag(BTreeMap<CellKey, Totals>);

impl Bag {
    /// Adds to a cell.
    pub fn add(&mut self, key: CellKey, added: Totals) {
        let totals = self.0.entry(key).or_default();
        *totals += added;
    }

    /// Adds every cell of `other`.
    pub fn merge(&mut self, other: Self) {
        for (key, totals) in other.0 {
            self.add(key, totals);
        }
    }

    /// Removes cells that come to nothing.
    pub fn settle(&mut self) {
        self.0.retain(|_, totals| *totals != Totals::default());
    }

    /// Cells in order.
    pub fn iter(&self) -> impl Iterator<Item = (&CellKey, &Totals)> {
        self.0.iter()
    }

    /// What the cells of each place add up to, per metric.
    pub fn by_place(&self) -> BTreeMap<Place, BTreeMap<String, Totals>> {
        let mut places: BTreeMap<Place, BTreeMap<String, Totals>> = BTreeMap::new();
        for (key, totals) in &self.0 {
            let place = Place {
                source: key.source.clone(),
                territory: key.territory.clone(),
                body: key.body.clone(),
                category: key.category.clone(),
                day: key.day,
            };
            *places.entry(place).or_default().entry(key.metric.clone()).or_default() += *totals;
        }
        places
    }

    /// The cells as rows of `ops.kept_cells`.
    pub fn rows(&self, folded_version: i64) -> Vec<CellRow> {
        let row = |(key, totals): (&CellKey, &Totals)| {
            let CellKey { metric, source, body, category, territory, day, duration_us, observed } = key.clone();
            let Totals { numerator, denominator, n } = *totals;
            CellRow {
                metric,
                source,
                body,
                category,
                territory,
                day,
                duration_us,
                observed,
                numerator,
                denominator,
                n,
                folded_version,
            }
        };
        self.0.iter().map(row).collect()
    }

    /// Adds what a row of `ops.kept_cells` adds.
    pub fn add_row(&mut self, row: CellRow) {
        let CellRow { metric, source, body, category, territory, day, duration_us, observed, .. } = row;
        let key = CellKey { metric, source, body, category, territory, day, duration_us, observed };
        self.add(key, Totals { numerator: row.numerator, denominator: row.denominator, n: row.n });
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the contributions of a batch of [`super::Metric::cells_sql`], `sign` times.
    pub fn take(&mut self, metric: &str, batch: &RecordBatch, sign: i64) -> Result<(), ShapeError> {
        let source = column::<String>(batch, "source")?;
        let body = column::<Option<String>>(batch, "body")?;
        let category = column::<Option<String>>(batch, "category")?;
        let territory = column::<Option<String>>(batch, "territory")?;
        let day = column::<Option<Day>>(batch, "day")?;
        let duration = column::<Option<i64>>(batch, "duration_us")?;
        let observed = column::<bool>(batch, "observed")?;
        let numerator = column::<i64>(batch, "numerator")?;
        let denominator = column::<i64>(batch, "denominator")?;
        let n = column::<i64>(batch, "n")?;
        for row in 0..batch.num_rows() {
            let key = CellKey {
                metric: metric.to_owned(),
                source: source[row].clone(),
                body: body[row].clone(),
                category: category[row].clone(),
                territory: territory[row].clone(),
                day: day[row],
                duration_us: duration[row],
                observed: observed[row],
            };
            let totals =
                Totals { numerator: sign * numerator[row], denominator: sign * denominator[row], n: sign * n[row] };
            self.add(key, totals);
        }
        Ok(())
    }
}

fn column<T: Cell>(batch: &RecordBatch, name: &'static str) -> Result<Vec<T>, ShapeError> {
    let shape = || ShapeError { table: "contributions", column: name, expected: format!("{:?}", T::data_type()) };
    let column = batch.column_by_name(name).ok_or_else(shape)?;
    let column = arrow::compute::cast(column, &T::data_type()).map_err(|_| shape())?;
    T::read(&column).ok_or_else(shape)
}

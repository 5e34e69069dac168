//! Bags: cell → totals.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;

use ahual_schemas::feed::{FeedEntry, FeedPosition};
use ahual_schemas::table::{Cell, Day, ShapeError};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
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

impl CellKey {
    /// Bytes of the key: the metric's name, a zero byte, then the rest.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.metric.clone().into_bytes();
        bytes.push(0);
        let rest =
            (&self.source, &self.body, &self.category, &self.territory, &self.day, &self.duration_us, self.observed);
        // Writing to a Vec cannot fail for these types; an empty rest would be caught on decoding.
        bytes.extend(postcard::to_stdvec(&rest).unwrap_or_default());
        bytes
    }

    /// The key of [`CellKey::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let cut = bytes.iter().position(|b| *b == 0).ok_or("cell key has no metric")?;
        let metric = String::from_utf8(bytes[..cut].to_vec()).map_err(|e| e.to_string())?;
        let (source, body, category, territory, day, duration_us, observed) =
            postcard::from_bytes(&bytes[cut + 1..]).map_err(|e| e.to_string())?;
        Ok(Self { metric, source, body, category, territory, day, duration_us, observed })
    }

    /// Range of all keys of a metric.
    pub fn range(metric: &str) -> (Vec<u8>, Vec<u8>) {
        let mut from = metric.as_bytes().to_vec();
        let mut to = from.clone();
        from.push(0);
        to.push(1);
        (from, to)
    }

    /// The cell without its duration: what the feed speaks of.
    pub fn without_duration(&self) -> Self {
        Self { duration_us: None, observed: true, ..self.clone() }
    }

    /// A feed entry that says what the cell adds up to now.
    pub fn feed_entry(&self, position: FeedPosition, now: Totals) -> FeedEntry {
        let day = self.day.and_then(|d| {
            chrono::NaiveDate::from_ymd_opt(1970, 1, 1)?
                .checked_add_signed(chrono::Duration::days(i64::from(d.0)))
                .map(|date| date.to_string())
        });
        FeedEntry {
            position,
            metric: self.metric.clone(),
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

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the contributions of a batch of [`contributions_schema`], `sign` times.
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

    /// The cells as a batch of [`contributions_schema`].
    pub fn to_batch(&self) -> Result<RecordBatch, ArrowError> {
        let keys = || self.0.keys();
        let columns: Vec<ArrayRef> = vec![
            Cell::write(keys().map(|k| &k.source)),
            Cell::write(keys().map(|k| &k.body)),
            Cell::write(keys().map(|k| &k.category)),
            Cell::write(keys().map(|k| &k.territory)),
            Cell::write(keys().map(|k| &k.day)),
            Cell::write(keys().map(|k| &k.duration_us)),
            Cell::write(keys().map(|k| &k.observed)),
            Cell::write(self.0.values().map(|t| &t.numerator)),
            Cell::write(self.0.values().map(|t| &t.denominator)),
            Cell::write(self.0.values().map(|t| &t.n)),
        ];
        RecordBatch::try_new(contributions_schema(), columns)
    }
}

fn column<T: Cell>(batch: &RecordBatch, name: &'static str) -> Result<Vec<T>, ShapeError> {
    let shape = || ShapeError { table: "contributions", column: name, expected: format!("{:?}", T::data_type()) };
    let column = batch.column_by_name(name).ok_or_else(shape)?;
    let column = arrow::compute::cast(column, &T::data_type()).map_err(|_| shape())?;
    T::read(&column).ok_or_else(shape)
}

/// Schema of contributions and of cells, dimensions first.
pub fn contributions_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("source", DataType::Utf8, false),
        Field::new("body", DataType::Utf8, true),
        Field::new("category", DataType::Utf8, true),
        Field::new("territory", DataType::Utf8, true),
        Field::new("day", DataType::Date32, true),
        Field::new("duration_us", DataType::Int64, true),
        Field::new("observed", DataType::Boolean, false),
        Field::new("numerator", DataType::Int64, false),
        Field::new("denominator", DataType::Int64, false),
        Field::new("n", DataType::Int64, false),
    ]))
}

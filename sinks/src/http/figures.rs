//! `/api/metrics`, `/api/metrics/{name}` and `/api/metrics/{name}/cases`: figures as
//! JSON, and the cases behind them.

use ahual_schemas::table::{At, Day};
use ahual_transform::reading::{DIMENSIONS, FigureQuery, MetricInfo};
use arrow::json::writer::{JsonArray, WriterBuilder};
use arrow::record_batch::RecordBatch;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use chrono::{DateTime, NaiveDate, SecondsFormat};
use serde_json::{Map, Value, json};

use super::Site;
use super::problem::Problem;

/// Parameters of `/api/metrics/{name}`.
const PARAMETERS: [&str; 10] =
    ["by", "source", "body", "category", "territory", "from", "to", "as_of", "known_at", "limit"];

/// Parameters that filter a dimension; each may be given several times.
const FILTERS: [&str; 4] = ["source", "body", "category", "territory"];

type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The metrics there are.
pub(super) async fn catalogue(State(site): State<Site>, parameters: Parameters) -> Result<Json<Value>, Problem> {
    if let Some((name, _)) = pairs(parameters)?.first() {
        return Err(Problem::bad_value(format!("/api/metrics takes no parameters; leave '{name}' out")));
    }
    Ok(Json(json!({ "metrics": site.reading.metrics() })))
}

/// The figures of one metric.
pub(super) async fn figures(
    State(site): State<Site>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let metric = find(site.reading.metrics(), &name)?;
    let asked = Asked::read(&name, pairs(parameters)?, site.config.default_rows, site.config.max_rows)?;
    let batches = site.reading.figures(&asked.query).await?;
    let (rows, truncated) = rows(&batches, asked.limit)?;
    let as_of = rows
        .first()
        .and_then(|row| row.get("as_of"))
        .cloned()
        .or_else(|| asked.query.as_of.and_then(instant_text).map(Value::String))
        .unwrap_or(Value::Null);
    Ok(Json(json!({
        "metric": metric.name,
        "title": metric.title,
        "unit": metric.unit,
        "as_of": as_of,
        "known_at": asked.query.known_at.and_then(instant_text),
        "truncated": truncated,
        "rows": rows,
    })))
}

/// The cases behind the figures of one metric, and the query that gives them.
pub(super) async fn cases(
    State(site): State<Site>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let metric = find(site.reading.metrics(), &name)?;
    let pairs = pairs(parameters)?;
    if pairs.iter().any(|(name, _)| name == "by") {
        return Err(Problem::bad_value("by groups figures; cases are not grouped, leave it out"));
    }
    let asked = Asked::read(&name, pairs, site.config.default_rows, site.config.max_rows)?;
    // One more tells whether there are more.
    let explanation = site.reading.cases(&asked.query, asked.limit.saturating_add(1)).await?;
    let (rows, truncated) = rows(&explanation.rows, asked.limit)?;
    Ok(Json(json!({
        "metric": metric.name,
        "as_of": asked.query.as_of.and_then(instant_text),
        "known_at": asked.query.known_at.and_then(instant_text),
        "sql": explanation.sql,
        "truncated": truncated,
        "rows": rows,
    })))
}

fn find(metrics: Vec<MetricInfo>, name: &str) -> Result<MetricInfo, Problem> {
    match metrics.iter().position(|metric| metric.name == name) {
        Some(index) => metrics.into_iter().nth(index).ok_or_else(|| Problem::unknown_metric(name, [])),
        None => Err(Problem::unknown_metric(name, metrics.iter().map(|metric| metric.name.as_str()))),
    }
}

pub(super) fn pairs(parameters: Parameters) -> Result<Vec<(String, String)>, Problem> {
    match parameters {
        Ok(Query(pairs)) => Ok(pairs),
        Err(rejection) => Err(Problem::bad_value(format!("the part after '?' cannot be read: {rejection}"))),
    }
}

/// What a reader asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    query: FigureQuery,
    limit: usize,
}

impl Asked {
    fn read(metric: &str, pairs: Vec<(String, String)>, default_rows: usize, max_rows: usize) -> Result<Self, Problem> {
        let mut query = FigureQuery { metric: metric.to_owned(), ..FigureQuery::default() };
        let mut limit = None;
        let mut by = None;
        for (name, value) in pairs {
            match name.as_str() {
                filter if FILTERS.contains(&filter) => query.filter.entry(name).or_default().push(value),
                "by" => once(&mut by, &name, dimensions(&value)?)?,
                "from" => once(&mut query.from, &name, day(&name, &value)?)?,
                "to" => once(&mut query.to, &name, day(&name, &value)?)?,
                "as_of" => once(&mut query.as_of, &name, instant(&name, &value)?)?,
                "known_at" => once(&mut query.known_at, &name, instant(&name, &value)?)?,
                "limit" => once(&mut limit, &name, rows_asked(&value, max_rows)?)?,
                unknown => return Err(Problem::unknown_parameter(unknown, &PARAMETERS)),
            }
        }
        query.by = by.unwrap_or_default();
        if let (Some(from), Some(to)) = (query.from, query.to)
            && from >= to
        {
            return Err(Problem::bad_value(
                "from is not before to; from is the first day, to the day after the last one",
            ));
        }
        Ok(Self { query, limit: limit.unwrap_or(default_rows) })
    }
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), Problem> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::bad_value(format!("{name} is given twice; give it once"))),
    }
}

fn dimensions(text: &str) -> Result<Vec<String>, Problem> {
    let mut by: Vec<String> = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !DIMENSIONS.contains(&name) {
            return Err(Problem::bad_value(format!(
                "by names '{name}', which is no dimension; dimensions are {}",
                DIMENSIONS.join(", ")
            )));
        }
        if by.iter().any(|known| known == name) {
            return Err(Problem::bad_value(format!("by names '{name}' twice; name it once")));
        }
        by.push(name.to_owned());
    }
    Ok(by)
}

fn day(name: &str, text: &str) -> Result<Day, Problem> {
    let bad = || Problem::bad_value(format!("{name} is '{text}', which is no day; write it like 2024-03-01"));
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| bad())?;
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    i32::try_from(days).map(Day).map_err(|_| bad())
}

fn instant(name: &str, text: &str) -> Result<At, Problem> {
    DateTime::parse_from_rfc3339(text).map(|instant| At(instant.timestamp_micros())).map_err(|_| {
        // In a query string a bare plus is a space, the usual reason why an offset is lost.
        let hint = if text.contains(' ') { " (a + must be sent as %2B)" } else { "" };
        Problem::bad_value(format!(
            "{name} is '{text}', which is no instant; write it like 2024-03-01T09:00:00Z or 2024-03-01T14:00:00%2B05:00{hint}"
        ))
    })
}

fn rows_asked(text: &str, max_rows: usize) -> Result<usize, Problem> {
    match text.parse::<usize>() {
        Ok(limit) if (1..=max_rows).contains(&limit) => Ok(limit),
        _ => Err(Problem::bad_value(format!("limit is '{text}'; give a whole number from 1 to {max_rows}"))),
    }
}

fn instant_text(at: At) -> Option<String> {
    DateTime::from_timestamp_micros(at.0).map(|instant| instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// The first `limit` rows as objects, and whether there are more.
pub(super) fn rows(batches: &[RecordBatch], limit: usize) -> Result<(Vec<Map<String, Value>>, bool), Problem> {
    let mut left = limit;
    let mut kept = Vec::new();
    let mut truncated = false;
    for batch in batches {
        truncated |= batch.num_rows() > left;
        let take = batch.num_rows().min(left);
        if take > 0 {
            kept.push(batch.slice(0, take));
            left -= take;
        }
    }
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_tz_format("%Y-%m-%dT%H:%M:%S%.fZ".to_owned())
        .build::<_, JsonArray>(Vec::new());
    let failed = |error: arrow::error::ArrowError| Problem::internal(&error);
    writer.write_batches(&kept.iter().collect::<Vec<_>>()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    let bytes = writer.into_inner();
    if bytes.is_empty() {
        return Ok((Vec::new(), truncated));
    }
    let rows = serde_json::from_slice(&bytes).map_err(|error| Problem::internal(&error))?;
    Ok((rows, truncated))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Asked, Problem> {
        let pairs = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Asked::read("completion", pairs, 10, 100)
    }

    #[test]
    fn a_question_is_taken_as_asked() {
        let asked = read(&[
            ("by", "source, body"),
            ("body", "roads"),
            ("body", ""),
            ("from", "1970-01-02"),
            ("to", "1970-01-03"),
            ("as_of", "1970-01-01T05:00:00+05:00"),
            ("limit", "7"),
        ])
        .unwrap();
        assert_eq!(asked.query.by, ["source", "body"]);
        assert_eq!(asked.query.filter["body"], ["roads", ""]);
        assert_eq!((asked.query.from, asked.query.to), (Some(Day(1)), Some(Day(2))));
        assert_eq!(asked.query.as_of, Some(At(0)));
        assert_eq!(asked.limit, 7);
        assert_eq!(read(&[]).unwrap().limit, 10);
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_what_to_change() {
        for (pairs, said) in [
            (vec![("sorce", "a")], "did you mean 'source'?"),
            (vec![("by", "sourse")], "dimensions are source"),
            (vec![("by", "body,body")], "twice"),
            (vec![("from", "01.03.2024")], "2024-03-01"),
            (vec![("from", "2024-02-30")], "no day"),
            (vec![("as_of", "2024-03-01T14:00:00 05:00")], "%2B"),
            (vec![("as_of", "2024-03-01")], "no instant"),
            (vec![("limit", "0")], "from 1 to 100"),
            (vec![("limit", "101")], "from 1 to 100"),
            (vec![("from", "2024-03-01"), ("from", "2024-03-01")], "twice"),
            (vec![("from", "2024-03-02"), ("to", "2024-03-02")], "not before"),
        ] {
            let problem = read(&pairs).unwrap_err();
            assert!(problem.detail.contains(said), "{pairs:?} → {}", problem.detail);
        }
    }
}

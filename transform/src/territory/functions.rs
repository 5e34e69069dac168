//! SQL functions of territory.

use std::sync::Arc;

use ahual_schemas::Day;
use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Float64Array, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::{Kato, Language, Territories, View, Written, read};
use crate::clocks::functions::days;
use crate::functions::{function, texts};
use crate::reference::Reference;

/// All functions of territory, over `reference`.
pub(crate) fn all(reference: &Arc<Reference>) -> Vec<ScalarUDF> {
    let mut functions = of_codes(reference);
    functions.extend(of_places(reference));
    functions
}

fn of_codes(reference: &Arc<Reference>) -> Vec<ScalarUDF> {
    let at = Arc::clone(reference);
    let problem = Arc::clone(reference);
    let repaired = Arc::clone(reference);
    let name = Arc::clone(reference);
    vec![
        function("kato_at", &[3], DataType::Utf8, move |args, rows| {
            let (code, day, view) = (texts(&args[0])?, days(&args[1])?, texts(&args[2])?);
            let mut last: Option<(&str, View)> = None;
            let mut out: Vec<Option<Kato>> = Vec::with_capacity(rows);
            for row in 0..rows {
                let word = if view.is_null(row) { "" } else { view.value(row) };
                let view = match last {
                    Some((known, view)) if known == word => view,
                    _ => match View::from_word(word) {
                        Some(view) => view,
                        None => return exec_err!("kato_at: '{word}' is no view; write 'then' or 'now'"),
                    },
                };
                last = Some((word, view));
                out.push(whole(&code, row).and_then(|kato| at.territories.at(kato, day_of(&day, row), view)));
            }
            Ok(codes(out))
        }),
        function("kato_problem", &[1, 2], DataType::Utf8, move |args, rows| {
            let code = texts(&args[0])?;
            let day = args.get(1).map(days).transpose()?;
            let words: StringArray = (0..rows)
                .map(|row| {
                    let text = code.is_valid(row).then(|| code.value(row));
                    problem.territories.problem(text, day.as_ref().and_then(|day| day_of(day, row)))
                })
                .collect();
            Ok(Arc::new(words))
        }),
        function("kato", &[1], DataType::Utf8, |args, rows| {
            let code = texts(&args[0])?;
            Ok(codes((0..rows).map(|row| whole(&code, row))))
        }),
        function("kato_repair", &[1], DataType::Utf8, move |args, rows| {
            let code = texts(&args[0])?;
            Ok(codes((0..rows).map(|row| code.is_valid(row).then(|| repaired.territories.repaired(code.value(row)))?)))
        }),
        of_code("kato_region", reference, |territories, kato| {
            territories.region(kato).map(|region| region.to_string())
        }),
        of_code("kato_district", reference, |territories, kato| {
            territories.district(kato).map(|district| district.to_string())
        }),
        of_code("kato_level", reference, |territories, kato| {
            territories.get(kato).map(|row| row.level.as_str().to_owned())
        }),
        function("kato_name", &[2], DataType::Utf8, move |args, rows| {
            let (code, language) = (texts(&args[0])?, texts(&args[1])?);
            let mut out = Vec::with_capacity(rows);
            for row in 0..rows {
                let word = if language.is_null(row) { "" } else { language.value(row) };
                let Some(language) = Language::from_word(word) else {
                    return exec_err!("kato_name: '{word}' is no language of names; write 'kk', 'ru' or 'en'");
                };
                out.push(whole(&code, row).and_then(|kato| name.territories.name(kato, language)));
            }
            Ok(Arc::new(StringArray::from(out)))
        }),
    ]
}

fn of_places(reference: &Arc<Reference>) -> Vec<ScalarUDF> {
    let territory = Arc::clone(reference);
    let settlement = Arc::clone(reference);
    let problem = Arc::clone(reference);
    vec![
        function("territory_at", &[2], DataType::Utf8, move |args, rows| {
            let (x, y) = (degrees(&args[0])?, degrees(&args[1])?);
            Ok(codes(
                (0..rows)
                    .map(|row| territory.places.territory(&territory.territories, value(&x, row)?, value(&y, row)?)),
            ))
        }),
        function("settlement_at", &[2], DataType::Utf8, move |args, rows| {
            let (x, y) = (degrees(&args[0])?, degrees(&args[1])?);
            Ok(codes((0..rows).map(|row| settlement.places.settlement(value(&x, row)?, value(&y, row)?))))
        }),
        function("position_problem", &[2], DataType::Utf8, move |args, rows| {
            let (x, y) = (degrees(&args[0])?, degrees(&args[1])?);
            let words: StringArray = (0..rows)
                .map(|row| problem.places.problem(&problem.territories, value(&x, row), value(&y, row)))
                .collect();
            Ok(Arc::new(words))
        }),
    ]
}

fn of_code(
    name: &'static str,
    reference: &Arc<Reference>,
    answer: fn(&Territories, Kato) -> Option<String>,
) -> ScalarUDF {
    let reference = Arc::clone(reference);
    function(name, &[1], DataType::Utf8, move |args, rows| {
        let code = texts(&args[0])?;
        let out: StringArray =
            (0..rows).map(|row| whole(&code, row).and_then(|kato| answer(&reference.territories, kato))).collect();
        Ok(Arc::new(out))
    })
}

/// The code a row says, where nothing of it was lost.
fn whole(code: &StringArray, row: usize) -> Option<Kato> {
    match read(code.is_valid(row).then(|| code.value(row))?) {
        Written::Code(kato, _) => Some(kato),
        _ => None,
    }
}

fn codes(codes: impl IntoIterator<Item = Option<Kato>>) -> ArrayRef {
    let mut out = arrow::array::StringBuilder::new();
    for code in codes {
        out.append_option(code.as_ref().map(Kato::as_str));
    }
    Arc::new(out.finish())
}

/// The day a row says.
pub(crate) fn day_of(days: &Date32Array, row: usize) -> Option<Day> {
    days.is_valid(row).then(|| Day(days.value(row)))
}

fn degrees(array: &ArrayRef) -> Result<Float64Array> {
    Ok(arrow::compute::cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

fn value(degrees: &Float64Array, row: usize) -> Option<f64> {
    degrees.is_valid(row).then(|| degrees.value(row))
}

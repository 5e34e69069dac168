//! SQL functions of categories and norms.

use std::sync::Arc;

use arrow::array::{Array, Int64Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;

use super::Reference;
use crate::clocks::functions::days;
use crate::functions::{function, texts};
use crate::territory::functions::day_of;

/// The functions, over `reference`.
pub(crate) fn all(reference: &Arc<Reference>) -> Vec<ScalarUDF> {
    let category = Arc::clone(reference);
    let norm = Arc::clone(reference);
    vec![
        function("category_of", &[2, 3], DataType::Utf8, move |args, rows| {
            let (source, word) = (texts(&args[0])?, texts(&args[1])?);
            let day = args.get(2).map(days).transpose()?;
            let out: StringArray = (0..rows)
                .map(|row| {
                    let said =
                        (source.is_valid(row) && word.is_valid(row)).then(|| (source.value(row), word.value(row)));
                    let day = day.as_ref().and_then(|day| day_of(day, row));
                    said.and_then(|(source, word)| category.categories.of(source, word, day))
                })
                .collect();
            Ok(Arc::new(out))
        }),
        function("norm_s", &[3], DataType::Int64, move |args, rows| {
            let (measure, category, day) = (texts(&args[0])?, texts(&args[1])?, days(&args[2])?);
            let out: Int64Array = (0..rows)
                .map(|row| {
                    let measure = measure.is_valid(row).then(|| measure.value(row))?;
                    let category = category.is_valid(row).then(|| category.value(row));
                    let found = norm.norms.of(&norm.categories, measure, category, day_of(&day, row)?)?;
                    Some(found.limit_s)
                })
                .collect();
            Ok(Arc::new(out))
        }),
    ]
}

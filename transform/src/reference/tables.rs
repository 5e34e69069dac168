//! Reference data as tables of schema `ref`, for whoever asks in SQL.

use ahual_schemas::Day;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::Reference;

ahual_schemas::table! {
    /// A territory: see [`crate::territory::Territory`].
    #[derive(Debug, Clone, PartialEq)]
    pub struct TerritoryRow: "ref.territories" {
        /// Nine digits.
        pub kato: String,
        /// `region`, `city`, `district`, `city_district`, `sub_district`, `town`, `settlement`.
        pub level: String,
        /// Name in Kazakh.
        pub name_kk: Option<String>,
        /// Name in Russian.
        pub name_ru: Option<String>,
        /// Name in English.
        pub name_en: Option<String>,
        /// The nearest code above.
        pub parent: Option<String>,
        /// The district or city it lies in.
        pub district: Option<String>,
        /// The region it lies in.
        pub region: Option<String>,
        /// First day.
        pub valid_from: Option<Day>,
        /// First day after.
        pub valid_to: Option<Day>,
        /// The code that followed.
        pub successor: Option<String>,
        /// Of a centre point, WGS 84 degrees.
        pub longitude: Option<f64>,
        /// Of a centre point, WGS 84 degrees.
        pub latitude: Option<f64>,
        /// Version of the table it comes from.
        pub version: String,
    }
}

ahual_schemas::table! {
    /// A body: see [`super::Body`].
    #[derive(Debug, Clone, PartialEq)]
    pub struct BodyRow: "ref.bodies" {
        /// Code.
        pub code: String,
        /// Name in Kazakh.
        pub name_kk: Option<String>,
        /// Name in Russian.
        pub name_ru: Option<String>,
        /// Name in English.
        pub name_en: Option<String>,
        /// What it does.
        pub branch: Option<String>,
        /// Where, KATO.
        pub territory: Option<String>,
        /// The body above.
        pub parent: Option<String>,
        /// First day.
        pub valid_from: Option<Day>,
        /// First day after.
        pub valid_to: Option<Day>,
        /// The body that followed.
        pub successor: Option<String>,
        /// Version of the table it comes from.
        pub version: String,
    }
}

ahual_schemas::table! {
    /// A category: see [`super::Category`].
    #[derive(Debug, Clone, PartialEq)]
    pub struct CategoryRow: "ref.categories" {
        /// Code.
        pub code: String,
        /// 1, 2 or 3.
        pub level: i32,
        /// The category one level above.
        pub parent: Option<String>,
        /// The category of level 1 above it, or itself.
        pub field: Option<String>,
        /// Name in Kazakh.
        pub name_kk: Option<String>,
        /// Name in Russian.
        pub name_ru: Option<String>,
        /// Name in English.
        pub name_en: Option<String>,
        /// First day.
        pub valid_from: Option<Day>,
        /// First day after.
        pub valid_to: Option<Day>,
        /// Version of the table it comes from.
        pub version: String,
    }
}

ahual_schemas::table! {
    /// A source's word for a category: see [`super::CategoryWord`].
    #[derive(Debug, Clone, PartialEq)]
    pub struct CategoryWordRow: "ref.category_mapping" {
        /// Source, `*` for all.
        pub source: String,
        /// Its word.
        pub word: String,
        /// The category it means.
        pub category: String,
        /// First day.
        pub valid_from: Option<Day>,
        /// First day after.
        pub valid_to: Option<Day>,
        /// Version of the table it comes from.
        pub version: String,
    }
}

ahual_schemas::table! {
    /// A norm: see [`super::Norm`].
    #[derive(Debug, Clone, PartialEq)]
    pub struct NormRow: "ref.norms" {
        /// What is measured.
        pub measure: String,
        /// Category; null for all.
        pub category: Option<String>,
        /// At most so long, seconds.
        pub limit_s: i64,
        /// First day.
        pub valid_from: Option<Day>,
        /// First day after.
        pub valid_to: Option<Day>,
        /// Where it stands.
        pub basis: String,
        /// `read`, `second_hand`, `memory` or `configuration`.
        pub certainty: String,
        /// Version of the table it comes from.
        pub version: String,
    }
}

/// The tables of `reference`: name and rows.
pub(super) fn of(reference: &Reference) -> Result<Vec<(&'static str, RecordBatch)>, ArrowError> {
    let territories = &reference.territories;
    let code = |kato: Option<crate::territory::Kato>| kato.map(|kato| kato.to_string());
    let territory_rows: Vec<TerritoryRow> = territories
        .iter()
        .map(|row| TerritoryRow {
            kato: row.kato.to_string(),
            level: row.level.as_str().to_owned(),
            name_kk: row.name_kk.clone(),
            name_ru: row.name_ru.clone(),
            name_en: row.name_en.clone(),
            parent: code(row.parent),
            district: code(territories.district(row.kato)),
            region: code(territories.region(row.kato)),
            valid_from: row.validity.from,
            valid_to: row.validity.to,
            successor: code(row.successor),
            longitude: row.point.map(|(longitude, _)| longitude),
            latitude: row.point.map(|(_, latitude)| latitude),
            version: row.version.clone(),
        })
        .collect();
    let body_rows: Vec<BodyRow> = reference
        .bodies
        .iter()
        .map(|row| BodyRow {
            code: row.code.clone(),
            name_kk: row.name_kk.clone(),
            name_ru: row.name_ru.clone(),
            name_en: row.name_en.clone(),
            branch: row.branch.clone(),
            territory: code(row.territory),
            parent: row.parent.clone(),
            valid_from: row.validity.from,
            valid_to: row.validity.to,
            successor: row.successor.clone(),
            version: row.version.clone(),
        })
        .collect();
    let categories = &reference.categories;
    let category_rows: Vec<CategoryRow> = categories
        .iter()
        .map(|row| CategoryRow {
            code: row.code.clone(),
            level: row.level,
            parent: row.parent.clone(),
            field: categories.upwards(&row.code).last().map(|field| field.code.clone()),
            name_kk: row.name_kk.clone(),
            name_ru: row.name_ru.clone(),
            name_en: row.name_en.clone(),
            valid_from: row.validity.from,
            valid_to: row.validity.to,
            version: row.version.clone(),
        })
        .collect();
    let word_rows: Vec<CategoryWordRow> = categories
        .words()
        .iter()
        .map(|row| CategoryWordRow {
            source: row.source.clone(),
            word: row.word.clone(),
            category: row.category.clone(),
            valid_from: row.validity.from,
            valid_to: row.validity.to,
            version: row.version.clone(),
        })
        .collect();
    let norm_rows: Vec<NormRow> = reference
        .norms
        .iter()
        .map(|row| NormRow {
            measure: row.measure.clone(),
            category: row.category.clone(),
            limit_s: row.limit_s,
            valid_from: row.validity.from,
            valid_to: row.validity.to,
            basis: row.basis.clone(),
            certainty: row.certainty.clone(),
            version: row.version.clone(),
        })
        .collect();
    Ok(vec![
        (TerritoryRow::TABLE, TerritoryRow::to_batch(&territory_rows)?),
        (BodyRow::TABLE, BodyRow::to_batch(&body_rows)?),
        (CategoryRow::TABLE, CategoryRow::to_batch(&category_rows)?),
        (CategoryWordRow::TABLE, CategoryWordRow::to_batch(&word_rows)?),
        (NormRow::TABLE, NormRow::to_batch(&norm_rows)?),
    ])
}

//! Schema `metrics` of the catalogue. A session is made for every statement and a
//! statement names few metrics, so each is planned only when it is asked for.

use std::sync::Arc;

use ahual_schemas::table::At;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use crate::figures::{Metric, Metrics};
use crate::reading::DIMENSIONS;

/// For each metric `<name>` its figures, `<name>_cells` what they are formed from, and
/// `<name>_cases` what each case contributes.
#[derive(Clone)]
pub(crate) struct MetricsSchema {
    /// Holds the tables that metrics read.
    tables: SessionContext,
    metrics: Metrics,
    as_of: Option<At>,
}

impl std::fmt::Debug for MetricsSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsSchema").field("as_of", &self.as_of).finish_non_exhaustive()
    }
}

impl MetricsSchema {
    pub(crate) fn new(tables: SessionContext, metrics: Metrics, as_of: Option<At>) -> Self {
        Self { tables, metrics, as_of }
    }

    fn sql(&self, name: &str) -> Option<String> {
        if let Some(metric) = self.metrics.get(name) {
            let cells = format!("({}) AS cells", metric.cells_sql(self.as_of));
            return Some(metric.figures_sql(&cells, &DIMENSIONS.map(str::to_owned), "", self.as_of));
        }
        let of = |suffix: &str| name.strip_suffix(suffix).and_then(|name| self.metrics.get(name));
        let cells = of("_cells").map(|metric: &Metric| metric.cells_sql(self.as_of));
        cells.or_else(|| of("_cases").map(|metric: &Metric| metric.cases_sql(self.as_of)))
    }
}

#[async_trait]
impl SchemaProvider for MetricsSchema {
    fn table_names(&self) -> Vec<String> {
        let names = self.metrics.iter().map(|metric| &metric.info.name);
        names.flat_map(|name| [name.clone(), format!("{name}_cells"), format!("{name}_cases")]).collect()
    }

    fn table_exist(&self, name: &str) -> bool {
        self.sql(name).is_some()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        match self.sql(name) {
            Some(sql) => Ok(Some(self.tables.sql(&sql).await?.into_view())),
            None => Ok(None),
        }
    }
}

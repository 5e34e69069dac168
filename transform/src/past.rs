//! Past moments in SQL: table functions that give a table or a metric as of then.
//!
//! `metric_at('on_time', '2026-01-01T00:00:00+05:00')` is the metric with what had
//! happened by then, as far as it is known now; a second time says what was known by
//! then. `cases_at`, `events_at`, `segments_at`, `deadlines_at` and `parts_at` are the
//! tables of `core` in the same way. A time is text: with an offset, or a local time of
//! the deployment's zone. `NULL` leaves a time open. Folding a past moment reads every
//! event; it happens when the statement runs, not when it is planned.

use std::sync::Arc;

use ahual_schemas::event::Event;
use ahual_schemas::table::At;
use ahual_schemas::tables::{Case, Deadline, Part, Segment};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionContext, cast, ident};

use crate::catalog::{Catalog, Moment, reference};
use crate::functions::{UNREADABLE, parse_when};

/// Registers the functions with a session of `catalog`.
pub(crate) fn register(session: &SessionContext, catalog: &Catalog) {
    let tables: [(&'static str, &'static str, fn() -> SchemaRef); 5] = [
        ("cases_at", Case::TABLE, Case::schema),
        ("events_at", Event::TABLE, Event::schema),
        ("segments_at", Segment::TABLE, Segment::schema),
        ("deadlines_at", Deadline::TABLE, Deadline::schema),
        ("parts_at", Part::TABLE, Part::schema),
    ];
    for (function, table, schema) in tables {
        let shape = Shape::Table { table, schema };
        session.register_udtf(function, Arc::new(Function { name: function, shape, catalog: catalog.clone() }));
    }
    let metric = Function { name: "metric_at", shape: Shape::Metric, catalog: catalog.clone() };
    session.register_udtf("metric_at", Arc::new(metric));
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Table { table: &'static str, schema: fn() -> SchemaRef },
    Metric,
}

#[derive(Debug)]
struct Function {
    name: &'static str,
    shape: Shape,
    catalog: Catalog,
}

impl Function {
    fn usage(&self) -> String {
        let first = if matches!(self.shape, Shape::Metric) { "'metric', " } else { "" };
        format!(
            "write {}({first}'2026-01-01T00:00:00+05:00') and, to say what was known by when, a second time",
            self.name
        )
    }

    fn time(&self, argument: Option<&Expr>) -> Result<Option<At>> {
        match argument {
            None => Ok(None),
            Some(Expr::Literal(value, _)) if value.is_null() => Ok(None),
            Some(Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _)) => {
                match parse_when(text, self.catalog.zone(), None) {
                    Some(at) if at != UNREADABLE => Ok(Some(At(at))),
                    _ => plan_err!("{}: '{text}' is no time; {}", self.name, self.usage()),
                }
            }
            Some(other) => plan_err!("{}: {other} is no text; {}", self.name, self.usage()),
        }
    }
}

impl TableFunctionImpl for Function {
    fn call_with_args(&self, arguments: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let mut rest = arguments.exprs();
        let (table, schema) = match self.shape {
            Shape::Table { table, schema } => (table.to_owned(), schema()),
            Shape::Metric => {
                let (first, others) = rest.split_first().ok_or_else(|| DataFusionError::Plan(self.usage()))?;
                rest = others;
                let Expr::Literal(ScalarValue::Utf8(Some(name)) | ScalarValue::Utf8View(Some(name)), _) = first else {
                    return plan_err!("metric_at: the first argument is the metric's name; {}", self.usage());
                };
                let metric = self.catalog.metrics().get(name).ok_or_else(|| {
                    let names: Vec<&str> = self.catalog.metrics().iter().map(|m| m.info.name.as_str()).collect();
                    DataFusionError::Plan(format!("there is no metric '{name}'; there are {}", names.join(", ")))
                })?;
                (format!("metrics.{name}"), metric.figures_schema())
            }
        };
        if rest.len() > 2 {
            return plan_err!("{}: too many arguments; {}", self.name, self.usage());
        }
        let moment = Moment { as_of: self.time(rest.first())?, known_at: self.time(rest.get(1))? };
        if moment == Moment::default() {
            return plan_err!("{}: no moment is given; {}", self.name, self.usage());
        }
        Ok(Arc::new(Past { catalog: self.catalog.clone(), table, moment, schema }))
    }
}

/// A table as of a moment.
#[derive(Debug)]
struct Past {
    catalog: Catalog,
    table: String,
    moment: Moment,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for Past {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let external = |e| DataFusionError::External(Box::new(e));
        let session = self.catalog.session(self.moment).await.map_err(external)?;
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let columns = schema.fields().iter().map(|f| cast(ident(f.name()), f.data_type().clone()).alias(f.name()));
        let frame = session.table(reference(&self.table)).await?.select(columns)?;
        frame.create_physical_plan().await
    }
}

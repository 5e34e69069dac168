//! Metrics planned once and run over one batch of cases after another.
//!
//! An update names few cases, so planning its SQL would cost more than running it. Each
//! metric is planned once over tables whose rows are put in before each run.

use std::sync::{Arc, Mutex, PoisonError};

use ahual_schemas::At;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use datafusion::prelude::SessionContext;

use super::{Bag, MetricError, Metrics, Subject};

/// A table whose rows are put in before each run.
#[derive(Debug)]
struct Slot {
    schema: SchemaRef,
    rows: Mutex<RecordBatch>,
}

impl Slot {
    fn new(schema: SchemaRef) -> Arc<Self> {
        let rows = Mutex::new(RecordBatch::new_empty(Arc::clone(&schema)));
        Arc::new(Self { schema, rows })
    }

    fn put(&self, rows: RecordBatch) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }
}

#[derive(Debug)]
struct SlotStream(Arc<Slot>);

impl PartitionStream for SlotStream {
    fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.0.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rows = futures::stream::once(async move { Ok(rows) });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.0.schema), rows))
    }
}

/// The four tables a metric reads.
struct Tables {
    session: SessionContext,
    slots: [Arc<Slot>; 4],
}

impl Tables {
    fn new(metrics: &Metrics) -> Result<Self, DataFusionError> {
        let session = metrics.session();
        // A filter that one run found out would hold in the next, over other rows.
        session
            .state_ref()
            .write()
            .config_mut()
            .options_mut()
            .set("datafusion.optimizer.enable_dynamic_filter_pushdown", "false")?;
        let arrow = |e: ArrowError| DataFusionError::ArrowError(Box::new(e), None);
        let slots = Subject::default().tables().map_err(arrow)?.map(|(name, rows)| {
            // Metrics name the tables without their schema, as `Subject::register` does.
            (name.trim_start_matches("core."), Slot::new(rows.schema()))
        });
        for (name, slot) in &slots {
            let stream: Arc<dyn PartitionStream> = Arc::new(SlotStream(Arc::clone(slot)));
            session
                .register_table(*name, Arc::new(StreamingTable::try_new(Arc::clone(&slot.schema), vec![stream])?))?;
        }
        Ok(Self { session, slots: slots.map(|(_, slot)| slot) })
    }

    fn put(&self, subject: &Subject) -> Result<(), ArrowError> {
        for (slot, (_, rows)) in self.slots.iter().zip(subject.tables()?) {
            slot.put(rows);
        }
        Ok(())
    }
}

/// Every metric, planned.
pub(super) struct Keeper {
    whole: Tables,
    ended: Tables,
    /// Metric, whether it is live, and its plan.
    plans: Vec<(String, bool, Arc<dyn ExecutionPlan>)>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("plans", &self.plans.len()).finish_non_exhaustive()
    }
}

fn tables_error(source: DataFusionError) -> MetricError {
    MetricError::Sql { metric: "(tables)".to_owned(), source: Box::new(source) }
}

impl Keeper {
    /// Plans every metric.
    pub(super) async fn plan(metrics: &Metrics) -> Result<Self, MetricError> {
        let whole = Tables::new(metrics).map_err(tables_error)?;
        let ended = Tables::new(metrics).map_err(tables_error)?;
        let mut plans = Vec::new();
        for metric in metrics.iter() {
            let name = &metric.info.name;
            let error = |source| MetricError::Sql { metric: name.clone(), source: Box::new(source) };
            let session = if metric.is_live() { &ended.session } else { &whole.session };
            // Of a live metric only ended cases are kept, whose contributions no moment moves.
            let frame = session.sql(&metric.cells_sql(Some(At(0)))).await.map_err(error)?;
            let plan = frame.create_physical_plan().await.map_err(error)?;
            plans.push((name.clone(), metric.is_live(), plan));
        }
        Ok(Self { whole, ended, plans })
    }

    /// Adds to `bag` what `subject` contributes to the kept cells, `sign` times.
    pub(super) async fn keep(&self, bag: &mut Bag, subject: &Subject, sign: i64) -> Result<(), MetricError> {
        let arrow = |e: ArrowError| tables_error(DataFusionError::ArrowError(Box::new(e), None));
        self.whole.put(subject).map_err(arrow)?;
        self.ended.put(&subject.only(|case| case.state != "open")).map_err(arrow)?;
        for (name, live, plan) in &self.plans {
            let error = |source| MetricError::Sql { metric: name.clone(), source: Box::new(source) };
            let session = if *live { &self.ended.session } else { &self.whole.session };
            let plan = reset_plan_states(Arc::clone(plan)).map_err(error)?;
            for batch in datafusion::physical_plan::collect(plan, session.task_ctx()).await.map_err(error)? {
                bag.take(name, &batch, sign)
                    .map_err(|e| MetricError::Shape { metric: name.clone(), what: e.to_string() })?;
            }
        }
        Ok(())
    }
}

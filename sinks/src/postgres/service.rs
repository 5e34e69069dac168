//! Answers statements: each in a session of its own, within its limits.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::hooks::cursor::CursorStatementHook;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::{DfSessionService, Parser, QueryHook};
use futures::Sink;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{FieldInfo, Response};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;

use super::epoch::Epochs;
use super::gate::{Gate, Run, is_planned, plan};
use super::running::Running;

/// What the wire library keeps of a prepared statement.
pub(super) type Prepared = (String, Option<(Statement, LogicalPlan)>);

/// Answers the statements of all connections.
pub(super) struct Service {
    epochs: Arc<Epochs>,
    running: Arc<Running>,
    parser: Arc<Preparer>,
}

/// Prepares statements against the newest epoch.
pub(super) struct Preparer {
    epochs: Arc<Epochs>,
    running: Arc<Running>,
    /// Describes plans; needs no session of its own for that.
    describer: Arc<Parser>,
}

impl Service {
    pub(super) fn new(epochs: Arc<Epochs>, running: Arc<Running>) -> Self {
        let describer = over(Arc::new(SessionContext::new())).query_parser();
        let parser = Preparer { epochs: Arc::clone(&epochs), running: Arc::clone(&running), describer };
        Self { epochs, running, parser: Arc::new(parser) }
    }
}

/// The wire library's service over one session, behind our gate.
fn over(context: Arc<SessionContext>) -> DfSessionService {
    let hooks: Vec<Arc<dyn QueryHook>> = vec![
        Arc::new(Gate),
        Arc::new(CursorStatementHook),
        Arc::new(SetShowHook),
        Arc::new(TransactionStatementHook),
        Arc::new(Run),
    ];
    DfSessionService::new_with_hooks(context, hooks)
}

#[async_trait]
impl SimpleQueryHandler for Service {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let limits = self.running.begin(client)?;
        let work = async {
            let service = over(self.epochs.session(client).await?);
            SimpleQueryHandler::do_query(&service, client, query).await
        };
        let responses = limits.within(work).await?;
        Ok(responses.into_iter().map(|response| limits.over(response)).collect())
    }
}

#[async_trait]
impl ExtendedQueryHandler for Service {
    type Statement = Prepared;
    type QueryParser = Preparer;

    fn query_parser(&self) -> Arc<Self::QueryParser> {
        Arc::clone(&self.parser)
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Self::Statement>,
        max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let limits = self.running.begin(client)?;
        let work = async {
            let context = self.epochs.session(client).await?;
            let portal = anew(portal, &context).await?;
            ExtendedQueryHandler::do_query(&over(context), client, &portal, max_rows).await
        };
        let response = limits.within(work).await?;
        Ok(limits.over(response))
    }
}

/// The portal with its statement planned again: the plan it was prepared with reads the
/// epoch of that time.
async fn anew(portal: &Portal<Prepared>, context: &SessionContext) -> PgWireResult<Portal<Prepared>> {
    let stored = &portal.statement;
    let mut statement = stored.statement.clone();
    if let Some((parsed, old)) = &mut statement.1
        && is_planned(parsed)
    {
        *old = plan(context, parsed).await?;
    }
    let stored = StoredStatement::new(stored.id.clone(), statement, stored.parameter_types.clone());
    let mut fresh = Portal::new_cursor(portal.name.clone(), Arc::new(stored));
    fresh.parameter_format = portal.parameter_format.clone();
    fresh.parameters = portal.parameters.clone();
    fresh.result_column_format = portal.result_column_format.clone();
    Ok(fresh)
}

#[async_trait]
impl QueryParser for Preparer {
    type Statement = Prepared;

    async fn parse_sql<C>(&self, client: &C, sql: &str, types: &[Option<Type>]) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let limits = self.running.begin(client)?;
        let work = async {
            let parser = over(self.epochs.session(client).await?).query_parser();
            parser.parse_sql(client, sql, types).await
        };
        limits.within(work).await
    }

    fn get_parameter_types(&self, statement: &Prepared) -> PgWireResult<Vec<Type>> {
        self.describer.get_parameter_types(statement)
    }

    fn get_result_schema(&self, statement: &Prepared, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        self.describer.get_result_schema(statement, format)
    }
}

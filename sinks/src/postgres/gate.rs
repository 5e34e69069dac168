//! Which statements are let through. A list of what may run, not of what may not: a
//! statement this server does not know is refused.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{Expr, Set, Statement, TransactionAccessMode, TransactionMode, Value};
use datafusion_postgres::QueryHook;
use datafusion_postgres::arrow_pg::datatypes::df::encode_dataframe;
use datafusion_postgres::hooks::HookClient;
use pgwire::api::ClientInfo;
use pgwire::api::portal::Format;
use pgwire::api::results::{Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::types::format::FormatOptions;

use super::epoch::SEARCH_PATH;
use super::refusal::{error, failed, read_only};

/// Parameters a client may set because answers do not depend on them here, or in a way
/// the wire library sees to.
const HARMLESS: [&str; 16] = [
    "application_name",
    "bytea_output",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "optimize_bounded_sort",
    "row_security",
    "session_characteristics",
    "ssl_renegotiation_limit",
    "statement_timeout",
    "synchronize_seqscans",
    "timezone",
];

/// Of [`HARMLESS`], those the wire library keeps itself.
const KEPT_BY_LIBRARY: [&str; 6] =
    ["application_name", "bytea_output", "datestyle", "extra_float_digits", "intervalstyle", "statement_timeout"];

/// A plan of `statement` that provably only reads.
pub(super) async fn plan(context: &SessionContext, statement: &Statement) -> PgWireResult<LogicalPlan> {
    let parsed = Parsed::Statement(Box::new(statement.clone()));
    let plan = context.state().statement_to_plan(parsed).await.map_err(failed)?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|_| read_only(&verb(statement)))?;
    Ok(plan)
}

/// Whether the statement is answered by running a plan.
pub(super) fn is_planned(statement: &Statement) -> bool {
    match statement {
        Statement::Query(_) | Statement::ExplainTable { .. } => true,
        Statement::Explain { statement, .. } => is_planned(statement),
        Statement::ShowTables { .. } | Statement::ShowColumns { .. } => true,
        _ => false,
    }
}

/// First in line: refuses what may not run, answers a few things itself.
#[derive(Debug)]
pub(super) struct Gate;

/// Last in line: plans and runs what only reads.
#[derive(Debug)]
pub(super) struct Run;

impl Gate {
    async fn check(statement: &Statement, context: &SessionContext) -> PgWireResult<()> {
        match statement {
            statement if is_planned(statement) => Ok(()),
            Statement::ShowVariable { .. }
            | Statement::ShowCatalogs { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Fetch { .. }
            | Statement::Close { .. }
            | Statement::Discard { .. }
            | Statement::Deallocate { .. } => Ok(()),
            Statement::StartTransaction { modes, .. } => modes.iter().try_for_each(mode),
            Statement::Set(set) => check_set(set),
            Statement::Declare { stmts } => {
                for query in stmts.iter().filter_map(|declared| declared.for_query.as_ref()) {
                    plan(context, &Statement::Query(query.clone())).await?;
                }
                Ok(())
            }
            Statement::Copy { to: true, .. } | Statement::Prepare { .. } | Statement::Execute { .. } => {
                let mut info = ErrorInfo::new(
                    "ERROR".to_owned(),
                    "0A000".to_owned(),
                    format!("{} is not served here", verb(statement)),
                );
                info.hint = Some("Run the SELECT itself; clients may prepare it over the wire.".to_owned());
                Err(PgWireError::UserError(Box::new(info)))
            }
            other => Err(read_only(&verb(other))),
        }
    }

    /// The answer to statements that need neither a plan nor the wire library.
    fn answer(statement: &Statement, client: &mut dyn HookClient) -> Option<Response> {
        let tag = |name: &str| Some(Response::Execution(Tag::new(name)));
        match statement {
            Statement::Set(Set::SingleAssignment { variable, values, .. }) => {
                let name = variable.to_string().to_lowercase();
                if name == SEARCH_PATH || !KEPT_BY_LIBRARY.contains(&name.as_str()) {
                    let said = values.iter().map(word).collect::<Vec<_>>().join(", ");
                    client.metadata_mut().insert(name, said);
                    return tag("SET");
                }
                None
            }
            Statement::Set(Set::SetNames { .. } | Set::SetNamesDefault {} | Set::SetTransaction { .. }) => tag("SET"),
            Statement::Discard { .. } => {
                client.portal_store().clear_portals();
                tag("DISCARD ALL")
            }
            Statement::Deallocate { name, .. } => {
                client.portal_store().rm_statement(&name.value);
                tag("DEALLOCATE")
            }
            _ => None,
        }
    }
}

fn mode(mode: &TransactionMode) -> PgWireResult<()> {
    match mode {
        TransactionMode::AccessMode(TransactionAccessMode::ReadWrite) => Err(read_only("READ WRITE transactions")),
        _ => Ok(()),
    }
}

fn check_set(set: &Set) -> PgWireResult<()> {
    match set {
        Set::SetTimeZone { .. } | Set::SetNamesDefault {} => Ok(()),
        Set::SetNames { charset_name, .. } => encoding(&charset_name.value),
        Set::SetTransaction { modes, .. } => modes.iter().try_for_each(mode),
        Set::SingleAssignment { variable, values, .. } => {
            let name = variable.to_string().to_lowercase();
            let said = values.iter().map(word).collect::<Vec<_>>().join(", ");
            let is_off = matches!(said.to_lowercase().as_str(), "off" | "false" | "0" | "no");
            match name.as_str() {
                "client_encoding" => encoding(&said),
                "default_transaction_read_only" | "transaction_read_only" if is_off => {
                    Err(read_only("READ WRITE transactions"))
                }
                "standard_conforming_strings" if is_off => {
                    Err(error("ERROR", "0A000", "standard_conforming_strings is always on here"))
                }
                "default_transaction_read_only"
                | "transaction_read_only"
                | "standard_conforming_strings"
                | "default_transaction_isolation"
                | SEARCH_PATH => Ok(()),
                known if HARMLESS.contains(&known) => Ok(()),
                _ => Err(error("ERROR", "42704", format!("parameter \"{name}\" cannot be set here"))),
            }
        }
        other => Err(error("ERROR", "42501", format!("permission denied: {other} is not served here"))),
    }
}

fn encoding(said: &str) -> PgWireResult<()> {
    match said.to_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" | "unicode" => Ok(()),
        _ => Err(error("ERROR", "22023", format!("client_encoding '{said}' is not served; only UTF8 is"))),
    }
}

fn word(value: &Expr) -> String {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        Expr::Identifier(name) => name.value.clone(),
        other => other.to_string(),
    }
}

/// The word by which people call the statement.
fn verb(statement: &Statement) -> String {
    let text = match statement {
        Statement::Explain { statement, .. } => statement.to_string(),
        other => other.to_string(),
    };
    let first = text.split_whitespace().next().unwrap_or("this").to_uppercase();
    if first == "SELECT" || first == "WITH" { format!("{first} that writes") } else { first }
}

#[async_trait]
impl QueryHook for Gate {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        context: &SessionContext,
        client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        match Self::check(statement, context).await {
            Ok(()) => Self::answer(statement, client).map(Ok),
            Err(refused) => Some(Err(refused)),
        }
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        context: &SessionContext,
        _client: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        if let Err(refused) = Self::check(statement, context).await {
            return Some(Err(refused));
        }
        // What we answer ourselves has no plan; an empty one stands in for it.
        matches!(statement, Statement::Discard { .. } | Statement::Deallocate { .. })
            .then(|| datafusion::logical_expr::LogicalPlanBuilder::empty(false).build().map_err(failed))
    }

    async fn handle_extended_query(
        &self,
        statement: &Statement,
        _plan: &LogicalPlan,
        _parameters: &ParamValues,
        context: &SessionContext,
        client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        self.handle_simple_query(statement, context, client).await
    }
}

#[async_trait]
impl QueryHook for Run {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        context: &SessionContext,
        client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        let answer = async {
            let plan = plan(context, statement).await?;
            let frame = context.execute_logical_plan(plan).await.map_err(failed)?;
            let options = FormatOptions::from_client_metadata(client.metadata());
            encode_dataframe(frame, &Format::UnifiedText, Some(Arc::new(options))).await.map(Response::Query)
        };
        Some(answer.await)
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        context: &SessionContext,
        _client: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        Some(plan(context, statement).await)
    }

    async fn handle_extended_query(
        &self,
        _statement: &Statement,
        _plan: &LogicalPlan,
        _parameters: &ParamValues,
        _context: &SessionContext,
        _client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::super::refusal::told;
    use super::*;

    async fn code(sql: &str) -> Option<String> {
        let context = SessionContext::new();
        context.sql("CREATE TABLE cases (n INT)").await.unwrap();
        let statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
        let checked = match Gate::check(&statement, &context).await {
            Ok(()) if is_planned(&statement) => plan(&context, &statement).await.map(|_| ()),
            checked => checked,
        };
        checked.err().map(|refused| told(refused).code)
    }

    #[tokio::test]
    async fn what_reads_is_let_through() {
        for sql in [
            "SELECT count(*) FROM cases",
            "WITH c AS (SELECT n FROM cases) SELECT * FROM c",
            "EXPLAIN SELECT n FROM cases",
            "BEGIN",
            "BEGIN READ ONLY",
            "COMMIT",
            "ROLLBACK",
            "SHOW server_version",
            "SET application_name = 'x'",
            "SET search_path TO core, public",
            "SET client_encoding TO 'UTF-8'",
            "SET TIME ZONE 'Asia/Almaty'",
            "SET statement_timeout = 1000",
            "DECLARE c CURSOR FOR SELECT n FROM cases",
            "DISCARD ALL",
        ] {
            assert_eq!(code(sql).await, None, "{sql}");
        }
    }

    #[tokio::test]
    async fn what_writes_is_refused() {
        for sql in [
            "INSERT INTO cases VALUES (1)",
            "UPDATE cases SET n = 1",
            "DELETE FROM cases",
            "TRUNCATE cases",
            "DROP TABLE cases",
            "CREATE TABLE x (n INT)",
            "CREATE VIEW v AS SELECT 1",
            "CREATE TABLE x AS SELECT 1",
            "ALTER TABLE cases ADD COLUMN x INT",
            "COPY cases FROM STDIN",
            "SELECT n INTO x FROM cases",
            "EXPLAIN ANALYZE INSERT INTO cases VALUES (1)",
            "BEGIN READ WRITE",
            "SET default_transaction_read_only = off",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        ] {
            assert_eq!(code(sql).await.as_deref(), Some("25006"), "{sql}");
        }
    }

    #[tokio::test]
    async fn settings_that_reach_into_the_engine_are_refused() {
        assert_eq!(code("SET datafusion.runtime.memory_limit = '1G'").await.as_deref(), Some("42704"));
        assert_eq!(code("SET ROLE postgres").await.as_deref(), Some("42501"));
        assert_eq!(code("SET client_encoding = 'WIN1251'").await.as_deref(), Some("22023"));
        assert_eq!(code("COPY cases TO STDOUT").await.as_deref(), Some("0A000"));
    }
}

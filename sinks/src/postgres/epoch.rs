//! A session for each statement, over the newest published epoch, dressed up as a Postgres
//! database.
//!
//! `pg_catalog` is one for the whole server: it hands out the numbers (oid) by which `psql`
//! asks for a table it has looked up by name a statement earlier, so these must outlive a
//! session. It looks at whichever epoch was taken last; the tables themselves are always
//! those of the statement's own session.

use std::sync::{Arc, PoisonError, RwLock};

use ahual_transform::reading::Reading;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider,
    TableFunction,
};
use datafusion::error::DataFusionError;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use datafusion_postgres::datafusion_pg_catalog::setup_pg_catalog;
use pgwire::api::ClientInfo;
use pgwire::error::PgWireResult;

use super::refusal::{failed, no_session};

/// Name of the database.
pub(super) const DATABASE: &str = "ahual";

const PG_CATALOG: &str = "pg_catalog";

/// Where a client's `search_path` is kept.
pub(super) const SEARCH_PATH: &str = "search_path";

/// Gives sessions.
pub(super) struct Epochs {
    reading: Arc<dyn Reading>,
    newest: Arc<Newest>,
    pg_catalog: Arc<dyn SchemaProvider>,
    scalar_functions: Vec<Arc<ScalarUDF>>,
    table_functions: Vec<(String, Arc<TableFunction>)>,
}

/// The catalogue of the epoch taken last.
#[derive(Debug)]
struct Newest(RwLock<Arc<dyn CatalogProviderList>>);

impl Newest {
    fn list(&self) -> Arc<dyn CatalogProviderList> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, list: Arc<dyn CatalogProviderList>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = list;
    }
}

impl CatalogProviderList for Newest {
    fn register_catalog(&self, name: String, catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        self.list().register_catalog(name, catalog)
    }

    fn catalog_names(&self) -> Vec<String> {
        self.list().catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        self.list().catalog(name)
    }
}

impl Epochs {
    /// Prepares what all sessions share. Reads nothing yet.
    pub(super) fn new(reading: Arc<dyn Reading>) -> Result<Self, DataFusionError> {
        let list = MemoryCatalogProviderList::new();
        let catalog = Arc::new(MemoryCatalogProvider::new());
        list.register_catalog(DATABASE.to_owned(), Arc::clone(&catalog) as Arc<dyn CatalogProvider>);
        let newest = Arc::new(Newest(RwLock::new(Arc::new(list))));
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(DATABASE, "public")
            .with_create_default_catalog_and_schema(false);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_catalog_list(Arc::clone(&newest) as Arc<dyn CatalogProviderList>)
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        let before = context.state();
        setup_pg_catalog(&context, DATABASE, EmptyContextProvider).map_err(|error| *error)?;
        let after = context.state();
        let pg_catalog = catalog
            .schema(PG_CATALOG)
            .ok_or_else(|| DataFusionError::Configuration("pg_catalog was not set up".to_owned()))?;
        let scalar_functions = after
            .scalar_functions()
            .iter()
            .filter(|(name, function)| {
                before.scalar_functions().get(*name).is_none_or(|old| !Arc::ptr_eq(old, function))
            })
            .map(|(_, function)| Arc::clone(function))
            .collect();
        let table_functions = after
            .table_functions()
            .iter()
            .filter(|(name, function)| {
                before.table_functions().get(*name).is_none_or(|old| !Arc::ptr_eq(old, function))
            })
            .map(|(name, function)| (name.clone(), Arc::clone(function)))
            .collect();
        Ok(Self { reading, newest, pg_catalog, scalar_functions, table_functions })
    }

    /// A session over the newest epoch, for one message of `client`.
    pub(super) async fn session<C: ClientInfo>(&self, client: &C) -> PgWireResult<Arc<SessionContext>> {
        let read = self.reading.session().await.map_err(no_session)?;
        let search_path = client.metadata().get(SEARCH_PATH).map_or("", String::as_str);
        self.dress(&read, search_path).map(Arc::new).map_err(failed)
    }

    /// `read` with its tables in a database called [`DATABASE`] beside `pg_catalog` and
    /// `information_schema`. `read` itself is left as it is.
    fn dress(&self, read: &SessionContext, search_path: &str) -> Result<SessionContext, DataFusionError> {
        let state = read.state();
        let options = &state.config_options().catalog;
        let catalog = MemoryCatalogProvider::new();
        if let Some(tables) = state.catalog_list().catalog(&options.default_catalog) {
            for name in tables.schema_names() {
                if name != PG_CATALOG
                    && name != "information_schema"
                    && let Some(schema) = tables.schema(&name)
                {
                    catalog.register_schema(&name, schema)?;
                }
            }
        }
        catalog.register_schema(PG_CATALOG, Arc::clone(&self.pg_catalog))?;
        let schema = search_path
            .split(',')
            .map(|name| name.trim().trim_matches('"'))
            .find(|name| catalog.schema(name).is_some())
            .unwrap_or(options.default_schema.as_str())
            .to_owned();
        let list = MemoryCatalogProviderList::new();
        list.register_catalog(DATABASE.to_owned(), Arc::new(catalog));
        let list: Arc<dyn CatalogProviderList> = Arc::new(list);
        self.newest.replace(Arc::clone(&list));

        let config = state
            .config()
            .clone()
            .with_default_catalog_and_schema(DATABASE, schema)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true);
        let mut state = SessionStateBuilder::new_from_existing(state)
            .with_config(config)
            .with_catalog_list(list)
            .with_type_planner(Arc::new(PgOidTypePlanner))
            .build();
        for function in &self.scalar_functions {
            state.register_udf(Arc::clone(function))?;
        }
        for (name, function) in &self.table_functions {
            state.register_udtf(name, Arc::clone(function.function()));
        }
        Ok(SessionContext::new_with_state(state))
    }
}

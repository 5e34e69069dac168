//! The servers of a deployment: HTTP and Postgres, over one way of reading.

use std::sync::Arc;

use ahual_schemas::secret::SecretRef;
use ahual_sinks::Bound;
use ahual_transform::readers::Readers;
use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::config::Sinks;
use crate::output;

/// Servers that are up, drained once their stop is cancelled.
pub struct Servers(Vec<Bound>);

impl Servers {
    /// Starts what `[sinks]` names and says where each stands.
    pub async fn start(sinks: &Sinks, reading: &Arc<Readers>, stop: &CancellationToken) -> anyhow::Result<Self> {
        let mut servers = Vec::new();
        if let Some(http) = &sinks.http {
            let bound = ahual_sinks::http::serve(http.clone(), reading.clone(), stop.clone()).await?;
            output::message(&format!("http      http://{}/", bound.address));
            servers.push(bound);
        }
        if let Some(postgres) = &sinks.postgres {
            let bound = ahual_sinks::postgres::serve(postgres.clone(), reading.clone(), stop.clone()).await?;
            let login = postgres.users.first().map_or_else(String::new, |user| match &user.password {
                // A development password is no secret: the line is there to be pasted.
                SecretRef::Development(text) => {
                    format!("user={} password='{}'", user.name, text.replace('\\', "\\\\").replace('\'', "\\'"))
                }
                _ => format!("user={}", user.name),
            });
            let (host, port) = (bound.address.ip(), bound.address.port());
            output::message(&format!("postgres  psql \"host={host} port={port} {login} dbname=ahual\""));
            servers.push(bound);
        }
        Ok(Self(servers))
    }

    /// Waits until every server has drained, or one ended with an error.
    pub async fn drained(self) -> anyhow::Result<()> {
        futures::future::try_join_all(self.0.into_iter().map(async |server| {
            server.task.await.context("a server ended unexpectedly")??;
            anyhow::Ok(())
        }))
        .await?;
        Ok(())
    }
}

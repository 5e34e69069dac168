//! `[sinks.postgres]`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ahual_schemas::secret::SecretRef;
use serde::{Deserialize, Serialize};

/// The Postgres wire server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// Address and port to bind; port 0 takes any free one. Loopback only: this server
    /// speaks no TLS.
    pub listen: SocketAddr,
    /// Who may log in, with SCRAM-SHA-256.
    pub users: Vec<PostgresUser>,
    /// Seconds after which a statement is cancelled, unless the client has set its own
    /// `statement_timeout`; 0 means never.
    pub statement_timeout_seconds: u64,
    /// Connections served at once.
    pub max_connections: usize,
    /// Seconds that statements under way get to finish after a stop.
    pub drain_seconds: u64,
}

/// Someone who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresUser {
    /// Name to log in with.
    pub name: String,
    /// Where the password is.
    pub password: SecretRef,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5433)),
            users: Vec::new(),
            statement_timeout_seconds: 300,
            max_connections: 64,
            drain_seconds: 10,
        }
    }
}

impl PostgresConfig {
    /// What cannot work, each text naming the key and what to change. No I/O.
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.listen.ip().is_loopback() {
            faults.push(format!(
                "sinks.postgres.listen: {} can be reached by other machines and this server speaks no TLS; \
                 bind a loopback address such as 127.0.0.1",
                self.listen
            ));
        }
        if self.users.is_empty() {
            faults.push(
                "sinks.postgres.users: nobody could log in; add one like \
                 { name = \"analyst\", password = { env = \"ANALYST_PASSWORD\" } }"
                    .to_owned(),
            );
        }
        let mut names = BTreeSet::new();
        for user in &self.users {
            if user.name.is_empty() {
                faults.push("sinks.postgres.users: a name is empty; give each user a name".to_owned());
            } else if !names.insert(&user.name) {
                faults.push(format!("sinks.postgres.users: '{}' is there twice; keep one", user.name));
            }
        }
        if self.max_connections == 0 {
            faults.push("sinks.postgres.max_connections: 0 would serve nobody; give at least 1".to_owned());
        }
        faults
    }

    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        (self.statement_timeout_seconds > 0).then(|| Duration::from_secs(self.statement_timeout_seconds))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn user(name: &str) -> PostgresUser {
        PostgresUser { name: name.into(), password: SecretRef::Development("secret".into()) }
    }

    #[test]
    fn off_loopback_without_tls_is_refused() {
        let config = PostgresConfig { users: vec![user("analyst")], ..PostgresConfig::default() };
        assert!(config.validate().is_empty());
        let config = PostgresConfig { listen: "0.0.0.0:5433".parse().unwrap(), ..config };
        assert!(config.validate()[0].contains("no TLS"));
    }

    #[test]
    fn a_server_nobody_can_log_in_to_is_refused() {
        assert!(PostgresConfig::default().validate()[0].contains("nobody could log in"));
        let config = PostgresConfig { users: vec![user("a"), user("a"), user("")], ..PostgresConfig::default() };
        assert_eq!(config.validate().len(), 2);
    }
}

//! Logging in: SCRAM-SHA-256, for every connection.

use std::collections::HashMap;
use std::fmt::Debug;

use async_trait::async_trait;
use futures::Sink;
use pgwire::api::auth::sasl::SASLAuthStartupHandler;
use pgwire::api::auth::sasl::scram::{ScramAuth, gen_salted_password};
use pgwire::api::auth::{AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler};
use pgwire::api::{ClientInfo, METADATA_USER, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use secrecy::ExposeSecret;
use std::sync::Arc;

use super::config::PostgresConfig;
use super::running::Running;
use crate::error::SinkError;
use crate::secret::reveal;

/// Rounds a client spends on a guess.
const ITERATIONS: usize = 16_384;

/// What is needed to check a password: salted hashes, no password.
pub(super) struct Users {
    known: HashMap<String, Password>,
    /// Makes up salts for names nobody has, the same one each time, so that a stranger
    /// cannot tell which names exist.
    disguise: String,
}

impl Users {
    /// Reveals the secrets and keeps their salted hashes.
    pub(super) fn new(config: &PostgresConfig) -> Result<Self, SinkError> {
        let mut known = HashMap::new();
        for user in &config.users {
            if user.password.is_development() {
                tracing::warn!(user = user.name, "the password stands in the configuration: for demonstrations only");
            }
            let secret = reveal(&user.password)
                .map_err(|source| SinkError::Secret { of: format!("sinks.postgres.users '{}'", user.name), source })?;
            known.insert(user.name.clone(), salted(secret.expose_secret(), rand::random::<[u8; 16]>().to_vec()));
        }
        Ok(Self { known, disguise: hex(&rand::random::<[u8; 32]>()) })
    }
}

fn salted(password: &str, salt: Vec<u8>) -> Password {
    let hash = gen_salted_password(password, &salt, ITERATIONS);
    Password::new(Some(salt), hash)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Users({} known)", self.known.len())
    }
}

#[async_trait]
impl AuthSource for Users {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let name = login.user().unwrap_or_default();
        if let Some(password) = self.known.get(name) {
            return Ok(password.clone());
        }
        let mut salt = gen_salted_password(&self.disguise, name.as_bytes(), 1);
        salt.truncate(16);
        Ok(Password::new(Some(salt), rand::random::<[u8; 32]>().to_vec()))
    }
}

/// One connection's login. Whoever has not finished it is not entered into [`Running`],
/// and who is not entered there runs no statement.
pub(super) struct Login {
    scram: SASLAuthStartupHandler<DefaultServerParameterProvider>,
    running: Arc<Running>,
}

impl Login {
    pub(super) fn new(users: Arc<Users>, running: Arc<Running>) -> Self {
        let mut auth = ScramAuth::new(users);
        auth.set_iterations(ITERATIONS);
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version = format!("15.8 (Ahual {})", env!("CARGO_PKG_VERSION"));
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        parameters.scram_iterations = ITERATIONS;
        Self { scram: SASLAuthStartupHandler::new(Arc::new(parameters)).with_scram(auth), running }
    }
}

#[async_trait]
impl StartupHandler for Login {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let outcome = self.scram.on_startup(client, message).await;
        if let Err(PgWireError::InvalidPassword(_)) = outcome {
            let user = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
            tracing::warn!(user, from = %client.socket_addr(), "a login to Postgres was refused");
            return Err(PgWireError::UserError(Box::new(ErrorInfo::new(
                "FATAL".to_owned(),
                "28P01".to_owned(),
                format!("password authentication failed for user \"{user}\""),
            ))));
        }
        outcome?;
        if matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            self.running.enter(client);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use ahual_schemas::secret::SecretRef;

    use super::super::config::PostgresUser;
    use super::*;

    fn users() -> Users {
        let password = SecretRef::Development("correct horse".into());
        let users = vec![PostgresUser { name: "analyst".into(), password }];
        Users::new(&PostgresConfig { users, ..PostgresConfig::default() }).unwrap()
    }

    #[tokio::test]
    async fn a_stranger_meets_the_same_salt_each_time() {
        let users = users();
        let ask = |name| {
            let users = &users;
            async move { users.get_password(&LoginInfo::new(Some(name), None, String::new())).await.unwrap() }
        };
        assert_eq!(ask("nobody").await.salt(), ask("nobody").await.salt());
        assert_ne!(ask("nobody").await.salt(), ask("no one").await.salt());
        assert_ne!(ask("nobody").await.password(), ask("nobody").await.password());
        assert_eq!(ask("analyst").await.password(), ask("analyst").await.password());
    }

    #[test]
    fn a_secret_that_is_missing_names_the_user() {
        let password = SecretRef::File("no/such/file".into());
        let users = vec![PostgresUser { name: "analyst".into(), password }];
        let error = Users::new(&PostgresConfig { users, ..PostgresConfig::default() }).unwrap_err();
        assert!(error.to_string().contains("analyst"));
        assert!(!format!("{:?}", self::users()).contains("horse"));
    }
}

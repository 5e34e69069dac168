//! `[sinks.http]`.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port to bind; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Allows an address that other machines can reach. This server asks nobody for a
    /// password: put it behind something that does.
    pub open_to_network: bool,
    /// Rows an answer of `/api/metrics/{name}` holds at most when the reader names no limit.
    pub default_rows: usize,
    /// Rows a reader may ask for at most.
    pub max_rows: usize,
    /// Feed streams served at once.
    pub max_streams: usize,
    /// Seconds of silence after which a feed stream carries a comment.
    pub keep_alive_seconds: u64,
    /// Seconds that answers under way get to finish after a stop.
    pub drain_seconds: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            open_to_network: false,
            default_rows: 1_000,
            max_rows: 100_000,
            max_streams: 256,
            keep_alive_seconds: 15,
            drain_seconds: 10,
        }
    }
}

impl HttpConfig {
    /// What cannot work, each text naming the key and what to change. No I/O.
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.listen.ip().is_loopback() && !self.open_to_network {
            faults.push(format!(
                "sinks.http.listen: {} can be reached by other machines and this server has no passwords; \
                 bind a loopback address such as 127.0.0.1, or set open_to_network = true",
                self.listen
            ));
        }
        for (key, value) in [
            ("default_rows", self.default_rows),
            ("max_rows", self.max_rows),
            ("max_streams", self.max_streams),
            ("keep_alive_seconds", usize::try_from(self.keep_alive_seconds).unwrap_or(usize::MAX)),
        ] {
            if value == 0 {
                faults.push(format!("sinks.http.{key}: 0 would answer nothing; give at least 1"));
            }
        }
        if self.default_rows > self.max_rows {
            faults.push(format!(
                "sinks.http.default_rows: {} is over max_rows ({}); lower it or raise max_rows",
                self.default_rows, self.max_rows
            ));
        }
        faults
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_loopback_and_valid() {
        assert!(HttpConfig::default().validate().is_empty());
    }

    #[test]
    fn an_address_others_can_reach_must_be_said_aloud() {
        let config = HttpConfig { listen: "0.0.0.0:80".parse().unwrap(), ..HttpConfig::default() };
        assert!(config.validate()[0].contains("open_to_network"));
        assert!(HttpConfig { open_to_network: true, ..config }.validate().is_empty());
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let config = HttpConfig { default_rows: 9, max_rows: 0, max_streams: 0, ..HttpConfig::default() };
        assert_eq!(config.validate().len(), 3);
    }
}

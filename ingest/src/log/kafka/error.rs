//! What the client's errors mean to callers of the log.

use ahual_schemas::LogError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Settings or content that cannot be.
pub(super) fn broken(what: String) -> LogError {
    LogError::Broken { what, source: None }
}

/// A topic nobody made.
pub(super) fn unknown(topic: &str) -> LogError {
    LogError::UnknownTopic(topic.to_owned())
}

/// What an error of librdkafka means to a caller who was `doing` something.
pub(super) fn told(doing: &'static str, topic: &str, error: KafkaError) -> LogError {
    use RDKafkaErrorCode as Code;
    if matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_)) {
        return LogError::Broken {
            what: "librdkafka refuses these settings; correct [log.kafka]".to_owned(),
            source: Some(Box::new(error)),
        };
    }
    let code = match &error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => unknown(topic),
        Some(
            code @ (Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SSL
            | Code::UnsupportedFeature
            | Code::InvalidConfig
            | Code::PolicyViolation
            | Code::InvalidReplicationFactor
            | Code::InvalidTopic
            | Code::MessageSizeTooLarge
            | Code::InvalidRecord
            | Code::Fatal
            | Code::UnknownPartition),
        ) => LogError::Broken {
            what: format!("kafka refuses to {doing} ({topic}): {code}"),
            source: Some(Box::new(error)),
        },
        _ => LogError::Unavailable { doing, source: Box::new(error) },
    }
}

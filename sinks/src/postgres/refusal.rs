//! What a client is told when a statement fails: an SQLSTATE it can act on, and for our
//! own faults a text that does not show the cause.

use ahual_transform::reading::ReadError;
use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use pgwire::error::{ErrorInfo, PgWireError};

use crate::error::chain;

/// An error with an SQLSTATE.
pub(super) fn error(severity: &str, code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new(severity.to_owned(), code.to_owned(), message.into())))
}

/// The refusal of something that would write.
pub(super) fn read_only(what: &str) -> PgWireError {
    let mut info = ErrorInfo::new(
        "ERROR".to_owned(),
        "25006".to_owned(),
        format!("cannot execute {what}: this server only reads"),
    );
    info.hint = Some("Tables are made by the pipeline from what its sources say.".to_owned());
    PgWireError::UserError(Box::new(info))
}

/// A failure of DataFusion on its way to the client.
pub(super) fn failed(error: DataFusionError) -> PgWireError {
    PgWireError::ApiError(Box::new(error))
}

/// There is no session to run a statement in.
pub(super) fn no_session(cause: ReadError) -> PgWireError {
    match cause {
        ReadError::NotPublished => error("ERROR", "55000", cause.to_string()),
        ReadError::Question(what) => error("ERROR", "22023", what),
        ReadError::Failed { .. } => hidden(&cause),
    }
}

/// What the client is told.
pub(super) fn told(cause: PgWireError) -> ErrorInfo {
    let PgWireError::ApiError(cause) = cause else { return cause.into() };
    if let Some(cause) = cause.downcast_ref::<DataFusionError>() {
        return told_datafusion(cause);
    }
    if let Some(cause) = cause.downcast_ref::<ParserError>() {
        return plain("42601", cause.to_string());
    }
    hidden(cause.as_ref()).into()
}

fn told_datafusion(error: &DataFusionError) -> ErrorInfo {
    let root = error.find_root();
    let text = root.message().into_owned();
    let text = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default().to_owned();
    match root {
        DataFusionError::SQL(cause, _) => plain("42601", cause.to_string()),
        DataFusionError::SchemaError(cause, _) => match cause.as_ref() {
            SchemaError::FieldNotFound { .. } => plain("42703", cause.to_string()),
            SchemaError::AmbiguousReference { .. } => plain("42702", cause.to_string()),
            _ => plain("42601", cause.to_string()),
        },
        DataFusionError::Plan(_) => plain(plan_code(&text), text),
        DataFusionError::NotImplemented(_) => plain("0A000", text),
        DataFusionError::ResourcesExhausted(_) => plain("53200", text),
        DataFusionError::ArrowError(cause, _) => match cause.as_ref() {
            ArrowError::DivideByZero => plain("22012", "division by zero"),
            ArrowError::CastError(_) | ArrowError::ParseError(_) => plain("22P02", cause.to_string()),
            ArrowError::ArithmeticOverflow(_) => plain("22003", cause.to_string()),
            _ => hidden(error).into(),
        },
        DataFusionError::Execution(_) => plain("22000", text),
        _ => hidden(error).into(),
    }
}

fn plan_code(text: &str) -> &'static str {
    let lower = text.to_lowercase();
    if lower.contains("table") && lower.contains("not found") {
        "42P01"
    } else if lower.contains("invalid function") || lower.contains("no function matches") {
        "42883"
    } else if lower.contains("no field named") {
        "42703"
    } else {
        "42601"
    }
}

fn plain(code: &str, message: impl Into<String>) -> ErrorInfo {
    ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message.into())
}

fn hidden(cause: &(dyn std::error::Error + 'static)) -> PgWireError {
    tracing::error!(error = %chain(cause), "a statement could not be run");
    error("ERROR", "XX000", "the statement could not be run; the cause is in the server's log")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(error: DataFusionError) -> String {
        told(failed(error)).code
    }

    #[test]
    fn a_mistake_of_the_client_has_its_own_code() {
        assert_eq!(code(DataFusionError::Plan("table 'ahual.core.x' not found".into())), "42P01");
        assert_eq!(code(DataFusionError::NotImplemented("x".into()).context("while planning")), "0A000");
        let zero = ArrowError::DivideByZero;
        assert_eq!(code(DataFusionError::ArrowError(Box::new(zero), None)), "22012");
        let parser = ParserError::ParserError("expected: an expression".into());
        assert_eq!(told(PgWireError::ApiError(Box::new(parser))).code, "42601");
    }

    #[test]
    fn a_fault_of_ours_does_not_show_its_cause() {
        let told = told(failed(DataFusionError::External("disk on fire".into())));
        assert_eq!(told.code, "XX000");
        assert!(!told.message.contains("fire"));
    }
}

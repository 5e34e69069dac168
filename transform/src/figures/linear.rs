//! Whether a metric is linear over cases, as far as its plan shows.
//!
//! Kept figures are sums of what each case contributes by itself, so a definition that
//! looks at several cases at once (a limit, a window over everything, an aggregate that
//! is not per case) would give one figure when kept and another when recomputed. Such a
//! definition is refused when it is read, not found out by an audit.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

/// What names a case in every table that a metric reads.
const CASE: &str = "case_id";

/// Why the plan is not linear over cases; nothing when no reason shows.
pub(super) fn objection(plan: &LogicalPlan) -> Result<Option<String>, DataFusionError> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        found = match node {
            LogicalPlan::Limit(_) => Some("it has a LIMIT; every case must contribute".to_owned()),
            LogicalPlan::Sort(sort) if sort.fetch.is_some() => {
                Some("it has a LIMIT; every case must contribute".to_owned())
            }
            LogicalPlan::Distinct(Distinct::All(input))
                if !input.schema().fields().iter().any(|f| f.name() == CASE) =>
            {
                Some(format!("DISTINCT looks across cases; select {CASE} too"))
            }
            LogicalPlan::Distinct(Distinct::On(on)) if !names_case(&on.on_expr) => {
                Some(format!("DISTINCT ON looks across cases; name {CASE} in it"))
            }
            LogicalPlan::Aggregate(aggregate) if !names_case(&aggregate.group_expr) => {
                Some(format!("an aggregate looks across cases; GROUP BY {CASE} (and leave summing up to the figures)"))
            }
            LogicalPlan::Window(window) => window.window_expr.iter().find_map(|expr| {
                let Expr::WindowFunction(function) = unaliased(expr) else { return None };
                (!names_case(&function.params.partition_by))
                    .then(|| format!("a window looks across cases; PARTITION BY {CASE}"))
            }),
            _ => None,
        };
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn names_case(expressions: &[Expr]) -> bool {
    expressions.iter().any(|expr| matches!(unaliased(expr), Expr::Column(column) if column.name == CASE))
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

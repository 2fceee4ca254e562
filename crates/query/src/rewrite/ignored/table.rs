//! Tables and joins of `FROM`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    FunctionArg, FunctionArgExpr, Ident, Join, ObjectName, TableAlias, TableAliasColumnDef,
    TableFactor, TableFunctionArgs, TableWithJoins,
};

use super::{Checked, refuse};

const REWRITE: &str = "write it with joins, CASE and aggregates";

pub(super) fn check_joins(from: &TableWithJoins) -> Checked {
    let TableWithJoins {
        // Visited as a table.
        relation: _,
        joins,
    } = from;
    joins.iter().try_for_each(check_join)
}

pub(super) fn check_join(join: &Join) -> Checked {
    let Join {
        // Visited as a table.
        relation: _,
        global,
        // Carried out, or refused by the planner.
        join_operator: _,
    } = join;
    match global {
        true => refuse(join, "GLOBAL JOIN", "leave GLOBAL out"),
        false => ControlFlow::Continue(()),
    }
}

/// Errors: `Unsupported` for a part that would be ignored. `TABLESAMPLE` is rewritten before.
pub(in crate::rewrite) fn check(factor: &TableFactor) -> Checked {
    match factor {
        TableFactor::Table { .. } => check_name(factor),
        TableFactor::Derived {
            lateral: _,
            subquery: _,
            alias,
            sample: _,
        } => check_alias(alias.as_ref()),
        TableFactor::Function {
            lateral: _,
            name: _,
            args,
            alias,
        } => {
            check_args(factor, args)?;
            check_alias(alias.as_ref())
        }
        TableFactor::UNNEST {
            alias,
            array_exprs: _,
            // Refused by the planner.
            with_offset: _,
            with_offset_alias: _,
            with_ordinality: _,
        } => check_alias(alias.as_ref()),
        TableFactor::NestedJoin {
            table_with_joins,
            alias,
        } => {
            check_joins(table_with_joins)?;
            check_alias(alias.as_ref())
        }
        TableFactor::TableFunction { expr: _, alias: _ } => {
            refuse(factor, "TABLE(…)", "write the function alone: FROM f(x)")
        }
        TableFactor::Pivot { .. } => refuse(factor, "PIVOT", REWRITE),
        TableFactor::Unpivot { .. } => refuse(factor, "UNPIVOT", REWRITE),
        TableFactor::MatchRecognize { .. } => refuse(factor, "MATCH_RECOGNIZE", REWRITE),
        TableFactor::JsonTable { .. } => refuse(factor, "JSON_TABLE", "use json_extract()"),
        TableFactor::OpenJsonTable { .. } => refuse(factor, "OPENJSON", "use json_extract()"),
        TableFactor::XmlTable { .. } => refuse(factor, "XMLTABLE", "load the data as JSON"),
        TableFactor::SemanticView { .. } => refuse(factor, "SEMANTIC_VIEW", REWRITE),
    }
}

fn check_name(factor: &TableFactor) -> Checked {
    let TableFactor::Table {
        name: _,
        alias,
        args,
        with_hints,
        version,
        with_ordinality,
        partitions,
        json_path,
        sample: _,
        index_hints,
    } = factor
    else {
        return ControlFlow::Continue(());
    };
    if !with_hints.is_empty() {
        return refuse(factor, "WITH (…) behind a table", "leave it out");
    }
    if let Some(version) = version {
        let hint = "write FOR SYSTEM_TIME AS OF '2026-01-01' or a commit";
        return refuse(factor, version, hint);
    }
    if *with_ordinality {
        let hint = "write row_number() OVER () in the select list";
        return refuse(factor, "WITH ORDINALITY", hint);
    }
    if !partitions.is_empty() {
        let hint = "filter by the partition's column in WHERE";
        return refuse(factor, "PARTITION behind a table", hint);
    }
    if json_path.is_some() {
        return refuse(factor, "a path behind a table", "use json_extract()");
    }
    if let Some(hints) = index_hints.first() {
        return refuse(factor, hints, "leave it out: there are no indexes");
    }
    check_alias(alias.as_ref())?;
    match args {
        Some(TableFunctionArgs { args, settings }) => match settings {
            Some(_) => refuse(factor, "SETTINGS", "leave it out"),
            None => check_args(factor, args),
        },
        None => ControlFlow::Continue(()),
    }
}

fn check_args(factor: &TableFactor, args: &[FunctionArg]) -> Checked {
    let is_plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(_)) => true,
        FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(_) | FunctionArgExpr::Wildcard)
        | FunctionArg::Named { .. }
        | FunctionArg::ExprNamed { .. } => false,
    };
    match args.iter().all(is_plain) {
        true => ControlFlow::Continue(()),
        false => {
            let what = "a named argument, or *, of a function in FROM";
            refuse(
                factor,
                what,
                "write the values in the order of the arguments",
            )
        }
    }
}

pub(super) fn check_alias(alias: Option<&TableAlias>) -> Checked {
    let Some(alias) = alias else {
        return ControlFlow::Continue(());
    };
    let TableAlias {
        explicit: _,
        name,
        columns,
    } = alias;
    columns.iter().try_for_each(|column| {
        let TableAliasColumnDef {
            name: own,
            data_type,
        } = column;
        match data_type {
            Some(kind) => refuse(
                alias,
                format!("a type in the column list of {name}"),
                &format!("write CAST({own} AS {kind}) in the select list"),
            ),
            None => ControlFlow::Continue(()),
        }
    })
}

/// `FROM f(x)` in the form that the planner reads in full: in the other one it leaves out an argument that it cannot plan.
pub(in crate::rewrite) fn of_function(factor: &mut TableFactor) {
    if let TableFactor::Table {
        name,
        alias,
        args: Some(TableFunctionArgs { args, .. }),
        ..
    } = factor
    {
        *factor = TableFactor::Function {
            lateral: false,
            alias: Some(alias.take().unwrap_or_else(|| own_name(name))),
            name: name.clone(),
            args: std::mem::take(args),
        };
    }
}

fn own_name(name: &ObjectName) -> TableAlias {
    let last = name.0.last().and_then(|part| part.as_ident());
    TableAlias {
        explicit: true,
        name: last.cloned().unwrap_or_else(|| Ident::new("function")),
        columns: Vec::new(),
    }
}

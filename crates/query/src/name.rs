//! Names of identifiers.

use datafusion::sql::sqlparser::ast::Ident;

/// As the engine compares it: as it is written in quotes, in lower case without.
pub(crate) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

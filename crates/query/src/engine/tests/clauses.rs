//! Clauses that the planner ignores, in a transform and in a check.

use super::*;

#[tokio::test]
async fn a_transform_refuses_what_would_be_ignored() {
    for sql in [
        "select a from input prewhere a > 1",
        "select abs(a) filter (where a > 1) as a from input",
        "select abs(distinct a) as a from input",
        "select * ilike 'a%' from input",
        "select a from input for update",
        "select a from input settings x = 1",
        "select a from input start with a = 1 connect by a = 2",
    ] {
        let error = failure(sql).await;
        assert_eq!(error.code(), "sql_unsupported", "{sql}: {error}");
        assert!(error.hint().is_some(), "{sql}");
    }
}

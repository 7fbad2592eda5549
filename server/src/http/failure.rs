//! What a client is told when the database fails.

use super::{Problem, idempotency, request_id};
use crate::db::DbError;

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        match &error {
            DbError::Unavailable(reason) => {
                tracing::warn!(%reason, request_id = request_id::current(), "the database is not available");
                Self::unavailable()
            }
            DbError::Unique(what) if what == idempotency::KEY_TAKEN => idempotency::in_progress(),
            DbError::Unique(_)
            | DbError::Constraint(_)
            | DbError::Row(_)
            | DbError::Refused(_)
            | DbError::Statement(_)
            | DbError::Unfit(_) => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    #[test]
    fn a_database_that_is_down_is_a_503_that_says_when_to_try_again() {
        let problem = Problem::from(DbError::Unavailable("disk full".into()));
        let response = problem.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
    }

    #[test]
    fn a_database_defect_tells_the_client_nothing_of_it() {
        let problem = Problem::from(DbError::Statement("near \"SELCT\"".into()));
        assert!(!problem.body().to_string().contains("SELCT"));
    }
}

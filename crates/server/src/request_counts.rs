//! Requests answered so far, by route and status.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use forebay_core::timing::Timing;

use crate::{CATALOG_ROUTES, ROUTES};

/// Requests for unknown paths.
const OTHER: &str = "other";

/// Statuses are 100 to 599.
const STATUS_MIN: usize = 100;
const STATUSES: usize = 500;

/// Requests answered so far, by route: counting one takes no lock.
#[derive(Debug)]
pub(crate) struct Requests(Vec<Route>);

#[derive(Debug)]
struct Route {
    path: &'static str,
    took: Timing,
    answered: Box<[AtomicU64]>,
}

impl Default for Requests {
    fn default() -> Self {
        let catalog = CATALOG_ROUTES.iter().copied();
        let paths = ROUTES.iter().copied().chain(catalog).chain([OTHER]);
        let route = |path| Route {
            path,
            took: Timing::default(),
            answered: (0..STATUSES).map(|_| AtomicU64::new(0)).collect(),
        };
        Self(paths.map(route).collect())
    }
}

impl Requests {
    pub(crate) fn count(&self, route: Option<&str>, status: StatusCode, took: Duration) {
        let known = self.0.iter().find(|known| Some(known.path) == route);
        let Some(route) = known.or(self.0.last()) else {
            return;
        };
        route.took.add(took);
        let answered = route
            .answered
            .get(usize::from(status.as_u16()) - STATUS_MIN);
        if let Some(answered) = answered {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn answered(&self) -> impl Iterator<Item = ([(&'static str, String); 2], u64)> {
        self.0.iter().flat_map(|route| {
            let counts = route.answered.iter().enumerate();
            let counts = counts.map(|(n, count)| (n + STATUS_MIN, count.load(Ordering::Relaxed)));
            counts
                .filter(|(_, count)| *count > 0)
                .map(|(status, count)| {
                    let path = ("path", route.path.to_owned());
                    ([path, ("status", status.to_string())], count)
                })
        })
    }

    /// Times of the routes with requests.
    pub(crate) fn times(
        &self,
    ) -> impl Iterator<Item = ([(&'static str, &'static str); 1], &Timing)> {
        let asked = self.0.iter().filter(|route| route.took.is_used());
        asked.map(|route| ([("path", route.path)], &route.took))
    }
}

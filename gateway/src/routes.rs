//! The paths that answer on a listener, as a list: what serves it is made from the list, and nothing else.
//! It answers nothing itself. Always true: a path answers the method it is listed with (and HEAD where that
//! is GET), any other is 405; a new path fails the walk until somebody says who may ask there.

use axum::{
    Router,
    handler::Handler,
    routing::{MethodRouter, get, post},
};

#[cfg(test)]
mod walk;

/// A path that answers one method.
#[derive(Debug)]
pub struct Route<S> {
    /// The method.
    #[cfg_attr(not(test), expect(dead_code, reason = "the walk goes by it"))]
    pub method: &'static str,
    /// The path, as axum writes what varies.
    pub path: &'static str,
    to: MethodRouter<S>,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// One that is read.
    pub fn get<H: Handler<T, S>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: "GET", path, to: get(handler) }
    }

    /// One that does something.
    pub fn post<H: Handler<T, S>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: "POST", path, to: post(handler) }
    }
}

/// What serves exactly these.
pub fn router<S: Clone + Send + Sync + 'static>(routes: impl IntoIterator<Item = Route<S>>) -> Router<S> {
    routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.to))
}

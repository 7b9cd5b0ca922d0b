//! The HTTP/JSON API: what runs, seen from outside. Read only, but for the settings of connection tracking and what a node among
//! others is told.
//!
//! # Overview
//!
//! `router` answers from a `Snapshots`, which the daemon implements over the workers' counters and the devices';
//! [`Socket`] is the Unix socket that it listens on; [`serve`] runs it, and on a loopback address too where asked.
//!
//! # Life cycle
//!
//! The socket is bound before anything else starts, so that a second daemon is refused before it touches a device; it is
//! served from the time the workers run, and removed on the way out.
//!
//! # Who may touch what
//!
//! Handlers run on the control thread and only read; what waits for workers goes to a thread of its own. Access is by the
//! socket's file mode (0660): whoever may connect may read everything and change settings. On the loopback address, where
//! nobody is asked who he is, nothing can be changed.

pub mod expressions;
pub mod flows;
pub mod ha;
pub mod metrics;
pub mod model;
mod socket;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodRouter, get};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

pub use socket::{Socket, SocketError, serve};

use flows::{Flows, FlowsParams, FlowsQuery, Sysctl, Sysctls};
use ha::{Ha, HaCommand, HaError};
use model::{ApiError, Drops, Expressions, Interfaces, Ports, Routes, Status, Workers};

/// Where answers come from. What waits for workers says so; all else reads what is there and returns soon.
pub trait Snapshots: Send + Sync + 'static {
    /// The daemon as a whole.
    fn status(&self) -> Status;
    /// All ports.
    fn ports(&self) -> Ports;
    /// All workers.
    fn workers(&self) -> Workers;
    /// All reasons for drops.
    fn drops(&self) -> Drops;
    /// All interfaces.
    fn interfaces(&self) -> Interfaces;
    /// How many routes there are, and the first `limit` of them where a limit is given.
    fn routes(&self, limit: Option<usize>) -> Routes;
    /// Flows. Waits for workers.
    fn flows(&self, query: &FlowsQuery) -> Flows;
    /// The settings of connection tracking. Waits for workers.
    fn sysctls(&self) -> Sysctls;
    /// Changes one, and gives it as it is then. Waits for workers.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people.
    fn set_sysctl(&self, wanted: &Sysctl) -> Result<Sysctl, String>;
    /// This node among others. Waits for the thread that talks to them.
    ///
    /// # Errors
    ///
    /// It is alone, or that thread does not answer.
    fn ha(&self) -> Result<Ha, HaError>;
    /// Has it do something, and says what was done. Waits until it is.
    ///
    /// # Errors
    ///
    /// Why it was not.
    fn ha_command(&self, command: &HaCommand) -> Result<String, HaError>;
}

/// What handlers share.
#[derive(Clone)]
struct Shared {
    snapshots: Arc<dyn Snapshots>,
    metrics: PrometheusHandle,
}

/// The API at each of its doors.
#[derive(Clone)]
pub struct Routers {
    /// On the Unix socket.
    pub unix: Router,
    /// On the loopback address: nothing can be changed.
    pub loopback: Router,
}

/// The API over `snapshots`; `metrics` renders what the installed recorder holds.
pub fn routers(snapshots: Arc<dyn Snapshots>, metrics: PrometheusHandle) -> Routers {
    let shared = Shared { snapshots, metrics };
    let settings = get(sysctls);
    Routers {
        unix: router(shared.clone(), settings.clone().put(set_sysctl), true),
        loopback: router(shared, settings, false),
    }
}

fn router(shared: Shared, settings: MethodRouter<Shared>, commands: bool) -> Router {
    ha::routes(Router::new(), commands)
        .route("/v1/status", get(status))
        .route("/v1/ports", get(ports))
        .route("/v1/workers", get(workers))
        .route("/v1/drops", get(drops))
        .route("/v1/interfaces", get(interfaces))
        .route("/v1/routes", get(routes))
        .route("/v1/flows", get(list_flows))
        .route("/v1/sysctl", settings)
        .route("/v1/expressions", get(list_expressions))
        .route("/v1/openapi.json", get(openapi))
        .route("/metrics", get(render_metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(read_only)
        .with_state(shared)
}

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "twinwall",
        description = "What a running twinwall does. Read only but for /v1/sysctl and /v1/ha on the Unix socket; counters only grow.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        status,
        ports,
        workers,
        drops,
        interfaces,
        routes,
        list_flows,
        sysctls,
        set_sysctl,
        list_expressions,
        ha::ha,
        ha::ha_promote,
        ha::ha_demote,
        ha::ha_resync,
        ha::ha_verify,
        ha::ha_notify,
        ha::ha_pull_ruleset,
        openapi,
        render_metrics
    ),
    components(schemas(ApiError))
)]
struct Document;

/// The OpenAPI document as text, as committed in docs/openapi.json.
pub fn document() -> String {
    // A document made of literals always serialises; an empty one would fail the test that compares it.
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The daemon as a whole.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
async fn status(State(shared): State<Shared>) -> Json<Status> {
    Json(shared.snapshots.status())
}

/// All ports with their counters.
#[utoipa::path(get, path = "/v1/ports", responses((status = 200, body = Ports)))]
async fn ports(State(shared): State<Shared>) -> Json<Ports> {
    Json(shared.snapshots.ports())
}

/// All workers with their counters.
#[utoipa::path(get, path = "/v1/workers", responses((status = 200, body = Workers)))]
async fn workers(State(shared): State<Shared>) -> Json<Workers> {
    Json(shared.snapshots.workers())
}

/// Every reason for drops, how often it occurred, and where.
#[utoipa::path(get, path = "/v1/drops", responses((status = 200, body = Drops)))]
async fn drops(State(shared): State<Shared>) -> Json<Drops> {
    Json(shared.snapshots.drops())
}

/// The interfaces that forwarding knows.
#[utoipa::path(get, path = "/v1/interfaces", responses((status = 200, body = Interfaces)))]
async fn interfaces(State(shared): State<Shared>) -> Json<Interfaces> {
    Json(shared.snapshots.interfaces())
}

/// How [`routes`] is asked.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RoutesQuery {
    /// Whether to list the routes beside their number.
    #[serde(default)]
    list: bool,
    /// List at most so many routes.
    #[serde(default = "default_limit")]
    #[param(default = 1000, maximum = 100_000)]
    limit: usize,
}

fn default_limit() -> usize {
    1000
}

/// The longest list of routes in one answer.
const LIMIT_MAX: usize = 100_000;

/// How many routes and neighbours there are, and which routes.
#[utoipa::path(get, path = "/v1/routes", params(RoutesQuery),
    responses((status = 200, body = Routes), (status = 400, body = ApiError)))]
async fn routes(
    State(shared): State<Shared>,
    query: Result<Query<RoutesQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) if query.limit <= LIMIT_MAX => {
            Json(shared.snapshots.routes(query.list.then_some(query.limit))).into_response()
        }
        Ok(_) => failure(StatusCode::BAD_REQUEST, format!("limit is at most {LIMIT_MAX}")),
        Err(rejection) => failure(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

/// The first flows by some measure, of all that fit.
#[utoipa::path(get, path = "/v1/flows", params(FlowsParams),
    responses((status = 200, body = Flows), (status = 400, body = ApiError)))]
async fn list_flows(
    State(shared): State<Shared>,
    query: Result<Query<FlowsParams>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(params)) => FlowsQuery::from(params),
        Err(rejection) => return failure(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    if query.limit > flows::LIMIT_MAX {
        return failure(StatusCode::BAD_REQUEST, format!("limit is at most {}", flows::LIMIT_MAX));
    }
    match waiting(move || shared.snapshots.flows(&query)).await {
        Ok(flows) => Json(flows).into_response(),
        Err(response) => response,
    }
}

/// The settings of connection tracking, under the kernel's names.
#[utoipa::path(get, path = "/v1/sysctl", responses((status = 200, body = Sysctls)))]
async fn sysctls(State(shared): State<Shared>) -> Response {
    match waiting(move || shared.snapshots.sysctls()).await {
        Ok(settings) => Json(settings).into_response(),
        Err(response) => response,
    }
}

/// Changes a setting of connection tracking until the next start. On the Unix socket only.
#[utoipa::path(put, path = "/v1/sysctl", request_body = Sysctl,
    responses((status = 200, body = Sysctl), (status = 400, body = ApiError)))]
async fn set_sysctl(
    State(shared): State<Shared>,
    wanted: Result<Json<Sysctl>, JsonRejection>,
) -> Response {
    let wanted = match wanted {
        Ok(Json(wanted)) => wanted,
        Err(rejection) => return failure(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    match waiting(move || shared.snapshots.set_sysctl(&wanted)).await {
        Ok(Ok(set)) => Json(set).into_response(),
        Ok(Err(why)) => failure(StatusCode::BAD_REQUEST, why),
        Err(response) => response,
    }
}

/// Does what waits for workers beside the control thread, which has others to serve.
async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Response> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// What rules can be made of: expressions, objects and extensions with their attributes.
#[utoipa::path(get, path = "/v1/expressions", responses((status = 200, body = Expressions)))]
async fn list_expressions() -> Json<Expressions> {
    Json(expressions::all())
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, description = "The OpenAPI document", content_type = "application/json")))]
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document()).into_response()
}

/// All counters for Prometheus, in its text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Metrics in the text format of Prometheus", content_type = "text/plain")))]
async fn render_metrics(State(shared): State<Shared>) -> Response {
    metrics::publish(shared.snapshots.as_ref());
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], shared.metrics.render()).into_response()
}

fn failure(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(ApiError { error: error.into() })).into_response()
}

async fn not_found(uri: Uri) -> Response {
    failure(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {}; /v1/openapi.json lists what there is", uri.path()),
    )
}

async fn read_only() -> Response {
    failure(StatusCode::METHOD_NOT_ALLOWED, "this API is read only here: use GET")
}

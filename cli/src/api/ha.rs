//! What the API says of this node among others, and what it can be told to do.
//!
//! # Overview
//!
//! [`Ha`] is the state; each command is a `POST` and answers when it is done, or says why it is not. On the loopback address only
//! the state can be had.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::model::ApiError;
use super::{Shared, failure, waiting};

/// This node among others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ha {
    /// Seconds since the daemon started, when these numbers were read.
    pub uptime_seconds: f64,
    /// This node: 0 to 15.
    pub node: u8,
    /// What it is: `active`, `standby`, `passive`, `held` (about to hand over) or `redirecting` (just handed over).
    pub role: String,
    /// The unit of ownership.
    pub group: u8,
    /// The highest term that it knows: counts changes of owner.
    pub term: u32,
    /// The node that owns this term.
    pub owner: Option<u8>,
    /// Whether it has all flows of the owner. The active one has.
    pub synchronised: bool,
    /// Its incarnation: another, and a greater one, after each start.
    pub epoch: u64,
    /// Hash of its ruleset: 16 hexadecimal digits.
    pub ruleset_hash: String,
    /// The flows that it has.
    pub flows: HaFlows,
    /// Microseconds from a change until the slowest standby has it.
    pub lag_us: HaLag,
    /// Changes of flows that some living standby has not confirmed yet.
    pub unsynchronised: u64,
    /// The transfer of all flows, where one runs.
    pub bulk: HaBulk,
    /// What the last `verify` found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<HaVerify>,
    /// The node that flows are being handed over to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handing_over: Option<u8>,
    /// True while keepalived wants this node to be active, and it still refuses.
    #[serde(default)]
    pub promotion_waits: bool,
    /// All that is counted, by name.
    pub counters: BTreeMap<String, u64>,
    /// The other nodes that were heard of.
    pub peers: Vec<HaPeer>,
    /// The networks between the nodes.
    pub links: Vec<HaLink>,
    /// What an operator should know now.
    pub alarms: Vec<String>,
}

/// Flows by whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HaFlows {
    /// Made by this node.
    pub own: u64,
    /// Received from others.
    pub imported: u64,
}

/// How far behind standbys are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HaLag {
    /// The half of changes is there sooner.
    pub p50: u64,
    /// 99 of 100 are.
    pub p99: u64,
}

/// How far a transfer of all flows is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HaBulk {
    /// Whether one runs, to this node or from it.
    pub running: bool,
    /// Slots of the flow tables that are done.
    pub done: u64,
    /// Of how many.
    pub of: u64,
}

/// What comparing digests of all flows found. A passive node compares what it sees with what the active node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HaVerify {
    /// Whether it still goes on.
    pub running: bool,
    /// Parts of the flow tables that were compared.
    pub compared: u64,
    /// Those in which flows differed.
    pub differ: u64,
    /// Those that could not be compared, because flows changed just then.
    pub skipped: u64,
    /// The active node's flows in the parts that were compared; only where this node is passive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u64>,
}

/// Another node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HaPeer {
    /// Its number.
    pub node: u8,
    /// Whether it was heard a moment ago.
    pub alive: bool,
    /// Whether it said that it stops.
    pub left: bool,
    /// What it is.
    pub role: String,
    /// The highest term that it knows.
    pub term: u32,
    /// Whether it has all flows of the owner.
    pub synchronised: bool,
    /// Whether its ruleset is this node's.
    pub ruleset_agrees: bool,
    /// Hash of its ruleset.
    pub ruleset_hash: String,
    /// Its incarnation.
    pub epoch: u64,
    /// Microseconds since it was heard.
    pub heard_us: u64,
    /// Microseconds since it last said what it has; only where this node is active.
    pub watermark_age_us: Option<u64>,
    /// Datagrams that it has not confirmed yet; only where this node is active.
    pub behind: u64,
}

/// A network between the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HaLink {
    /// Its interface here.
    pub interface: String,
    /// Whether the kernel takes what is sent.
    pub up: bool,
    /// What is wrong, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Milliseconds since something came on it.
    pub heard_ms: Option<u64>,
    /// Datagrams received.
    pub rx_datagrams: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Datagrams that came through a router: not taken.
    pub rx_routed: u64,
    /// Datagrams that are too long: not taken.
    pub rx_too_long: u64,
    /// Times that the socket could not be read.
    pub rx_errors: u64,
    /// Datagrams sent.
    pub tx_datagrams: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Datagrams that found the kernel's buffer full.
    pub tx_full: u64,
    /// Datagrams that the kernel refused.
    pub tx_errors: u64,
}

/// How a promotion is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HaPromote {
    /// Although flows are missing: connections will be lost.
    #[serde(default)]
    pub force: bool,
}

/// What keepalived says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HaNotify {
    /// `MASTER`: this node shall be active. `BACKUP`, `FAULT`, `STOP`: it shall not. Any other: nothing.
    pub state: String,
}

/// Whose ruleset is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HaPull {
    /// The node that it is fetched from.
    pub node: u8,
}

/// What a node can be told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaCommand {
    /// Be active.
    Promote {
        /// Although flows are missing.
        force: bool,
    },
    /// Hand over to a standby that has all flows.
    Demote,
    /// Ask the owner for all flows again.
    Resync,
    /// Compare flows with the other nodes.
    Verify,
    /// keepalived's word.
    Notify(String),
    /// Take over another node's ruleset.
    PullRuleset(u8),
}

/// What was done, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HaDone {
    /// In a sentence.
    pub done: String,
}

/// Why it was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HaError {
    /// There is no `[ha]`.
    #[error("this node is alone: its configuration has no [ha] section (docs/ha.md)")]
    Alone,
    /// The node refuses it, and says why.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("the thread that talks to the other nodes does not answer; see the log")]
    Silent,
}

impl HaError {
    fn response(&self) -> Response {
        let status = match self {
            Self::Alone => StatusCode::NOT_FOUND,
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::Silent => StatusCode::SERVICE_UNAVAILABLE,
        };
        failure(status, self.to_string())
    }
}

/// The addresses of this module. `commands`: things can be changed here.
pub(super) fn routes(router: Router<Shared>, commands: bool) -> Router<Shared> {
    let router = router.route("/v1/ha", get(ha));
    if !commands {
        return router;
    }
    router
        .route("/v1/ha/promote", post(ha_promote))
        .route("/v1/ha/demote", post(ha_demote))
        .route("/v1/ha/resync", post(ha_resync))
        .route("/v1/ha/verify", post(ha_verify))
        .route("/v1/ha/notify", post(ha_notify))
        .route("/v1/ha/pull-ruleset", post(ha_pull_ruleset))
}

/// This node among others.
#[utoipa::path(get, path = "/v1/ha", responses((status = 200, body = Ha), (status = 404, body = ApiError), (status = 503, body = ApiError)))]
pub(super) async fn ha(State(shared): State<Shared>) -> Response {
    match waiting(move || shared.snapshots.ha()).await {
        Ok(Ok(ha)) => Json(ha).into_response(),
        Ok(Err(error)) => error.response(),
        Err(response) => response,
    }
}

async fn command(shared: Shared, command: HaCommand) -> Response {
    match waiting(move || shared.snapshots.ha_command(&command)).await {
        Ok(Ok(done)) => Json(HaDone { done }).into_response(),
        Ok(Err(error)) => error.response(),
        Err(response) => response,
    }
}

/// A command with a body.
async fn with<T>(
    shared: Shared,
    body: Result<Json<T>, JsonRejection>,
    made: impl FnOnce(T) -> HaCommand,
) -> Response {
    match body {
        Ok(Json(body)) => command(shared, made(body)).await,
        Err(rejection) => failure(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

/// Makes this node active. 409: it is not, and here is why. On the Unix socket only, as all commands.
#[utoipa::path(post, path = "/v1/ha/promote", request_body = HaPromote, responses((status = 200, body = HaDone), (status = 400, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(super) async fn ha_promote(
    State(shared): State<Shared>,
    body: Result<Json<HaPromote>, JsonRejection>,
) -> Response {
    with(shared, body, |body| HaCommand::Promote { force: body.force }).await
}

/// Hands over to a standby that has all flows; answers when that is active, or when it is not to be.
#[utoipa::path(post, path = "/v1/ha/demote", responses((status = 200, body = HaDone), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(super) async fn ha_demote(State(shared): State<Shared>) -> Response {
    command(shared, HaCommand::Demote).await
}

/// Has a standby ask for all flows again.
#[utoipa::path(post, path = "/v1/ha/resync", responses((status = 200, body = HaDone), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(super) async fn ha_resync(State(shared): State<Shared>) -> Response {
    command(shared, HaCommand::Resync).await
}

/// Has nodes compare their flows. What they found is in `verify` of /v1/ha, after about a second; of a passive node, when this answers.
#[utoipa::path(post, path = "/v1/ha/verify", responses((status = 200, body = HaDone), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(super) async fn ha_verify(State(shared): State<Shared>) -> Response {
    command(shared, HaCommand::Verify).await
}

/// Passes on keepalived's word. Answers at once; a promotion that is refused is tried again until it is not, or another word comes.
#[utoipa::path(post, path = "/v1/ha/notify", request_body = HaNotify, responses((status = 200, body = HaDone), (status = 400, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn ha_notify(
    State(shared): State<Shared>,
    body: Result<Json<HaNotify>, JsonRejection>,
) -> Response {
    with(shared, body, |body| HaCommand::Notify(body.state)).await
}

/// Replaces the ruleset with another node's, in one transaction. 409: nothing was changed.
#[utoipa::path(post, path = "/v1/ha/pull-ruleset", request_body = HaPull, responses((status = 200, body = HaDone), (status = 400, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(super) async fn ha_pull_ruleset(
    State(shared): State<Shared>,
    body: Result<Json<HaPull>, JsonRejection>,
) -> Response {
    with(shared, body, |body| HaCommand::PullRuleset(body.node)).await
}

//! The API's client: one request a connection over the Unix socket.
//!
//! # Overview
//!
//! [`Client::get`] asks the daemon and reads the answer into the type that the daemon wrote it from. Every error says
//! what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api::model::ApiError;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "twinwall is not running: nobody answers on {path} ({error})\n\
         start it with `systemctl start twinwall` or `twinwall run --config FILE`; if it runs with another `socket` in [api], \
         name that with --socket or TWINWALL_SOCKET"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The socket is not for this user.
    #[error(
        "{path} is not for this user: {error}\nrun this as root, or as a member of the socket's group"
    )]
    Forbidden {
        /// The socket.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The connection broke.
    #[error(
        "{path} does not speak HTTP as twinwall does: {error}\ncheck with `ss -xlp` who listens there"
    )]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What happened.
        error: hyper::Error,
    },
    /// No answer in time.
    #[error(
        "twinwall did not answer within {0:?}\nits control thread hangs; see its log (`journalctl -u twinwall`)"
    )]
    Silent(Duration),
    /// The daemon said no.
    #[error("twinwall answered {status}: {message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it said.
        message: String,
    },
    /// The answer cannot be read.
    #[error(
        "twinwall's answer cannot be read: {0}\ndaemon and command are of different versions; restart the daemon"
    )]
    Unreadable(#[from] serde_json::Error),
}

/// A client of the daemon behind one socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the daemon behind the socket at `path`; connects at each request.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Asks for `target`, such as `/v1/ports`.
    ///
    /// # Errors
    ///
    /// When there is no daemon, no answer, or a refusal.
    pub async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        let bytes = self.get_bytes(target).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Asks for `target` and returns the answer as it came.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn get_bytes(&self, target: &str) -> Result<Bytes, ClientError> {
        self.patiently(Method::GET, target, Bytes::new()).await
    }

    /// Puts `value` to `target` and reads the answer.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn put<T: DeserializeOwned>(
        &self,
        target: &str,
        value: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(value)?.into();
        let bytes = self.patiently(Method::PUT, target, body).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Posts `value` to `target` and reads the answer, which may take up to `patience`.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        target: &str,
        value: &impl Serialize,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(value)?.into();
        let bytes = self.within(patience, Method::POST, target, body).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    async fn patiently(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        self.within(PATIENCE, method, target, body).await
    }

    async fn within(
        &self,
        patience: Duration,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        tokio::time::timeout(patience, self.request(method, target, body))
            .await
            .map_err(|_| ClientError::Silent(patience))?
    }

    async fn request(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| {
            let path = self.path.clone();
            match error.kind() {
                io::ErrorKind::PermissionDenied => ClientError::Forbidden { path, error },
                _ => ClientError::NotRunning { path, error },
            }
        })?;
        let protocol = |error| ClientError::Protocol { path: self.path.clone(), error };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(protocol)?;
        // Its failure shows in the request as well.
        tokio::spawn(async move { connection.await.ok() });
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        if let Ok(uri) = target.parse() {
            *request.uri_mut() = uri;
        }
        let headers = request.headers_mut();
        headers.insert(header::HOST, header::HeaderValue::from_static("twinwall"));
        let json = header::HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let response = sender.send_request(request).await.map_err(protocol)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(protocol)?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let message = serde_json::from_slice::<ApiError>(&body)
            .map_or_else(|_| String::from_utf8_lossy(&body).into_owned(), |said| said.error);
        Err(ClientError::Refused { status, message })
    }
}

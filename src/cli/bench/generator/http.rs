//! A connection to a server on this machine, with as little between a call and its bytes as HTTP allows: client and
//! server share the cores.

use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::{Context, ensure};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where a server listens, and whom it takes the caller for.
#[derive(Debug, Clone)]
pub struct Address {
    socket: SocketAddr,
    headers: HeaderMap,
}

/// A call to be made any number of times, each with a body of its own.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub path: Uri,
    /// What a good answer says.
    pub status: u16,
}

/// Where an answer came from, as its `Cairn-Cache` header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Local,
    Redis,
    Miss,
    Bypass,
    /// It says nothing of caches.
    Silent,
}

/// An answer, read to its end.
pub struct Reply {
    pub status: u16,
    /// Whether it says when to try again.
    pub says_when: bool,
    pub origin: Origin,
    pub body: Bytes,
}

/// What moves bytes while somebody waits for an answer.
type Driver = Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Driven by whoever waits for an answer; in a task of its own it would cost two wake-ups a call.
    /// None: the server hung up.
    driver: Option<Driver>,
    headers: HeaderMap,
}

impl Address {
    pub fn new(socket: SocketAddr, key: &str) -> anyhow::Result<Self> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {key}"))?;
        bearer.set_sensitive(true);
        let host = HeaderValue::from_str(&socket.to_string())?;
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(HOST, host), (AUTHORIZATION, bearer), (CONTENT_TYPE, json)]);
        Ok(Self { socket, headers })
    }

    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.socket).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Connection { sender, driver: Some(Box::pin(driver)), headers: self.headers.clone() })
    }
}

impl Call {
    pub fn get(path: &str, status: u16) -> anyhow::Result<Self> {
        Ok(Self { method: Method::GET, path: path.parse()?, status })
    }

    pub fn post(path: &str, status: u16) -> anyhow::Result<Self> {
        Ok(Self { method: Method::POST, path: path.parse()?, status })
    }

    pub fn patch(path: &str, status: u16) -> anyhow::Result<Self> {
        Ok(Self { method: Method::PATCH, path: path.parse()?, status })
    }

    pub fn put(path: &str, status: u16) -> anyhow::Result<Self> {
        Ok(Self { method: Method::PUT, path: path.parse()?, status })
    }

    pub fn delete(path: &str, status: u16) -> anyhow::Result<Self> {
        Ok(Self { method: Method::DELETE, path: path.parse()?, status })
    }
}

impl Connection {
    /// One call, until the last byte of its answer. An answer with another status is an error.
    pub async fn call(&mut self, call: &Call, body: Bytes) -> anyhow::Result<(Origin, Bytes)> {
        let reply = self.send(call, body).await?;
        ensure!(
            reply.status == call.status,
            "{} {} answers {}: {}",
            call.method,
            call.path,
            reply.status,
            String::from_utf8_lossy(&reply.body)
        );
        Ok((reply.origin, reply.body))
    }

    /// The same, whatever the answer says.
    pub async fn send(&mut self, call: &Call, body: Bytes) -> anyhow::Result<Reply> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.path.clone();
        *request.headers_mut() = self.headers.clone();
        let (sender, driver) = (&mut self.sender, self.driver.as_mut().context("the server has hung up")?);
        let exchange = async {
            sender.ready().await?;
            let (head, body) = sender.send_request(request).await?.into_parts();
            Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
        };
        tokio::pin!(exchange);
        let (answered, hung_up) = tokio::select! {
            biased;
            response = &mut exchange => (Some(response), false),
            ended = driver => match ended {
                // Whoever hangs up may have answered first.
                Ok(()) => (exchange.now_or_never(), true),
                Err(error) => (Some(Err(error)), true),
            },
        };
        let response: Result<_, hyper::Error> =
            answered.with_context(|| format!("{} {}: the server hung up", call.method, call.path))?;
        if hung_up {
            self.driver = None;
        }
        let response = response.with_context(|| format!("{} {}", call.method, call.path))?;
        Ok(Reply {
            status: response.status().as_u16(),
            says_when: response.headers().contains_key(RETRY_AFTER),
            origin: Origin::of(response.headers()),
            body: response.into_body(),
        })
    }
}

impl Origin {
    fn of(headers: &HeaderMap) -> Self {
        let Some(header) = headers.get("cairn-cache").and_then(|value| value.to_str().ok()) else {
            return Self::Silent;
        };
        match header.split(';').next() {
            Some("hit") if header.contains("layer=local") => Self::Local,
            Some("hit") if header.contains("layer=redis") => Self::Redis,
            Some("bypass") => Self::Bypass,
            _ => Self::Miss,
        }
    }
}

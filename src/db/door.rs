//! Whether anybody listens where Postgres should be. A pool that waits in vain for a connection cannot tell a database
//! that is gone, whose port refuses, from one whose connections are all in use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::error::{Code, Error, unreachable_database};

/// The caller has waited for a connection already.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Debug, Clone)]
pub(super) enum Door {
    Port(String, u16),
    Socket(PathBuf),
}

impl Door {
    pub fn of(options: &PgConnectOptions) -> Self {
        let (host, port) = (options.get_host(), options.get_port());
        let folder = options.get_socket().map(PathBuf::as_path).or(host.starts_with('/').then_some(Path::new(host)));
        match folder {
            Some(folder) => Self::Socket(folder.join(format!(".s.PGSQL.{port}"))),
            None => Self::Port(host.to_owned(), port),
        }
    }

    /// The error that says what it is that a unit of work failed for.
    pub async fn explain(&self, error: Error) -> Error {
        let Error::Unavailable { code: Code::Overloaded, detail, cause } = error else { return error };
        let gave_up = matches!(cause.downcast_ref(), Some(sqlx::Error::PoolTimedOut));
        if gave_up && !self.is_open().await {
            return unreachable_database(cause.context("nobody listens there"));
        }
        Error::Unavailable { code: Code::Overloaded, detail, cause }
    }

    async fn is_open(&self) -> bool {
        let knock = async {
            match self {
                Self::Port(host, port) => TcpStream::connect((host.as_str(), *port)).await.is_ok(),
                Self::Socket(socket) => UnixStream::connect(socket).await.is_ok(),
            }
        };
        timeout(PATIENCE, knock).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gave_up() -> Error {
        sqlx::Error::PoolTimedOut.into()
    }

    #[tokio::test]
    async fn a_pool_that_gives_up_is_busy_only_where_somebody_listens() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = PgConnectOptions::new_without_pgpass().port(5432);
        for options in [options.clone().socket(folder.path()), options.host(folder.path().to_str().expect("UTF-8"))] {
            let door = Door::of(&options);
            assert_eq!(door.explain(gave_up()).await.code(), Code::DependencyUnavailable, "{door:?}");
            let socket = folder.path().join(".s.PGSQL.5432");
            let _listener = tokio::net::UnixListener::bind(&socket).expect("a socket");
            assert_eq!(door.explain(gave_up()).await.code(), Code::Overloaded, "{door:?}");
            std::fs::remove_file(socket).expect("it goes");
        }
    }

    #[tokio::test]
    async fn a_port_that_refuses_is_a_database_that_is_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let door = Door::of(&PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port));
        assert_eq!(door.explain(gave_up()).await.code(), Code::Overloaded);
        drop(listener);
        assert_eq!(door.explain(gave_up()).await.code(), Code::DependencyUnavailable);
        assert_eq!(door.explain(Error::changed_meanwhile()).await.code(), Code::Overloaded, "that is another matter");
    }
}

//! TLS to the server, by rustls: with `sslmode=require`, checked in full; without, none.
//!
//! There is no half way. libpq's `prefer` encrypts without looking at the certificate, which stops
//! nobody who sits in between. Here `require` checks chain and host name, and every other mode speaks
//! plain text, as on a loopback or in a private network.

use crate::{PoolOptions, SetupError, sqlstate::with_causes};
use deadpool_postgres::Connect;
use futures_util::future::BoxFuture;
use std::{
    error::Error as _,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::JoinHandle,
};
use tokio_postgres::{
    Client, Config, NoTls,
    config::{Host, SslMode},
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject},
    },
};

/// How connections are made.
#[derive(Clone)]
pub(crate) enum Tls {
    Plain,
    Rustls(Arc<ClientConfig>),
}

impl Tls {
    pub(crate) fn new(options: &PoolOptions, config: &Config) -> Result<Self, SetupError> {
        if config.get_ssl_mode() != SslMode::Require {
            return Ok(Self::Plain);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| SetupError::invalid("url", "with sslmode=require", error.to_string()))?
            .with_root_certificates(roots(options)?)
            .with_no_client_auth();
        Ok(Self::Rustls(Arc::new(tls)))
    }

    /// Connects, and runs the connection in a task of its own.
    async fn open(
        &self,
        config: &Config,
    ) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        match self {
            Self::Plain => {
                let (client, connection) = config.connect(NoTls).await?;
                Ok((client, drive(connection)))
            }
            Self::Rustls(tls) => {
                let (client, connection) = config.connect(MakeRustls(tls.clone())).await?;
                Ok((client, drive(connection)))
            }
        }
    }

    /// Connects outside of the pool; the connection ends when the client is dropped.
    pub(crate) async fn connect(&self, config: &Config) -> Result<Client, SetupError> {
        match self.open(config).await {
            Ok((client, _detached)) => Ok(client),
            Err(error) => Err(cannot_connect(config, &error)),
        }
    }
}

fn drive<S, T>(connection: tokio_postgres::Connection<S, T>) -> JoinHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        // Whoever uses the client gets the error; this is for those who wonder about a lost one.
        if let Err(error) = connection.await {
            tracing::debug!("a connection to PostgreSQL ended: {}", with_causes(&error));
        }
    })
}

fn roots(options: &PoolOptions) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &options.ca_file {
        let bad = |why: &dyn fmt::Display| {
            SetupError::invalid(
                "ca_file",
                path.display().to_string(),
                format!("no certificates in it: {why}"),
            )
        };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))? {
            let certificate = certificate.map_err(|error| bad(&error))?;
            roots.add(certificate).map_err(|error| bad(&error))?;
        }
        if roots.is_empty() {
            return Err(bad(&"it must hold PEM blocks"));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(roots)
}

/// Where the server is: `host:port/database`.
pub(crate) fn address(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        _ => config.get_hostaddrs().first().map_or_else(String::new, ToString::to_string),
    };
    let port = config.get_ports().first().unwrap_or(&5432);
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("{host}:{port}/{database}")
}

fn cannot_connect(config: &Config, error: &tokio_postgres::Error) -> SetupError {
    let hint = match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("3D000") => ": create the database, or correct the url",
        Some("28P01") => ": correct the user or the password in the url",
        Some("28000") => {
            ": pg_hba.conf does not let this user in from here (or only with sslmode=require)"
        }
        Some("53300") => ": other clients hold all of the server's connections",
        Some(_) => "",
        None if error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>) => {
            ": is the server running, and does it listen there?"
        }
        None => "",
    };
    let why = match error.as_db_error() {
        Some(db) => format!("{} (SQLSTATE {}){hint}", db.message(), db.code().code()),
        None => format!("{}{hint}", with_causes(error)),
    };
    SetupError::Connect { address: address(config), why }
}

impl Connect for Tls {
    fn connect(
        &self,
        config: &Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let config = config.clone();
        Box::pin(async move { self.open(&config).await })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Rustls(_) => "Rustls",
        })
    }
}

/// What the driver asks for to speak TLS.
pub(crate) struct MakeRustls(pub(crate) Arc<ClientConfig>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for MakeRustls {
    type Stream = Stream<S>;
    type TlsConnect = Rustls;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Rustls, InvalidDnsNameError> {
        let name = ServerName::try_from(host)?.to_owned();
        Ok(Rustls { config: self.0.clone(), name })
    }
}

pub(crate) struct Rustls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Rustls {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Stream<S>>>;

    fn connect(self, socket: S) -> Self::Future {
        Box::pin(async move {
            let connector = TlsConnector::from(self.config);
            Ok(Stream(Box::new(connector.connect(self.name, socket).await?)))
        })
    }
}

/// An encrypted stream, as the driver wants to see one.
pub(crate) struct Stream<S>(Box<tokio_rustls::client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    /// None: SCRAM works without, and `channel_binding=require` is refused by the driver.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

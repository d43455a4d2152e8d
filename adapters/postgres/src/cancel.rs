//! Calling a statement off on the server, and staying on the line until that has been heard.
//!
//! The driver's `cancel_query` hangs up as soon as it has sent its request. Nobody knows then when the
//! server acts on it; and PgBouncer 1.18 loses requests whose client is gone too early, and now and then
//! ends with `FATAL ... bad client state`, taking all connections with it (both seen; the second is its
//! issue 801). PostgreSQL and PgBouncer both close the line themselves once they have passed the
//! request on: that is waited for, as libpq does.

use crate::tls::{MakeRustls, Tls};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_postgres::{CancelToken, Config, NoTls, config::Host, tls::MakeTlsConnect};

/// Asks for a statement to be called off; it has been, or has ended, when this returns well.
///
/// Of several hosts, all are asked: but one of them, nobody knows the token.
pub(crate) async fn cancel(tls: &Tls, config: &Config, token: &CancelToken) -> io::Result<()> {
    let ports = config.get_ports();
    for (index, host) in config.get_hosts().iter().enumerate() {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let host = match host {
            Host::Tcp(host) => host,
            // On a socket of this machine there is nobody in between to be careful of.
            #[cfg(unix)]
            Host::Unix(_) => return token.cancel_query(NoTls).await.map_err(io::Error::other),
        };
        let socket = match config.get_hostaddrs().get(index) {
            Some(address) => TcpStream::connect((*address, port)).await?,
            None => TcpStream::connect((host.as_str(), port)).await?,
        };
        let line = Patient(socket);
        let asked = match tls {
            Tls::Plain => token.cancel_query_raw(line, NoTls).await,
            Tls::Rustls(config) => {
                let mut make = MakeRustls(config.clone());
                let connector = MakeTlsConnect::<Patient>::make_tls_connect(&mut make, host);
                token.cancel_query_raw(line, connector.map_err(io::Error::other)?).await
            }
        };
        asked.map_err(io::Error::other)?;
    }
    Ok(())
}

/// A stream that hangs up only after the other side has.
struct Patient(TcpStream);

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
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

    /// Waits for the end of what the other side says. A reset is an end too.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut bytes = [0; 64];
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

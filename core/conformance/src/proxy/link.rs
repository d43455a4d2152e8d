//! One connection through the proxy: two pumps, each a reader and a writer with a queue between,
//! so that a delay holds bytes back without slowing their stream down.

use super::{Direction, Shared, State};
use futures_util::FutureExt;
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::mpsc,
    time::Instant,
};

/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// Chunks under way in one direction; a delay of 100 ms then still passes 160 MiB/s.
const UNDER_WAY: usize = 1024;

/// What a reader hands to its writer.
enum Piece {
    Bytes(Vec<u8>),
    /// The sender has closed its side.
    End,
    /// The sender's side has been reset.
    Broken(io::Error),
}

/// Resets a connection when it is dropped, rather than closing it.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only where the connection is already gone.
    drop(stream.set_zero_linger());
}

/// Carries one connection to its end.
pub(super) async fn run(client: TcpStream, shared: Arc<Shared>, epoch: u64) {
    carry(client, &shared, epoch).await;
    shared.state.send_if_modified(|state| {
        state.end(epoch);
        false // Nobody waits for a count.
    });
}

async fn carry(mut client: TcpStream, shared: &Shared, epoch: u64) {
    let connected = tokio::select! {
        biased;
        () = cut(shared, epoch) => return reset(&client),
        connected = connect(shared) => connected,
    };
    let Ok(mut upstream) = connected else { return reset(&client) };
    // A proxy that gathers small writes would change what it stands in front of.
    drop(client.set_nodelay(true));
    drop(upstream.set_nodelay(true));

    let ended = {
        let (from_client, to_client) = client.split();
        let (from_upstream, to_upstream) = upstream.split();
        let there = Pump { shared, epoch, direction: Direction::ToUpstream };
        let back = Pump { shared, epoch, direction: Direction::FromUpstream };
        tokio::select! {
            biased;
            () = cut(shared, epoch) => Err(gone()),
            ended = async {
                tokio::try_join!(there.run(from_client, to_upstream), back.run(from_upstream, to_client))
            } => ended,
        }
    };
    if ended.is_err() {
        reset(&client);
        reset(&upstream);
    }
}

async fn cut(shared: &Shared, epoch: u64) {
    shared.until(|state| state.epoch != epoch).await;
}

async fn connect(shared: &Shared) -> io::Result<TcpStream> {
    shared.until(|state| !state.half_open).await;
    TcpStream::connect(shared.upstream).await
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// What came of trying to do something that faults may forbid.
enum Tried<T> {
    Done(T),
    Held,
    Cut,
}

struct Pump<'a> {
    shared: &'a Shared,
    epoch: u64,
    direction: Direction,
}

impl Pump<'_> {
    async fn run(&self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        let (pieces, under_way) = mpsc::channel(UNDER_WAY);
        tokio::try_join!(self.read(from, pieces), self.write(to, under_way))?;
        Ok(())
    }

    /// Never fails: what it hears, it sends on, so that a half-open connection holds back errors too.
    async fn read(
        &self,
        mut from: ReadHalf<'_>,
        pieces: mpsc::Sender<(Instant, Piece)>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let (piece, last) = match from.read(&mut buffer).await {
                Ok(0) => (Piece::End, true),
                Ok(n) => (Piece::Bytes(buffer[..n].to_vec()), false),
                Err(error) => (Piece::Broken(error), true),
            };
            let due = Instant::now() + self.shared.state.borrow().delay;
            if pieces.send((due, piece)).await.is_err() || last {
                return Ok(());
            }
        }
    }

    async fn write(
        &self,
        mut to: WriteHalf<'_>,
        mut pieces: mpsc::Receiver<(Instant, Piece)>,
    ) -> io::Result<()> {
        while let Some((due, piece)) = pieces.recv().await {
            // The timer's ticks of a millisecond would delay what is not to be delayed.
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            match piece {
                Piece::Bytes(bytes) => self.pass(&to, &bytes).await?,
                Piece::End => {
                    return self
                        .once_allowed(|_| to.shutdown().now_or_never())
                        .await?
                        .unwrap_or(Ok(()));
                }
                Piece::Broken(error) => {
                    self.once_allowed(|_| ()).await?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`, or as many as may pass before a cut.
    async fn pass(&self, to: &WriteHalf<'_>, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let wrote: io::Result<usize> = self
                .once_allowed(|state| {
                    let allowed = state.allows(self.direction, bytes.len());
                    if allowed == 0 {
                        state.count(self.direction, 0);
                        return Ok(0);
                    }
                    let wrote = to.try_write(&bytes[..allowed])?;
                    state.count(self.direction, wrote);
                    Ok(wrote)
                })
                .await?;
            match wrote {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Does it under the lock of the state, once the link carries anything; an error: it was cut.
    async fn once_allowed<T>(&self, mut act: impl FnMut(&mut State) -> T) -> io::Result<T> {
        loop {
            let mut tried = Tried::Cut;
            self.shared.state.send_if_modified(|state| {
                if state.epoch != self.epoch {
                    return false;
                }
                if state.half_open {
                    tried = Tried::Held;
                    return false;
                }
                tried = Tried::Done(act(state));
                state.epoch != self.epoch // Its last byte was the one to cut after.
            });
            match tried {
                Tried::Done(done) => return Ok(done),
                Tried::Held => self.shared.until(|state| !state.half_open).await,
                Tried::Cut => return Err(gone()),
            }
        }
    }
}

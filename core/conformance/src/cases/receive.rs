//! Taking messages: as many as wanted, as soon as they are there, and never lost on the way.

use crate::{
    CaseResult, Harness, Setup,
    stage::{BYTES, Stage, give_up_on, numbered, producer_headers, text},
    stop::{check, check_eq, needs},
};
use forebay_contract::{Outgoing, Settled, Settlement, Sink, Source, SourceError, Verdict, Want};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// MUST 27: on an empty queue `receive` waits; it does not return without a message.
pub async fn waits_on_an_empty_queue<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let mut out = Vec::new();
    let receive = worker.source.receive(Want { messages: 10, bytes: BYTES }, &mut out);
    let returned = tokio::time::timeout(stage.timing.quiet, receive).await;
    check!(returned.is_err(), "receive returned {returned:?} with nothing to receive");
    Ok(())
}

/// MUST 27: a worker that waits is woken by what is published meanwhile, in good time.
pub async fn is_woken_by_a_publish<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let sink = harness.sink(&stage.queue).await?;
    for round in 0..5 {
        let publish = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            let results = sink.publish(&[Outgoing::new(round.to_string())]).await;
            (results, Instant::now())
        };
        let (delivery, (results, published)) = tokio::join!(worker.receive_one(), publish);
        check!(results.iter().all(Result::is_ok), "publishing: {results:?}");
        let (delivery, took) = (delivery?, published.elapsed());
        check!(took < Duration::from_secs(1), "the waiting worker was woken after {took:?}");
        worker.settle(&delivery, Verdict::Ack).await?;
    }
    Ok(())
}

/// MUST 28: a receive that is given up, at whatever point, loses nothing and doubles nothing.
pub async fn giving_up_loses_nothing<H: Harness>(harness: &H) -> CaseResult {
    const N: usize = 400;
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let sink = harness.sink(&stage.queue).await?;
    let mut out = Vec::new();
    for (round, message) in numbered(N).chunks(2).enumerate() {
        let results = sink.publish(message).await;
        check!(results.iter().all(Result::is_ok), "publishing: {results:?}");
        let want = Want { messages: 1 + round % 5, bytes: BYTES };
        if let Some(received) = give_up_on(worker.source.receive(want, &mut out)).await {
            received?;
        }
        if round % 3 == 0 {
            give_up_on(worker.source.receive(want, &mut out)).await.transpose()?;
        }
    }
    let left = N.saturating_sub(out.len());
    out.extend(worker.receive_n(left).await?);
    let seen: BTreeSet<_> = out.iter().map(text).collect();
    check_eq!((out.len(), seen.len()), (N, N), "messages received, and different ones");
    worker.ack_all(&out).await?;
    worker.nothing_comes("all was acknowledged").await
}

/// MUST 29: no more messages and bytes than wanted, but for a single message that is larger: it comes
/// alone.
pub async fn no_more_than_wanted<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let sizes = [1000, 1000, 1000, 1000, 5000, 1000, 5000, 1000, 1000, 1000, 1000, 1000];
    let batch: Vec<_> = sizes.iter().map(|size| Outgoing::new(vec![b'x'; *size])).collect();
    stage.publish(&batch).await?;
    let mut received = 0;
    let wants = [(3, BYTES), (10, 2500), (10, 10), (1, BYTES), (2, 2500)];
    for (messages, bytes) in wants.into_iter().cycle() {
        if received == sizes.len() {
            break;
        }
        let mut out = Vec::new();
        let receive = worker.source.receive(Want { messages, bytes }, &mut out);
        crate::stage::within(stage.timing.patience, "a receive", receive).await??;
        let size: usize = out.iter().map(|delivery| delivery.message.size()).sum();
        check!(!out.is_empty(), "receive returned with no message");
        check!(out.len() <= messages, "wanted {messages} messages, got {}", out.len());
        let fits = size <= bytes || out.len() == 1;
        check!(fits, "wanted {bytes} bytes, got {size} in {} messages", out.len());
        received += out.len();
        worker.ack_all(&out).await?;
    }
    Ok(())
}

/// MUST 30: two workers on one queue share it: nothing is out with both, and nothing is left over.
pub async fn two_workers_share_the_queue<H: Harness>(harness: &H) -> CaseResult {
    const N: usize = 200;
    let stage = Stage::new(harness, Setup::default()).await?;
    let (a, b) = (stage.worker().await?, stage.worker().await?);
    stage.publish(&numbered(N)).await?;
    let mut out = [Vec::new(), Vec::new()];
    let start = Instant::now();
    while out[0].len() + out[1].len() < N && start.elapsed() < stage.timing.patience {
        let short = Duration::from_millis(50);
        let (from_a, from_b) = tokio::join!(a.receive_for(short, 7), b.receive_for(short, 7));
        out[0].extend(from_a?);
        out[1].extend(from_b?);
    }
    let seen: BTreeSet<_> = out.iter().flatten().map(text).collect();
    check_eq!((out[0].len() + out[1].len(), seen.len()), (N, N), "received, and different ones");
    a.ack_all(&out[0]).await?;
    b.ack_all(&out[1]).await?;
    a.nothing_comes("all was acknowledged").await?;
    b.nothing_comes("all was acknowledged").await
}

/// MUST 31: payload, key and headers arrive as they were sent, bit by bit: large, empty, binary,
/// with a header name that repeats.
pub async fn every_byte_arrives<H: Harness>(harness: &H) -> CaseResult {
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    let room = worker.source.capabilities().max_payload.unwrap_or(usize::MAX);
    let binary: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..room.min(256 << 10)).map(|i| (i * 31 % 251) as u8).collect();
    let sent = [
        Outgoing::new(large).id("large").key("a"),
        Outgoing::new("").id("empty").key("b").header("empty", ""),
        Outgoing::new(binary.clone()).id("binary").key(vec![0, 159, 146, 150, 10, 0]),
        Outgoing::new("x").id("headers").header("h", binary).header("g", "2").header("h", "3"),
        Outgoing::new("x").id("empty key").key(""),
    ];
    stage.publish(&sent).await?;
    let out = worker.receive_n(sent.len()).await?;
    for sent in &sent {
        let id = sent.id.as_ref();
        let found = out.iter().find(|delivery| Some(&delivery.message.id) == id);
        check!(found.is_some(), "the message {id:?} did not arrive");
        let Some(seen) = found.map(|delivery| &delivery.message) else { continue };
        check!(seen.payload == sent.payload, "the payload of {id:?} is not what was sent");
        check_eq!(seen.key, sent.key, "key of {id:?}");
        let mut headers = [&seen.headers, &sent.headers].map(producer_headers);
        if !harness.header_order() {
            headers.iter_mut().for_each(|list| list.sort_by(|(a, _), (b, _)| a.cmp(b)));
        }
        check_eq!(headers[0], headers[1], "headers of {id:?}");
    }
    worker.ack_all(&out).await
}

/// MUST 32: a cut connection loses nothing: what was not acknowledged comes again, what was
/// durably acknowledged does not.
pub async fn a_cut_connection_loses_nothing<H: Harness>(harness: &H) -> CaseResult {
    const N: usize = 100;
    let stage = Stage::new(harness, Setup::default()).await?;
    let worker = stage.worker().await?;
    stage.publish(&numbered(N)).await?;
    let (mut durable, mut acked) = (BTreeSet::new(), BTreeSet::new());
    let (mut cuts, mut rounds) = (0, 0);
    while acked.len() < N {
        rounds += 1;
        check!(rounds < 500, "{} of {N} could be acknowledged, and no more", acked.len());
        let mut out = Vec::new();
        let receive = worker.source.receive(Want { messages: 15, bytes: BYTES }, &mut out);
        match crate::stage::within(stage.timing.patience, "the queue after a cut", receive).await? {
            Err(SourceError::Unavailable(_)) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            received => received?,
        }
        if cuts < 3 && rounds % 2 == 0 {
            harness.sever(&stage.queue).await?;
            cuts += 1;
        }
        let settlement = |delivery: &crate::stage::Out<H::Source>| Settlement {
            receipt: delivery.receipt.clone(),
            message: delivery.message.clone(),
            verdict: Verdict::Ack,
        };
        let batch: Vec<_> = out.iter().map(settlement).collect();
        for (delivery, result) in out.iter().zip(worker.source.settle(&batch).await) {
            let name = text(delivery);
            check!(!durable.contains(&name), "`{name}` came after it was durably acknowledged");
            match result {
                Ok(Settled::Durable) => {
                    durable.insert(name.clone());
                    acked.insert(name);
                }
                Ok(Settled::Deferred) => {
                    acked.insert(name);
                }
                Err(_) => {} // it was lost with the connection, and comes again
            }
        }
    }
    needs!(cuts > 0, "all was handled before the connection could be cut");
    worker.nothing_comes("all was acknowledged").await
}

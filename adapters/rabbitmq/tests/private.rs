//! What hurts all of a broker, on one of the test's own: it closes channels of the slow, it changes
//! messages, it lets nobody in, it is low on memory, it is killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::{Broker, proxy::FaultProxy};
use forebay_contract::{
    DeadFilter, DeadLetters, Outgoing, PublishError, SettleError, Sink, Source, SourceEvent,
    Verdict,
};
use forebay_rabbitmq::{RabbitError, RabbitOptions, RabbitQueue, Topology};
use std::time::{Duration, Instant};
use support::{
    channel, dead_letter, event, name, open, private_url, publish, receive, receive_n, retry,
    settle, settlement,
};

/// Has the broker run a line of Erlang.
fn eval(broker: &Broker, line: &str) {
    broker.ctl(&["eval", line]);
}

fn memory(broker: &Broker, limit: &str) {
    broker.ctl(&["set_vm_memory_high_watermark", "absolute", limit]);
}

fn options(broker: &Broker) -> RabbitOptions {
    RabbitOptions {
        confirm_timeout: Duration::from_secs(2),
        heartbeat: Duration::from_secs(2),
        ..RabbitOptions::new(private_url(broker), name())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_in_trouble_loses_nothing() {
    let broker = Broker::start("rabbitmq", &[]);
    gives_few_rights(&broker).await;
    closes_channels_of_the_slow(&broker).await;
    takes_only_small_messages(&broker).await;
    changes_messages_on_their_way_in(&broker).await;
    has_all_the_connections_it_may_have(&broker).await;
    is_low_on_memory(&broker).await;
    is_lost_while_it_is_low_on_memory(&broker).await;
    is_killed(&broker).await;
}

/// The rights that `docs/rabbitmq.md` asks for suffice; and without the right to configure, what is
/// missing is told.
async fn gives_few_rights(broker: &Broker) {
    broker.ctl(&["add_user", "few", "secret"]);
    let ours = r"^orders($|\..*)";
    broker.ctl(&["set_permissions", "few", ours, r"^(amq\.default|orders($|\..*))", ours]);
    let all = options(broker);
    let url = all.url.replace("guest:guest", "few:secret");
    let options = RabbitOptions { url, queue: "orders".into(), ..all };
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    publish(&queue, &[Outgoing::new("1")]).await;
    let out = receive(&source, 1).await;
    assert_eq!(settle(&source, &out, retry(Duration::from_millis(100))).await, [true]);
    let again = receive(&source, 1).await;
    assert_eq!(settle(&source, &again, dead_letter()).await, [true]);
    assert_eq!(queue.redrive(&DeadFilter::default(), 10).await.unwrap().moved.len(), 1);
    assert_eq!(receive(&source, 1).await.len(), 1);
    source.close(Duration::from_secs(5)).await.unwrap();
    broker.ctl(&["set_permissions", "few", "^$", ".*", ".*"]);
    let error = RabbitQueue::open(options.clone()).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, RabbitError::NotAllowed { .. }) && said.contains("orders"), "{said}");
    // Without it, the queues can be used as somebody else made them.
    open(&options.topology(Topology::Leave)).await;
}

/// `consumer_timeout`: the channel is closed, the message comes again, and the worker goes on.
async fn closes_channels_of_the_slow(broker: &Broker) {
    eval(broker, "application:set_env(rabbit, consumer_timeout, 1000).");
    eval(broker, "application:set_env(rabbit, channel_tick_interval, 300).");
    let queue = open(&options(broker)).await;
    let source = queue.source().await.unwrap();
    publish(&queue, &[Outgoing::new("slow").id("slow")]).await;
    let slow = receive(&source, 1).await;
    assert_eq!(event(&source).await, SourceEvent::Lost(slow[0].scope));
    let SourceEvent::Down(why) = event(&source).await else { panic!("not down") };
    assert!(why.contains("timed out"), "{why}");
    let again = receive(&source, 1).await;
    assert_eq!((again[0].message.interrupted, again[0].message.deliveries), (0, Some(2)));
    assert_eq!(settle(&source, &slow, Verdict::Ack).await, [false], "a receipt of a lost channel");
    assert_eq!(settle(&source, &again, Verdict::Ack).await, [true]);
    eval(broker, "application:set_env(rabbit, consumer_timeout, 1800000).");
    eval(broker, "application:set_env(rabbit, channel_tick_interval, 60000).");
    source.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap().outstanding(), 0);
}

/// `connection.blocked`: publishing waits and says why; consuming and acknowledging go on.
async fn is_low_on_memory(broker: &Broker) {
    let queue = open(&options(broker)).await;
    let source = queue.source().await.unwrap();
    let all: Vec<_> = (0..20).map(|n| Outgoing::new(n.to_string())).collect();
    publish(&queue, &all).await;
    let out = receive_n(&source, 10).await;
    memory(broker, "1MB");
    // The broker blocks a connection when it publishes next, and reads nothing more from it.
    let start = Instant::now();
    let refused = queue.publish(&[Outgoing::new("late").id("late")]).await.remove(0);
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    let copies = [settlement(&out[0], retry(Duration::ZERO)), settlement(&out[1], dead_letter())];
    for _ in 0..2 {
        for result in source.settle(&copies).await {
            let Err(SettleError::Unavailable(error)) = result else { panic!("{result:?}") };
            let said = error.to_string();
            assert!(said.contains("blocks publishing") && said.contains("memory"), "{said}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
    // Meanwhile acks count, and the rest comes.
    assert!(settle(&source, &out[2..], Verdict::Ack).await.iter().all(|ok| *ok));
    let rest = receive_n(&source, 10).await;
    assert!(settle(&source, &rest, Verdict::Ack).await.iter().all(|ok| *ok));
    memory(broker, "1GB");
    // Settled again, each is copied once.
    let start = Instant::now();
    loop {
        let results = source.settle(&copies).await;
        if results.iter().all(Result::is_ok) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{results:?}");
    }
    let again = receive(&source, 10).await;
    let late = if again.len() < 2 { receive(&source, 10).await } else { Vec::new() };
    let mut payloads: Vec<_> =
        again.iter().chain(&late).map(|out| out.message.payload.clone()).collect();
    payloads.sort();
    assert_eq!(payloads, [out[0].message.payload.clone(), "late".into()]);
    assert_eq!(queue.list(&DeadFilter::default(), None, 10).await.unwrap().len(), 1);
    source.close(Duration::from_secs(5)).await.unwrap();
}

/// `max_message_size`: the broker closes the channel over a message, and only that one fails.
async fn takes_only_small_messages(broker: &Broker) {
    eval(broker, "application:set_env(rabbit, max_message_size, 100000).");
    let queue = open(&options(broker)).await;
    let source = queue.source().await.unwrap();
    let sizes = [10, 20, 200_000, 30, 300_000, 40];
    let all: Vec<_> = sizes.iter().map(|size| Outgoing::new(vec![0; *size])).collect();
    let results = queue.publish(&all).await;
    for (result, size) in results.iter().zip(sizes) {
        match result {
            Err(PublishError::Refused(error)) if size > 100_000 => {
                assert!(error.to_string().contains("max_message_size"), "{error}");
            }
            result => assert!(result.is_ok() && size < 100_000, "{size}: {result:?}"),
        }
    }
    // Those that came before the large one may come twice: the broker took them, and did not say so.
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 4 {
        let out = receive(&source, 10).await;
        seen.extend(out.iter().map(|out| out.message.payload.len()));
        settle(&source, &out, Verdict::Ack).await;
    }
    assert_eq!(seen, [10, 20, 30, 40].into());
    eval(broker, "application:unset_env(rabbit, max_message_size).");
    source.close(Duration::from_secs(5)).await.unwrap();
}

/// An interceptor that adds a header: what comes back for want of a queue is known all the same, and is
/// not taken for confirmed.
async fn changes_messages_on_their_way_in(broker: &Broker) {
    let module = r#"
        Forms = [begin {ok, Tokens, _} = erl_scan:string(Line), {ok, Form} = erl_parse:parse_form(Tokens),
                 Form end || Line <- [
            "-module(stamp).",
            "-behaviour(rabbit_channel_interceptor).",
            "-export([description/0, init/1, applies_to/0, intercept/3]).",
            "description() -> [].",
            "init(_) -> none.",
            "applies_to() -> ['basic.publish'].",
            "stamp(undefined) -> stamp([]);
             stamp(Headers) -> [{<<\"x-stamp\">>, longstr, <<\"1\">>} | Headers].",
            "intercept(Method, none, _) -> {Method, none};
             intercept(Method, Content, _) ->
                 {Method, rabbit_basic:map_headers(fun stamp/1, Content)}."]],
        {ok, stamp, Binary} = compile:forms(Forms),
        {module, stamp} = code:load_binary(stamp, "stamp.erl", Binary),
        ok = rabbit_registry:register(channel_interceptor, <<"stamp">>, stamp)."#;
    eval(broker, module);
    let options = options(broker);
    let queue = open(&options).await;
    publish(&queue, &[Outgoing::new("0")]).await;
    let (_connection, channel) = channel(&options.url).await;
    let gone = channel.queue_delete(options.queue.as_str().into(), Default::default()).await;
    gone.unwrap();
    // It is found to be gone, declared again, and sent once more.
    publish(&queue, &["1", "2", "2"].map(|text| Outgoing::new(text).id(text))).await;
    let source = queue.source().await.unwrap();
    let out = receive_n(&source, 3).await;
    let seen: Vec<_> = out.iter().map(|out| &out.message.payload[..]).collect();
    assert_eq!(seen, [b"1", b"2", b"2"]);
    assert_eq!(out[0].message.headers.get_str("x-stamp"), Some("1"), "it was changed on its way");
    eval(broker, r#"rabbit_registry:unregister(channel_interceptor, <<"stamp">>)."#);
    source.close(Duration::from_secs(5)).await.unwrap();
}

/// A limit of connections passes: it is waited for, and nobody's password is blamed.
async fn has_all_the_connections_it_may_have(broker: &Broker) {
    let options = options(broker);
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    let limits: [[&[&str]; 2]; 2] = [
        [
            &["set_vhost_limits", "-p", "/", r#"{"max-connections":0}"#],
            &["clear_vhost_limits", "-p", "/"],
        ],
        [
            &["set_user_limits", "guest", r#"{"max-connections":0}"#],
            &["clear_user_limits", "guest", "max-connections"],
        ],
    ];
    for [set, clear] in limits {
        publish(&queue, &[Outgoing::new("x")]).await;
        let out = receive(&source, 1).await;
        broker.ctl(set);
        broker.ctl(&["close_all_connections", "--global", "a test"]);
        while !matches!(event(&source).await, SourceEvent::Down(_)) {}
        let error = RabbitQueue::open(options.clone()).await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, RabbitError::Limited { .. }) && !error.is_fatal(), "{said}");
        assert!(said.contains("limit (0)") && !said.contains("password"), "{said}");
        let refused = queue.publish(&[Outgoing::new("y")]).await.remove(0);
        assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
        // Long enough for the worker to be refused some times.
        tokio::time::sleep(Duration::from_secs(1)).await;
        broker.ctl(clear);
        let again = receive(&source, 1).await;
        assert_eq!(again[0].message.id, out[0].message.id);
        assert_eq!(settle(&source, &again, Verdict::Ack).await, [true]);
    }
    source.close(Duration::from_secs(5)).await.unwrap();
}

/// A connection that dies while it is blocked hears no `connection.unblocked`; publishing goes on
/// with the next one all the same.
async fn is_lost_while_it_is_low_on_memory(broker: &Broker) {
    let options = options(broker);
    let upstream = broker.address(25_672);
    let proxy = FaultProxy::start(upstream.parse().unwrap()).unwrap();
    let url = options.url.replace(&upstream, &proxy.address().to_string());
    let queue = open(&RabbitOptions { url, ..options }).await;
    publish(&queue, &[Outgoing::new("1")]).await;
    memory(broker, "1MB");
    for _ in 0..2 {
        let refused = queue.publish(&[Outgoing::new("2")]).await.remove(0);
        assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    }
    proxy.cut();
    memory(broker, "1GB");
    let start = Instant::now();
    while queue.publish(&[Outgoing::new("3")]).await[0].is_err() {
        assert!(start.elapsed() < Duration::from_secs(15), "publishing has stopped for ever");
    }
    queue.close().await;
}

/// SIGKILL: what was confirmed, delayed or dead is there when the broker is back, and the worker goes
/// on by itself.
async fn is_killed(broker: &Broker) {
    let queue = open(&options(broker)).await;
    let source = queue.source().await.unwrap();
    let ids: Vec<_> = (0..50).map(|n| format!("m{n}")).collect();
    let all: Vec<_> = ids.iter().map(|id| Outgoing::new(id.clone()).id(id.as_str())).collect();
    publish(&queue, &all).await;
    let out = receive_n(&source, 20).await;
    assert!(settle(&source, &out[..5], retry(Duration::from_secs(3))).await.iter().all(|ok| *ok));
    assert!(settle(&source, &out[5..10], dead_letter()).await.iter().all(|ok| *ok));
    let published = queue.publish(&all[..1]);
    broker.kill();
    drop(published);
    while !matches!(event(&source).await, SourceEvent::Down(_)) {}
    let refused = queue.publish(&all[..1]).await.remove(0);
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    broker.up();
    let mut seen = std::collections::BTreeSet::new();
    let start = Instant::now();
    while seen.len() < 45 {
        let out = receive(&source, 20).await;
        seen.extend(out.iter().map(|out| out.message.id.to_string()));
        settle(&source, &out, Verdict::Ack).await;
        assert!(start.elapsed() < Duration::from_secs(60), "{} of 45 came back", seen.len());
    }
    while event(&source).await != SourceEvent::Up {}
    let letters = queue.list(&DeadFilter::default(), None, 100).await.unwrap();
    let dead: Vec<_> = letters.iter().map(|letter| letter.message.id.to_string()).collect();
    assert_eq!(dead, out[5..10].iter().map(|out| out.message.id.to_string()).collect::<Vec<_>>());
    source.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap().outstanding(), 0);
}

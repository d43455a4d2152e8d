//! The lanes in turn, on one queue after the other: wall time and processor time.

use crate::{
    Fault, Flags,
    lane::{self, Broker, Consumer, Lane, Load},
    peer::Peer,
};
use forebay_bench::{cost::Cost, median::median, progress, seen::Work, table::Table};
use std::time::Duration;

/// Prints a table: medians of each lane, and the medians of what Forebay is to each within a pair.
pub(crate) async fn measure<B: Broker>(broker: &B, flags: &Flags) -> Result<(), Fault> {
    let mut table = Table::new(&[
        "payload",
        "handler",
        "loop",
        "messages/s",
        "Forebay / it",
        "µs of CPU",
        "Forebay - it, µs",
    ]);
    let peer = flags.peer.clone().map(Peer::new).map(Consumer::Peer);
    let lanes: Vec<Consumer> = Lane::ALL.map(Consumer::Own).into_iter().chain(peer).collect();
    for &bytes in &flags.bytes {
        for &micros in &flags.work {
            let load = Load { messages: flags.messages, bytes };
            let work = Work::of(Duration::from_micros(micros));
            let mut runs = vec![Vec::new(); lanes.len()];
            for pair in 1..=flags.pairs {
                for (lane, runs) in lanes.iter().zip(&mut runs) {
                    progress::show(&format!("{bytes} bytes, {micros} µs, pair {pair}: {lane}"));
                    runs.push(lane::run(broker, lane, load, work).await?);
                }
            }
            let ours = lanes
                .iter()
                .position(|lane| matches!(lane, Consumer::Own(Lane::Forebay)))
                .unwrap_or_default();
            for (lane, own) in lanes.iter().zip(&runs) {
                let handler =
                    if micros == 0 { "no-op".to_owned() } else { format!("{micros} µs") };
                let head = [format!("{bytes} B"), handler, lane.to_string()];
                table.row(head.into_iter().chain(figures(own, &runs[ours])));
            }
        }
    }
    progress::clear();
    table.print()?;
    Ok(())
}

/// The figures of one lane, beside Forebay's.
fn figures(own: &[Cost], ours: &[Cost]) -> [String; 4] {
    let middle = |of: &dyn Fn(&Cost, &Cost) -> f64| {
        median(own.iter().zip(ours).map(|(own, ours)| of(own, ours)).collect()).unwrap_or(f64::NAN)
    };
    [
        format!("{:.0}", middle(&|own, _| 1e9 / own.wall)),
        format!("{:.2}", middle(&|own, ours| own.wall / ours.wall)),
        format!("{:.2}", middle(&|own, _| own.cpu / 1e3)),
        format!("{:+.2}", middle(&|own, ours| (ours.cpu - own.cpu) / 1e3)),
    ]
}

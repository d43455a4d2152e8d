//! How many instructions a message costs, by callgrind, in a process of its own that does nothing but
//! consume a queue which is filled already. All threads of the process count, the client's among them.
//!
//! Under callgrind one thread runs at a time, some fifty times slower, so a broker is always ahead and
//! batches are larger than at full speed: what is paid for a batch or a wake-up shows less here.

use crate::{
    Fault, Flags,
    lane::{Broker, Lane, Load},
};
use clap::ValueEnum;
use forebay_bench::{callgrind, progress, seen::Work, table::Table};

/// The shorter run, whose instructions are subtracted, has so many times fewer messages.
const SHORTER: u64 = 4;

/// Prints a table of all lanes.
pub(crate) async fn count<B: Broker>(broker: &B, flags: &Flags) -> Result<(), Fault> {
    let mut table = Table::new(&["payload", "loop", "instructions a message"]);
    for &bytes in &flags.bytes {
        for lane in Lane::ALL {
            progress::show(&format!("{bytes} bytes: {lane}"));
            let (fewer, more) = (flags.messages / SHORTER, flags.messages);
            let short = total(broker, lane, Load { messages: fewer, bytes }, flags).await?;
            let long = total(broker, lane, Load { messages: more, bytes }, flags).await?;
            let each = long.saturating_sub(short) / (more - fewer).max(1);
            table.row([format!("{bytes} B"), lane.to_string(), each.to_string()]);
        }
    }
    progress::clear();
    table.print()?;
    Ok(())
}

async fn total<B: Broker>(broker: &B, lane: Lane, load: Load, flags: &Flags) -> Result<u64, Fault> {
    let queue = broker.filled(load).await?;
    let (which, name) = (value_of(&flags.broker), value_of(&lane));
    let Load { messages, bytes } = load;
    let profile = flags.profiles.join(format!("callgrind.{which}.{name}.{bytes}.{messages}"));
    let args = [
        which,
        "--alone".to_owned(),
        name,
        "--queue".to_owned(),
        queue.clone(),
        "--messages".to_owned(),
        messages.to_string(),
    ];
    let counted =
        tokio::task::spawn_blocking(move || callgrind::instructions_of_self(&args, &profile)).await;
    broker.remove(&queue).await?;
    Ok(counted??)
}

fn value_of<V: ValueEnum>(value: &V) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// What callgrind is to see.
pub(crate) async fn alone<B: Broker>(
    broker: &B,
    lane: Lane,
    queue: &str,
    flags: &Flags,
) -> Result<(), Fault> {
    let load = Load { messages: flags.messages, bytes: 0 };
    lane.consume(broker, queue, load, Work::NONE).await.map(drop)
}

//! Nothing is written: what the generator alone does to the bystander.

use super::{Left, Stage};
use crate::Fault;
use std::hint::black_box;

pub(super) async fn play(stage: Stage) -> Result<Left, Fault> {
    let plan = stage.plan.clone();
    let offer = move |ids: std::ops::Range<u64>| {
        for id in ids {
            black_box(plan.payload(id));
        }
    };
    stage.perform(offer).await?;
    Ok(Left::default())
}

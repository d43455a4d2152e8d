//! The admin page in a real browser: a headless Chromium, driven by the scripts beside this file, looks at
//! the real binary at a real queue.
//!
//! Each test starts a worker and runs one case of `browser.js`, which asks for what happens to the worker
//! (`ask send …`, `ask kill`) over its standard output. So all processes belong to this one, and are gone
//! when it is.
//!
//! It takes node, npm and Chromium, and a RabbitMQ to be cut off; `scripts/test` sees to them. What npm
//! brings is kept below cargo's target folder. A machine that lacks them fails these tests: a page that
//! nobody has looked at is not tested.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod browser;
mod site;

use site::Site;

/// A test for each case of the scripts, so that each can be run alone.
macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident($site:expr);)*) => {
        $($(#[$doc])* #[test] fn $name() { browser::run(stringify!($name), $site); })*
    };
}

cases! {
    // live.js
    follows(Site::new());
    is_read_by_keys(Site::new());
    asks_for_the_token(Site::with_token());
    // dead.js
    says_that_there_are_none(Site::new());
    are_found_and_read(Site::new());
    are_settled_by_keys(Site::new());
    are_redriven_all_together(Site::new());
    // states.js
    loses_contact_and_finds_it_again(Site::new());
    tells_of_a_redrive_that_failed(Site::new());
    tells_of_an_open_breaker(Site::new());
    tells_of_a_blown_fuse(Site::new());
    tells_of_a_drain(Site::new());
    tells_of_a_broker_that_is_gone(Site::behind_a_proxy());
    tells_of_telemetry_that_is_not_sent(Site::without_a_collector());
    // looks.js
    fits_a_phone(Site::new());
    can_be_read_in_light_and_dark(Site::new());
}

//! The real programs from end to end, one topic a module.
//!
//! Most tests are run over each transport; see [`over_each_transport`].
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

/// Makes a test for each transport of functions that take one.
macro_rules! over_each_transport {
    ($($name:ident),+ $(,)?) => {
        mod tcp {
            $(#[test]
            fn $name() {
                super::$name(lab::Transport::Tcp);
            })+
        }
        mod udp {
            $(#[test]
            fn $name() {
                super::$name(lab::Transport::Udp);
            })+
        }
    };
}

mod extent;
mod relay;
mod rogue;
mod scene;
mod valve;

mod audit;
mod clients;
mod crowds;
mod errors;
mod json;
mod keys;
mod kill;
mod limits;
mod outside;
mod plain;
mod prompt;
mod raw;
mod requests;
mod streams;
mod terminal;
mod transfer;
mod weather;

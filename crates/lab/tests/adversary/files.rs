//! Attacks by way of the files: names, links, manifests, directories, and clients that stall in the middle of one.

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

mod canary;
mod huge;
mod manifests;
mod names;
mod race;
mod racer;
mod siege;
mod stalled;

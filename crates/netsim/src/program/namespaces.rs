//! Namespaces: rights of one's own where the system gives them, and networks with nobody else in them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

/// A network of its own.
#[derive(Debug)]
pub(super) struct NetNamespace {
    handle: OwnedFd,
}

impl NetNamespace {
    /// A fresh one, with nothing but its loopback interface, which is up.
    pub(super) fn new() -> Result<Self> {
        on_its_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            let handle = File::open("/proc/thread-self/ns/net").context("cannot open a network namespace")?;
            let loopback = nix::net::if_::if_nametoindex("lo").context("a network without loopback")?;
            super::netlink::Routing::open()?
                .bring_up(loopback, super::netlink::Interface::default())
                .context("cannot set up the loopback interface of a network namespace")?;
            Ok(Self { handle: handle.into() })
        })
    }

    /// Does something in it.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_its_own_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// Moves this thread into it, and what it starts.
    pub(super) fn enter(&self) -> Result<()> {
        setns(&self.handle, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")
    }

    pub(super) fn handle(&self) -> std::os::fd::BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// A thread has its own network namespace, so what changes it is done on one that ends.
fn on_its_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|_| Err(anyhow!("a thread for a namespace panicked")))
    })
}

/// Where the rights to make networks are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// They were there: root, or something like it.
    Own,
    /// From a user namespace.
    UserNamespace,
}

impl Rights {
    /// Gets them. It must be called before there is a second thread.
    pub(super) fn acquire() -> Result<Self> {
        if NetNamespace::new().is_ok() {
            return Ok(Self::Own);
        }
        enter_user_namespace().context("cannot make a user namespace")?;
        // On systems that restrict them, only doing the work tells: the namespace itself is given, without its rights.
        NetNamespace::new().context("a user namespace was given, but no rights in it")?;
        Ok(Self::UserNamespace)
    }
}

/// Everyone keeps the number they have.
fn enter_user_namespace() -> Result<()> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // A thread that was joined may still be on its way out, and the kernel takes a namespace for whole programs only.
    let mut attempts = 0;
    while let Err(error) = unshare(CloneFlags::CLONE_NEWUSER) {
        attempts += 1;
        if error != nix::errno::Errno::EINVAL || attempts > 1000 {
            return Err(error.into());
        }
        thread::sleep(std::time::Duration::from_millis(1));
    }
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text)
            .with_context(|| format!("cannot write /proc/self/{file}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{user} {user} 1"))?;
    write("gid_map", format!("{group} {group} 1"))
}

/// Sets a file below `/proc/sys` of this thread's namespaces.
pub(super) fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/{name}"), value)
}

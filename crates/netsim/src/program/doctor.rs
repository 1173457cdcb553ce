//! `netsim doctor`: what works here, what does not, and what would make it work.

use std::fs::{self, OpenOptions};
use std::process::ExitCode;

use super::namespaces::Rights;
use super::wire::{Backend, Wire};

/// What is said beside an error about rights.
pub(super) fn advice() -> &'static str {
    "this machine does not let netsim make networks; `netsim doctor` says what would make it work, and `netsim relay` works \
     without"
}

/// The profile that lets this program make user namespaces where AppArmor keeps others from it.
pub(super) fn apparmor_profile() -> String {
    let path = std::env::current_exe()
        .map_or_else(|_| "/usr/local/bin/netsim".to_owned(), |path| path.display().to_string());
    format!(
        "abi <abi/4.0>,\ninclude <tunables/global>\n\nprofile netsim {path} flags=(unconfined) {{\n  userns,\n}}\n"
    )
}

/// Tries everything, tells it, and succeeds where `netsim run` would work.
pub(super) fn examine() -> ExitCode {
    let user = rustix::process::geteuid().as_raw();
    show!("user       {user}{}", if user == 0 { " (root)" } else { "" });
    match fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => show!("kernel     {}", release.trim()),
        Err(error) => show!("kernel     not known: {error}"),
    }
    if let Some(container) = container() {
        show!("container  {container}");
    }
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    let rights = Rights::acquire();
    match &rights {
        Ok(Rights::Own) => show!("networks   ok: this user may make them"),
        Ok(Rights::UserNamespace) => show!("networks   ok: in a user namespace"),
        Err(error) => {
            show!("networks   no: {error:#}");
            why_no_namespaces();
        }
    }
    match device {
        Ok(_) => show!("/dev/net/tun ok"),
        Err(error) => {
            show!("/dev/net/tun no: {error}");
            match error.kind() {
                std::io::ErrorKind::NotFound => show!(
                    "           to have it:  sudo modprobe tun   (in a container: --device /dev/net/tun)"
                ),
                _ => {
                    show!("           to have it:  sudo chmod 666 /dev/net/tun   (its mode on most systems)");
                }
            }
        }
    }
    let mut best = None;
    if rights.is_ok() {
        for backend in [Backend::Tun, Backend::Packet] {
            match Wire::new(Some(backend), 1500) {
                Ok(_) => {
                    show!("{:<10} ok", backend.to_string());
                    best = best.or(Some(backend));
                }
                Err(error) => show!("{:<10} no: {error:#}", backend.to_string()),
            }
        }
    }
    show!("relay      ok: it needs no rights");
    match best {
        Some(backend) => {
            show!("netsim run and netsim shell will use the {backend} backend");
            ExitCode::SUCCESS
        }
        None => {
            show!("netsim run and netsim shell will not work; netsim relay will");
            ExitCode::FAILURE
        }
    }
}

/// Each thing that is known to forbid user namespaces, and the line that lifts it.
fn why_no_namespaces() {
    let sysctl =
        |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).map(|text| text.trim().to_owned());
    let says = |name: &str, value: &str| sysctl(name).is_ok_and(|text| text == value);
    let mut known = false;
    let mut tell = |reason: &str, line: &str| {
        show!("           {reason}\n           to allow it:  {line}");
        known = true;
    };
    if says("kernel/apparmor_restrict_unprivileged_userns", "1") {
        tell(
            "AppArmor takes all rights from user namespaces (Ubuntu 23.10 and later)",
            "netsim doctor --print-apparmor | sudo tee /etc/apparmor.d/netsim && sudo apparmor_parser -r \
             /etc/apparmor.d/netsim\n           or for all programs:  sudo sysctl \
             kernel.apparmor_restrict_unprivileged_userns=0",
        );
    }
    if says("kernel/unprivileged_userns_clone", "0") {
        tell("this system forbids user namespaces", "sudo sysctl kernel.unprivileged_userns_clone=1");
    }
    if says("user/max_user_namespaces", "0") {
        tell("this system allows no user namespaces", "sudo sysctl user.max_user_namespaces=15000");
    }
    if says("user/max_net_namespaces", "0") {
        tell("this system allows no network namespaces", "sudo sysctl user.max_net_namespaces=15000");
    }
    if container().is_some() {
        tell(
            "containers forbid namespaces by default",
            "docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt apparmor=unconfined --device /dev/net/tun ...\
             \n           or:  docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined ...",
        );
    }
    if !known {
        show!("           nothing known forbids it; as root it may work:  sudo netsim run ...");
    }
}

/// What container this is, if it is one that says so.
fn container() -> Option<String> {
    if fs::exists("/.dockerenv").unwrap_or(false) {
        return Some("docker".to_owned());
    }
    if fs::exists("/run/.containerenv").unwrap_or(false) {
        return Some("podman".to_owned());
    }
    std::env::var("container").ok()
}

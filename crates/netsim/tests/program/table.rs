//! What each kind of damage does to half a MiB over TCP and to 128 datagrams of 4112 bytes, each three fragments: the table
//! of the research that netsim was built on, with whatever seed.

use super::roles::CHUNKS;
use super::{Result, Run, settings};

fn up(result: &Result, field: &str) -> u64 {
    result.stats["up"][field].as_u64().unwrap_or_else(|| panic!("{field} of {}", result.stats))
}

fn server(result: &Result, field: &str) -> u64 {
    result.server[field].as_u64().unwrap_or_else(|| panic!("{field} of {}", result.server))
}

/// Runs the case with every user and backend that works here.
fn each(protocol: &str, faults: &str, judge: impl Fn(&Result)) {
    for setting in settings() {
        let result = loop {
            let run = Run::new(setting).with(["--up", faults, "--seed", "4", "--delay", "5ms"]);
            let result = run.play(&format!("{protocol}-server"), &format!("{protocol}-client"));
            // A machine so busy that the server's socket overflowed tells nothing of the link.
            if result.server["overflows"].as_u64().is_none_or(|overflows| overflows == 0) {
                break result;
            }
        };
        eprintln!("{setting:?} {protocol} {faults}: {} {}", result.server, result.stats["up"]);
        judge(&result);
    }
}

#[test]
fn tcp_over_a_clean_link() {
    each("tcp", "loss=0%", |result| {
        assert_eq!((&result.server["same"], server(result, "checksum_errors")), (&true.into(), 0));
        // Whole packets of the MTU, not the big ones that offloads make: 512 KiB in segments of 1448 bytes.
        assert!(up(result, "entered") >= 363, "{}", result.stats);
    });
}

#[test]
fn tcp_repairs_loss() {
    each("tcp", "loss=5%", |result| {
        assert_eq!((&result.server["same"], server(result, "checksum_errors")), (&true.into(), 0));
        assert!(up(result, "lost") > 0 && up(result, "entered") >= 363 + up(result, "lost") / 2);
    });
}

#[test]
fn flipped_bits_are_a_loss_to_tcp() {
    each("tcp", "corrupt=5%:bits", |result| {
        assert_eq!(result.server["same"], true);
        // The last packets may still be under way when the server counts.
        let (damaged, found) = (up(result, "corrupted"), server(result, "checksum_errors"));
        assert!(found > 0 && found <= damaged && found + 3 >= damaged, "{found} of {damaged}");
    });
}

#[test]
fn repaired_checksums_deceive_tcp() {
    for faults in ["corrupt=5%:fixup", "corrupt=5%:neutral"] {
        each("tcp", faults, |result| {
            assert_eq!(
                (&result.server["same"], server(result, "checksum_errors")),
                (&false.into(), 0),
                "{faults}"
            );
            assert!(up(result, "corrupted") > 0);
        });
    }
}

#[test]
fn udp_over_a_clean_link() {
    each("udp", "loss=0%", |result| {
        assert_eq!((server(result, "arrived"), server(result, "wrong")), (CHUNKS as u64, 0));
        assert!(up(result, "entered") > 3 * CHUNKS as u64, "three fragments each");
    });
}

#[test]
fn udp_loses_a_chunk_with_any_of_its_fragments() {
    each("udp", "loss=5%", |result| {
        let gone = CHUNKS as u64 - server(result, "arrived");
        let lost = up(result, "lost");
        assert!(
            server(result, "wrong") == 0 && gone <= lost && 3 * gone >= lost && gone > 6,
            "{gone} {lost}"
        );
        // A fragment that is lost takes its two brothers with it, so chunks fare worse than packets.
        assert!(
            gone as f64 / CHUNKS as f64 > 1.5 * lost as f64 / up(result, "entered") as f64,
            "{gone} {lost}"
        );
    });
}

#[test]
fn flipped_bits_are_a_loss_to_udp() {
    each("udp", "corrupt=5%:bits", |result| {
        let gone = CHUNKS as u64 - server(result, "arrived");
        assert!(server(result, "wrong") == 0 && gone > 6, "{}", result.server);
        assert!(server(result, "checksum_errors") >= gone && gone <= up(result, "corrupted"));
    });
}

#[test]
fn repaired_checksums_deceive_udp() {
    for faults in ["corrupt=5%:fixup", "corrupt=5%:neutral"] {
        each("udp", faults, |result| {
            assert_eq!(
                (server(result, "arrived"), server(result, "checksum_errors")),
                (CHUNKS as u64, 0),
                "{faults}"
            );
            assert!(
                (7..=up(result, "corrupted")).contains(&server(result, "wrong")),
                "{faults}: {}",
                result.server
            );
        });
    }
}

#[test]
fn a_reset_ends_the_connection_on_both_sides() {
    for setting in settings() {
        let run = Run::new(setting).with(["--up", "reset=at:20"]);
        let result = run.play("reset-server", "reset-client");
        assert_eq!(result.server["error"], "ConnectionReset", "{setting:?}: {}", result.server);
        assert_eq!((up(&result, "reset"), up(&result, "unspoilt")), (1, 0));
    }
}

//! Packets at set times, and what is told of them.

use std::collections::BTreeSet;

use lab::Transport;
use lab::process::LIMIT;
use serde_json::Value;

use crate::scene::{Scene, objects};

over_each_transport!(
    the_report_is_what_a_script_computes,
    a_person_gets_a_report_and_nothing_live_in_a_pipe,
    too_much_is_refused_and_the_next_command_is_done,
    an_interrupt_ends_the_stream_and_leaves_its_report,
    a_server_that_dies_leaves_the_report_of_what_came,
);

fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("{key} in {object}"))
}

fn the_report_is_what_a_script_computes(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&["--json"]);
    let output =
        scene.run(&server, &["stream", "--count", "300", "--interval", "1ms", "--size", "100", "--json"]);
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    let events = objects(&output.stdout);
    let packets: Vec<&Value> = events.iter().filter(|object| object["event"] == "packet").collect();
    let report = events.iter().find(|object| object["event"] == "stream").unwrap();
    let numbers: BTreeSet<u64> = packets.iter().map(|packet| number(packet, "number")).collect();
    // On a busy machine a server may leave some out; loopback loses none.
    assert_eq!((number(report, "count"), number(report, "lost")), (300, 0));
    assert_eq!(number(report, "arrived"), numbers.len() as u64);
    assert_eq!(number(report, "sent"), numbers.len() as u64);
    assert_eq!(number(report, "arrived") + number(report, "duplicated"), packets.len() as u64);
    let (mut jitter, mut longest) = (0.0_f64, 0);
    for pair in packets.windows(2) {
        let arrived = number(pair[1], "arrived_ns") - number(pair[0], "arrived_ns");
        let sent = number(pair[1], "sent_ns") - number(pair[0], "sent_ns");
        jitter += ((arrived as f64 - sent as f64).abs() - jitter) / 16.0;
        longest = longest.max(arrived);
    }
    let told = report["jitter_ns"].as_f64().unwrap();
    assert!((told - jitter).abs() <= 1e-6 * jitter + 1e-3, "{told}, {jitter}");
    assert_eq!(number(report, "gap_max_ns"), longest);
    let bars = report["histogram"].as_array().unwrap();
    assert_eq!(bars.iter().map(|bar| number(bar, "count")).sum::<u64>(), packets.len() as u64 - 1);
    let served = objects(&server.stop().unwrap().stdout);
    let served = served.iter().find(|object| object["event"] == "stream").unwrap();
    assert_eq!(number(served, "sent"), number(report, "sent"));
}

fn a_person_gets_a_report_and_nothing_live_in_a_pipe(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&[]);
    let output = scene.run(&server, &["stream", "--count", "20", "--interval", "500us"]);
    assert_eq!((output.code(), output.stderr.as_str()), (Some(0), ""));
    assert!(output.stdout.starts_with("stream      20 packets of 256 bytes, 500 us apart\nsent        "));
    for word in
        ["arrived", "lost        0 (0 %)", "duplicated  0", "reordered   0", "jitter", "apart       min "]
    {
        assert!(output.stdout.contains(word), "{word}: {}", output.stdout);
    }
}

fn too_much_is_refused_and_the_next_command_is_done(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&[]);
    let lines = "stream --count 1000000000000\nstream --count 9 --interval 0\nstream --size 16\n\
                 stream --size 32769\nstream --interval 11s\nstream --count -5\nstream --count 1 --size x\n\
                 stream now\nstream --count 3\nhello\n";
    let output = scene.say(&server, lines);
    assert_eq!(output.code(), Some(5), "the first failure");
    for line in [
        "a stream of 1000000000000 packets: the most are 1000000",
        "a stream of more than 100 Mbit/s",
        "packets of 16 bytes: from 17 to ",
        "packets of 32769 bytes: from 17 to ",
        "packets 11 s apart: the most is 10 s",
    ] {
        assert!(output.stderr.contains(line), "{line}: {}", output.stderr);
    }
    assert_eq!(output.stderr.lines().count(), 8, "{}", output.stderr);
    assert!(output.stdout.contains("stream      3 packets") && output.stdout.contains("echo  hello"));
}

fn an_interrupt_ends_the_stream_and_leaves_its_report(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&[]);
    let client =
        scene.start(server.address(), &["stream", "--count", "100000", "--interval", "5ms", "--json"]);
    let third = |line: &str| line.contains("\"number\":3,").then_some(());
    client.wait_for_line(LIMIT, third).unwrap();
    client.interrupt().unwrap();
    let output = client.wait(LIMIT).unwrap();
    assert_eq!((output.code(), output.stderr.as_str()), (Some(130), ""));
    let events = objects(&output.stdout);
    let report = events.last().unwrap();
    assert!(report["event"] == "stream" && report["stopped"] == true, "{report}");
    assert!(number(report, "arrived") >= 3 && number(report, "sent") < 100_000);
}

fn a_server_that_dies_leaves_the_report_of_what_came(transport: Transport) {
    let scene = Scene::new(transport);
    let server = scene.serve(&[]);
    let args = ["stream", "--count", "100000", "--interval", "5ms", "--json", "--retry", "0"];
    let client = scene.start(server.address(), &args);
    client.wait_for_line(LIMIT, |line| line.contains("\"number\":3,").then_some(())).unwrap();
    server.kill().unwrap();
    // Over UDP nothing says that a server was killed: a request that is answered with nothing does.
    if transport == Transport::Udp {
        client.interrupt().unwrap();
    }
    let output = client.wait(LIMIT).unwrap();
    assert_eq!(output.code(), Some(3), "{}", output.stderr);
    let events = objects(&output.stdout);
    let report = events.iter().find(|object| object["event"] == "stream").unwrap();
    assert!(report["sent"].is_null() && number(report, "arrived") >= 3, "{report}");
    assert!(output.stderr.contains("broke off"), "{}", output.stderr);
}

//! Faults as they are written.

use netsim::{
    Corrupt, CorruptKind, FLAGS, FaultError, FaultText, Faults, Jitter, Loss, MAX_TIME, PRESETS, Preset,
    Queue, Reorder, Reset, Spread, TextError, Window,
};
use proptest::prelude::*;

use crate::{ms, us};

fn read(text: &str) -> Result<Faults, TextError> {
    text.parse::<FaultText>()?.faults()
}

#[track_caller]
fn assert_reads(text: &str, expected: Faults) {
    assert_eq!(read(text), Ok(expected), "{text}");
}

#[test]
fn each_flag() {
    let none = Faults::default;
    let window = |start, length| Window { start: ms(start), length: ms(length) };
    assert_reads("", none());
    for text in ["--loss 5%", "--loss=5%", "loss=5%", "loss 0.05", " --loss   5% "] {
        assert_reads(text, Faults { loss: Loss::Bernoulli(0.05), ..none() });
    }
    assert_reads("--loss nth:10", Faults { loss: Loss::Nth(10), ..none() });
    assert_reads("--loss at:3,7,9-11", Faults { loss: Loss::Packets([3, 7, 9, 10, 11].into()), ..none() });
    let loss = Loss::TwoState { worsen: 0.01, recover: 0.3, loss_good: 0.0, loss_bad: 0.8 };
    assert_reads("--loss states:1%,30%,0%,80%", Faults { loss, ..none() });
    let loss = Loss::GilbertElliott { loss: 0.05, burst: 8.0 };
    assert_reads("--loss-burst 8 --loss 5%", Faults { loss, ..none() });
    for (text, delay) in
        [("1.5s", ms(1500)), ("20ms", ms(20)), ("300us", us(300)), ("2min", ms(120_000)), ("0", ms(0))]
    {
        assert_reads(&format!("--delay {text}"), Faults { delay, ..none() });
    }
    assert_reads("--jitter 5ms", Faults { jitter: Some(Jitter::uniform(ms(5))), ..none() });
    let jitter = Jitter { spread: Spread::Normal(ms(5)), reorders: true };
    assert_reads("--jitter 5ms:normal:reorders", Faults { jitter: Some(jitter), ..none() });
    let spread = Spread::Pareto { scale: ms(5), shape: 3.0, limit: ms(500) };
    assert_reads(
        "--jitter 5ms:pareto",
        Faults { jitter: Some(Jitter { spread, reorders: false }), ..none() },
    );
    for (text, queue) in [
        ("100ms", Queue::Time(ms(100))),
        ("64k", Queue::Bytes(64_000)),
        ("64KiB", Queue::Bytes(65_536)),
        ("1.5MB", Queue::Bytes(1_500_000)),
        ("50p", Queue::Packets(50)),
    ] {
        let faults = Faults { rate: Some(1_500_000), queue: Some(queue), ..none() };
        assert_reads(&format!("--rate 1.5mbit --queue {text}"), faults);
    }
    assert_reads("--rate 800kbit/s --overhead 38", Faults { rate: Some(800_000), overhead: 38, ..none() });
    assert_reads("--dup 1%", Faults { duplicate: 0.01, ..none() });
    let reorder = Some(Reorder { probability: 0.02, least: ms(3), most: ms(13) });
    assert_reads("--reorder 2% --delay 20ms", Faults { reorder, delay: ms(20), ..none() });
    let reorder = Some(Reorder { probability: 0.02, least: ms(5), most: ms(20) });
    assert_reads("--reorder 2%:5ms-20ms", Faults { reorder, ..none() });
    for (text, kind) in [
        ("", CorruptKind::Bits),
        (":bits", CorruptKind::Bits),
        (":fixup", CorruptKind::Fixup),
        (":neutral", CorruptKind::Neutral),
    ] {
        let corrupt = Some(Corrupt { probability: 0.01, kind });
        assert_reads(&format!("--corrupt 1%{text}"), Faults { corrupt, ..none() });
    }
    assert_reads("--reset 0.1%", Faults { reset: Some(Reset::Chance(0.001)), ..none() });
    assert_reads("--reset at:17", Faults { reset: Some(Reset::Packets([17].into())), ..none() });
    assert_reads(
        "--reset 2s+100ms",
        Faults { reset: Some(Reset::Windows(vec![window(2000, 100)])), ..none() },
    );
    let blackouts = vec![window(2000, 3000), window(10_000, 1000)];
    assert_reads("--blackout 2s+3s,10s+1s", Faults { blackouts: blackouts.clone(), ..none() });
    assert_reads("--during 2s+3s,10s+1s", Faults { during: blackouts, ..none() });
}

#[test]
fn what_is_refused_says_what_would_do() {
    for (text, expected) in [
        ("--los 5%", "--los is no fault; there are --loss,"),
        ("--loss", "--loss needs a value"),
        ("--loss 120%", "loss: 1.2 is no probability; 0 to 1"),
        ("--loss -5%", "loss: -0.05 is no probability"),
        ("--loss 5", "--loss \"5\": it takes a share like 5%"),
        ("--loss five", "--loss \"five\": it takes a share"),
        ("--loss nth:0", "loss.nth: 0; at least 1"),
        ("--loss at:9-3", "--loss \"at:9-3\": packet numbers"),
        ("--loss at:0-99999999999", "packet numbers"),
        ("--loss-burst 8", "--loss-burst needs a --loss"),
        ("--loss nth:5 --loss-burst 8", "--loss-burst needs a --loss"),
        ("--loss 5% --loss-burst 0.5", "loss.burst: 0.5"),
        ("--delay -20ms", "--delay \"-20ms\": a time is written"),
        ("--delay 20", "a time is written like 20ms"),
        ("--delay 99999999999999999999s", "delay: "),
        ("--rate 0mbit", "rate: 0 bit/s"),
        ("--rate 20M", "a rate is written like 100mbit"),
        ("--queue 64k", "queue: without a rate"),
        ("--rate 1mbit --queue 1.5p", "a queue is written like"),
        ("--corrupt 1%:worse", "it takes a share, and how"),
        ("--reorder 1%:20ms-5ms", "reorder: held back"),
        ("--blackout 2s", "a window is written like 2s+3s"),
        ("--reset 2s", "it takes a share like 0.1%"),
        ("--jitter 5ms:wild", "it takes a time, then"),
    ] {
        let said = read(text).unwrap_err().to_string();
        assert!(said.contains(expected), "{text}: {said}");
    }
    assert_eq!(read("--queue 1p"), Err(TextError::Impossible(FaultError::QueueWithoutRate)));
    assert!(read("--delay 3600s").is_ok_and(|faults| faults.delay == MAX_TIME));
}

#[test]
fn a_direction_replaces_flag_by_flag() {
    let both = "--loss 5% --delay 20ms".parse::<FaultText>().unwrap();
    let up = both.with(&"loss=0% --rate 1mbit".parse().unwrap());
    assert_eq!(up.to_string(), "--loss 0% --delay 20ms --rate 1mbit");
    assert_eq!(FaultText::default().to_string(), "no faults");
    assert_eq!(both.value("delay"), Some("20ms"));
}

#[test]
fn presets_are_possible_and_say_where_they_are_from() {
    for preset in PRESETS {
        let [up, down] = preset.texts().unwrap();
        assert!(up.faults().is_ok() && down.faults().is_ok() && !up.is_empty(), "{}", preset.name);
        assert!(!preset.sources.is_empty() && Preset::named(preset.name) == Some(&preset));
    }
    assert!(Preset::named("tin can").is_none());
}

proptest! {
    /// What is written can be read again, and nothing at all makes reading panic.
    #[test]
    fn any_text(words in proptest::collection::vec((0..FLAGS.len(), "[0-9]{1,3}(%|ms|s|mbit|p|k|)(:[a-z]{1,7})?(\\+[0-9]s)?"), 0..6)) {
        let mut text = FaultText::default();
        for (flag, value) in &words {
            text.set(FLAGS[*flag].name, value.clone()).unwrap();
        }
        if !text.is_empty() {
            prop_assert_eq!(text.to_string().parse::<FaultText>().unwrap(), text.clone());
        }
        if let Ok(faults) = text.faults() {
            prop_assert!(faults.check().is_ok());
        }
    }

    #[test]
    fn any_garbage(text in "\\PC{0,40}") {
        let _ = read(&text);
    }
}

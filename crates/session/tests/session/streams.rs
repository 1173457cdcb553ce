//! Packets at set times, over TCP and over UDP, and from servers that are strange.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::pair::{Diary, Pair};
use crate::requests::hold;
use framing::{Feature, Hello, Message, PACKET_HEAD_LEN, Packet, Refusal, Stream};
use link::{Link, LinkError};
use session::{
    Caller, Conversation, Event, Observer, PacketKind, SessionError, StreamPacket, StreamPlan, StreamReport,
};

const PLAN: StreamPlan = StreamPlan { count: 100, interval: 1_000_000, size: 200 };

/// Writes the packets down.
#[derive(Default)]
struct Log {
    packets: Mutex<Vec<StreamPacket>>,
    /// Set after so many packets.
    stop_after: usize,
    stop: AtomicBool,
}

impl Observer for Log {
    fn event(&self, event: &Event<'_>) {
        if let Event::Packet(packet) = event {
            let mut packets = self.packets.lock().unwrap();
            packets.push(**packet);
            if packets.len() == self.stop_after {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Log {
    fn stream(
        &self,
        conversation: &mut Conversation,
        plan: StreamPlan,
    ) -> Result<StreamReport, SessionError> {
        conversation.stream(plan, &self.stop, Caller { software: "test-client", observer: self })
    }
}

fn whole_stream(pair: &Pair) {
    let (diary, served) = hold(
        pair,
        |_| {},
        |client| {
            let log = Log::default();
            let began = Instant::now();
            let report = log.stream(&mut client.conversation, PLAN).unwrap();
            assert!(began.elapsed() >= Duration::from_millis(99), "{:?}", began.elapsed());
            let packets = log.packets.into_inner().unwrap();
            // On a busy machine the sender may leave some out; none are lost on the way.
            assert_eq!((report.sent, report.lost, report.missed), (Some(report.arrived), 0, 0));
            assert!(report.arrived > 50 && !report.stopped, "{report:?}");
            assert_eq!(packets.len() as u64, report.arrived);
            assert!(packets.iter().all(|packet| packet.sent >= packet.number * 1_000_000));
            assert!(packets.windows(2).all(|pair| pair[0].arrived <= pair[1].arrived));
            assert_eq!(
                report.gaps.unwrap().max,
                packets.windows(2).map(|pair| pair[1].arrived - pair[0].arrived).max().unwrap()
            );
            // The same again, over the same connection, and something else after it.
            let again = Log::default();
            let report = again.stream(&mut client.conversation, StreamPlan { count: 10, ..PLAN }).unwrap();
            assert_eq!((report.plan.count, report.duplicated), (10, 0));
            assert!(again.packets.into_inner().unwrap().iter().all(|packet| packet.number < 10));
            let none =
                Log::default().stream(&mut client.conversation, StreamPlan { count: 0, ..PLAN }).unwrap();
            assert_eq!((none.sent, none.arrived, none.lost, none.gaps), (Some(0), 0, 0, None));
            assert_eq!(client.names("").unwrap().len(), 0);
        },
    );
    assert!(served.is_ok(), "{served:?}");
    assert!(diary.has("Stream { plan: StreamPlan { count: 100, interval: 1000000, size: 200 }, sent: "));
}

#[test]
fn packets_come_at_their_times() {
    whole_stream(&Pair::new());
    whole_stream(&Pair::udp());
}

fn stopped_stream(pair: &Pair) {
    let (_, served) = hold(
        pair,
        |_| {},
        |client| {
            let long = StreamPlan { count: 1_000_000, interval: 2_000_000, size: 17 };
            let log = Log { stop_after: 20, ..Log::default() };
            let report = log.stream(&mut client.conversation, long).unwrap();
            assert!(report.stopped && report.arrived >= 20 && report.arrived < 10_000, "{report:?}");
            // One whose packets are far apart.
            let slow = StreamPlan { count: 100, interval: 10_000_000_000, size: 17 };
            let log = Log { stop_after: 1, ..Log::default() };
            let report = log.stream(&mut client.conversation, slow).unwrap();
            assert!(report.stopped, "{report:?}");
            assert_eq!((report.sent, report.arrived), (Some(1), 1));
            let log = Log::default();
            assert_eq!(log.stream(&mut client.conversation, PLAN).unwrap().duplicated, 0);
        },
    );
    assert!(served.is_ok(), "{served:?}");
}

#[test]
fn a_client_that_has_seen_enough_stops_it() {
    stopped_stream(&Pair::new());
    stopped_stream(&Pair::udp());
}

#[test]
fn too_much_is_declined_and_the_conversation_goes_on() {
    for (pair, most) in [(Pair::new(), 32_768), (Pair::udp(), 1186)] {
        let (_, served) = hold(
            &pair,
            |_| {},
            |client| {
                let mut refused =
                    |plan: StreamPlan| match Log::default().stream(&mut client.conversation, plan) {
                        Err(SessionError::Declined { refusal: Refusal::Policy, text }) => text,
                        other => panic!("{other:?}"),
                    };
                assert!(
                    refused(StreamPlan { count: 1_000_000_000_000, ..PLAN }).contains("the most are 1000000")
                );
                assert!(refused(StreamPlan { count: u64::MAX, ..PLAN }).contains("the most are 1000000"));
                assert!(
                    refused(StreamPlan { size: most + 1, ..PLAN }).contains(&format!("to {most} bytes fit"))
                );
                assert!(refused(StreamPlan { size: 0, ..PLAN }).contains("from 17 to"));
                assert!(refused(StreamPlan { interval: 0, ..PLAN }).contains("100 Mbit/s"));
                assert!(refused(StreamPlan { interval: u64::MAX, ..PLAN }).contains("the most is 10 s"));
                let largest = StreamPlan { count: 3, interval: 50_000_000, size: most };
                assert_eq!(Log::default().stream(&mut client.conversation, largest).unwrap().arrived, 3);
            },
        );
        assert!(served.is_ok(), "{served:?}");
    }
}

#[test]
fn a_short_interval_is_kept_as_well_as_the_system_can() {
    for pair in [Pair::new(), Pair::udp()] {
        let _ = hold(
            &pair,
            |_| {},
            |client| {
                let plan = StreamPlan { count: 5_000, interval: 100_000, size: 100 };
                let began = Instant::now();
                let report = Log::default().stream(&mut client.conversation, plan).unwrap();
                assert!(began.elapsed() >= Duration::from_micros(499_900));
                assert_eq!((report.sent, report.lost), (Some(report.arrived), report.missed));
                assert!(report.arrived > 1000, "{report:?}");
            },
        );
    }
}

/// What a client makes of a server that answers its request like this.
fn answered(
    pair: &Pair,
    server: impl FnOnce(&mut dyn Link, Stream) -> Result<(), LinkError> + Send,
) -> (Result<StreamReport, SessionError>, Vec<StreamPacket>) {
    let log = Log::default();
    let (report, _) = pair.talk(
        |link| {
            let caller = Caller { software: "test-client", observer: &log };
            let mut conversation = Conversation::begin(link, caller).unwrap();
            let report = log.stream(&mut conversation, PLAN);
            conversation.finish();
            report
        },
        |link| {
            let features = Feature::Stream.bit();
            link.send(&Message::Hello(Hello { features, software: "strange" })).unwrap();
            let asked = loop {
                if let Message::Stream(asked) = link.recv(Duration::from_secs(20)).unwrap() {
                    break asked;
                }
            };
            server(link, asked)
        },
    );
    (report, log.packets.into_inner().unwrap())
}

fn packet(number: u64) -> Message<'static> {
    const FILLER: [u8; 200 - PACKET_HEAD_LEN] = [0; 200 - PACKET_HEAD_LEN];
    Message::Packet(Packet { number, sent: number.saturating_mul(1_000_000).min(1 << 60), filler: &FILLER })
}

fn misbehaves(what: &str, server: impl Fn(&mut dyn Link, Stream) -> Result<(), LinkError> + Send + Sync) {
    for pair in [Pair::new(), Pair::udp()] {
        let (report, _) = answered(&pair, |link, asked| {
            server(link, asked)?;
            let _ = link.recv(Duration::from_secs(20));
            Ok(())
        });
        let error = report.unwrap_err();
        assert!(error.to_string().contains(what) && !error.is_passing(), "{error}");
    }
}

#[test]
fn what_a_server_must_not_say_ends_it() {
    misbehaves("another stream", |link, asked| {
        link.send(&Message::Streaming(Stream { count: asked.count + 1, ..asked }))
    });
    misbehaves("does not belong to the stream", |link, asked| {
        link.send(&Message::Streaming(asked))?;
        link.send_datagram(&packet(100)).map(|_| ())
    });
    misbehaves("does not belong to the stream", |link, _| link.send_datagram(&packet(u64::MAX)).map(|_| ()));
    misbehaves("another size", |link, asked| {
        link.send(&Message::Streaming(asked))?;
        link.send_datagram(&Message::Packet(Packet { number: 0, sent: 0, filler: &[] })).map(|_| ())
    });
    misbehaves("impossible number", |link, asked| {
        link.send(&Message::Streaming(asked))?;
        link.send(&Message::Streamed(101))
    });
    misbehaves("does not belong here", |link, asked| {
        link.send(&Message::Streaming(asked))?;
        link.send(&Message::Streaming(asked))
    });
    misbehaves("does not belong here", |link, _| link.send(&Message::Streamed(0)));
    misbehaves("again and again", |link, asked| {
        link.send(&Message::Streaming(asked))?;
        // No copy of the network: each says so anew.
        loop {
            link.send(&packet(0))?;
        }
    });
}

#[test]
fn losses_copies_and_disorder_are_counted() {
    for pair in [Pair::new(), Pair::udp()] {
        let (report, packets) = answered(&pair, |link, asked| {
            link.send(&Message::Streaming(asked))?;
            for number in [0, 1, 2, 5, 4, 4, 7, 9, 0] {
                link.send_datagram(&packet(number))?;
                std::thread::sleep(Duration::from_millis(2));
            }
            link.send(&Message::Streamed(10))?;
            let _ = link.recv(Duration::from_secs(20));
            Ok(())
        });
        let report = report.unwrap();
        assert_eq!((report.sent, report.arrived, report.lost), (Some(10), 7, 3));
        assert_eq!((report.duplicated, report.reordered), (2, 1));
        let kinds: Vec<PacketKind> = packets.iter().map(|packet| packet.kind).collect();
        let (next, late, copy) = (PacketKind::InOrder, PacketKind::Late, PacketKind::Copy);
        assert_eq!(kinds, [next, next, next, next, late, copy, next, next, copy]);
        assert_eq!(report.gaps.unwrap().histogram.iter().map(|bar| bar.count).sum::<u64>(), 8);
    }
}

#[test]
fn a_server_that_vanishes_leaves_what_came() {
    for pair in [Pair::new(), Pair::udp()] {
        let (report, packets) = answered(&pair, |link, asked| {
            link.send(&Message::Streaming(asked))?;
            for number in [0, 1, 3] {
                link.send_datagram(&packet(number))?;
                std::thread::sleep(Duration::from_millis(20));
            }
            link.finish();
            Ok(())
        });
        let Err(SessionError::StreamCut { error, report }) = report else { panic!("{report:?}") };
        assert!(error.is_passing(), "{error}");
        assert_eq!((report.sent, report.arrived, report.lost), (None, 3, 1));
        assert_eq!(packets.len(), 3);
    }
}

#[test]
fn a_server_that_has_no_streams_is_not_asked() {
    let (report, _) = Pair::new().talk(
        |link| {
            let log = Log::default();
            let caller = Caller { software: "test-client", observer: &log };
            log.stream(&mut Conversation::begin(link, caller).unwrap(), PLAN)
        },
        |link| {
            link.send(&Message::Hello(Hello { features: 3, software: "old" })).unwrap();
            let diary = Diary::default();
            assert!(matches!(link.recv(Duration::from_secs(20)), Ok(Message::Hello(_))), "{diary:?}");
            let _ = link.recv(Duration::from_secs(20));
        },
    );
    assert!(matches!(report, Err(SessionError::NotOffered(Feature::Stream))), "{report:?}");
}

#[test]
fn a_client_that_talks_in_between_is_told_off() {
    let pair = Pair::udp();
    let service = pair.service("to");
    let (heard, served) = pair.talk(
        |mut link| {
            link.send(&Message::Hello(Hello { features: 0, software: "strange" })).unwrap();
            link.send(&Message::Stream(Stream { count: 1000, interval: 10_000_000, size: 100 })).unwrap();
            link.send(&Message::Echo(b"hello")).unwrap();
            loop {
                match link.recv_any(Duration::from_secs(20)) {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            }
        },
        |link| session::serve(link, &service, &Diary::default()),
    );
    assert!(matches!(heard, LinkError::Refused { refusal: Refusal::Protocol, .. }), "{heard}");
    assert!(served.unwrap_err().to_string().contains("Echo does not belong here"));
}

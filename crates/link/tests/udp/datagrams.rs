//! Datagrams: once or not at all, with the time at which they came.

use std::time::{Duration, Instant};

use framing::{Message, PACKET_HEAD_LEN, Packet};
use link::{Link, LinkError};

use crate::relay::Harm;
use crate::{WAIT, mtu, relayed, whole, whole_with};

fn packet(number: u64, filler: &[u8]) -> Message<'_> {
    Message::Packet(Packet { number, sent: number * 1000, filler })
}

/// Sends so many packets, a little apart: the numbers of those that the path took. On a busy machine it may not take all.
fn throw(link: &mut dyn Link, count: u64, filler: &[u8]) -> Vec<u64> {
    let send = |number: &u64| {
        std::thread::sleep(Duration::from_micros(300));
        link.send_datagram(&packet(*number, filler)).unwrap()
    };
    (0..count).filter(send).collect()
}

/// The numbers of the packets that come until a message does, and when they came.
fn numbers(link: &mut dyn Link) -> Vec<(u64, Instant)> {
    let mut numbers = Vec::new();
    loop {
        let arrival = link.recv_any(WAIT).unwrap().expect("something");
        match arrival.message {
            Message::Packet(packet) => numbers.push((packet.number, arrival.at)),
            Message::Stop => return numbers,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn datagrams_and_messages_come_together_with_their_times() {
    let (mut near, mut far, _endpoint) = whole();
    let filler = [7; 200];
    near.recv_any(Duration::ZERO).unwrap();
    let began = Instant::now();
    let taken = throw(&mut *far, 200, &filler);
    far.send(&Message::Stop).unwrap();
    let seen = numbers(&mut near);
    assert_eq!(seen.iter().map(|(number, _)| *number).collect::<Vec<u64>>(), taken);
    // Though nothing was taken before all had come.
    assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    assert!(seen[0].1 >= began && seen.last().unwrap().1 - seen[0].1 >= Duration::from_millis(10));
    assert!(matches!(near.recv_any(Duration::from_millis(20)), Ok(None)));
    assert_eq!(near.datagrams_missed(), 0);
}

#[test]
fn what_is_lost_stays_lost_and_the_messages_come() {
    let (mut near, mut far, _endpoint, _relay) = relayed(Harm { lose: Some(4), ..Harm::default() });
    near.recv_any(Duration::ZERO).unwrap();
    let taken = throw(&mut *far, 1000, &[1; 40]);
    far.send(&Message::Stop).unwrap();
    let seen = numbers(&mut near);
    let share = seen.len() as f64 / taken.len() as f64;
    assert!((0.6..0.9).contains(&share), "{} of {}", seen.len(), taken.len());
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[test]
fn nobody_who_wants_none_gets_any() {
    let (mut near, mut far, _endpoint) = whole();
    near.recv_any(Duration::ZERO).unwrap();
    // Whoever waits for a message has done with datagrams.
    assert!(matches!(near.recv(Duration::from_millis(10)), Err(LinkError::Silent(_))));
    for number in 0..100 {
        far.send_datagram(&packet(number, &[])).unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
    far.send(&Message::Working).unwrap();
    assert_eq!(near.recv(WAIT).unwrap(), Message::Working);
    far.send_datagram(&packet(7, &[])).unwrap();
    far.send(&Message::Stop).unwrap();
    assert_eq!(near.recv(WAIT).unwrap(), Message::Stop);
    assert!(near.recv_any(Duration::from_millis(20)).unwrap().is_none());
    assert_eq!(near.datagrams_missed(), 0);
}

#[test]
fn the_longest_goes_and_a_longer_one_is_refused_by_name() {
    let (mut near, mut far, _endpoint) = whole();
    near.recv_any(Duration::ZERO).unwrap();
    assert_eq!(far.max_datagram(), 1186);
    let longest = vec![3; 1186 - PACKET_HEAD_LEN];
    assert!(far.send_datagram(&packet(1, &longest)).unwrap());
    let arrival = near.recv_any(WAIT).unwrap().unwrap();
    assert_eq!(arrival.message, packet(1, &longest));
    let error = far.send_datagram(&packet(1, &vec![3; 65_000])).unwrap_err();
    assert!(matches!(error, LinkError::DatagramTooLong { len, .. } if len == 65_000 + PACKET_HEAD_LEN));
    assert!(!error.is_passing() && !error.is_peers_fault(), "{error}");
    let (near, far, _endpoint) = whole_with(&mtu(1000));
    let tag = if crate::HAS_KEY { 16 } else { 4 };
    assert_eq!([near.max_datagram(), far.max_datagram()], [1000 - 28 - 10 - tag; 2]);
}

#[test]
fn a_peer_that_left_is_heard_of() {
    let (mut near, mut far, _endpoint) = whole();
    near.recv_any(Duration::ZERO).unwrap();
    far.send_datagram(&packet(1, &[])).unwrap();
    far.finish();
    drop(far);
    let mut came = 0;
    let error = loop {
        match near.recv_any(WAIT) {
            Ok(Some(_)) => came += 1,
            Ok(None) => panic!("nothing was heard"),
            Err(error) => break error,
        }
    };
    assert!(came == 1 && matches!(error, LinkError::Closed), "{error}");
    assert!(matches!(near.send_datagram(&packet(1, &[])), Err(LinkError::Closed)));
}

#[test]
fn a_path_that_takes_no_more_says_so_and_nothing_blocks() {
    let (mut near, mut far, endpoint) = whole();
    near.recv_any(Duration::ZERO).unwrap();
    let taken = (0..20_000).filter(|number| far.send_datagram(&packet(*number, &[1; 1000])).unwrap()).count();
    assert!(taken < 20_000, "more than any path takes at once");
    far.send(&Message::Stop).unwrap();
    assert!(numbers(&mut near).len() <= taken);
    drop(endpoint);
}

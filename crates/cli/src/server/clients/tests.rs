use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use super::*;

const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn far(host: u8) -> IpAddr {
    [192, 0, 2, host].into()
}

fn clients(all: usize) -> Arc<Clients> {
    limited(all, all)
}

fn limited(all: usize, each: usize) -> Arc<Clients> {
    Clients::new(Seats { all, each, each_near: all })
}

fn closer() -> Closer {
    Closer::new(|| ())
}

/// A closer that counts how often it was used: to close, and to deafen.
fn counting() -> (Closer, Arc<[AtomicU32; 2]>) {
    let counts: Arc<[AtomicU32; 2]> = Arc::default();
    let (closes, deafens) = (counts.clone(), counts.clone());
    let count = |counts: Arc<[AtomicU32; 2]>, at: usize| {
        move || {
            counts[at].fetch_add(1, Ordering::Relaxed);
        }
    };
    let closer = Closer::new(count(closes, 0)).with_deafen(count(deafens, 1));
    (closer, counts)
}

fn read(counts: &[AtomicU32; 2]) -> [u32; 2] {
    [0, 1].map(|at: usize| counts[at].load(Ordering::Relaxed))
}

fn busy(clients: &Arc<Clients>, from: IpAddr) -> Seat {
    let seat = clients.enter(closer(), from).unwrap();
    assert!(seat.turn(Turn::Waits) && seat.turn(Turn::Asked));
    seat
}

#[test]
fn there_is_room_for_so_many() {
    let clients = clients(2);
    let first = busy(&clients, NEAR);
    let _second = busy(&clients, NEAR);
    assert_eq!(clients.enter(closer(), NEAR).err(), Some(Full::All(2)));
    assert_eq!(clients.enter(closer(), far(1)).err(), Some(Full::All(2)));
    drop(first);
    assert!(clients.enter(closer(), NEAR).is_ok());
}

#[test]
fn of_each_address_there_is_room_for_so_many() {
    let clients = limited(4, 2);
    let first = busy(&clients, far(1));
    let _second = busy(&clients, far(1));
    assert_eq!(clients.enter(closer(), far(1)).err(), Some(Full::Address(2)));
    let same = ["::ffff:192.0.2.1".parse().unwrap(), far(1)];
    assert!(same.iter().all(|from| clients.enter(closer(), *from).is_err()), "it is written in two ways");
    let _third = busy(&clients, far(2));
    drop(first);
    let _fourth = busy(&clients, far(1));
    let clients = limited(4, 1);
    let _seat = busy(&clients, "2001:db8::1".parse().unwrap());
    assert!(clients.enter(closer(), "2001:db8::2".parse().unwrap()).is_err(), "a network is one address");
    assert!(clients.enter(closer(), "2001:db8:0:1::2".parse().unwrap()).is_ok());
    let _near: Vec<Seat> = (0..2).map(|_| busy(&clients, NEAR)).collect();
}

#[test]
fn who_never_asked_makes_way_at_once_and_who_did_after_a_while() {
    let now = Instant::now();
    let clients = clients(2);
    let (closer_of_silent, silent) = counting();
    let silent_seat = clients.enter_at(closer_of_silent, NEAR, now).unwrap();
    assert!(silent_seat.turn_at(Turn::Waits, now));
    let (closer_of_idle, idle) = counting();
    let idle_seat = clients.enter_at(closer_of_idle, NEAR, now).unwrap();
    for turn in [Turn::Waits, Turn::Asked, Turn::Waits] {
        assert!(idle_seat.turn_at(turn, now));
    }
    let _third = busy(&clients, NEAR);
    assert_eq!((read(&silent), read(&idle)), ([0, 1], [0, 0]));
    assert!(!silent_seat.turn(Turn::Asked), "its place is another's");
    assert_eq!(clients.enter_at(closer(), NEAR, now).err(), Some(Full::All(2)));
    let later = now + GRACE;
    let fourth = clients.enter_at(closer(), NEAR, later).unwrap();
    assert_eq!(read(&idle), [0, 1]);
    // Who makes way and does not leave takes nobody's place.
    drop(fourth);
    assert!(clients.enter_at(closer(), NEAR, later).is_ok());
}

#[test]
fn a_crowd_makes_way_before_others_and_for_them_alone() {
    let clients = clients(4);
    let (closer_of_lone, lone) = counting();
    let lone_seat = clients.enter(closer_of_lone, far(9)).unwrap();
    assert!(lone_seat.turn(Turn::Waits));
    let crowd: Vec<_> = (0..3)
        .map(|_| {
            let (closer, counts) = counting();
            let seat = clients.enter(closer, far(1)).unwrap();
            assert!(seat.turn(Turn::Waits));
            (seat, counts)
        })
        .collect();
    let _newcomer = busy(&clients, far(2));
    assert_eq!(read(&lone), [0, 0], "it was there first, but is alone");
    assert_eq!(read(&crowd[0].1), [0, 1], "the oldest of the crowd");
    for (seat, _) in &crowd[1..] {
        assert!(seat.turn(Turn::Asked));
    }
    assert_eq!(clients.enter(closer(), far(1)).err(), Some(Full::All(4)), "the lone one stays");
    assert_eq!(read(&lone), [0, 0]);
    let _another = busy(&clients, far(3));
    assert_eq!(read(&lone), [0, 1]);
}

#[test]
fn who_is_sent_away_makes_way_without_another_word() {
    let clients = clients(1);
    let (closer, counts) = counting();
    let seat = clients.enter(closer, NEAR).unwrap();
    assert!(seat.turn(Turn::Leaves));
    let _next = busy(&clients, NEAR);
    assert_eq!(read(&counts), [1, 0]);
}

#[test]
fn those_who_make_way_are_not_told_when_they_are_many() {
    let clients = clients(2 * MOST_TOLD);
    let seats: Vec<_> = (0..2 * MOST_TOLD)
        .map(|_| {
            let (closer, counts) = counting();
            let seat = clients.enter(closer, NEAR).unwrap();
            assert!(seat.turn(Turn::Waits));
            (seat, counts)
        })
        .collect();
    let _new: Vec<Seat> = (0..2 * MOST_TOLD).map(|_| busy(&clients, NEAR)).collect();
    let told: u32 = seats.iter().map(|(_, counts)| read(counts)[1]).sum();
    let closed: u32 = seats.iter().map(|(_, counts)| read(counts)[0]).sum();
    assert_eq!((told as usize, closed as usize), (MOST_TOLD, MOST_TOLD));
}

#[test]
fn all_are_sent_away_and_waited_for() {
    let clients = clients(1);
    let (close, closed) = mpsc::channel();
    let close = Mutex::new(close);
    let closer = Closer::new(move || close.lock().unwrap().send(()).unwrap());
    let seat = clients.enter(closer, NEAR).unwrap();
    let thread = thread::spawn(move || {
        closed.recv().unwrap();
        drop(seat);
    });
    assert!(clients.stop(Duration::from_secs(60)));
    assert!(clients.is_stopping());
    assert_eq!(clients.enter(Closer::new(|| ()), NEAR).err(), Some(Full::Stopping));
    thread.join().unwrap();
}

#[test]
fn who_does_not_leave_is_not_waited_for_for_ever() {
    let clients = clients(1);
    let _seat = clients.enter(closer(), NEAR).unwrap();
    assert!(!clients.stop(Duration::from_millis(10)));
}

#[test]
fn a_panic_gives_the_seat_back_and_is_told() {
    let clients = clients(1);
    let told = Arc::new(AtomicU32::new(0));
    let mut seat = clients.enter(closer(), NEAR).unwrap();
    let tell = told.clone();
    seat.on_panic(move || {
        tell.fetch_add(1, Ordering::Relaxed);
    });
    let thread = thread::spawn(move || {
        let _seat = seat;
        std::panic::resume_unwind(Box::new("a test"));
    });
    assert!(thread.join().is_err());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(clients.stop(Duration::ZERO));
}

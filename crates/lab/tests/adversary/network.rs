//! What somebody on the network can do.

use lab::Transport;
use lab::attack::{ALL, Effort};

use crate::table::judge;

fn suffer(name: &str, transport: Transport) {
    let attack = ALL.iter().find(|attack| attack.name == name).unwrap();
    judge(&attack.run(transport, Effort::Test).unwrap());
}

/// Makes a test of each attack over each transport, and one that none was forgotten.
macro_rules! attacks {
    ($($name:ident: $attack:literal, $transport:ident;)+) => {
        $(#[test]
        fn $name() {
            suffer($attack, Transport::$transport);
        })+

        #[test]
        fn every_attack_is_tried() {
            let tried = [$(($attack, Transport::$transport)),+];
            for attack in ALL {
                for transport in attack.transports {
                    assert!(tried.contains(&(attack.name, *transport)), "{} over {transport}", attack.name);
                }
            }
        }
    };
}

attacks! {
    tcp_another_key: "another key", Tcp;
    udp_another_key: "another key", Udp;
    tcp_flipped: "first message, each bit flipped", Tcp;
    udp_flipped: "first message, each bit flipped", Udp;
    tcp_cut: "first message, cut at each length", Tcp;
    udp_cut: "first message, cut at each length", Udp;
    tcp_garbage_to_key: "garbage, server with a key", Tcp;
    udp_garbage_to_key: "garbage, server with a key", Udp;
    tcp_garbage_to_open: "garbage, server without a key", Tcp;
    udp_garbage_to_open: "garbage, server without a key", Udp;
    tcp_capture: "all traffic read", Tcp;
    udp_capture: "all traffic read", Udp;
    tcp_downgrade: "made to speak in the clear", Tcp;
    udp_downgrade: "made to speak in the clear", Udp;
    tcp_replay: "a whole conversation again", Tcp;
    udp_replay: "a whole conversation again", Udp;
    tcp_replay_pieces: "single pieces of a conversation again", Tcp;
    udp_replay_pieces: "single pieces of a conversation again", Udp;
    tcp_flips: "bits flipped in a transfer", Tcp;
    udp_flips: "bits flipped in a transfer", Udp;
    tcp_repeats: "records and packets sent again", Tcp;
    udp_repeats: "records and packets sent again", Udp;
    tcp_reordering: "records and packets in another order", Tcp;
    udp_reordering: "records and packets in another order", Udp;
    tcp_reflection: "sent back to where it came from", Tcp;
    udp_reflection: "sent back to where it came from", Udp;
    tcp_splicing: "pieces of another session, same key", Tcp;
    udp_splicing: "pieces of another session, same key", Udp;
    udp_echoes: "first packet before it, another echo", Udp;
    udp_injection: "forged, from the client's address", Udp;
    udp_addresses: "in the names of other addresses", Udp;
    udp_amplification: "amplification, any first packet", Udp;
    tcp_flood_of_strangers: "flood of first messages, another key", Tcp;
    udp_flood_of_strangers: "flood of first messages, another key", Udp;
    tcp_flood_of_recorded: "flood of first messages, recorded", Tcp;
    udp_flood_of_recorded: "flood of first messages, recorded", Udp;
    tcp_flood_without_key: "flood of first messages, no key", Tcp;
    udp_flood_without_key: "flood of first messages, no key", Udp;
    tcp_silent_crowd: "connected, and not a byte", Tcp;
    tcp_silent_crowd_without_key: "no key, connected, and not a byte", Tcp;
    udp_silent_crowd_without_key: "no key, connected, and not a byte", Udp;
    tcp_slow_crowd: "first message, a byte a second", Tcp;
    tcp_half_open: "answered, and nothing more", Tcp;
    udp_half_open: "answered, and nothing more", Udp;
    tcp_thousands: "thousands of connections that say nothing", Tcp;
    udp_thousands: "thousands of connections that say nothing", Udp;
}

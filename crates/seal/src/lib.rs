//! Keys, the handshake that proves them, and sealed bytes.
//!
//! A [`Key`] is 32 bytes that both sides know. [`Initiator`] and [`answer`] are the two sides of the Noise handshake
//! `Noise_NNpsk0_25519_AESGCM_BLAKE2s`: one message each way, after which both sides know that the other one has the key,
//! and share secrets of this one connection that the key alone does not tell (forward secrecy). [`Sealer`] and [`Opener`]
//! are one direction each of a byte stream in sealed records; [`datagram`] is the same for UDP. This crate never sees a socket, a file or a clock; the only
//! thing that it asks of the system is randomness.
//!
//! ```text
//! client  Initiator::begin -> hello ............. 52 bytes ....> answer      server
//! client  Initiator::finish <- .................. 52 bytes ..... its answer  server
//!         Channel { Sealer, Opener } <------- records ------->  Channel
//! ```
//!
//! # Which cipher
//!
//! AES-256-GCM, from `aws-lc-rs`, which finds out at run time what the processor can do. Measured on one core of an AMD
//! EPYC of 2024 (VAES, AVX-512), in GB/s, out of one buffer into another, with what is sealed at a time:
//!
//! | cipher            | crate              | 1400 B | 4 KiB | 16 KiB | 64 KiB |
//! |-------------------|--------------------|--------|-------|--------|--------|
//! | AES-256-GCM       | `aws-lc-rs` 1.19   | 7.9    | 14.1  | 20.0   | 21.5   |
//! | AES-256-GCM       | `graviola` 0.4     | 5.4    | 8.9   | 11.0   | 11.6   |
//! | AES-256-GCM       | `ring` 0.17        | 5.8    | 9.0   | 10.0   | 10.5   |
//! | AES-256-GCM       | `aes-gcm` 0.11     | 2.2    | 3.2   | 3.4    | 3.6    |
//! | ChaCha20-Poly1305 | `aws-lc-rs` 1.19   | 2.1    | 2.5   | 2.7    | 2.8    |
//! | ChaCha20-Poly1305 | `chacha20poly1305` | 0.5    | 0.9   | 1.1    | 1.2    |
//!
//! (All but the first sealed in place, without the copy that they would need besides; `graviola` with it.) A gigabyte that
//! is sealed and opened at 20 GB/s costs 0.1 s of one core, where moving and proving it costs about 1 s. AEGIS (RFC 10032) does 10 to 40
//! GB/s, but no Noise library has it. A processor without AES instructions gets AWS-LC's constant-time code.

#![forbid(unsafe_code)]

mod cipher;
pub mod datagram;
mod handshake;
mod key;
mod noise;
mod record;

pub use cipher::TAG_LEN;
pub use handshake::{Channel, HELLO_LEN, HandshakeError, Initiator, MAGIC, VERSION, answer, check_start};
pub use key::{Fingerprint, KEY_LEN, Key, KeyError};
pub use record::{MAX_PLAIN_LEN, Opener, RECORD_OVERHEAD, RecordError, Sealer, record_len};

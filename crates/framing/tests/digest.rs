//! The checksums against known vectors, and against slow or foreign implementations.

use framing::{Checksum, Digest, Hasher, crc32c};
use proptest::prelude::*;

/// RFC 1321, appendix A.5.
const MD5_SUITE: [(&str, &str); 7] = [
    ("", "d41d8cd98f00b204e9800998ecf8427e"),
    ("a", "0cc175b9c0f1b6a831c399e269772661"),
    ("abc", "900150983cd24fb0d6963f7d28e17f72"),
    ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
    ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
    (
        "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
        "57edf4a22be3c955ac49da2e2107b67a",
    ),
];

#[test]
fn md5_of_the_rfc_1321_suite() {
    for (text, expected) in MD5_SUITE {
        assert_eq!(Hasher::digest(Checksum::Md5, text.as_bytes()).to_string(), expected, "{text:?}");
    }
}

/// The first two from BLAKE3's test_vectors.json (input lengths 0 and 1), the third as `b3sum` prints it.
#[test]
fn blake3_of_known_vectors() {
    let digest = |bytes: &[u8]| Hasher::digest(Checksum::Blake3, bytes).to_string();
    assert_eq!(digest(b""), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    assert_eq!(digest(&[0]), "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213");
    assert_eq!(digest(b"abc"), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
}

/// RFC 3720, appendix B.4, and the check value of the CRC catalogues.
#[test]
fn crc32c_of_known_vectors() {
    let ascending: Vec<u8> = (0..32).collect();
    let descending: Vec<u8> = (0..32).rev().collect();
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(b""), 0);
    assert_eq!(crc32c(&[0x00; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(&ascending), 0x46dd_794e);
    assert_eq!(crc32c(&descending), 0x113f_db5c);
}

#[test]
fn a_digest_prints_as_hex() {
    let md5 = Hasher::digest(Checksum::Md5, b"");
    assert_eq!(format!("{md5:?}"), "md5:d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(md5.checksum(), Checksum::Md5);
    assert_eq!(md5.as_bytes()[..2], [0xd4, 0x1d]);
    let blake3 = Hasher::digest(Checksum::Blake3, b"");
    assert!(format!("{blake3:?}").starts_with("blake3:af1349b9"));
    assert_eq!(blake3.checksum(), Checksum::Blake3);
    assert_eq!(format!("[{:<6}]", Checksum::Md5), "[md5   ]");
    assert_eq!(format!("{:?}", Hasher::new(Checksum::Md5)), "Hasher");
}

#[test]
fn a_digest_has_exactly_the_bytes_of_its_checksum() {
    for (checksum, exact) in [(Checksum::Md5, 16), (Checksum::Blake3, 32)] {
        assert_eq!(checksum.digest_len(), exact);
        for len in 0..40 {
            let bytes = vec![0x5a; len];
            let digest = Digest::from_bytes(checksum, &bytes);
            assert_eq!(digest.is_some(), len == exact, "{checksum} of {len} bytes");
            if let Some(digest) = digest {
                assert_eq!((digest.checksum(), digest.as_bytes()), (checksum, &bytes[..]));
            }
        }
    }
}

/// The same 16 bytes are not the same proof under another checksum.
#[test]
fn digests_of_different_bytes_or_checksums_differ() {
    let one = Digest::from_bytes(Checksum::Md5, &[1; 16]);
    assert_ne!(one, Digest::from_bytes(Checksum::Md5, &[2; 16]));
    assert_ne!(one, Digest::from_bytes(Checksum::Blake3, &[[1; 16], [0; 16]].concat()));
}

/// CRC-32C bit by bit, as PROTOCOL.md describes it.
fn slow_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// Takes `bytes` in, cut into pieces of these lengths.
fn digest_in_pieces(checksum: Checksum, bytes: &[u8], pieces: &[usize]) -> Digest {
    let mut hasher = Hasher::new(checksum);
    let mut rest = bytes;
    for &piece in pieces {
        let (next, later) = rest.split_at(piece.min(rest.len()));
        hasher.update(next);
        rest = later;
    }
    hasher.update(rest);
    hasher.finish()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    // Short ones for every position around MD5's padding; long ones for the paths that work on many blocks at once.
    let lengths = prop_oneof![2 => 0..200usize, 1 => 0..20_000usize];
    lengths.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len))
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![0..70usize, 0..5000usize], 0..12)
}

proptest! {
    #[test]
    fn md5_agrees_with_an_independent_one(bytes in bytes(), pieces in pieces()) {
        let digest = digest_in_pieces(Checksum::Md5, &bytes, &pieces);
        prop_assert_eq!(digest.as_bytes(), &md5::compute(&bytes).0[..]);
    }

    #[test]
    fn blake3_does_not_depend_on_the_cuts(bytes in bytes(), pieces in pieces()) {
        let digest = digest_in_pieces(Checksum::Blake3, &bytes, &pieces);
        let whole = blake3::hash(&bytes);
        prop_assert_eq!(digest.as_bytes(), &whole.as_bytes()[..]);
    }

    #[test]
    fn crc32c_agrees_with_a_slow_one_at_any_alignment(bytes in bytes(), skip in 0..16usize) {
        let bytes = &bytes[skip.min(bytes.len())..];
        prop_assert_eq!(crc32c(bytes), slow_crc32c(bytes));
    }
}

//! The cipher with a number for each thing that is sealed, and new secrets long before the old ones are worn.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Bytes that a seal is longer than what it seals.
pub const TAG_LEN: usize = 16;

/// A secret of one direction.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// AES-256-GCM under one secret. AWS-LC wipes its own copy.
#[derive(Debug)]
pub(crate) struct Cipher(LessSafeKey);

/// The seal is not that of these bytes, this header, this number and this secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forged;

impl Cipher {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        // Only another length than the 32 bytes of this algorithm would fail.
        let key = UnboundKey::new(&AES_256_GCM, secret).expect("a secret of 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Seals `plain` into `sealed`, which is [`TAG_LEN`] bytes longer. A number must not be used twice.
    pub(crate) fn seal(&self, number: u64, header: &[u8], plain: &[u8], sealed: &mut [u8]) {
        let (body, tag) = sealed.split_at_mut(plain.len());
        let sealed =
            self.0.seal_out_of_place_scatter(nonce(number), Aad::from(header), plain, body, &[], tag);
        // Only lengths that do not fit, or 64 GiB at a time, would fail: a fault of this program.
        sealed.expect("a seal of the right length");
    }

    /// Seals `body` where it lies: its tag.
    pub(crate) fn seal_in_place(&self, number: u64, header: &[u8], body: &mut [u8]) -> [u8; TAG_LEN] {
        let sealed = self.0.seal_in_place_separate_tag(nonce(number), Aad::from(header), body);
        let mut tag = [0; TAG_LEN];
        // As with `seal`.
        tag.copy_from_slice(sealed.expect("a seal of the right length").as_ref());
        tag
    }

    /// Opens `body` where it lies, if it and its tag are as they were sealed; otherwise it is of no use any more.
    pub(crate) fn open_in_place(
        &self,
        number: u64,
        header: &[u8],
        body: &mut [u8],
        tag: &[u8],
    ) -> Result<(), Forged> {
        let opened = self.0.open_in_place_separate_tag(nonce(number), Aad::from(header), tag, body);
        opened.map(|_| ()).map_err(|_| Forged)
    }

    /// Opens `sealed` into `plain`, which is [`TAG_LEN`] bytes shorter, if it is as it was sealed.
    pub(crate) fn open(
        &self,
        number: u64,
        header: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), Forged> {
        let (body, tag) = sealed.split_at_checked(plain.len()).ok_or(Forged)?;
        let opened = self.0.open_separate_gather(nonce(number), Aad::from(header), body, tag, plain);
        opened.map_err(|_| Forged)
    }

    /// The secret that comes after this one (Noise section 11.3, REKEY).
    pub(crate) fn next_secret(&self) -> Secret {
        let mut sealed = Zeroizing::new([0; 32 + TAG_LEN]);
        self.seal(u64::MAX, &[], &[0; 32], &mut *sealed);
        let mut next = Secret::default();
        next.copy_from_slice(&sealed[..32]);
        next
    }
}

/// Noise section 12.4: four zeros and the number.
fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

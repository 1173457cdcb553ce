//! What `snow` is made of here: randomness of the system, X25519 and AES-GCM of AWS-LC, and BLAKE2s.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use blake2::{Blake2s256, Digest as _};
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::CryptoResolver;
use snow::types;
use snow::{Builder, Error};
use zeroize::{Zeroize as _, Zeroizing};

use crate::Key;
use crate::cipher::{Cipher, Secret, TAG_LEN};

/// Where the ephemeral secret of a handshake comes from.
pub(crate) enum Ephemeral {
    /// From the system: for this handshake, and then forgotten.
    Fresh,
    /// Given.
    Given(Secret),
}

/// The handshake, of streams and of datagrams.
const PATTERN: &str = "Noise_NNpsk0_25519_AESGCM_BLAKE2s";

/// A handshake that is about to begin. Both sides must have the same prologue.
pub(crate) fn builder<'a>(
    key: &'a Key,
    ephemeral: Ephemeral,
    prologue: &'a [u8],
) -> Result<Builder<'a>, Error> {
    let params: NoiseParams = PATTERN.parse()?;
    Builder::with_resolver(params, Box::new(Parts(ephemeral))).prologue(prologue)?.psk(0, key.bytes())
}

/// Gives `snow` what it is made of.
struct Parts(Ephemeral);

impl CryptoResolver for Parts {
    fn resolve_rng(&self) -> Option<Box<dyn types::Random>> {
        Some(match &self.0 {
            Ephemeral::Fresh => Box::new(System),
            Ephemeral::Given(secret) => Box::new(Given(secret.clone())),
        })
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn types::Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<Curve>::default() as Box<dyn types::Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn types::Hash>> {
        matches!(choice, HashChoice::Blake2s).then(|| Box::<Blake2s>::default() as Box<dyn types::Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn types::Cipher>> {
        let cipher = || Box::new(Aes(Cipher::new(&[0; 32]))) as Box<dyn types::Cipher>;
        matches!(choice, CipherChoice::AESGCM).then(cipher)
    }
}

struct System;

impl types::Random for System {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(bytes).map_err(|_| Error::Rng)
    }
}

struct Given(Secret);

impl types::Random for Given {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        if bytes.len() != self.0.len() {
            return Err(Error::Rng);
        }
        bytes.copy_from_slice(&*self.0);
        Ok(())
    }
}

#[derive(Default)]
struct Curve {
    secret: Secret,
    public: [u8; 32],
}

impl Curve {
    fn private_key(&self) -> Result<PrivateKey, Error> {
        PrivateKey::from_private_key(&X25519, &*self.secret).map_err(|_| Error::Dh)
    }

    fn find_public(&mut self) -> Result<(), Error> {
        let public = self.private_key()?.compute_public_key().map_err(|_| Error::Dh)?;
        self.public = public.as_ref().try_into().map_err(|_| Error::Dh)?;
        Ok(())
    }
}

impl types::Dh for Curve {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.secret.copy_from_slice(secret);
        // Any 32 bytes are a secret of this curve.
        self.find_public().expect("a public key of 32 bytes");
    }

    fn generate(&mut self, random: &mut dyn types::Random) -> Result<(), Error> {
        random.try_fill_bytes(&mut *self.secret)?;
        self.find_public()
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let theirs = UnparsedPublicKey::new(&X25519, public.get(..32).ok_or(Error::Dh)?);
        agreement::agree(&self.private_key()?, theirs, Error::Dh, |shared| {
            out.get_mut(..shared.len()).ok_or(Error::Dh)?.copy_from_slice(shared);
            Ok(())
        })
    }
}

#[derive(Default)]
struct Blake2s(Blake2s256);

impl types::Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }
}

struct Aes(Cipher);

impl types::Cipher for Aes {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Cipher::new(key);
    }

    fn encrypt(&self, nonce: u64, header: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        let len = plain.len() + TAG_LEN;
        self.0.seal(nonce, header, plain, &mut out[..len]);
        len
    }

    fn decrypt(&self, nonce: u64, header: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let len = sealed.len().checked_sub(TAG_LEN).ok_or(Error::Decrypt)?;
        let plain = out.get_mut(..len).ok_or(Error::Decrypt)?;
        self.0.open(nonce, header, sealed, plain).map_err(|_| Error::Decrypt)?;
        Ok(len)
    }
}

/// The secrets of both directions that a finished handshake has, that of its initiator first.
pub(crate) fn split(mut state: snow::HandshakeState) -> [Secret; 2] {
    let (mut first, mut second) = state.dangerously_get_raw_split();
    let secrets = [Zeroizing::new(first), Zeroizing::new(second)];
    first.zeroize();
    second.zeroize();
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of small order: each gives the same shared secret, zero, to everybody.
    const POINTS: [[u8; 32]; 5] = {
        let (mut one, mut below, mut prime, mut above) = ([0; 32], [0xff; 32], [0xff; 32], [0xff; 32]);
        one[0] = 1;
        (below[0], prime[0], above[0]) = (0xec, 0xed, 0xee);
        (below[31], prime[31], above[31]) = (0x7f, 0x7f, 0x7f);
        [[0; 32], one, below, prime, above]
    };

    /// Somebody who has the key, and sends this instead of an ephemeral public key.
    struct Forger([u8; 32]);

    impl CryptoResolver for Forger {
        fn resolve_rng(&self) -> Option<Box<dyn types::Random>> {
            Some(Box::new(System))
        }

        fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn types::Dh>> {
            Some(Box::new(Self(self.0)))
        }

        fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn types::Hash>> {
            Parts(Ephemeral::Fresh).resolve_hash(choice)
        }

        fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn types::Cipher>> {
            Parts(Ephemeral::Fresh).resolve_cipher(choice)
        }
    }

    impl types::Dh for Forger {
        fn name(&self) -> &'static str {
            "25519"
        }

        fn pub_len(&self) -> usize {
            32
        }

        fn priv_len(&self) -> usize {
            32
        }

        fn set(&mut self, _: &[u8]) {}

        fn generate(&mut self, _: &mut dyn types::Random) -> Result<(), Error> {
            Ok(())
        }

        fn pubkey(&self) -> &[u8] {
            &self.0
        }

        fn privkey(&self) -> &[u8] {
            &[0; 32]
        }

        fn dh(&self, _: &[u8], out: &mut [u8]) -> Result<(), Error> {
            out[..32].fill(0);
            Ok(())
        }
    }

    #[test]
    fn a_secret_that_everybody_knows_is_not_agreed_on() {
        let key = Key::from_bytes([7; 32]);
        let honest = || builder(&key, Ephemeral::Fresh, b"").unwrap();
        let forger = |point| {
            let parts = Box::new(Forger(point));
            Builder::with_resolver(PATTERN.parse().unwrap(), parts).psk(0, key.bytes()).unwrap()
        };
        for point in POINTS {
            let (mut hello, mut reply) = ([0; 48], [0; 48]);
            let (mut client, mut server) =
                (forger(point).build_initiator().unwrap(), honest().build_responder().unwrap());
            client.write_message(&[], &mut hello).unwrap();
            server.read_message(&hello, &mut []).unwrap();
            assert!(matches!(server.write_message(&[], &mut reply), Err(Error::Dh)), "{point:02x?}");

            let (mut client, mut server) =
                (honest().build_initiator().unwrap(), forger(point).build_responder().unwrap());
            client.write_message(&[], &mut hello).unwrap();
            server.read_message(&hello, &mut []).unwrap();
            server.write_message(&[], &mut reply).unwrap();
            assert!(matches!(client.read_message(&reply, &mut []), Err(Error::Dh)), "{point:02x?}");
        }
    }
}

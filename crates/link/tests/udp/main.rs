//! The link over UDP, through a relay that harms it, and against peers that are strange or gone.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

const HAS_KEY: bool = false;

include!("body.rs");

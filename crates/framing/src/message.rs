//! Messages: what the two sides say to each other between the chunks.
//!
//! The first byte of a message names its kind; the rest is its body. `PROTOCOL.md` has the table.

mod content;

use std::ops::Range;

use crate::Checksum;
use crate::manifest::{Entry, MAX_PATH_LEN};
use crate::record::{DecisionRun, Page, Sent, Stored};
use crate::wire::{Reader, WireError, put_counted, put_text};

pub use content::{Fault, Feature, Generate, Get, Hello, Offer, Packet, Part, Refusal, Stream, Sums};

/// The most bytes of one message.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;
/// The most bytes of a text that is meant for a person.
pub const MAX_TEXT_LEN: usize = 1024;
/// The most bytes of a program's name and version.
pub const MAX_SOFTWARE_LEN: usize = 64;
/// The most chunk sums in one message.
pub const MAX_SUMS: usize = 8192;
/// The most bytes that are echoed at a time.
pub const MAX_ECHO_LEN: usize = 32 * 1024;
/// The bytes of a [`Packet`]'s message before its filler.
pub const PACKET_HEAD_LEN: usize = 17;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// The greeting.
    Hello(Hello<'a>),
    /// "I send you this": the head of a manifest.
    Put(Offer),
    /// "Send me this".
    Get(Get<'a>),
    /// The answer to [`Message::Get`]: the head of a manifest.
    Offer(Offer),
    /// Entries of the manifest.
    Entries(Page<'a, Entry<'a>>),
    /// Chunks of the manifest that hold nothing but zeros and are not sent.
    Holes(Page<'a, Range<u64>>),
    /// Chunks whose sums the receiver wants to compare with what it has.
    Compare(Page<'a, Range<u64>>),
    /// Those sums.
    Sums(Sums<'a>),
    /// What the receiver has decided about the entries, in their order.
    Decisions(Page<'a, DecisionRun>),
    /// Chunks that the receiver wants.
    Want(Page<'a, Range<u64>>),
    /// Digests of files as they were sent.
    Sent(Page<'a, Sent<'a>>),
    /// Verdicts on files.
    Stored(Page<'a, Stored<'a>>),
    /// A part of the conversation is over.
    End(Part),
    /// "I am still busy with my disk": keeps the other side from giving up.
    Working,
    /// The end of the conversation, and why.
    Refuse {
        /// The kind of reason.
        refusal: Refusal,
        /// The reason in words, at most [`MAX_TEXT_LEN`] bytes.
        text: &'a str,
    },
    /// Chunks of a plain transfer that this became of.
    Faults(Fault, Page<'a, Range<u64>>),
    /// "Send me this back": at most [`MAX_ECHO_LEN`] bytes.
    Echo(&'a [u8]),
    /// The answer to [`Message::Echo`]: the same bytes.
    Echoed(&'a [u8]),
    /// "What files are there?": a path below the served directory, empty for that directory itself.
    List(&'a [u8]),
    /// "What I put from now on goes below this directory": a path as in [`Message::List`].
    Chdir(&'a [u8]),
    /// The answer to [`Message::Chdir`]: the path of that directory.
    Here(&'a [u8]),
    /// "Make a file of this length up, and send it to me".
    Generate(Generate),
    /// The first answer to [`Message::Generate`]: the file is being made.
    Making {
        /// Bytes of the file.
        length: u64,
        /// What its content follows from.
        seed: u64,
    },
    /// "Send me packets at these times".
    Stream(Stream),
    /// The answer to [`Message::Stream`]: the packets follow.
    Streaming(Stream),
    /// The end of a stream, and how many packets were sent.
    Streamed(u64),
    /// "Send no more packets of this stream".
    Stop,
    /// A packet of a stream.
    Packet(Packet<'a>),
    /// What was asked is not done, and why. The conversation goes on.
    Declined {
        /// The kind of reason.
        refusal: Refusal,
        /// The reason in words, at most [`MAX_TEXT_LEN`] bytes.
        text: &'a str,
    },
}

impl<'a> Message<'a> {
    /// Reads a message from a frame's whole payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut body = Reader::new(payload);
        let message = match body.u8()? {
            kind::HELLO => Self::Hello(Hello {
                features: body.u32()?,
                software: body.text("program name", MAX_SOFTWARE_LEN)?,
            }),
            kind::PUT => Self::Put(read_offer(&mut body)?),
            kind::GET => {
                let (checksum, plain) = read_checksum(&mut body)?;
                let follow = read_flag(&mut body, "follow flag")?;
                Self::Get(Get { checksum, plain, follow, names: Page::decode(&mut body)? })
            }
            kind::OFFER => Self::Offer(read_offer(&mut body)?),
            kind::ENTRIES => Self::Entries(Page::decode(&mut body)?),
            kind::HOLES => Self::Holes(Page::decode(&mut body)?),
            kind::COMPARE => Self::Compare(Page::decode(&mut body)?),
            kind::SUMS => {
                let first = body.u64()?;
                let sums = body.rest();
                let invalid = WireError::Invalid { field: "number of sums", value: sums.len() as u64 };
                Self::Sums(Sums::new(first, sums).ok_or(invalid)?)
            }
            kind::DECISIONS => Self::Decisions(Page::decode(&mut body)?),
            kind::WANT => Self::Want(Page::decode(&mut body)?),
            kind::SENT => Self::Sent(Page::decode(&mut body)?),
            kind::STORED => Self::Stored(Page::decode(&mut body)?),
            kind::END => {
                let code = body.u8()?;
                let invalid = WireError::Invalid { field: "part", value: code.into() };
                Self::End(Part::from_code(code).ok_or(invalid)?)
            }
            kind::WORKING => Self::Working,
            kind::REFUSE => {
                let (refusal, text) = read_refusal(&mut body)?;
                Self::Refuse { refusal, text }
            }
            kind::FAULTS => {
                let code = body.u8()?;
                let invalid = WireError::Invalid { field: "fault", value: code.into() };
                Self::Faults(Fault::from_code(code).ok_or(invalid)?, Page::decode(&mut body)?)
            }
            kind::DECLINED => {
                let (refusal, text) = read_refusal(&mut body)?;
                Self::Declined { refusal, text }
            }
            other => Self::decode_small(other, &mut body)?,
        };
        body.finish()?;
        Ok(message)
    }

    /// The body of a request that is no transfer of files, or of the answer to it.
    fn decode_small(kind: u8, body: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(match kind {
            kind::ECHO => Self::Echo(read_echo(body)?),
            kind::ECHOED => Self::Echoed(read_echo(body)?),
            kind::LIST => Self::List(body.counted("path", MAX_PATH_LEN)?),
            kind::CHDIR => Self::Chdir(body.counted("path", MAX_PATH_LEN)?),
            kind::HERE => Self::Here(body.counted("path", MAX_PATH_LEN)?),
            kind::GENERATE => {
                let (checksum, plain) = read_checksum(body)?;
                Self::Generate(Generate { checksum, plain, length: body.u64()?, seed: body.u64()? })
            }
            kind::MAKING => Self::Making { length: body.u64()?, seed: body.u64()? },
            kind::STREAM => Self::Stream(read_stream(body)?),
            kind::STREAMING => Self::Streaming(read_stream(body)?),
            kind::STREAMED => Self::Streamed(body.u64()?),
            kind::STOP => Self::Stop,
            kind::PACKET => {
                Self::Packet(Packet { number: body.u64()?, sent: body.u64()?, filler: body.rest() })
            }
            other => return Err(WireError::UnknownMessage(other)),
        })
    }

    /// Appends the message in its wire form: at most [`MAX_MESSAGE_LEN`] bytes when its pages came from a
    /// [`PageBuilder`](crate::PageBuilder).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind());
        match self {
            Self::Hello(hello) => {
                out.extend_from_slice(&hello.features.to_be_bytes());
                put_text(out, hello.software, MAX_SOFTWARE_LEN);
            }
            Self::Put(offer) | Self::Offer(offer) => {
                out.push(how(offer.checksum, offer.plain));
                out.extend_from_slice(&offer.entries.to_be_bytes());
                out.extend_from_slice(&offer.bytes.to_be_bytes());
            }
            Self::Get(get) => {
                out.push(how(get.checksum, get.plain));
                out.push(get.follow.into());
                out.extend_from_slice(get.names.bytes());
            }
            Self::Entries(page) => out.extend_from_slice(page.bytes()),
            Self::Holes(page) | Self::Compare(page) | Self::Want(page) => out.extend_from_slice(page.bytes()),
            Self::Sums(sums) => {
                out.extend_from_slice(&sums.first.to_be_bytes());
                out.extend_from_slice(sums.sums);
            }
            Self::Decisions(page) => out.extend_from_slice(page.bytes()),
            Self::Sent(page) => out.extend_from_slice(page.bytes()),
            Self::Stored(page) => out.extend_from_slice(page.bytes()),
            Self::End(part) => out.push(part.code()),
            Self::Working | Self::Stop => {}
            Self::Refuse { refusal, text } | Self::Declined { refusal, text } => {
                out.push(refusal.code());
                put_text(out, text, MAX_TEXT_LEN);
            }
            Self::Faults(fault, page) => {
                out.push(fault.code());
                out.extend_from_slice(page.bytes());
            }
            Self::Echo(bytes) | Self::Echoed(bytes) => {
                out.extend_from_slice(&bytes[..bytes.len().min(MAX_ECHO_LEN)]);
            }
            Self::List(path) | Self::Chdir(path) | Self::Here(path) => put_counted(out, path, MAX_PATH_LEN),
            Self::Generate(asked) => {
                out.push(how(asked.checksum, asked.plain));
                out.extend_from_slice(&asked.length.to_be_bytes());
                out.extend_from_slice(&asked.seed.to_be_bytes());
            }
            Self::Making { length, seed } => {
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(&seed.to_be_bytes());
            }
            Self::Stream(stream) | Self::Streaming(stream) => {
                out.extend_from_slice(&stream.count.to_be_bytes());
                out.extend_from_slice(&stream.interval.to_be_bytes());
                out.extend_from_slice(&stream.size.to_be_bytes());
            }
            Self::Streamed(packets) => out.extend_from_slice(&packets.to_be_bytes()),
            Self::Packet(packet) => {
                out.extend_from_slice(&packet.number.to_be_bytes());
                out.extend_from_slice(&packet.sent.to_be_bytes());
                out.extend_from_slice(packet.filler);
            }
        }
    }

    /// The name of its kind, for a message to a person.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Put(_) => "Put",
            Self::Get(_) => "Get",
            Self::Offer(_) => "Offer",
            Self::Entries(_) => "Entries",
            Self::Holes(_) => "Holes",
            Self::Compare(_) => "Compare",
            Self::Sums(_) => "Sums",
            Self::Decisions(_) => "Decisions",
            Self::Want(_) => "Want",
            Self::Sent(_) => "Sent",
            Self::Stored(_) => "Stored",
            Self::End(_) => "End",
            Self::Working => "Working",
            Self::Refuse { .. } => "Refuse",
            Self::Faults(..) => "Faults",
            Self::Echo(_) => "Echo",
            Self::Echoed(_) => "Echoed",
            Self::List(_) => "List",
            Self::Chdir(_) => "Chdir",
            Self::Here(_) => "Here",
            Self::Generate(_) => "Generate",
            Self::Making { .. } => "Making",
            Self::Stream(_) => "Stream",
            Self::Streaming(_) => "Streaming",
            Self::Streamed(_) => "Streamed",
            Self::Stop => "Stop",
            Self::Packet(_) => "Packet",
            Self::Declined { .. } => "Declined",
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Put(_) => kind::PUT,
            Self::Get(_) => kind::GET,
            Self::Offer(_) => kind::OFFER,
            Self::Entries(_) => kind::ENTRIES,
            Self::Holes(_) => kind::HOLES,
            Self::Compare(_) => kind::COMPARE,
            Self::Sums(_) => kind::SUMS,
            Self::Decisions(_) => kind::DECISIONS,
            Self::Want(_) => kind::WANT,
            Self::Sent(_) => kind::SENT,
            Self::Stored(_) => kind::STORED,
            Self::End(_) => kind::END,
            Self::Working => kind::WORKING,
            Self::Refuse { .. } => kind::REFUSE,
            Self::Faults(..) => kind::FAULTS,
            Self::Echo(_) => kind::ECHO,
            Self::Echoed(_) => kind::ECHOED,
            Self::List(_) => kind::LIST,
            Self::Chdir(_) => kind::CHDIR,
            Self::Here(_) => kind::HERE,
            Self::Generate(_) => kind::GENERATE,
            Self::Making { .. } => kind::MAKING,
            Self::Stream(_) => kind::STREAM,
            Self::Streaming(_) => kind::STREAMING,
            Self::Streamed(_) => kind::STREAMED,
            Self::Stop => kind::STOP,
            Self::Packet(_) => kind::PACKET,
            Self::Declined { .. } => kind::DECLINED,
        }
    }
}

fn read_offer(body: &mut Reader<'_>) -> Result<Offer, WireError> {
    let (checksum, plain) = read_checksum(body)?;
    Ok(Offer { checksum, plain, entries: body.u32()?, bytes: body.u64()? })
}

fn read_refusal<'a>(body: &mut Reader<'a>) -> Result<(Refusal, &'a str), WireError> {
    let code = body.u8()?;
    let invalid = WireError::Invalid { field: "refusal", value: code.into() };
    Ok((Refusal::from_code(code).ok_or(invalid)?, body.text("reason", MAX_TEXT_LEN)?))
}

fn read_echo<'a>(body: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let bytes = body.rest();
    if bytes.len() > MAX_ECHO_LEN {
        let (value, limit) = (bytes.len() as u64, MAX_ECHO_LEN as u64);
        return Err(WireError::TooLong { field: "text to echo", value, limit });
    }
    Ok(bytes)
}

fn read_stream(body: &mut Reader<'_>) -> Result<Stream, WireError> {
    Ok(Stream { count: body.u64()?, interval: body.u64()?, size: body.u32()? })
}

/// Added to a checksum's code where the transfer is plain.
const PLAIN_CODE: u8 = 0x80;

/// The checksum, and whether the transfer is plain.
fn read_checksum(body: &mut Reader<'_>) -> Result<(Checksum, bool), WireError> {
    let code = body.u8()?;
    let invalid = WireError::Invalid { field: "checksum", value: code.into() };
    Ok((Checksum::from_code(code & !PLAIN_CODE).ok_or(invalid)?, code & PLAIN_CODE != 0))
}

const fn how(checksum: Checksum, plain: bool) -> u8 {
    if plain { checksum.code() | PLAIN_CODE } else { checksum.code() }
}

fn read_flag(body: &mut Reader<'_>, field: &'static str) -> Result<bool, WireError> {
    match body.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(WireError::Invalid { field, value: other.into() }),
    }
}

/// The first byte of each message.
mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const PUT: u8 = 0x02;
    pub(super) const GET: u8 = 0x03;
    pub(super) const OFFER: u8 = 0x04;
    pub(super) const ENTRIES: u8 = 0x05;
    pub(super) const HOLES: u8 = 0x06;
    pub(super) const COMPARE: u8 = 0x07;
    pub(super) const SUMS: u8 = 0x08;
    pub(super) const DECISIONS: u8 = 0x09;
    pub(super) const WANT: u8 = 0x0a;
    pub(super) const SENT: u8 = 0x0b;
    pub(super) const STORED: u8 = 0x0c;
    pub(super) const END: u8 = 0x0d;
    pub(super) const WORKING: u8 = 0x0e;
    pub(super) const REFUSE: u8 = 0x0f;
    pub(super) const FAULTS: u8 = 0x10;
    pub(super) const ECHO: u8 = 0x11;
    pub(super) const ECHOED: u8 = 0x12;
    pub(super) const LIST: u8 = 0x13;
    pub(super) const CHDIR: u8 = 0x14;
    pub(super) const HERE: u8 = 0x15;
    pub(super) const GENERATE: u8 = 0x16;
    pub(super) const MAKING: u8 = 0x17;
    pub(super) const STREAM: u8 = 0x18;
    pub(super) const STREAMING: u8 = 0x19;
    pub(super) const STREAMED: u8 = 0x1a;
    pub(super) const STOP: u8 = 0x1b;
    pub(super) const PACKET: u8 = 0x1c;
    pub(super) const DECLINED: u8 = 0x1d;
}

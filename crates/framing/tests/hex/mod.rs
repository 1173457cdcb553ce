//! Bytes written as hex, for people to read.

/// The bytes of a hex text. White space means nothing, and neither does a line that starts with `#`.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::bytes)
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let (pairs, odd) = digits.as_chunks::<2>();
    assert!(odd.is_empty(), "an odd number of hex digits in {text:?}");
    pairs
        .iter()
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hex digits are text");
            u8::from_str_radix(pair, 16).expect("two hex digits")
        })
        .collect()
}

#!/bin/sh
# Makes the seed corpus of the fuzz targets: from the golden packets in testdata/wire, and a list of operations that is a
# transfer.
#
# Debian package: xxd
#
# With a stable toolchain, in crates/arq:
#   cargo install cargo-fuzz
#   sh fuzz/seed.sh
#   RUSTC_BOOTSTRAP=1 cargo fuzz run operations -- -max_total_time=60
#   RUSTC_BOOTSTRAP=1 cargo fuzz run packets -- -max_total_time=60
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/corpus/operations" "$here/corpus/packets"
for golden in "$here"/../../../testdata/wire/packet-*.hex; do
    name=$(basename "$golden" .hex)
    bytes=$(sed '/^#/d' "$golden" | xxd -r -p | wc -c)
    [ "$bytes" -lt 128 ] || continue
    len=$(printf '%03o' "$bytes")
    # For the client, as it is; then its frames in a packet that is right for it.
    { printf '\000\%s\000\000' "$len"; sed '/^#/d' "$golden" | xxd -r -p; } >"$here/corpus/packets/$name"
    { printf '\001\%s\000\000' "$len"; sed '/^#/d' "$golden" | xxd -r -p | tail -c +10; } >"$here/corpus/packets/$name-frames"
done
# The handshake, a pass, parts, acknowledgements.
{
    printf '\000'
    for _ in 1 2 3; do printf '\000\000\000\005\001\011\000\001\000\005\000\011'; done
    printf '\015\000\144'
    for _ in 1 2 3 4 5 6; do printf '\012\000\010\013\000\007\005\001\024\010\050\000\000\001\000\005\000\024\000\000\000'; done
} >"$here/corpus/operations/transfer"

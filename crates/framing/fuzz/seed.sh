#!/bin/sh
# Makes the seed corpus of the fuzz targets from the golden bytes in testdata/wire.
#
# Debian package: xxd
#
# With a stable toolchain, in crates/framing:
#   cargo install cargo-fuzz
#   sh fuzz/seed.sh
#   RUSTC_BOOTSTRAP=1 cargo fuzz run frames -- -max_total_time=60
#   RUSTC_BOOTSTRAP=1 cargo fuzz run messages -- -max_total_time=60
#   RUSTC_BOOTSTRAP=1 cargo fuzz run packets -- -max_total_time=60
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/corpus/frames" "$here/corpus/messages" "$here/corpus/packets"
for golden in "$here"/../../../testdata/wire/*.hex; do
    name=$(basename "$golden" .hex)
    case $name in
    packet-*)
        # The packet, behind the room for an Ack (1 byte) and whether to make its checksum right (0: no).
        { printf '\100\000'; sed '/^#/d' "$golden" | xxd -r -p; } >"$here/corpus/packets/$name"
        continue
        ;;
    esac
    # The frame, behind where to cut (8 bytes) and whether to make its header right (0: no).
    { printf '\001\002\003\005\010\015\025\042\000'; sed '/^#/d' "$golden" | xxd -r -p; } >"$here/corpus/frames/$name"
    # The payload alone, behind the header's 24 bytes.
    sed '/^#/d' "$golden" | xxd -r -p | tail -c +25 >"$here/corpus/messages/$name"
done

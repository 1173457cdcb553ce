#!/bin/sh
# Makes the seed corpus of the fuzz targets.
#
# With a stable toolchain, in crates/seal:
#   cargo install cargo-fuzz
#   sh fuzz/seed.sh
#   RUSTC_BOOTSTRAP=1 cargo fuzz run handshake -- -max_total_time=60
#   RUSTC_BOOTSTRAP=1 cargo fuzz run records -- -max_total_time=60
#   RUSTC_BOOTSTRAP=1 cargo fuzz run packets -- -max_total_time=60
#   RUSTC_BOOTSTRAP=1 cargo fuzz run keys -- -max_total_time=60
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/corpus/handshake" "$here/corpus/records" "$here/corpus/keys" "$here/corpus/packets"
for how in 0 1 2 3; do
    # How, and nothing changed; and the first byte of what comes behind the start.
    printf "\\00$how" >"$here/corpus/handshake/same-$how"
    printf "\\00$how\\000\\000\\000\\000\\001" >"$here/corpus/handshake/changed-$how"
done
for what in 0 1 2 3 4; do
    printf "\\004\\005\\001\\00$what\\006\\002\\004\\007\\003" >"$here/corpus/records/what-$what"
done
for what in 0 1 2 3 4 5 6 7; do
    # A good one each way, and a changed one.
    printf "\\00$what\\001\\000\\000\\001\\00$what\\201\\000\\000\\001\\00$what\\001\\010\\001\\001" \
        >"$here/corpus/packets/what-$what"
done
# One that comes late, after one with new secrets, and again.
printf '\102\001\000\000\001\202\001\200\000\001\002\001\000\000\001\007\000\000\000\007\000\000\000' \
    >"$here/corpus/packets/late"
printf '000G-40R4-0M30-E209-185G-R38E-1W81-24GK-2GAH-C5RR-34D1-P70X-3RFG-GHA4' >"$here/corpus/keys/short"
printf '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f' >"$here/corpus/keys/hex"

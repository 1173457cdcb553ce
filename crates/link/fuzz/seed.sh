#!/bin/sh
# Makes the seed corpus of the fuzz target.
#
# With a stable toolchain, in crates/link:
#   cargo install cargo-fuzz
#   sh fuzz/seed.sh
#   RUSTC_BOOTSTRAP=1 cargo fuzz run strangers -- -max_total_time=60
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/corpus/strangers"
for has_key in 0 1; do
    for what in 0 1 2 3 4 5 6 7; do
        # Of nobody, as it is and changed; then of somebody who is connected.
        printf "\\00$has_key\\00$what\\001\\000\\000\\001\\00$what\\001\\010\\001\\001\\003\\001\\000\\000\\001\\00$what\\001\\001\\000\\001" \
            >"$here/corpus/strangers/what-$has_key-$what"
    done
done

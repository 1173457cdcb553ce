#!/bin/sh
# Makes the seed corpus of the fuzz target: a line of every kind.
#
# With a stable toolchain, in crates/cli:
#   cargo install cargo-fuzz
#   sh fuzz/seed.sh
#   RUSTC_BOOTSTRAP=1 cargo fuzz run lines -- -max_total_time=60
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/corpus/lines"
number=0
while IFS= read -r line; do
    number=$((number + 1))
    printf '%s' "$line" >"$here/corpus/lines/$number"
done <<'EOF'
ls
ls media/*.mp3
chdir ..
cd '/a b/c'
dl it\'s "two words" *.[mM]p[34] x?y
put ./~a -b \-c
1000
-5
99999999999999999999999999999999999999999
generate 12 --to made.txt --seed 7 --if-exists overwrite
stream --count 1000000000000 --interval 5ms --size 1200
help stream
echo  it's fine
it's fine too
quit
EOF

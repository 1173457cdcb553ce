#!/bin/sh
# Makes song.mp3, chamber.mp4 and MD5SUMS from nothing: every sound and every
# picture is synthesised here, no foreign recording is used.
# The results are dedicated to the public domain (CC0 1.0), see README.md.
#
# Debian packages: ffmpeg espeak-ng fonts-dejavu-core
# (plus awk, sed and coreutils, which every Debian has)
#
# Usage:  sh make-media.sh [DIRECTORY]
# Without DIRECTORY the files next to this script are replaced.  Other versions
# of ffmpeg, x264, LAME or espeak-ng give other bytes; to compare without
# replacing anything, give another directory.
set -eu
LC_ALL=C
export LC_ALL

out=${1:-$(dirname "$0")}
mkdir -p "$out"
out=$(cd "$out" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# One thread everywhere and no version strings: the same tools on the same
# kind of processor give the same bytes again.
ff() {
    ffmpeg -hide_banner -nostdin -y -v error -threads 1 \
        -filter_threads 1 -filter_complex_threads 1 "$@"
}

# voice UNIT KIND NOTES
# Prints an expression for ffmpeg's aevalsrc that plays NOTES, one at a time.
# A note is MIDI:LENGTH, LENGTH counted in UNIT seconds; MIDI 0 is a rest.
# Registers: 9 time in units, 2 frequency, 3 start, 4 length,
#            5 seconds since the start, 6 seconds to the end, 7 phase.
voice() {
    printf '%s\n' "$3" | awk -v unit="$1" -v kind="$2" '
        BEGIN { n = 0; at = 0 }
        {
            for (i = 1; i <= NF; i++) {
                split($i, p, ":")
                freq[n] = p[1] > 0 ? 440 * 2 ^ ((p[1] - 69) / 12) : 0
                start[n] = at
                len[n] = p[2]
                at += p[2]
                n++
            }
        }
        function tree(a, b,    m) {         # notes a .. b-1, a balanced choice
            if (b - a == 1) {
                printf "st(2,%.4f);st(3,%d);st(4,%d)", freq[a], start[a], len[a]
                return
            }
            m = int((a + b) / 2)
            printf "if(lt(ld(9),%d),(", start[m]
            tree(a, m)
            printf "),("
            tree(m, b)
            printf "))"
        }
        END {
            freq[n] = 0; start[n] = at; len[n] = 1; n++     # silence after the end
            if (kind == "pluck") {
                up = 0.006; down = 0.05; vib = "0"
                tone = "exp(-2.6*ld(5))*(sin(ld(7))+0.45*exp(-3*ld(5))*sin(2*ld(7))+0.22*exp(-6*ld(5))*sin(3*ld(7))+0.10*exp(-9*ld(5))*sin(4*ld(7)))"
            } else if (kind == "flute") {
                up = 0.05; down = 0.09; vib = "0.10*min(1,ld(5)*2)*sin(2*PI*5*ld(5))"
                tone = "(sin(ld(7))+0.30*sin(2*ld(7))+0.10*sin(3*ld(7))+0.03*sin(4*ld(7)))"
            } else if (kind == "pad") {
                up = 0.35; down = 0.30; vib = "0"
                tone = "(sin(ld(7))+0.5*sin(1.003*ld(7))+0.20*sin(2*ld(7))+0.06*sin(3*ld(7)))"
            } else if (kind == "bass") {
                up = 0.015; down = 0.06; vib = "0"
                tone = "exp(-0.9*ld(5))*(sin(ld(7))+0.40*sin(2*ld(7))+0.15*sin(3*ld(7)))"
            } else if (kind == "string") {
                up = 0.05; down = 0.05; vib = "0.16*min(1,ld(5)*1.5)*sin(2*PI*5.6*ld(5))"
                tone = "(0.75+0.25*sin(PI*min(1,ld(5)/(ld(4)*" unit "))))*(sin(ld(7))+0.62*sin(2*ld(7))+0.42*sin(3*ld(7))+0.30*sin(4*ld(7))+0.20*sin(5*ld(7))+0.13*sin(6*ld(7))+0.08*sin(7*ld(7)))"
            }
            printf "st(9,t/%s);", unit
            tree(0, n)
            printf ";st(5,t-ld(3)*%s);st(6,ld(4)*%s-ld(5));st(7,2*PI*ld(2)*ld(5)+%s);", unit, unit, vib
            printf "if(ld(2),max(0,min(1,min(ld(5)/%s,ld(6)/%s)))*%s,0)\n", up, down, tone
        }'
}

# ---------------------------------------------------------------- song.mp3
# Twenty-five bars in G major, eight eighths of 0.3 s each: 60 s and an echo.

cat > "$tmp/say1.txt" <<'TEXT'
This is the Tandem test song. A long file does not travel in one piece.
It is cut into chunks of four thousand and ninety six bytes,
and the chunks go over the wire, one after the other.
Now, some music.
TEXT
cat > "$tmp/say2.txt" <<'TEXT'
When the last chunk has arrived, compare the two checksums.
If they are equal, every byte of this song is where it belongs.
Thank you for listening.
TEXT
espeak-ng -v en-gb -s 155 -p 42 -g 3 -w "$tmp/say1.wav" -f "$tmp/say1.txt"
espeak-ng -v en-gb -s 155 -p 42 -g 3 -w "$tmp/say2.wav" -f "$tmp/say2.txt"

#     G                  Em                 C                  D
arp="55 62 67 71 74 71 67 62 52 59 64 67 71 67 64 59 48 55 60 64 67 64 60 55 50 57 62 66 69 66 62 57
     55 62 67 71 74 71 67 62 47 54 59 62 66 62 59 54 48 55 60 64 50 57 62 66 55 62 67 71 74 71 67 62"
arp=$(for n in $arp; do printf '%s:1 ' "$n"; done)
tune="79:3 78:1 79:2 74:2 76:3 74:1 71:4 72:2 76:2 79:2 76:2 78:3 76:1 74:4
      79:3 81:1 83:2 79:2 78:2 74:2 71:4 76:2 79:2 78:2 81:2 79:8"
again="79:2 81:2 83:3 79:1 81:1 79:1 76:2 71:4 72:1 74:1 76:2 79:2 84:2 81:3 79:1 78:2 74:2
       83:3 81:1 79:2 74:2 78:3 76:1 74:2 71:2 76:1 78:1 79:2 81:2 78:2 79:8"
bass="43:4 43:4 40:4 40:4 36:4 36:4 38:4 38:4 43:4 43:4 35:4 35:4 36:4 38:4 43:4 43:4"
low="59:8 59:8 60:8 57:8 59:8 59:8 60:4 57:4 59:8"
mid="62:8 64:8 64:8 62:8 62:8 62:8 64:4 62:4 62:8"
top="67:8 67:8 67:8 66:8 67:8 66:8 67:4 66:4 67:8"
flat() { printf '%s ' "$@" | tr '\n' ' '; }

cat > "$tmp/song.txt" <<GRAPH
aevalsrc=exprs='$(voice 0.3 pluck "$(flat "$arp" "$arp" "$arp" 55:1 62:1 67:1 71:5)")':s=44100:d=61.5[arp];
aevalsrc=exprs='$(voice 0.3 flute "$(flat 0:64 "$tune" "$again" 79:8)")':s=44100:d=61.5[tune];
aevalsrc=exprs='$(voice 0.3 bass "$(flat "$bass" "$bass" "$bass" 43:8)")':s=44100:d=61.5[bass];
aevalsrc=exprs='$(voice 0.3 pad "$(flat "$low" "$low" "$low" 59:8)")':s=44100:d=61.5[low];
aevalsrc=exprs='$(voice 0.3 pad "$(flat "$mid" "$mid" "$mid" 62:8)")':s=44100:d=61.5[mid];
aevalsrc=exprs='$(voice 0.3 pad "$(flat "$top" "$top" "$top" 67:8)")':s=44100:d=61.5[top];
[arp]pan=stereo|c0=0.17*c0|c1=0.27*c0[arp2];
[tune]pan=stereo|c0=0.20*c0|c1=0.15*c0[tune2];
[bass]pan=stereo|c0=0.20*c0|c1=0.20*c0[bass2];
[low]pan=stereo|c0=0.05*c0|c1=0.03*c0[low2];
[mid]pan=stereo|c0=0.04*c0|c1=0.04*c0[mid2];
[top]pan=stereo|c0=0.03*c0|c1=0.05*c0[top2];
[arp2][tune2][bass2][low2][mid2][top2]amix=inputs=6:normalize=0,
aecho=0.9:0.8:113|241|389:0.24|0.16|0.10[music];
[0:a]aresample=44100,highpass=f=90,adelay=1200,volume=0.85[s1];
[1:a]aresample=44100,highpass=f=90,adelay=44400,volume=0.85[s2];
[s1][s2]amix=inputs=2:normalize=0:duration=longest,apad=whole_dur=61.5,
pan=stereo|c0=c0|c1=c0,asplit=2[speech][key];
[music][key]sidechaincompress=threshold=0.04:ratio=3:attack=60:release=700[soft];
[soft][speech]amix=inputs=2:normalize=0:duration=first,
atrim=end=61.5,afade=t=out:st=58.2:d=2.3,volume=1.25,alimiter=limit=0.92:level=0[out]
GRAPH

ff -i "$tmp/say1.wav" -i "$tmp/say2.wav" \
    -filter_complex_script "$tmp/song.txt" -map '[out]' \
    -map_metadata -1 -fflags +bitexact -flags:a +bitexact \
    -c:a libmp3lame -b:a 192k -ar 44100 -ac 2 \
    -id3v2_version 3 -write_id3v1 1 \
    -metadata title='Tandem test song' -metadata artist='Tandem' \
    -metadata comment='CC0 1.0, public domain' \
    "$out/song.mp3"

# ------------------------------------------------------------- chamber.mp4
# Ten bars of a string trio in D minor, eight eighths of 0.375 s each: 30 s
# and an echo.  The picture: a Mandelbrot dive, and the notes as they sound.

violin="69:2 74:2 77:3 76:1 74:2 79:2 82:2 81:1 79:1 79:2 76:2 72:2 74:1 76:1 77:3 76:1 77:2 72:2
        74:2 77:2 82:3 81:1 79:2 77:1 76:1 74:2 70:2 74:4 73:4 74:2 77:2 74:2 69:2
        70:2 74:2 73:2 76:2 74:8"
viola="65:4 62:4 62:4 67:4 64:4 67:4 69:4 65:4 65:4 62:4 62:4 64:4 69:4 64:4 65:4 62:4
       67:4 69:4 66:8"
cello="50:2 57:2 53:2 45:2 43:2 50:2 46:2 50:2 48:2 55:2 52:2 48:2 41:2 48:2 45:2 53:2
       46:2 53:2 50:2 46:2 43:2 50:2 40:2 43:2 45:4 45:2 43:2 41:2 45:2 50:4
       43:4 45:4 38:8"

cat > "$tmp/chamber.txt" <<GRAPH
aevalsrc=exprs='$(voice 0.375 string "$(flat "$violin")")':s=48000:d=31[vl];
aevalsrc=exprs='$(voice 0.375 string "$(flat "$viola")")':s=48000:d=31[va];
aevalsrc=exprs='$(voice 0.375 string "$(flat "$cello")")':s=48000:d=31[vc];
[vl]lowpass=f=5200,pan=stereo|c0=0.17*c0|c1=0.10*c0[vl2];
[va]lowpass=f=3600,pan=stereo|c0=0.11*c0|c1=0.13*c0[va2];
[vc]lowpass=f=2400,pan=stereo|c0=0.13*c0|c1=0.20*c0[vc2];
[vl2][va2][vc2]amix=inputs=3:normalize=0,
aecho=0.9:0.8:47|89|149|227|347:0.34|0.30|0.24|0.17|0.10,
atrim=end=31,afade=t=out:st=28.4:d=2.2,volume=1.25,alimiter=limit=0.92:level=0,
asplit=2[aout][show];
gradients=s=640x360:r=25:d=31:seed=7:n=3:c0=0x0b1d33:c1=0x27404f:c2=0x3b2440:speed=0.006,
format=yuv444p[back];
mandelbrot=s=448x448:r=25:start_scale=2.6:end_scale=0.0006:end_pts=775:maxiter=1500:inner=black,
scale=224:224:flags=area,hue=h=150:s=0.55,format=yuv444p[dive];
[show]showcqt=s=640x96:fps=25:axis_h=0:sono_h=48:bar_h=48:bar_g=2:count=2:basefreq=55:endfreq=5000:cscheme=0.95|0.75|0.35|0.35|0.65|0.95,
format=gbrp,pad=640:360:0:264:black[notes];
[back][dive]overlay=x=20:y=20:format=yuv444:shortest=1,format=gbrp[b1];
[b1][notes]blend=all_mode=screen:shortest=1[b2];
[b2]drawtext=font='DejaVu Serif':text='Tandem':fontsize=46:fontcolor=0xf4ead5:x=272:y=34,
drawtext=font='DejaVu Serif':text='Chamber piece in D minor':fontsize=22:fontcolor=0xf4ead5:x=274:y=104,
drawtext=font='DejaVu Sans':text='violin, viola and cello, all synthesised':fontsize=15:fontcolor=0xb9c6d0:x=274:y=142,
drawtext=font='DejaVu Sans':text='CC0 1.0, public domain':fontsize=15:fontcolor=0xb9c6d0:x=274:y=166,
drawtext=font='DejaVu Sans Mono':text='%{pts\\:hms}  frame %{frame_num}':fontsize=15:fontcolor=0xe0b050:x=265:y=222,
trim=end_frame=775,fade=t=in:st=0:d=0.8,fade=t=out:st=30:d=1,format=yuv420p[vout]
GRAPH

ff -filter_complex_script "$tmp/chamber.txt" -map '[vout]' -map '[aout]' \
    -map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
    -c:v libx264 -preset medium -profile:v high -pix_fmt yuv420p \
    -b:v 680k -maxrate 1200k -bufsize 2400k -g 100 -threads:v 1 \
    -c:a aac -b:a 128k -ar 48000 -ac 2 \
    -metadata title='Tandem chamber piece' -metadata artist='Tandem' \
    -metadata comment='CC0 1.0, public domain' \
    -movflags +faststart "$out/chamber.mp4"

# ------------------------------------------------------------------ checks
check() {       # FILE LEAST MOST: bytes within the limits, decodes in silence
    size=$(wc -c < "$out/$1")
    if [ "$size" -lt "$2" ] || [ "$size" -gt "$3" ]; then
        echo "$1: $size bytes, wanted $2 to $3" >&2
        exit 1
    fi
    said=$(ffmpeg -nostdin -v error -threads 1 -i "$out/$1" -f null - 2>&1)
    if [ -n "$said" ]; then
        echo "$1: $said" >&2
        exit 1
    fi
}
check song.mp3 1000000 2000000
check chamber.mp4 2000000 4000000
cd "$out"
md5sum song.mp3 chamber.mp4 > MD5SUMS
cat MD5SUMS

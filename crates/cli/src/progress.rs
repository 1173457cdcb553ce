//! Progress bars: lines that always fit into the width of the terminal, however it changes.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use console::{Term, measure_text_width};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use crate::{escape, units};

/// How often lines are drawn at most.
const HERTZ: u8 = 20;
/// Every line is put together here: indicatif would let it wrap, or let the bar vanish.
const TEMPLATE: &str = "{line}";
/// The most columns of a name.
const NAME_WIDTH: usize = 40;
/// A name is not made shorter than this while something else can be left out.
const SHORT_NAME: usize = 12;
/// From so many columns on there is a bar; below [`NARROW`], nothing but name and percent.
const WIDE: usize = 60;
const NARROW: usize = 40;
/// Columns of a bar between its brackets.
const BAR: std::ops::RangeInclusive<usize> = 10..=40;
/// The width where the terminal does not tell.
const USUAL_WIDTH: usize = 80;
/// What stands between the parts of a line.
const GAP: &str = "  ";
/// How often the lines are drawn anew when nothing moves, so that the rate and the time left stay true.
const TICK: Duration = Duration::from_millis(250);

/// The bars of one transfer.
#[derive(Debug)]
pub(crate) struct Bars {
    multi: MultiProgress,
    whole: ProgressBar,
    /// For the current file when there are several, and for what was there already.
    below: Option<ProgressBar>,
    has_several: bool,
    shown: Arc<Mutex<Shown>>,
}

/// What the lines are made of, beside the counts in the bars.
#[derive(Debug, Default)]
struct Shown {
    label: String,
    phase: Phase,
    compared: u64,
    /// What was there before this run: `None` until it is known.
    held: Option<u64>,
    /// The current file, when there are several.
    current: Option<String>,
    /// The share of packets that get lost and the round-trip time, where the link knows.
    path: Option<(f64, Duration)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Comparing,
    Moving,
    Lost,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy)]
struct Count {
    done: u64,
    /// 0 until it is known.
    all: u64,
    per_second: f64,
    left: Duration,
}

impl Bars {
    /// Bars for a transfer called so, with a line for the current file when there are several.
    pub(crate) fn new(multi: &MultiProgress, label: &str, files: u64) -> Self {
        let shown = Arc::new(Mutex::new(Shown { label: label.to_owned(), ..Shown::default() }));
        let of_whole = shown.clone();
        let whole = multi.add(ProgressBar::new(0));
        whole.set_style(style(move |state, out| {
            let count = Count {
                done: state.pos(),
                all: state.len().unwrap_or(0),
                per_second: state.per_sec(),
                left: state.eta(),
            };
            let _ = out.write_str(&lock(&of_whole).line(columns(), count));
        }));
        whole.enable_steady_tick(TICK);
        let mut bars = Self { multi: multi.clone(), whole, below: None, has_several: files > 1, shown };
        if files > 1 {
            bars.open_below();
        }
        bars
    }

    fn open_below(&mut self) {
        if self.below.is_some() {
            return;
        }
        let shown = self.shown.clone();
        let below = self.multi.add(ProgressBar::no_length());
        below.set_style(style(move |state, out| {
            let _ = out.write_str(&lock(&shown).line_below(columns(), state.pos()));
        }));
        below.enable_steady_tick(TICK);
        self.below = Some(below);
    }

    /// So many more bytes were compared.
    pub(crate) fn compared(&self, bytes: u64) {
        lock(&self.shown).compared += bytes;
    }

    /// The link was lost.
    pub(crate) fn lost(&self) {
        lock(&self.shown).phase = Phase::Lost;
        self.whole.tick();
    }

    /// The other side has greeted (again).
    pub(crate) fn met(&self) {
        let mut shown = lock(&self.shown);
        shown.phase = Phase::Comparing;
        shown.compared = 0;
    }

    /// So much is to cross the link, beside what is there already.
    pub(crate) fn wanted(&mut self, label: &str, bytes: u64, held: u64, round: u32) {
        if round > 0 {
            self.whole.inc_length(bytes);
            return;
        }
        {
            let mut shown = lock(&self.shown);
            shown.phase = Phase::Moving;
            label.clone_into(&mut shown.label);
            // On a later connection this is also what came in this run.
            shown.held.get_or_insert(held);
        }
        if held > 0 && lock(&self.shown).held == Some(held) {
            self.open_below();
        }
        // In this order: what is held already did not come at any rate.
        self.whole.set_position(held);
        self.whole.set_length(bytes + held);
        self.whole.reset_eta();
    }

    /// So many more bytes crossed the link; `new_file` names the file when it is another than before.
    pub(crate) fn moved(&self, bytes: u64, new_file: Option<&OsStr>) {
        self.whole.inc(bytes);
        if let Some(below) = &self.below {
            if let Some(name) = new_file.filter(|_| self.has_several) {
                lock(&self.shown).current = Some(escape::name(name));
                below.set_position(0);
            }
            below.inc(bytes);
        }
    }

    /// What the link sees of its path now.
    pub(crate) fn path(&self, loss: f64, round_trip: Duration) {
        lock(&self.shown).path = Some((loss, round_trip));
    }

    /// Takes the lines away.
    pub(crate) fn finish(&self) {
        self.whole.finish_and_clear();
        if let Some(below) = &self.below {
            below.finish_and_clear();
            self.multi.remove(below);
        }
        self.multi.remove(&self.whole);
    }
}

/// Where bars are drawn: standard error.
pub(crate) fn target() -> ProgressDrawTarget {
    ProgressDrawTarget::term_like_with_hz(Box::new(Terminal(Term::buffered_stderr())), HERTZ)
}

/// A terminal whose cursor rests at the beginning of the last line, and not behind it, where indicatif leaves it: there
/// the `^C` of an interrupt would begin a new line, and the old one could not be taken away any more.
#[derive(Debug)]
struct Terminal(Term);

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_left(columns)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.write_str("\r")?;
        self.0.flush()
    }
}

impl Shown {
    /// The line of the whole transfer, on a terminal of so many columns.
    fn line(&self, columns: usize, count: Count) -> String {
        // The last column stays free: some terminals begin a new line there.
        let width = columns.saturating_sub(1);
        if count.all == 0 {
            return self.line_before(columns);
        }
        let percent = format!("{:>3}%", (u128::from(count.done) * 100 / u128::from(count.all)).min(100));
        if columns < NARROW {
            let name = shorten(&self.label, width.saturating_sub(percent.len() + GAP.len()).min(NAME_WIDTH));
            return shorten(&format!("{name}{GAP}{percent}"), width);
        }
        let all = units::size(count.all);
        let amount = format!("{:>len$}/{all}", units::size(count.done), len = all.len());
        let rate = units::rate(count.per_second as u64, Duration::from_secs(1)).unwrap_or_default();
        let (rate, left) = (format!("{rate:>8}"), left(count.left));
        // From what says most to what says least.
        let lost = "link lost, trying again";
        let path = self.path.unwrap_or_default();
        let (loss, round_trip) = (units::narrow_percent(path.0), units::narrow_millis(path.1));
        let (path, short) =
            (format!("loss {loss}{GAP}RTT {round_trip}"), format!("loss {loss}{GAP}{round_trip}"));
        let choices: &[&[&str]] = match self.phase {
            Phase::Moving if self.path.is_some() => &[
                &[&amount, &rate, &left, &path],
                &[&all, &rate, &left, &short],
                &[&all, &rate, &short],
                &[&rate, &short],
                &[&amount, &rate],
                &[&amount],
            ],
            Phase::Moving => &[&[&amount, &rate, &left], &[&amount, &rate], &[&amount]],
            Phase::Lost => &[&[&amount, lost], &[lost], &["link lost"]],
            Phase::Comparing => &[&[&amount, "comparing"], &[&amount]],
        };
        let bar_min = if columns < WIDE { 0 } else { BAR.start() + 2 + GAP.len() };
        let name_min = columns_of(&self.label).min(SHORT_NAME);
        let mut tail = String::new();
        for choice in choices {
            tail = [&[&*percent], *choice].concat().join(GAP);
            if name_min + GAP.len() + bar_min + columns_of(&tail) <= width {
                break;
            }
        }
        let room = width.saturating_sub(columns_of(&tail) + GAP.len());
        let name = shorten(&self.label, room.saturating_sub(bar_min).min(NAME_WIDTH));
        let room = room.saturating_sub(columns_of(&name));
        let bar = match bar_min {
            0 => String::new(),
            _ => bar(room.saturating_sub(2 + GAP.len()).min(*BAR.end()), count) + GAP,
        };
        shorten(&format!("{name}{GAP}{bar}{tail}"), width)
    }

    /// The line while it is not known yet what must cross the link.
    fn line_before(&self, columns: usize) -> String {
        let width = columns.saturating_sub(1);
        let compared = units::size(self.compared);
        let doing = match (self.phase, self.compared) {
            (Phase::Lost, _) => "link lost, trying again".to_owned(),
            (_, 0) => "...".to_owned(),
            _ if columns < WIDE => format!("comparing {compared}"),
            _ => format!("comparing what is there already  {compared}"),
        };
        let name = shorten(&self.label, width.saturating_sub(columns_of(&doing) + GAP.len()).min(NAME_WIDTH));
        let name = if name.is_empty() { shorten(&self.label, SHORT_NAME) } else { name };
        shorten(&format!("{name}{GAP}{doing}"), width)
    }

    /// The second line.
    fn line_below(&self, columns: usize, moved: u64) -> String {
        let width = columns.saturating_sub(1);
        let held = self
            .held
            .filter(|&held| held > 0)
            .map(|held| format!("{} were there already", units::size(held)));
        let Some(current) = &self.current else {
            let held = held.unwrap_or_default();
            let fits = GAP.len() + columns_of(&held) <= width;
            let held =
                if fits { &*held } else { held.trim_end_matches(" already").trim_end_matches(" were there") };
            return shorten(&format!("{GAP}{held}{}", if fits { "" } else { " there" }), width);
        };
        let size = units::size(moved);
        let fits = |tail: &str| SHORT_NAME + 2 * GAP.len() + columns_of(tail) <= width;
        let with_held = held.map(|held| format!("{size}{GAP} ({held})"));
        let tail =
            with_held.filter(|tail| fits(tail)).or_else(|| fits(&size).then_some(size)).unwrap_or_default();
        let room = width.saturating_sub(columns_of(&tail) + 2 * GAP.len());
        shorten(&format!("{GAP}{}{GAP}{tail}", shorten(current, room.min(NAME_WIDTH))), width)
    }
}

/// A style that is this line.
pub(crate) fn style(
    line: impl Fn(&ProgressState, &mut dyn fmt::Write) + Clone + Send + Sync + 'static,
) -> ProgressStyle {
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("line", line)
}

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The width of the terminal now.
pub(crate) fn columns() -> usize {
    Term::stderr().size_checked().map_or(USUAL_WIDTH, |(_, columns)| columns.into())
}

/// `[====>     ]`, so wide between the brackets.
fn bar(width: usize, count: Count) -> String {
    let full = (u128::from(count.done) * width as u128 / u128::from(count.all.max(1))) as usize;
    let full = full.min(width);
    let head = if full < width { ">" } else { "" };
    format!("[{:<width$}]", "=".repeat(full) + head)
}

/// `12 s left`: without fractions, which only flicker.
fn left(time: Duration) -> String {
    let whole = time.as_secs_f64().round() as u64;
    match whole {
        0..60 => format!("{whole} s left"),
        _ => format!("{} left", units::time(Duration::from_secs(whole))),
    }
}

/// Columns of a text on a terminal.
fn columns_of(text: &str) -> usize {
    text.chars().map(columns_of_char).sum()
}

fn columns_of_char(c: char) -> usize {
    measure_text_width(c.encode_utf8(&mut [0; 4]))
}

/// A text in at most so many columns: of a name, the end says more than the middle.
fn shorten(text: &str, width: usize) -> String {
    if columns_of(text) <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let take = |chars: &mut dyn Iterator<Item = char>, most: usize| {
        let mut used = 0;
        let fits = |c: &char| {
            used += columns_of_char(*c);
            used <= most
        };
        chars.take_while(fits).collect::<String>()
    };
    let tail: String = take(&mut text.chars().rev(), room.div_ceil(2)).chars().rev().collect();
    let head = take(&mut text.chars(), room - room.div_ceil(2));
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(label: &str) -> Shown {
        Shown { label: label.to_owned(), phase: Phase::Moving, ..Shown::default() }
    }

    const COUNT: Count = Count {
        done: 492_000_000,
        all: 1_073_741_824,
        per_second: 268e6,
        left: Duration::from_millis(2_170),
    };

    #[test]
    fn the_template_is_right() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn narrow_terminals_get_less() {
        let line = |columns| shown("chamber.mp4").line(columns, COUNT);
        assert_eq!(
            line(80),
            "chamber.mp4  [=========>           ]   45%  492.0 MB/1.1 GB  268 MB/s  2 s left"
        );
        assert_eq!(line(60), "chamber.mp4  [=====>     ]   45%  492.0 MB/1.1 GB  268 MB/s");
        assert_eq!(line(59), "chamber.mp4   45%  492.0 MB/1.1 GB  268 MB/s  2 s left");
        assert_eq!(line(40), "chamber.mp4   45%  492.0 MB/1.1 GB");
        assert_eq!(line(20), "chamber.mp4   45%");
    }

    #[test]
    fn the_path_is_seen_where_the_link_knows_it() {
        let path = Some((0.0102, Duration::from_micros(100_200)));
        let line = |columns| Shown { path, ..shown("chamber.mp4") }.line(columns, COUNT);
        assert_eq!(
            line(100),
            "chamber.mp4  [========>         ]   45%  492.0 MB/1.1 GB  268 MB/s  2 s left  loss 1.0%  RTT 100 ms"
        );
        assert_eq!(
            line(80),
            "chamber.mp4  [=====>     ]   45%  1.1 GB  268 MB/s  2 s left  loss 1.0%  100 ms"
        );
        assert_eq!(line(60), "chamber.mp4  [=====>     ]   45%  492.0 MB/1.1 GB  268 MB/s");
        assert_eq!(line(50), "chamber.mp4   45%  268 MB/s  loss 1.0%  100 ms");
        assert_eq!(line(40), "chamber.mp4   45%  492.0 MB/1.1 GB");
        assert_eq!(line(20), "chamber.mp4   45%");
    }

    #[test]
    fn a_lost_link_is_seen() {
        let line = |columns| Shown { phase: Phase::Lost, ..shown("chamber.mp4") }.line(columns, COUNT);
        assert!(line(80).ends_with("492.0 MB/1.1 GB  link lost, trying again"), "{}", line(80));
        assert!(line(60).ends_with("]   45%  link lost, trying again"), "{}", line(60));
        assert!(line(40).ends_with("  45%  link lost"), "{}", line(40));
    }

    #[test]
    fn every_line_fits() {
        let names = [
            "a",
            "chamber.mp4",
            "日本語の長い名前の映画ファイル.mp4",
            &"x".repeat(300),
            "e\u{301}\u{301}.mp4",
        ];
        let empty = Count { done: 0, all: 0, per_second: 0.0, left: Duration::ZERO };
        let huge =
            Count { done: u64::MAX, all: u64::MAX, per_second: 1e15, left: Duration::from_secs(1 << 40) };
        for name in names {
            for phase in [Phase::Comparing, Phase::Moving, Phase::Lost] {
                for columns in 1..200 {
                    let current = Some(name.to_owned());
                    let path = (columns % 2 == 0).then_some((1.0, Duration::MAX));
                    let (compared, held) = (12_000_000, Some(1 << 40));
                    let shown = Shown { phase, compared, held, current, path, ..shown(name) };
                    for count in [empty, COUNT, huge] {
                        for line in [shown.line(columns, count), shown.line_below(columns, u64::MAX)] {
                            assert!(columns_of(&line) < columns, "{columns}: {line}");
                        }
                    }
                    assert!(columns < WIDE || shown.line(columns, COUNT).contains("[===="), "{columns}");
                    assert!(columns < 12 || shown.line(columns, COUNT).contains("45%"), "{columns}");
                }
            }
        }
    }

    #[test]
    fn what_was_there_is_seen() {
        let mut shown = Shown { held: Some(492_000_000), ..shown("tree") };
        assert_eq!(shown.line_below(80, 0), "  492.0 MB were there already");
        shown.current = Some("tree/a.mp4".to_owned());
        assert_eq!(shown.line_below(80, 1_000), "  tree/a.mp4  1.0 kB   (492.0 MB were there already)");
        assert_eq!(shown.line_below(40, 1_000), "  tree/a.mp4  1.0 kB");
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shorten("chamber.mp4", 11), "chamber.mp4");
        assert_eq!(shorten("chamber.mp4", 10), "cham…r.mp4");
        assert_eq!(shorten("日本語.mp4", 8), "日….mp4");
        assert_eq!((shorten("ab", 1), shorten("ab", 0)), ("…".to_owned(), String::new()));
    }

    #[test]
    fn bars_follow_a_transfer() {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let mut bars = Bars::new(&multi, "tree", 2);
        bars.compared(40);
        bars.wanted("tree", 100, 40, 0);
        assert_eq!(bars.whole.per_sec(), 0.0);
        bars.moved(60, Some(OsStr::new("a")));
        bars.moved(30, Some(OsStr::new("b")));
        bars.wanted("tree", 10, 0, 1);
        assert_eq!((bars.whole.position(), bars.whole.length()), (130, Some(150)));
        assert_eq!(bars.below.as_ref().map(ProgressBar::position), Some(30));
        bars.lost();
        assert_eq!(lock(&bars.shown).phase, Phase::Lost);
        bars.met();
        bars.wanted("tree", 20, 130, 0);
        let held = lock(&bars.shown).held;
        assert_eq!((lock(&bars.shown).phase, held), (Phase::Moving, Some(40)));
        bars.finish();
    }
}

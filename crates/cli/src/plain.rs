//! What became of a file that nobody repaired: which of its chunks are missing, as numbers and as a strip.

use std::env;
use std::fmt::Write as _;
use std::ops::Range;

use console::Term;
use framing::ChunkSet;
use session::Faults;

use crate::units;

/// Columns of a strip that does not go to a terminal.
const PIPE_COLUMNS: usize = 64;
/// Columns of a list of chunks on a narrow terminal, where it takes several lines.
const LIST_COLUMNS: usize = 72;
/// Columns of the first word of a line.
const LABEL_COLUMNS: usize = 12;

/// What is printed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Canvas {
    columns: usize,
    marks: [char; 3],
}

impl Canvas {
    /// Standard output as it is now.
    pub(crate) fn stdout() -> Self {
        let term = Term::stdout();
        let width = term.is_term().then(|| term.size_checked()).flatten();
        // The last column stays free: some terminals begin a new line there.
        let columns =
            width.map_or(PIPE_COLUMNS, |(_, columns)| usize::from(columns).saturating_sub(1).max(1));
        Self::new(columns, is_utf8(|name| env::var(name).ok()))
    }

    /// Standard error, where a line is drawn of a width that is told.
    pub(crate) fn stderr() -> Self {
        Self::new(PIPE_COLUMNS, is_utf8(|name| env::var(name).ok()))
    }

    /// Columns of a line.
    pub(crate) const fn columns(self) -> usize {
        self.columns
    }

    /// What stands for something whole.
    pub(crate) const fn full(self) -> char {
        self.marks[0]
    }

    /// A stream of so many packets as a line of so many characters: those below `reached` have come or are lost, the others
    /// are still to come.
    pub(crate) fn stream(self, count: u64, reached: u64, came: &ChunkSet, columns: usize) -> String {
        let slices = count.clamp(1, columns.max(1) as u64);
        let start = |slice: u64| (u128::from(slice) * u128::from(count) / u128::from(slices)) as u64;
        let mark = |slice| {
            let (start, end) = (start(slice), start(slice + 1).min(reached));
            match came.count_in(start..end.max(start)) {
                _ if end <= start => ' ',
                here if here == end - start => self.marks[0],
                0 => self.marks[2],
                _ => self.marks[1],
            }
        };
        (0..slices).map(mark).collect()
    }

    pub(crate) const fn new(columns: usize, is_utf8: bool) -> Self {
        Self { columns, marks: if is_utf8 { ['█', '▒', '·'] } else { ['#', '+', '.'] } }
    }

    /// What is said of the chunks of a file, when there is something to say. Nothing in it is words of others.
    pub(crate) fn faults(self, faults: &Faults) -> Option<String> {
        let Faults { chunks, lost, damaged, duplicated, reordered } = faults;
        let mut lines = Vec::new();
        let sets =
            [("lost", lost), ("damaged", damaged), ("duplicated", duplicated), ("reordered", reordered)];
        for (word, set) in sets.into_iter().filter(|(_, set)| !set.is_empty()) {
            let head = format!(
                "{word:<LABEL_COLUMNS$}{} of {}: ",
                set.len(),
                units::count(*chunks, "chunk", "chunks")
            );
            let room = self.columns.max(LIST_COLUMNS).saturating_sub(head.len());
            lines.push(format!("{head}{}", list(set, room)));
        }
        if !faults.is_whole() {
            let [whole, partly, none] = self.marks;
            lines.push(self.strip(*chunks, lost, damaged));
            let or_damaged = if damaged.is_empty() { "" } else { " or damaged" };
            lines.push(format!("{whole} whole   {partly} partly lost{or_damaged}   {none} lost{or_damaged}"));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The file as a line of characters, each a slice of it; a short file has one for each chunk.
    fn strip(self, chunks: u64, lost: &ChunkSet, damaged: &ChunkSet) -> String {
        let mut bad = lost.clone();
        bad.extend(damaged);
        let slices = chunks.min(self.columns as u64);
        // In 128 bits, where no file is too long.
        let start = |slice: u64| (u128::from(slice) * u128::from(chunks) / u128::from(slices)) as u64;
        let mark = |slice| {
            let slice = start(slice)..start(slice + 1);
            match bad.count_in(slice.clone()) {
                0 => self.marks[0],
                count if count < slice.end - slice.start => self.marks[1],
                _ => self.marks[2],
            }
        };
        (0..slices).map(mark).collect()
    }
}

/// How many chunks did not come as they were sent: part of a sentence.
pub(crate) fn loss(faults: &Faults) -> String {
    let (lost, damaged) = (faults.lost.len(), faults.damaged.len());
    let chunks = units::count(faults.chunks, "chunk", "chunks");
    let were = |count: u64| if count == 1 { "was" } else { "were" };
    match (lost, damaged) {
        (0, 0) => format!("its {chunks} came, but not as they were sent"),
        (_, 0) => format!("{lost} of {chunks} {} lost", were(lost)),
        (0, _) => format!("{damaged} of {chunks} {} damaged", were(damaged)),
        _ => format!("{lost} of {chunks} {} lost and {damaged} damaged", were(lost)),
    }
}

/// All chunks of a set: `3,17-19,40`.
pub(crate) fn ranges(set: &ChunkSet) -> String {
    let mut text = String::new();
    for range in set.ranges() {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&numbers(&range));
    }
    text
}

/// As many chunks of a set as there is room for, and how many more there are: `3, 17-19 and 12 more`.
fn list(set: &ChunkSet, room: usize) -> String {
    let mut text = String::new();
    let mut left = set.len();
    for range in set.ranges() {
        let numbers = numbers(&range);
        let after = left - (range.end - range.start);
        let more = if after > 0 { format!(" and {after} more") } else { String::new() };
        if !text.is_empty() {
            if text.len() + 2 + numbers.len() + more.len() > room {
                let _ = write!(text, " and {left} more");
                return text;
            }
            text.push_str(", ");
        }
        text.push_str(&numbers);
        left = after;
    }
    text
}

fn numbers(range: &Range<u64>) -> String {
    match range.end - range.start {
        1 => range.start.to_string(),
        _ => format!("{}-{}", range.start, range.end - 1),
    }
}

/// Whether the locale's characters are UTF-8, by the variables in the order that POSIX gives them.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set<const N: usize>(ranges: [Range<u64>; N]) -> ChunkSet {
        ranges.into_iter().collect()
    }

    fn faults(chunks: u64, lost: ChunkSet, damaged: ChunkSet) -> Faults {
        Faults { chunks, lost, damaged, ..Faults::default() }
    }

    #[test]
    fn the_report_has_numbers_and_a_strip() {
        let lost = set([3..4, 17..20, 40..41]);
        let reordered =
            Faults { reordered: ChunkSet::from(7..8), ..faults(64, lost.clone(), ChunkSet::new()) };
        assert_eq!(
            Canvas::new(64, false).faults(&reordered).unwrap(),
            "lost        5 of 64 chunks: 3, 17-19, 40\n\
             reordered   1 of 64 chunks: 7\n\
             ###.#############...####################.#######################\n\
             # whole   + partly lost   . lost"
        );
        let damaged = faults(64, lost, ChunkSet::from(0..4));
        assert_eq!(
            Canvas::new(16, true).faults(&damaged).unwrap(),
            "lost        5 of 64 chunks: 3, 17-19, 40\n\
             damaged     4 of 64 chunks: 0-3\n\
             ·███▒█████▒█████\n\
             █ whole   ▒ partly lost or damaged   · lost or damaged"
        );
    }

    #[test]
    fn a_whole_file_needs_no_strip() {
        let whole = Faults { chunks: 9, ..Faults::default() };
        assert_eq!(Canvas::new(64, false).faults(&whole), None);
        let doubled = Faults { duplicated: ChunkSet::from(2..3), ..whole };
        let said = Canvas::new(64, false).faults(&doubled).unwrap();
        assert_eq!(said, "duplicated  1 of 9 chunks: 2");
    }

    #[test]
    fn every_chunk_is_in_one_slice() {
        for chunks in [1, 2, 63, 64, 65, 758, 100_003] {
            for columns in [1, 2, 63, 64, 200] {
                let canvas = Canvas::new(columns, false);
                let none = ChunkSet::new();
                let strip = canvas.strip(chunks, &none, &none);
                assert_eq!(strip.len() as u64, chunks.min(columns as u64));
                assert!(strip.bytes().all(|mark| mark == b'#'));
                let all = ChunkSet::from(0..chunks);
                assert!(canvas.strip(chunks, &all, &none).bytes().all(|mark| mark == b'.'));
                for chunk in [0, chunks / 2, chunks - 1] {
                    let strip = canvas.strip(chunks, &none, &ChunkSet::from(chunk..chunk + 1));
                    assert_eq!(strip.bytes().filter(|mark| *mark != b'#').count(), 1, "{chunk} of {chunks}");
                }
            }
        }
        let none = ChunkSet::new();
        assert_eq!(Canvas::new(64, false).strip(u64::MAX, &none, &none), "#".repeat(64));
        assert_eq!(Canvas::new(64, false).strip(0, &none, &none), "");
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let many: ChunkSet = (0..1000).map(|number| number * 10..number * 10 + 1).collect();
        let text = list(&many, 40);
        assert_eq!(text, "0, 10, 20, 30, 40, 50, 60 and 993 more");
        assert_eq!(list(&many, 0), "0 and 999 more");
        assert_eq!(list(&ChunkSet::from(5..9), 0), "5-8");
        assert_eq!(list(&set([5..9, 12..13]), 100), "5-8, 12");
        assert_eq!(ranges(&set([5..9, 12..13])), "5-8,12");
        assert_eq!(ranges(&ChunkSet::new()), "");
        for room in 20..200 {
            assert!(list(&many, room).len() <= room, "{room}");
        }
    }

    #[test]
    fn the_loss_is_a_sentence() {
        let (none, one, two) = (ChunkSet::new, || ChunkSet::from(0..1), || ChunkSet::from(4..6));
        assert_eq!(loss(&faults(9, one(), none())), "1 of 9 chunks was lost");
        assert_eq!(loss(&faults(9, two(), none())), "2 of 9 chunks were lost");
        assert_eq!(loss(&faults(1, none(), one())), "1 of 1 chunk was damaged");
        assert_eq!(loss(&faults(9, two(), one())), "2 of 9 chunks were lost and 1 damaged");
    }

    #[test]
    fn the_locale_decides_on_the_characters() {
        let of = |values: [&'static str; 3]| {
            is_utf8(|name| {
                let at = ["LC_ALL", "LC_CTYPE", "LANG"].iter().position(|known| *known == name)?;
                (values[at] != "-").then(|| values[at].to_owned())
            })
        };
        assert!(of(["-", "-", "de_AT.UTF-8"]));
        assert!(of(["-", "C.utf8", "C"]));
        assert!(of(["", "en_US.UTF-8", "-"]));
        assert!(!of(["C", "en_US.UTF-8", "en_US.UTF-8"]));
        assert!(!of(["-", "-", "-"]));
        assert!(!of(["POSIX", "-", "-"]));
    }
}

//! Progress bars.

use std::ffi::OsStr;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{escape, units};

/// The line for all that is transferred.
const WHOLE: &str =
    "{msg}  [{wide_bar}]  {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";
/// The line for what is done before anything is transferred.
const BEFORE: &str = "{spinner} {msg}";
/// The line for the file that is being transferred, when there are several.
const CURRENT: &str = "  {msg}  {decimal_bytes}";
/// The most characters of a name on a line.
const NAME_WIDTH: usize = 40;
/// How often the lines are drawn anew when nothing moves, so that the rate and the time left stay true.
const TICK: Duration = Duration::from_millis(250);

/// The bars of one transfer.
#[derive(Debug)]
pub(crate) struct Bars {
    multi: MultiProgress,
    whole: ProgressBar,
    current: Option<ProgressBar>,
    compared: u64,
    is_moving: bool,
}

impl Bars {
    /// Bars for a transfer called so, with a line for the current file when there are several.
    pub(crate) fn new(multi: &MultiProgress, label: &str, files: u64) -> Self {
        let whole = multi.add(ProgressBar::new(0).with_style(style(BEFORE)));
        whole.set_message(short(label));
        whole.enable_steady_tick(TICK);
        let current = (files > 1).then(|| multi.add(ProgressBar::no_length().with_style(style(CURRENT))));
        Self { multi: multi.clone(), whole, current, compared: 0, is_moving: false }
    }

    /// So many more bytes were compared.
    pub(crate) fn compared(&mut self, label: &str, bytes: u64) {
        self.compared += bytes;
        if !self.is_moving {
            let message =
                format!("{}  comparing what is there already  {}", short(label), units::size(self.compared));
            self.whole.set_message(message);
        }
    }

    /// So much is to cross the link, beside what is there already.
    pub(crate) fn wanted(&mut self, label: &str, bytes: u64, held: u64, round: u32) {
        if round > 0 {
            self.whole.inc_length(bytes);
            return;
        }
        self.is_moving = true;
        self.whole.set_message(short(label));
        // In this order: what is held already did not come at any rate.
        self.whole.set_position(held);
        self.whole.set_length(bytes + held);
        self.whole.reset_eta();
        self.whole.set_style(style(WHOLE).progress_chars("=> "));
    }

    /// So many more bytes crossed the link; `new_file` names the file when it is another than before.
    pub(crate) fn moved(&self, bytes: u64, new_file: Option<&OsStr>) {
        self.whole.inc(bytes);
        if let Some(current) = &self.current {
            if let Some(name) = new_file {
                current.set_message(short(&escape::name(name)));
                current.set_position(0);
            }
            current.inc(bytes);
        }
    }

    /// Takes the lines away.
    pub(crate) fn finish(&self) {
        self.whole.finish_and_clear();
        if let Some(current) = &self.current {
            current.finish_and_clear();
            self.multi.remove(current);
        }
        self.multi.remove(&self.whole);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A name that fits on a line beside other things: its end says more than its middle.
fn short(name: &str) -> String {
    let len = name.chars().count();
    if len <= NAME_WIDTH {
        return name.to_owned();
    }
    let head = name.chars().take(NAME_WIDTH / 2 - 1);
    let tail = name.chars().skip(len - NAME_WIDTH / 2);
    head.chain(['…']).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_right() {
        for template in [WHOLE, BEFORE, CURRENT] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(short("chamber.mp4"), "chamber.mp4");
        let long = format!("{}-{}.mp4", "a".repeat(100), "b".repeat(100));
        assert_eq!(short(&long).chars().count(), NAME_WIDTH);
        assert!(short(&long).starts_with("aaa"));
        assert!(short(&long).ends_with("b.mp4"));
    }

    #[test]
    fn bars_follow_a_transfer() {
        let multi = MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden());
        let mut bars = Bars::new(&multi, "tree", 2);
        bars.compared("tree", 40);
        assert!(bars.whole.message().contains("comparing"));
        bars.wanted("tree", 100, 40, 0);
        assert_eq!(bars.whole.per_sec(), 0.0);
        bars.moved(60, Some(OsStr::new("a")));
        bars.moved(30, Some(OsStr::new("b")));
        bars.wanted("tree", 10, 0, 1);
        assert_eq!((bars.whole.position(), bars.whole.length()), (130, Some(150)));
        assert_eq!(bars.current.as_ref().map(ProgressBar::position), Some(30));
        bars.finish();
    }
}

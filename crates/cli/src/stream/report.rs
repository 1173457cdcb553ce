//! What became of a stream, in words, numbers and bars.

use serde_json::{Value, json};
use session::{Bar, Gaps, StreamReport};

use crate::exit::Exit;
pub(super) use crate::plain::Canvas;
use crate::{json, units};

/// Columns of the first word of a line.
const LABEL_COLUMNS: usize = 12;
/// The most columns of a bar.
const BAR_COLUMNS: u64 = 40;

/// What a person reads.
pub(super) fn text(report: &StreamReport, canvas: Canvas) -> String {
    let plan = &report.plan;
    let packets = units::count(plan.count, "packet", "packets");
    let apart = units::interval(plan.interval);
    let mut lines = vec![line("stream", &format!("{packets} of {} bytes, {apart} apart", plan.size))];
    let (sent, of) = match report.sent {
        Some(sent) => (sent.to_string(), sent),
        None => ("not known: the server is gone".to_owned(), report.arrived + report.lost),
    };
    let stopped = if report.stopped { ", then it was stopped" } else { "" };
    let left_out = match report.sent {
        Some(sent) if !report.stopped && sent < plan.count => {
            format!("; {} left out, which the path had no room for", plan.count - sent)
        }
        _ => String::new(),
    };
    lines.push(line("sent", &format!("{sent}{stopped}{left_out}")));
    lines.push(line("arrived", &report.arrived.to_string()));
    let missed = match report.missed {
        0 => String::new(),
        missed => format!("; {missed} of them came, and this program was too busy to take them"),
    };
    let share = units::percent(report.lost, of);
    lines.push(line("lost", &format!("{} ({share}){missed}", report.lost)));
    lines.push(line("duplicated", &report.duplicated.to_string()));
    lines.push(line("reordered", &report.reordered.to_string()));
    if let Some(gaps) = &report.gaps {
        let (last, mean) = (units::nanos(report.jitter as u64), units::nanos(report.mean_jitter as u64));
        lines.push(line("jitter", &format!("{last} at the end, {mean} in the mean (RFC 3550)")));
        lines.push(line("apart", &apart_line(gaps)));
        lines.extend(histogram(&gaps.histogram, canvas));
    }
    lines.join("\n")
}

/// For a script.
pub(super) fn object(report: &StreamReport, server: &str, exit: Exit) -> Value {
    let mut object = json::event("stream");
    object.extend(json::stream_plan(report.plan, report.sent));
    let gaps = report.gaps.as_ref();
    let bars: Vec<Value> = gaps.map_or(&[][..], |gaps| &gaps.histogram).iter().map(bar_object).collect();
    let fields = json!({
        "peer": server,
        "arrived": report.arrived,
        "lost": report.lost,
        "duplicated": report.duplicated,
        "reordered": report.reordered,
        "missed": report.missed,
        "jitter_ns": report.jitter,
        "jitter_mean_ns": report.mean_jitter,
        "gap_min_ns": gaps.map(|gaps| gaps.min),
        "gap_mean_ns": gaps.map(|gaps| gaps.mean),
        "gap_p50_ns": gaps.map(|gaps| gaps.p50),
        "gap_p99_ns": gaps.map(|gaps| gaps.p99),
        "gap_max_ns": gaps.map(|gaps| gaps.max),
        "histogram": bars,
        "stopped": report.stopped,
        "exit_code": exit.code(),
    });
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    object.into()
}

fn bar_object(bar: &Bar) -> Value {
    json!({ "from_ns": bar.from, "to_ns": bar.to, "count": bar.count })
}

fn line(label: &str, text: &str) -> String {
    format!("{label:<LABEL_COLUMNS$}{text}")
}

fn apart_line(gaps: &Gaps) -> String {
    let of = units::nanos;
    format!(
        "min {}   mean {}   p50 {}   p99 {}   max {}",
        of(gaps.min),
        of(gaps.mean as u64),
        of(gaps.p50),
        of(gaps.p99),
        of(gaps.max)
    )
}

/// A line for each bar: its range, itself, and how many are in it.
fn histogram(bars: &[Bar], canvas: Canvas) -> Vec<String> {
    let (Some(first), Some(last)) = (bars.first(), bars.last()) else { return Vec::new() };
    let step = first.to.map_or(1, |to| to - first.from).max(1);
    let unit = units::TimeUnit::of(last.to.unwrap_or(last.from), step);
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(1).max(1);
    let width = unit.show(last.to.unwrap_or(last.from)).len();
    let room = (canvas.columns().saturating_sub(LABEL_COLUMNS + 2 * width + 16) as u64).clamp(8, BAR_COLUMNS);
    let digits = most.to_string().len();
    let shown = |bar: &Bar| {
        let (from, name) = (unit.show(bar.from), unit.name());
        let range = match bar.to {
            Some(to) => format!("{from:>width$} to {:>width$} {name}", unit.show(to)),
            None => format!("{from:>width$} {name} or more"),
        };
        let columns = (2 * width + " to  ".len() + name.len()).max(width + name.len() + " or more ".len());
        let drawn = canvas.full().to_string().repeat((bar.count * room).div_ceil(most) as usize);
        let line = format!("{:LABEL_COLUMNS$}{range:<columns$}  {:>digits$}  {drawn}", "", bar.count);
        line.trim_end().to_owned()
    };
    bars.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use session::StreamPlan;

    use super::*;

    fn report() -> StreamReport {
        let bars = [(4_600_000, 2), (4_800_000, 40), (5_000_000, 51), (5_200_000, 0)];
        let mut histogram: Vec<Bar> = bars
            .iter()
            .map(|(from, count)| Bar { from: *from, to: Some(from + 200_000), count: *count })
            .collect();
        histogram.push(Bar { from: 5_400_000, to: None, count: 1 });
        let gaps = Gaps {
            min: 4_712_000,
            mean: 5_155_000.4,
            p50: 5_001_000,
            p99: 5_210_000,
            max: 19_000_000,
            histogram,
        };
        StreamReport {
            plan: StreamPlan { count: 100, interval: 5_000_000, size: 256 },
            sent: Some(100),
            arrived: 95,
            lost: 5,
            duplicated: 0,
            reordered: 2,
            missed: 0,
            jitter: 412_345.0,
            mean_jitter: 98_765.0,
            gaps: Some(gaps),
            stopped: false,
        }
    }

    #[test]
    fn a_person_reads_it() {
        let expected = "\
stream      100 packets of 256 bytes, 5 ms apart
sent        100
arrived     95
lost        5 (5.00 %)
duplicated  0
reordered   2
jitter      0.41 ms at the end, 98.8 us in the mean (RFC 3550)
apart       min 4.71 ms   mean 5.16 ms   p50 5.00 ms   p99 5.21 ms   max 19.0 ms
            4.6 to 4.8 ms    2  ##
            4.8 to 5.0 ms   40  ################################
            5.0 to 5.2 ms   51  ########################################
            5.2 to 5.4 ms    0
            5.4 ms or more   1  #";
        let shown = text(&report(), Canvas::new(80, false));
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_went_wrong_is_said() {
        let short = StreamReport { sent: Some(90), missed: 1, ..report() };
        let shown = text(&short, Canvas::new(80, false));
        assert!(shown.contains("sent        90; 10 left out, which the path had no room for\n"), "{shown}");
        assert!(shown.contains("1 of them came, and this program was too busy to take them\n"), "{shown}");
        let stopped = StreamReport { sent: Some(90), stopped: true, ..report() };
        assert!(text(&stopped, Canvas::new(80, false)).contains("sent        90, then it was stopped\n"));
        let cut = StreamReport { sent: None, ..report() };
        assert!(text(&cut, Canvas::new(80, false)).contains("sent        not known: the server is gone\n"));
        let none = StreamReport { gaps: None, arrived: 1, sent: Some(1), lost: 0, ..report() };
        assert!(text(&none, Canvas::new(80, false)).ends_with("reordered   2"));
    }

    #[test]
    fn what_is_all_equal_is_one_line() {
        let bars = [Bar { from: 10_000_000, to: Some(10_001_000), count: 99 }];
        let lines = histogram(&bars, Canvas::new(80, false));
        assert_eq!(lines, [format!("{:12}10.000 to 10.001 ms  99  {}", "", "#".repeat(40))]);
    }

    #[test]
    fn a_script_gets_everything() {
        let object = object(&report(), "nas:8121", Exit::Done);
        let expected = json!({
            "event": "stream", "peer": "nas:8121", "count": 100, "interval_ns": 5_000_000, "size": 256, "sent": 100,
            "arrived": 95, "lost": 5, "duplicated": 0, "reordered": 2, "missed": 0, "jitter_ns": 412_345.0,
            "jitter_mean_ns": 98_765.0, "gap_min_ns": 4_712_000, "gap_mean_ns": 5_155_000.4, "gap_p50_ns": 5_001_000,
            "gap_p99_ns": 5_210_000, "gap_max_ns": 19_000_000, "stopped": false, "exit_code": 0,
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&object[key], value, "{key}");
        }
        assert_eq!(object["histogram"][4], json!({ "from_ns": 5_400_000, "to_ns": null, "count": 1 }));
    }
}

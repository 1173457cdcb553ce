//! Draws `plots/*.svg` for the README: what the control law does, in virtual time.
//!
//! `cargo run -p arq --release --example plots`

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::fmt::Write as _;
use std::time::Duration;

use netsim::{Direction, Faults, Loss, Queue, Window};
use simulation::{Moment, Scenario, World};

/// Time between two points of a curve, in seconds.
const STEP: f64 = 0.05;
/// Points that a rate is the mean of.
const FEW: usize = 5;
const WIDTH: f64 = 760.0;
const LEFT: f64 = 64.0;
const PANEL: f64 = 84.0;
const GAP: f64 = 36.0;
const TOP: f64 = 52.0;
/// One for each flow.
const COLOURS: [&str; 2] = ["#1f5fa8", "#c4541a"];
/// More than any run transfers.
const ENDLESS: u64 = 1 << 30;

/// A link of so many Mbit/s and milliseconds of round-trip time, with a queue in bandwidth-delay products.
fn link(mbit: f64, rtt: f64, queue: f64) -> Faults {
    let bdp = mbit * 1e6 / 8.0 * rtt / 1000.0;
    Faults {
        rate: Some((mbit * 1e6) as u64),
        delay: Duration::from_secs_f64(rtt / 2000.0),
        queue: Some(Queue::Bytes((bdp * queue) as u64)),
        overhead: 28,
        ..Faults::default()
    }
}

/// What is drawn.
struct Plot {
    name: &'static str,
    title: &'static str,
    seconds: f64,
    /// Of the path without a queue, in milliseconds.
    rtt: f64,
    /// The longest queue, in round-trip times.
    queue: f64,
    /// Mbit/s from these times on.
    rates: Vec<(f64, f64)>,
    flows: Vec<Vec<Moment>>,
}

fn run(faults: &Faults, seconds: f64, prepare: impl FnOnce(&mut World)) -> Vec<Vec<Moment>> {
    let mut scenario = Scenario::new(faults, ENDLESS);
    scenario.trace = Some(Duration::from_secs_f64(STEP));
    let mut world = World::new(scenario, 1);
    prepare(&mut world);
    world.run_to(Duration::from_secs_f64(seconds));
    world.reports().into_iter().map(|report| report.moments).collect()
}

fn plots() -> Vec<Plot> {
    let fast = link(100.0, 100.0, 1.0);
    let lossy = Faults { loss: Loss::Bernoulli(0.2), ..fast.clone() };
    let shallow = link(100.0, 100.0, 0.05);
    let dark = Window { start: Duration::from_secs(3), length: Duration::from_secs(3) };
    let dark = Faults { blackouts: vec![dark], ..fast.clone() };
    let slower = link(50.0, 100.0, 2.0);
    let shared = link(50.0, 40.0, 1.0);
    let nothing = |_: &mut World| {};
    let change = move |world: &mut World| {
        world.at(Duration::from_secs(4), |world| world.network.link_mut(Direction::Up).change(slower));
    };
    let join = |world: &mut World| {
        let scenario = world.flows[0].scenario.clone();
        world.join(scenario, 2, Duration::from_secs(5));
    };
    let alone = |name, title, seconds, flows| Plot {
        name,
        title,
        seconds,
        rtt: 100.0,
        queue: 1.0,
        rates: vec![(0.0, 100.0)],
        flows,
    };
    vec![
        alone("clean", "A clean start: 100 Mbit/s, 100 ms, a queue of 1 BDP", 6.0, run(&fast, 6.0, nothing)),
        alone(
            "loss",
            "20 % of all packets lost, both ways: 100 Mbit/s, 100 ms",
            6.0,
            run(&lossy, 6.0, nothing),
        ),
        alone("shallow", "A queue of 0.05 BDP (62 kB): 100 Mbit/s, 100 ms", 6.0, run(&shallow, 6.0, nothing)),
        alone(
            "blackout",
            "Nothing passes from 3 s to 6 s: 100 Mbit/s, 100 ms",
            9.0,
            run(&dark, 9.0, nothing),
        ),
        Plot {
            queue: 2.0,
            rates: vec![(0.0, 100.0), (4.0, 50.0)],
            ..alone(
                "half",
                "The link becomes half as fast at 4 s: 100 ms, 1.25 MB of queue",
                10.0,
                run(&fast, 10.0, change),
            )
        },
        Plot {
            rtt: 40.0,
            rates: vec![(0.0, 50.0)],
            ..alone(
                "two",
                "A second flow joins at 5 s: 50 Mbit/s, 40 ms, a queue of 1 BDP",
                30.0,
                run(&shared, 30.0, join),
            )
        },
    ]
}

/// A colour, a width, and points.
type Curve = (&'static str, f64, Vec<(f64, f64)>);

/// One of the panels of a plot.
struct Panel {
    name: &'static str,
    most: f64,
    curves: Vec<Curve>,
}

/// How much a number grows each second, over a few points.
fn growth(moments: &[Moment], number: impl Fn(&Moment) -> u64) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for few in moments.windows(FEW) {
        if let (Some(first), Some(last)) = (few.first(), few.last()) {
            let seconds = (last.at - first.at).as_secs_f64().max(1e-9);
            let grown = number(last).saturating_sub(number(first)) as f64;
            points.push(((last.at + first.at).as_secs_f64() / 2.0, grown / seconds));
        }
    }
    points
}

fn curve(moments: &[Moment], number: impl Fn(&Moment) -> f64) -> Vec<(f64, f64)> {
    moments.iter().map(|moment| (moment.at.as_secs_f64(), number(moment))).collect()
}

fn panels(plot: &Plot) -> Vec<Panel> {
    let top = plot.rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let mut rate = Panel {
        name: "rate, Mbit/s (thick: what arrives; thin: pacing)",
        most: top * 1.6,
        curves: Vec::new(),
    };
    let mut rtt = Panel {
        name: "smoothed round-trip time, ms",
        most: plot.rtt * plot.queue.max(1.2) + plot.rtt,
        curves: Vec::new(),
    };
    let mut queue = Panel {
        name: "queue at the bottleneck, ms",
        most: plot.rtt * plot.queue.max(1.2),
        curves: Vec::new(),
    };
    let mut loss = Panel { name: "packets found to be lost, %", most: 50.0, curves: Vec::new() };
    let mut limit = Vec::new();
    for (at, (from, mbit)) in plot.rates.iter().enumerate() {
        let to = plot.rates.get(at + 1).map_or(plot.seconds, |(to, _)| *to);
        limit.extend([(*from, *mbit), (to, *mbit)]);
    }
    rate.curves.push(("#999999", 0.8, limit));
    for (moments, colour) in plot.flows.iter().zip(COLOURS) {
        rate.curves.push((colour, 0.7, curve(moments, |moment| moment.trace.pacing_rate * 8e-6)));
        let goodput = growth(moments, |moment| moment.delivered);
        rate.curves.push((colour, 2.0, goodput.into_iter().map(|(at, bytes)| (at, bytes * 8e-6)).collect()));
        rtt.curves.push((
            colour,
            1.2,
            curve(moments, |moment| moment.trace.smoothed_rtt.as_secs_f64() * 1e3),
        ));
        let (lost, sent) = (growth(moments, |moment| moment.lost), growth(moments, |moment| moment.sent));
        let share = lost.iter().zip(&sent).map(|(lost, sent)| (lost.0, 100.0 * lost.1 / sent.1.max(1.0)));
        loss.curves.push((colour, 1.2, share.collect()));
    }
    if let Some(moments) = plot.flows.first() {
        queue.curves.push(("#444444", 1.0, curve(moments, |moment| moment.queue.as_secs_f64() * 1e3)));
    }
    vec![rate, rtt, queue, loss]
}

fn draw(plot: &Plot) -> String {
    let panels = panels(plot);
    let height = TOP + panels.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"14\">{}</text>\n",
        plot.title
    );
    for (n, panel) in panels.iter().enumerate() {
        draw_panel(&mut svg, plot, panel, TOP + n as f64 * (PANEL + GAP));
    }
    let (x, y) = (WIDTH - 12.0, height - 6.0);
    let _ = write!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">seconds</text>\n</svg>\n");
    svg
}

/// The multiples of a step from 0 to a value.
fn ticks(step: f64, most: f64) -> impl Iterator<Item = f64> {
    (0..=(most / step) as u32).map(move |n| f64::from(n) * step)
}

fn draw_panel(svg: &mut String, plot: &Plot, panel: &Panel, top: f64) {
    let width = WIDTH - LEFT - 12.0;
    let x = |at: f64| LEFT + at / plot.seconds * width;
    let y = |value: f64| top + PANEL * (1.0 - (value / panel.most).clamp(0.0, 1.0));
    for tick in ticks(nice(plot.seconds / 12.0), plot.seconds) {
        let (at, below) = (x(tick), top + PANEL + 13.0);
        let _ = writeln!(svg, "<path d=\"M{at:.0} {top}v{PANEL}\" stroke=\"#eee\"/>");
        let _ = writeln!(svg, "<text x=\"{at:.0}\" y=\"{below}\" text-anchor=\"middle\">{tick}</text>");
    }
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width}\" height=\"{PANEL}\" fill=\"none\" stroke=\"#ccc\"/>"
    );
    let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" fill=\"#555\">{}</text>", LEFT, top - 5.0, panel.name);
    for tick in ticks(nice(panel.most / 3.0), panel.most) {
        let (left, at) = (LEFT - 5.0, y(tick) + 4.0);
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"{at:.0}\" text-anchor=\"end\">{tick}</text>");
    }
    for (colour, stroke, points) in &panel.curves {
        let mut line: Vec<String> =
            points.iter().map(|(at, value)| format!("{:.0},{:.0}", x(*at), y(*value))).collect();
        line.dedup();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{stroke}\" points=\"{}\"/>",
            line.join(" ")
        );
    }
}

/// 1, 2 or 5 times a power of ten, not below this.
fn nice(value: f64) -> f64 {
    let mut unit = 0.01;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if unit * factor >= value {
                return unit * factor;
            }
        }
        unit *= 10.0;
    }
}

fn main() -> std::io::Result<()> {
    for plot in plots() {
        let path = format!("{}/plots/{}.svg", env!("CARGO_MANIFEST_DIR"), plot.name);
        std::fs::write(&path, draw(&plot))?;
        println!("{path}");
    }
    Ok(())
}

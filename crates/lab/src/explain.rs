//! A sentence on what a run shows, made of what was measured in it.

use crate::bed::{Arrived, Run};
use crate::matrix::{Case, Way};

/// Bytes of a chunk.
const CHUNK: u64 = framing::CHUNK_LEN as u64;

/// What a run is to be explained with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) case: &'a Case,
    pub(crate) way: Way,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Seconds that the same way took where nothing happened to any packet.
    pub(crate) clean: Option<f64>,
    /// Whether it was a relay, which can't touch packets.
    pub(crate) relayed: bool,
}

impl Scene<'_> {
    /// How much longer a run took than on the clean path.
    fn slower(&self, run: &Run) -> String {
        match self.clean.map(|clean| run.seconds / clean) {
            Some(times) if times >= 1.15 => format!("it took {times:.1} times as long as on the clean path"),
            Some(_) => "it took no longer than on the clean path".to_owned(),
            None => format!("it took {:.2} s", run.seconds),
        }
    }

    fn is_slower(&self, run: &Run) -> bool {
        self.clean.is_some_and(|clean| run.seconds / clean >= 1.15)
    }

    /// Whether the path is longer than that of the other cases.
    fn is_far(&self) -> bool {
        self.case.is_far
    }
}

/// Explains what came of a run.
pub(crate) fn explain(scene: Scene<'_>, run: &Run) -> String {
    match (scene.way, run.arrived) {
        (_, Arrived::Wrong) => "A wrong file under its final name: this must never happen.".to_owned(),
        (Way::Plain, _) => plain(run, scene.bytes),
        (_, Arrived::No | Arrived::Damaged) => unfinished(scene.way, run),
        (Way::Tcp, Arrived::Whole) => tcp(scene, run),
        (Way::Udp, Arrived::Whole) => udp(scene, run),
    }
}

fn unfinished(way: Way, run: &Run) -> String {
    let retransmitted = Run::counted(run.client.as_ref(), "TcpRetransSegs");
    match (way, run.code) {
        (Way::Tcp, None) if retransmitted > 0 => format!(
            "Not done in {:.0} s: TCP takes every loss for a queue that is full and goes slower; it sent {retransmitted} segments again, and waits longer before each next try.",
            run.seconds
        ),
        (_, None) => format!("Not done in {:.0} s.", run.seconds),
        (_, Some(code)) => format!("The client gave up with exit code {code}."),
    }
}

fn tcp(scene: Scene<'_>, run: &Run) -> String {
    if scene.relayed {
        return "The relay cannot lose packets of TCP: it stalls and cuts the stream, so this row says nothing of loss.".to_owned();
    }
    let again = Run::counted(run.client.as_ref(), "TcpRetransSegs");
    let refused = Run::counted(run.server.as_ref(), "TcpInCsumErrors");
    let repaired = repaired(run, scene.bytes);
    let damaged = run.up.count("corrupted");
    if repaired > 0 && damaged > 0 {
        let again = match run.retries {
            0 => String::new(),
            times => {
                format!(" (a frame's header was hit too: it connected again {times} times, and went on)")
            }
        };
        return format!(
            "{damaged} damaged segments passed TCP's 16-bit sum; the CRC-32C of the frames did not let them through, and {repaired} chunks were sent once more{again}."
        );
    }
    if refused > 0 {
        return format!(
            "The kernel found {refused} segments with a wrong sum and dropped them; {again} were sent again. To a program, damage is loss."
        );
    }
    if run.up.count("blacked_out") > 0 {
        return format!(
            "{} segments went into the dark; TCP tried again after pauses that double each time, and went on when one of them came through ({again} sent again).",
            run.up.count("blacked_out")
        );
    }
    if run.up.lost() > 0 {
        let effect =
            if scene.is_slower(run) { "each loss made TCP slower" } else { "so few of them harm little" };
        return format!(
            "The kernel sent {again} segments again, and the program saw nothing of it; {effect}: {}.",
            scene.slower(run)
        );
    }
    if run.up.count("reordered") > 0 {
        return format!(
            "The kernel puts segments in order; taken for lost and sent again: {again}; {}.",
            scene.slower(run)
        );
    }
    if run.up.count("duplicated") > 0 {
        return format!("The kernel threw {} copies away.", run.up.count("duplicated"));
    }
    if scene.is_far() {
        return format!(
            "TCP starts slowly and doubles its rate each round trip, which is most of the time of a small file: {}.",
            scene.slower(run)
        );
    }
    if scene.is_slower(run) {
        return format!(
            "Nothing was lost; the link is slower, and what waits for it waits in its queue: {}.",
            scene.slower(run)
        );
    }
    "Nothing happened to any packet, and nothing was sent twice.".to_owned()
}

/// Chunks that came damaged and were asked for again.
fn repaired(run: &Run, bytes: u64) -> u64 {
    run.done("moved").saturating_sub(bytes).div_ceil(CHUNK)
}

fn plain(run: &Run, bytes: u64) -> String {
    let chunks = bytes.div_ceil(CHUNK);
    let [lost, damaged, doubled, late] =
        ["lost", "damaged", "duplicated", "reordered"].map(|field| run.chunks(field));
    if run.code.is_none() {
        return format!("Not done in {:.0} s.", run.seconds);
    }
    let (packets, gone) = (run.up.packets, run.up.lost());
    let refused = Run::counted(run.server.as_ref(), "UdpInCsumErrors");
    let mut told = Vec::new();
    if lost > 0 {
        let share = 100.0 * lost as f64 / chunks as f64;
        let mut sentence = format!("{lost} of {chunks} chunks ({share:.1} %) never came");
        let packets_lost = 100.0 * run.up.loss();
        if gone > 0 && packets > chunks * 2 && share > 1.5 * packets_lost {
            sentence.push_str(&format!(
                ", though only {packets_lost:.1} % of the packets were lost: a chunk travels as 3 fragments, and is lost with any of them"
            ));
        } else if gone > 0 {
            sentence.push_str(&format!(", with {packets_lost:.1} % of the packets"));
        } else if refused > 0 {
            sentence.push_str(&format!(": the kernel dropped {refused} datagrams whose sum was wrong"));
        }
        told.push(sentence);
    }
    if damaged > 0 {
        told.push(format!(
            "{damaged} chunks came damaged: UDP's 16-bit sum is the same when two words change places"
        ));
    }
    if doubled > 0 {
        told.push(format!("{doubled} chunks came twice"));
    }
    if late > 0 {
        told.push(format!("{late} came after a later one"));
    }
    match run.arrived {
        Arrived::Whole if told.is_empty() && run.up.count("duplicated") > 0 => format!(
            "The kernel threw {} copies of fragments away when it put the datagrams together.",
            run.up.count("duplicated")
        ),
        Arrived::Whole if told.is_empty() => {
            "Nothing was lost. If something had been, UDP would not have noticed.".to_owned()
        }
        Arrived::Whole => format!("{}; the file is whole all the same.", told.join("; ")),
        _ => format!("{}. Nobody asks for them again.", told.join("; ")),
    }
}

fn udp(scene: Scene<'_>, run: &Run) -> String {
    let [packets, lost, parts, again] =
        ["packets", "lost", "parts", "sent_again"].map(|field| run.done(field));
    let share = 100.0 * again as f64 / parts.max(1) as f64;
    let (damaged, dark) = (run.up.count("corrupted"), run.up.count("blacked_out"));
    if dark > 0 {
        return format!(
            "{dark} packets went into the dark; it asked now and then whether anybody was there, and went on when there was."
        );
    }
    if damaged > 0 {
        if scene.relayed {
            return format!("{damaged} datagrams were damaged, and {again} parts were sent again.");
        }
        let refused = Run::counted(run.server.as_ref(), "UdpInCsumErrors");
        let found = match refused {
            0 => "the kernel let them through, and the CRC-32C of each packet did not".to_owned(),
            refused => format!("the kernel dropped {refused} of them, to which damage is loss"),
        };
        return format!("{damaged} packets were damaged; {found}. {again} parts were sent again.");
    }
    if run.up.lost() > 0 {
        let calm = if scene.is_slower(run) { "" } else { "loss by chance does not make it slower: " };
        return format!(
            "{lost} of {packets} packets were lost, and {share:.0} % of the parts were sent again, some of them to be sure at the very end; {calm}{}.",
            scene.slower(run)
        );
    }
    if run.up.count("reordered") > 0 {
        return format!(
            "Each part says where it belongs, so their order does not matter; sent again: {again}."
        );
    }
    if run.up.count("duplicated") > 0 {
        return format!("Packets have numbers, so {} copies were thrown away.", run.up.count("duplicated"));
    }
    if scene.is_far() {
        return format!(
            "It measures the path with a few packets while it greets, and sends at its rate from then on: {}.",
            scene.slower(run)
        );
    }
    if scene.is_slower(run) {
        let [least, mean] = ["rtt_min_ms", "rtt_avg_ms"].map(|field| run.milliseconds(field));
        return format!(
            "Nothing was lost; the link is slower, and little waited in its queue (a round trip took {mean:.0} ms in the mean, {least:.0} ms at least): {}.",
            scene.slower(run)
        );
    }
    match again {
        0 => "Nothing was lost, and nothing was sent twice.".to_owned(),
        again => format!("Nothing was lost; {again} parts went twice, at the very end, to be sure."),
    }
}

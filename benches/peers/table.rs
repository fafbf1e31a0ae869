//! What is wanted, and what was measured.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Whom a figure is compared with.
#[derive(Clone, Copy, Debug)]
enum Against {
    /// CNCF Distribution 2.8.2.
    V2,
    /// nginx, which sends files by sendfile.
    Nginx,
    /// The server that only receives, hashes, flushes and renames.
    Sink,
    /// Nobody: the bound is the figure itself.
    Nobody,
}

impl Against {
    const fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::Nginx => "nginx",
            Self::Sink => "sink",
            Self::Nobody => "",
        }
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
enum Measure {
    /// Processor time of the server for one operation, in microseconds.
    Operation,
    /// Processor time of the server for a GiB, in seconds.
    Gibibyte,
    /// Bytes in a second, in MiB.
    Throughput,
    /// Operations in a second.
    Rate,
    /// The 99th percentile of the time of an operation, in milliseconds.
    P99,
}

impl Measure {
    const fn member(self) -> &'static str {
        match self {
            Self::Operation => "server_cpu_us_per_op",
            Self::Gibibyte => "server_cpu_s_per_gib",
            Self::Throughput => "mib_s",
            Self::Rate => "ops_s",
            Self::P99 => "p99_ms",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Operation => "us/op",
            Self::Gibibyte => "s/GiB",
            Self::Throughput => "MiB/s",
            Self::Rate => "op/s",
            Self::P99 => "ms p99",
        }
    }
}

/// At most or at least so many times the peer's figure.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(bound) => ratio <= bound,
            Self::AtLeast(bound) => ratio >= bound,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(bound) => write!(formatter, "<= {bound:.4}"),
            Self::AtLeast(bound) => write!(formatter, ">= {bound:.4}"),
        }
    }
}

use Against::{Nginx, Nobody, Sink, V2};
use Bound::{AtLeast, AtMost};
use Measure::{Gibibyte, Operation, P99, Rate, Throughput};

/// The phases of the generator, and what is wanted of each: of the embedded form, with authentication on.
#[rustfmt::skip]
const TARGETS: [(&str, Measure, Against, Bound); 35] = [
    ("rps_bytag", Operation, V2, AtMost(1.0 / 25.0)),
    ("rps_bytag", Operation, Nginx, AtMost(3.0)),
    ("rps_bytag", P99, Nginx, AtMost(2.0)),
    ("rps_bydigest", Operation, V2, AtMost(1.0 / 25.0)),
    ("rps_bydigest", Operation, Nginx, AtMost(3.0)),
    ("rps_bydigest", P99, Nginx, AtMost(2.0)),
    ("rps_headblob", Operation, V2, AtMost(1.0 / 25.0)),
    ("rps_headblob", Operation, Nginx, AtMost(3.0)),
    ("rps_getblob4k", Operation, V2, AtMost(1.0 / 40.0)),
    ("rps_getblob4k", Operation, Nginx, AtMost(4.0)),
    ("rps_tagslist", Operation, V2, AtMost(1.0 / 50.0)),
    ("range_1M_c8", Operation, Nginx, AtMost(1.7)),
    ("range_1M_c8", Rate, V2, AtLeast(4.0)),
    ("pull_big_c1", Gibibyte, V2, AtMost(0.75)),
    ("pull_big_c1", Throughput, V2, AtLeast(1.0)),
    ("pull_big_c8", Gibibyte, V2, AtMost(0.75)),
    ("pull_big_c8", Throughput, V2, AtLeast(1.4)),
    ("pull_big_c8", Gibibyte, Nginx, AtMost(1.3)),
    ("pull_64x4M_c8", Gibibyte, V2, AtMost(0.4)),
    ("pull_64x4M_c8", Throughput, V2, AtLeast(2.0)),
    ("push_big_put", Gibibyte, Sink, AtMost(1.2)),
    ("push_big_put", Throughput, Sink, AtLeast(0.9)),
    ("push_big_put", Throughput, V2, AtLeast(1.9)),
    ("push_big_stream", Gibibyte, Sink, AtMost(1.2)),
    ("push_big_stream", Throughput, Sink, AtLeast(0.9)),
    ("push_big_stream", Throughput, V2, AtLeast(1.9)),
    ("push_big_chunk", Gibibyte, Sink, AtMost(1.2)),
    ("push_big_chunk", Throughput, Sink, AtLeast(0.9)),
    ("push_big_chunk", Throughput, V2, AtLeast(1.9)),
    ("push_64x4M_c8_put", Gibibyte, Sink, AtMost(1.4)),
    ("push_64x4M_c8_put", Throughput, V2, AtLeast(2.5)),
    ("images_100x5x64K_c8", Rate, V2, AtLeast(6.0)),
    ("images_100x5x64K_c8", Operation, Nobody, AtMost(8000.0)),
    ("manifest_put_1000tags_c8", Rate, V2, AtLeast(8.0)),
    ("manifest_put_1000tags_c8", Operation, Nobody, AtMost(400.0)),
];

/// The most memory that the registry may have resident over a whole run, in MiB.
const MEMORY_MIB_MAX: f64 = 64.0;

/// What a run of the generator has measured: medians of the rounds.
#[derive(Debug)]
pub(crate) struct Figures {
    phases: serde_json::Map<String, Value>,
}

impl Figures {
    /// Reads the file that the generator wrote.
    ///
    /// # Panics
    /// When there is none, or it is not one.
    pub(crate) fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", file.display()));
        let document: Value = serde_json::from_str(&text).expect("it is JSON");
        let phases = document["phases"].as_object().cloned();
        Self {
            phases: phases.expect("it has phases"),
        }
    }

    fn of(&self, phase: &str, target: &str, measure: Measure) -> Option<f64> {
        self.phases
            .get(phase)?
            .get(target)?
            .get(measure.member())?
            .as_f64()
    }

    /// The most memory that the registry had in any phase, and how many requests failed in all of them.
    fn peak_and_errors(&self) -> (f64, u64) {
        let ours = self.phases.values().map(|targets| &targets["us"]);
        ours.fold((0.0, 0), |(peak, errors), figures| {
            (
                figures["peak_rss_mib"]
                    .as_f64()
                    .unwrap_or_default()
                    .max(peak),
                errors + figures["errors"].as_u64().unwrap_or_default(),
            )
        })
    }
}

/// A figure that the generator does not measure and nobody is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone {
    /// What was measured, with its unit.
    pub(crate) work: &'static str,
    pub(crate) figure: f64,
    /// What is wanted.
    pub(crate) at_most: f64,
}

/// Prints what was measured beside what is wanted, and tells how many targets were missed. Only of the embedded form anything is wanted.
pub(crate) fn print(figures: &Figures, alone: &[Alone], wanted: bool) -> usize {
    let mut missed = 0;
    let mut verdict = |holds| match (wanted, holds) {
        (false, _) => "",
        (true, true) => "met",
        (true, false) => {
            missed += 1;
            "MISSED"
        }
    };
    println!("| work | | us | peer | | ratio | wanted | |");
    println!("|---|---|---|---|---|---|---|---|");
    for (phase, measure, against, bound) in TARGETS {
        let Some(ours) = figures.of(phase, "us", measure) else {
            continue;
        };
        let theirs = match against {
            Against::Nobody => Some(1.0),
            peer => figures.of(phase, peer.name(), measure),
        };
        let Some(theirs) = theirs.filter(|theirs| *theirs > 0.0) else {
            continue;
        };
        let ratio = ours / theirs;
        let verdict = verdict(bound.holds(ratio));
        println!(
            "| {phase} | {} | {ours:.2} | {theirs:.2} | {} | {ratio:.3} | {bound} | {verdict} |",
            measure.unit(),
            against.name()
        );
    }
    for Alone {
        work,
        figure,
        at_most,
    } in alone
    {
        let verdict = verdict(figure <= at_most);
        println!("| {work} | | {figure:.2} | | | | <= {at_most} | {verdict} |");
    }
    let (peak, errors) = figures.peak_and_errors();
    println!(
        "\npeak memory {peak:.0} MiB (wanted: under {MEMORY_MIB_MAX}), failed requests {errors}"
    );
    missed + usize::from(wanted && peak >= MEMORY_MIB_MAX)
}

/// Prints processor time and rate of each phase, beside those of an earlier run, both as ratios to the peer of their own run.
pub(crate) fn compare(before: &Figures, now: &Figures) {
    println!("\n| work | | before, to v2 | now, to v2 | now to before |");
    println!("|---|---|---|---|---|");
    for phase in now.phases.keys() {
        for measure in [Measure::Operation, Measure::Rate] {
            let ratio = |figures: &Figures| {
                Some(figures.of(phase, "us", measure)? / figures.of(phase, "v2", measure)?)
            };
            if let (Some(before), Some(now)) = (ratio(before), ratio(now)) {
                let unit = measure.unit();
                println!(
                    "| {phase} | {unit} | {before:.4} | {now:.4} | {:.2} |",
                    now / before
                );
            }
        }
    }
}

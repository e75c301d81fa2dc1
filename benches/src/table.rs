//! Results as text, as Markdown and as JSON.

use serde_json::Value;
use serde_json::json;

use crate::measure::Contender;
use crate::measure::bounds;
use crate::measure::median;

/// All that was measured.
#[derive(Debug, Default)]
pub struct Report {
    groups: Vec<Group>,
    goals: Vec<Goal>,
    notes: Vec<String>,
}

/// What was compared with each other, the first with itself.
#[derive(Debug)]
struct Group {
    title: String,
    rows: Vec<Row>,
}

/// One line of a table.
#[derive(Debug)]
struct Row {
    name: String,
    /// Bytes that each run moved.
    bytes: u64,
    runs: usize,
    wall_s: f64,
    wall_s_bounds: (f64, f64),
    /// Times as fast as the first of the group, run by run.
    times: f64,
    times_bounds: (f64, f64),
    cpu_s: f64,
    server_cpu_s: Option<f64>,
    peak_kib: u64,
}

/// A promise, and what came of it.
#[derive(Debug)]
struct Goal {
    what: String,
    measured: f64,
    bound: Bound,
    unit: &'static str,
}

/// How a goal is reached.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there are no more ways")]
pub enum Bound {
    /// By this or more.
    AtLeast(f64),
    /// By this or less.
    AtMost(f64),
}

impl Goal {
    fn is_reached(&self) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => self.measured >= bound,
            Bound::AtMost(bound) => self.measured <= bound,
        }
    }

    fn wanted(&self) -> String {
        let unit = self.unit;
        match self.bound {
            Bound::AtLeast(bound) => format!("at least {bound:.2}{unit}"),
            Bound::AtMost(bound) => format!("at most {bound:.2}{unit}"),
        }
    }

    fn measured(&self) -> String {
        format!("{:.2}{}", self.measured, self.unit)
    }

    fn verdict(&self) -> &'static str {
        if self.is_reached() { "reached" } else { "MISSED" }
    }
}

impl Report {
    /// Adds what the contenders did, each run of which moved so many bytes.
    pub fn group(&mut self, title: &str, contenders: &[Contender<'_>], bytes: u64) {
        let Some(first) = contenders.first() else { return };
        let row = |contender: &Contender<'_>| {
            let pairs = first.runs.iter().zip(&contender.runs);
            let times: Vec<f64> = pairs.map(|(first, run)| first.wall_s / run.wall_s).collect();
            let wall_s: Vec<f64> = contender.runs.iter().map(|run| run.wall_s).collect();
            let server: Vec<f64> =
                contender.runs.iter().filter_map(|run| run.server_cpu_s).collect();
            Row {
                name: contender.name.clone(),
                bytes,
                runs: contender.runs.len(),
                wall_s_bounds: bounds(&wall_s),
                wall_s: median(wall_s),
                times_bounds: bounds(&times),
                times: median(times),
                cpu_s: contender.median(|run| run.cpu_s),
                server_cpu_s: (!server.is_empty()).then(|| median(server)),
                peak_kib: contender.peak_kib(),
            }
        };
        let group = Group { title: title.to_owned(), rows: contenders.iter().map(row).collect() };
        // At once: the whole takes minutes.
        self.say(&group.to_text());
        self.groups.push(group);
    }

    /// Adds a goal.
    pub fn goal(
        &mut self,
        what: impl Into<String>,
        measured: f64,
        bound: Bound,
        unit: &'static str,
    ) {
        self.goals.push(Goal { what: what.into(), measured, bound, unit });
    }

    /// Adds a remark, such as which program was missing.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        self.say(&note);
        self.notes.push(note);
    }

    #[expect(clippy::print_stderr, reason = "standard output is for the table")]
    fn say(&self, text: &str) {
        eprintln!("{text}");
    }

    /// What was not reached.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let missed = self.goals.iter().filter(|goal| !goal.is_reached());
        missed.map(|goal| goal.what.clone()).collect()
    }

    /// For a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for group in &self.groups {
            text += &group.to_text();
        }
        text += "\n";
        for goal in &self.goals {
            let (verdict, measured) = (goal.verdict(), goal.measured());
            line(
                &mut text,
                format_args!("{verdict:<8} {}: {measured}, {}", goal.what, goal.wanted()),
            );
        }
        for note in &self.notes {
            line(&mut text, format_args!("{note}"));
        }
        text
    }

    /// For README.md.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        for group in &self.groups {
            text += &group.to_markdown();
        }
        if !self.goals.is_empty() {
            text += "| goal | measured | wanted | |\n|---|---|---|---|\n";
        }
        for goal in &self.goals {
            let (what, wanted) = (&goal.what, goal.wanted());
            let (measured, verdict) = (goal.measured(), goal.verdict());
            line(&mut text, format_args!("| {what} | {measured} | {wanted} | {verdict} |"));
        }
        for note in &self.notes {
            line(&mut text, format_args!("\n{note}"));
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let groups = self.groups.iter().map(|group| {
            let rows: Vec<Value> = group.rows.iter().map(Row::to_json).collect();
            json!({ "title": group.title, "rows": rows })
        });
        let goals = self.goals.iter().map(|goal| {
            let (name, bound) = match goal.bound {
                Bound::AtLeast(bound) => ("at_least", bound),
                Bound::AtMost(bound) => ("at_most", bound),
            };
            json!({
                "what": goal.what,
                "measured": goal.measured,
                name: bound,
                "unit": goal.unit.trim(),
                "reached": goal.is_reached(),
            })
        });
        json!({
            "groups": groups.collect::<Vec<_>>(),
            "goals": goals.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

impl Group {
    fn to_text(&self) -> String {
        let mut text = String::new();
        let head = ["wall s", "(min to max)", "MB/s", "times", "(min to max)"];
        let [wall, wall_bounds, rate, times, times_bounds] = head;
        line(
            &mut text,
            format_args!(
                "\n{:<44} {wall:>7} {wall_bounds:>15} {rate:>6} {times:>6} {times_bounds:>14} {:>8} \
                 {:>10} {:>8}",
                self.title, "CPU s/GiB", "server", "peak MiB"
            ),
        );
        for row in &self.rows {
            let (low, high) = row.wall_s_bounds;
            let wall_bounds = format!("({} to {})", seconds(low), seconds(high));
            let (low, high) = row.times_bounds;
            let times_bounds = format!("({low:.2} to {high:.2})");
            let server = row.per_gib(row.server_cpu_s).unwrap_or_else(|| "-".to_owned());
            line(
                &mut text,
                format_args!(
                    "{:<44} {:>7} {wall_bounds:>15} {:>6} {:6.2} {times_bounds:>14} {:>8} \
                     {server:>10} {:>8}",
                    row.name,
                    seconds(row.wall_s),
                    row.rate(),
                    row.times,
                    row.cpu(),
                    row.peak_mib(1),
                ),
            );
        }
        text
    }

    fn to_markdown(&self) -> String {
        let mut text = String::new();
        line(
            &mut text,
            format_args!(
                "| {} | wall (min to max) | MB/s | times (min to max) | CPU s/GiB | server's | peak MiB |",
                self.title
            ),
        );
        text += "|---|---|---|---|---|---|---|\n";
        for row in &self.rows {
            let (wall_low, wall_high) = row.wall_s_bounds;
            let (low, high) = row.times_bounds;
            let server = row.per_gib(row.server_cpu_s).unwrap_or_default();
            line(
                &mut text,
                format_args!(
                    "| {} | {} s ({} to {}) | {} | {:.2} ({low:.2} to {high:.2}) | {} | {server} | {} |",
                    row.name,
                    seconds(row.wall_s),
                    seconds(wall_low),
                    seconds(wall_high),
                    row.rate(),
                    row.times,
                    row.cpu(),
                    row.peak_mib(0),
                ),
            );
        }
        text + "\n"
    }
}

/// Two digits of what is short, too.
fn seconds(s: f64) -> String {
    if s < 0.1 { format!("{s:.4}") } else { format!("{s:.2}") }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are enough")]
impl Row {
    fn rate(&self) -> String {
        match self.bytes {
            0 => "-".to_owned(),
            bytes => format!("{:.0}", bytes as f64 / 1e6 / self.wall_s),
        }
    }

    /// Seconds for each GiB; none if no bytes moved.
    fn per_gib(&self, cpu_s: Option<f64>) -> Option<String> {
        let gib = self.bytes as f64 / GIB;
        cpu_s.filter(|_| self.bytes > 0).map(|cpu_s| format!("{:.2}", cpu_s / gib))
    }

    fn cpu(&self) -> String {
        match self.per_gib(Some(self.cpu_s)) {
            Some(cpu) => cpu,
            None if self.cpu_s > 0.0 => format!("{:.2} s", self.cpu_s),
            None => "-".to_owned(),
        }
    }

    /// `-` where it was not measured.
    fn peak_mib(&self, decimals: usize) -> String {
        match self.peak_kib {
            0 => "-".to_owned(),
            peak_kib => format!("{:.decimals$}", peak_kib as f64 / 1024.0),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "bytes": self.bytes,
            "runs": self.runs,
            "wall_s": self.wall_s,
            "wall_s_min": self.wall_s_bounds.0,
            "wall_s_max": self.wall_s_bounds.1,
            "times": self.times,
            "times_min": self.times_bounds.0,
            "times_max": self.times_bounds.1,
            "cpu_s": self.cpu_s,
            "server_cpu_s": self.server_cpu_s,
            "peak_kib": self.peak_kib,
        })
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    *text += &words.to_string();
    text.push('\n');
}

/// Bytes of a GiB.
pub const GIB: f64 = 1_073_741_824.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Run;

    #[test]
    fn ratios_are_taken_run_by_run() {
        let contender = |name: &str, walls: [f64; 3]| {
            let run = |wall_s| Run { wall_s, cpu_s: 1.0, peak_kib: 2048, server_cpu_s: Some(0.5) };
            let mut contender = Contender::new(name, || unreachable!());
            contender.runs = walls.map(run).into();
            contender
        };
        let mut report = Report::default();
        let both = [contender("theirs", [1.0, 2.0, 4.0]), contender("ours", [0.5, 2.0, 1.0])];
        report.group("copy", &both, 1 << 30);
        let mut short = contender("short", [0.0012, 0.0034, 0.0016]);
        short.runs.iter_mut().for_each(|run| (run.cpu_s, run.peak_kib) = (0.0, 0));
        report.group("start", &[short], 0);
        report.goal("speed", 2.0, Bound::AtLeast(1.5), " times");
        report.goal("memory", 65.0, Bound::AtMost(64.0), " MiB");
        let json = report.to_json();
        let ours = &json["groups"][0]["rows"][1];
        assert_eq!((&ours["times"], &ours["times_max"]), (&json!(2.0), &json!(4.0)));
        assert_eq!(json["goals"][0]["reached"], true);
        assert_eq!(report.missed(), ["memory"]);
        let markdown = report.to_markdown();
        assert!(markdown.contains("| ours | 1.00 s (0.50 to 2.00) | 1074 | 2.00 (1.00 to 4.00) |"));
        assert!(
            markdown
                .contains("| short | 0.0016 s (0.0012 to 0.0034) | - | 1.00 (1.00 to 1.00) | - |")
        );
        assert!(report.to_text().contains("MISSED   memory: 65.00 MiB, at most 64.00 MiB"));
    }
}

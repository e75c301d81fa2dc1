//! Progress: bars on a terminal, lines or objects elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use ovftransfer::FileMeter;
use ovftransfer::Meter;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::console::Console;
use crate::console::Progress;
use crate::format;

/// Shows the counters of a transfer as time goes by.
pub(crate) struct Display {
    console: Console,
    meter: Arc<Meter>,
    look: Look,
    total: Rate,
    /// Of the places that the files have come to, for the time that is left.
    position: Rate,
}

enum Look {
    Bars(Bars),
    Lines,
    Objects,
    Nothing,
}

impl Display {
    pub(crate) fn new(console: &Console, meter: Arc<Meter>) -> Self {
        let look = match console.progress {
            Progress::Bars => Look::Bars(Bars::new(console)),
            Progress::Json => Look::Objects,
            Progress::None => Look::Nothing,
            Progress::Plain => Look::Lines,
        };
        let mut total = Rate::over(RATE_WINDOW);
        total.sample(Instant::now(), 0);
        let mut position = Rate::over(LEFT_WINDOW);
        position.sample(Instant::now(), 0);
        Self { console: console.clone(), meter, look, total, position }
    }

    /// How often [`tick`](Self::tick) is due.
    pub(crate) const fn interval(&self) -> Duration {
        match self.look {
            Look::Bars(_) => BARS_INTERVAL,
            Look::Lines | Look::Objects | Look::Nothing => LINES_INTERVAL,
        }
    }

    /// Shows how far the server is with its preparations.
    pub(crate) fn initializing(&mut self, percent: u8) {
        match &self.look {
            Look::Bars(bars) => {
                bars.total.set_position(u64::from(percent));
                bars.total.set_message("the server prepares the machine");
            }
            Look::Lines => {
                self.console.note(format_args!("the server prepares the machine: {percent}%"));
            }
            // Objects are told as events.
            Look::Objects | Look::Nothing => {}
        }
    }

    /// Shows how far the data is.
    pub(crate) fn tick(&mut self) {
        let files = self.meter.files();
        if files.is_empty() {
            return;
        }
        let bytes = self.meter.bytes();
        let now = Instant::now();
        self.total.sample(now, bytes);
        let (percent, beats) = (self.meter.percent(), self.meter.beats());
        let rate = self.total.text();
        let left = self.left(&files, now);
        let left_text = left.map_or_else(String::new, |left| {
            format!(", about {} left", format::span(Duration::from_secs(left.as_secs())))
        });
        match &mut self.look {
            Look::Bars(bars) => {
                bars.show(&self.console, &files, now);
                bars.total.set_position(u64::from(percent));
                let beats = format::count(beats, "heartbeat");
                let bytes = format::size(bytes);
                bars.total.set_message(format!("{bytes}, {rate}{left_text}, {beats}"));
            }
            Look::Lines => self.console.note(format_args!(
                "{percent}%, {}, {rate}{left_text}, {} of {}, {}",
                format::size(bytes),
                files.iter().filter(|file| is_whole(file)).count(),
                format::count(files.len() as u64, "file"),
                format::count(beats, "heartbeat"),
            )),
            Look::Objects => {
                let files: Vec<Value> = files.iter().map(|file| file_object(file)).collect();
                self.console.object(
                    "progress",
                    json!({
                        "percent": percent,
                        "bytes": bytes,
                        "left_ms": left.and_then(|left| u64::try_from(left.as_millis()).ok()),
                        "beats": beats,
                        "files": files,
                    }),
                );
            }
            Look::Nothing => {}
        }
    }

    /// The time that is left, by what the last half minute has brought the files forward.
    ///
    /// A thin disk has holes, over which its stream jumps: its place on the disk is known, the
    /// number of bytes to come is not.  So this counts places, not bytes, and says nothing as long
    /// as nothing moves.
    fn left(&mut self, files: &[Arc<FileMeter>], now: Instant) -> Option<Duration> {
        let position = |file: &Arc<FileMeter>| file.position_bytes().min(file.weight_bytes());
        let done: u64 = files.iter().map(position).sum();
        let total: u64 = files.iter().map(|file| file.weight_bytes()).sum();
        self.position.sample(now, done);
        self.position.time_for(total - done).filter(|_| done < total)
    }

    /// Takes the bars away.
    pub(crate) fn end(self) {
        if let Look::Bars(bars) = self.look {
            for (bar, _) in bars.files {
                bar.finish_and_clear();
            }
            bars.total.finish_and_clear();
        }
    }
}

fn file_object(file: &FileMeter) -> Value {
    json!({
        "file": file.name().as_str(),
        "bytes": file.bytes(),
        "position_bytes": file.position_bytes(),
        "weight_bytes": file.weight_bytes(),
    })
}

fn is_whole(file: &FileMeter) -> bool {
    file.weight_bytes() > 0 && file.position_bytes() >= file.weight_bytes()
}

/// The total, and below it one bar for each file, in the order of the plan.
struct Bars {
    total: ProgressBar,
    files: Vec<(ProgressBar, Rate)>,
}

impl Bars {
    fn new(console: &Console) -> Self {
        let total = console.bars.add(ProgressBar::new(100).with_style(style()));
        total.set_prefix("total");
        Self { total, files: Vec::new() }
    }

    fn show(&mut self, console: &Console, files: &[Arc<FileMeter>], now: Instant) {
        for file in files.iter().skip(self.files.len()) {
            let bar = ProgressBar::new(file.weight_bytes()).with_style(style());
            let bar = console.bars.add(bar);
            bar.set_prefix(file.name().to_string());
            self.files.push((bar, Rate::over(RATE_WINDOW)));
        }
        for (file, (bar, rate)) in files.iter().zip(&mut self.files) {
            let bytes = file.bytes();
            rate.sample(now, bytes);
            bar.set_position(file.position_bytes().min(file.weight_bytes()));
            let rate = if is_whole(file) { String::new() } else { format!(", {}", rate.text()) };
            bar.set_message(format!("{}{rate}", format::size(bytes)));
        }
    }
}

fn style() -> ProgressStyle {
    // The place on the disk is what the bar shows; bytes and rate are those of the wire.
    let template = "{prefix:24!} [{bar:20}] {percent:>3}% {msg}";
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// The rate of the last seconds.
#[derive(Debug)]
struct Rate {
    window: Duration,
    /// When, and how many bytes had moved by then; the oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    const fn over(window: Duration) -> Self {
        Self { window, samples: VecDeque::new() }
    }

    /// How long `bytes` more take; `None` before there is a rate.
    fn time_for(&self, bytes: u64) -> Option<Duration> {
        let ((from, before), (to, after)) = (self.samples.front()?, self.samples.back()?);
        let took = to.duration_since(*from);
        if after <= before || took < LEFT_AFTER {
            return None;
        }
        let ms = took.as_millis() * u128::from(bytes) / u128::from(after - before);
        u64::try_from(ms).ok().map(Duration::from_millis)
    }

    fn sample(&mut self, now: Instant, bytes: u64) {
        if self.samples.back().is_some_and(|(_, before)| *before > bytes) {
            // The file has been started again.
            self.samples.clear();
        }
        self.samples.push_back((now, bytes));
        while self.samples.len() > 2
            && self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= self.window)
        {
            self.samples.pop_front();
        }
    }

    fn text(&self) -> String {
        match (self.samples.front(), self.samples.back()) {
            (Some((from, before)), Some((to, after))) if to > from => {
                format::rate(after - before, to.duration_since(*from))
            }
            _ => format::rate(0, self.window),
        }
    }
}

/// Bars look alive at four pictures a second.
const BARS_INTERVAL: Duration = Duration::from_millis(250);

/// Lines end up in logs: one every few seconds.
const LINES_INTERVAL: Duration = Duration::from_secs(5);

/// A rate over this time is steady enough to be read.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// The time that is left jumps less if it looks further back.
const LEFT_WINDOW: Duration = Duration::from_secs(30);

/// A guess from less than this would be none.
const LEFT_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rates_are_those_of_the_last_seconds() {
        let mut rate = Rate::over(RATE_WINDOW);
        assert_eq!(rate.text(), "0.0 MB/s");
        for second in 0..20u64 {
            rate.sample(Instant::now(), second.max(10) * 3_000_000);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(rate.text(), "3.0 MB/s");
        assert!(rate.samples.len() <= 7);
        // Started again.
        rate.sample(Instant::now(), 0);
        assert_eq!(rate.text(), "0.0 MB/s");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_is_left_follows_what_moved() {
        let mut rate = Rate::over(LEFT_WINDOW);
        rate.sample(Instant::now(), 0);
        assert_eq!(rate.time_for(100), None, "nothing is known yet");
        tokio::time::advance(Duration::from_secs(1)).await;
        rate.sample(Instant::now(), 500);
        assert_eq!(rate.time_for(100), None, "too little is known");
        tokio::time::advance(Duration::from_secs(9)).await;
        rate.sample(Instant::now(), 1_000);
        assert_eq!(rate.time_for(6_000), Some(Duration::from_secs(60)));
        // Half a minute without a move, and what was before counts no more.
        for _ in 0..31 {
            tokio::time::advance(Duration::from_secs(1)).await;
            rate.sample(Instant::now(), 1_000);
        }
        assert_eq!(rate.time_for(6_000), None);
    }
}

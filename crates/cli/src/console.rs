//! Everything that is printed: data to standard output, all else to standard error.

use std::fmt;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use indicatif::MultiProgress;
use indicatif::ProgressDrawTarget;
use serde_json::Value;
use serde_json::json;

use crate::args::Global;
use crate::args::ProgressMode;
use crate::exit::Failure;
use crate::format;

/// How progress is shown, once `auto` has been decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    Bars,
    Json,
    None,
    Plain,
}

/// The way out for all text.  Clones print to the same place.
#[derive(Clone)]
pub(crate) struct Console {
    pub(crate) bars: MultiProgress,
    pub(crate) progress: Progress,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// Says more than usual about every file.
    pub(crate) verbose: bool,
    /// Results go to standard error, because standard output is taken.
    is_stdout_taken: bool,
    stdout: Arc<Mutex<Stdout>>,
}

/// What became of standard output.
#[derive(Debug, Default)]
enum Stdout {
    #[default]
    Open,
    /// Nobody reads any more, which is no error.
    Closed,
    Broken(io::Error),
}

impl Console {
    pub(crate) fn new(global: &Global) -> Self {
        let progress = progress(global, io::stderr().is_terminal());
        let target = match progress {
            Progress::Bars => ProgressDrawTarget::stderr(),
            Progress::Json | Progress::None | Progress::Plain => ProgressDrawTarget::hidden(),
        };
        Self {
            bars: MultiProgress::with_draw_target(target),
            progress,
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            is_stdout_taken: false,
            stdout: Arc::default(),
        }
    }

    /// The same console when somebody else writes to standard output.
    pub(crate) fn to_stderr(&self) -> Self {
        Self { is_stdout_taken: true, ..self.clone() }
    }

    /// Tells how things go, on standard error.
    pub(crate) fn note(&self, line: impl fmt::Display) {
        if !self.quiet {
            self.stderr(&format!("{line}\n"));
        }
    }

    /// Tells of a failure: on standard error, and as an object if JSON is wanted.
    pub(crate) fn failure(&self, failure: &Failure) {
        // Text of a server may have line ends and control characters; a message is one line.
        let mut text = format!("error: {}\n", format::printable(&failure.message));
        if let Some(hint) = &failure.hint {
            text.push_str(&format!("hint: {}\n", format::printable(hint)));
        }
        self.stderr(&text);
        self.object(
            "error",
            json!({
                "code": failure.code.number(),
                "kind": failure.code.word(),
                "message": format::without_passwords(&failure.message),
                "hint": failure.hint.as_deref().map(format::without_passwords),
            }),
        );
    }

    /// Prints a result for people; with `--json` or `--quiet` there is none.
    pub(crate) fn result(&self, line: impl fmt::Display) {
        if !self.json && !self.quiet {
            self.data(line);
        }
    }

    /// Prints what was asked for, on standard output.
    pub(crate) fn data(&self, line: impl fmt::Display) {
        let text = format!("{line}\n");
        if self.is_stdout_taken {
            return self.stderr(&text);
        }
        self.bars.suspend(|| self.write(&text));
    }

    /// Prints one object of the JSON format, if JSON is wanted.
    pub(crate) fn object(&self, kind: &str, fields: Value) {
        if !self.json {
            return;
        }
        let mut object = json!({ "version": JSON_VERSION, "type": kind });
        if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
            object.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        }
        self.data(object);
    }

    /// Writes to standard error, above the bars.
    pub(crate) fn stderr(&self, text: &str) {
        let text = format::without_passwords(text);
        self.bars.suspend(|| {
            // There is nobody else to tell.
            drop(io::stderr().lock().write_all(text.as_bytes()));
        });
    }

    /// Whether everything that was printed to standard output has arrived there.
    pub(crate) fn flushed(&self) -> Result<(), Failure> {
        match &*self.stdout.lock().unwrap_or_else(PoisonError::into_inner) {
            Stdout::Open | Stdout::Closed => Ok(()),
            Stdout::Broken(error) => Err(Failure::local("cannot write to standard output", error)),
        }
    }

    fn write(&self, text: &str) {
        let mut state = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, Stdout::Open) {
            return;
        }
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            *state = if error.kind() == io::ErrorKind::BrokenPipe {
                Stdout::Closed
            } else {
                Stdout::Broken(error)
            };
        }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("progress", &self.progress).finish_non_exhaustive()
    }
}

fn progress(global: &Global, is_terminal: bool) -> Progress {
    if global.quiet {
        return Progress::None;
    }
    match global.progress {
        ProgressMode::Auto if global.json => Progress::Json,
        ProgressMode::Auto | ProgressMode::Bar if is_terminal => Progress::Bars,
        ProgressMode::Auto | ProgressMode::Bar | ProgressMode::Plain => Progress::Plain,
        ProgressMode::None => Progress::None,
    }
}

/// A field that has no value is absent, at any depth.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

/// Version of the JSON lines.  Fields and types may be added without a new one.
const JSON_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn global(json: bool, quiet: bool, progress: ProgressMode) -> Global {
        Global { json, progress, quiet, verbose: 0, log_file: None }
    }

    #[test]
    fn progress_depends_on_who_looks() {
        use ProgressMode::{Auto, Bar, None, Plain};
        for (json, quiet, mode, is_terminal, shown) in [
            (false, false, Auto, true, Progress::Bars),
            (false, false, Auto, false, Progress::Plain),
            (true, false, Auto, true, Progress::Json),
            (false, true, Auto, true, Progress::None),
            (false, true, Bar, true, Progress::None),
            (false, false, Bar, false, Progress::Plain),
            (true, false, Plain, true, Progress::Plain),
            (true, false, None, true, Progress::None),
        ] {
            assert_eq!(progress(&global(json, quiet, mode), is_terminal), shown);
        }
    }
}

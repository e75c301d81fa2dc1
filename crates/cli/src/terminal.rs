//! Questions to the person at the terminal.

use std::io;
use std::io::BufRead;
use std::io::Read;
use std::io::Write;

/// Asks for a password without showing it.
///
/// If the answer is not waited for, the terminal shows again what is typed.
pub(crate) async fn ask_password(prompt: String) -> io::Result<String> {
    let _restore = Restore::remember();
    let asking = tokio::task::spawn_blocking(move || rpassword::prompt_password(prompt));
    asking.await.map_err(io::Error::other)?
}

/// Asks a question that only `y` and `yes` agree to.
pub(crate) async fn confirm(question: String) -> io::Result<bool> {
    let asking = tokio::task::spawn_blocking(move || {
        io::stderr().lock().write_all(question.as_bytes())?;
        let mut answer = String::new();
        io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer)?;
        Ok(is_yes(&answer))
    });
    asking.await.map_err(io::Error::other)?
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Puts the terminal back as it was: a blocked prompt cannot do so itself when we leave.
#[cfg(unix)]
struct Restore(Option<(std::fs::File, rustix::termios::Termios)>);

#[cfg(unix)]
impl Restore {
    fn remember() -> Self {
        let terminal = std::fs::File::open("/dev/tty").ok();
        Self(terminal.and_then(|terminal| {
            let attributes = rustix::termios::tcgetattr(&terminal).ok()?;
            Some((terminal, attributes))
        }))
    }
}

#[cfg(unix)]
impl Drop for Restore {
    fn drop(&mut self) {
        use rustix::termios::OptionalActions;
        if let Some((terminal, attributes)) = &self.0 {
            let restored = rustix::termios::tcsetattr(terminal, OptionalActions::Now, attributes);
            if let Err(error) = restored {
                tracing::warn!(%error, "the terminal may not show what is typed");
            }
        }
    }
}

#[cfg(not(unix))]
struct Restore;

#[cfg(not(unix))]
impl Restore {
    fn remember() -> Self {
        Self
    }
}

/// Longer than yes and no in any case.
const ANSWER_BYTES_MAX: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for yes in ["y", "Y\n", " yes \r\n", "YES"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n", "no", "yess", "j", "y y"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}

//! Questions to the person at the terminal.

use std::io;

/// Asks for a password without showing it.
///
/// If the answer is not waited for, the terminal shows again what is typed.
pub(crate) async fn ask_password(prompt: String) -> io::Result<String> {
    let _restore = Restore::remember();
    let asking = tokio::task::spawn_blocking(move || rpassword::prompt_password(prompt));
    asking.await.map_err(io::Error::other)?
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

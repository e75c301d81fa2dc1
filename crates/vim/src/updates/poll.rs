//! Asking for changes, where the server does not tell of them.

use std::time::Duration;

use super::{Shared, Watched};
use crate::error::VimError;
use crate::property;
use crate::value::MoRef;

/// Reads what is watched of `objects`, and tells it.  Returns whether something was news, and how
/// many of the objects are there.
pub(super) async fn read(
    shared: &Shared,
    mut objects: Vec<MoRef>,
) -> Result<(bool, usize), VimError> {
    objects.sort_unstable();
    objects.dedup();
    let (mut is_news, mut there) = (false, 0);
    for kind in objects.chunk_by(|a, b| a.kind() == b.kind()) {
        for page in kind.chunks(PAGE_OBJECTS) {
            let mut page = page.to_vec();
            while let Some(first) = page.first() {
                let paths = Watched::new(first).paths();
                let read = property::read_each(&shared.connection, &shared.parent, &page, paths);
                match read.await {
                    Ok(read) => {
                        there += read.len();
                        for properties in &read {
                            is_news |= shared.take_over(properties);
                        }
                        break;
                    }
                    // One that is gone spoils the read of all others.
                    Err(error) => {
                        let gone = page.iter().position(|object| super::is_gone(&error, object));
                        let Some(gone) = gone else { return Err(error) };
                        shared.tell_gone(&page.remove(gone));
                        is_news = true;
                    }
                }
            }
        }
    }
    Ok((is_news, there))
}

/// Short tasks take a fraction of a second.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Often enough for people who look at the progress.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Objects per request: a lease with its devices is some KiB.
const PAGE_OBJECTS: usize = 100;

//! What `import` and `export` have in common.

use std::sync::Arc;

use ovftransfer::Event;
use ovftransfer::Governor;
use ovftransfer::Limits;
use ovftransfer::Options;
use ovftransfer::Report;
use ovftransfer::Server;
use ovftransfer::Transfer;
use ovftransfer::Verification;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::args::TransferArgs;
use crate::args::Verify;
use crate::console::Console;
use crate::exit::Code;
use crate::exit::Failure;
use crate::signals::Interrupts;
use crate::tell::Mailbox;
use crate::watch::Watched;

/// How a transfer runs, and where its events arrive.
pub(crate) fn options(args: &TransferArgs) -> (Options, UnboundedReceiver<Event>) {
    let (mailbox, events) = Mailbox::new();
    let mut options = Options::default();
    options.governor = Governor::new(Limits::new(args.parallel, args.per_host));
    options.verification = match args.verify {
        Verify::Require => Verification::Require,
        Verify::Prefer => Verification::Prefer,
        Verify::Off => Verification::Off,
    };
    options.observer = Arc::new(mailbox);
    (options, events)
}

/// Waits for a transfer.
pub(crate) async fn finish(
    transfer: Transfer,
    events: UnboundedReceiver<Event>,
    left_behind: String,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<Report, Failure> {
    let watched = Watched {
        meter: transfer.meter(),
        cancel: transfer.canceller(),
        work: transfer.finish(),
        events,
        cleans_up: "interrupted: giving up the lease and removing what was made; \
                    interrupt again to leave at once",
        left_behind,
    };
    watched.finish(console, interrupts).await
}

/// Logs out; a second interrupt does not wait for that.
pub(crate) async fn logout(
    server: &Server,
    outcome: &Result<(), Failure>,
    interrupts: &mut Interrupts,
) {
    if outcome.as_ref().is_err_and(|failure| failure.code == Code::CancelledUnclean) {
        // We leave at once, or the server does not answer any more.
        return;
    }
    let is_first = !outcome.as_ref().is_err_and(|failure| failure.code == Code::Cancelled);
    let second = async {
        if is_first {
            // Too late to stop anything; a session left open would be all that it achieves.
            interrupts.next().await;
        }
        interrupts.next().await;
    };
    tokio::select! {
        () = server.logout() => {}
        () = second => {}
    }
}

//! Waits for work and shows how it goes; Ctrl-C cancels it.

use std::future::Future;
use std::sync::Arc;

use ovftransfer::Error;
use ovftransfer::Event;
use ovftransfer::Meter;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::console::Console;
use crate::exit::Code;
use crate::exit::Failure;
use crate::progress::Display;
use crate::signals::Interrupts;
use crate::tell;

/// Work that shows its progress and can be cancelled.
#[derive(Debug)]
pub(crate) struct Watched<W> {
    pub(crate) work: W,
    pub(crate) meter: Arc<Meter>,
    pub(crate) cancel: CancellationToken,
    pub(crate) events: UnboundedReceiver<Event>,
    /// What is said when the work is cancelled.
    pub(crate) cleans_up: &'static str,
    /// What may be left if nobody waits for the clean-up.
    pub(crate) left_behind: String,
}

impl<T, W: Future<Output = Result<T, Error>>> Watched<W> {
    /// Waits for the end of the work.
    ///
    /// The first interrupt cancels it and goes on waiting; the second one leaves at once.
    pub(crate) async fn finish(
        mut self,
        console: &Console,
        interrupts: &mut Interrupts,
    ) -> Result<T, Failure> {
        let mut display = Display::new(console, Arc::clone(&self.meter));
        // The first picture when there is something to see.
        let first = Instant::now() + display.interval();
        let mut ticks = tokio::time::interval_at(first, display.interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let work = self.work;
        tokio::pin!(work);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome.map_err(Failure::from),
                Some(event) = self.events.recv() => tell(console, &mut display, &event),
                () = interrupts.next() => {
                    if self.cancel.is_cancelled() {
                        break Err(left_at_once(&self.left_behind));
                    }
                    self.cancel.cancel();
                    console.note(self.cleans_up);
                }
                _ = ticks.tick() => display.tick(),
            }
        };
        while let Ok(event) = self.events.try_recv() {
            tell(console, &mut display, &event);
        }
        display.end();
        outcome
    }
}

fn tell(console: &Console, display: &mut Display, event: &Event) {
    if let Event::LeaseInitializing { percent } = event {
        display.initializing(*percent);
    }
    tell::event(console, event);
}

fn left_at_once(left_behind: &str) -> Failure {
    Failure::new(
        Code::CancelledUnclean,
        format!("left before the clean-up was done; {left_behind}"),
    )
}

//! Waits until a host shows what a failover has changed.

use std::time::Duration;

use ovftransfer_vim::VimError;
use tokio::time::Instant;

use crate::dpu::HostUplink;
use crate::dpu::UplinkUse;

/// How the uplinks are after a failover.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Settled {
    /// As they were read last; `None` if they never could be.
    pub(super) after: Option<Vec<HostUplink>>,
    pub(super) is_confirmed: bool,
    pub(super) took: Duration,
}

/// Looks again and again, until the uplinks show that `target`, or any DPU but the one before, has
/// taken over, or until it takes too long.
///
/// The host may not be reachable for a while: its own interfaces may be on the switch.
pub(super) async fn settle(
    look: impl AsyncFn() -> Result<Vec<HostUplink>, VimError>,
    before: &[HostUplink],
    target: Option<&str>,
) -> Settled {
    let started = Instant::now();
    let mut after = None;
    loop {
        let left = SETTLE_MAX.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(uplinks)) => {
                let is_confirmed = shows(before, &uplinks, target);
                after = Some(uplinks);
                if is_confirmed {
                    return Settled { after, is_confirmed, took: started.elapsed() };
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "the host's uplinks cannot be read at present")
            }
            Err(_) => tracing::debug!("the host's uplinks are not told in time"),
        }
        if started.elapsed() + LOOK_PAUSE >= SETTLE_MAX {
            return Settled { after, is_confirmed: false, took: started.elapsed() };
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Whether another DPU is in use than before, and the one that was asked for.
fn shows(before: &[HostUplink], after: &[HostUplink], target: Option<&str>) -> bool {
    let (old, new) = (active(before), active(after));
    let is_there = target.is_none_or(|target| {
        let is_known = after.iter().any(|uplink| uplink.dpu_id.as_deref() == Some(target));
        // The alias of a DPU and the id that its cards show may be two things.
        !is_known || new.iter().any(|(_, _, dpu)| *dpu == Some(target))
    });
    !new.is_empty() && new != old && is_there
}

/// Name, card and DPU of the uplinks that the host says are in use.
fn active(uplinks: &[HostUplink]) -> Vec<(&str, Option<&str>, Option<&str>)> {
    let all = uplinks.iter().filter(|uplink| uplink.state == Some(UplinkUse::Active));
    all.map(|uplink| (uplink.name.as_str(), uplink.pnic.as_deref(), uplink.dpu_id.as_deref()))
        .collect()
}

/// How long a change is waited for: what is not over in a minute has failed, or is not shown.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// Between two looks: a few calls each.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Two uplinks on two DPUs; the names say which are in use.
    fn uplinks(active: Option<&[&str]>) -> Vec<HostUplink> {
        let uplink = |index: usize| {
            let name = format!("Uplink {index}");
            let state = active.map(|active| match active.contains(&name.as_str()) {
                true => UplinkUse::Active,
                false => UplinkUse::Standby,
            });
            HostUplink {
                name,
                state,
                configured: None,
                pnic: Some(format!("vmnic{index}")),
                mac_address: None,
                link_megabits_per_s: Some(100_000),
                dpu_id: Some(format!("dpu{index}")),
            }
        };
        (1..=2).map(uplink).collect()
    }

    fn unreachable() -> VimError {
        let (host, call) = ("vc:443".to_owned(), "RetrievePropertiesEx".to_owned());
        VimError::TimedOut { host, call, after: Duration::from_secs(1) }
    }

    /// Looks at what each second shows; the last one stays.
    async fn watch(
        shown: Vec<Result<Vec<HostUplink>, VimError>>,
        target: Option<&str>,
    ) -> (Settled, usize) {
        let before = uplinks(Some(&["Uplink 1"]));
        let left = Mutex::new((shown, 0));
        let look = async || {
            let mut left = left.lock().unwrap();
            left.1 += 1;
            match left.0.len() {
                1 => match &left.0[0] {
                    Ok(uplinks) => Ok(uplinks.clone()),
                    Err(_) => Err(unreachable()),
                },
                _ => left.0.remove(0),
            }
        };
        let settled = settle(look, &before, target).await;
        (settled, left.into_inner().unwrap().1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_seen_when_it_comes() {
        let (old, new) = (uplinks(Some(&["Uplink 1"])), uplinks(Some(&["Uplink 2"])));
        for target in [None, Some("dpu2"), Some("an alias")] {
            let shown = vec![Ok(old.clone()), Err(unreachable()), Ok(new.clone())];
            let (settled, looks) = watch(shown, target).await;
            assert_eq!((settled.is_confirmed, looks), (true, 3), "{target:?}");
            assert_eq!(settled.after.as_ref(), Some(&new));
            assert_eq!(settled.took, Duration::from_secs(2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nothing_shows_within_a_minute_is_unknown() {
        let cases = [
            (Ok(uplinks(Some(&["Uplink 1"]))), None),
            // Another one than was asked for.
            (Ok(uplinks(Some(&["Uplink 2"]))), Some("dpu1")),
            // The host does not say.
            (Ok(uplinks(None)), None),
            (Err(unreachable()), None),
        ];
        for (shown, target) in cases {
            let expected = shown.as_ref().ok().cloned();
            let (settled, looks) = watch(vec![shown], target).await;
            assert!(!settled.is_confirmed && settled.after == expected, "{settled:?}");
            let seconds = settled.took.as_secs();
            assert!((58..=60).contains(&seconds) && looks >= 58, "{seconds} {looks}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_never_answers_is_waited_for_no_longer() {
        let look = || std::future::pending::<Result<Vec<HostUplink>, VimError>>();
        let settled = settle(async || look().await, &uplinks(None), None).await;
        assert_eq!((settled.after, settled.is_confirmed), (None, false));
        assert_eq!(settled.took, Duration::from_secs(60));
    }
}

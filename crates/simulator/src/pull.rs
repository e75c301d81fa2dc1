//! Pull mode of a lease: the host fetches the files from URLs (`HttpNfcLeasePullFromUrls_Task`), or
//! tries whether it could (`HttpNfcLeaseProbeUrls`).

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use futures::stream::unfold;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::fetch::{FetchError, Reading, Remote};
use crate::lease;
use crate::lock::lock;
use crate::nfc::{self, Access, Device, PullError};
use crate::object::Moref;
use crate::scenario::Direction;
use crate::task;
use crate::world::{Pull, World};

/// A file and the device that takes it.
#[derive(Debug)]
pub(crate) struct Job {
    device: Arc<Device>,
    remote: Remote,
    member: Option<String>,
    size_bytes: Option<u64>,
}

/// A pull that was begun.
#[derive(Debug)]
pub(crate) struct Begun {
    lease: String,
    task: Moref,
    jobs: Vec<Job>,
    cancel: CancellationToken,
    ended: CancellationToken,
}

impl Begun {
    /// The task that ends with the pull.
    pub(crate) fn task(&self) -> &Moref {
        &self.task
    }
}

/// `HttpNfcLeasePullFromUrls_Task`: checks the call and turns the lease from push to pull.
///
/// # Errors
///
/// `InvalidState` once anything has moved, `InvalidArgument` if the files do not fit the device
/// URLs, `NotSupported` where nothing can be pulled.
pub(crate) fn begin(
    world: &mut World,
    user: &str,
    moref: &Moref,
    arguments: &Value,
) -> Result<Begun, Fault> {
    let jobs = jobs(world, moref, "HttpNfcLeasePullFromUrls_Task", arguments)?;
    let lease = world.leases.get(&moref.id).ok_or_else(|| Fault::not_found(moref))?;
    if lease.pull.is_some() || lease.moved_bytes() > 0 {
        return Err(Fault::invalid_state());
    }
    let entity = lease.entity.clone().unwrap_or_else(|| moref.clone());
    let task = task::start(world, &entity, DESCRIPTION_ID, user);
    let cancel = CancellationToken::new();
    let lease = world.leases.get_mut(&moref.id).ok_or_else(|| Fault::not_found(moref))?;
    lease.pull = Some(Pull { task: task.clone(), cancel: cancel.clone() });
    let ended = lease.ended.clone();
    world.objects.set(moref, "mode", json!("pull"));
    Ok(Begun { lease: moref.id.clone(), task, jobs, cancel, ended })
}

/// `HttpNfcLeaseProbeUrls`: whether the hosts could reach the files, in the order of the call.
///
/// # Errors
///
/// As [`begin`].
pub(crate) async fn probe(
    world: &Mutex<World>,
    moref: &Moref,
    arguments: &Value,
) -> Result<Value, Fault> {
    let jobs = jobs(&lock(world), moref, "HttpNfcLeaseProbeUrls", arguments)?;
    let limit_s = arguments["timeout"].as_u64().unwrap_or(PROBE_S_MAX).min(PROBE_S_MAX);
    let limit = Duration::from_secs(limit_s);
    let reached = join_all(jobs.iter().map(|job| async move {
        let answer = tokio::time::timeout(limit, job.remote.size_bytes()).await;
        matches!(answer, Ok(Ok(_)))
    }));
    let results = reached.await.into_iter().map(|is_reached| {
        json!({ "_typeName": "HttpNfcLeaseProbeResult", "serverAccessible": is_reached })
    });
    let mut results: Value = results.collect();
    lock(world).objects.missing().strip(&mut results);
    Ok(results)
}

/// The files of a call, each with its device.
fn jobs(world: &World, moref: &Moref, method: &str, arguments: &Value) -> Result<Vec<Job>, Fault> {
    let lease = world.leases.get(&moref.id).ok_or_else(|| Fault::not_found(moref))?;
    lease::check_state(lease, method)?;
    if !world.scenario.pull_mode || lease.direction != Direction::Import {
        return Err(Fault::new("NotSupported", "Nothing can be pulled under this lease."));
    }
    let wrong = || Fault::invalid_argument("files");
    let files = arguments["files"].as_array().ok_or_else(wrong)?;
    // "The number of files must equal the number of device URLs": each device gets one.
    let mut free: Vec<_> = lease.import_keys.iter().zip(&lease.devices).collect();
    if files.is_empty() || files.len() != free.len() {
        return Err(wrong());
    }
    let mut jobs = Vec::new();
    for file in files {
        let text = |name: &str| file[name].as_str();
        let place = free.iter().position(|(key, _)| Some(key.as_str()) == text("targetDeviceId"));
        let (_, device) = free.swap_remove(place.ok_or_else(wrong)?);
        let is_created = device.access() == Access::WriteFile;
        if file["create"].as_bool() != Some(is_created) {
            return Err(wrong());
        }
        let headers: Vec<(&str, &str)> = file["httpHeaders"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair["key"].as_str()?, pair["value"].as_str()?)))
            .collect();
        let url = text("url").unwrap_or_default();
        let remote = Remote::new(url, text("sslThumbprint"), text("sslCertificate"), &headers);
        jobs.push(Job {
            device: Arc::clone(device),
            remote: remote.ok_or_else(wrong)?,
            member: text("memberName").filter(|name| !name.is_empty()).map(str::to_owned),
            size_bytes: file["size"].as_u64(),
        });
    }
    Ok(jobs)
}

/// Pulls all files at once and ends the task.  The lease stays: completing or aborting it is up to
/// the client.
pub(crate) async fn run(world: &Mutex<World>, begun: Begun) {
    let Begun { lease, task, jobs, cancel, ended } = begun;
    let total_bytes = AtomicU64::new(0);
    let outcome = {
        let all = try_join_all(jobs.iter().map(|job| pull(job, &total_bytes)));
        tokio::pin!(all);
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let canceled = || Err(Fault::new("RequestCanceled", "The task was canceled by a user."));
        let mut moved_bytes = 0;
        loop {
            tokio::select! {
                pulled = &mut all => break pulled.map(|_| Value::Null),
                () = cancel.cancelled() => break canceled(),
                () = ended.cancelled() => break Err(Fault::invalid_state()),
                _ = ticks.tick() => {
                    let now_bytes = jobs.iter().map(|job| job.device.moved_bytes()).sum();
                    let total_bytes = total_bytes.load(Ordering::Acquire);
                    let has_moved = now_bytes > moved_bytes;
                    moved_bytes = now_bytes;
                    show(world, (&lease, &task), percent(now_bytes, total_bytes), has_moved);
                }
            }
        }
    };
    if outcome.is_ok() {
        show(world, (&lease, &task), 100, true);
    }
    task::finish(&mut lock(world), &task, &outcome);
}

/// Shows how far a pull is.  Data that moves renews the lease, so that nobody else has to.
fn show(world: &Mutex<World>, (lease, task): (&str, &Moref), percent: i64, has_moved: bool) {
    let mut world = lock(world);
    let Some(lease) = world.leases.get_mut(lease).filter(|lease| lease.state.is_held()) else {
        return;
    };
    if has_moved {
        lease.renewed = Instant::now();
    }
    let moref = lease.moref.clone();
    world.objects.set(&moref, "transferProgress", json!(percent));
    task::progress(&mut world, task, percent);
}

/// Percent that is under 100 until all is stored.
fn percent(moved_bytes: u64, total_bytes: u64) -> i64 {
    let percent = moved_bytes.saturating_mul(100).checked_div(total_bytes).unwrap_or(0);
    i64::try_from(percent.min(99)).unwrap_or(99)
}

async fn pull(job: &Job, total_bytes: &AtomicU64) -> Result<(), Fault> {
    let (reading, size_bytes) = open(job).await.map_err(|error| fetch_fault(&error))?;
    total_bytes.fetch_add(size_bytes.unwrap_or_default(), Ordering::AcqRel);
    nfc::pull(&job.device, Box::pin(stream(reading, size_bytes))).await.map_err(|error| {
        let fault = match error {
            PullError::Read(error) => format!("the source broke: {error}"),
            PullError::Store(problem) => problem,
        };
        system_error(&fault)
    })
}

async fn open(job: &Job) -> Result<(Reading, Option<u64>), FetchError> {
    if let Some(member) = &job.member {
        // The size of the call is that of the OVA then.
        let reading = job.remote.read_member(member).await?;
        let size_bytes = reading.len_bytes();
        return Ok((reading, size_bytes));
    }
    let size_bytes = match job.size_bytes {
        Some(size_bytes) => Some(size_bytes),
        None => job.remote.size_bytes().await?,
    };
    Ok((job.remote.read().await?, size_bytes))
}

/// The bytes of `reading`; an error at the end if there were not as many as announced.
fn stream(
    reading: Reading,
    size_bytes: Option<u64>,
) -> impl futures::Stream<Item = io::Result<Bytes>> {
    unfold(Some((reading, size_bytes, 0_u64)), |state| async {
        let (mut reading, size_bytes, mut at_byte) = state?;
        match reading.next().await {
            Some(Ok(data)) => {
                at_byte += data.len() as u64;
                Some((Ok(data), Some((reading, size_bytes, at_byte))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None if size_bytes.is_some_and(|size_bytes| size_bytes != at_byte) => {
                Some((Err(io::Error::other("the source has another size")), None))
            }
            None => None,
        }
    })
}

fn fetch_fault(error: &FetchError) -> Fault {
    match error {
        FetchError::Status(status) => Fault::new("HttpFault", error.to_string())
            .with("statusCode", i32::from(status.as_u16()))
            .with("statusMessage", status.canonical_reason().unwrap_or_default()),
        FetchError::Untrusted { thumbprint, is_self_signed } => {
            Fault::new("SSLVerifyFault", error.to_string())
                .with("selfSigned", *is_self_signed)
                .with("thumbprint", thumbprint.as_str())
        }
        FetchError::Connect(_) | FetchError::Member(_) => system_error(error),
    }
}

fn system_error(reason: &dyn fmt::Display) -> Fault {
    let reason = reason.to_string();
    Fault::new("SystemError", format!("A general system error occurred: {reason}"))
        .with("reason", reason)
}

/// What tasks of this kind are called.
const DESCRIPTION_ID: &str = "HttpNfcLease.pullFromUrls";

/// Longest time for one URL of a probe, in seconds, by the documentation of that call.
const PROBE_S_MAX: u64 = 60;

/// How often the progress of a pull is shown.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

//! `reap`: ends and removes what a killed run has left.

use std::collections::HashMap;
use std::io;
use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ovftransfer::Fate;
use ovftransfer::ReapOptions;
use ovftransfer::Remains;
use ovftransfer::Remnant;
use ovftransfer::RemnantKind;
use ovftransfer::Server;
use serde_json::json;

use crate::args::ConnectionArgs;
use crate::args::ReapArgs;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console::Console;
use crate::environment::Environment;
use crate::exit::Code;
use crate::exit::Failure;
use crate::journals;
use crate::signals::Interrupts;
use crate::tell;
use crate::tell::Mailbox;
use crate::terminal;
use crate::transfer;

pub(crate) async fn run(
    args: ReapArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let found = find(&args)?;
    if found.is_empty() {
        let places: Vec<_> =
            places(&args).iter().map(|place| place.display().to_string()).collect();
        console.note(format_args!(
            "nothing is written down that a killed run has left: looked in {}, and in folders at most \
             two down",
            places.join(", ")
        ));
        return Ok(());
    }
    let (mailbox, mut events) = Mailbox::new();
    let mut options = ReapOptions::default();
    options.from_other_host = args.from_other_host;
    options.observer = Arc::new(mailbox);
    if let Some(seconds) = args.wait {
        options.wait = Duration::from_secs(seconds.into());
    }
    let mut servers = Servers { args: &args, environment, known: HashMap::new() };
    let reaping = async {
        let mut worst = None;
        for path in &found {
            let reaped = match Remains::open(path, options.clone()) {
                Ok(remains) => reap(remains, &args, &mut servers, console).await,
                Err(error) => Err(error.into()),
            };
            if let Err(failure) = reaped {
                // The others need not wait for this one.
                if found.len() > 1 {
                    console.note(format_args!("{}: {}", path.display(), failure.message));
                }
                worst = worst.or(Some(failure));
            }
        }
        worst.map_or(Ok(()), Err)
    };
    let outcome = {
        tokio::pin!(reaping);
        loop {
            tokio::select! {
                outcome = &mut reaping => break outcome,
                Some(event) = events.recv() => tell::event(console, &event),
                () = interrupts.next() => break Err(Failure::cancelled_reap()),
            }
        }
    };
    for server in servers.known.values() {
        transfer::logout(server, &outcome, interrupts).await;
    }
    outcome
}

/// Where journals are looked for.
fn places(args: &ReapArgs) -> Vec<PathBuf> {
    let mut places = args.paths.clone();
    if places.is_empty() {
        places.push(PathBuf::from("."));
        places.extend(journals::folder(None).filter(|folder| folder.is_dir()));
    }
    places
}

/// The journals that were asked for.
fn find(args: &ReapArgs) -> Result<Vec<PathBuf>, Failure> {
    let mut found: Vec<PathBuf> = Vec::new();
    for place in places(args) {
        if !place.exists() && !args.paths.is_empty() && beside(&place).is_none() {
            let message = format!("{}: there is no such file or folder", place.display());
            return Err(Failure::new(Code::LocalFile, message));
        }
        // The folder for journals may be below the current one.
        let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        let known: Vec<PathBuf> = found.iter().map(real).collect();
        let more = Remains::find(&place)?;
        found.extend(more.into_iter().filter(|path| !known.contains(&real(path))));
    }
    Ok(found)
}

/// Whether there is a folder in which the journal of a package lies that is not there yet.
fn beside(place: &Path) -> Option<()> {
    Remains::find(place).ok().filter(|found| !found.is_empty()).map(drop)
}

/// The sessions, one for each server.
struct Servers<'a> {
    args: &'a ReapArgs,
    environment: &'a Environment,
    known: HashMap<String, Server>,
}

impl Servers<'_> {
    /// The session with the server of a run: as whoever is named by flags or variables, or as the
    /// user of the run.
    async fn of(
        &mut self,
        remains: &Remains,
        console: &Console,
    ) -> Result<Option<&Server>, Failure> {
        if !remains.needs_server() {
            return Ok(None);
        }
        let endpoint = remains.server().to_owned();
        if !self.known.contains_key(&endpoint) {
            let place = format!("vi://{endpoint}/");
            let args = &self.args.connection;
            let resolve = |args: &_| Connection::resolve(&place, Root::Vm, args, self.environment);
            let connection = match resolve(args) {
                Ok(connection) => connection,
                Err(_) if args.username.is_none() => {
                    let username = Some(remains.user().to_owned());
                    resolve(&ConnectionArgs { username, ..args.clone() })?
                }
                Err(failure) => return Err(failure),
            };
            if connection.is_password_astray() {
                self.agree(remains, console).await?;
            }
            self.known.insert(endpoint.clone(), connection.connect(console).await?);
        }
        Ok(self.known.get(&endpoint))
    }

    /// Asks whether a password may go to the server of a journal: that may have come with a package.
    async fn agree(&self, remains: &Remains, console: &Console) -> Result<(), Failure> {
        let (endpoint, journal) = (remains.server(), remains.path().display());
        let is_agreed = if io::stdin().is_terminal() && !console.json {
            let question = format!("{journal} names the server {endpoint}. Log in there? [y/N] ");
            let agreed = terminal::confirm(question).await;
            agreed.map_err(|error| Failure::local("cannot read the answer", &error))?
        } else {
            false
        };
        if is_agreed {
            return Ok(());
        }
        let message =
            format!("{journal}: only the journal says that the password is for {endpoint}");
        let hint = format!("if it is, set OVFTRANSFER_URL=vi://{endpoint}, or give --thumbprint");
        Err(Failure::usage(message).hint(hint))
    }
}

/// Shows what one run has left, and removes it if that is wanted.
async fn reap(
    remains: Remains,
    args: &ReapArgs,
    servers: &mut Servers<'_>,
    console: &Console,
) -> Result<(), Failure> {
    let server = servers.of(&remains, console).await?;
    let shown = remains.look(server).await?;
    let journal = remains.path().display().to_string();
    if args.dry_run || !args.yes {
        console.result(format_args!("{}, on {}:", remains.what(), remains.server()));
        for remnant in &shown {
            console.result(format_args!("  {}", would(remnant)));
            tell_object(console, "remnant", &journal, remnant);
        }
        if args.dry_run {
            return Ok(());
        }
        if !io::stdin().is_terminal() || console.json {
            return Err(Failure::usage(format!("{journal}: nothing has been removed yet"))
                .hint("--yes removes it, --dry-run only shows it"));
        }
        let agreed = terminal::confirm("Remove that? [y/N] ".to_owned()).await;
        if !agreed.map_err(|error| Failure::local("cannot read the answer", &error))? {
            console.note("nothing was removed");
            return Ok(());
        }
    }
    let what = remains.what();
    let done = remains.remove(server).await?;
    console.result(format_args!("{what}:"));
    for remnant in &done {
        console.result(format_args!("  {remnant}"));
        tell_object(console, "reaped", &journal, remnant);
    }
    let left: Vec<String> =
        done.iter().filter(|one| one.is_left()).map(ToString::to_string).collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Code::Refused, format!("{journal}: {}", left.join("; "))))
}

/// What would become of it, in words.
fn would(remnant: &Remnant) -> String {
    let (word, name) = (remnant.kind.word(), &remnant.name);
    match &remnant.fate {
        Fate::Removed if remnant.kind == RemnantKind::Task => {
            format!("{word} {name}: runs, would be cancelled")
        }
        Fate::Removed => format!("{word} {name}: would be removed"),
        Fate::Gone | Fate::Stays { .. } | _ => remnant.to_string(),
    }
}

fn tell_object(console: &Console, kind: &str, journal: &str, remnant: &Remnant) {
    let (fate, reason) = match &remnant.fate {
        Fate::Gone => ("gone", None),
        Fate::Removed => ("removed", None),
        Fate::Stays { reason, .. } => ("stays", Some(reason)),
        _ => ("unknown", None),
    };
    console.object(
        kind,
        json!({
            "journal": journal,
            "kind": remnant.kind.word(),
            "name": remnant.name,
            "fate": fate,
            "reason": reason,
        }),
    );
}

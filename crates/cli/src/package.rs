//! Where a package is read from: this machine, a web server, standard input.

use std::fs;
use std::io;
use std::io::IsTerminal;
use std::path::Path;

use ovftransfer::ByteStream;
use ovftransfer::Error;
use ovftransfer::FetchOptions;
use ovftransfer::Overview;
use ovftransfer::Package;
use ovftransfer::PackageUrl;
use ovftransfer::Rules;
use ovftransfer::Thumbprint;
use ovftransfer::Trust;
use ovftransfer::read_stream;

use crate::args::SourceArgs;
use crate::connection::ca_pem;
use crate::exit::Code;
use crate::exit::Failure;
use crate::exit::presented;

/// Where a package is.
#[derive(Debug)]
pub(crate) enum Origin<'p> {
    Local(&'p Path, Rules),
    Stdin(Rules),
    Web(Box<PackageUrl>, Box<FetchOptions>),
}

impl<'p> Origin<'p> {
    /// Reads the argument; nothing is opened yet.
    pub(crate) fn of(package: &'p Path, args: &SourceArgs) -> Result<Self, Failure> {
        let text = package.to_string_lossy();
        if text == "-" {
            return if io::stdin().is_terminal() {
                Err(Failure::usage("a package cannot be read from a terminal")
                    .hint("pipe an OVA into standard input: curl https://… | ovftransfer verify -"))
            } else {
                Ok(Self::Stdin(rules(args)))
            };
        }
        if !text.contains("://") {
            return Ok(Self::Local(package, rules(args)));
        }
        // The text is not repeated: it may hold a password.
        let url = text.parse().map_err(|error| Failure::usage(format!("the package: {error}")))?;
        Ok(Self::Web(Box::new(url), Box::new(fetch_options(args)?)))
    }

    /// Opens the package and reads its descriptor.
    async fn open(self) -> Result<Package, Failure> {
        match self {
            Self::Local(path, rules) => open_by(rules, path).await,
            Self::Stdin(rules) => Ok(Package::from_stream_by(rules, stdin()?, STDIN).await?),
            Self::Web(url, options) => Package::fetch(&url, &options).await.map_err(untrusted),
        }
    }

    /// Opens the package; finds what it names by an address if that is allowed.
    pub(crate) async fn open_with(
        self,
        args: &SourceArgs,
        allow_remote_references: bool,
    ) -> Result<Package, Failure> {
        let options = fetch_options(args)?;
        let mut package = self.open().await?;
        if allow_remote_references {
            package.fetch_references(&options).await.map_err(untrusted)?;
        }
        Ok(package)
    }

    /// Reads only what tells about the package.
    pub(crate) async fn look(self) -> Result<Overview, Failure> {
        match self {
            Self::Local(path, rules) => {
                let path = path.to_owned();
                waiting(move || Ok(Overview::read_by(rules, &path)?)).await
            }
            Self::Stdin(rules) => Ok(Overview::from_stream_by(rules, stdin()?, STDIN).await?),
            Self::Web(url, options) => Overview::fetch(&url, &options).await.map_err(untrusted),
        }
    }
}

/// What standard input is called in messages.
const STDIN: &str = "standard input";

fn stdin() -> Result<ByteStream, Failure> {
    read_stream(io::stdin()).map_err(|error| Failure::local(STDIN, &error))
}

fn fetch_options(args: &SourceArgs) -> Result<FetchOptions, Failure> {
    let mut options = FetchOptions::default();
    options.trust = trust(args)?;
    options.rules = rules(args);
    Ok(options)
}

fn rules(args: &SourceArgs) -> Rules {
    if args.lenient { Rules::Lenient } else { Rules::Strict }
}

/// Opens a package on a thread that may wait for the file system.
pub(crate) async fn open_local(path: &Path) -> Result<Package, Failure> {
    open_by(Rules::Strict, path).await
}

async fn open_by(rules: Rules, path: &Path) -> Result<Package, Failure> {
    let path = path.to_owned();
    waiting(move || Ok(Package::open_by(rules, &path)?)).await
}

/// Works on a thread that may wait for the file system.
pub(crate) async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

fn trust(args: &SourceArgs) -> Result<Trust, Failure> {
    if let Some(text) = &args.source_thumbprint {
        let thumbprint: Thumbprint = text
            .parse()
            .map_err(|error| Failure::usage(format!("--source-thumbprint: {error}")))?;
        return Ok(Trust::Pinned(thumbprint));
    }
    let Some(file) = &args.source_ca_cert else { return Ok(Trust::System) };
    let pem = fs::read(file).map_err(|error| {
        Failure::local(format!("cannot read the certificates in {}", file.display()), &error)
    })?;
    ca_pem(file, &pem)
}

/// What to do about a web server that is not trusted has options of its own.
fn untrusted(error: Error) -> Failure {
    let hint = presented(&error).map(|thumbprint| {
        format!("if this is the right server, trust it by --source-thumbprint {thumbprint}")
    });
    let failure = Failure::from(error);
    if failure.code != Code::Tls {
        return failure;
    }
    Failure { hint: hint.or(failure.hint), ..failure }
}

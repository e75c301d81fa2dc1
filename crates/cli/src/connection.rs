//! Which server, as whom, and how it is trusted: flags, locator, environment, prompt.

use std::fs;
use std::io;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use ovftransfer::Endpoint;
use ovftransfer::Locator;
use ovftransfer::Secret;
use ovftransfer::Server;
use ovftransfer::Thumbprint;
use ovftransfer::Trust;
use ovftransfer::Wire;
use serde_json::json;

use crate::args::ConnectionArgs;
use crate::console::Console;
use crate::environment::Environment;
use crate::environment::SECRET_BYTES_MAX;
use crate::exit::Code;
use crate::exit::Failure;
use crate::terminal;

/// Everything that is needed to log in, and the place in the inventory.
#[derive(Debug)]
pub(crate) struct Connection {
    endpoint: Endpoint,
    trust: Trust,
    username: String,
    /// `None`: to be asked for.
    password: Option<Secret>,
    wire: Wire,
    /// Whether a variable names this server, or a thumbprint that nobody else has.
    is_known: bool,
    /// What is wrong with the place where the password stands.
    warning: Option<String>,
    /// The inventory path that the command is about.
    pub(crate) path: String,
    /// The reference that beats it, such as `ClusterComputeResource:domain-c7`.
    pub(crate) moref: Option<String>,
}

/// What a path without a leading `/` is relative to, within the datacenter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Root {
    /// Where machines are.
    Vm,
    /// Where hosts and clusters are; a reference is taken, too.
    Host,
    /// Where machines are; a reference is taken, too.
    Machine,
    /// Where networks are; a reference is taken, too.
    Network,
}

impl Connection {
    /// Works out the connection for a locator or inventory path.
    ///
    /// A flag beats the locator, that beats our variables, and those beat govc's.
    pub(crate) fn resolve(
        place: &str,
        root: Root,
        args: &ConnectionArgs,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let ours = server_variable(environment.ours("URL"), "OVFTRANSFER_URL")?;
        let govc = server_variable(environment.govc("URL"), "GOVC_URL")?;
        let (endpoint, path, named) = if place.starts_with("vi://") {
            let locator: Locator = place.parse().map_err(|error| {
                Failure::usage(format!("{error}"))
                    .hint("write special characters as %XX: / is %2f, @ is %40, % is %25")
            })?;
            if locator.moref().is_some() && matches!(root, Root::Vm) {
                return Err(Failure::usage("?moref= cannot be used yet; give an inventory path"));
            }
            (locator.endpoint().clone(), locator.path().to_string(), Some(locator))
        } else {
            let path = bare_path(place, root, environment)?;
            let Some(server) = ours.as_ref().or(govc.as_ref()) else {
                return Err(Failure::usage(format!("{place}: no server is given"))
                    .hint("write vi://host/dc/…, or set OVFTRANSFER_URL or GOVC_URL"));
            };
            (server.endpoint().clone(), path, None)
        };
        // What a variable's URL says about the user holds for that server only.
        let here = |server: Option<Locator>| server.filter(|s| *s.endpoint() == endpoint);
        let urls = Urls { named, ours: here(ours), govc: here(govc) };
        let username = username(args, &urls, environment).ok_or_else(|| {
            Failure::usage(format!("no user is given for {endpoint}")).hint(
                "write vi://user@host/…, use --username, or set OVFTRANSFER_USERNAME or \
                 GOVC_USERNAME",
            )
        })?;
        let password = password(args, &urls, environment)?;
        let warning = password_place(args, environment).and_then(readable_by_all);
        let trust = trust(&endpoint, args, environment)?;
        let wire = args.wire.into();
        let is_known =
            urls.ours.is_some() || urls.govc.is_some() || matches!(trust, Trust::Pinned(_));
        let moref = urls.named.as_ref().and_then(Locator::moref).map(ToString::to_string);
        Ok(Self { endpoint, trust, username, password, wire, is_known, warning, path, moref })
    }

    /// Whether a password is at hand that nobody has meant for this server, if `place` was not
    /// written by whoever runs us: variables and files hold it for one server or another.
    pub(crate) const fn is_password_astray(&self) -> bool {
        self.password.is_some() && !self.is_known
    }

    /// The server, as `host:port`.
    pub(crate) fn server(&self) -> String {
        self.endpoint.to_string()
    }

    /// Connects and logs in; asks for the password first if there is none.
    pub(crate) async fn connect(&self, console: &Console) -> Result<Server, Failure> {
        if let Some(warning) = &self.warning {
            console.object("warning", json!({ "message": warning }));
            console.note(format_args!("warning: {warning}"));
        }
        let password = match &self.password {
            Some(password) => password.clone(),
            None => self.ask().await?,
        };
        let (endpoint, trust) = (self.endpoint.clone(), self.trust.clone());
        let server = Server::connect_with(endpoint, trust, &self.username, password, self.wire);
        Ok(server.await?)
    }

    async fn ask(&self) -> Result<Secret, Failure> {
        if !io::stdin().is_terminal() {
            return Err(Failure::usage(format!(
                "no password is given for {} on {}",
                self.username, self.endpoint
            ))
            .hint(
                "use --password-file, or set OVFTRANSFER_PASSWORD, OVFTRANSFER_PASSWORD_FILE or \
                 GOVC_PASSWORD",
            ));
        }
        let prompt = format!("Password for {} on {}: ", self.username, self.endpoint);
        terminal::ask_password(prompt).await.map(Secret::new).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                // Ctrl-C at the prompt.
                Failure::cancelled()
            } else {
                Failure::local("cannot read the password", &error)
            }
        })
    }
}

/// The locators that may carry a user and a password, the strongest first.
struct Urls {
    named: Option<Locator>,
    ours: Option<Locator>,
    govc: Option<Locator>,
}

fn username(args: &ConnectionArgs, urls: &Urls, environment: &Environment) -> Option<String> {
    let of = |url: &Option<Locator>| url.as_ref().and_then(Locator::user).map(str::to_owned);
    args.username
        .clone()
        .or_else(|| of(&urls.named))
        .or_else(|| environment.ours("USERNAME").map(str::to_owned))
        .or_else(|| of(&urls.ours))
        .or_else(|| environment.govc_or_file("USERNAME"))
        .or_else(|| of(&urls.govc))
}

fn password(
    args: &ConnectionArgs,
    urls: &Urls,
    environment: &Environment,
) -> Result<Option<Secret>, Failure> {
    let of = |url: &Option<Locator>| url.as_ref().and_then(Locator::password).cloned();
    if let Some(file) = &args.password_file {
        return password_file(file).map(Some);
    }
    if let Some(password) = of(&urls.named) {
        return Ok(Some(password));
    }
    if let Some(password) = environment.ours("PASSWORD") {
        return Ok(Some(Secret::from(password)));
    }
    if let Some(file) = environment.ours("PASSWORD_FILE") {
        return password_file(Path::new(file)).map(Some);
    }
    Ok(of(&urls.ours)
        .or_else(|| environment.govc_or_file("PASSWORD").map(Secret::new))
        .or_else(|| of(&urls.govc)))
}

/// The file that a password is read from, if it comes from one of ours.
fn password_place<'a>(args: &'a ConnectionArgs, environment: &'a Environment) -> Option<&'a Path> {
    if args.password_file.is_some() {
        return args.password_file.as_deref();
    }
    let is_beaten = environment.ours("PASSWORD").is_some();
    environment.ours("PASSWORD_FILE").filter(|_| !is_beaten).map(Path::new)
}

/// Says so where every user of this machine can read a file with a password.
///
/// Secrets that a container engine mounts are readable in there by design.
#[cfg(unix)]
fn readable_by_all(file: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;

    let is_mounted = fs::canonicalize(file)
        .is_ok_and(|file| MOUNTED_SECRETS.iter().any(|folder| file.starts_with(folder)));
    let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    let is_open = metadata.permissions().mode() & READABLE_BY_OTHERS != 0;
    (is_open && !is_mounted).then(|| {
        let file = file.display();
        format!("every user of this machine can read the password in {file}; run: chmod 600 {file}")
    })
}

#[cfg(not(unix))]
fn readable_by_all(_file: &Path) -> Option<String> {
    None
}

/// Reads a password; line ends after it do not belong to it.
pub(crate) fn password_file(path: &Path) -> Result<Secret, Failure> {
    let what = || format!("cannot read the password from {}", path.display());
    let limited = fs::metadata(path).map_err(|error| Failure::local(what(), &error))?;
    if limited.len() > SECRET_BYTES_MAX {
        return Err(Failure::new(Code::LocalFile, format!("{}: too large", what())));
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::local(what(), &error))?;
    let secret = Secret::new(text.trim_end_matches(['\r', '\n']));
    if secret.expose().is_empty() {
        return Err(Failure::new(Code::LocalFile, format!("{}: it is empty", what())));
    }
    Ok(secret)
}

fn trust(
    endpoint: &Endpoint,
    args: &ConnectionArgs,
    environment: &Environment,
) -> Result<Trust, Failure> {
    if args.insecure {
        return Ok(Trust::Insecure);
    }
    if let Some(text) = &args.thumbprint {
        return pinned(text, "--thumbprint");
    }
    if let Some(file) = &args.ca_cert {
        return authorities(&[file.as_path()]);
    }
    if let Some(text) = environment.ours("THUMBPRINT") {
        return pinned(text, "OVFTRANSFER_THUMBPRINT");
    }
    if let Some(file) = environment.ours("CA_CERT") {
        return authorities(&[Path::new(file)]);
    }
    // What is said here beats what govc's variable says, in both directions.
    let insecure = match environment.ours("INSECURE").map(str::to_ascii_lowercase).as_deref() {
        Some("1" | "true" | "yes") => true,
        Some("0" | "false" | "no") => false,
        None => govc_insecure(environment),
        Some(_) => return Err(Failure::usage("OVFTRANSFER_INSECURE: expected true or false")),
    };
    if insecure { Ok(Trust::Insecure) } else { govc_trust(endpoint, environment) }
}

/// Whether govc would trust any certificate, read as govc reads it.
fn govc_insecure(environment: &Environment) -> bool {
    let insecure = environment.govc("INSECURE").map(str::to_ascii_lowercase);
    matches!(insecure.as_deref(), Some("1" | "true"))
}

/// Whom govc's variables name as trusted, read as govc reads them.
fn govc_trust(endpoint: &Endpoint, environment: &Environment) -> Result<Trust, Failure> {
    if let Some(files) = environment.govc("TLS_KNOWN_HOSTS")
        && let Some(thumbprint) = known_host(endpoint, files)
    {
        return pinned(&thumbprint, "GOVC_TLS_KNOWN_HOSTS");
    }
    match environment.govc("TLS_CA_CERTS") {
        Some(files) => {
            let files: Vec<_> = std::env::split_paths(files).collect();
            let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
            authorities(&files)
        }
        None => Ok(Trust::System),
    }
}

fn pinned(text: &str, origin: &str) -> Result<Trust, Failure> {
    let thumbprint: Thumbprint =
        text.parse().map_err(|error| Failure::usage(format!("{origin}: {error}")))?;
    Ok(Trust::Pinned(thumbprint))
}

fn authorities(files: &[&Path]) -> Result<Trust, Failure> {
    let mut pem = Vec::new();
    for file in files {
        let bytes = fs::read(file).map_err(|error| {
            Failure::local(format!("cannot read the certificates in {}", file.display()), &error)
        })?;
        // Among others nobody would miss them, and find the server not trusted.
        ca_pem(file, &bytes)?;
        pem.extend(bytes);
        pem.push(b'\n');
    }
    Ok(Trust::CaPem(Arc::from(pem)))
}

/// The trust in the authorities of a file, if it has some.
pub(crate) fn ca_pem(file: &Path, pem: &[u8]) -> Result<Trust, Failure> {
    Trust::of_ca_pem(pem).map_err(|problem| {
        Failure::usage(format!("cannot use the certificates in {}: {problem}", file.display()))
    })
}

/// Looks a server up in files with lines of `host[:port] thumbprint`.  The last line wins, and
/// files that are not there are passed over, both as in govc.
fn known_host(endpoint: &Endpoint, files: &str) -> Option<String> {
    let mut known = None;
    for file in std::env::split_paths(files) {
        let Ok(text) = fs::read_to_string(file) else { continue };
        for line in text.lines() {
            let Some((host, thumbprint)) = line.split_once(' ') else { continue };
            let is_here = format!("vi://{host}/")
                .parse::<Locator>()
                .is_ok_and(|locator| locator.endpoint() == endpoint);
            if is_here {
                known = Some(thumbprint.trim().to_owned());
            }
        }
    }
    known
}

/// Reads the URL of a server: `vi://…`, `https://…/sdk`, or just a host, each perhaps with a user
/// and a password.
fn server_variable(value: Option<&str>, name: &str) -> Result<Option<Locator>, Failure> {
    let Some(value) = value else { return Ok(None) };
    let rest = match value.split_once("://") {
        Some(("https" | "vi", rest)) => rest,
        Some(_) => {
            // The value may hold a password: it is not repeated.
            return Err(Failure::usage(format!("{name}: only https:// and vi:// can be used")));
        }
        None => value,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let locator = format!("vi://{authority}/").parse();
    locator.map(Some).map_err(|error| Failure::usage(format!("{name}: {error}")))
}

/// An inventory path without a server.
fn bare_path(place: &str, root: Root, environment: &Environment) -> Result<String, Failure> {
    if place.starts_with('/') {
        return Ok(place.to_owned());
    }
    if place.contains("://") || place.is_empty() {
        return Err(Failure::usage(format!("{place:?} is neither vi://… nor an inventory path"))
            .hint(
                "a machine is vi://user@host/dc/vm/name, a cluster vi://user@host/dc/host/name",
            ));
    }
    let Some(datacenter) = environment.govc("DATACENTER") else {
        return Err(Failure::usage(format!("{place}: not a full inventory path"))
            .hint("write vi://user@host/dc/…, or begin with / (or set GOVC_DATACENTER)"));
    };
    let datacenter = datacenter.trim_matches('/');
    let below = match root {
        Root::Machine | Root::Vm => "vm",
        Root::Host => "host",
        Root::Network => "network",
    };
    Ok(format!("/{datacenter}/{below}/{place}"))
}

/// Where Docker, Podman and Kubernetes mount secrets; `/var/run` is a link to `/run`.
#[cfg(unix)]
const MOUNTED_SECRETS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

/// The bit of a file's mode that lets others read it (POSIX).
#[cfg(unix)]
const READABLE_BY_OTHERS: u32 = 0o004;

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(place: &str, variables: &[(&str, &str)]) -> Result<Connection, Failure> {
        let environment = Environment::of(variables);
        Connection::resolve(place, Root::Vm, &ConnectionArgs::default(), &environment)
    }

    fn password_of(connection: &Connection) -> Option<&str> {
        connection.password.as_ref().map(Secret::expose)
    }

    #[test]
    fn a_locator_is_enough() {
        let connection = resolve("vi://root:pw@esx.example/dc/vm/a%2fb", &[]).unwrap();
        assert_eq!(connection.server(), "esx.example:443");
        assert_eq!(connection.path, "/dc/vm/a%2fb");
        assert_eq!(connection.username, "root");
        assert_eq!(password_of(&connection), Some("pw"));
        assert_eq!(connection.trust, Trust::System);
    }

    #[test]
    fn paths_need_a_server_from_the_environment() {
        assert_eq!(resolve("/dc/vm/web", &[]).unwrap_err().code, Code::Usage);
        let govc = ("GOVC_URL", "https://administrator@vsphere.local:p%40w@vc.example:8443/sdk");
        let connection = resolve("/dc/vm/web", &[govc]).unwrap();
        assert_eq!(connection.server(), "vc.example:8443");
        assert_eq!(connection.username, "administrator@vsphere.local");
        assert_eq!(password_of(&connection), Some("p@w"));

        let ours = ("OVFTRANSFER_URL", "other.example");
        let user = ("OVFTRANSFER_USERNAME", "me");
        let connection = resolve("/dc/vm/web", &[govc, ours, user]).unwrap();
        assert_eq!(connection.server(), "other.example:443");
        // The password is for another server.
        assert_eq!(password_of(&connection), None);
    }

    #[test]
    fn files_of_authorities_have_some() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notcert");
        fs::write(&file, "nothing here\n").unwrap();
        let name = file.to_str().unwrap();
        let args = ConnectionArgs { ca_cert: Some(file.clone()), ..ConnectionArgs::default() };
        let by = |args, variables: &[(&str, &str)]| {
            Connection::resolve("vi://u@h/dc", Root::Vm, args, &Environment::of(variables))
        };
        for failure in [
            by(&args, &[]),
            by(&ConnectionArgs::default(), &[("OVFTRANSFER_CA_CERT", name)]),
            by(&ConnectionArgs::default(), &[("GOVC_TLS_CA_CERTS", name)]),
        ] {
            let failure = failure.unwrap_err();
            assert_eq!(failure.code, Code::Usage);
            assert!(failure.message.contains(name), "{failure:?}");
        }
    }

    #[test]
    fn relative_paths_need_a_datacenter() {
        let url = ("GOVC_URL", "u:p@vc.example");
        assert_eq!(resolve("web", &[url]).unwrap_err().code, Code::Usage);
        let connection = resolve("web", &[url, ("GOVC_DATACENTER", "/DC0")]).unwrap();
        assert_eq!(connection.path, "/DC0/vm/web");
        let connection = Connection::resolve(
            "c",
            Root::Host,
            &ConnectionArgs::default(),
            &Environment::of(&[url, ("GOVC_DATACENTER", "DC0")]),
        );
        assert_eq!(connection.unwrap().path, "/DC0/host/c");
    }

    #[test]
    fn flags_beat_locators_and_those_beat_variables() {
        let variables = [
            ("OVFTRANSFER_USERNAME", "ours"),
            ("OVFTRANSFER_PASSWORD", "ours"),
            ("GOVC_USERNAME", "govc"),
            ("GOVC_PASSWORD", "govc"),
            ("GOVC_INSECURE", "True"),
        ];
        let connection = resolve("vi://h/dc/vm/a", &variables[2..]).unwrap();
        assert_eq!(
            (connection.username.as_str(), password_of(&connection)),
            ("govc", Some("govc"))
        );
        assert_eq!(connection.trust, Trust::Insecure);
        let connection = resolve("vi://h/dc/vm/a", &variables).unwrap();
        assert_eq!(
            (connection.username.as_str(), password_of(&connection)),
            ("ours", Some("ours"))
        );
        let connection = resolve("vi://named:own@h/dc/vm/a", &variables).unwrap();
        assert_eq!(
            (connection.username.as_str(), password_of(&connection)),
            ("named", Some("own"))
        );

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "flag\n").unwrap();
        let pin = "00112233445566778899aabbccddeeff00112233";
        let args = ConnectionArgs {
            username: Some("flag".to_owned()),
            password_file: Some(file),
            thumbprint: Some(pin.to_owned()),
            ..ConnectionArgs::default()
        };
        let environment = Environment::of(&variables);
        let place = "vi://named:own@h/dc/vm/a";
        let connection = Connection::resolve(place, Root::Vm, &args, &environment).unwrap();
        assert_eq!(
            (connection.username.as_str(), password_of(&connection)),
            ("flag", Some("flag"))
        );
        assert_eq!(connection.trust, Trust::Pinned(pin.parse().unwrap()));
    }

    #[test]
    fn our_word_about_certificates_beats_that_of_govc() {
        for (ours, govc, trust) in [
            ("false", "true", Trust::System),
            ("0", "1", Trust::System),
            ("no", "true", Trust::System),
            ("true", "false", Trust::Insecure),
        ] {
            let variables = [("OVFTRANSFER_INSECURE", ours), ("GOVC_INSECURE", govc)];
            assert_eq!(resolve("vi://u@h/dc/vm/a", &variables).unwrap().trust, trust, "{ours}");
        }
    }

    #[test]
    fn a_password_is_for_a_server_that_is_known() {
        let password = ("OVFTRANSFER_PASSWORD", "ours");
        let pin = ("OVFTRANSFER_THUMBPRINT", "00112233445566778899aabbccddeeff00112233");
        for (variables, is_astray) in [
            (&[password][..], true),
            (&[password, ("OVFTRANSFER_URL", "other.example")], true),
            (&[password, ("OVFTRANSFER_URL", "vc.example:8443")], true),
            (&[password, ("OVFTRANSFER_INSECURE", "true")], true),
            (&[password, ("OVFTRANSFER_URL", "vc.example")], false),
            (&[("GOVC_PASSWORD", "govc"), ("GOVC_URL", "https://vc.example/sdk")], false),
            (&[password, pin], false),
            (&[], false),
        ] {
            let connection = resolve("vi://u@vc.example:443/", variables).unwrap();
            assert_eq!(connection.is_password_astray(), is_astray, "{variables:?}");
        }
    }

    #[test]
    fn known_hosts_are_pinned_by_name_and_port() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let pin = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33";
        fs::write(&file, format!("other AA\nvc.example:8443 {pin}\nvc.example AA\n")).unwrap();
        let known = ("GOVC_TLS_KNOWN_HOSTS", file.to_str().unwrap());
        let connection = resolve("vi://u@vc.example:8443/a", &[known]).unwrap();
        assert_eq!(connection.trust, Trust::Pinned(pin.parse().unwrap()));
        assert_eq!(resolve("vi://u@vc.example/a", &[known]).unwrap_err().code, Code::Usage);
        assert_eq!(resolve("vi://u@third/a", &[known]).unwrap().trust, Trust::System);
    }

    #[test]
    fn failures_never_repeat_a_password() {
        for (place, variables) in [
            ("vi://u:hunter2@h:x/", vec![]),
            ("vi://u:hunter2@h/?moref=vm-1", vec![]),
            ("vi://:hunter2@h/dc", vec![]),
            ("/dc", vec![("GOVC_URL", "http://u:hunter2@h")]),
            ("/dc", vec![("OVFTRANSFER_URL", "https://u:hunter2@h:x")]),
        ] {
            let failure = resolve(place, &variables).unwrap_err();
            assert_eq!(failure.code, Code::Usage);
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}

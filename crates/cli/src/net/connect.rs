//! `net connect`: a card of a machine onto a port.

use ovftransfer::CheckedCard;
use ovftransfer::ConnectCard;
use ovftransfer::ConnectedCard;
use ovftransfer::PortCheck;
use ovftransfer::Verdict;
use serde_json::json;

use super::place;
use crate::args::ConnectArgs;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console::Console;
use crate::console::without_nulls;
use crate::environment::Environment;
use crate::exit::Code;
use crate::exit::Failure;
use crate::format;
use crate::signals::Interrupts;
use crate::tell::card;
use crate::transfer;

pub(crate) async fn run(
    args: ConnectArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let connection = Connection::resolve(&args.vm, Root::Machine, &args.connection, environment)?;
    let mut request = ConnectCard::new(place(&connection), args.nic);
    request.port = args.port;
    request.portgroup = args.portgroup;
    let server = interrupts.race(connection.connect(console)).await?;
    let connecting = async { Ok(server.connect_card(&request).await?) };
    let outcome = tokio::select! {
        outcome = connecting => outcome.and_then(|connected| tell(&connected, console)),
        () = interrupts.next() => Err(Failure::new(
            Code::CancelledUnclean,
            "left while the card was being connected: look where it is with net ports --vm",
        )),
    };
    transfer::logout(&server, &outcome, interrupts).await;
    outcome
}

/// Tells where the card is now; that its port is not rightly its own is a failure.
fn tell(connected: &ConnectedCard, console: &Console) -> Result<(), Failure> {
    let ConnectedCard { name, before, after, .. } = connected;
    let fields = json!({
        "command": "net connect",
        "name": name,
        "entity": connected.vm.to_string(),
        "before": card::card_object(before),
        "after": card::card_object(after),
    });
    console.object("report", without_nulls(fields));
    console.result(format_args!(
        "{name}, {}: from {} to {}",
        after.label, before.network, after.network
    ));
    let Some(port) = after.port() else { return Ok(()) };
    for line in format::table(&card::check_rows(port), &[]) {
        console.result(line);
    }
    if port.is_bad() {
        let problem = problems(after).join("; ");
        return Err(Failure::new(
            Code::Refused,
            format!("{name}, {}: connected, but {problem}", after.label),
        )
        .hint("take another port, or remove what is on this one"));
    }
    Ok(())
}

fn problems(card: &CheckedCard) -> Vec<&str> {
    let checks = card.port().into_iter().flat_map(|port| &port.checks);
    let bad = checks.filter(|check: &&PortCheck| {
        check.aspect.is_vital() && matches!(check.verdict, Verdict::Bad(_))
    });
    bad.filter_map(|check| check.verdict.reason()).collect()
}

//! `net ports`: a table that grows page by page.

use ovftransfer::Finding;
use ovftransfer::ListedPort;
use ovftransfer::PortListing;
use ovftransfer::PortQuery;
use ovftransfer::Server;
use serde_json::json;

use super::place;
use super::port;
use crate::args::PortsArgs;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console::Console;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::format;
use crate::signals::Interrupts;
use crate::transfer;

pub(crate) async fn run(
    args: PortsArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let connection =
        Connection::resolve(&args.target, Root::Network, &args.connection, environment)?;
    let mut query = PortQuery::new(place(&connection));
    query.switch = args.switch;
    query.portgroup = args.portgroup;
    query.machine = args.vm;
    query.only_conflicts = args.conflicts;
    query.refresh = args.refresh;
    let server = interrupts.race(connection.connect(console)).await?;
    let listing = interrupts.race(list(&server, &query, console));
    let outcome = Box::pin(listing).await;
    transfer::logout(&server, &outcome, interrupts).await;
    outcome
}

async fn list(server: &Server, query: &PortQuery, console: &Console) -> Result<(), Failure> {
    let mut listing = server.ports(query).await?;
    let mut table = Table::default();
    let (mut ports, mut conflicts) = (0, 0);
    while let Some(page) = listing.next().await? {
        ports += page.len();
        conflicts += page.iter().filter(|one| one.port.conflict == Some(true)).count();
        if console.json {
            page.iter().for_each(|one| console.object("port", port::object(one)));
        } else {
            table.print(&page, console);
        }
    }
    tell(&listing, console);
    let fields = json!({ "command": "net ports", "ports": ports, "conflicts": conflicts });
    console.object("report", fields);
    let count = |count: usize, thing: &str| format::count(count as u64, thing);
    console.note(format_args!("{}, {} in conflict", count(ports, "port"), conflicts));
    Ok(())
}

fn tell(listing: &PortListing, console: &Console) {
    for finding in listing.findings() {
        console.object("warning", json!({ "message": Finding::to_string(finding) }));
        console.note(format_args!("note: {finding}"));
    }
}

/// Columns that only become wider: what was printed is not seen again.
#[derive(Debug, Default)]
struct Table {
    widths: Vec<usize>,
}

impl Table {
    fn print(&mut self, page: &[ListedPort], console: &Console) {
        let mut rows: Vec<Vec<String>> = page.iter().map(port::row).collect();
        if self.widths.is_empty() && !rows.is_empty() {
            rows.insert(0, port::HEADINGS.map(str::to_owned).to_vec());
        }
        for row in &rows {
            self.widths.resize(row.len(), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &rows {
            let cells = self.widths.iter().zip(row).map(|(width, cell)| format!("{cell:width$}"));
            console.data(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

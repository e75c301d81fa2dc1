//! `net dpu-failover`: says what would happen, asks, and says what happened.

use std::io;
use std::io::IsTerminal;

use ovftransfer::DpuFailover;
use ovftransfer::DpuFailoverPlan;
use ovftransfer::DpuFailoverReport;
use ovftransfer::HostUplink;
use ovftransfer::Server;
use ovftransfer::UplinkUse;
use serde_json::Value;
use serde_json::json;

use super::place;
use crate::args::DpuFailoverArgs;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console::Console;
use crate::console::without_nulls;
use crate::environment::Environment;
use crate::exit::Code;
use crate::exit::Failure;
use crate::format;
use crate::signals::Interrupts;
use crate::tell;
use crate::terminal;
use crate::transfer;

pub(crate) async fn run(
    args: DpuFailoverArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    if !args.yes && !args.dry_run && !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked whether the failover is to begin")
            .hint("look with --dry-run first, then say --yes"));
    }
    let connection = Connection::resolve(&args.host, Root::Host, &args.connection, environment)?;
    let mut failover = DpuFailover::new(place(&connection), &args.dvs);
    failover.target_dpu.clone_from(&args.target_dpu);
    let server = interrupts.race(connection.connect(console)).await?;
    let outcome = Box::pin(fail_over(&failover, &args, &server, console, interrupts)).await;
    transfer::logout(&server, &outcome, interrupts).await;
    outcome
}

async fn fail_over(
    failover: &DpuFailover,
    args: &DpuFailoverArgs,
    server: &Server,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let plan = async { Ok(failover.plan(server).await?) };
    let plan = interrupts.race(Box::pin(plan)).await?;
    show(&plan, console);
    plan.check()?;
    if args.dry_run {
        return Ok(());
    }
    if !args.yes && !interrupts.race(ask(&plan)).await? {
        return Err(Failure::new(Code::Cancelled, "cancelled; nothing was changed"));
    }
    let (host, switch) = (plan.host_name.clone(), plan.switch.clone());
    console.note(format_args!(
        "{host}: the failover of {switch} begins; the host may take up to a minute to show it"
    ));
    let report = tokio::select! {
        report = Box::pin(plan.start()) => report?,
        () = interrupts.next() => return Err(Failure::new(
            Code::CancelledUnclean,
            format!("left while {switch} failed over on {host}, which goes on"),
        )),
    };
    tell_report(&report, console);
    Ok(())
}

/// Asks whether the failover is to begin.
async fn ask(plan: &DpuFailoverPlan) -> Result<bool, Failure> {
    let dpu = match &plan.target_dpu {
        Some(dpu) => dpu.clone(),
        None => plan.standby_dpus().join(" or "),
    };
    let question = format!(
        "Let {dpu} take over {} on {}? Its network stops for a moment. [y/N] ",
        plan.switch, plan.host_name
    );
    let asked = terminal::confirm(question).await;
    asked.map_err(|error| Failure::local("cannot read the answer", &error))
}

fn show(plan: &DpuFailoverPlan, console: &Console) {
    let text = plan_text(plan);
    let uplinks = plan.uplinks.iter().map(uplink_object);
    let fields = json!({
        "command": "net dpu-failover",
        "name": plan.host_name,
        "entity": plan.host.to_string(),
        "switch": plan.switch,
        "network_offload_spec_id": plan.network_offload_spec_id,
        "active_dpus": plan.active_dpus(),
        "standby_dpus": plan.standby_dpus(),
        "target_dpu": plan.target_dpu,
        "uplinks": uplinks.collect::<Vec<_>>(),
        "findings": plan.findings.iter().map(tell::finding_object).collect::<Vec<_>>(),
        "text": text,
    });
    console.object("plan", without_nulls(fields));
    console.result(text);
}

fn plan_text(plan: &DpuFailoverPlan) -> String {
    let offload = plan.network_offload_spec_id.as_deref().unwrap_or("not told, or none");
    let mut lines = vec![format!("{}, {}: network offload {offload}", plan.host_name, plan.switch)];
    lines.extend(table(&plan.uplinks));
    let dpus = |dpus: Vec<&str>| if dpus.is_empty() { "none".to_owned() } else { dpus.join(", ") };
    lines.push(format!("active DPU: {}", dpus(plan.active_dpus())));
    lines.push(format!("standby DPU: {}", dpus(plan.standby_dpus())));
    let target = plan.target_dpu.as_deref().unwrap_or("the server's choice");
    lines.push(format!("to take over: {target}"));
    for finding in &plan.findings {
        let severity = finding.severity.word();
        let finding = format::printable(&finding.to_string());
        lines.push(format!("{severity}: {finding}"));
    }
    lines.join("\n")
}

fn tell_report(report: &DpuFailoverReport, console: &Console) {
    let objects = |uplinks: &[HostUplink]| uplinks.iter().map(uplink_object).collect::<Vec<_>>();
    let fields = json!({
        "command": "net dpu-failover",
        "name": report.host_name,
        "switch": report.switch,
        "is_confirmed": report.is_confirmed,
        "before": objects(&report.before),
        "after": report.after.as_deref().map(objects),
        "took_ms": tell::millis(report.took),
    });
    console.object("report", without_nulls(fields));
    console.result("before:");
    table(&report.before).iter().for_each(|line| console.result(line));
    match (&report.after, report.is_confirmed) {
        (Some(after), true) => {
            console.result(format_args!("after {}:", format::span(report.took)));
            table(after).iter().for_each(|line| console.result(line));
        }
        (after, _) => {
            console.result("after: unknown");
            after.iter().for_each(|after| {
                table(after).iter().for_each(|line| console.result(line));
            });
            console.note(format_args!(
                "warning: the server has agreed, but nothing on {} shows the failover after {}; \
                 look again later",
                report.host_name,
                format::span(report.took)
            ));
        }
    }
}

fn table(uplinks: &[HostUplink]) -> Vec<String> {
    let mut rows =
        vec![["UPLINK", "STATE", "POLICY", "CARD", "LINK", "DPU"].map(str::to_owned).to_vec()];
    rows.extend(uplinks.iter().map(|uplink| {
        let word = |used: &Option<UplinkUse>, none: &str| {
            used.as_ref().map_or(none, UplinkUse::word).to_owned()
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let link = uplink.link_megabits_per_s.map(|speed| format!("{speed} Mbit/s"));
        let cells = [
            uplink.name.clone(),
            word(&uplink.state, "unknown"),
            word(&uplink.configured, "-"),
            text(&uplink.pnic),
            text(&link.or_else(|| uplink.pnic.as_ref().map(|_| "down".to_owned()))),
            text(&uplink.dpu_id),
        ];
        cells.iter().map(|cell| format::printable(cell)).collect()
    }));
    format::table(&rows, &[])
}

fn uplink_object(uplink: &HostUplink) -> Value {
    json!({
        "uplink": uplink.name,
        "state": uplink.state.as_ref().map_or("unknown", UplinkUse::word),
        "configured": uplink.configured.as_ref().map(UplinkUse::word),
        "pnic": uplink.pnic,
        "mac_address": uplink.mac_address,
        "link_megabits_per_s": uplink.link_megabits_per_s,
        "dpu_id": uplink.dpu_id,
    })
}

//! Distributed ports of somebody else's server, which says less of them than the reference.

use serde_json::Value;

use super::Server;
use super::peer;

#[test]
fn the_ports_of_vcsim_are_listed_with_what_they_lack_as_unknown() {
    let Some(vcsim) = peer("vcsim") else { return };
    let server = Server::vcsim(&vcsim);
    let done = server.run(&["net", "ports", "/DC0"]);
    done.expect_code(0);
    let rows: Vec<&str> = done.stdout.lines().collect();
    assert!(rows.len() > 2 && rows[0].starts_with("KEY"), "{}", done.stdout);
    // Nobody is shown on a port, nor any state: that does not make it free or down.
    for row in &rows[1..] {
        assert!(row.contains("DVS0/") && row.matches("unknown").count() >= 3, "{row}");
    }

    // Its keys begin anew in every portgroup, and RefreshDVPortState is not there.
    let done = server.run(&["net", "ports", "/DC0/vm/DC0_H0_VM0", "--refresh", "--json"]);
    done.expect_code(0);
    let objects: Vec<Value> =
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ports: Vec<&Value> = objects.iter().filter(|object| object["type"] == "port").collect();
    for port in &ports {
        assert_eq!((&port["portgroup"], &port["switch"]), (&"DC0_DVPG0".into(), &"DVS0".into()));
        assert!(port.get("is_free").is_none() && port.get("connectee").is_none(), "{port}");
        assert!(port.get("state").is_none() && port.get("last_status_change").is_none(), "{port}");
    }
    let report = objects.iter().find(|object| object["type"] == "report").unwrap();
    assert_eq!((&report["ports"], &report["conflicts"]), (&ports.len().into(), &0.into()));

    let done = server.run(&["net", "ports", "/DC0", "--portgroup", "DVS0/DC0_DVPG0", "--json"]);
    done.expect_code(0);
    assert!(done.stdout.lines().count() > 1, "{}", done.stdout);
    let done = server.run(&["net", "ports", "/DC0", "--portgroup", "DVPG0"]);
    done.expect_code(4);
    assert!(done.stderr.contains("DVS0/DC0_DVPG0"), "{}", done.stderr);
}

//! Failover of data processing units.

use ovftransfer::DpuFailover;
use ovftransfer::DpuFailoverPlan;
use ovftransfer::Error;
use ovftransfer::ErrorKind;
use ovftransfer::Severity;
use ovftransfer::UplinkUse;
use ovftransfer::Wire;
use ovftransfer_simulator::Scenario;
use ovftransfer_simulator::scenario::ApiVersion;
use ovftransfer_simulator::scenario::Offload;
use ovftransfer_simulator::scenario::SwitchSpec;

use super::World;

const HOST: &str = "/DC0/host/Cluster0/host0";

/// A switch on two DPUs, of which the second stands by.
async fn world(wire: Wire, change: impl FnOnce(&mut Scenario, &mut Offload)) -> World {
    World::over(wire, |scenario| {
        let mut offload = Offload::default();
        offload.dpus = vec!["dpu0".to_owned(), "dpu1".to_owned()];
        offload.standby = vec!["Uplink 2".to_owned()];
        change(scenario, &mut offload);
        let mut switch = SwitchSpec::new("DVS0");
        switch.offload = Some(offload);
        scenario.switches = vec![switch, SwitchSpec::new("plain")];
    })
    .await
}

async fn plan(world: &World, target: Option<&str>) -> Result<DpuFailoverPlan, Error> {
    let mut failover = DpuFailover::new(HOST, "DVS0");
    failover.target_dpu = target.map(str::to_owned);
    failover.plan(&world.server).await
}

fn errors(plan: &DpuFailoverPlan) -> Vec<String> {
    let errors = plan.findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_dpu_in_reserve_takes_over_and_the_host_shows_it() {
    for wire in [Wire::Json, Wire::Soap] {
        let world = world(wire, |_, _| ()).await;
        let plan = plan(&world, None).await.unwrap();
        assert_eq!(errors(&plan), Vec::<String>::new());
        assert_eq!((plan.active_dpus(), plan.standby_dpus()), (vec!["dpu0"], vec!["dpu1"]));
        assert_eq!((plan.host_name.as_str(), plan.switch.as_str()), ("host0", "DVS0"));
        assert!(plan.network_offload_spec_id.is_some());
        let policy = plan.dpu_failover_policy.clone().unwrap();
        assert_eq!(policy.standby_uplinks, ["Uplink 2"]);
        assert_eq!(plan.uplinks[1].pnic.as_deref(), Some("vmnic1"));
        assert_eq!(plan.uplinks[1].dpu_id.as_deref(), Some("dpu1"));
        assert_eq!(plan.uplinks[1].configured, Some(UplinkUse::Standby));
        assert_eq!(plan.uplinks[1].link_megabits_per_s, Some(25_000));

        let report = plan.start().await.unwrap();
        assert!(report.is_confirmed, "{report:?}");
        let after = report.after.unwrap();
        assert_eq!(report.before[0].state, Some(UplinkUse::Active));
        assert_eq!(after[0].state, Some(UplinkUse::Standby));
        assert_eq!(after[1].state, Some(UplinkUse::Active));
        // The policy stays as it was, and the other one can be asked for by name.
        assert_eq!(after[1].configured, Some(UplinkUse::Standby));
        let back = super::dpu::plan(&world, Some("dpu0")).await.unwrap();
        assert!(back.start().await.unwrap().is_confirmed);
        let again = super::dpu::plan(&world, Some("dpu0")).await.unwrap();
        assert!(errors(&again)[0].contains("in use already"), "{again:?}");
        let error = again.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
}

#[tokio::test]
async fn what_stands_against_a_failover_is_found_before() {
    let expect = async |change: fn(&mut Scenario, &mut Offload), words: &str| {
        let world = world(Wire::Auto, change).await;
        let plan = plan(&world, None).await.unwrap();
        let errors = errors(&plan);
        assert!(errors.len() == 1 && errors[0].contains(words), "{errors:?}");
        plan.check().unwrap_err().kind()
    };
    assert_eq!(expect(|_, o| o.standby.clear(), "no failover policy").await, ErrorKind::Refused);
    let bare = expect(|_, o| o.dpus[1].clear(), "is on a DPU").await;
    assert_eq!(bare, ErrorKind::Refused);
    let poor = |scenario: &mut Scenario, _: &mut Offload| {
        scenario.missing_privileges = vec!["Host.Config.Network".to_owned()];
    };
    assert_eq!(expect(poor, "Host.Config.Network").await, ErrorKind::Permission);

    let world = world(Wire::Auto, |_, _| ()).await;
    let refuse =
        async |host: &str, switch: &str| DpuFailover::new(host, switch).plan(&world.server).await;
    let plain = refuse(HOST, "plain").await.unwrap();
    assert!(errors(&plain)[0].contains("not offloaded"), "{plain:?}");
    let error = refuse(HOST, "DVS9").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("DVS0, plain"), "{error}");
    let error = refuse("/DC0/host/Cluster0", "DVS0").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn refusals_say_what_they_are_about() {
    for wire in [Wire::Json, Wire::Soap] {
        let failed = world(wire, |_, offload| offload.failed_dpus = vec!["dpu1".to_owned()]).await;
        for (target, words) in [
            (None, "fit to take over"),
            (Some("dpu1"), "dpu1 is not there"),
            (Some("x"), "x is not"),
        ] {
            let plan = plan(&failed, target).await.unwrap();
            assert_eq!(plan.findings.len(), usize::from(target == Some("x")), "{plan:?}");
            let error = plan.start().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
    let disabled = world(Wire::Auto, |scenario, offload| {
        (scenario.api_version, offload.partial_maintenance) = (ApiVersion::V9_0_0_0, true);
    });
    let error = plan(&disabled.await, None).await.unwrap().start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("MethodDisabled"), "{error}");

    let old = world(Wire::Auto, |scenario, _| scenario.api_version = ApiVersion::V8_0_2_0).await;
    let error = plan(&old, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("8.0.3.0 is needed"), "{error}");
}

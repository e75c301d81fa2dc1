"""Looks for the ports of a machine, puts its card on another one, lets a DPU take over."""

import os
import ssl

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim

host, port = os.environ["SIM_HOST"].split(":")
context = ssl._create_unverified_context()
service = SmartConnect(
    host=host, port=int(port), user=os.environ["SIM_USER"], pwd=os.environ["SIM_PASSWORD"], sslContext=context
)
content = service.RetrieveContent()


def find(kind, name):
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    found = [entity for entity in view.view if entity.name == name]
    view.Destroy()
    return found[0]


def card():
    return next(d for d in vm.config.hardware.device if isinstance(d, vim.vm.device.VirtualEthernetCard))


switch = find(vim.dvs.VmwareDistributedVirtualSwitch, "DVS0")
group = find(vim.dvs.DistributedVirtualPortgroup, "DPG0")
vm = find(vim.VirtualMachine, "ported")
assert group.config.distributedVirtualSwitch == switch and group.config.type == "earlyBinding"
assert len(group.portKeys) == group.config.numPorts == 8
assert content.dvSwitchManager.QueryDvsByUuid(switch.uuid) == switch

criteria = vim.dvs.PortCriteria(portgroupKey=[group.key], inside=True, connected=True)
(found,) = switch.FetchDVPorts(criteria)
mine = card()
assert found.connectee.connectedEntity == vm and found.connectee.nicKey == str(mine.key)
assert found.connectionCookie == mine.backing.port.connectionCookie
assert found.key == mine.backing.port.portKey and found.dvsUuid == mine.backing.port.switchUuid
assert found.state.runtimeInfo.linkUp and not found.state.runtimeInfo.blocked and not found.conflict
assert found.state.runtimeInfo.vlanIds[0].start == 7 and found.config.setting.vlan.vlanId == 7
assert found.state.runtimeInfo.macAddress == mine.macAddress
setting = found.config.setting
assert isinstance(setting, vim.dvs.VmwareDistributedVirtualSwitch.VmwarePortConfigPolicy)
assert setting.macManagementPolicy.macLearningPolicy.limit == 4096 and not setting.lacpPolicy.enable.value
assert setting.uplinkTeamingPolicy.failureCriteria.checkBeacon.value is False
assert setting.uplinkTeamingPolicy.uplinkPortOrder.standbyUplinkPort == ["Uplink 2"]
assert found.state.stats.bytesInFromPnic == 0 and found.hostLocalPort is False
switch.RefreshPortState([found.key])
try:
    switch.RefreshPortState(["4711"])
    raise SystemExit("an unknown port was refreshed")
except vim.fault.NotFound:
    pass
assert found.key in switch.FetchDVPortKeys(criteria)
print("port", found.key, found.lastStatusChange)

free = switch.FetchDVPorts(vim.dvs.PortCriteria(portgroupKey=[group.key], inside=True, connected=False))
mine.backing.port.portKey = free[0].key
change = vim.vm.device.VirtualDeviceSpec(operation="edit", device=mine)
WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))
assert card().backing.port.portKey == free[0].key and card().macAddress == mine.macAddress
print("moved", free[0].key)

system = find(vim.HostSystem, "host0").configManager.networkSystem
assert [nic.dpuId for nic in system.networkInfo.pnic] == ["dpu0", "dpu1"]
start = getattr(system, "startDpuFailover", None) or getattr(system, "StartDpuFailover", None)
if start is None:
    print("this pyvmomi knows no failover")
else:
    try:
        start("DVS0", "dpu7")
        raise SystemExit("an unknown DPU took over")
    except vim.fault.VimFault:
        raise
    except Exception as fault:
        assert fault.invalidProperty == "targetDpuAlias", fault
    start("DVS0")
    (proxy,) = system.networkInfo.proxySwitch
    assert [one.state for one in proxy.hostUplinkState] == ["standby", "active"], proxy
    print("failed over")
Disconnect(service)

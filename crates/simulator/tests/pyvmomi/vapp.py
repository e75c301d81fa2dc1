"""Runs a vApp, exports it, imports its descriptor again, aborts both."""

import os
import ssl
import time

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


def ready(lease):
    while lease.state == vim.HttpNfcLease.State.initializing:
        time.sleep(0.01)
    assert lease.state == vim.HttpNfcLease.State.ready, lease.error
    return lease.info


vapp = find(vim.VirtualApp, "vapp0")
assert [vm.parentVApp for vm in vapp.vm] == [vapp, vapp] and vapp.parentFolder.name == "vm"
order = [(entity.tag, entity.startOrder) for entity in vapp.vAppConfig.entityConfig]
assert order == [("vapp-db", 1), ("vapp-web", 2)], order
WaitForTask(vapp.PowerOn())
assert vapp.summary.vAppState == "started"
try:
    vapp.ExportVApp()
    raise SystemExit("a running vApp was exported")
except vim.fault.InvalidPowerState as fault:
    print("refused", fault.existingState)
WaitForTask(vapp.PowerOff(False))

lease = vapp.ExportVApp()
info = ready(lease)
print("covered", info.entity.name, [url.targetId for url in info.deviceUrl])
parameters = vim.OvfManager.CreateDescriptorParams(name="copy")
descriptor = content.ovfManager.CreateDescriptor(vapp, parameters).ovfDescriptor
lease.HttpNfcLeaseAbort()

parsed = content.ovfManager.ParseDescriptor(descriptor, vim.OvfManager.ParseDescriptorParams(locale="", deploymentOption=""))
assert parsed.virtualApp and parsed.defaultEntityName == "copy", parsed
pool, datastore = find(vim.ResourcePool, "pool0"), find(vim.Datastore, "datastore0")
parameters = vim.OvfManager.CreateImportSpecParams(diskProvisioning="thin")
result = content.ovfManager.CreateImportSpec(descriptor, pool, datastore, parameters)
assert not result.error, result.error
print("children", [child.configSpec.name for child in result.importSpec.child])
lease = pool.ImportVApp(result.importSpec, find(vim.Datacenter, "DC0").vmFolder)
assert ready(lease).entity == find(vim.VirtualApp, "copy")
print("made", [vm.name for vm in find(vim.VirtualApp, "copy").vm])
lease.HttpNfcLeaseAbort(vim.fault.FileFault(file="disk-0.vmdk"))
Disconnect(service)

"""Looks around, exports a machine with heartbeats and manifest, imports it again, aborts one."""

import hashlib
import os
import ssl
import time
import urllib.request

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim

host, port = os.environ["SIM_HOST"].split(":")
context = ssl._create_unverified_context()
service = SmartConnect(
    host=host, port=int(port), user=os.environ["SIM_USER"], pwd=os.environ["SIM_PASSWORD"], sslContext=context
)
content = service.RetrieveContent()
print("about", content.about.fullName)


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


vm = find(vim.VirtualMachine, "small")
print("disks", [d.capacityInKB for d in vm.config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk)])
WaitForTask(vm.PowerOn())
try:
    vm.ExportVm()
    raise SystemExit("a running machine was exported")
except vim.fault.InvalidPowerState as fault:
    print("refused", fault.existingState)
WaitForTask(vm.PowerOff())

lease = vm.ExportVm()
info = ready(lease)
lease.HttpNfcLeaseProgress(0)
files, bodies = [], {}
for url in info.deviceUrl:
    body = urllib.request.urlopen(url.url.replace(" ", "%20"), context=context).read()
    bodies[url.targetId] = body
    entry = next(e for e in lease.HttpNfcLeaseGetManifest() if e.key == url.key)
    assert entry.size == len(body) and entry.sha1 == hashlib.sha1(body).hexdigest(), entry
    files.append(vim.OvfManager.OvfFile(deviceId=url.key, path=url.targetId, size=len(body)))
lease.HttpNfcLeaseProgress(100)
parameters = vim.OvfManager.CreateDescriptorParams(ovfFiles=files, name="small")
descriptor = content.ovfManager.CreateDescriptor(vm, parameters).ovfDescriptor
lease.HttpNfcLeaseComplete()

pool = find(vim.ResourcePool, "pool0")
datastore = find(vim.Datastore, "datastore0")
folder = find(vim.Datacenter, "DC0").vmFolder


def deploy(name):
    parameters = vim.OvfManager.CreateImportSpecParams(entityName=name, diskProvisioning="thin")
    result = content.ovfManager.CreateImportSpec(descriptor, pool, datastore, parameters)
    assert not result.error, result.error
    return result, pool.ImportVApp(result.importSpec, folder)


result, lease = deploy("from python")
info = ready(lease)
for item in result.fileItem:
    url = next(u for u in info.deviceUrl if u.importKey == item.deviceId)
    headers = {"Content-Type": "application/x-vnd.vmware-streamVmdk"}
    if item.create:
        headers = {"Overwrite": "t"}
    request = urllib.request.Request(
        url.url.replace(" ", "%20"), bodies[item.path], headers, method="PUT" if item.create else "POST"
    )
    urllib.request.urlopen(request, context=context)
    lease.HttpNfcLeaseProgress(50)
lease.HttpNfcLeaseComplete()
print("imported", find(vim.VirtualMachine, "from python").summary.config.numVirtualDisks)

_, lease = deploy("given up")
ready(lease)
lease.HttpNfcLeaseAbort(vim.fault.FileFault(file="disk-0.vmdk"))
print("aborted", lease.state)
Disconnect(service)

"""Exports a machine or its snapshot into a folder: files, descriptor, manifest.

Usage: export_vm.py NAME FOLDER [SNAPSHOT]
"""

import hashlib
import pathlib
import sys
import urllib.request

from pyVim.connect import Disconnect
from pyVmomi import vim

import vc

PIECE = 256 * 1024

name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
service = vc.connect()
content = service.RetrieveContent()
vm = vc.find(content, vim.VirtualMachine, name)
snapshot = None
if len(sys.argv) > 3:
    tree = next(tree for tree in vm.snapshot.rootSnapshotList if tree.name == sys.argv[3])
    snapshot = tree.snapshot
    lease = snapshot.ExportSnapshot()
else:
    lease = vm.ExportVm()
info = vc.poll_until_ready(lease)
lease.HttpNfcLeaseSetManifestChecksumType([vim.KeyValue(key=url.key, value="sha256") for url in info.deviceUrl])

progress = {"done": 0}
heart = vc.Heart(lease, lambda: min(99, progress["done"] // max(1, info.totalDiskCapacityInKB * 1024 // 100)))
heart.start()
files, lines = [], []
for url in info.deviceUrl:
    path = folder / f"{name}-{url.targetId}".replace(f"{name}-{name}", name)
    digest, size = hashlib.sha256(), 0
    request = urllib.request.Request(url.url.replace(" ", "%20"))
    with urllib.request.urlopen(request, context=vc.context) as source, open(path, "wb") as sink:
        while piece := source.read(PIECE):
            sink.write(piece)
            digest.update(piece)
            size += len(piece)
            progress["done"] += len(piece)
    entry = next(entry for entry in lease.HttpNfcLeaseGetManifest() if entry.key == url.key)
    assert (entry.checksumType, entry.checksum) == ("sha256", digest.hexdigest()), entry
    assert entry.size == size and bool(url.disk) == (entry.capacity is not None), entry
    lines.append(f"SHA256({path.name})= {digest.hexdigest()}\n")
    files.append(
        vim.OvfManager.OvfFile(
            deviceId=url.key, path=path.name, size=size, capacity=entry.capacity, populatedSize=entry.populatedSize
        )
    )
heart.stop()
parameters = vim.OvfManager.CreateDescriptorParams(ovfFiles=files, name=name, includeImageFiles=True, snapshot=snapshot)
result = content.ovfManager.CreateDescriptor(vm, parameters)
assert not result.error and not result.warning, result
lease.HttpNfcLeaseComplete()

descriptor = result.ovfDescriptor.encode()
(folder / f"{name}.ovf").write_bytes(descriptor)
lines.insert(0, f"SHA256({name}.ovf)= {hashlib.sha256(descriptor).hexdigest()}\n")
(folder / f"{name}.mf").write_text("".join(lines))
print("exported", len(files), "beats", heart.beats > 0)

if snapshot is None:
    # Given up: the machine is free again at once.
    lease = vm.ExportVm()
    vc.poll_until_ready(lease)
    assert "ExportVm" in vm.disabledMethod, vm.disabledMethod
    lease.HttpNfcLeaseAbort()
    assert lease.state == vim.HttpNfcLease.State.error
    assert "ExportVm" not in vm.disabledMethod, vm.disabledMethod
    print("given up")
Disconnect(service)

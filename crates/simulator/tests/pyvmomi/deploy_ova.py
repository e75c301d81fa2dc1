"""Deploys an OVA: spec, lease, uploads out of the archive with a heart beside them, manifest.

Usage: deploy_ova.py OVA NAME [FAIL_AFTER]; with FAIL_AFTER it gives up after so many files.
"""

import hashlib
import http.client
import sys
import tarfile
import urllib.parse

from pyVim.connect import Disconnect
from pyVmomi import vim, vmodl

import vc

PIECE = 64 * 1024


class Reader:
    """A file of the archive that counts and hashes what is read from it."""

    def __init__(self, file, progress):
        self.file, self.progress, self.sha256 = file, progress, hashlib.sha256()

    def read(self, size=PIECE):
        data = self.file.read(size)
        self.sha256.update(data)
        self.progress["done"] += len(data)
        return data


def upload(url, item, reader, size):
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=vc.context)
    headers = {"Content-Length": str(size)}
    if item.create:
        headers["Overwrite"] = "t"
    else:
        headers["Content-Type"] = "application/x-vnd.vmware-streamVmdk"
    path = urllib.parse.quote(parts.path, safe="/[]%")
    connection.request("PUT" if item.create else "POST", path, reader, headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status in (200, 201), (answer.status, answer.reason)


archive, name = tarfile.open(sys.argv[1]), sys.argv[2]
fail_after = int(sys.argv[3]) if len(sys.argv) > 3 else None
descriptor = next(member for member in archive if member.name.endswith(".ovf"))
descriptor = archive.extractfile(descriptor).read().decode()

service = vc.connect()
content = service.RetrieveContent()
manager = content.ovfManager
parsed = manager.ParseDescriptor(descriptor, vim.OvfManager.ParseDescriptorParams())
assert not parsed.error, parsed.error
network = vc.find(content, vim.Network, "VM Network")
mapping = [vim.OvfManager.NetworkMapping(name=wanted.name, network=network) for wanted in parsed.network]
pool = vc.find(content, vim.ResourcePool, "pool0")
parameters = vim.OvfManager.CreateImportSpecParams(
    entityName=name, diskProvisioning="thin", networkMapping=mapping, hostSystem=vc.find(content, vim.HostSystem, "host1")
)
result = manager.CreateImportSpec(descriptor, pool, vc.find(content, vim.Datastore, "datastore1"), parameters)
assert not result.error and not result.warning, result
host = vc.find(content, vim.HostSystem, "host1")
lease = pool.ImportVApp(result.importSpec, vc.find(content, vim.Datacenter, "DC0").vmFolder, host)
info = vc.wait_until_ready(content, lease)
entity = info.entity
kinds = [vim.KeyValue(key=url.key, value="sha256") for url in info.deviceUrl]
lease.HttpNfcLeaseSetManifestChecksumType(kinds)

progress = {"done": 0, "all": sum(archive.getmember(item.path).size for item in result.fileItem)}
heart = vc.Heart(lease, lambda: progress["done"] * 100 // progress["all"])
heart.start()
digests = {}
try:
    for number, item in enumerate(result.fileItem):
        if number == fail_after:
            raise OSError(f"no more than {fail_after} files can be read")
        url = next(url for url in info.deviceUrl if url.importKey == item.deviceId)
        member = archive.getmember(item.path)
        reader = Reader(archive.extractfile(member), progress)
        upload(url.url, item, reader, member.size)
        digests[url.key] = reader.sha256.hexdigest()
        print("sent", item.path, member.size)
    for entry in lease.HttpNfcLeaseGetManifest():
        assert entry.checksumType == "sha256" and entry.checksum == digests.pop(entry.key), entry
    assert not digests, digests
    heart.stop()
    lease.HttpNfcLeaseProgress(100)
    lease.HttpNfcLeaseComplete()
    assert lease.state == vim.HttpNfcLease.State.done
    assert entity.summary.config.name == name and entity.runtime.host == host
    print("deployed", entity._moId, "beats", heart.beats > 0)
except OSError as error:
    heart.stop()
    lease.HttpNfcLeaseAbort(vim.fault.FileFault(file=item.path, msg=str(error)))
    assert lease.state == vim.HttpNfcLease.State.error
    assert isinstance(lease.error, vim.fault.FileFault) and lease.error.file == item.path, lease.error
    try:
        entity.name
        raise SystemExit("the machine is still there")
    except vmodl.fault.ManagedObjectNotFound as fault:
        assert fault.obj == entity
    try:
        lease.HttpNfcLeaseProgress(50)
        raise SystemExit("a lease that ended was renewed")
    except vmodl.MethodFault as fault:
        print("gone", type(fault).__name__)
Disconnect(service)

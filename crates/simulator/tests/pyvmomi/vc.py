"""What the scripts share: a connection from the environment, and leases."""

import os
import ssl
import threading
import time

from pyVim.connect import SmartConnect
from pyVmomi import vim, vmodl

context = ssl._create_unverified_context()


def connect():
    host, port = os.environ["SIM_HOST"].split(":")
    return SmartConnect(
        host=host, port=int(port), user=os.environ["SIM_USER"], pwd=os.environ["SIM_PASSWORD"], sslContext=context
    )


def find(content, kind, name):
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    found = [entity for entity in view.view if entity.name == name]
    view.Destroy()
    return found[0] if found else None


def poll_until_ready(lease):
    """As most samples do: ask for one property again and again."""
    deadline = time.time() + 60
    while lease.state == vim.HttpNfcLease.State.initializing:
        assert time.time() < deadline, "the lease does not become ready"
        time.sleep(0.01)
    if lease.state == vim.HttpNfcLease.State.error:
        raise lease.error
    return lease.info


def wait_until_ready(content, lease):
    """As the better samples do: let the server say when something changes."""
    collector = content.propertyCollector
    wanted = vmodl.query.PropertyCollector.PropertySpec(type=vim.HttpNfcLease, pathSet=["state", "info", "error"])
    spec = vmodl.query.PropertyCollector.FilterSpec(
        objectSet=[vmodl.query.PropertyCollector.ObjectSpec(obj=lease)], propSet=[wanted]
    )
    view = collector.CreateFilter(spec, True)
    known, version = {}, None
    try:
        while known.get("state") not in (vim.HttpNfcLease.State.ready, vim.HttpNfcLease.State.error):
            update = collector.WaitForUpdatesEx(version, vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=60))
            assert update is not None, "nothing changed"
            version = update.version
            for change in update.filterSet[0].objectSet[0].changeSet:
                known[change.name] = change.val
    finally:
        view.Destroy()
    if known["state"] == vim.HttpNfcLease.State.error:
        raise known["error"]
    return known["info"]


class Heart(threading.Thread):
    """Renews a lease until it is told to stop, over a connection of its own thread's choosing."""

    def __init__(self, lease, percent, every=0.05):
        super().__init__(daemon=True)
        self.lease, self.percent, self.every = lease, percent, every
        self.beats, self.stopped, self.error = 0, threading.Event(), None

    def run(self):
        while True:
            try:
                self.lease.HttpNfcLeaseProgress(self.percent())
            except Exception as error:
                self.error = error
                return
            self.beats += 1
            if self.stopped.wait(self.every):
                return

    def stop(self):
        self.stopped.set()
        self.join()
        if self.error:
            raise self.error

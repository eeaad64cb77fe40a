"""Figures of a running container, and changes of its limits."""

from __future__ import annotations

from runsc.errors import RunscError
from runsc.oci.lifecycle import control
from runsc.oci.node import Node
from runsc.oci.resources import Resources
from runsc.oci.state import STOPPED, Lock, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.config import Config
    from runsc.oci.state import Record


def statistics(store: Store, record: Record) -> dict[str, Any]:
    """Figures as runc's ``events`` gives them: CPU time in ns, memory in bytes."""
    with control(store, record) as connection:
        answer = connection.call({"do": "stats", "id": record.id})
    user, system = answer["user"], answer["system"]
    return {
        "cpu": {
            "usage": {"total": user + system, "kernel": system, "user": user, "percpu": []},
            "throttling": {},
        },
        "memory": {
            "usage": {"limit": answer["memory_limit"], "usage": answer["memory"], "max": 0, "failcnt": 0},
            "cache": 0,
            "raw": {},
        },
        "pids": {"current": answer["tasks"], "limit": answer["tasks_limit"]},
        "blkio": {},
        "hugetlb": {},
    }


def update(config: Config, container_id: str, document: Any) -> None:
    """Change limits of a container: ``document`` is as ``linux.resources``. Raises ``RunscError``."""
    changes = Resources.parse(Node(document, "$"))
    store = Store(config.state_dir)
    record = store.load(container_id)
    with Lock(record.directory):
        record = store.load(container_id)
        if record.now() == STOPPED:
            raise RunscError(f"cannot update container {container_id}: it is not running")
        with control(store, record) as connection:
            connection.call({"do": "update", "id": container_id, "resources": document})
    del changes

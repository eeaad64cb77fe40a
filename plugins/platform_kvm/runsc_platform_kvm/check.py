"""Does /dev/kvm do here what the platform needs?"""

from __future__ import annotations

import errno
import os
import platform as host

from runsc.plugins.availability import Availability

_DEVICE = "/dev/kvm"
_API_VERSION = 12

_OTHER = "or choose another --platform"


def _cannot_open(error: OSError) -> Availability:
    if error.errno in (errno.EACCES, errno.EPERM):
        return Availability.no(
            f"this user may not open {_DEVICE}",
            f"add the user to the group that owns {_DEVICE} (usually kvm: `usermod -aG kvm USER`), give the "
            f"container the device (docker run --device {_DEVICE}), {_OTHER}",
        )
    if error.errno == errno.ENOENT:
        return Availability.no(
            f"there is no {_DEVICE}",
            "load kvm_intel or kvm_amd (`modprobe`), switch virtualization on in the firmware or, in a "
            f"virtual machine, have nested virtualization enabled for it, {_OTHER}",
        )
    return Availability.no(
        f"{_DEVICE} can't be opened: {error.strerror}",
        f"look at the kernel's log (`dmesg | grep kvm`) for why KVM is off, {_OTHER}",
    )


def _cannot_run(error: OSError) -> Availability:
    from runsc_platform_kvm.platform import SelfTestFailed

    if isinstance(error, SelfTestFailed):
        return Availability.no(
            f"KVM does not run a guest properly here: {error.strerror}",
            "if this is a virtual machine, its host's nested virtualization is incomplete: use a machine "
            f"with virtualization of its own, {_OTHER}",
        )
    if error.errno in (errno.EBUSY, errno.EOPNOTSUPP):
        return Availability.no(
            f"KVM makes no virtual machine: {error.strerror}",
            f"end what else uses the processor's virtualization (VirtualBox, VMware), {_OTHER}",
        )
    return Availability.no(
        f"a virtual machine can't be made: {error.strerror}",
        "look at the limits on memory, address space, processes and open files (ulimit -a), and at the "
        f"kernel's log, {_OTHER}",
    )


def check() -> Availability:
    """Make a virtual machine and run a system call and a page fault in it (at most a second each)."""
    if host.machine() != "x86_64":
        return Availability.no(
            f"the kvm platform knows x86-64 only, this is {host.machine()}", "use an x86-64 machine"
        )
    try:
        from runsc_platform_kvm._engine import ffi, lib
        from runsc_platform_kvm.platform import KvmPlatform
    except ImportError as e:
        return Availability.no(f"the C engine cannot be loaded ({e})", "reinstall runsc with a C compiler")
    try:
        fd = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        return _cannot_open(e)
    try:
        version = lib.kv_api_version(fd)
        missing = lib.kv_missing(fd)
    finally:
        os.close(fd)
    if version != _API_VERSION:
        what = f"is no KVM ({os.strerror(-version)})" if version < 0 else f"speaks version {version}, not 12"
        return Availability.no(f"{_DEVICE} {what}", f"use Linux 4.19 or newer, {_OTHER}")
    if missing != ffi.NULL:
        return Availability.no(
            f"this host's KVM lacks {ffi.string(missing).decode()}", f"use Linux 4.19 or newer, {_OTHER}"
        )
    try:
        platform = KvmPlatform()
    except OSError as e:
        return _cannot_run(e)
    note = platform.way()
    platform.close()
    return Availability.yes(note)

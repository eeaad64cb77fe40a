"""The entry point ``runsc.platform: kvm``."""

from __future__ import annotations

from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.platform import Platform
    from runsc.plugins.availability import Availability


class KvmPlugin:
    """Guest threads run on virtual CPUs, on page tables that the platform builds."""

    api_version = 1
    summary = "KVM: guests on virtual CPUs; fast where the hardware virtualizes"
    #: Opened when the platform is made.
    opens = ("/dev/kvm",)

    @hookimpl
    def check_platform(self) -> Availability:
        from runsc_platform_kvm.check import check

        return check()

    @hookimpl
    def make_platform(self, config: Config) -> Platform:
        from runsc_platform_kvm.platform import KvmPlatform

        return KvmPlatform()

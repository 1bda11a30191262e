"""What the benchmarks ran on."""

import datetime
import os
import pathlib
import platform
import shutil
import subprocess
import time

from .catalogue import PYTHON

# Debian packages whose versions the figures depend on.
PEER_PACKAGES = ("libglib2.0-0", "libuv1", "libtbb12", "libgomp1", "libomp5-14", "golang-go",
                 "librust-rayon-dev", "rustc", "python3-joblib", "python3-pebble",
                 "python3-billiard", "python3-mpi4py", "openmpi-bin")


def output_of(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True).stdout.strip()


def text_of(path: str) -> str:
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return ""


class Others:
    """The share of all CPUs that other programs have used since it was made."""

    def __init__(self) -> None:
        self.idle, self.total = self.ticks()
        self.ours = self.own_ticks()

    @staticmethod
    def ticks() -> tuple[int, int]:
        fields = list(map(int, text_of("/proc/stat").split("\n")[0].split()[1:9]))
        return fields[3] + fields[4], sum(fields)

    @staticmethod
    def own_ticks() -> float:
        return sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")

    def share(self) -> float:
        idle, total = self.ticks()
        total -= self.total
        busy = total - (idle - self.idle) - (self.own_ticks() - self.ours)
        return min(1.0, max(0.0, busy / max(1, total)))


def peer_versions() -> dict[str, str]:
    versions = {}
    for package in PEER_PACKAGES:
        version = output_of("dpkg-query", "-W", "-f=${Version}", package)
        if version:
            versions[package] = version
    return versions


def describe() -> dict:
    others = Others()
    time.sleep(1)
    info = text_of("/proc/cpuinfo")
    cpu = [line.split(":", 1)[1].strip() for line in info.split("\n")
           if line.startswith("model name")]
    virtual = output_of("systemd-detect-virt")
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": virtual if virtual not in ("", "none") else
                   "virtual machine" if "hypervisor" in info else "",
        "kernel": platform.release(),
        "governor": text_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not known",
        "load": round(os.getloadavg()[0], 2),
        "libc": " ".join(platform.libc_ver()),
        "compilers": [line for line in (output_of("gcc", "--version").split("\n")[0],
                                        output_of("clang", "--version").split("\n")[0]) if line],
        "python": output_of(PYTHON, "--version"),
        "peers": peer_versions(),
        "busy": others.share(),
        "when": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def line(m: dict) -> str:
    virtual = f" ({m['virtual']})" if m["virtual"] else ""
    return (f"{m['cpus']} CPUs of {m['cpu']}{virtual}, governor {m['governor']}, Linux "
            f"{m['kernel']}, {m['libc']}, {', '.join(m['compilers'])}, {m['python']}; load "
            f"{m['load']}, CPUs {m['busy']:.0%} busy with other work at the start; {m['when']}.")


def peers_line(m: dict) -> str:
    return ", ".join(f"{name} {version}" for name, version in m["peers"].items()) or "none"

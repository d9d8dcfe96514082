"""The vector registers of the machine compiled for, and what it does with them."""

from __future__ import annotations

from llvmlite import binding
from numba import config

IS_X86 = binding.get_process_triple().startswith(("x86_64", "i386", "i686"))

# Families that Numba may be told to compile for by name (NUMBA_CPU_NAME) and that have AVX-512;
# F16C, which widens float16; or no AVX.
_AVX512_NAMES = (
    "avx512",
    "cascadelake",
    "cooperlake",
    "icelake",
    "tigerlake",
    "rocketlake",
    "sapphirerapids",
    "emeraldrapids",
    "graniterapids",
    "znver4",
    "znver5",
    "knl",
)
_F16C_NAMES = (
    *_AVX512_NAMES,
    *("ivybridge", "haswell", "broadwell", "skylake", "znver", "x86-64-v3", "x86-64-v4"),
    *("alderlake", "raptorlake", "meteorlake", "arrowlake", "lunarlake"),
)
_NO_AVX_NAMES = ("generic", "x86-64", "core2", "penryn", "nehalem", "westmere", "k8", "amdfam10")


def _register_file() -> tuple[int, int]:
    """Return (bytes of a vector register, number of them) of the machine compiled for."""
    if not IS_X86:
        return 16, 32  # NEON
    if config.CPU_NAME and config.CPU_NAME != "host":
        if any(part in config.CPU_NAME for part in _AVX512_NAMES):
            return 64, 32
        return (16, 16) if config.CPU_NAME in _NO_AVX_NAMES else (32, 16)
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32
    return (32, 16) if features.get("avx") else (16, 16)


VECTOR_BYTES, VECTOR_REGISTERS = _register_file()


def _has_half_instructions() -> bool:
    """Return whether the machine compiled for widens float16: else LLVM would call a library."""
    if not IS_X86:
        return binding.get_process_triple().startswith(("aarch64", "arm64"))
    if config.CPU_FEATURES is not None:
        return "+f16c" in config.CPU_FEATURES.split(",")
    if config.CPU_NAME and config.CPU_NAME != "host":
        return any(name in config.CPU_NAME for name in _F16C_NAMES)
    return bool(binding.get_host_cpu_features().get("f16c"))


HAS_HALF_INSTRUCTIONS = _has_half_instructions()

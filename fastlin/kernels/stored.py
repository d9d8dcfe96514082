"""Numbers as rows store them, widened to what is computed with.

Kernels take float16 rows as their bits in uint16 and bfloat16 rows as their bits in int16: Numba
has no type for either. Every value is widened in a register as it is loaded, exactly, to float32.
Rows of every other dtype hold the numbers themselves.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types

from fastlin.kernels.registers import HAS_HALF_INSTRUCTIONS

_I32 = ir.IntType(32)
IR_TYPES = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.uint8: ir.IntType(8),
    types.uint16: ir.IntType(16),
    types.int16: ir.IntType(16),
}
SUFFIXES = {
    types.float32: "f32",
    types.float64: "f64",
    types.uint8: "i8",
    types.uint16: "i16",
    types.int16: "i16",
}
FLOAT16, BFLOAT16 = types.uint16, types.int16
BITS = {"float16": np.dtype(np.uint16), "bfloat16": np.dtype(np.int16)}


def is_half(dtype: types.Type) -> bool:
    """Return whether an element type of rows is that of the bits of float16 or bfloat16."""
    return dtype in {FLOAT16, BFLOAT16}


def as_numbers(stored):
    """Return stored values, an array or a scalar of NumPy, as the numbers they stand for."""
    if stored.dtype == np.uint16:
        return stored.view(np.float16).astype(np.float32)
    if stored.dtype == np.int16:
        return (stored.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return stored


def emit_widened(builder, value, source):
    """Emit the numbers that a value or a vector of values stands for; source is its dtype."""
    if source == FLOAT16:
        return _float16_as_float32(builder, value)
    if source == BFLOAT16:
        bits = builder.zext(value, _shaped(value, _I32))
        bits = builder.shl(bits, _constant(bits, 16))
        return builder.bitcast(bits, _shaped(value, ir.FloatType()))
    return value


def emit_converted(builder, value, source, target):
    """Emit a value or vector of dtype source, of halves widened before, as dtype target."""
    source = types.float32 if is_half(source) else source
    if source == target:
        return value
    result = _shaped(value, IR_TYPES[target])
    if source == types.uint8:
        return builder.uitofp(value, result)
    return (builder.fpext if source.bitwidth < target.bitwidth else builder.fptrunc)(value, result)


def _float16_as_float32(builder, value):
    single = _shaped(value, ir.FloatType())
    if HAS_HALF_INSTRUCTIONS:
        return builder.fpext(builder.bitcast(value, _shaped(value, ir.HalfType())), single)
    # Exponent and mantissa in the places of float32 are the number over 2**112, subnormals too.
    bits = builder.zext(value, _shaped(value, _I32))
    magnitude = builder.and_(bits, _constant(bits, 0x7FFF))
    is_finite = builder.icmp_unsigned("<", magnitude, _constant(bits, 0x7C00))
    magnitude = builder.shl(magnitude, _constant(bits, 13))
    number = builder.fmul(builder.bitcast(magnitude, single), _constant_of(single, 2.0**112))
    not_finite = builder.or_(magnitude, _constant(bits, 0x7F800000))
    result = builder.select(is_finite, builder.bitcast(number, bits.type), not_finite)
    sign = builder.shl(builder.and_(bits, _constant(bits, 0x8000)), _constant(bits, 16))
    return builder.bitcast(builder.or_(result, sign), single)


def _shaped(value, element):
    """Return the LLVM type of a scalar or vector like value, with other elements."""
    kind = value.type
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def _constant(like, number):
    return _constant_of(like.type, number)


def _constant_of(kind, number):
    content = [number] * kind.count if isinstance(kind, ir.VectorType) else number
    return ir.Constant(kind, content)

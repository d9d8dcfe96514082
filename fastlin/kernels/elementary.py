"""exp and log of vectors, without a call of a library, which would take one lane at a time.

exp: x = n ln 2 + r with |r| <= ln(2)/2, exp(x) = 2**n exp(r), and exp(r) as its Taylor series up to
the degree where the next term is below half an ulp. log: x = 2**n m with m from sqrt(1/2) to
sqrt(2), log(x) = n ln 2 + log(1 + f) with f = m - 1. With s = f / (2 + f), log(1 + f) is
2 artanh(s) = 2 s + s R, R = 2/3 s**2 + 2/5 s**4 + ..., again as long as terms count; as
2 s = f - s f, it is f - s (f - R), where f has no error. ln 2 is taken in two parts (Cody & Waite
1980), the first so short that n times it is exact.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from fastlin.kernels.simd import constant, emit_fma, vector_op


class _Format(NamedTuple):
    """What functions need of a dtype: its integers, the bits of its mantissa, its exponent's bias.

    exp_degree: of the series of exp; exp_lowest: the smallest argument whose power is a normal
    number; log_terms: of the series R; ln2_high, ln2_low: the two parts of ln 2.
    """

    integer: ir.IntType
    mantissa_bits: int
    bias: int
    exp_degree: int
    exp_lowest: float
    log_terms: int
    ln2_high: float
    ln2_low: float


_FORMATS = {
    types.float32: _Format(
        ir.IntType(32), 23, 127, 7, -87.0, 4, 0.693145751953125, 1.42860682030941723212e-6
    ),
    types.float64: _Format(
        ir.IntType(64), 52, 1023, 13, -708.0, 10, 0.6931471803691238, 1.9082149292705877e-10
    ),
}
_EXP_LOWEST = {np.dtype(str(dtype)): of.exp_lowest for dtype, of in _FORMATS.items()}


@vector_op(lambda x: np.where(x < _EXP_LOWEST[x.dtype], x.dtype.type(0), np.exp(x)))
def exp(typingctx, x):
    """Return e**x in every lane, for x <= 0 or NaN; 0 where the result would be subnormal."""
    of = _FORMATS[x.dtype]

    def emit(context, builder, signature, arguments):
        (value,) = arguments
        vector = value.type
        integers = ir.VectorType(of.integer, vector.count)
        fma = partial(emit_fma, builder, x.dtype)
        # Adding 1.5 * 2**mantissa_bits rounds to an integer and leaves it in the lowest bits.
        shifter = constant(vector, 1.5 * 2.0**of.mantissa_bits)
        shifted = fma(value, constant(vector, 1 / math.log(2)), shifter)
        n = builder.fsub(shifted, shifter)
        r = fma(n, constant(vector, -of.ln2_high), value)
        r = fma(n, constant(vector, -of.ln2_low), r)
        series = constant(vector, 1 / math.factorial(of.exp_degree))
        for k in range(of.exp_degree - 1, -1, -1):
            series = fma(series, r, constant(vector, 1 / math.factorial(k)))
        exponent = builder.add(builder.bitcast(shifted, integers), constant(integers, of.bias))
        power = builder.bitcast(builder.shl(exponent, constant(integers, of.mantissa_bits)), vector)
        too_small = builder.fcmp_ordered("<", value, constant(vector, of.exp_lowest))
        return builder.select(too_small, constant(vector, 0.0), builder.fmul(series, power))

    return x(x), emit


@vector_op(lambda x: np.log(x))
def log(typingctx, x):
    """Return the natural logarithm of every lane, for numbers above 0, infinity and NaN."""
    of = _FORMATS[x.dtype]
    dtype = np.dtype(str(x.dtype))
    least_normal = float(np.finfo(dtype).tiny)
    one, least = (int(dtype.type(v).view(f"i{dtype.itemsize}")) for v in (1, math.sqrt(0.5)))

    def emit(context, builder, signature, arguments):
        (value,) = arguments
        vector = value.type
        integers = ir.VectorType(of.integer, vector.count)
        fma = partial(emit_fma, builder, x.dtype)
        # A subnormal number becomes a normal one, 2**mantissa_bits as large.
        whole = constant(vector, 2.0**of.mantissa_bits)
        is_subnormal = builder.fcmp_ordered("<", value, constant(vector, least_normal))
        normal = builder.select(is_subnormal, builder.fmul(value, whole), value)
        # Bits of sqrt(1/2) become those of 1, so that the exponent of the sum is n.
        bits = builder.add(builder.bitcast(normal, integers), constant(integers, one - least))
        exponent = builder.lshr(bits, constant(integers, of.mantissa_bits))
        mantissa = builder.and_(bits, constant(integers, 2**of.mantissa_bits - 1))
        m = builder.bitcast(builder.add(mantissa, constant(integers, least)), vector)
        # The bits of a whole number below 2**mantissa_bits, in those of 2**mantissa_bits.
        whole_bits = builder.bitcast(whole, integers)
        number = builder.bitcast(builder.or_(exponent, whole_bits), vector)
        usual = 2.0**of.mantissa_bits + of.bias
        of_subnormal = constant(vector, usual + of.mantissa_bits)
        bias = builder.select(is_subnormal, of_subnormal, constant(vector, usual))
        n = builder.fsub(number, bias)
        f = builder.fsub(m, constant(vector, 1.0))
        s = builder.fdiv(f, builder.fadd(f, constant(vector, 2.0)))
        square = builder.fmul(s, s)
        series = constant(vector, 2 / (2 * of.log_terms + 1))
        for k in range(of.log_terms - 1, 0, -1):
            series = fma(series, square, constant(vector, 2 / (2 * k + 1)))
        rest = builder.fneg(fma(series, square, builder.fneg(f)))  # f - R
        low = fma(builder.fneg(s), rest, builder.fmul(n, constant(vector, of.ln2_low)))
        result = fma(n, constant(vector, of.ln2_high), builder.fadd(f, low))
        is_finite = builder.fcmp_ordered("<", value, constant(vector, math.inf))
        return builder.select(is_finite, result, value)

    return x(x), emit

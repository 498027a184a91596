"""Eight float32 at a time inside Numba kernels.

Numba alone leaves vectorisation to LLVM's guesses, which fail on the rasterizer's inner loop
(possible aliasing, no vector exp). Here LLVM's own vector types become Numba types: `+ - * /`,
`<= >` (giving a mask) and the functions below work on them and compile to AVX, SSE or NEON,
whatever the machine has.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,misc,import-untyped"
from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 8

_F32, _I32, _I1 = ir.FloatType(), ir.IntType(32), ir.IntType(1)
_VECTOR, _IVECTOR, _MASK = (ir.VectorType(t, LANES) for t in (_F32, _I32, _I1))


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"f32x{LANES}")


class _Mask(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"maskx{LANES}")


vector, mask = _Vector(), _Mask()


@register_model(_Vector)
@register_model(_Mask)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _VECTOR if fe_type == vector else _MASK)


def _lowered(signature, operation=None):
    """Makes of build(builder, *operands) a function for kernels with this signature, or what `operation` does."""

    def register(build):
        class Template(ConcreteTemplate):
            key = operation or build
            cases = [signature]

        infer_global(Template.key, types.Function(Template))

        @lower_builtin(Template.key, *signature.args)
        def lower(context, builder, signature, args):
            return build(builder, *args)

        return Template.key

    return register


_lowered(vector(vector, vector), operator.add)(lambda b, x, y: b.fadd(x, y))
_lowered(vector(vector, vector), operator.sub)(lambda b, x, y: b.fsub(x, y))
_lowered(vector(vector, vector), operator.mul)(lambda b, x, y: b.fmul(x, y))
_lowered(vector(vector, vector), operator.truediv)(lambda b, x, y: b.fdiv(x, y))
_lowered(mask(vector, vector), operator.gt)(lambda b, x, y: b.fcmp_ordered(">", x, y))
_lowered(mask(vector, vector), operator.le)(lambda b, x, y: b.fcmp_ordered("<=", x, y))
_lowered(mask(mask, mask), operator.and_)(lambda b, x, y: b.and_(x, y))


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [ir.Constant(_F32, value)] * LANES)


def _call(builder, name: str, result, args):
    function = builder.module.declare_intrinsic(name, fnty=ir.FunctionType(result, [a.type for a in args]))
    return builder.call(function, args)


def _pointer(context, builder, signature, array, index):
    data = context.make_array(signature.args[0])(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


@intrinsic
def splat(typingctx, scalar):
    """The scalar float32 in every lane."""

    def codegen(context, builder, signature, args):
        value = context.cast(builder, args[0], signature.args[0], types.float32)
        single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_I32, 0))
        return builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_IVECTOR, [0] * LANES))

    return vector(scalar), codegen


@_lowered(vector())
def lanes(builder):
    """0, 1, 2, ... 7."""
    return ir.Constant(_VECTOR, [ir.Constant(_F32, float(i)) for i in range(LANES)])


@intrinsic
def load(typingctx, array, index):
    """Eight consecutive values of a contiguous float32 array (unchecked)."""

    def codegen(context, builder, signature, args):
        return builder.load(_pointer(context, builder, signature, *args), align=4)

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write eight consecutive values of a contiguous float32 array (unchecked)."""

    def codegen(context, builder, signature, args):
        builder.store(args[2], _pointer(context, builder, signature, *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def prefetch(typingctx, array, row):
    """Ask for the beginning of a row of a C-contiguous 2D array, to be read soon."""

    def codegen(context, builder, signature, args):
        view = context.make_array(signature.args[0])(context, builder, args[0])
        stride = builder.extract_value(view.strides, 0)
        address = builder.add(builder.ptrtoint(view.data, stride.type), builder.mul(stride, args[1]))
        pointer = builder.inttoptr(address, ir.IntType(8).as_pointer())
        read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, read, keep, data])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@_lowered(vector(vector, vector, vector))
def fma(builder, a, b, c):
    """a * b + c."""
    return _call(builder, f"llvm.fmuladd.v{LANES}f32", _VECTOR, [a, b, c])


@_lowered(vector(vector, vector))
def minimum(builder, a, b):
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


@_lowered(vector(vector, vector))
def maximum(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@_lowered(vector(vector))
def negative_abs(builder, a):
    """-|a|."""
    sign = ir.Constant(_IVECTOR, [ir.Constant(_I32, -(2**31))] * LANES)
    return builder.bitcast(builder.or_(builder.bitcast(a, _IVECTOR), sign), _VECTOR)


@_lowered(vector(mask, vector, vector))
def select(builder, condition, a, b):
    """a where the mask is set, else b."""
    return builder.select(condition, a, b)


@_lowered(types.boolean(mask))
def any_lane(builder, condition):
    bits = builder.bitcast(condition, ir.IntType(LANES))
    return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))


@_lowered(vector(*[vector] * 8))
def totals(builder, *given):
    """The sums over the lanes of eight vectors, as one vector."""
    even, odd = (ir.Constant(_IVECTOR, list(range(first, 2 * LANES, 2))) for first in (0, 1))
    vectors = list(given)
    while len(vectors) > 1:
        vectors = [
            builder.fadd(builder.shuffle_vector(x, y, even), builder.shuffle_vector(x, y, odd))
            for x, y in zip(vectors[::2], vectors[1::2])
        ]
    return vectors[0]


@_lowered(vector(vector))
def sqrt(builder, a):
    return _call(builder, f"llvm.sqrt.v{LANES}f32", _VECTOR, [a])


@_lowered(vector(vector))
def exp2(builder, a):
    """2**a for -126 < a < 127, relative error below 2e-7 (minimax polynomial of 2**f on [-0.5, 0.5])."""
    first, *others = (_constant(c) for c in (1.32647e-3, 9.67151e-3, 5.550734e-2, 2.4022242e-1, 6.9314698e-1, 1.0))
    magic = _constant(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer, which then sits in the low bits
    shifted = builder.fadd(a, magic)
    fraction = builder.fsub(a, builder.fsub(shifted, magic))
    value = first
    for coefficient in others:
        value = _call(builder, f"llvm.fmuladd.v{LANES}f32", _VECTOR, [value, fraction, coefficient])
    twenty_three = ir.Constant(_IVECTOR, [ir.Constant(_I32, 23)] * LANES)
    exponent = builder.shl(builder.bitcast(shifted, _IVECTOR), twenty_three)
    return builder.bitcast(builder.add(builder.bitcast(value, _IVECTOR), exponent), _VECTOR)

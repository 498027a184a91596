"""View-dependent colour from spherical harmonics up to degree 3, forward and backward (Numba).

Basis and signs as in Sloan, "Efficient Spherical Harmonic Evaluation" (JCGT 2013), which gsplat and
the 3DGS file format use; the colour is max(sum + 0.5, 0).
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numpy as np

from ...compute.threads import kernel


@kernel
def _basis(degree, x, y, z, b):
    """The (degree + 1)^2 basis values at the unit direction (x, y, z), into b [16]."""
    b[0] = 0.2820947917738781
    if degree < 1:
        return
    b[1] = -0.48860251190292 * y
    b[2] = 0.48860251190292 * z
    b[3] = -0.48860251190292 * x
    if degree < 2:
        return
    c, s = x * x - y * y, 2 * x * y
    b[4] = 0.5462742152960395 * s
    b[5] = -1.092548430592079 * z * y
    b[6] = 0.9461746957575601 * z * z - 0.3153915652525201
    b[7] = -1.092548430592079 * z * x
    b[8] = 0.5462742152960395 * c
    if degree < 3:
        return
    t = -2.285228997322329 * z * z + 0.4570457994644658
    b[9] = -0.5900435899266435 * (x * s + y * c)
    b[10] = 1.445305721320277 * z * s
    b[11] = t * y
    b[12] = z * (1.865881662950577 * z * z - 1.119528997770346)
    b[13] = t * x
    b[14] = 1.445305721320277 * z * c
    b[15] = -0.5900435899266435 * (x * c - y * s)


@kernel
def _slope(degree, x, y, z, g, d):
    """d [3] = sum over k of g[k] times the gradient of basis k with respect to (x, y, z)."""
    d[0], d[1], d[2] = 0.0, 0.0, 0.0
    if degree < 1:
        return
    d[0] -= 0.48860251190292 * g[3]
    d[1] -= 0.48860251190292 * g[1]
    d[2] += 0.48860251190292 * g[2]
    if degree < 2:
        return
    p, q = 1.092548430592079, 1.8923493915151202
    d[0] += p * (y * g[4] - z * g[7] + x * g[8])
    d[1] += p * (x * g[4] - z * g[5] - y * g[8])
    d[2] += -p * (y * g[5] + x * g[7]) + q * z * g[6]
    if degree < 3:
        return
    c, s = x * x - y * y, 2 * x * y
    t, tz = -2.285228997322329 * z * z + 0.4570457994644658, -4.570457994644658 * z
    u, w = 0.5900435899266435, 1.445305721320277
    d[0] += -3 * u * (s * g[9] + c * g[15]) + 2 * w * z * (y * g[10] + x * g[14]) + t * g[13]
    d[1] += -3 * u * (c * g[9] - s * g[15]) + 2 * w * z * (x * g[10] - y * g[14]) + t * g[11]
    d[2] += w * (s * g[10] + c * g[14]) + tz * (y * g[11] + x * g[13])
    d[2] += (5.597644988851731 * z * z - 1.119528997770346) * g[12]


@kernel
def colors_forward(begin, end, degree, means, centre, sh, radii, colors):
    """colors [N, >= 3] of the visible Gaussians begin..end, seen from the camera centre."""
    b = np.empty(16)
    count = (degree + 1) * (degree + 1)
    for i in range(begin, end):
        if radii[i, 0] <= 0:
            continue
        x, y, z = means[i, 0] - centre[0], means[i, 1] - centre[1], means[i, 2] - centre[2]
        inverse = 1.0 / max(math.sqrt(x * x + y * y + z * z), 1e-12)
        _basis(degree, x * inverse, y * inverse, z * inverse, b)
        red, green, blue = 0.5, 0.5, 0.5
        for k in range(count):
            red += b[k] * sh[i, k, 0]
            green += b[k] * sh[i, k, 1]
            blue += b[k] * sh[i, k, 2]
        colors[i, 0], colors[i, 1], colors[i, 2] = max(red, 0.0), max(green, 0.0), max(blue, 0.0)


@kernel
def colors_backward(begin, end, degree, means, centre, sh, radii, colors, v_colors, v_sh, v_means, v_centre):
    """Write v_sh [N, K, 3]; add to v_means [N, 3] and v_centre [3] (float64)."""
    b, g, d = np.empty(16), np.empty(16), np.empty(3)
    count = (degree + 1) * (degree + 1)
    for i in range(begin, end):
        if radii[i, 0] <= 0:
            continue
        vr = v_colors[i, 0] if colors[i, 0] > 0 else np.float32(0)
        vg = v_colors[i, 1] if colors[i, 1] > 0 else np.float32(0)
        vb = v_colors[i, 2] if colors[i, 2] > 0 else np.float32(0)
        x, y, z = means[i, 0] - centre[0], means[i, 1] - centre[1], means[i, 2] - centre[2]
        inverse = 1.0 / max(math.sqrt(x * x + y * y + z * z), 1e-12)
        x, y, z = x * inverse, y * inverse, z * inverse
        _basis(degree, x, y, z, b)
        for k in range(count):
            v_sh[i, k, 0], v_sh[i, k, 1], v_sh[i, k, 2] = b[k] * vr, b[k] * vg, b[k] * vb
            g[k] = sh[i, k, 0] * vr + sh[i, k, 1] * vg + sh[i, k, 2] * vb
        _slope(degree, x, y, z, g, d)
        along = d[0] * x + d[1] * y + d[2] * z  # moving along the ray does not turn the direction
        dx, dy, dz = (d[0] - along * x) * inverse, (d[1] - along * y) * inverse, (d[2] - along * z) * inverse
        v_means[i, 0] += dx
        v_means[i, 1] += dy
        v_means[i, 2] += dz
        v_centre[0] -= dx
        v_centre[1] -= dy
        v_centre[2] -= dz

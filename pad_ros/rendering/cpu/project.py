"""Projection of 3D Gaussians to the image, forward and backward (Numba, one Gaussian at a time).

EWA splatting (Zwicker et al. 2001) with the conventions of gsplat 1.5.3 (`fully_fused_projection`):
the Jacobian is taken at a point clamped to 1.15 times the field of view, `eps2d` is added to the
projected covariance, and Gaussians below alpha 1/255 or without a pixel in the window get radius 0.
All arithmetic is float64, arrays are float32.

Camera vector: (fx, fy, cx, cy, min x/z, max x/z, min y/z, max y/z) with the four limits of the clamp.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numpy as np

from ...compute.threads import kernel


@kernel
def _rotation(quats, i):
    """Rotation matrix (row by row) of quaternion i, its norm, and the unit quaternion."""
    w, x, y, z = np.float64(quats[i, 0]), np.float64(quats[i, 1]), np.float64(quats[i, 2]), np.float64(quats[i, 3])
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    inverse = 1.0 / max(norm, 1e-12)
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    r = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return r, inverse, (w, x, y, z)


@kernel
def _product(r, m):
    """3x3 times 3x3, both row by row."""
    return (
        r[0] * m[0] + r[1] * m[3] + r[2] * m[6], r[0] * m[1] + r[1] * m[4] + r[2] * m[7],
        r[0] * m[2] + r[1] * m[5] + r[2] * m[8], r[3] * m[0] + r[4] * m[3] + r[5] * m[6],
        r[3] * m[1] + r[4] * m[4] + r[5] * m[7], r[3] * m[2] + r[4] * m[5] + r[5] * m[8],
        r[6] * m[0] + r[7] * m[3] + r[8] * m[6], r[6] * m[1] + r[7] * m[4] + r[8] * m[7],
        r[6] * m[2] + r[7] * m[5] + r[8] * m[8],
    )  # fmt: skip


@kernel
def _view(viewmat):
    return (
        viewmat[0, 0], viewmat[0, 1], viewmat[0, 2],
        viewmat[1, 0], viewmat[1, 1], viewmat[1, 2],
        viewmat[2, 0], viewmat[2, 1], viewmat[2, 2],
    )  # fmt: skip


@kernel
def project_forward(
    begin, end, means, quats, scales, opacities, viewmat, camera, width, height, near, far, eps2d,
    means2d, depths, conics, radii,
):  # fmt: skip
    """Fill means2d [N, 2], depths [N], conics [N, 3] and radii [N, 2] (zeroed before) for Gaussians begin..end."""
    r = _view(viewmat)
    fx, fy, cx, cy = camera[0], camera[1], camera[2], camera[3]
    for i in range(begin, end):
        mx, my, mz = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        z = r[6] * mx + r[7] * my + r[8] * mz + viewmat[2, 3]
        opacity = np.float64(opacities[i])
        if not (z >= near and z <= far and opacity >= 1.0 / 255.0):
            continue
        x = r[0] * mx + r[1] * my + r[2] * mz + viewmat[0, 3]
        y = r[3] * mx + r[4] * my + r[5] * mz + viewmat[1, 3]
        rz = 1.0 / z
        u, v = fx * x * rz + cx, fy * y * rz + cy
        tx, ty = min(camera[5], max(camera[4], x * rz)), min(camera[7], max(camera[6], y * rz))
        q, _, _ = _rotation(quats, i)
        s0, s1, s2 = np.float64(scales[i, 0]), np.float64(scales[i, 1]), np.float64(scales[i, 2])
        a = _product(r, (q[0] * s0, q[1] * s1, q[2] * s2, q[3] * s0, q[4] * s1, q[5] * s2, q[6] * s0, q[7] * s1,
                         q[8] * s2))  # fmt: skip
        jx, jy = fx * rz, fy * rz
        b0, b1, b2 = jx * (a[0] - tx * a[6]), jx * (a[1] - tx * a[7]), jx * (a[2] - tx * a[8])
        c0, c1, c2 = jy * (a[3] - ty * a[6]), jy * (a[4] - ty * a[7]), jy * (a[5] - ty * a[8])
        xx = b0 * b0 + b1 * b1 + b2 * b2 + eps2d
        xy = b0 * c0 + b1 * c1 + b2 * c2
        yy = c0 * c0 + c1 * c1 + c2 * c2 + eps2d
        determinant = xx * yy - xy * xy
        if not (determinant > 0.0 and determinant < 1e30):
            continue
        extent = min(3.33, math.sqrt(2.0 * math.log(255.0 * opacity)))
        rx, ry = math.ceil(extent * math.sqrt(xx)), math.ceil(extent * math.sqrt(yy))
        if not (u + rx > 0 and u - rx < width and v + ry > 0 and v - ry < height) or rx > 1e9 or ry > 1e9:
            continue
        inverse = 1.0 / determinant
        means2d[i, 0], means2d[i, 1] = u, v
        depths[i] = z
        conics[i, 0], conics[i, 1], conics[i, 2] = yy * inverse, -xy * inverse, xx * inverse
        radii[i, 0], radii[i, 1] = max(rx, 1), max(ry, 1)


@kernel
def project_backward(
    begin, end, means, quats, scales, viewmat, camera, eps2d, radii, v_means2d, v_depths, v_conics,
    v_means, v_quats, v_scales, v_viewmat,
):  # fmt: skip
    """Add to v_means [N, 3], v_quats [N, 4], v_scales [N, 3] and v_viewmat [3, 4] (float64) of Gaussians begin..end."""
    r = _view(viewmat)
    fx, fy = camera[0], camera[1]
    v_r = np.zeros(9)
    v_t = np.zeros(3)
    for i in range(begin, end):
        if radii[i, 0] <= 0:
            continue
        mx, my, mz = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        x = r[0] * mx + r[1] * my + r[2] * mz + viewmat[0, 3]
        y = r[3] * mx + r[4] * my + r[5] * mz + viewmat[1, 3]
        z = r[6] * mx + r[7] * my + r[8] * mz + viewmat[2, 3]
        rz = 1.0 / z
        tx, ty = min(camera[5], max(camera[4], x * rz)), min(camera[7], max(camera[6], y * rz))
        q, inverse_norm, (qw, qx, qy, qz) = _rotation(quats, i)
        s0, s1, s2 = np.float64(scales[i, 0]), np.float64(scales[i, 1]), np.float64(scales[i, 2])
        m = (q[0] * s0, q[1] * s1, q[2] * s2, q[3] * s0, q[4] * s1, q[5] * s2, q[6] * s0, q[7] * s1, q[8] * s2)
        a = _product(r, m)
        jx, jy = fx * rz, fy * rz
        b0, b1, b2 = jx * (a[0] - tx * a[6]), jx * (a[1] - tx * a[7]), jx * (a[2] - tx * a[8])
        c0, c1, c2 = jy * (a[3] - ty * a[6]), jy * (a[4] - ty * a[7]), jy * (a[5] - ty * a[8])
        xx = b0 * b0 + b1 * b1 + b2 * b2 + eps2d
        xy = b0 * c0 + b1 * c1 + b2 * c2
        yy = c0 * c0 + c1 * c1 + c2 * c2 + eps2d
        d = 1.0 / (xx * yy - xy * xy)
        ka, kb, kc = yy * d, -xy * d, xx * d
        # d(inverse) = -inverse d(covariance) inverse; the middle conic entry stands for both off-diagonals.
        va, vb, vc = np.float64(v_conics[i, 0]), 0.5 * np.float64(v_conics[i, 1]), np.float64(v_conics[i, 2])
        p0, p1 = ka * va + kb * vb, ka * vb + kb * vc
        p2, p3 = kb * va + kc * vb, kb * vb + kc * vc
        gxx, gxy, gyy = -(p0 * ka + p1 * kb), -(p0 * kb + p1 * kc), -(p2 * kb + p3 * kc)
        # Covariance = B B^T with B = J R M, rows b and c.
        vb0, vb1, vb2 = 2 * (gxx * b0 + gxy * c0), 2 * (gxx * b1 + gxy * c1), 2 * (gxx * b2 + gxy * c2)
        vc0, vc1, vc2 = 2 * (gxy * b0 + gyy * c0), 2 * (gxy * b1 + gyy * c1), 2 * (gxy * b2 + gyy * c2)
        v_a = (jx * vb0, jx * vb1, jx * vb2, jy * vc0, jy * vc1, jy * vc2,
               -jx * tx * vb0 - jy * ty * vc0, -jx * tx * vb1 - jy * ty * vc1,
               -jx * tx * vb2 - jy * ty * vc2)  # fmt: skip
        v_jx = vb0 * (a[0] - tx * a[6]) + vb1 * (a[1] - tx * a[7]) + vb2 * (a[2] - tx * a[8])
        v_jy = vc0 * (a[3] - ty * a[6]) + vc1 * (a[4] - ty * a[7]) + vc2 * (a[5] - ty * a[8])
        v_tx = -jx * (vb0 * a[6] + vb1 * a[7] + vb2 * a[8])
        v_ty = -jy * (vc0 * a[6] + vc1 * a[7] + vc2 * a[8])
        vu, vv = np.float64(v_means2d[i, 0]), np.float64(v_means2d[i, 1])
        v_ratio_x = fx * vu + (v_tx if x * rz >= camera[4] and x * rz <= camera[5] else 0.0)
        v_ratio_y = fy * vv + (v_ty if y * rz >= camera[6] and y * rz <= camera[7] else 0.0)
        v_x, v_y = v_ratio_x * rz, v_ratio_y * rz
        v_z = np.float64(v_depths[i]) - rz * (v_ratio_x * x * rz + v_ratio_y * y * rz + v_jx * jx + v_jy * jy)
        v_means[i, 0] += r[0] * v_x + r[3] * v_y + r[6] * v_z
        v_means[i, 1] += r[1] * v_x + r[4] * v_y + r[7] * v_z
        v_means[i, 2] += r[2] * v_x + r[5] * v_y + r[8] * v_z
        v_t[0] += v_x
        v_t[1] += v_y
        v_t[2] += v_z
        for row, v_p in enumerate((v_x, v_y, v_z)):
            e0, e1, e2 = v_a[3 * row], v_a[3 * row + 1], v_a[3 * row + 2]
            v_r[3 * row] += v_p * mx + e0 * m[0] + e1 * m[1] + e2 * m[2]
            v_r[3 * row + 1] += v_p * my + e0 * m[3] + e1 * m[4] + e2 * m[5]
            v_r[3 * row + 2] += v_p * mz + e0 * m[6] + e1 * m[7] + e2 * m[8]
        v_m = _product((r[0], r[3], r[6], r[1], r[4], r[7], r[2], r[5], r[8]), v_a)
        v_scales[i, 0] += v_m[0] * q[0] + v_m[3] * q[3] + v_m[6] * q[6]
        v_scales[i, 1] += v_m[1] * q[1] + v_m[4] * q[4] + v_m[7] * q[7]
        v_scales[i, 2] += v_m[2] * q[2] + v_m[5] * q[5] + v_m[8] * q[8]
        g0, g1, g2 = v_m[0] * s0, v_m[1] * s1, v_m[2] * s2
        g3, g4, g5 = v_m[3] * s0, v_m[4] * s1, v_m[5] * s2
        g6, g7, g8 = v_m[6] * s0, v_m[7] * s1, v_m[8] * s2
        vw = 2 * (qx * (g7 - g5) + qy * (g2 - g6) + qz * (g3 - g1))
        vx = 2 * (-2 * qx * (g4 + g8) + qy * (g1 + g3) + qz * (g2 + g6) + qw * (g7 - g5))
        vy = 2 * (qx * (g1 + g3) - 2 * qy * (g0 + g8) + qz * (g5 + g7) + qw * (g2 - g6))
        vz = 2 * (qx * (g2 + g6) + qy * (g5 + g7) - 2 * qz * (g0 + g4) + qw * (g3 - g1))
        along = vw * qw + vx * qx + vy * qy + vz * qz
        v_quats[i, 0] += (vw - along * qw) * inverse_norm
        v_quats[i, 1] += (vx - along * qx) * inverse_norm
        v_quats[i, 2] += (vy - along * qy) * inverse_norm
        v_quats[i, 3] += (vz - along * qz) * inverse_norm
    for row in range(3):
        for column in range(3):
            v_viewmat[row, column] += v_r[3 * row + column]
        v_viewmat[row, 3] += v_t[row]

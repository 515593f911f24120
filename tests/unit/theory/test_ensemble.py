"""The SK-Potts ensemble: spectrum against the semicircle's resolvent, zones against the theory."""

from __future__ import annotations

import math
import subprocess
import sys
from decimal import Decimal, localcontext
from itertools import pairwise

import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad

from pottsattn import InputError
from pottsattn.theory.ensemble import phase_zone, semicircle, susceptibility_spectrum
from pottsattn.theory.equations.student import Conjugates, ensemble_student
from pottsattn.theory.masks import static_mask_student

NEAR_GLASS = [(2, 1.9), (2, 1.9999), (3, 3.0 - 1e-8), (2, 2.0 - 4e-16)]


@pytest.mark.parametrize(
    ("n_states", "scale"), [(2, 1.0), (3, 0.0), (3, 2.9), (21, 3.7), *NEAR_GLASS]
)
@pytest.mark.parametrize(("ridge", "curvature"), [(0.1, 1.0), (1e-4, 50.0), (10.0, 1e-6)])
def test_spectrum_averages_have_closed_forms(n_states, scale, ridge, curvature):
    spectrum = susceptibility_spectrum(n_states, scale)
    x, weights = spectrum.values, spectrum.weights
    assert_allclose(weights.sum(), 1.0, rtol=1e-12)
    assert_allclose(weights @ x, 1.0 / n_states, rtol=1e-12)
    assert len(x) < 500  # the nearest pole costs nodes like the logarithm of its distance

    # D = ridge (y - lambda) x with y below; G is the resolvent of the semicircle at y.
    with localcontext(prec=60):
        J, penalty, g = Decimal(scale), Decimal(ridge), 1 / Decimal(n_states)
        y = n_states + J * J * g + Decimal(curvature) / penalty
        G = 2 / (y + (y * y - 4 * J * J).sqrt())
        squared = g * G / (1 - J * J * g * G)
        slope = G * G / (1 - J * J * G * G)
        cubed = g * slope / (1 - J * J * g * G) ** 2
        first, second, third = float(G / penalty), float(squared / penalty), cubed / penalty**2
    D = ridge + curvature * x
    assert_allclose(weights @ (x / D), first, rtol=1e-12)
    assert_allclose(weights @ (x**2 / D), second, rtol=1e-12)
    assert_allclose(weights @ (x**3 / D**2), float(third), rtol=1e-12)


def average_over_angles(function, n_states, *scales):
    """Return < function(x) > with x = 1 / (C + s^2 / C - 2 s cos t) for scales s, adaptively."""

    def integrand(angle):
        half = 0.5 * angle
        x = [
            1.0
            / (
                (n_states - abs(s)) ** 2 / n_states
                + 4.0 * abs(s) * (math.sin(half) if s > 0.0 else math.cos(half)) ** 2
            )
            for s in scales
        ]
        return 2.0 / math.pi * math.sin(angle) ** 2 * function(*x)

    edges = [0.0, *(10.0**-k for k in range(9, -1, -1))]
    edges += [math.pi - edge for edge in reversed(edges)]
    pieces = [
        quad(integrand, low, high, epsabs=1e-15, epsrel=1e-10, limit=200)[0]
        for low, high in pairwise(edges)
    ]
    return math.fsum(pieces)


@pytest.mark.parametrize(("n_states", "scale"), [(2, 1.0), (2, 1.9999), (3, 2.999999)])
@pytest.mark.parametrize("kind", ["factored", "full", "heads", "static masks"])
def test_every_student_averages_over_the_spectrum_as_adaptive_integration_does(
    n_states, scale, kind
):
    estimator, heads = "full" if kind == "full" else "factored", 1
    if kind == "heads":
        heads = (n_states - 1) ** 2
    student = ensemble_student(n_states, scale, 1.0, 0.1, estimator, heads)
    r = 0.3 if kind == "static masks" else 0.0
    if r > 0.0:
        student = static_mask_student(student, r)
    noise, curvature, signal = conjugates = Conjugates(0.3, 0.4, 0.35)
    k = {"full": n_states - 1.0, "heads": math.sqrt(heads)}.get(kind, 1.0)
    ridge = 0.1 / math.sqrt(heads)

    def mean(function):
        def of_x(x):
            seen = (1.0 - r) ** 2 * x + r * (1.0 - r) / n_states
            return function(x, seen, scale * (1.0 - r) * x, ridge + curvature * seen)

        return average_over_angles(of_x, n_states, scale)

    expected = [
        signal * mean(lambda x, seen, c, D: c**2 / D),
        signal**2 * mean(lambda x, seen, c, D: c**2 * seen / D**2)
        + k * noise * mean(lambda x, seen, c, D: (seen / D) ** 2),
        k * mean(lambda x, seen, c, D: seen / D),
    ]
    assert_allclose(student.train_overlaps(conjugates), expected, rtol=1e-9)
    expected = [
        signal * mean(lambda x, seen, c, D: c * scale * x / D),
        signal**2 * mean(lambda x, seen, c, D: c**2 * x / D**2)
        + k * noise * mean(lambda x, seen, c, D: seen * x / D**2),
    ]
    assert_allclose(student.test_overlaps(conjugates), expected, rtol=1e-9)
    traced = k * noise * mean(lambda x, seen, c, D: seen / D**2)
    power = signal**2 * mean(lambda x, seen, c, D: (c / D) ** 2) + traced
    assert_allclose(student.power(conjugates), power, rtol=1e-9)
    missed = mean(lambda x, seen, c, D: (signal * c / D - scale) ** 2)
    assert_allclose(student.coupling_error(conjugates), (missed + traced) / scale**2, rtol=1e-9)


@pytest.mark.parametrize("scales", [(2.9999, -2.9999), (2.999999, -1.0), (2.0, -2.9999)])
def test_channels_of_either_sign_share_the_nodes(scales):
    def response(first, second):  # an entry of D^-1 X with channels that D couples
        a, b, c, d = 0.01 + first, 0.6 * second, 0.6 * first, 0.01 + 0.7 * second
        return first * d / (a * d - b * c)

    modes = semicircle(3, max(map(abs, scales)))
    found = modes.weights @ response(*(modes.susceptibility(3, scale) for scale in scales))
    assert_allclose(found, average_over_angles(response, 3, *scales), rtol=1e-9)


@pytest.mark.parametrize(
    ("n_states", "bound"), [(3, 4.08), (4, 3.63), (5, 3.51), (10, 3.52), (20, 3.72), (21, 3.73)]
)
def test_first_order_bound(n_states, bound):
    assert phase_zone(n_states, 1.0).first_order_bound == pytest.approx(bound, abs=0.005)


@pytest.mark.parametrize(
    ("n_states", "scale", "zone"),
    [
        (2, 1.99, "safe"),
        (2, 2.0, "invalid"),
        (3, 2.99, "safe"),  # the bound lies above the glass transition: no caution at all
        (3, 3.0, "invalid"),
        (5, 3.5, "safe"),
        (5, 3.6, "caution"),
        (5, 4.09, "invalid"),  # ferromagnetic spinodal at 4.082
        (21, 3.8, "caution"),
        (21, 6.9, "invalid"),
    ],
)
def test_zones(n_states, scale, zone):
    assert phase_zone(n_states, scale).zone == zone


@pytest.mark.parametrize(("n_states", "glass"), [(5, 4.955), (6, 5.83), (10, 8.84), (21, 15.16)])
def test_the_discontinuous_glass_comes_after_every_boundary(n_states, glass):
    phase = phase_zone(n_states, 1.0)
    assert phase.first_order_bound < phase.ferromagnetic_scale < glass < phase.spin_glass_scale


def test_two_colors_have_no_ferromagnet():
    phase = phase_zone(2, 0.5)
    assert phase.spin_glass_scale == 2.0
    assert phase.ferromagnetic_scale is None
    assert phase.first_order_bound is None


def test_wrong_input():
    with pytest.raises(InputError, match="n_states"):
        phase_zone(1, 1.0)
    with pytest.raises(InputError, match="coupling_scale"):
        phase_zone(3, -1.0)


def test_import_is_light():
    code = (
        "import sys, pottsattn.theory.ensemble; "
        "sys.exit(any(m in sys.modules for m in ('numba', 'torch', 'scipy', 'h5py')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The SK-Potts ensemble: spectrum against the semicircle's resolvent, zones against the theory."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn.theory.ensemble import phase_zone, susceptibility_spectrum


@pytest.mark.parametrize(("n_states", "scale"), [(2, 1.0), (3, 0.0), (3, 2.9), (21, 3.7)])
@pytest.mark.parametrize(("ridge", "curvature"), [(0.1, 1.0), (1e-4, 50.0), (10.0, 1e-6)])
def test_spectrum_averages_have_closed_forms(n_states, scale, ridge, curvature):
    spectrum = susceptibility_spectrum(n_states, scale)
    x, weights = spectrum.values, spectrum.weights
    g = 1.0 / n_states
    assert_allclose(weights.sum(), 1.0, rtol=1e-12)
    assert_allclose(weights @ x, g, rtol=1e-12)

    # D = ridge (y - lambda) x with y below; G is the resolvent of the semicircle at y.
    y = n_states + scale**2 * g + curvature / ridge
    G = 2.0 / (y + math.sqrt(y * y - 4.0 * scale**2))
    D = ridge + curvature * x
    assert_allclose(weights @ (x / D), G / ridge, rtol=1e-12)
    squared = g * G / (1.0 - scale**2 * g * G)
    assert_allclose(weights @ (x**2 / D), squared / ridge, rtol=1e-12)
    slope = G**2 / (1.0 - scale**2 * G**2)
    cubed = g * slope / (1.0 - scale**2 * g * G) ** 2
    assert_allclose(weights @ (x**3 / D**2), cubed / ridge**2, rtol=1e-12)


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

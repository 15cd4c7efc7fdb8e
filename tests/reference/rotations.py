"""Position schemes that rotate queries and keys."""

import math

import numpy as np

from reference.scheme import Scheme


class Rope(Scheme):
    """Su et al. 2021, eq. 34 by blocks: each pair, as a complex number, times e^(i m rate)."""

    def rates(self, n, length):
        """One angle per position for each of the n/2 pairs."""
        return [self.theta ** (-2 * i / n) for i in range(n // 2)]

    @property
    def theta(self):
        return self.args.get("theta", 1e4)

    @property
    def trained(self):
        given = self.args.get("trained")
        return self.arch.length if given is None else given

    def stretch(self, i, n, position):
        """The length that pair i of a query is multiplied by, beside its rotation."""
        return 1.0

    def whole(self):
        """What the whole vector is multiplied by."""
        return 1.0

    def turn(self, x, positions, length, power):
        out = x.copy()
        n = int(x.shape[2] * self.args.get("fraction", 1.0))
        rates = self.rates(n, length)
        for t, h in np.ndindex(x.shape[:2]):
            for i in range(n // 2):
                a, b = (2 * i, 2 * i + 1) if self.args.get("interleaved", False) else (i, i + n // 2)
                z = complex(x[t, h, a], x[t, h, b]) * np.exp(1j * positions[t] * rates[i])
                z *= self.stretch(i, n, positions[t]) ** power
                out[t, h, a], out[t, h, b] = z.real, z.imag
        return out * self.whole()

    def query(self, q, positions, length):
        return self.turn(q, positions, length, 1)

    def key(self, k, positions, length):
        return self.turn(k, positions, length, -1)


class RopePI(Rope):
    """Chen et al. 2023, eq. 4: f(x, m L / L')."""

    def rates(self, n, length):
        return [rate / self.args.get("factor", 4.0) for rate in super().rates(n, length)]


class RopeNTK(Rope):
    """bloc97 2023: the base grows, so that the slowest pair is stretched by the factor and the fastest not."""

    def rates(self, n, length):
        theta = self.theta * self.args.get("factor", 4.0) ** (n / (n - 2))
        return [theta ** (-2 * i / n) for i in range(n // 2)]


class RopeDynamicNTK(Rope):
    """emozilla 2023, with the factor of transformers' `dynamic`."""

    def rates(self, n, length):
        theta, factor = self.theta, self.args.get("factor", 1.0)
        if length > self.trained:
            theta *= (factor * length / self.trained - (factor - 1)) ** (n / (n - 2))
        return [theta ** (-2 * i / n) for i in range(n // 2)]


class RopeYarn(Rope):
    """Peng et al. 2023, eq. 17-23, with the rounded bounds of the published code."""

    def rates(self, n, length):
        def pair_that_turns(times):
            return n * math.log(self.trained / (times * 2 * math.pi)) / (2 * math.log(self.theta))

        low = max(math.floor(pair_that_turns(self.args.get("beta_fast", 32))), 0)
        high = min(math.ceil(pair_that_turns(self.args.get("beta_slow", 1))), n - 1)
        if low == high:
            high += 0.001
        rates = []
        for i, rate in enumerate(super().rates(n, length)):
            slow = min(max((i - low) / (high - low), 0), 1)
            rates.append(slow * rate / self.args.get("factor", 4.0) + (1 - slow) * rate)
        return rates

    def whole(self):
        factor = self.args.get("factor", 4.0)
        return 0.1 * math.log(factor) + 1 if factor > 1 else 1.0


class RopeLlama3(Rope):
    """Dubey et al. 2024; the rule by wavelengths of Meta's published code."""

    def rates(self, n, length):
        factor, low, high = self.args.get("factor", 8.0), self.args.get("low", 1.0), self.args.get("high", 4.0)
        rates = []
        for rate in super().rates(n, length):
            wavelength = 2 * math.pi / rate
            if wavelength < self.trained / high:
                rates.append(rate)
            elif wavelength > self.trained / low:
                rates.append(rate / factor)
            else:
                smooth = (self.trained / wavelength - low) / (high - low)
                rates.append((1 - smooth) * rate / factor + smooth * rate)
        return rates


class Xpos(Rope):
    """Sun et al. 2022, eq. 15 and alg. 1: queries times ζ^(p / 512), keys times ζ^(-p / 512)."""

    def stretch(self, i, n, position):
        gamma = self.args.get("gamma", 0.4)
        zeta = (2 * i / n + gamma) / (1 + gamma)
        return zeta ** (position / self.args.get("scale_base", 512))

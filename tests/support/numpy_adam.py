"""Adam in NumPy, written from the formula."""

import numpy as np


class NumpyAdam:
    """The published optimiser: lr*sqrt(1-b2^t)/(1-b1^t) * m/(sqrt(v)+eps), float64."""

    def __init__(self, values: list[np.ndarray], beta1: float, beta2: float, eps: float) -> None:
        self.values = [np.asarray(value, np.float64) for value in values]
        self.m = [np.zeros_like(value) for value in self.values]
        self.v = [np.zeros_like(value) for value in self.values]
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.t = 0

    def apply(self, gradients: list[np.ndarray], rate: float) -> None:
        self.t += 1
        b1, b2 = self.beta1, self.beta2
        for i, g in enumerate(np.asarray(g, np.float64) for g in gradients):
            self.m[i] = b1 * self.m[i] + (1 - b1) * g
            self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
            step = rate * np.sqrt(1 - b2**self.t) / (1 - b1**self.t)
            self.values[i] = self.values[i] - step * self.m[i] / (np.sqrt(self.v[i]) + self.eps)

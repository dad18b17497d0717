"""Adam as published, with lazily regularised betas and a learning rate that may change per step."""

import tensorflow as tf


class Adam(tf.Module):
    """Adam (Kingma and Ba, arXiv 1412.6980), one fused update per variable.

    `variable -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)`, where t counts the
    updates, those of a regulariser that shares this optimiser included.

    Args:
        variables: what is trained, by name.
        beta1, beta2: decay of the first and second moment.
        epsilon: added to the denominator.
    """

    def __init__(
        self,
        variables: dict[str, tf.Variable],
        *,
        beta1: float = 0.0,
        beta2: float = 0.99,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__()
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        self._names = tuple(variables)
        self._targets = tuple(variables.values())
        self.first = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self._targets]
        self.second = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self._targets]

    def named_state(self) -> dict[str, tf.Variable]:
        """What the updates change beside the variables, by names that do not change."""
        found = {"updates": self.updates}
        for name, first, second in zip(self._names, self.first, self.second, strict=True):
            found[f"first/{name}"] = first
            found[f"second/{name}"] = second
        return found

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> tf.Tensor:
        """Updates all variables in order, or none if a gradient is not finite, as published.

        On several replicas each calls it, with the same gradients, and changes its own copies.

        Args:
            gradients: one per variable, of its shape.
            learning_rate: scalar.

        Returns:
            Scalar float32: 1 if the update was skipped, else 0.
        """
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in gradients])

        def update() -> tf.Tensor:
            self._update(gradients, learning_rate)
            return tf.constant(0.0)

        return tf.cond(finite, update, lambda: tf.constant(1.0))

    def _update(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        count = tf.cast(self.updates.assign_add(1), tf.float32)
        beta1_power = tf.pow(tf.constant(self.beta1), count)
        beta2_power = tf.pow(tf.constant(self.beta2), count)
        for variable, m, v, gradient in zip(
            self._targets, self.first, self.second, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=beta1_power,
                beta2_power=beta2_power,
                lr=learning_rate,
                beta1=self.beta1,
                beta2=self.beta2,
                epsilon=self.epsilon,
                grad=gradient,
            )

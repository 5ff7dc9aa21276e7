"""AdaBound: Adam whose steps are bound ever closer to those of SGD.

Luo, Xiong, Liu & Sun, "Adaptive Gradient Methods with Dynamic Bound of Learning Rate", ICLR 2019,
https://arxiv.org/abs/1902.09843.
"""
import math

import tensorflow as tf


class AdaBound(tf.keras.optimizers.Optimizer):
    """AdaBound as its authors' own code has it; t counts steps from 1:

        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g^2
        rate = lr * sqrt(1 - beta_2^t) / (1 - beta_1^t) / (sqrt(v) + epsilon)
        final = final_lr * lr / base_lr
        w = w - clip(rate, final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))) * m

    base_lr: the rate for which final_lr is meant, so that a schedule lowers both; None: that of
    `learning_rate`, a float or a schedule of training.schedules.
    """

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, final_lr=0.1, gamma=1e-3,
                 epsilon=1e-8, base_lr=None, weight_decay=None, name="AdaBound", **kwargs):
        super().__init__(name=name, weight_decay=weight_decay, **kwargs)
        if not (0 < beta_1 < 1 and 0 < beta_2 < 1):
            raise ValueError(f"AdaBound's betas must be above 0 and below 1; got beta_1={beta_1}, "
                             f"beta_2={beta_2}.")
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.final_lr, self.gamma = final_lr, gamma
        self.base_lr = getattr(learning_rate, "base_lr", learning_rate) if base_lr is None else base_lr

    def build(self, var_list):
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._momentums = [self.add_variable_from_reference(v, "m") for v in var_list]
        self._velocities = [self.add_variable_from_reference(v, "v") for v in var_list]
        self._built = True

    def update_step(self, gradient, variable):
        gradient = tf.convert_to_tensor(gradient)  # the mean touches every row anyway
        index = self._index_dict[self._var_key(variable)]
        m, v = self._momentums[index], self._velocities[index]
        m.assign(self.beta_1 * m + (1 - self.beta_1) * gradient)
        v.assign(self.beta_2 * v + (1 - self.beta_2) * tf.square(gradient))

        t = tf.cast(self.iterations + 1, variable.dtype)
        # 1 - beta^t, without the cancellation in float32
        of_mean, of_square = (-tf.math.expm1(t * math.log(beta)) for beta in (self.beta_1, self.beta_2))
        lr = tf.cast(self.learning_rate, variable.dtype)
        rate = lr * tf.sqrt(of_square) / of_mean / (tf.sqrt(v) + self.epsilon)
        final, gamma_t = self.final_lr * lr / self.base_lr, self.gamma * t
        rate = tf.clip_by_value(rate, final * gamma_t / (gamma_t + 1), final * (gamma_t + 1) / gamma_t)
        variable.assign_sub(rate * m)

    def get_config(self):
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2,
                "final_lr": self.final_lr, "gamma": self.gamma, "epsilon": self.epsilon,
                "base_lr": self.base_lr,
                "learning_rate": self._serialize_hyperparameter(self._learning_rate)}

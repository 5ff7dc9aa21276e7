"""--augment_on=device: the training step augments its batch first."""
from tensorflow import keras


class AugmentsOnDevice:
    """Mixed into a keras.Model whose train_step begins with `prepared`."""

    _prepare = None

    def set_augmentation(self, prepare):
        """prepare: a function of the (inputs, targets) that the input pipeline yields, or of a
        replica's part of them, giving what the model is trained on. Call it before fit."""
        self._prepare = prepare

    def prepared(self, data):
        """(images, targets) of a batch."""
        return self._prepare(*data) if self._prepare else data


class TrainedClassifier(AugmentsOnDevice, keras.Model):
    """A classifier that `fit` trains on batches augmented on the host or on the device."""

    def train_step(self, data):
        return super().train_step(self.prepared(data))

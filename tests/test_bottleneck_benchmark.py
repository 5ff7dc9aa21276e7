"""The benchmark of Cdiscount's bottleneck: the network has the published layers, and it runs."""
import pytest
from tensorflow import keras

from benchmarks import bottleneck_head
from models.heads import SoftmaxHead
from models.necks import NECKS
from models.pooling import AveragePooling
from tests.test_input_benchmark import rows_of


@pytest.mark.parametrize("channels, plain, bottleneck", [(512, 2_703_510, 58_291_470), (2048, 10_798_230, 66_386_190)])
def test_the_published_layers_have_their_number_of_parameters(channels, plain, bottleneck):
    """1x1 convolution from the channels to 5,270, BatchNorm; dense 5,270 x 5,270, BatchNorm; dense to 5,270."""
    for neck, count in (("none", plain), ("bottleneck", bottleneck)):
        assert bottleneck_head.parameters_above(channels, 5270, neck) == count
        maps = keras.Input((5, 5, channels))
        features = NECKS[neck](maps, AveragePooling(name="pooling"), 5270, None)
        model = keras.Model(maps, SoftmaxHead(5270, name="head")(features))
        assert model.count_params() == count
        learned = sum(v.shape.num_elements() for v in model.trainable_variables)
        assert count - learned == (neck == "bottleneck") * 4 * 5270  # the statistics of two norms


@pytest.mark.slow
def test_a_row_for_each_neck(capsys):
    bottleneck_head.main(["--backbones=resnet34", "--classes=50", "--size=64", "--batch_size=2", "--repeats=2"])
    rows = rows_of(capsys.readouterr().out, "")
    assert rows["resnet34, none"][3] == "1.00 (1.00..1.00)" and rows["resnet34, none"][1] == "0.03 M"
    assert rows["resnet34, bottleneck"][1] == "0.03 M" and float(rows["resnet34, bottleneck"][4]) > 0

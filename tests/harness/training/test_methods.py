"""The methods' losses against numbers worked out by hand, and the properties that define them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn

from harness.errors import StudyError
from harness.study.spec import RunSpec
from harness.training.checkpoint import tensors_digest
from harness.training.methods.attention import AttentionTransfer, attention
from harness.training.methods.feature import FeatureKD
from harness.training.methods.logit import LogitKD
from harness.training.methods.method import Method, find, make, method_class, same_stages
from harness.training.methods.random_teacher import RandomTeacher
from harness.training.models import Outputs, build

MakeSpec = Callable[..., RunSpec]

# KL((3/4, 1/4) || (1/2, 1/2)) = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.304098831 - 0.173286795
KL_3_TO_1 = 0.130812036
SHIPPED: dict[str, tuple[type[Method], dict[str, float]]] = {
    "logit": (LogitKD, {"temperature": 4.0}),
    "feature": (FeatureKD, {}),
    "attention": (AttentionTransfer, {"beta": 1000.0}),
    "random_teacher": (RandomTeacher, {"temperature": 4.0}),
}

logits = arrays.arrays(np.float64, (3, 5), elements=st.floats(-20, 20))
features = arrays.arrays(np.float64, (2, 3, 2, 2), elements=st.floats(-5, 5).map(lambda value: round(value, 3)))
temperatures = st.floats(0.5, 20)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in float64, the same every time."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def method(
    kind: type[Method], student: Sequence[int] = (), teacher: Sequence[int] = (), **hyperparameters: float
) -> Method:
    """A method in float64."""
    return kind(student, teacher, hyperparameters, torch.Generator().manual_seed(0)).double()


def of_logits(values: Tensor | np.ndarray) -> Outputs:
    """Outputs without features."""
    return Outputs((), torch.as_tensor(values))


def of_features(*maps: Tensor | np.ndarray) -> Outputs:
    """Outputs whose logits nobody should look at."""
    return Outputs(tuple(torch.as_tensor(each) for each in maps), torch.full((len(maps[0]), 2), math.nan))


def value(loss: Tensor) -> float:
    """A scalar loss as a number."""
    assert loss.shape == ()
    return float(loss.detach())


# --- what a method is, and how it is found ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_methods_are_found_by_name(name: str) -> None:
    """Through their entry points, as those of other packages are."""
    assert find(name).name == name
    assert method_class(name) is SHIPPED[name][0]


def test_an_unknown_method_is_named_with_the_known_ones() -> None:
    """The sentence says what there is, and what to do."""
    with pytest.raises(StudyError) as caught:
        find("logits")
    sentence = str(caught.value)
    assert sentence.startswith("method logits: expected one installed method of that name, found none")
    assert "attention, feature, logit, random_teacher" in sentence
    assert "nstall the package that has it, or correct `selection.grid`" in sentence
    assert "\n" not in sentence


@pytest.fixture
def distilled(make_spec: MakeSpec) -> Callable[..., RunSpec]:
    """Describes a run that learns from a ResNet-50; a ResNet-18 unless told otherwise."""
    teacher = make_spec(role="teacher", architecture="resnet50")

    def describe(method: str, hyperparameters: dict[str, float], **fields: Any) -> RunSpec:  # noqa: ANN401 - any field
        return make_spec(
            **{"method": method, "teacher": teacher, "hyperparameters": {"alpha": 0.5} | hyperparameters} | fields
        )

    return describe


@pytest.mark.parametrize("name", SHIPPED)
def test_a_run_gets_its_method_with_its_hyperparameters(distilled: Callable[..., RunSpec], name: str) -> None:
    """All but alpha, which is the loop's."""
    kind, hyperparameters = SHIPPED[name]
    made = make(distilled(name, hyperparameters))
    assert type(made) is kind
    assert made.values == hyperparameters


@pytest.mark.parametrize(
    ("name", "given_ones", "wanted", "found"),
    [
        ("logit", {}, "alpha, temperature", "alpha"),
        ("logit", {"temperature": 4.0, "beta": 1.0}, "alpha, temperature", "alpha, beta, temperature"),
        ("logit", {"beta": 1.0}, "alpha, temperature", "alpha, beta"),
        ("feature", {"temperature": 4.0}, "alpha", "alpha, temperature"),
        ("attention", {}, "alpha, beta", "alpha"),
        ("random_teacher", {}, "alpha, temperature", "alpha"),
    ],
)
def test_other_hyperparameters_are_refused(
    distilled: Callable[..., RunSpec], name: str, given_ones: dict[str, float], wanted: str, found: str
) -> None:
    """One missing, one too many, another: the sentence names both lists and where to correct them."""
    with pytest.raises(StudyError) as caught:
        make(distilled(name, given_ones))
    assert str(caught.value) == (
        f"method {name}: expected the hyperparameters {wanted}, found {found}; correct `selection.grid` in the profile."
    )


def test_a_baseline_has_no_method(make_spec: MakeSpec) -> None:
    """Asking for one is a mistake of ours."""
    with pytest.raises(ValueError, match="is a baseline"):
        make(make_spec())


@pytest.mark.parametrize("name", ["feature", "attention"])
def test_features_need_networks_of_as_many_stages(distilled: Callable[..., RunSpec], name: str) -> None:
    """A WideResNet has three stages and a ResNet four: its features have no partners."""
    with pytest.raises(StudyError, match=r"as many stages, found 3 and 4; .* need a pair of one family\.$"):
        make(distilled(name, SHIPPED[name][1], architecture="wrn16_1"))


@pytest.mark.parametrize("name", ["logit", "random_teacher"])
def test_logits_do_for_any_two_networks(distilled: Callable[..., RunSpec], name: str) -> None:
    """They have no stages."""
    make(distilled(name, SHIPPED[name][1], architecture="wrn16_1"))


def test_stages_are_paired_in_order() -> None:
    """Channels of the student first."""
    assert same_stages((1, 2), (3, 4)) == [(1, 3), (2, 4)]


@pytest.mark.parametrize("name", SHIPPED)
def test_gradients_reach_student_and_projections_and_nothing_else(name: str) -> None:
    """The method's own parameters and what it reads of the student move; a teacher comes frozen, and stays so."""
    kind, hyperparameters = SHIPPED[name]
    made = method(kind, (3, 4), (5, 6), **hyperparameters)
    student = Outputs((numbers(2, 3, 4, 4), numbers(2, 4, 2, 2)), numbers(2, 5))
    teacher = Outputs((numbers(2, 5, 4, 4, seed=1), numbers(2, 6, 2, 2, seed=1)), numbers(2, 5, seed=1))
    for each in (*student.features, student.logits):
        each.requires_grad_()
    made(student, teacher if made.needs == "features" else Outputs((), teacher.logits)).backward()
    read, unread = student.features, (student.logits,)
    if made.needs == "logits":
        read, unread = unread, read
    for each in (*read, *made.parameters()):
        assert each.grad is not None
        assert bool((each.grad != 0).any())
    for each in (*unread, *teacher.features, teacher.logits):
        assert each.grad is None


@pytest.mark.parametrize("name", SHIPPED)
def test_a_loss_is_a_mean_over_the_batch(name: str) -> None:
    """A batch twice over loses what it lost once."""
    kind, hyperparameters = SHIPPED[name]
    made = method(kind, (3,), (5,), **hyperparameters)
    student = Outputs((numbers(2, 3, 4, 4),), numbers(2, 5))
    teacher = Outputs((numbers(2, 5, 4, 4, seed=1),), numbers(2, 5, seed=1))
    twice = [Outputs((torch.cat([each.features[0]] * 2),), torch.cat([each.logits] * 2)) for each in (student, teacher)]
    assert value(made(*twice)) == pytest.approx(value(made(student, teacher)), rel=1e-12)


# --- Logit-KD ---------------------------------------------------------------------------------------------------------


def logit_loss(teacher: Tensor | np.ndarray, student: Tensor | np.ndarray, temperature: float) -> Tensor:
    """Logit-KD's loss."""
    loss: Tensor = method(LogitKD, temperature=temperature)(of_logits(student), of_logits(teacher))
    return loss


def test_logit_loss_by_hand() -> None:
    """Logits (2 ln 3, 0) at T = 2 are odds of 3 to 1, against even odds; the loss is T^2 = 4 times the divergence.

    KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.130812036, times 4 = 0.523248144. The teacher's from the student's: the other
    way round it would be 1/2 ln(2/3) + 1/2 ln 2 = 0.143841036, times 4 = 0.575364145.
    """
    odds, even = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    assert value(logit_loss(odds, even, 2.0)) == pytest.approx(4 * KL_3_TO_1, abs=4e-9)
    assert value(logit_loss(even, odds, 2.0)) == pytest.approx(0.575364145, abs=4e-9)


@given(logits, logits, temperatures)
def test_logit_loss_follows_its_definition(teacher: np.ndarray, student: np.ndarray, temperature: float) -> None:
    """T^2 * sum_c p_c ln(p_c / q_c), batch mean, with softmax written out."""
    p, q = (np.exp(each / temperature) for each in (teacher, student))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()
    found = value(logit_loss(teacher, student, temperature))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-11 * temperature**2)


@given(logits, temperatures)
def test_logit_loss_is_zero_where_student_equals_teacher(values: np.ndarray, temperature: float) -> None:
    """Nothing to learn, no loss and no gradient."""
    student = torch.from_numpy(values).requires_grad_()
    loss = logit_loss(values, student, temperature)
    loss.backward()
    assert abs(value(loss)) < 1e-12 * temperature**2
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-12 * temperature


@given(logits, logits, temperatures, st.floats(-50, 50), st.floats(-50, 50))
def test_logit_loss_ignores_constants(
    teacher: np.ndarray, student: np.ndarray, temperature: float, up: float, down: float
) -> None:
    """Logits say the same after a constant is added to all of one network's."""
    plain, moved = logit_loss(teacher, student, temperature), logit_loss(teacher + up, student + down, temperature)
    assert value(moved) == pytest.approx(value(plain), rel=1e-9, abs=1e-11 * temperature**2)


@given(logits, logits, st.floats(1, 8), st.floats(0.25, 4))
def test_logit_loss_scales_with_the_square(
    teacher: np.ndarray, student: np.ndarray, temperature: float, factor: float
) -> None:
    """Logits and T times c leave the divergence as it was, so that the loss grows by c^2."""
    plain = logit_loss(teacher, student, temperature)
    scaled = logit_loss(factor * teacher, factor * student, factor * temperature)
    assert value(scaled) == pytest.approx(factor**2 * value(plain), rel=1e-9, abs=1e-9)


def test_a_high_temperature_matches_centred_logits() -> None:
    """As T grows, T^2 KL tends to the squared difference of centred logits / (2 classes), with an error like 1/T.

    Second order around uniform probabilities: KL = 1/2 Var_uniform((t - s) / T) (Hinton et al. 2015, section 2.1).
    """
    teacher, student = numbers(2, 6, 10)
    centred = [values - values.mean(dim=1, keepdim=True) for values in (teacher, student)]
    limit = float((centred[0] - centred[1]).square().sum(dim=1).mean()) / (2 * 10)
    errors = [abs(value(logit_loss(teacher, student, t)) - limit) for t in (10.0, 100.0, 1000.0)]
    assert errors[2] < 1e-3 * limit
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[1] / 5


def test_a_low_temperature_asks_for_the_teachers_first_class_alone() -> None:
    """As T falls, the teacher's probabilities become one class, and T KL the student's lag behind its own first.

    KL tends to -ln q of the teacher's class, and -T ln q to (largest logit - logit of that class) of the student. Here
    the teacher's first is class 1, where the student has 1.5 less than in its first: the loss T^2 KL tends to 1.5 T.
    """
    teacher, student = torch.tensor([[0.0, 3.0, 1.0]]).double(), torch.tensor([[2.0, 0.5, 0.0]]).double()
    for temperature in (0.1, 0.01):
        assert value(logit_loss(teacher, student, temperature)) == pytest.approx(1.5 * temperature, rel=1e-5)


def test_the_control_arm_is_logit_kd_from_an_untrained_teacher() -> None:
    """Same loss, same hyperparameters; only the teacher differs, and of the shipped methods only this one's."""
    teacher, student = numbers(2, 3, 5)
    outputs = of_logits(student), of_logits(teacher)
    plain, control = method(LogitKD, temperature=3.0), method(RandomTeacher, temperature=3.0)
    assert value(control(*outputs)) == value(plain(*outputs))
    assert RandomTeacher.hyperparameters == LogitKD.hyperparameters
    assert RandomTeacher.needs == LogitKD.needs == "logits"
    untrained = {name for name in SHIPPED if method_class(name).teacher == "untrained"}
    assert untrained == {"random_teacher"}


# --- Feature-KD -------------------------------------------------------------------------------------------------------


def identity(made: Method) -> Method:
    """Every projection changed into one that changes nothing."""
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.eye(len(weight), dtype=torch.float64)[:, :, None, None])
    return made


def feature_loss(teacher: Sequence[Tensor | np.ndarray], student: Sequence[Tensor | np.ndarray]) -> Tensor:
    """Feature-KD's loss through identity projections."""
    channels = [each.shape[1] for each in student]
    loss: Tensor = identity(method(FeatureKD, channels, channels))(of_features(*student), of_features(*teacher))
    return loss


def maps(*images: list[list[float]]) -> Tensor:
    """Feature maps of height 1: images x channels x pixels."""
    return torch.tensor(images, dtype=torch.float64)[:, :, None, :]


def test_feature_loss_by_hand() -> None:
    """Two stages of one image, two channels and two pixels, identity projections.

    Stage 1: student ((1, 3), (0, 0)), teacher ((0, 0), (2, 2)). MSE = (1 + 9 + 4 + 4) / 4 = 4.5. Pooled (2, 0) and
    (0, 2) are orthogonal: 0.5 * (1 - 0) = 0.5. Together 5.
    Stage 2: student is twice a teacher of ones. MSE = 1; same direction: 0. Together 1.
    Mean over stages: 3.
    """
    student = [maps([[1, 3], [0, 0]]), maps([[2, 2], [2, 2]])]
    teacher = [maps([[0, 0], [2, 2]]), maps([[1, 1], [1, 1]])]
    assert value(feature_loss(teacher, student)) == pytest.approx(3.0, abs=1e-12)


def test_feature_loss_averages_the_cosine_over_images() -> None:
    """One image opposite to its teacher, one equal: MSE (4 + 4 + 0 + 0) / 4 = 2, cosine part 0.5 * (2 + 0) / 2."""
    student, teacher = maps([[1, 1]], [[1, 1]]), maps([[-1, -1]], [[1, 1]])
    assert value(feature_loss([teacher], [student])) == pytest.approx(2.5, abs=1e-12)


def test_feature_loss_pools_before_the_cosine() -> None:
    """Maps that differ pixel by pixel but have equal spatial means differ in MSE alone: (1 + 1) / 2."""
    assert value(feature_loss([maps([[1, 1]])], [maps([[2, 0]])])) == pytest.approx(1.0, abs=1e-12)


def test_feature_loss_projects_the_student() -> None:
    """A projection (1 -> 2 channels, weights 3 and -1) maps a student of ones onto its teacher: no loss."""
    made = method(FeatureKD, (1,), (2,))
    with torch.no_grad():
        next(made.parameters()).copy_(torch.tensor([3.0, -1.0], dtype=torch.float64)[:, None, None, None])
    loss = made(of_features(maps([[1, 1]])), of_features(maps([[3, 3], [-1, -1]])))
    assert abs(value(loss)) < 1e-12


@given(features.filter(lambda values: bool((np.abs(values.mean(axis=(2, 3))) > 0.01).any(axis=1).all())))
def test_feature_loss_is_zero_where_student_equals_teacher(values: np.ndarray) -> None:
    """Through an identity projection, for images that have a direction at all."""
    assert abs(value(feature_loss([values], [values]))) < 1e-12


@given(features, features)
def test_feature_loss_follows_its_definition(teacher: np.ndarray, student: np.ndarray) -> None:
    """Mean squared error, and cosine of spatial means, written out image by image."""
    cosines = []
    for ours, theirs in zip(student.mean(axis=(2, 3)), teacher.mean(axis=(2, 3)), strict=True):
        lengths = [max(math.sqrt(sum(x * x for x in vector)), 1e-8) for vector in (ours, theirs)]
        cosines.append(sum(ours * theirs) / math.prod(lengths))
    expected = float(np.mean((student - teacher) ** 2)) + 0.5 * float(np.mean([1 - cosine for cosine in cosines]))
    assert value(feature_loss([teacher], [student])) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_projections_map_student_channels_to_teacher_channels(distilled: Callable[..., RunSpec]) -> None:
    """Four 1x1 convolutions without bias, from the student's real features to the teacher's."""
    spec = distilled("feature", {}, clip_projections=True)
    layers = [layer for layer in make(spec).modules() if isinstance(layer, nn.Conv2d)]
    images = torch.zeros(2, 3, 8, 8)
    student, teacher = (build(name, "cifar", spec.model, 10, "student", 0).eval() for name in ("resnet18", "resnet50"))
    for layer, ours, theirs in zip(
        layers, student.outputs(images).features, teacher.outputs(images).features, strict=True
    ):
        assert layer.bias is None
        assert layer.kernel_size == (1, 1)
        assert layer(ours).shape == theirs.shape


def test_projections_start_xavier_uniform() -> None:
    """Glorot and Bengio 2010: uniform on +-sqrt(6 / (fan in + fan out)), so nothing beyond and the edge nearly met."""
    channels = (64, 128, 256, 512)
    made = method(FeatureKD, channels, [4 * each for each in channels])
    for weight, inputs in zip(made.parameters(), channels, strict=True):
        bound = math.sqrt(6 / (inputs + 4 * inputs))
        largest = float(weight.detach().abs().max())
        assert 0.999 * bound < largest <= bound * (1 + 1e-6)
        assert float(weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_projections_have_a_stream_of_their_own(distilled: Callable[..., RunSpec]) -> None:
    """Named by the run's role and seed; torch's global generator is neither read nor moved."""

    def digest(seed: int) -> str:
        return tensors_digest(make(distilled("feature", {}, clip_projections=True, seed=seed)).state_dict())

    torch.manual_seed(0)
    one = digest(0)
    after_making = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), after_making)
    assert digest(0) == one
    assert digest(1) != one


# --- attention transfer -----------------------------------------------------------------------------------------------


def attention_loss(teacher: Sequence[Tensor | np.ndarray], student: Sequence[Tensor | np.ndarray]) -> Tensor:
    """Attention transfer's loss with beta = 1."""
    ours, theirs = ([each.shape[1] for each in maps_] for maps_ in (student, teacher))
    loss: Tensor = method(AttentionTransfer, ours, theirs, beta=1.0)(of_features(*student), of_features(*teacher))
    return loss


def slow_attention(features: np.ndarray) -> list[list[float]]:
    """Zagoruyko & Komodakis 2017, written out: F_mean^2 (mean over channels of squares), divided by its length."""
    found = []
    for image in features:
        channels, height, width = image.shape
        strength = [
            sum(float(image[c, y, x]) ** 2 for c in range(channels)) / channels
            for y in range(height)
            for x in range(width)
        ]
        length = max(math.sqrt(sum(each**2 for each in strength)), 1e-12)
        found.append([each / length for each in strength])
    return found


def test_attention_by_hand() -> None:
    """One image, two channels, two pixels: mean squares ((1 + 9) / 2, (4 + 0) / 2) = (5, 2), length sqrt 29."""
    found = attention(maps([[1, 2], [3, 0]]))
    assert found.shape == (1, 2)
    assert found[0].tolist() == pytest.approx([5 / math.sqrt(29), 2 / math.sqrt(29)], abs=1e-12)


def test_attention_loss_by_hand() -> None:
    """Two stages, one image, beta = 10; attention (3/5, 4/5) against (1, 0), and (1, 0) against (0, 1).

    Student of one channel (sqrt 3, 2): squares (3, 4), length 5. Teacher (7, 0): squares (49, 0), so (1, 0).
    MSE = ((2/5)^2 + (4/5)^2) / 2 = (0.16 + 0.64) / 2 = 0.4; of the second stage (1 + 1) / 2 = 1. Sum 1.4, times 10.
    """
    student = of_features(maps([[math.sqrt(3), 2]]), maps([[2, 0]]))
    teacher = of_features(maps([[7, 0]]), maps([[0, -3], [0, 1]]))
    made = method(AttentionTransfer, (1, 1), (1, 2), beta=10.0)
    assert value(made(student, teacher)) == pytest.approx(14.0, abs=1e-12)


@given(features, features)
def test_attention_loss_follows_its_definition(teacher: np.ndarray, student: np.ndarray) -> None:
    """Sum over stages of the mean squared difference, in plain Python."""
    pairs = [(student, teacher), (teacher[:, :1], student[:, 1:])]
    expected = 0.0
    for ours, theirs in pairs:
        differences = np.array(slow_attention(ours)) - np.array(slow_attention(theirs))
        expected += float((differences**2).mean())
    found = attention_loss([theirs for _, theirs in pairs], [ours for ours, _ in pairs])
    assert value(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(features)
def test_attention_loss_is_zero_where_student_equals_teacher(values: np.ndarray) -> None:
    """Also where it has more channels that say the same."""
    assert value(attention_loss([values], [values])) == 0
    assert value(attention_loss([np.concatenate([values, values], axis=1)], [values])) < 1e-24


@given(features.filter(lambda values: bool((np.abs(values) > 0.01).any(axis=(1, 2, 3)).all())), st.floats(0.1, 10))
def test_attention_ignores_a_factor_and_signs(values: np.ndarray, factor: float) -> None:
    """It says where features are strong, not how strong; squares have no sign."""
    plain = attention(torch.from_numpy(values))
    assert torch.allclose(attention(torch.from_numpy(-factor * values)), plain, rtol=1e-9, atol=1e-12)
    assert torch.allclose(plain.norm(dim=1), torch.ones(len(plain), dtype=torch.float64))


def test_attention_loss_grows_with_beta() -> None:
    """Twice beta, twice the loss."""
    student, teacher = of_features(numbers(2, 3, 2, 2)), of_features(numbers(2, 4, 2, 2, seed=1))
    one, two = (value(method(AttentionTransfer, (3,), (4,), beta=beta)(student, teacher)) for beta in (500.0, 1000.0))
    assert two == pytest.approx(2 * one, rel=1e-12)
    assert one > 0

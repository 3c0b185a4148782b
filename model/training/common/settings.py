"""What can be set: for fine-tuning with tuples, and for learning from a teacher."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from model.network import BLOCKS

from ..finetune.losses import FIRST_ORDER
from .config import (
    INF,
    KNOWN_KEYS,
    Above,
    Between,
    Count,
    Minutes,
    OneOf,
    Place,
    Rate,
    Seed,
    Share,
    Side,
    Weight,
)

Gigabytes = Annotated[float, Between(0, 10000)]
Workers = Annotated[int, Between(0, 64)]
Mean = Annotated[float, Between(-1000, 1000)]
Deviation = Annotated[float, Above(0, 1000)]
LossName = Annotated[str, OneOf(FIRST_ORDER)]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Places = Annotated[tuple[Place, ...], BeforeValidator(_as_list), Field(min_length=1)]
"""One path or several."""


@dataclass(frozen=True, config=KNOWN_KEYS)
class Data:
    """Photos to fine-tune on.

    Args:
        kind: any photos, sub-folders that are things, or a table (see `.pairs`).
        root: folder of the photos.
        table: file that says which photo shows what.
    """

    kind: Literal["unlabelled", "folders", "sfm", "landmarks-csv"]
    root: Place
    table: Place | None = None


@dataclass(frozen=True, config=KNOWN_KEYS)
class LossChoice:
    """Which loss is taken over tuples.

    Args:
        name: one of `losses.FIRST_ORDER`.
        margin: of the loss; for "n-tuple" its temperature.
        second_order: weight of the second-order term, 0 for none.
    """

    name: LossName
    margin: Annotated[float, Above(0, 4)]
    second_order: Weight = 0.0


@dataclass(frozen=True, config=KNOWN_KEYS)
class Validation:
    """What mAP is measured on: the mean over groups, each photo the query once.

    Args:
        photos: folder of the photos.
        groups: JSON file, {"name": ["file", ...], ...}.
    """

    photos: Place
    groups: Place


@dataclass(frozen=True, config=KNOWN_KEYS)
class TrainConfig:
    """One run of fine-tuning with tuples.

    Args:
        start: checkpoint of any kind `load_checkpoint` reads.
        out: folder of the run.
        data: the photos.
        loss: taken over the tuples.
        validation: what the best weights are chosen on.
        size: pixels, side of the square views of unlabelled photos, longest side of others.
        queries: tuples an epoch.
        pool: photos among which an epoch's negatives are looked for.
        negatives: of a tuple.
        batch: tuples to an optimiser step.
        together: tuples in one forward pass.
        rate: learning rate.
        p_rate: learning rate of GeM's p as a multiple of `rate`.
        weight_decay: of AdamW.
        decay: exponent of the schedule, rate x exp(-decay x epoch).
        epochs: training ends after them.
        minutes: budget, training ends after it.
        seed: of everything random.
        in_parts: as of `DistillConfig`.
        save_every: steps between two states saved.
        gigabytes: of memory for photos, kept as small JPEGs; on a GPU and from packs, decoded.
        workers: background processes that read photos and make views; 0 does it between the
            steps. Each keeps photos of its own.
    """

    start: Place
    out: Place
    data: Data
    loss: LossChoice
    validation: Validation
    size: Side = 128
    queries: Count = 400
    pool: Annotated[int, Between(2, 10**9)] = 2000
    negatives: Annotated[int, Between(1, 1000)] = 4
    batch: Annotated[int, Between(1, 4096)] = 8
    together: Annotated[int, Between(1, 4096)] = 4
    rate: Rate = 1e-6
    p_rate: Weight = 10.0
    weight_decay: Share = 1e-6
    decay: Weight = 0.01
    epochs: Count = 100
    minutes: Minutes = INF
    seed: Seed = 0
    in_parts: bool = False
    save_every: Count = 10
    gigabytes: Gigabytes = 2.0
    workers: Workers = 1


@dataclass(frozen=True, config=KNOWN_KEYS)
class TeacherChoice:
    """Whom the student learns from.

    Args:
        model: ONNX file.
        layer1, layer2, layer3, layer4: the tensor that stage of the student learns from (its
            strides are 4, 8, 16, 32), "" for none.
        pooled: tensor of its descriptor (B, D), or a map that is pooled by GeM; "" for the last
            map.
        p: exponent of that GeM; 1 is the mean.
        mean, std: of its normalisation, for RGB in 0 to 1.
        zoom: how much larger than the student it sees the photo.
    """

    model: Place
    layer1: str = ""
    layer2: str = ""
    layer3: str = ""
    layer4: str = ""
    pooled: str = ""
    p: Annotated[float, Between(1, 20)] = 1.0
    mean: tuple[Mean, Mean, Mean] = (0.485, 0.456, 0.406)
    std: tuple[Deviation, Deviation, Deviation] = (0.229, 0.224, 0.225)
    zoom: Annotated[float, Between(0.5, 8)] = 2.0


@dataclass(frozen=True, config=KNOWN_KEYS)
class InstanceChoice:
    """That two views of one photo are one thing, learned beside what the teacher sees.

    Args:
        name: one of `losses.FIRST_ORDER`, over the views of a batch.
        margin: of the loss; for "n-tuple" its temperature.
        second_order: weight of the second-order term, 0 for none.
        weight: of the loss.
        neighbours: photos that the teacher finds nearest to each, mined over all photos. Half of
            a batch is drawn from them. With 0 all photos are drawn at random.
        alike: cosine above which two photos may show one thing, and are no neighbours.
    """

    name: LossName
    margin: Annotated[float, Above(0, 4)]
    second_order: Weight = 0.0
    weight: Weight = 0.1
    neighbours: Annotated[int, Between(0, 1000)] = 20
    alike: Annotated[float, Between(-1, 1)] = 0.9


@dataclass(frozen=True, config=KNOWN_KEYS)
class DistillConfig:
    """One run of learning from a teacher.

    Args:
        architecture: of the student.
        out: folder of the run.
        photos: folders of any photos, searched with their sub-folders.
        teacher: whom it learns from.
        start: checkpoint to begin from, whose batch statistics stay. If it is shallower it is
            grown, if it is deeper its last blocks are left out: those grown before, which learn
            slowly, are hardly missed. Without it the student begins at random.
        validation: what mAP is measured on now and then, if anything.
        size: pixels, side of the student's views.
        image_size: pixels, longest side of photos the student is made for and measured at.
        dim: dimensions of the student's descriptor.
        batch: views to a step.
        steps: training ends after them.
        rate: highest learning rate of both optimisers.
        warmup: steps of rising rate at the beginning.
        cycle: steps from one warm restart of the rate's cosine to the next.
        weight_decay: of both.
        average: share the mean of the weights keeps at a step. The mean is what is saved.
        maps: weight of the loss over the stages' maps.
        descriptor: weight of the loss over descriptors.
        cosines: weight of the loss over the batch's pairwise cosines.
        instances: a loss over tuples of views, added to these; none if left out.
        fit: views on which adapters and whitening are fitted before the first step.
        gigabytes: of memory for photos, kept as small JPEGs; on a GPU and from packs, decoded.
        workers: background processes that make views and run the teacher; 0 makes them between
            the steps. Each keeps photos of its own.
        minutes: budget, training ends after it.
        save_minutes: between two states saved.
        validate_minutes: between two measurements.
        seed: of everything random.
        in_parts: whether the weights are written as parts of at most 16 MB, too, into the folder
            `weights` of the run's.
    """

    architecture: Annotated[str, OneOf(BLOCKS)]
    out: Place
    photos: Places
    teacher: TeacherChoice
    start: Place | None = None
    validation: Validation | None = None
    size: Side = 128
    image_size: Side = 320
    dim: Annotated[int, Between(1, 2048)] = 512
    batch: Annotated[int, Between(2, 4096)] = 32
    steps: Count = 10000
    rate: Rate = 6e-4
    warmup: Annotated[int, Between(0, 10**9)] = 100
    cycle: Count = 2000
    weight_decay: Share = 1e-2
    average: Annotated[float, Between(0, 0.999999)] = 0.998
    maps: Weight = 1.0
    descriptor: Weight = 2.0
    cosines: Weight = 10.0
    instances: InstanceChoice | None = None
    fit: Annotated[int, Between(2, 10**6)] = 2500
    gigabytes: Gigabytes = 2.0
    workers: Workers = 1
    minutes: Minutes = INF
    save_minutes: Minutes = 10.0
    validate_minutes: Minutes = 30.0
    seed: Seed = 0
    in_parts: bool = False

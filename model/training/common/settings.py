"""Settings of fine-tuning with tuples, and of distillation from a teacher."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from model.network import BLOCKS
from validation import KNOWN_KEYS, OneOf

from ..finetune.losses import FIRST_ORDER
from .config import INF, Above, Between, Count, Minutes, Place, Rate, Seed, Share, Side, Weight

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
    """Photos for fine-tuning.

    Args:
        kind: any photos, one sub-folder per thing, or a table (see `.pairs`).
        root: folder of the photos.
        table: table of which photo shows what.
    """

    kind: Literal["unlabelled", "folders", "sfm", "landmarks-csv"]
    root: Place
    table: Place | None = None


@dataclass(frozen=True, config=KNOWN_KEYS)
class LossChoice:
    """Loss over tuples.

    Args:
        name: name in `losses.FIRST_ORDER`.
        margin: margin of the loss; temperature for "n-tuple".
        second_order: weight of the second-order term, 0 for none.
    """

    name: LossName
    margin: Annotated[float, Above(0, 4)]
    second_order: Weight = 0.0


@dataclass(frozen=True, config=KNOWN_KEYS)
class Validation:
    """Photos and groups for mAP: the mean over groups, each photo the query once.

    Args:
        photos: folder of the photos.
        groups: JSON file, {"name": ["file", ...], ...}.
    """

    photos: Place
    groups: Place


@dataclass(frozen=True, kw_only=True, config=KNOWN_KEYS)
class RunConfig:
    """What runs of either kind have.

    Args:
        out: folder of the run.
        gigabytes: memory for photos, cached as small JPEGs; decoded on a GPU and from packs.
        workers: background processes that prepare batches; 0 does it between steps. Each has its
            own cache of photos.
        minutes: maximum training time.
        seed: seed of all randomness.
        in_parts: whether to also write the weights as parts of at most 16 MB, into the folder
            `weights` of the run's folder.
    """

    out: Place
    gigabytes: Gigabytes = 2.0
    workers: Workers = 1
    minutes: Minutes = INF
    seed: Seed = 0
    in_parts: bool = False


@dataclass(frozen=True, kw_only=True, config=KNOWN_KEYS)
class TrainConfig(RunConfig):
    """One run of fine-tuning with tuples.

    Args:
        start: checkpoint of any kind that `load_checkpoint` reads.
        data: photos to train on.
        loss: loss over the tuples.
        validation: data for choosing the best weights.
        size: side of the square views of unlabelled photos, longest side of others, in pixels.
        queries: tuples per epoch.
        pool: photos per epoch in which negatives are searched.
        negatives: negatives per tuple.
        batch: tuples per optimiser step.
        together: tuples per forward pass.
        rate: learning rate.
        p_rate: learning rate of GeM's p as a multiple of `rate`.
        weight_decay: weight decay of AdamW.
        decay: exponent of the schedule, rate x exp(-decay x epoch).
        epochs: maximum number of epochs.
        save_every: steps between saved states.
    """

    start: Place
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
    save_every: Count = 10


@dataclass(frozen=True, config=KNOWN_KEYS)
class TeacherChoice:
    """Teacher of the student.

    Args:
        model: ONNX file.
        layer1, layer2, layer3, layer4: tensor that this stage of the student learns from (its
            strides are 4, 8, 16, 32), "" for none.
        pooled: tensor of the teacher's descriptor (B, D), or a map that is pooled by GeM; "" for
            the last map.
        p: exponent of that GeM; 1 is the mean.
        mean, std: mean and standard deviation for normalising RGB in 0 to 1.
        zoom: size of the teacher's input relative to the student's.
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
class InstanceChoice(LossChoice):
    """Loss over tuples of a batch's views, which identifies two views of one photo.

    Args:
        weight: weight of the loss.
        neighbours: number of nearest photos by the teacher, mined over all photos. Half of a batch
            is drawn from them. With 0 all photos are drawn at random.
        alike: cosine above which two photos may show the same thing; these are not neighbours.
    """

    weight: Weight = 0.1
    neighbours: Annotated[int, Between(0, 1000)] = 20
    alike: Annotated[float, Between(-1, 1)] = 0.9


@dataclass(frozen=True, kw_only=True, config=KNOWN_KEYS)
class DistillConfig(RunConfig):
    """One run of distillation from a teacher.

    Args:
        architecture: architecture of the student.
        photos: folders of any photos, searched with their sub-folders.
        teacher: the teacher.
        start: checkpoint to start from, whose batch statistics are kept. A shallower one is grown;
            a deeper one loses its last blocks: those grown before, which learn slowly, are hardly
            missed. None starts from random weights.
        validation: data for measuring mAP regularly, if any.
        size: side of the student's views, in pixels.
        image_size: longest side in pixels of photos that the student is built for and measured at.
        dim: dimensions of the student's descriptor.
        batch: views per step.
        steps: maximum number of steps.
        rate: peak learning rate of both optimisers.
        warmup: steps of increasing rate at the start.
        cycle: steps between warm restarts of the cosine schedule.
        weight_decay: weight decay of both optimisers.
        average: decay of the weights' moving average per step. The average is what is saved.
        maps: weight of the loss over the stages' maps.
        descriptor: weight of the loss over descriptors.
        cosines: weight of the loss over the batch's pairwise cosines.
        instances: additional loss over tuples of views; None for none.
        fit: number of views for fitting adapters and whitening before the first step.
        save_minutes: minutes between saved states.
        validate_minutes: minutes between measurements.
    """

    architecture: Annotated[str, OneOf(BLOCKS)]
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
    save_minutes: Minutes = 10.0
    validate_minutes: Minutes = 30.0

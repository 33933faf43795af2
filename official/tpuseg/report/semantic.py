"""The evaluation report of a semantic segmentation model, from class maps that are added image by image; no network is needed.

Of each image only its card and its most suspicious regions are kept, so the memory does not grow with the pixels.

Shapes: H x W the image, K classes.
"""

import dataclasses
import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tpuseg.report import advice, content, regions, scores, semantic_sections
from tpuseg.report.boundaries import BoundaryCounts, boundary_width, count_boundaries
from tpuseg.report.instance_labels import KINDS
from tpuseg.report.instance_sections import calibration_chart

# Maximum number of regions to check; more are counted.
MAX_REGIONS = 2000
_PROBABLE = 0.9
_BACKGROUND_NAMES = ("background", "_background_")
_MISSING, _UNSUPPORTED, _OTHER_CLASS = KINDS[:3]


@dataclasses.dataclass(frozen=True)
class Context:
    """What is known about the run; advice that needs an unknown value is not given.

    Attributes:
      evaluations: metrics of the run's evaluations with `loss` and `step`, the earliest first.
    """

    evaluations: Sequence[Mapping[str, Any]] = ()


class SemanticAnalysis:
    """Collects the errors of a semantic segmentation model.

    Attributes:
      counts: [K, K] int64 numbers of pixels; rows are true classes, columns predicted classes.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        ignore_label: int,
        image_url: Callable[[int], str],
        layer_urls: Callable[[int], dict[str, str]],
    ) -> None:
        """Starts without images.

        Args:
          class_names: name of each class. A first class called `background` is what is not labelled.
          ignore_label: pixels with this label are ignored.
          image_url: returns the relative URL of an image by its index.
          layer_urls: returns the relative URLs of the layers of an image by its index; see `content.Card`.
        """
        size = len(class_names)
        self.counts = np.zeros((size, size), np.int64)
        self._class_names = list(class_names)
        self._ignore_label = ignore_label
        self._image_url = image_url
        self._layer_urls = layer_urls
        self._has_background = bool(class_names) and class_names[0].lower() in _BACKGROUND_NAMES
        self._boundaries = BoundaryCounts(np.zeros(size, np.int64), np.zeros(size, np.int64))
        # Sums over the bins of confidence: number of pixels, confidence, right pixels.
        self._bins = np.zeros((3, scores.NUM_BINS))
        self._agreement = regions.Agreement(size)
        self._cards: dict[int, content.Card] = {}
        # The most suspicious regions as a heap: weight, a number that is unique, index of the image, region.
        self._regions: list[tuple[float, int, int, regions.Region]] = []
        self._num_regions = 0

    def add(
        self,
        index: int,
        image_id: str,
        truth: np.ndarray,
        prediction: np.ndarray,
        confidence: np.ndarray | None = None,
        name: str = "",
    ) -> None:
        """Adds one image.

        Args:
          index: index of the image, for its URLs.
          image_id: id of the image in the data set.
          truth: [H, W] uint8 true classes.
          prediction: [H, W] uint8 predicted classes, or [H, W, K] probabilities of the classes.
          confidence: [H, W] confidence of the predicted class, 0 to 1; None if it is unknown or follows from the probabilities.
          name: name of the image; its id by default.

        Raises:
          ValueError: the index was added before, sizes differ, or a value is neither a class nor a confidence; the message names
            the image.
        """
        if prediction.ndim == 3:
            prediction, confidence = prediction.argmax(-1).astype(np.uint8), prediction.max(-1)
        valid = truth != self._ignore_label
        self._check(index, image_id, truth, prediction, confidence, valid)
        truth, prediction = truth.astype(np.uint8), prediction.astype(np.uint8)
        size = len(self._class_names)
        pairs = truth[valid].astype(np.int64) * size + prediction[valid]
        counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
        self.counts += counts
        height, width = truth.shape
        found = count_boundaries(truth, prediction, valid, size, boundary_width((height, width)))
        self._boundaries = BoundaryCounts(*(old + new for old, new in zip(self._boundaries, found, strict=True)))
        if confidence is not None:
            self._add_confidence(confidence[valid], truth[valid] == prediction[valid])
        self._agreement.add(*regions.mean_confidences(truth, prediction, valid, confidence, size), agrees=True)
        for region in regions.find_regions(truth, prediction, valid, confidence):
            self._agreement.add(np.array([region.predicted]), np.array([region.confidence]), agrees=False)
            self._keep_region(index, region)
        self._cards[index] = self._create_card(index, image_id, name or image_id, (height, width), counts)

    def _check(
        self,
        index: int,
        image_id: str,
        truth: np.ndarray,
        prediction: np.ndarray,
        confidence: np.ndarray | None,
        valid: np.ndarray,
    ) -> None:
        if index in self._cards:
            raise ValueError(f"image {image_id}: index {index} was added before, for image {self._cards[index].image_id}")
        for what, values in (("prediction", prediction), ("confidence", confidence)):
            if values is not None and values.shape != truth.shape:
                raise ValueError(f"image {image_id}: the {what} is {values.shape}, the truth {truth.shape}; they must be equal")
        size = len(self._class_names)
        for what, values in (("truth", truth[valid]), ("prediction", prediction)):
            if values.size and (values.max() >= size or values.min() < 0):
                wrong = values.max() if values.max() >= size else values.min()
                raise ValueError(f"image {image_id}: the {what} has the value {wrong}, but there are {size} classes")
        if confidence is not None and not ((confidence >= 0) & (confidence <= 1 + 1e-3)).all():
            raise ValueError(f"image {image_id}: a confidence is not a number from 0 to 1")

    def _add_confidence(self, confidence: np.ndarray, is_right: np.ndarray) -> None:
        bins = scores.bins_of(confidence)
        for row, weights in enumerate((None, confidence.astype(np.float64), is_right.astype(np.float64))):
            self._bins[row] += np.bincount(bins, weights, scores.NUM_BINS)

    def _keep_region(self, index: int, region: regions.Region) -> None:
        self._num_regions += 1
        row = (region.confidence * region.size_weight, self._num_regions, index, region)
        if len(self._regions) < MAX_REGIONS:
            heapq.heappush(self._regions, row)
        else:
            heapq.heappushpop(self._regions, row)

    def _create_card(self, index: int, image_id: str, name: str, size: tuple[int, int], counts: np.ndarray) -> content.Card:
        hits = np.diag(counts)
        union = counts.sum(0) + counts.sum(1) - hits
        present = np.flatnonzero(union)
        score = float((hits[present] / union[present]).mean()) if present.size else 1.0
        errors = self._count_errors(counts)
        labels = present.tolist()
        return content.Card(
            image_id, name, size, self._image_url(index), round(score, 4), [], self._layer_urls(index), errors, labels
        )

    def _count_errors(self, counts: np.ndarray) -> dict[str, int]:
        """Returns the number of wrong pixels of each type."""
        wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
        first = int(self._has_background)
        background = int(wrong[:first].sum())
        missed = int(wrong[:, :first].sum())
        errors = {"classification": int(wrong.sum()) - background - missed, "background": background, "missed": missed}
        return {name: number for name, number in errors.items() if number}

    def merge(self, other: "SemanticAnalysis") -> None:
        """Adds the images of another analysis of the same classes, such as that of another worker.

        Args:
          other: an analysis of other images.
        """
        self.counts += other.counts
        self._boundaries = BoundaryCounts(*(old + new for old, new in zip(self._boundaries, other._boundaries, strict=True)))
        self._bins += other._bins
        self._agreement.counts += other._agreement.counts
        self._cards.update(other._cards)
        total = self._num_regions + other._num_regions
        for *_, index, region in other._regions:
            self._keep_region(index, region)
        self._num_regions = total

    def report(self, title: str = "Evaluation report", context: Context | None = None) -> content.Report:
        """Returns the report of the images so far.

        Args:
          title: title of the page.
          context: what is known about the run.
        """
        context = context or Context()
        found = semantic_sections.class_accuracy(self.counts, self._boundaries)
        calibration = scores.calibration_of_sums(*self._bins)
        labels, pairs = self._list_labels()
        cards = sorted(self._cards.values(), key=lambda card: card.score)
        sections = [
            semantic_sections.classes_section(found, self.counts, self._class_names),
            semantic_sections.confusion_section(self.counts, self._class_names),
            semantic_sections.images_section(np.array([card.score for card in cards])),
            semantic_sections.labels_section(labels, pairs, self._num_regions - len(labels)),
        ]
        if calibration.error is not None:
            chart = calibration_chart(calibration, "confidence", "pixels")
            sections.insert(2, content.Section("confidence", "Confidence", [], [chart]))
        iou, boundary_iou = semantic_sections.mean_known(found.iou), semantic_sections.mean_known(found.boundary_iou)
        probable = {label.image_id for label in labels if label.score >= _PROBABLE}
        findings = [
            advice.rare_pixels(self.counts.sum(1), found.iou, self._class_names),
            advice.confused_classes(self.counts, self._class_names, "pixels"),
            advice.coarse_outlines(iou, boundary_iou),
            advice.calibration(calibration, ""),
            advice.overfitting(context.evaluations),
            advice.wrong_labels(len(probable), len(cards), "images have regions that"),
        ]
        accuracy = np.diag(self.counts).sum() / self.counts.sum() if self.counts.any() else None
        facts = [
            ("mean IoU", _shown(iou)),
            ("pixel accuracy", _shown(accuracy)),
            ("mean boundary IoU", _shown(boundary_iou)),
            ("images", str(len(cards))),
        ]
        return content.Report(title, "semantic", self._class_names, facts, advice.choose(findings), sections, cards, labels)

    def _list_labels(self) -> tuple[list[content.LabelToCheck], list[tuple[str, str]]]:
        """Returns the regions to check, the most suspicious first, and the names of their labelled and predicted classes."""
        found = [row[3] for row in self._regions]
        predicted, confidences = np.array([row.predicted for row in found], int), np.array([row.confidence for row in found])
        values = self._agreement.shares(predicted, confidences) * [row.size_weight for row in found]
        rows = zip(values.tolist(), self._regions, strict=True)
        ranked = sorted(((value, *row[1:]) for value, row in rows), key=lambda row: (-row[0], row[1]))
        labels, pairs = [], []
        for score, _, index, region in ranked:
            card, pair = self._cards[index], (self._class_names[region.label], self._class_names[region.predicted])
            text = (
                f"{region.area} pixels are labelled `{pair[0]}` and predicted `{pair[1]}` with confidence {region.confidence:.2f}"
            )
            kind = self._kind(region)
            labels.append(content.LabelToCheck(card.image_id, card.name, "", kind, round(score, 4), text, region.box))
            pairs.append(pair)
        return labels, pairs

    def _kind(self, region: regions.Region) -> str:
        if not self._has_background or (region.label and region.predicted):
            return _OTHER_CLASS
        return _UNSUPPORTED if region.label else _MISSING


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

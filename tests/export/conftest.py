"""Untrained models and their exports."""

import io

import PIL.Image
import pytest
import untrained_runs


@pytest.fixture(scope="session")
def run_dirs(tmp_path_factory):
    """A model directory for each architecture."""
    root = tmp_path_factory.mktemp("untrained")
    return {name: untrained_runs.write_run(name, root / name) for name in untrained_runs.SMALL}


@pytest.fixture(scope="session")
def mobilenet_run_dir(tmp_path_factory):
    """A model directory of DeepLab with MobileNetV2, which is made for eight bits."""
    override = ",task.model.backbone.type=mobilenet_v2,task.model.backbone.mobilenet_v2.width_multiplier=0.35"
    return untrained_runs.write_run("deeplab", tmp_path_factory.mktemp("mobilenet") / "deeplab", override)


@pytest.fixture(scope="session")
def encode():
    """Returns a function that makes a file's bytes."""

    def encode(image, kind="PNG", **options):
        buffer = io.BytesIO()
        PIL.Image.fromarray(image).save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def photos():
    """Images that fit the canvas, that are wide, and that are larger than it."""
    sizes = {"small": (70, 111), "wide": (60, 320), "large": (701, 530)}
    return {name: untrained_runs.blobs(size, seed) for seed, (name, size) in enumerate(sizes.items(), 1)}


@pytest.fixture(scope="session")
def models(run_dirs):
    """The model of each run."""
    from tpuseg.inference import predictors

    return {name: predictors.Predictor(folder) for name, folder in run_dirs.items()}


@pytest.fixture(scope="session")
def exported(models, tmp_path_factory):
    """A SavedModel of each architecture."""
    from tpuseg.export import saved_model

    root = tmp_path_factory.mktemp("exported")
    for name, predictor in models.items():
        saved_model.export(predictor, str(root / name))
    return {name: str(root / name) for name in models}

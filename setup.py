"""Packaging: `official/` is a source root, not a package, so that the Model Garden's `official` stays its own."""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Returns the lines of a requirements file that name packages."""
    lines = (HERE / name).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


setuptools.setup(
    name="tpuseg",
    version="0.1.0",
    description="Mask R-CNN and DeepLab v3+ for Cloud TPUs, GPUs and laptops",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    # The experiments travel inside the package, where an installed copy finds them.
    package_dir={"": "official", "tpuseg.experiments": "experiments"},
    packages=[*setuptools.find_packages("official", include=["tpuseg", "tpuseg.*"]), "tpuseg.experiments"],
    package_data={"tpuseg.experiments": ["*.yaml"]},
    install_requires=requirements("requirements.txt"),
    extras_require={"preflight": requirements("requirements-tpu-preflight.txt")},
)

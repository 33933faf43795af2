"""What pyproject.toml cannot say. `official/` is a source root, no package, so that the Model Garden keeps its own `official`."""

import setuptools

setuptools.setup(
    # Experiments and programs travel inside the package, where an installed copy finds them.
    package_dir={
        "": "official",
        "tpuseg.experiments": "experiments",
        "tpuseg.programs": "official",
        "tpuseg.converters": "data",
    },
    packages=[
        *setuptools.find_packages("official", include=["tpuseg", "tpuseg.*"]),
        *("tpuseg.experiments", "tpuseg.programs", "tpuseg.converters"),
    ],
    package_data={"tpuseg.experiments": ["*.yaml"], "tpuseg.report": ["assets/*"]},
)

"""Checks the installed packages before slow imports, so that a wrong version is a one-line error instead of a traceback."""

import importlib.metadata
import importlib.util
import sys

_INSTALL = "install with: pip install -r requirements.txt"
# Name of the package, its module, and the prefix of the supported versions ("" for any).
_REQUIRED = (
    ("tensorflow", "tensorflow", "2.20."),
    ("tf_keras", "tf_keras", "2.20."),
    ("tf-models-official", "official.core", "2.20."),
    ("pycocotools", "pycocotools", ""),
    ("absl-py", "absl", ""),
    ("pyyaml", "yaml", ""),
    ("pillow", "PIL", ""),
    ("tqdm", "tqdm", ""),
)
# tensorflow-tpu and tensorflow-cpu provide the same module.
_PROVIDERS = {"tensorflow": ("tensorflow", "tensorflow-tpu", "tensorflow-cpu")}


def _installed_version(package: str) -> str | None:
    for name in _PROVIDERS.get(package, (package,)):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _has_module(module: str) -> bool:
    top = module.partition(".")[0]
    # `official` is also this repository's folder of programs: without the Model Garden it is a namespace package that
    # has no `core`. Finding a submodule imports its parent, which for `official` is empty and cheap.
    try:
        return importlib.util.find_spec(module if top == "official" else top) is not None
    except ModuleNotFoundError:
        return False


def problems() -> list[str]:
    """Returns one line for each package that is missing or of another version, with what to install."""
    found = []
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        found.append(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} is not supported: TensorFlow 2.20 and the Model Garden run"
            " on 3.10 to 3.12"
        )
    for package, module, prefix in _REQUIRED:
        version = _installed_version(package)
        if version is None or not _has_module(module):
            hint = ""
            if package == "tf_keras" and _installed_version("keras"):
                hint = f" (Keras {_installed_version('keras')} alone is not enough: the models are written for tf_keras)"
            found.append(f"{package} is not installed{hint}; {_INSTALL}")
        elif not version.startswith(prefix):
            found.append(f"{package} {version} is installed, {prefix}* is needed; {_INSTALL}")
    return found


def check() -> None:
    """Exits with a list of faults if there are problems with the installation."""
    found = problems()
    if found:
        sys.exit("error: " + "\nerror: ".join(found))
